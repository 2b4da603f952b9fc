/** Signing in and out, devices, settings. */
import type { Commands, SessionItem, Settings } from '../engine';
import { ME, PEOPLE, byId } from './people';
import type { World } from './world';

const MONTH_MS = 30 * 86_400_000;

export function account(world: World) {
  let settings: Settings = { theme: 'system', notifications: 'full', close_to_tray: true };
  let name = ME.display_name;
  let sessions: SessionItem[] = [
    {
      device: 'd1',
      name: 'This laptop',
      created_at: Date.now() - MONTH_MS,
      last_seen: Date.now(),
      current: true,
    },
    {
      device: 'd2',
      name: 'Old computer',
      created_at: Date.now() - MONTH_MS,
      last_seen: Date.now() - MONTH_MS,
      current: false,
    },
  ];

  function signed(isIn: boolean) {
    world.isSignedIn = isIn;
    world.tell({ type: 'app_changed' });
  }

  return {
    async appState() {
      if (!world.isSignedIn)
        return { state: 'signed_out', server: null, reason: null, secret_store_usable: true };
      const me = { ...ME, display_name: name };
      const account = {
        server: 'https://chat.example.org',
        me,
        device: 'd1',
        key_store: 'secret_store',
      } as const;
      return { state: 'signed_in', account, mended: world.mended };
    },
    tryAgain: async () => undefined,
    mendedSeen: async () => {
      world.mended = null;
      world.tell({ type: 'app_changed' });
    },
    signUp: async () => signed(true),
    signIn: async () => signed(true),
    signOutPreview: async () => ({
      unsent: world.outbox.length,
      messages: 1_234,
      is_temporary: false,
    }),
    signOut: async () => signed(false),
    sessions: async () => sessions,
    async revokeSession(device) {
      sessions = sessions.filter((each) => each.device !== device);
    },
    changePassword: async () => undefined,
    async setDisplayName(text) {
      name = text;
      world.tell({ type: 'app_changed' });
    },
    findPeople: async (query) =>
      PEOPLE.filter((p) => `${p.display_name} ${p.username}`.toLowerCase().includes(query.toLowerCase())),
    person: async (id) => byId(id),
    setPresence: async () => undefined,
    watchPresence: async () => undefined,
    presence: async () => [],
    getSettings: async () => settings,
    async setSettings(changed) {
      settings = changed;
    },
    async setNotifications(mode) {
      settings = { ...settings, notifications: mode };
    },
  } satisfies Partial<Commands>;
}

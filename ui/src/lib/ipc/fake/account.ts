/** Signing in and out, devices, settings. */
import type { Commands, KeyStore, SessionItem, Settings } from '../engine';
import { ME, PEOPLE, byId } from './people';
import { refusal, type World } from './world';

const MONTH_MS = 30 * 86_400_000;

export function account(world: World) {
  let settings: Settings = {
    theme: 'system',
    notifications: 'full',
    close_to_tray: true,
    look_for_updates: true,
    lock_after_minutes: 0,
  };
  let name = ME.display_name;
  let showsPresence = true;
  const needsNetwork = () => {
    if (!world.isOnline) throw refusal('offline');
  };
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
    {
      device: 'd3',
      name: 'Travel laptop',
      created_at: Date.now() - MONTH_MS,
      last_seen: Date.now(),
      current: false,
    },
  ];

  function keep(place: KeyStore, passphrase = '') {
    [world.keyStore, world.passphrase, world.offer] = [place, passphrase, null];
    world.tell({ type: 'app_changed' });
  }

  function signed(isIn: boolean) {
    if (isIn && world.isLocked) {
      world.keyStore = 'session_only';
      world.offer = {
        reason: 'passphrase_forgotten',
        has_history: true,
        unsent: 2,
        secret_store_usable: false,
      };
    }
    [world.isSignedIn, world.isLocked] = [isIn, false];
    world.tell({ type: 'app_changed' });
  }

  return {
    async appState() {
      if (world.isLocked)
        return {
          state: 'locked',
          server: 'https://chat.example.org',
          username: ME.username,
          trouble: world.trouble,
        };
      if (!world.isSignedIn)
        return { state: 'signed_out', server: null, reason: null, secret_store_usable: true };
      const me = { ...ME, display_name: name };
      const account = {
        server: 'https://chat.example.org',
        me,
        device: 'd1',
        key_store: world.keyStore,
        secret_store: 'Secret Service',
      } as const;
      return { state: 'signed_in', account, mended: world.mended, offer: world.offer };
    },
    async unlock(passphrase) {
      if (passphrase !== world.passphrase) throw refusal('passphrase_wrong');
      world.isLocked = false;
      world.tell({ type: 'app_changed' });
    },
    async lock() {
      if (world.keyStore !== 'passphrase') throw refusal('not_allowed');
      world.isLocked = true;
      world.tell({ type: 'app_changed' });
    },
    setPassphrase: async (passphrase) => keep('passphrase', passphrase),
    async changePassphrase(current, next) {
      if (current !== world.passphrase) throw refusal('passphrase_wrong');
      world.passphrase = next;
    },
    async useSecretStore() {
      if (world.offer && !world.offer.secret_store_usable) throw refusal('no_secret_store');
      keep('secret_store');
    },
    keepUntilQuit: async () => keep('session_only'),
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
    async revokeOtherSessions() {
      sessions = sessions.filter((each) => each.current);
    },
    changePassword: async () => undefined,
    async setDisplayName(text) {
      name = text;
      world.tell({ type: 'app_changed' });
    },
    showsPresence: async () => showsPresence,
    async setShowsPresence(on) {
      showsPresence = on;
    },
    async blockedPeople() {
      needsNetwork();
      return PEOPLE.filter(({ id }) => world.blocked.has(id)).sort((a, b) =>
        a.display_name.localeCompare(b.display_name),
      );
    },
    async block(user) {
      needsNetwork();
      world.blocked.add(user);
    },
    async unblock(user) {
      needsNetwork();
      world.blocked.delete(user);
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

/** An in-memory twin of the shell, for tests and for the interface in a browser. Never part of the app. */
import type {
  ConversationView,
  EngineEvent,
  ErrorCode,
  KeyOffer,
  Link,
  LockedTrouble,
  OutboxKind,
  PersonView,
  Shell,
  TimelineItem,
  UpdateView,
} from './engine';
import { account } from './fake/account';
import { conversations } from './fake/conversations';
import { diagnostics } from './fake/diagnostics';
import { messages } from './fake/messages';
import { ME } from './fake/people';
import { seed } from './fake/seed';
import { World, refusal } from './fake/world';

export interface Fake extends Shell {
  /** Says that somebody else wrote; answers the message's id. */
  receive(conversation: string, text: string): string;
  /** Says who types; nobody when it ended. */
  type(conversation: string, ...people: PersonView[]): void;
  /** Another device wrote this draft at the same time. */
  clash(conversation: string, draft: string): void;
  /** Leaves an own message that the server refused; answers its id. */
  refuse(conversation: string, text: string, code: ErrorCode): string;
  /** Leaves another item that the server refused. */
  park(conversation: string, what: OutboxKind, code: ErrorCode): void;
  /** The server was set back: it has lost the newest messages of others, so many. */
  lose(conversation: string, count: number): void;
  /** Takes the network away or gives it back. */
  online(on: boolean): void;
  /** Sockets stop passing, or pass again. */
  setPolling(on: boolean): void;
  /** The percentage of the history that is ready after an update; null for all of it. */
  setRebuilding(percent: number | null): void;
  /** Follows a `kith://` link. */
  follow(link: Link): void;
  /** Locks the screen or unlocks it. `isHeard`: the window is told. */
  lockScreen(isLocked: boolean, isHeard?: boolean): void;
  /** Says what is known of newer versions. */
  updated(update: UpdateView): void;
  /** Changes a row of the list. */
  alter(conversation: string, change: Partial<ConversationView>): void;
  tell(...events: EngineEvent[]): void;
}

export interface FakeOptions {
  /** A passphrase is asked for, or its file cannot be opened. */
  locked?: boolean | LockedTrouble;
  /** Nothing keeps the sign-in, for this reason. */
  offer?: KeyOffer | undefined;
  signedIn?: boolean;
  empty?: boolean;
  history?: number;
  startLink?: Link;
  /** Fills the world further. */
  fill?: (world: World) => void;
  failing?: Partial<Record<keyof Shell, string>>;
}

function controls(world: World, links: Set<(link: Link) => void>) {
  return {
    tell: (...events: EngineEvent[]) => world.tell(...events),
    alter: (id: string, change: Partial<ConversationView>) => world.alter(id, change),
    receive(id: string, text: string) {
      const other = world.row(id).members.find(({ person }) => person !== ME);
      const message = world.push(id, other?.person ?? ME, text);
      world.changed(id);
      return message.id;
    },
    type(id: string, ...people: PersonView[]) {
      world.row(id).view.typing = people;
      world.tell({ type: 'typing_changed', conversation: id, people });
    },
    clash: (id: string, draft: string) => world.alter(id, { draft_conflict: draft }),
    refuse(id: string, text: string, code: ErrorCode) {
      const message = { ...world.message(ME, text, null), send_state: { state: 'failed' as const, code } };
      world.row(id).items.push({ type: 'message', ...message });
      world.queue(id, text, { state: 'parked', code });
      world.changed(id);
      return message.id;
    },
    park: (id: string, what: OutboxKind, code: ErrorCode) =>
      world.queue(id, '', { state: 'parked', code }, what),
    lose(id: string, count: number) {
      const row = world.row(id);
      const others = row.items.filter((item) => item.type === 'message' && !item.mine).slice(-count);
      row.items = row.items.map(
        (item) => (others.includes(item) ? { ...item, lost: true, seq: null } : item) as TimelineItem,
      );
      world.changed(id);
    },
    online(on: boolean) {
      world.isOnline = on;
      if (on) world.flush();
      world.tell({ type: 'missed' });
    },
    setPolling(on: boolean) {
      world.isPolling = on;
      world.tell();
    },
    setRebuilding(percent: number | null) {
      world.rebuilding = percent;
      world.tell();
    },
    follow: (link: Link) => links.forEach((listener) => listener(link)),
  };
}

export function createFake(options: FakeOptions = {}): Fake {
  const { signedIn = true, empty = false, history = 120, startLink = null, failing = {} } = options;
  const world = new World();
  world.isSignedIn = signedIn;
  if (options.locked) [world.isLocked, world.keyStore] = [true, 'passphrase'];
  if (typeof options.locked === 'string') world.trouble = options.locked;
  if (options.offer) [world.offer, world.keyStore] = [options.offer, 'session_only'];
  if (!empty) seed(world, history);
  options.fill?.(world);
  const links = new Set<(link: Link) => void>();
  const screens = new Set<(isLocked: boolean) => void>();
  const updates = new Set<(update: UpdateView) => void>();
  let update: UpdateView = { state: 'current', looked_at: null };
  const updated = (next: UpdateView) => {
    update = next;
    updates.forEach((listener) => listener(next));
  };
  const fake: Fake = {
    ...account(world),
    ...conversations(world),
    ...messages(world),
    ...diagnostics(world),
    ...controls(world, links),
    status: async () => world.status(),
    networkChanged: async () => undefined,
    openLink: async () => undefined,
    takeStartLink: async () => startLink,
    painted: async () => false,
    suggestedServer: async () => null,
    openAgain: async () => undefined,
    quit: async () => undefined,
    appVersion: async () => '0.1.0',
    updated,
    update: async () => update,
    async lookForUpdate() {
      updated({ state: 'current', looked_at: Date.now() });
      return update;
    },
    installUpdate: async () => undefined,
    async onEngine(listener) {
      world.listeners.add(listener);
      return () => world.listeners.delete(listener);
    },
    async onLink(listener) {
      links.add(listener);
      return () => links.delete(listener);
    },
    onQuitAsked: async () => () => undefined,
    lockScreen(isLocked, isHeard = true) {
      world.isScreenLocked = isLocked;
      if (isHeard) screens.forEach((listener) => listener(isLocked));
    },
    async onScreenLocked(listener) {
      screens.add(listener);
      return () => screens.delete(listener);
    },
    async onUpdate(listener) {
      updates.add(listener);
      return () => updates.delete(listener);
    },
  };
  for (const [name, code] of Object.entries(failing)) {
    Object.assign(fake, { [name]: () => Promise.reject(refusal(code)) });
  }
  return fake;
}

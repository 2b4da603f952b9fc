/** An in-memory twin of the shell, for tests and for the interface in a browser. Never part of the app. */
import type {
  Anchor,
  ConversationView,
  EngineEvent,
  MessageView,
  OutboxItemView,
  PersonView,
  SendState,
  Shell,
  StatusView,
  TimelineItem,
} from './engine';

export interface Fake extends Shell {
  /** Says that somebody else wrote. */
  receive(conversation: string, text: string): void;
  /** Takes the network away or gives it back. */
  online(on: boolean): void;
  tell(...events: EngineEvent[]): void;
}

interface Row {
  view: ConversationView;
  items: TimelineItem[];
  read: number;
  members: PersonView[];
}

const person = (id: string, display_name: string, role: string | null = null): PersonView => ({
  id,
  username: display_name.toLowerCase().replace(/\W+/g, '.'),
  display_name,
  role,
  avatar: null,
});

const ME = person('me', 'Ada Lovelace');
const PEOPLE = [
  person('p1', 'Bo Nilsson', 'candidate'),
  person('p2', 'Cleo Papadopoulou-Wolfeschlegelsteinhausenbergerdorff', 'recruiter'),
  person('p3', '山田 花子'),
  person('p4', 'محمد العربي'),
  person('p5', 'Dana'),
];
const LINES = [
  'Hello! Thank you for the invitation.',
  'Does Tuesday at 10:00 suit you?',
  'Here is the description: https://jobs.example.org/1234?ref=kith',
  'I have a question about the second part.\nIs it on site?',
  'Yes 👍',
  'こんにちは、明日の面接についてお知らせします。',
  'مرحبا، شكرا لك على الرسالة',
];

export interface FakeOptions {
  signedIn?: boolean;
  empty?: boolean;
  history?: number;
  failing?: Partial<Record<keyof Shell, string>>;
}

export function createFake(options: FakeOptions = {}): Fake {
  const { signedIn: startSignedIn = true, empty = false, history = 120, failing = {} } = options;
  let signedIn = startSignedIn;
  let isOnline = true;
  let next = 1;
  let settings = { theme: 'system', notifications: 'full', close_to_tray: true } as const as Awaited<
    ReturnType<Shell['getSettings']>
  >;
  const listeners = new Set<(events: EngineEvent[]) => void>();
  const rows = new Map<string, Row>();
  const outbox: OutboxItemView[] = [];
  const start = Date.now() - history * 3_600_000;

  const message = (sender: PersonView, text: string, seq: number | null, ts: number): MessageView => ({
    id: `m${next++}`,
    order: seq ?? 2 ** 52 + next,
    seq,
    sender,
    mine: sender === ME,
    text,
    ts,
    edited: false,
    deleted: false,
    pinned: false,
    reply_to: null,
    reactions: [],
    send_state: sender === ME ? { state: seq ? 'read' : 'queued' } : null,
    pending_change: false,
  });

  function add(
    id: string,
    title: string,
    members: PersonView[],
    kind: 'direct' | 'group',
    lines: number,
  ): Row {
    const items: TimelineItem[] = [];
    for (let seq = 1; seq <= lines; seq += 1) {
      const sender = seq % 3 === 0 ? ME : (members[seq % members.length] ?? ME);
      const text = `${LINES[seq % LINES.length]}`;
      items.push({ type: 'message', ...message(sender, text, seq, start + seq * 3_500_000) });
    }
    const view: ConversationView = {
      id,
      kind,
      title,
      peer: kind === 'direct' ? (members[0] ?? null) : null,
      context: null,
      member_count: members.length + 1,
      my_role: kind === 'group' ? 'owner' : 'member',
      preview: null,
      last_activity: start,
      unread: 0,
      unread_flag: false,
      mute: 0,
      pin: false,
      archive: false,
      draft: null,
      draft_conflict: null,
      typing: [],
      presence: kind === 'direct' ? { user: id, state: 'offline', last_seen: Date.now() - 7_200_000 } : null,
      is_local: lines === 0,
    };
    const row = { view, items, read: lines, members };
    rows.set(id, row);
    return row;
  }

  if (!empty) {
    const [bo, cleo, hanako, mohammed, dana] = PEOPLE as [
      PersonView,
      PersonView,
      PersonView,
      PersonView,
      PersonView,
    ];
    const first = add('c1', bo.display_name, [bo], 'direct', history);
    first.read = history - 2;
    if (first.view.presence) first.view.presence = { user: bo.id, state: 'online', last_seen: null };
    add('c2', cleo.display_name, [cleo], 'direct', 3);
    add('c3', hanako.display_name, [hanako], 'direct', 6);
    add('c4', mohammed.display_name, [mohammed], 'direct', 7);
    const group = add('c5', 'Interview team', [bo, cleo, dana], 'group', 9);
    group.view.draft = 'I will bring the';
    group.items.push({
      type: 'notice',
      id: 'n1',
      order: 9.5,
      ts: Date.now(),
      actor: ME,
      what: { kind: 'member', user: dana, change: 'added', role: 'member' },
    });
    const newest = first.items.at(-1);
    if (newest?.type === 'message') {
      newest.reactions = [{ emoji: '👍', count: 2, names: ['Ada Lovelace', 'Bo Nilsson'], mine: true }];
      newest.reply_to = { id: 'm1', sender: ME, text: 'Does Tuesday at 10:00 suit you?', deleted: false };
    }
  }

  const row = (id: string): Row => {
    const found = rows.get(id);
    if (!found) throw { code: 'not_found', message: '', retryable: false };
    return found;
  };

  function list(): ConversationView[] {
    return [...rows.values()]
      .map(({ view, items, read }) => {
        const last = items.findLast((item) => item.type === 'message');
        const preview =
          last?.type === 'message'
            ? {
                sender: last.mine ? null : last.sender,
                text: last.text.split('\n')[0] ?? '',
                deleted: last.deleted,
                ts: last.ts,
                send_state: last.send_state,
              }
            : null;
        const unread = items.filter((i) => i.type === 'message' && !i.mine && (i.seq ?? 0) > read).length;
        return { ...view, preview, unread, last_activity: last?.ts ?? view.last_activity };
      })
      .sort((a, b) => Number(b.pin) - Number(a.pin) || b.last_activity - a.last_activity);
  }

  function status(): StatusView {
    return {
      link: isOnline
        ? { state: 'connected', polling: false }
        : { state: 'offline', since: Date.now() - 60_000, next_try: Date.now() + 8_000 },
      unread: list().reduce((sum, view) => sum + view.unread, 0),
      unsent: outbox.length,
      parked: outbox.filter((item) => item.state.state === 'parked').length,
    };
  }

  function tell(...events: EngineEvent[]): void {
    const all = [...events, { type: 'status_changed' as const, status: status() }];
    queueMicrotask(() => listeners.forEach((listener) => listener(all)));
  }

  function changed(id: string): void {
    tell(
      { type: 'timeline_changed', conversation: id },
      { type: 'conversations_changed', conversations: [id] },
    );
  }

  function each(id: string, change: (message: MessageView) => Partial<MessageView>): void {
    for (const [conversation, { items }] of rows) {
      items.forEach((item, index) => {
        if (item.type === 'message' && item.id === id) {
          items[index] = { ...item, ...change(item) };
          changed(conversation);
        }
      });
    }
  }

  function send(id: string, text: string, reply_to: MessageView['reply_to']): string {
    const { items, view } = row(id);
    const seq = isOnline ? items.filter((item) => item.type === 'message').length + 1 : null;
    const sent = { ...message(ME, text, seq, Date.now()), reply_to };
    const state: SendState = isOnline ? { state: 'sent' } : { state: 'queued' };
    items.push({ type: 'message', ...sent, send_state: state });
    view.is_local = !isOnline;
    view.draft = null;
    if (!isOnline) {
      outbox.push({
        item: next++,
        conversation: id,
        conversation_title: view.title,
        what: 'message',
        summary: text,
        written_at: Date.now(),
        state: { state: 'queued' },
        tries: 0,
      });
    }
    changed(id);
    tell({ type: 'outbox_changed' });
    return sent.id;
  }

  const shell: Fake = {
    async appState() {
      return signedIn
        ? {
            state: 'signed_in',
            account: { server: 'https://chat.example.org', me: ME, device: 'd1', key_store: 'secret_store' },
          }
        : { state: 'signed_out', server: null, reason: null, secret_store_usable: true };
    },
    status: async () => status(),
    async signUp() {
      signedIn = true;
      tell({ type: 'app_changed' });
    },
    async signIn() {
      signedIn = true;
      tell({ type: 'app_changed' });
    },
    signOutPreview: async () => ({ unsent: outbox.length, messages: 1_234 }),
    async signOut() {
      signedIn = false;
      tell({ type: 'app_changed' });
    },
    sessions: async () => [
      { device: 'd1', name: 'This laptop', created_at: start, last_seen: Date.now(), current: true },
      { device: 'd2', name: 'Old computer', created_at: start, last_seen: start, current: false },
    ],
    revokeSession: async () => undefined,
    changePassword: async () => undefined,
    setDisplayName: async () => undefined,
    findPeople: async (query) =>
      PEOPLE.filter((p) => `${p.display_name} ${p.username}`.toLowerCase().includes(query.toLowerCase())),
    person: async (id) => PEOPLE.find((p) => p.id === id) ?? ME,
    conversations: async () => list(),
    async conversation(id) {
      const view = list().find((each) => each.id === id);
      if (!view) throw { code: 'not_found', message: '', retryable: false };
      const members = [ME, ...row(id).members].map((p) => ({
        person: p,
        role: p === ME && view.kind === 'group' ? ('owner' as const) : ('member' as const),
        read: null,
      }));
      return { conversation: view, members };
    },
    findDirect: async (user) =>
      [...rows.values()].find((each) => each.view.kind === 'direct' && each.view.peer?.id === user)?.view
        .id ?? null,
    async startDirect(user, text) {
      const existing = await this.findDirect(user);
      const peer = PEOPLE.find((p) => p.id === user) ?? ME;
      const id = existing ?? add(`d-${user}`, peer.display_name, [peer], 'direct', 0).view.id;
      send(id, text, null);
      return id;
    },
    async openDirect(user) {
      const peer = PEOPLE.find((p) => p.id === user) ?? ME;
      return (
        (await this.findDirect(user)) ?? add(`d-${user}`, peer.display_name, [peer], 'direct', 0).view.id
      );
    },
    async createGroup(title, members) {
      const people = PEOPLE.filter((p) => members.includes(p.id));
      const id = add(`g${next++}`, title, people, 'group', 0).view.id;
      changed(id);
      return id;
    },
    async addMembers(id, members) {
      row(id).members.push(...PEOPLE.filter((p) => members.includes(p.id)));
      changed(id);
    },
    async removeMember(id, user) {
      const found = row(id);
      found.members = found.members.filter((p) => p.id !== user);
      changed(id);
    },
    setRole: async () => undefined,
    async leave(id) {
      row(id).view.my_role = null;
      changed(id);
    },
    async setTitle(id, title) {
      row(id).view.title = title;
      changed(id);
    },
    async setMute(id, until) {
      row(id).view.mute = until;
      changed(id);
    },
    async setPin(id, on) {
      row(id).view.pin = on;
      changed(id);
    },
    async setArchive(id, on) {
      row(id).view.archive = on;
      changed(id);
    },
    async setUnread(id, on) {
      row(id).view.unread_flag = on;
      changed(id);
    },
    async hide(id) {
      rows.delete(id);
      changed(id);
    },
    async timeline(id, anchor: Anchor, limit) {
      const { items, read } = row(id);
      const unread = items.findIndex((i) => i.type === 'message' && !i.mine && (i.seq ?? 0) > read);
      const place = (order: number) => items.findIndex((item) => item.order >= order);
      let from = Math.max(0, items.length - limit);
      let to = items.length;
      if (anchor.at === 'before') {
        to = Math.max(0, place(anchor.order));
        from = Math.max(0, to - limit);
      } else if (anchor.at === 'from') {
        from = Math.max(0, place(anchor.order));
        to = Math.min(items.length, from + limit);
      } else if (anchor.at === 'around') {
        const at = items.findIndex((item) => item.type === 'message' && item.id === anchor.id);
        from = Math.max(0, at - Math.floor(limit / 2));
        to = Math.min(items.length, from + limit);
      }
      const first = items[unread];
      return {
        items: items.slice(from, to),
        at_start: from === 0,
        at_end: to === items.length,
        loading: false,
        first_unread: first?.type === 'message' ? first.id : null,
        read,
      };
    },
    async sendMessage(id, text, reply_to) {
      const target = row(id).items.find((item) => item.type === 'message' && item.id === reply_to);
      const quote =
        target?.type === 'message'
          ? { id: target.id, sender: target.sender, text: target.text, deleted: target.deleted }
          : null;
      return send(id, text, quote);
    },
    async editMessage(id, text) {
      each(id, () => ({ text, edited: true }));
    },
    async deleteMessage(id) {
      each(id, () => ({ text: '', deleted: true, reactions: [] }));
    },
    async react(id, emoji, on) {
      each(id, ({ reactions }) => ({
        reactions: on
          ? [
              ...reactions.filter((r) => r.emoji !== emoji),
              { emoji, count: 1, names: [ME.display_name], mine: true },
            ]
          : reactions.filter((r) => r.emoji !== emoji),
      }));
    },
    async pinMessage(id, on) {
      each(id, () => ({ pinned: on }));
    },
    async markRead(id, upTo) {
      const found = row(id);
      found.read = Math.max(found.read, upTo);
      tell({ type: 'conversations_changed', conversations: [id] });
    },
    async setDraft(id, text) {
      row(id).view.draft = text || null;
      tell({ type: 'conversations_changed', conversations: [id] });
    },
    async keepDraft(id, text) {
      Object.assign(row(id).view, { draft: text, draft_conflict: null });
      changed(id);
    },
    setTyping: async () => undefined,
    watchPresence: async () => undefined,
    setPresence: async () => undefined,
    presence: async () => [],
    outbox: async () => [...outbox],
    retry: async () => undefined,
    async cancel(item) {
      outbox.splice(
        outbox.findIndex((each) => each.item === item),
        1,
      );
      tell({ type: 'outbox_changed' });
    },
    async takeBack(item) {
      const [taken] = outbox.splice(
        outbox.findIndex((each) => each.item === item),
        1,
      );
      tell({ type: 'outbox_changed' });
      return taken?.summary ?? '';
    },
    sendAllNow: async () => undefined,
    async search(query) {
      const hits = [...rows.values()].flatMap(({ view, items }) =>
        items.flatMap((item) => {
          if (item.type !== 'message') return [];
          const at = item.text.toLowerCase().indexOf(query.toLowerCase());
          if (at < 0) return [];
          const snippet = [
            { text: item.text.slice(0, at), hit: false },
            { text: item.text.slice(at, at + query.length), hit: true },
            { text: item.text.slice(at + query.length), hit: false },
          ];
          return [
            {
              conversation: view.id,
              conversation_title: view.title,
              message: item.id,
              sender: item.sender,
              ts: item.ts,
              snippet,
            },
          ];
        }),
      );
      return { hits: hits.slice(-20).reverse(), more: hits.length > 20, searched: 1_234, total: 1_300 };
    },
    networkChanged: async () => undefined,
    setFocus: async () => undefined,
    openLink: async () => undefined,
    getSettings: async () => settings,
    async setSettings(changedSettings) {
      settings = changedSettings;
    },
    setNotifications: async () => undefined,
    takeStartLink: async () => null,
    suggestedServer: async () => null,
    openAgain: async () => undefined,
    quit: async () => undefined,
    appVersion: async () => '0.1.0',
    async onEngine(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    onLink: async () => () => undefined,
    onQuitAsked: async () => () => undefined,
    tell,
    receive(id, text) {
      const { items, members } = row(id);
      const seq = items.filter((item) => item.type === 'message').length + 1;
      items.push({ type: 'message', ...message(members[0] ?? ME, text, seq, Date.now()) });
      changed(id);
    },
    online(on) {
      isOnline = on;
      if (on) {
        for (const { items } of rows.values()) {
          items.forEach((item, index) => {
            if (item.type === 'message' && item.mine && item.send_state?.state === 'queued') {
              items[index] = { ...item, send_state: { state: 'sent' }, seq: index + 1, order: index + 1 };
            }
          });
        }
        outbox.length = 0;
      }
      tell({ type: 'missed' });
    },
  };
  for (const [name, code] of Object.entries(failing)) {
    Object.assign(shell, { [name]: async () => Promise.reject({ code, message: code, retryable: false }) });
  }
  return shell;
}

/** What the twin remembers, and how a change of it is told. */
import type {
  ConversationKind,
  ConversationView,
  EngineEvent,
  KeyOffer,
  KeyStore,
  LockedTrouble,
  MemberView,
  MendedView,
  MessageView,
  OutboxItemView,
  OutboxKind,
  PersonView,
  PreviewView,
  QuoteView,
  SendState,
  StatusView,
  TimelineItem,
} from '../engine';
import { ME } from './people';

export interface Row {
  view: ConversationView;
  items: TimelineItem[];
  read: number;
  members: MemberView[];
}

/** Above every seq: what is not numbered yet stands below what is. */
const UNNUMBERED = 2 ** 52;

export function refusal(code: string): { code: string; message: string; retryable: boolean } {
  return { code, message: code, retryable: false };
}

function preview(items: TimelineItem[]): PreviewView | null {
  const last = items.findLast((item) => item.type === 'message');
  if (last?.type !== 'message') return null;
  return {
    sender: last.mine ? null : last.sender,
    text: last.text.split('\n')[0] ?? '',
    deleted: last.deleted,
    ts: last.ts,
    send_state: last.send_state,
  };
}

export class World {
  readonly rows = new Map<string, Row>();
  readonly outbox: OutboxItemView[] = [];
  readonly listeners = new Set<(events: EngineEvent[]) => void>();
  isOnline = true;
  /** Whom the user has blocked. */
  blocked = new Set<string>();
  /** Who brought the user into a group. */
  addedBy = new Map<string, string>();
  isPolling = false;
  rebuilding: number | null = null;
  isScreenLocked = false;
  isSignedIn = true;
  mended: MendedView | null = null;
  isLocked = false;
  trouble: LockedTrouble | null = null;
  passphrase = 'correct horse battery';
  keyStore: KeyStore = 'secret_store';
  offer: KeyOffer | null = null;
  next = 1;

  row(id: string): Row {
    const found = this.rows.get(id);
    if (!found) throw refusal('not_found');
    return found;
  }

  add(id: string, title: string, people: PersonView[], kind: ConversationKind): Row {
    const isGroup = kind === 'group';
    const view: ConversationView = {
      id,
      kind,
      title,
      peer: isGroup ? null : (people[0] ?? null),
      context: null,
      member_count: people.length + 1,
      my_role: isGroup ? 'owner' : 'member',
      preview: null,
      last_activity: Date.now(),
      unread: 0,
      unread_flag: false,
      mute: 0,
      pin: false,
      archive: false,
      draft: null,
      draft_conflict: null,
      typing: [],
      presence: isGroup ? null : { user: id, state: 'offline', last_seen: Date.now() - 7_200_000 },
      is_local: true,
    };
    const others = people.map((person) => ({ person, role: 'member' as const, read: null }));
    const me: MemberView = { person: ME, role: isGroup ? 'owner' : 'member', read: null };
    const row = { view, items: [], read: 0, members: [me, ...others] };
    this.rows.set(id, row);
    return row;
  }

  message(sender: PersonView, text: string, seq: number | null, ts = Date.now()): MessageView {
    const id = this.next++;
    return {
      id: `m${id}`,
      order: seq ?? UNNUMBERED + id,
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
      lost: false,
    };
  }

  /** Puts a message at the end of a conversation, numbered by the server if it can be reached. */
  push(id: string, sender: PersonView, text: string, reply_to: QuoteView | null = null): MessageView {
    const row = this.row(id);
    const isNumbered = this.isOnline || sender !== ME;
    const message = this.message(sender, text, isNumbered ? this.seqAfter(row) : null);
    message.reply_to = reply_to;
    if (sender === ME) message.send_state = { state: isNumbered ? 'sent' : 'queued' };
    row.items.push({ type: 'message', ...message });
    row.items.sort((a, b) => a.order - b.order);
    return message;
  }

  seqAfter({ items }: Row): number {
    return items.filter((item) => item.type === 'message' && item.seq !== null).length + 1;
  }

  queue(id: string, summary: string, state: OutboxItemView['state'], what: OutboxKind = 'message'): void {
    this.outbox.push({
      item: this.next++,
      conversation: id,
      conversation_title: this.row(id).view.title,
      what,
      summary,
      written_at: Date.now(),
      state,
      tries: 0,
    });
    this.tell({ type: 'outbox_changed' });
  }

  unqueue(item: number): OutboxItemView | undefined {
    const at = this.outbox.findIndex((each) => each.item === item);
    const [taken] = at < 0 ? [] : this.outbox.splice(at, 1);
    this.tell({ type: 'outbox_changed' });
    return taken;
  }

  list(): ConversationView[] {
    return [...this.rows.values()]
      .map(({ view, items, read, members }) => {
        const last = preview(items);
        const unread = items.filter((i) => i.type === 'message' && !i.mine && (i.seq ?? 0) > read).length;
        const last_activity = last?.ts ?? view.last_activity;
        return { ...view, preview: last, unread, last_activity, member_count: members.length };
      })
      .sort((a, b) => Number(b.pin) - Number(a.pin) || b.last_activity - a.last_activity);
  }

  status(): StatusView {
    return {
      link: this.isOnline
        ? { state: 'connected', polling: this.isPolling }
        : {
            state: 'offline',
            since: Date.now() - 60_000,
            next_try: Date.now() + 8_000,
            bad_certificate: false,
          },
      unread: this.list()
        .filter((view) => !view.archive && view.mute <= Date.now())
        .reduce((sum, view) => sum + view.unread, 0),
      unsent: this.outbox.length,
      parked: this.outbox.filter((item) => item.state.state === 'parked').length,
      rebuilding: this.rebuilding,
    };
  }

  tell(...events: EngineEvent[]): void {
    const all = [...events, { type: 'status_changed' as const, status: this.status() }];
    queueMicrotask(() => this.listeners.forEach((listener) => listener(all)));
  }

  changed(id: string): void {
    this.tell(
      { type: 'timeline_changed', conversation: id },
      { type: 'conversations_changed', conversations: [id] },
    );
  }

  /** Changes the row of the list only. */
  alter(id: string, change: Partial<ConversationView>): void {
    Object.assign(this.row(id).view, change);
    this.tell({ type: 'conversations_changed', conversations: [id] });
  }

  edit(conversation: string, id: string, change: (message: MessageView) => Partial<MessageView>): void {
    const { items } = this.row(conversation);
    const at = items.findIndex((item) => item.type === 'message' && item.id === id);
    const item = items[at];
    if (item?.type !== 'message') throw refusal('not_found');
    items[at] = { ...item, ...change(item) };
    this.changed(conversation);
  }

  /** Everything that waited reaches the server. */
  flush(): void {
    const state: SendState = { state: 'sent' };
    for (const row of this.rows.values()) {
      row.items.forEach((item, index) => {
        if (item.type !== 'message' || item.seq !== null) return;
        const seq = this.seqAfter(row);
        row.items[index] = { ...item, send_state: state, seq, order: seq };
      });
    }
    this.outbox.length = 0;
  }
}

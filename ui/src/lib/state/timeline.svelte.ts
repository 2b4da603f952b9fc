/** The part of one conversation that is on screen: a window onto what the engine has, moved by scrolling. */
import type { Anchor, ConversationId, EventId, Shell, TimelineItem, TimelineView } from '../ipc/engine';

/** Entries read at a time. */
const PAGE = 50;
/** Entries kept; beyond, the far end is let go and read again when it is scrolled to. */
const KEPT_MAX = 300;

export class Timeline {
  items = $state.raw<TimelineItem[]>([]);
  atStart = $state(false);
  atEnd = $state(true);
  loading = $state(false);
  loaded = $state(false);
  /** Where the "new messages" line stands; it stays until the conversation is left. */
  divider = $state<EventId | null>(null);
  read = $state(0);
  /** A message to show and to mark, once it is here. */
  target = $state<EventId | null>(null);
  readonly conversation: ConversationId;
  #shell: Shell;
  #asked = 0;
  #busy = false;

  constructor(shell: Shell, conversation: ConversationId) {
    this.#shell = shell;
    this.conversation = conversation;
  }

  async #ask(anchor: Anchor, limit: number): Promise<TimelineView | null> {
    const ask = ++this.#asked;
    const view = await this.#shell.timeline(this.conversation, anchor, limit);
    return ask === this.#asked ? view : null; // an older answer never replaces a newer one
  }

  #show(view: TimelineView): void {
    this.items = view.items;
    this.atStart = view.at_start;
    this.atEnd = view.at_end;
    this.loading = view.loading;
    this.read = Math.max(this.read, view.read);
    this.loaded = true;
  }

  /** Opens at the first unread message, or at one that is looked for. */
  async open(target: EventId | null): Promise<void> {
    const anchor: Anchor = target ? { at: 'around', id: target } : { at: 'first_unread' };
    const view = await this.#ask(anchor, PAGE);
    if (!view) return;
    this.#show(view);
    this.divider ??= view.first_unread;
    this.target = target;
  }

  /** Reads the window again: something in it, or after it, changed. */
  async refresh(): Promise<void> {
    const first = this.items[0];
    // What the server has not numbered moves when it does: no place to read from.
    const isFixed = first !== undefined && !(first.type === 'message' && first.seq === null);
    const view = isFixed
      ? await this.#ask({ at: 'from', order: first.order }, this.#windowLength())
      : await this.#ask({ at: 'newest' }, this.#windowLength());
    if (!view) return;
    const atStart = isFixed ? this.atStart : view.at_start;
    this.#show({ ...view, at_start: atStart || view.at_start });
  }

  /** At the end, what is new must fit in; elsewhere the window keeps its length. */
  #windowLength(): number {
    return this.atEnd ? Math.max(this.items.length, PAGE) + PAGE : this.items.length;
  }

  async older(): Promise<void> {
    const first = this.items[0];
    if (!first || this.atStart || this.#busy) return;
    this.#busy = true;
    try {
      const view = await this.#shell.timeline(this.conversation, { at: 'before', order: first.order }, PAGE);
      if (this.items[0] !== first) return; // the window moved meanwhile
      this.atStart = view.at_start;
      this.loading = view.loading;
      const all = [...view.items, ...this.items];
      this.atEnd = this.atEnd && all.length <= KEPT_MAX;
      this.items = all.slice(0, KEPT_MAX);
    } finally {
      this.#busy = false;
    }
  }

  async newer(): Promise<void> {
    const last = this.items.at(-1);
    if (!last || this.atEnd || this.#busy) return;
    this.#busy = true;
    try {
      const view = await this.#shell.timeline(this.conversation, { at: 'from', order: last.order }, PAGE + 1);
      if (this.items.at(-1) !== last) return;
      const all = [...this.items.slice(0, -1), ...view.items];
      this.atStart = this.atStart && all.length <= KEPT_MAX;
      this.items = all.slice(-KEPT_MAX);
      this.atEnd = view.at_end;
    } finally {
      this.#busy = false;
    }
  }

  async newest(): Promise<void> {
    const view = await this.#ask({ at: 'newest' }, PAGE);
    if (view) this.#show(view);
  }

  async jump(id: EventId): Promise<void> {
    const view = await this.#ask({ at: 'around', id }, PAGE);
    if (!view) return;
    this.#show(view);
    this.target = null; // the same message again is a new jump
    this.target = id;
  }

  /** What was seen is read: the marker moves, never back. */
  async seen(seq: number): Promise<void> {
    if (seq <= this.read) return;
    this.read = seq;
    await this.#shell.markRead(this.conversation, seq);
  }
}

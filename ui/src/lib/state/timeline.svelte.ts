/** The part of one conversation that is on screen: a window onto what the engine has, moved by scrolling. */
import { codeOf } from '../errors';
import type { Anchor, ConversationId, EventId, Shell, TimelineItem, TimelineView } from '../ipc/engine';
import { kept } from '../same';

/** Entries read at a time. */
export const PAGE = 50;
/** Entries kept; beyond, the far end is let go and read again when it is scrolled to. */
export const KEPT_MAX = 300;

/** An entry's key: it stays when the entry is read again. */
export function keyOf(item: TimelineItem): string {
  return item.type === 'gap' ? `gap ${item.from}` : item.id;
}

export class Timeline {
  items = $state.raw<TimelineItem[]>([]);
  atStart = $state(false);
  atEnd = $state(true);
  loading = $state(false);
  loaded = $state(false);
  /** The reader is at the newest entry and stays there when another comes. */
  following = $state(true);
  /** How far it was scrolled when it was last on screen; nothing is drawn from it. */
  scrolledTo: number | null = null;
  /** Where the "new messages" line stands; it stays until the conversation is left. */
  divider = $state<EventId | null>(null);
  read = $state(0);
  /** A message to show and to mark, once it is here. */
  target = $state<EventId | null>(null);
  readonly conversation: ConversationId;
  #shell: Shell;
  #before: Promise<unknown> = Promise.resolve();
  #isTurning = false;

  constructor(shell: Shell, conversation: ConversationId) {
    this.#shell = shell;
    this.conversation = conversation;
  }

  /** One change of the window after the other: none is worked out from what another is about to replace. */
  #inTurn(work: () => Promise<void>): Promise<void> {
    const done = this.#before.then(work);
    this.#before = done.catch(() => undefined);
    return done;
  }

  #ask(anchor: Anchor, limit: number): Promise<TimelineView> {
    return this.#shell.timeline(this.conversation, anchor, limit);
  }

  #show(view: TimelineView): void {
    this.items = kept(this.items, view.items, keyOf);
    this.atStart = view.at_start;
    this.atEnd = view.at_end;
    this.loading = view.loading;
    this.read = Math.max(this.read, view.read);
    this.loaded = true;
  }

  /** Keeps the window bounded: what is too much goes at the end that the reader is far from. */
  #keep(items: TimelineItem[], near: 'start' | 'end'): void {
    const isTooLong = items.length > KEPT_MAX;
    if (isTooLong && near === 'start') this.atEnd = false;
    if (isTooLong && near === 'end') this.atStart = false;
    this.items = near === 'start' ? items.slice(0, KEPT_MAX) : items.slice(-KEPT_MAX);
  }

  /** Opens at the first unread message, or at one that is looked for. */
  open(target: EventId | null): Promise<void> {
    return this.#inTurn(async () => {
      const view = await this.#ask(target ? { at: 'around', id: target } : { at: 'first_unread' }, PAGE);
      this.divider ??= view.first_unread;
      this.target = target;
      this.#show(view);
    });
  }

  /** Reads the window again: something in it, or after it, changed. */
  refresh(): Promise<void> {
    return this.#inTurn(async () => {
      const first = this.items[0];
      // What the server has not numbered moves when it does: no place to read from.
      const isFixed = first !== undefined && !(first.type === 'message' && first.seq === null && !first.lost);
      const anchor: Anchor = isFixed ? { at: 'from', order: first.order } : { at: 'newest' };
      // At the end, what is new must fit in; elsewhere the window keeps its length.
      const limit = this.atEnd ? Math.max(this.items.length, PAGE) + PAGE : this.items.length;
      const view = await this.#ask(anchor, limit);
      if (this.following && this.atEnd && !view.at_end) {
        this.#show(await this.#ask({ at: 'newest' }, PAGE));
        return;
      }
      this.#show({ ...view, at_start: (isFixed && this.atStart) || view.at_start });
      this.#keep(this.items, this.following ? 'end' : 'start');
    });
  }

  /** Puts the page before the window in front of it. */
  older(): Promise<void> {
    return this.#turn(async () => {
      const first = this.items[0];
      if (!first || this.atStart) return;
      const view = await this.#ask({ at: 'before', order: first.order }, PAGE);
      this.atStart = view.at_start;
      this.loading = view.loading;
      this.#keep([...view.items, ...this.items], 'start');
    });
  }

  /** Puts the page after the window behind it. */
  newer(): Promise<void> {
    return this.#turn(async () => {
      const last = this.items.at(-1);
      if (!last || this.atEnd) return;
      const view = await this.#ask({ at: 'from', order: last.order }, PAGE + 1);
      this.atEnd = view.at_end;
      this.#keep([...this.items.slice(0, -1), ...view.items], 'end');
    });
  }

  /** Scrolling asks many times; one page at a time is read. */
  async #turn(work: () => Promise<void>): Promise<void> {
    if (this.#isTurning) return;
    this.#isTurning = true;
    try {
      await this.#inTurn(work);
    } finally {
      this.#isTurning = false;
    }
  }

  newest(): Promise<void> {
    return this.#inTurn(async () => this.#show(await this.#ask({ at: 'newest' }, PAGE)));
  }

  jump(id: EventId): Promise<void> {
    return this.#inTurn(async () => {
      this.#show(await this.#ask({ at: 'around', id }, PAGE));
      this.target = null; // the same message again is a new jump
      this.target = id;
    });
  }

  /** What was seen is read: the marker moves, never back. */
  async seen(seq: number): Promise<void> {
    if (seq <= this.read) return;
    const before = this.read;
    this.read = seq;
    try {
      await this.#shell.markRead(this.conversation, seq);
    } catch (error) {
      // It was not marked: the next look says so again.
      if (this.read === seq) this.read = before;
      if (codeOf(error) !== 'screen_locked') throw error;
    }
  }
}

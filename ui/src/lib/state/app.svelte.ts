/** The whole window's state: who is signed in, what is open, and what the engine's notices change. */
import { getContext, setContext } from 'svelte';
import { explain, sentence } from '../errors';
import type {
  AppState,
  Context,
  ConversationId,
  EngineEvent,
  EventId,
  Link,
  Painted,
  PersonView,
  Problem,
  Settings,
  Shell,
  StatusView,
  UpdateView,
  UserId,
} from '../ipc/engine';
import { doubtsOf, type LinkTarget } from '../links';
import { tame } from '../format';
import { namesakes } from '../namesakes';
import { Blocks } from './blocks.svelte';
import { Composer } from './composer.svelte';
import { Conversations } from './conversations.svelte';
import { Timeline } from './timeline.svelte';
import { Toasts } from './toasts.svelte';
import { Watched } from './watched';

export type View = 'chat' | 'unsent' | 'settings';
export type Overlay = 'new-chat' | 'new-group' | 'shortcuts' | 'details' | 'switcher' | null;

const KEY = Symbol('app');

export class App {
  readonly shell: Shell;
  readonly toasts = new Toasts();
  readonly conversations: Conversations;
  /** Whom the user has blocked. */
  readonly blocks: Blocks;
  /** Whose presence is on screen. */
  readonly watched: Watched;
  state = $state.raw<AppState | null>(null);
  failure = $state<string | null>(null);
  status = $state.raw<StatusView | null>(null);
  settings = $state.raw<Settings>({
    theme: 'system',
    notifications: 'full',
    close_to_tray: true,
    look_for_updates: true,
    lock_after_minutes: 0,
  });
  /** What is known of newer versions. */
  update = $state.raw<UpdateView>({ state: 'off' });
  view = $state<View>('chat');
  overlay = $state<Overlay>(null);
  timeline = $state.raw<Timeline | null>(null);
  composer = $state.raw<Composer | null>(null);
  quitAsked = $state<number | null>(null);
  /** A link that is opened only if its reader says so, seeing where it leads. */
  doubtful = $state.raw<{ text: string; target: LinkTarget } | null>(null);
  /** Rises when the outbox, presence or members of the open conversation changed. */
  outboxVersion = $state(0);
  detailVersion = $state(0);
  /** Who wrote the messages that the search shows. */
  foundSenders = $state.raw<PersonView[]>([]);
  /** People on screen whose name another one there has too. */
  #namesakes = $derived.by(() => {
    const people: (PersonView | null | undefined)[] = [];
    if (this.state?.state === 'signed_in') people.push(this.state.account.me);
    for (const row of this.conversations.list) people.push(row.peer, row.preview?.sender, ...row.typing);
    for (const item of this.timeline?.items ?? []) {
      if (item.type === 'message') {
        people.push(item.sender, item.reply_to?.sender);
        for (const reaction of item.reactions) people.push(...reaction.people);
      }
      if (item.type === 'notice')
        people.push(item.actor, item.what.kind === 'member' ? item.what.user : null);
    }
    people.push(...this.foundSenders);
    const mode = this.composer?.mode;
    if (mode?.kind === 'reply') people.push(mode.to.sender);
    return namesakes(people.filter((person) => !!person));
  });
  selected = $derived(this.timeline?.conversation ?? null);
  /** Only what a passphrase keeps can be opened again by its user alone. */
  lockable = $derived(this.state?.state === 'signed_in' && this.state.account.key_store === 'passphrase');
  #statusTold = 0;
  /** A link that came while nobody was signed in. */
  /** Nobody sees the window behind a locked screen (R3). */
  screenLocked = $state(false);
  #linkBefore: Link | null = null;
  #pending: EngineEvent[] = [];
  #isHearing = false;
  #isListPainted = false;
  // eslint-disable-next-line svelte/prefer-svelte-reactivity -- nothing is drawn from it
  #composers = new Map<ConversationId, Composer>();
  /** First messages that were typed and not sent, by account and person: no conversation has them as a draft yet. */
  // eslint-disable-next-line svelte/prefer-svelte-reactivity -- read when a person is chosen
  #firstMessages = new Map<string, string>();

  constructor(shell: Shell) {
    this.shell = shell;
    this.conversations = new Conversations(shell);
    this.blocks = new Blocks(shell);
    this.watched = new Watched(shell);
  }

  /** Listens, then reads everything once. Answers a function that ends it. */
  async start(): Promise<() => void> {
    const ends = await Promise.all([
      this.shell.onEngine((events) => this.#hear(events)),
      this.shell.onLink((link) => void this.follow(link)),
      this.shell.onQuitAsked((asked) => (this.quitAsked = asked.unsent)),
      this.shell.onScreenLocked((isLocked) => (this.screenLocked = isLocked)),
      this.shell.onUpdate((update) => (this.update = update)),
    ]);
    [this.settings, this.update] = await Promise.all([this.shell.getSettings(), this.shell.update()]);
    await this.refreshState();
    const link = await this.shell.takeStartLink();
    if (link) await this.follow(link);
    return () => ends.forEach((end) => end());
  }

  /** Says that this was drawn, once it was: two frames after everything is in its place. */
  async paint(what: Painted): Promise<void> {
    await new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)));
    const wasRestarted = await this.shell.painted(what).catch(() => false);
    if (wasRestarted && what === 'frame') {
      this.toasts.show('The window stayed blank, so Kith restarted in compatibility mode.');
    }
  }

  async refreshState(): Promise<void> {
    try {
      this.state = await this.shell.appState();
      this.failure = null;
    } catch (error) {
      this.failure = explain(error);
      return;
    }
    if (this.state.state === 'signed_out') this.#firstMessages.clear();
    if (this.state.state !== 'signed_in') {
      this.close();
      this.#composers.clear();
      this.conversations.list = [];
      this.blocks.forget();
      this.view = 'chat';
      this.overlay = null;
      this.doubtful = null;
      return;
    }
    this.watched.forget();
    await this.#everything();
    const link = this.#linkBefore;
    this.#linkBefore = null;
    if (link) await this.follow(link);
  }

  async #everything(): Promise<void> {
    const told = this.#statusTold;
    const [status] = await Promise.all([this.shell.status(), this.#refreshList()]);
    // What was told meanwhile is newer than this answer.
    if (told === this.#statusTold) this.status = status;
    await this.timeline?.refresh();
    this.outboxVersion += 1;
    this.detailVersion += 1;
  }

  async #refreshList(): Promise<void> {
    await this.conversations.refresh();
    // An answer that a newer one replaces shows nothing.
    if (!this.conversations.loaded || this.#isListPainted) return;
    this.#isListPainted = true;
    void this.paint('list');
  }

  /**
   * One burst after the other: an older notice never comes after a newer one. What comes while another is heeded is heeded
   * together: however much arrives, no more than one burst waits.
   */
  #hear(events: EngineEvent[]): void {
    this.#pending.push(...events);
    if (this.#isHearing) return;
    void this.#hearAll();
  }

  async #hearAll(): Promise<void> {
    this.#isHearing = true;
    while (this.#pending.length > 0) {
      await this.#heard(this.#pending.splice(0)).catch((error) => this.toasts.show(explain(error), 'error'));
    }
    // In the same turn as the last look: nothing that comes later is left lying.
    this.#isHearing = false;
  }

  async #heard(events: EngineEvent[]): Promise<void> {
    // eslint-disable-next-line svelte/prefer-svelte-reactivity -- lives for this call only
    const lists = new Set<string>();
    for (const event of events) {
      switch (event.type) {
        case 'app_changed':
          await this.refreshState();
          break;
        case 'missed':
          await this.#everything();
          break;
        case 'status_changed':
          this.status = event.status;
          this.#statusTold += 1;
          break;
        case 'conversations_changed':
          lists.add('list');
          lists.add('detail');
          break;
        case 'timeline_changed':
          if (event.conversation === this.selected) lists.add('timeline');
          lists.add('list');
          break;
        case 'typing_changed':
          this.conversations.typing(event.conversation, event.people);
          break;
        case 'presence_changed':
          lists.add('list');
          lists.add('detail');
          break;
        case 'outbox_changed':
          this.outboxVersion += 1;
          if (this.timeline) lists.add('timeline');
          break;
        case 'problem':
          // The offer to keep the sign-in says it better.
          if (event.problem.kind === 'no_secret_store' && (await this.#isOffered())) break;
          if (event.problem.kind === 'new_device') this.toasts.warn(problemText(event.problem));
          else this.toasts.show(problemText(event.problem), 'error');
          break;
        case 'message_arrived':
        case 'messages_read':
          break;
      }
    }
    if (this.state?.state !== 'signed_in') return;
    if (lists.has('list')) await this.#refreshList();
    if (lists.has('timeline')) await this.timeline?.refresh();
    if (lists.has('detail')) this.detailVersion += 1;
    const draft = this.conversations.get(this.selected)?.draft;
    if (draft !== undefined) this.composer?.adopt(draft ?? '');
  }

  async #isOffered(): Promise<boolean> {
    await this.refreshState();
    return this.state?.state === 'signed_in' && this.state.offer !== null;
  }

  /** Opens a conversation, at a message if one is named. */
  async open(id: ConversationId, at: EventId | null = null): Promise<void> {
    this.view = 'chat';
    this.overlay = null;
    if (this.selected === id && this.timeline) {
      if (at) await this.timeline.jump(at);
      return;
    }
    void this.composer?.save();
    const timeline = new Timeline(this.shell, id);
    const draft = this.conversations.get(id)?.draft ?? '';
    const composer = this.#composers.get(id) ?? new Composer(this.shell, id, draft, explain);
    this.#composers.set(id, composer);
    composer.adopt(draft);
    this.timeline = timeline;
    this.composer = composer;
    await this.try(timeline.open(at));
  }

  /** Tells which conversation is on screen: none behind another view, and again after another sign-in. */
  tellFocus(): void {
    if (this.state?.state !== 'signed_in') return;
    const seen = this.view === 'chat' && this.selected ? [this.selected] : [];
    void this.shell.setFocus(seen).catch(() => undefined);
  }

  close(): void {
    void this.composer?.save();
    this.timeline = null;
    this.composer = null;
  }

  /** The conversation before or after the open one. */
  async step(by: 1 | -1): Promise<void> {
    const list = this.conversations.current;
    const at = list.findIndex((row) => row.id === this.selected);
    const next = list[at < 0 ? 0 : Math.min(Math.max(at + by, 0), list.length - 1)];
    if (next) await this.open(next.id);
  }

  /** What tells a person from others on screen who are called the same; null if nobody is. */
  handle(person: PersonView | null | undefined): string | null {
    return person && this.#namesakes.has(person.id) ? `@${person.username}` : null;
  }

  /** The same of the other person of a direct conversation. */
  peerHandle(conversation: ConversationId | null): string | null {
    return this.handle(this.conversations.get(conversation)?.peer);
  }

  /** A person where there is room for one word: the name, or the handle if the name does not say who they are. */
  shortName(person: PersonView): string {
    return this.handle(person) ?? person.display_name;
  }

  /** Opens the conversation with a person, or asks for its first message. */
  async meet(person: PersonView): Promise<void> {
    const id = await this.try(this.shell.findDirect(person.id));
    if (id) return this.open(id);
    this.startWith = person;
    this.startAbout = null;
    this.overlay = 'new-chat';
  }

  /** What was typed as the first message to a person and not sent; it stays while Kith runs. */
  firstMessage(person: UserId): string {
    return this.#firstMessages.get(this.#ofAccount(person)) ?? '';
  }

  keepFirstMessage(person: UserId, text: string): void {
    if (text.trim()) this.#firstMessages.set(this.#ofAccount(person), text);
    else this.#firstMessages.delete(this.#ofAccount(person));
  }

  /** Another account's texts are not shown. */
  #ofAccount(person: UserId): string {
    return `${this.state?.state === 'signed_in' ? this.state.account.me.id : ''} ${person}`;
  }

  /** Follows a link: it shows where it leads and never does anything by itself. */
  async follow(link: Link): Promise<void> {
    if (this.state?.state !== 'signed_in') {
      this.#linkBefore = link;
      return;
    }
    if (link.kind === 'conversation') {
      if (!this.conversations.get(link.id)) await this.conversations.refresh();
      if (this.conversations.get(link.id)) return this.open(link.id, link.message);
      this.toasts.show('This conversation is not here.', 'error');
      return;
    }
    this.startWith = link.with;
    this.startAbout = link.context;
    this.overlay = 'new-chat';
  }

  /** Opens a link of a message: at once if it leads where its text says. */
  async openLink(text: string, target: LinkTarget): Promise<void> {
    if (target.inside) await this.follow(target.inside);
    else if (doubtsOf(text, target).length > 0) this.doubtful = { text, target };
    else await this.shell.openLink(target.url);
  }

  /** Whom a chat is wanted with, or how a link calls them; the dialog takes it. */
  startWith = $state.raw<PersonView | string | null>(null);
  /** What the chat that a link wants is about on the platform. */
  startAbout = $state.raw<Context | null>(null);

  /** Keeps what is being written, then closes everything until the passphrase is given. */
  async lock(): Promise<void> {
    if (!this.lockable) return;
    await this.composer?.save();
    await this.try(this.shell.lock());
    await this.refreshState();
  }

  /** Ends a block; their presence can be seen again. Throws what the server answered. */
  async unblock(person: PersonView): Promise<void> {
    await this.blocks.unblock(person.id);
    this.watched.forget();
  }

  /** Changes settings: shown at once; what cannot be stored is taken back. */
  async change(part: Partial<Settings>): Promise<void> {
    const before = this.settings;
    this.settings = { ...before, ...part };
    const stored = await this.try(this.shell.setSettings(this.settings).then(() => true));
    if (!stored) this.settings = before;
  }

  /** Runs something and says what went wrong. */
  async try<T>(work: Promise<T>): Promise<T | undefined> {
    try {
      return await work;
    } catch (error) {
      this.toasts.show(explain(error), 'error');
      return undefined;
    }
  }
}

function problemText(problem: Problem): string {
  switch (problem.kind) {
    case 'parked':
      return `Something could not be sent. ${sentence(problem.code)}`;
    case 'disk_full':
      return sentence('disk_full');
    case 'read_only':
      return sentence('read_only');
    case 'store_failed':
      return sentence('store_failed');
    case 'no_secret_store':
      return 'The secret store cannot be used: this sign-in lasts until Kith quits.';
    case 'new_device':
      return problem.is_copy
        ? `A copy of this account's data signed in as a new device: ${tame(problem.name)}. Not you? Sign the device out in the settings.`
        : `A new device signed in: ${tame(problem.name)}. Not you? Sign the device out in the settings, then change your password.`;
    case 'device_revoked':
      return sentence('device_revoked');
    case 'upgrade_required':
      return sentence('upgrade_required');
    case 'engine_failed':
      return sentence('engine_failed');
  }
}

export function provideApp(app: App): App {
  return setContext(KEY, app);
}

export function useApp(): App {
  return getContext<App>(KEY);
}

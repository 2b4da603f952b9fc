// Generated from the commands' table and the types behind it: cargo xtask bindings. Do not edit.

/**
 * Who is signed in, and where.
 */
export type AccountView = {
/**
 * The server's address, without a trailing slash.
 */
server: string, me: PersonView, device: DeviceId,
/**
 * Where the secrets are.
 */
key_store: KeyStore,
/**
 * What people call the secret store of this system.
 */
secret_store: string, };

/**
 * Where to read a timeline.
 */
export type Anchor = { "at": "newest" } | { "at": "before",
/**
 * An entry's `order`.
 */
order: number, } | { "at": "from",
/**
 * An entry's `order`.
 */
order: number, } | { "at": "around", id: EventId, } | { "at": "first_unread" };

/**
 * What the interface shows first.
 */
export type AppState = { "state": "signed_out",
/**
 * The server that was used last.
 */
server: string | null,
/**
 * Why, if somebody was signed in before.
 */
reason: SignedOutReason | null,
/**
 * Whether the secret store can be used; if not, a sign-in lasts until the app quits.
 */
secret_store_usable: boolean, } | { "state": "locked",
/**
 * The server that was used last.
 */
server: string | null,
/**
 * Who was signed in last.
 */
username: string | null,
/**
 * The file cannot be opened, whatever the passphrase.
 */
trouble: LockedTrouble | null, } | { "state": "signed_in", account: AccountView,
/**
 * Its database was damaged, and the user has not seen what became of it.
 */
mended: MendedView | null,
/**
 * The sign-in lasts until the app quits, and the user has not said whether that is enough.
 */
offer: KeyOffer | null, };

/**
 * The platform's object that a conversation is about (a job, an application, an interview …).
 */
export type Context = {
/**
 * `job`, `application`, … 1–32 of `[a-z0-9_-]`.
 */
kind: string,
/**
 * The platform's own id, 1–128 characters.
 */
id: string,
/**
 * What to show, up to 128 characters.
 */
title?: string | null,
/**
 * An https link to it.
 */
link?: string | null, };

/**
 * Everything about one conversation, for its header and its details.
 */
export type ConversationDetail = { conversation: ConversationView,
/**
 * Who is in it, by name.
 */
members: Array<MemberView>,
/**
 * Who brought one into the group, as far as that is known.
 */
added_by: UserId | null, };

/**
 * A conversation: UUIDv7 for groups, UUIDv5 of the two users for direct ones.
 */
export type ConversationId = string;

/**
 * What kind of conversation.
 */
export type ConversationKind = "direct" | "group";

/**
 * A row of the conversation list.
 */
export type ConversationView = { id: ConversationId, kind: ConversationKind,
/**
 * The peer's name, the group's title, or its members' names.
 */
title: string,
/**
 * The other person of a direct conversation.
 */
peer: PersonView | null,
/**
 * What it is about on the platform.
 */
context: Context | null, member_count: number,
/**
 * One's own role; `None` once left or removed: it can be read, not written.
 */
my_role: Role | null, preview: PreviewView | null,
/**
 * For the order: the newest of last event, last local message, creation.
 */
last_activity: TimestampMs,
/**
 * Unread messages (W7).
 */
unread: number,
/**
 * Marked as unread by hand.
 */
unread_flag: boolean,
/**
 * Muted until; 0 for not muted.
 */
mute: TimestampMs,
/**
 * Pinned in the list.
 */
pin: boolean, archive: boolean,
/**
 * The text not yet sent.
 */
draft: string | null,
/**
 * Another device wrote this at the same time; the user chooses (R4).
 */
draft_conflict: string | null,
/**
 * Who types at the moment.
 */
typing: Array<PersonView>, presence: PresenceView | null,
/**
 * Created here and not confirmed by the server yet.
 */
is_local: boolean, };

export type Counter = "gap_pulls" | "full_heads" | "duplicates" | "forks" | "orphans" | "checks" | "repairs" | "driver_restarts" | "writer_restarts";

export type CounterView = { counter: Counter, count: number, };

/**
 * One installation of one user.
 */
export type DeviceId = string;

/**
 * The state of sync. Nothing in it is a secret but titles; a report leaves them out.
 */
export type DiagnosticsView = {
/**
 * `name/version`.
 */
app: string, server: string, device: DeviceId,
/**
 * The lineage of the server's database, once it was told.
 */
epoch: string | null, link: LinkView,
/**
 * When this was read.
 */
at: TimestampMs,
/**
 * When stored events were last compared with the server's.
 */
checked_at: TimestampMs | null,
/**
 * Size of the database with what is not yet checkpointed, bytes.
 */
file_bytes: number,
/**
 * Items in the outbox that wait for the network.
 */
waiting: number,
/**
 * Items in the outbox that wait for the user.
 */
parked: number,
/**
 * Conversations that the server knows.
 */
conversations: number,
/**
 * Conversations in which something is missing.
 */
incomplete: number,
/**
 * At most 50 of them: those that lack something first, then the newest.
 */
logs: Array<LogView>,
/**
 * All counters, since the database was made.
 */
counters: Array<CounterView>, };

/**
 * A change notice. Notices are bounded and gathered: many changes of one thing may arrive as one.
 */
export type EngineEvent = { "type": "app_changed" } | { "type": "status_changed", status: StatusView, } | { "type": "conversations_changed",
/**
 * Which rows; empty for all of them.
 */
conversations: Array<ConversationId>, } | { "type": "timeline_changed", conversation: ConversationId, } | { "type": "typing_changed", conversation: ConversationId,
/**
 * Who types, oneself excluded.
 */
people: Array<PersonView>, } | { "type": "presence_changed" } | { "type": "outbox_changed" } | { "type": "message_arrived", conversation: ConversationId, title: string, message: EventId, sender_id: UserId,
/**
 * Their name as far as it is known.
 */
sender: string,
/**
 * Its text, one line, at most 200 characters.
 */
text: string,
/**
 * How many arrived together (after an absence: one notice a conversation).
 */
count: number, } | { "type": "messages_read", conversation: ConversationId, } | { "type": "problem", problem: Problem, } | { "type": "missed" };

/**
 * Why something was refused. A closed list; a code of a later version reads as `unsupported`.
 */
export type ErrorCode = "unavailable" | "rate_limited" | "skipped" | "busy" | "token_expired" | "token_invalid" | "device_revoked" | "credentials_invalid" | "name_taken" | "not_member" | "not_allowed" | "id_conflict" | "too_large" | "invalid" | "too_old" | "target_missing" | "attachment_missing" | "conversation_closed" | "unsupported" | "state_conflict" | "device_forked" | "epoch_changed" | "upgrade_required";

/**
 * An event, minted by its sender: always UUIDv7.
 */
export type EventId = string;

/**
 * A hole in what is stored here.
 */
export type GapView = {
/**
 * Its place in the timeline.
 */
order: number,
/**
 * The first missing seq.
 */
from: Seq,
/**
 * The last missing seq.
 */
to: Seq, };

/**
 * What the user decides after a sign-in that nothing keeps: a passphrase, the secret store, or nothing.
 */
export type KeyOffer = {
/**
 * Why it is not kept.
 */
reason: KeyOfferReason,
/**
 * There is a history here that could not be opened. Keeping this sign-in sets it aside; nothing is deleted.
 */
has_history: boolean,
/**
 * Items of that history that had not reached the server, if their number is known.
 */
unsent: number | null,
/**
 * The secret store can be used.
 */
secret_store_usable: boolean, };

/**
 * Why a sign-in is not kept.
 */
export type KeyOfferReason = "no_store" | "key_missing" | "passphrase_forgotten";

/**
 * Where token and database key are kept.
 */
export type KeyStore = "secret_store" | "passphrase" | "session_only";

/**
 * Where a link leads.
 */
export type Link = { "kind": "start",
/**
 * Their user name, or their id.
 */
with: string,
/**
 * What it is about on the platform.
 */
context: Context | null, } | { "kind": "conversation", id: ConversationId, message: EventId | null, };

export type LinkView = { "state": "connecting" } | { "state": "catching_up",
/**
 * Conversations that are still behind.
 */
behind: number, } | { "state": "connected",
/**
 * By asking every ten seconds, because the socket does not work here.
 */
polling: boolean, } | { "state": "offline", since: TimestampMs,
/**
 * When the next try starts, if one is planned.
 */
next_try: TimestampMs | null,
/**
 * Somebody answers, with a certificate that is expired, of another name, or of an unknown authority.
 */
bad_certificate: boolean, } | { "state": "sign_in_needed" } | { "state": "stopped", code: ErrorCode, };

/**
 * Why a file of secrets stays closed. It is left as it is.
 */
export type LockedTrouble = "newer" | "damaged" | "no_access";

/**
 * How one conversation's log stands.
 */
export type LogView = { conversation: ConversationId, title: string,
/**
 * The newest stored event.
 */
in_sync_to: Seq,
/**
 * The newest event that the server is known to have.
 */
head: Seq,
/**
 * Events between the oldest stored one and the head that are not here.
 */
missing: number,
/**
 * Older events, which come when somebody scrolls to them.
 */
older: number, };

/**
 * What a `member` event changes.
 */
export type MemberChange = "added" | "removed" | "left" | "role";

export type MemberView = { person: PersonView, role: Role,
/**
 * Their messages' ticks: read up to here, if known.
 */
read: Seq | null, };

/**
 * What became of a damaged database. Everything that the server has comes again by itself.
 */
export type MendedView = {
/**
 * Unsent items and drafts that were brought into the new database.
 */
salvaged: number,
/**
 * Those that are known to have been there and could not be read.
 */
lost: number,
/**
 * Nothing else was there. If not, the damaged place may have held more.
 */
is_complete: boolean,
/**
 * Where the damaged file was put.
 */
file: string,
/**
 * Until when it is kept, if that is known.
 */
kept_until: TimestampMs | null, };

export type MessageView = { id: EventId,
/**
 * Its place in the timeline: the seq, or above all seqs for what is not numbered yet.
 */
order: number,
/**
 * Its seq, once numbered.
 */
seq: Seq | null, sender: PersonView, mine: boolean,
/**
 * The text after edits; empty once deleted.
 */
text: string,
/**
 * Server time, or the local clock's while unconfirmed.
 */
ts: TimestampMs, edited: boolean, deleted: boolean, pinned: boolean, reply_to: QuoteView | null,
/**
 * Emoji on it, in the order of their first use.
 */
reactions: Array<ReactionView>,
/**
 * The tick; `None` for others' messages.
 */
send_state: SendState | null,
/**
 * An edit, deletion or reaction by oneself is still in the outbox.
 */
pending_change: boolean,
/**
 * Somebody else wrote it and the server has lost it: a device of the sender brings it back (S7).
 */
lost: boolean, };

export type NoticeKind = { "kind": "member", user: PersonView, change: MemberChange,
/**
 * The role that they have.
 */
role: Role | null, } | { "kind": "title", text: string, } | { "kind": "unknown", name: string, };

/**
 * Something that happened to the conversation.
 */
export type NoticeView = { id: EventId,
/**
 * Its place in the timeline.
 */
order: number, ts: TimestampMs, actor: PersonView, what: NoticeKind, };

/**
 * What the system's notifications say.
 */
export type NotificationMode = "full" | "private" | "off";

/**
 * What the user did that has not reached the server.
 */
export type OutboxItemView = {
/**
 * To act on it.
 */
item: number, conversation: ConversationId | null, conversation_title: string, what: OutboxKind,
/**
 * The message's or edit's text, the emoji, the new title … at most 200 characters.
 */
summary: string,
/**
 * When the user did it.
 */
written_at: TimestampMs, state: OutboxState,
/**
 * How often it was tried.
 */
tries: number, };

/**
 * What an outbox item does.
 */
export type OutboxKind = "message" | "edit" | "delete" | "reaction" | "pin" | "member" | "title" | "settings" | "open" | "state";

/**
 * How an outbox item stands.
 */
export type OutboxState = { "state": "queued" } | { "state": "sending" } | { "state": "retry", at: TimestampMs,
/**
 * What the last one met.
 */
code: ErrorCode, } | { "state": "held" } | { "state": "parked", code: ErrorCode, };

/**
 * What the page has drawn for the first time.
 */
export type Painted = "frame" | "list";

export type PersonView = { id: UserId, username: string,
/**
 * What to call them.
 */
display_name: string,
/**
 * Their role on the platform.
 */
role: string | null,
/**
 * A reference to their picture.
 */
avatar: string | null, };

/**
 * How present somebody is.
 */
export type PresenceState = "online" | "away" | "busy" | "offline";

/**
 * How present a person is, as far as known.
 */
export type PresenceView = { user: UserId, state: PresenceState,
/**
 * When they were last there.
 */
last_seen: TimestampMs | null, };

/**
 * The last line of a conversation.
 */
export type PreviewView = {
/**
 * Who wrote it; `None` for oneself.
 */
sender: PersonView | null,
/**
 * One line, at most 200 characters.
 */
text: string,
/**
 * It is a deleted message.
 */
deleted: boolean, ts: TimestampMs,
/**
 * The tick of an own message.
 */
send_state: SendState | null, };

export type Problem = { "kind": "parked", conversation: ConversationId | null, code: ErrorCode, } | { "kind": "disk_full" } | { "kind": "read_only" } | { "kind": "store_failed" } | { "kind": "no_secret_store" } | { "kind": "new_device",
/**
 * What the device calls itself.
 */
name: string,
/**
 * It goes on with a copy of a device's profile.
 */
is_copy: boolean, } | { "kind": "device_revoked" } | { "kind": "upgrade_required" } | { "kind": "engine_failed" };

/**
 * Quitting would lose something.
 */
export type QuitAsked = {
/**
 * Items that have not reached the server and cannot be kept.
 */
unsent: number, };

export type QuoteView = { id: EventId,
/**
 * Who wrote it; `None` while it is not here.
 */
sender: PersonView | null,
/**
 * Its beginning, at most 200 characters; empty once deleted or while it is not here.
 */
text: string, deleted: boolean, };

/**
 * An emoji on a message.
 */
export type ReactionView = { emoji: string, count: number,
/**
 * Who, at most 64 of them.
 */
people: Array<PersonView>, mine: boolean, };

/**
 * A role in a conversation. A direct conversation has two owners of nothing: both are `member`.
 */
export type Role = "owner" | "admin" | "member";

/**
 * A message that a search found.
 */
export type SearchHit = { conversation: ConversationId, conversation_title: string, message: EventId, sender: PersonView, ts: TimestampMs,
/**
 * The text around the hit, in parts.
 */
snippet: Array<SnippetPart>, };

/**
 * What a search found, newest first, and how much it looked at.
 */
export type SearchView = {
/**
 * At most the limit asked for.
 */
hits: Array<SearchHit>, more: boolean, searched: number,
/**
 * Messages that exist, as far as known (the rest is only on the server).
 */
total: number, };

/**
 * The state of an own message (its tick).
 */
export type SendState = { "state": "queued" } | { "state": "sending" } | { "state": "sent" } | { "state": "delivered" } | { "state": "read" } | { "state": "failed", code: ErrorCode, };

/**
 * The position of an event in its conversation: 1, 2, 3 … without holes. 0 stands for "before the first".
 */
export type Seq = number;

/**
 * A row of `GET /v1/sessions`.
 */
export type SessionItem = {
/**
 * The device.
 */
device: DeviceId,
/**
 * Its name.
 */
name: string,
/**
 * When it signed in.
 */
created_at: TimestampMs,
/**
 * When it was last connected, to the hour.
 */
last_seen: TimestampMs,
/**
 * Whether it is the one that asks.
 */
current: boolean, };

/**
 * The profile's settings. A field that is missing, or that a later version wrote differently, is the default.
 */
export type Settings = {
/**
 * Light, dark, or as the system.
 */
theme: Theme,
/**
 * What the system's notifications say.
 */
notifications: NotificationMode,
/**
 * Closing the window leaves the app in the tray, where there is one.
 */
close_to_tray: boolean,
/**
 * Newer versions are asked for once a day.
 */
look_for_updates: boolean,
/**
 * An account under a passphrase is locked after so many minutes without a key or a move in the window, and when the
 * computer sleeps or its screen is locked; 0 for never.
 */
lock_after_minutes: number, };

/**
 * What the user is told before signing out.
 */
export type SignOutPreview = {
/**
 * Items that have not reached the server; wiping would lose them.
 */
unsent: number, messages: number,
/**
 * The database ends with the session, for want of a key that is kept: any sign-out loses what is unsent.
 */
is_temporary: boolean, };

/**
 * Why nobody is signed in.
 */
export type SignedOutReason = "key_missing" | "newer_file" | "disk_full" | "read_only" | "file_busy" | "file_damaged" | "store_failed";

/**
 * A part of a snippet.
 */
export type SnippetPart = { text: string,
/**
 * It is what was searched for.
 */
hit: boolean, };

/**
 * The numbers of the whole account.
 */
export type StatusView = { link: LinkView,
/**
 * Unread messages in conversations that are not muted: the number of list, title and tray.
 */
unread: number,
/**
 * Items in the outbox.
 */
unsent: number,
/**
 * Items in the outbox that wait for the user.
 */
parked: number,
/**
 * After an update: the percentage of the stored history that is rebuilt for it. Until it is done, a search finds
 * only that part. `None` if nothing is to do.
 */
rebuilding: number | null, };

/**
 * How the window looks.
 */
export type Theme = "system" | "light" | "dark";

/**
 * An entry of the timeline.
 */
export type TimelineItem = { "type": "message" } & MessageView | { "type": "notice" } & NoticeView | { "type": "gap" } & GapView;

/**
 * A part of a timeline, oldest first.
 */
export type TimelineView = { items: Array<TimelineItem>,
/**
 * The conversation's first visible event is in it.
 */
at_start: boolean,
/**
 * The newest entry is in it.
 */
at_end: boolean,
/**
 * Older events exist on the server and are being fetched; `timeline_changed` follows.
 */
loading: boolean,
/**
 * Where the "new messages" line goes: the first unread message of others.
 */
first_unread: EventId | null,
/**
 * Read up to here.
 */
read: Seq, };

/**
 * Milliseconds since 1970-01-01T00:00:00Z.
 */
export type TimestampMs = number;

/**
 * A refusal, as the window gets it. It branches on `code`; `message` is for logs.
 */
export type UiError = {
/**
 * A code of the protocol, or one of the engine's or the shell's own words.
 */
code: string,
/**
 * In English, for developers.
 */
message: string,
/**
 * The same again may succeed later.
 */
retryable: boolean,
/**
 * Not before this many milliseconds.
 */
retry_after_ms: number | null, };

/**
 * What is known of newer versions.
 */
export type UpdateView = { "state": "off" } | { "state": "current",
/**
 * When it was asked last.
 */
looked_at: TimestampMs | null, } | { "state": "looking" } | { "state": "available", version: string,
/**
 * What is new, plain text of at most 2,000 characters.
 */
notes: string, } | { "state": "loading", version: string, done: number,
/**
 * Bytes in all, if the server says so.
 */
total: number | null, } | { "state": "installing", version: string, } | { "state": "failed",
/**
 * Why: an `update_*` code.
 */
code: string,
/**
 * The version that it was about, if that was known.
 */
version: string | null, };

/**
 * A user of one server.
 */
export type UserId = string;

/** The events that the window hears, by name. */
export interface WindowEvents {
  engine: EngineEvent[];
  link: Link;
  quit_asked: QuitAsked;
  update: UpdateView;
}

/** What the window may ask for. A refusal is a `UiError`. */
export interface Commands {
  appState(): Promise<AppState>;
  tryAgain(): Promise<void>;
  mendedSeen(): Promise<void>;
  status(): Promise<StatusView>;
  unlock(passphrase: string): Promise<void>;
  lock(): Promise<void>;
  setPassphrase(passphrase: string): Promise<void>;
  changePassphrase(current: string, new_passphrase: string): Promise<void>;
  useSecretStore(): Promise<void>;
  keepUntilQuit(): Promise<void>;
  signUp(server: string, username: string, password: string, display_name: string, invite: string | null): Promise<void>;
  signIn(server: string, username: string, password: string): Promise<void>;
  signOutPreview(): Promise<SignOutPreview>;
  sessions(): Promise<Array<SessionItem>>;
  revokeSession(device: DeviceId, password: string): Promise<void>;
  revokeOtherSessions(password: string): Promise<void>;
  changePassword(current: string, new_password: string): Promise<void>;
  setDisplayName(name: string): Promise<void>;
  showsPresence(): Promise<boolean>;
  setShowsPresence(on: boolean): Promise<void>;
  blockedPeople(): Promise<Array<PersonView>>;
  block(user: UserId): Promise<void>;
  unblock(user: UserId): Promise<void>;
  leaveAndBlock(conversation: ConversationId, user: UserId): Promise<void>;
  findPeople(query: string): Promise<Array<PersonView>>;
  person(user: UserId): Promise<PersonView>;
  conversations(): Promise<Array<ConversationView>>;
  conversation(id: ConversationId): Promise<ConversationDetail>;
  findDirect(user: UserId): Promise<ConversationId | null>;
  startDirect(user: UserId, text: string): Promise<ConversationId>;
  startDirectAbout(user: UserId, context: Context, text: string): Promise<ConversationId>;
  openDirect(user: UserId): Promise<ConversationId>;
  createGroup(title: string, members: Array<UserId>): Promise<ConversationId>;
  addMembers(conversation: ConversationId, members: Array<UserId>): Promise<void>;
  removeMember(conversation: ConversationId, user: UserId): Promise<void>;
  setRole(conversation: ConversationId, user: UserId, role: Role): Promise<void>;
  leave(conversation: ConversationId): Promise<void>;
  setTitle(conversation: ConversationId, title: string): Promise<void>;
  setMute(conversation: ConversationId, until: TimestampMs): Promise<void>;
  setPin(conversation: ConversationId, on: boolean): Promise<void>;
  setArchive(conversation: ConversationId, on: boolean): Promise<void>;
  setUnread(conversation: ConversationId, on: boolean): Promise<void>;
  hide(conversation: ConversationId): Promise<void>;
  timeline(conversation: ConversationId, anchor: Anchor, limit: number): Promise<TimelineView>;
  sendMessage(conversation: ConversationId, text: string, reply_to: EventId | null): Promise<EventId>;
  editMessage(conversation: ConversationId, id: EventId, text: string): Promise<void>;
  deleteMessage(conversation: ConversationId, id: EventId): Promise<void>;
  react(conversation: ConversationId, id: EventId, emoji: string, on: boolean): Promise<void>;
  pinMessage(conversation: ConversationId, id: EventId, on: boolean): Promise<void>;
  setDraft(conversation: ConversationId, text: string): Promise<void>;
  keepDraft(conversation: ConversationId, text: string): Promise<void>;
  setTyping(conversation: ConversationId, on: boolean): Promise<void>;
  watchPresence(users: Array<UserId>): Promise<void>;
  setPresence(state: PresenceState): Promise<void>;
  presence(users: Array<UserId>): Promise<Array<PresenceView>>;
  outbox(): Promise<Array<OutboxItemView>>;
  retry(item: number): Promise<void>;
  cancel(item: number): Promise<void>;
  takeBack(item: number): Promise<string>;
  sendAllNow(): Promise<void>;
  search(query: string, conversation: ConversationId | null, limit: number): Promise<SearchView>;
  networkChanged(): Promise<void>;
  diagnostics(): Promise<DiagnosticsView>;
  checkNow(): Promise<void>;
  /** Tells which conversations are in view: the engine keeps their payloads longest, and nothing that arrives in them is announced while the window has the focus. */
  setFocus(conversations: Array<ConversationId>): Promise<void>;
  /** Marks as read up to a seq. Refused as `screen_locked` while the screen is locked (R3). */
  markRead(conversation: ConversationId, up_to: Seq): Promise<void>;
  /** Signs out; with `wipe` everything that is stored on this computer goes. */
  signOut(wipe: boolean): Promise<void>;
  /** Opens an `https:`, `http:` or `mailto:` link in the system's own program. */
  openLink(url: string): Promise<void>;
  getSettings(): Promise<Settings>;
  /** Replaces the profile's settings. */
  setSettings(settings: Settings): Promise<void>;
  /** Which messages are announced by the system. */
  setNotifications(mode: NotificationMode): Promise<void>;
  /** The first frame with this in it was drawn. Whether an earlier start drew nothing, so that this one draws in the slow way. */
  painted(what: Painted): Promise<boolean>;
  /** The link that the app was started with, or that came before the window listened; once. */
  takeStartLink(): Promise<Link | null>;
  /** The server given on the command line, for the sign-in page. */
  suggestedServer(): Promise<string | null>;
  /** Tries again to open the profile after `app_state` failed. */
  openAgain(): Promise<void>;
  /** Quits. Without `force`, an event `quit_asked` comes instead if quitting would lose something. */
  quit(force: boolean): Promise<void>;
  /** What is known of newer versions; changes come as the event `update`. */
  update(): Promise<UpdateView>;
  /** Asks for a newer version now. */
  lookForUpdate(): Promise<UpdateView>;
  /** Fetches, checks and installs the newer version that was found, and starts it. Nothing happens if none was. */
  installUpdate(): Promise<void>;
  appVersion(): Promise<string>;
}

/** Calls the shell by a command's name. */
export type Invoke = <T>(command: string, args?: Record<string, unknown>) => Promise<T>;

/** All commands over one way of calling. */
export function createCommands(invoke: Invoke): Commands {
  return {
    appState: () => invoke("app_state"),
    tryAgain: () => invoke("try_again"),
    mendedSeen: () => invoke("mended_seen"),
    status: () => invoke("status"),
    unlock: (passphrase) => invoke("unlock", { passphrase }),
    lock: () => invoke("lock"),
    setPassphrase: (passphrase) => invoke("set_passphrase", { passphrase }),
    changePassphrase: (current, new_passphrase) => invoke("change_passphrase", { current, new_passphrase }),
    useSecretStore: () => invoke("use_secret_store"),
    keepUntilQuit: () => invoke("keep_until_quit"),
    signUp: (server, username, password, display_name, invite) => invoke("sign_up", { server, username, password, display_name, invite }),
    signIn: (server, username, password) => invoke("sign_in", { server, username, password }),
    signOutPreview: () => invoke("sign_out_preview"),
    sessions: () => invoke("sessions"),
    revokeSession: (device, password) => invoke("revoke_session", { device, password }),
    revokeOtherSessions: (password) => invoke("revoke_other_sessions", { password }),
    changePassword: (current, new_password) => invoke("change_password", { current, new_password }),
    setDisplayName: (name) => invoke("set_display_name", { name }),
    showsPresence: () => invoke("shows_presence"),
    setShowsPresence: (on) => invoke("set_shows_presence", { on }),
    blockedPeople: () => invoke("blocked_people"),
    block: (user) => invoke("block", { user }),
    unblock: (user) => invoke("unblock", { user }),
    leaveAndBlock: (conversation, user) => invoke("leave_and_block", { conversation, user }),
    findPeople: (query) => invoke("find_people", { query }),
    person: (user) => invoke("person", { user }),
    conversations: () => invoke("conversations"),
    conversation: (id) => invoke("conversation", { id }),
    findDirect: (user) => invoke("find_direct", { user }),
    startDirect: (user, text) => invoke("start_direct", { user, text }),
    startDirectAbout: (user, context, text) => invoke("start_direct_about", { user, context, text }),
    openDirect: (user) => invoke("open_direct", { user }),
    createGroup: (title, members) => invoke("create_group", { title, members }),
    addMembers: (conversation, members) => invoke("add_members", { conversation, members }),
    removeMember: (conversation, user) => invoke("remove_member", { conversation, user }),
    setRole: (conversation, user, role) => invoke("set_role", { conversation, user, role }),
    leave: (conversation) => invoke("leave", { conversation }),
    setTitle: (conversation, title) => invoke("set_title", { conversation, title }),
    setMute: (conversation, until) => invoke("set_mute", { conversation, until }),
    setPin: (conversation, on) => invoke("set_pin", { conversation, on }),
    setArchive: (conversation, on) => invoke("set_archive", { conversation, on }),
    setUnread: (conversation, on) => invoke("set_unread", { conversation, on }),
    hide: (conversation) => invoke("hide", { conversation }),
    timeline: (conversation, anchor, limit) => invoke("timeline", { conversation, anchor, limit }),
    sendMessage: (conversation, text, reply_to) => invoke("send_message", { conversation, text, reply_to }),
    editMessage: (conversation, id, text) => invoke("edit_message", { conversation, id, text }),
    deleteMessage: (conversation, id) => invoke("delete_message", { conversation, id }),
    react: (conversation, id, emoji, on) => invoke("react", { conversation, id, emoji, on }),
    pinMessage: (conversation, id, on) => invoke("pin_message", { conversation, id, on }),
    setDraft: (conversation, text) => invoke("set_draft", { conversation, text }),
    keepDraft: (conversation, text) => invoke("keep_draft", { conversation, text }),
    setTyping: (conversation, on) => invoke("set_typing", { conversation, on }),
    watchPresence: (users) => invoke("watch_presence", { users }),
    setPresence: (state) => invoke("set_presence", { state }),
    presence: (users) => invoke("presence", { users }),
    outbox: () => invoke("outbox"),
    retry: (item) => invoke("retry", { item }),
    cancel: (item) => invoke("cancel", { item }),
    takeBack: (item) => invoke("take_back", { item }),
    sendAllNow: () => invoke("send_all_now"),
    search: (query, conversation, limit) => invoke("search", { query, conversation, limit }),
    networkChanged: () => invoke("network_changed"),
    diagnostics: () => invoke("diagnostics"),
    checkNow: () => invoke("check_now"),
    setFocus: (conversations) => invoke("set_focus", { conversations }),
    markRead: (conversation, up_to) => invoke("mark_read", { conversation, up_to }),
    signOut: (wipe) => invoke("sign_out", { wipe }),
    openLink: (url) => invoke("open_link", { url }),
    getSettings: () => invoke("get_settings"),
    setSettings: (settings) => invoke("set_settings", { settings }),
    setNotifications: (mode) => invoke("set_notifications", { mode }),
    painted: (what) => invoke("painted", { what }),
    takeStartLink: () => invoke("take_start_link"),
    suggestedServer: () => invoke("suggested_server"),
    openAgain: () => invoke("open_again"),
    quit: (force) => invoke("quit", { force }),
    update: () => invoke("update"),
    lookForUpdate: () => invoke("look_for_update"),
    installUpdate: () => invoke("install_update"),
    appVersion: () => invoke("app_version"),
  };
}

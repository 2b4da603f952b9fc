//! Plain types that an interface shows. They say what to draw, never how it is stored or sent.
//!
//! Everything is decided here: order, unread numbers, what a preview says, which state a message is in. Times are
//! server times in milliseconds; for what the server has not numbered yet, the local clock's.

use kith_protocol::{
    ConversationId, DeviceId, ErrorCode, EventId, Seq, TimestampMs, UserId,
    ephemeral::PresenceState,
    event::{MemberChange, Role},
    frame::{Context, ConversationKind},
};
use serde::{Deserialize, Serialize};

/// Who is signed in, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct AccountView {
    /// The server's address, without a trailing slash.
    pub server: String,
    /// Oneself.
    pub me: PersonView,
    /// This installation.
    pub device: DeviceId,
    /// Where the secrets are.
    pub key_store: KeyStore,
}

/// Where token and database key are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum KeyStore {
    /// The operating system's secret store.
    SecretStore,
    /// In memory until the app quits, because no secret store could be used.
    SessionOnly,
}

/// What the interface shows first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum AppState {
    /// Nobody has signed in on this profile.
    SignedOut {
        /// The server that was used last.
        server: Option<String>,
        /// Why, if somebody was signed in before.
        reason: Option<SignedOutReason>,
        /// Whether the secret store can be used; if not, a sign-in lasts until the app quits.
        secret_store_usable: bool,
    },
    /// There is an account; its history can be read, whatever the network does.
    SignedIn {
        /// The account.
        account: AccountView,
    },
}

/// Why nobody is signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum SignedOutReason {
    /// The database is there, but its key was not found in the secret store. The file is left as it is.
    KeyMissing,
    /// The file was written by a newer version.
    NewerFile,
    /// The file cannot be read.
    FileDamaged,
}

/// The connection, truthfully.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum LinkView {
    /// Trying to reach the server.
    Connecting,
    /// Connected, and fetching what was missed.
    CatchingUp {
        /// Conversations that are still behind.
        behind: u32,
    },
    /// Connected and in sync.
    Connected {
        /// By asking every few seconds, because the socket does not work here.
        polling: bool,
    },
    /// Not connected.
    Offline {
        /// Since when.
        since: TimestampMs,
        /// When the next try starts, if one is planned.
        next_try: Option<TimestampMs>,
    },
    /// The server answers, but wants a sign-in. Everything local goes on working.
    SignInNeeded,
    /// The server will not talk to this version, or is not the one that this account belongs to. Everything local goes
    /// on working; it is tried again when the user asks.
    Stopped {
        /// Why.
        code: ErrorCode,
    },
}

/// The numbers of the whole account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct StatusView {
    /// The connection.
    pub link: LinkView,
    /// Unread messages in conversations that are not muted: the number of list, title and tray.
    pub unread: u32,
    /// Items in the outbox.
    pub unsent: u32,
    /// Items in the outbox that wait for the user.
    pub parked: u32,
}

/// What a person is called whose profile has not come yet.
pub const UNKNOWN_NAME: &str = "…";

/// A person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct PersonView {
    /// Their id.
    pub id: UserId,
    /// Their user name.
    pub username: String,
    /// What to call them.
    pub display_name: String,
    /// Their role on the platform.
    pub role: Option<String>,
    /// A reference to their picture.
    pub avatar: Option<String>,
}

/// How present a person is, as far as known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct PresenceView {
    /// Who.
    pub user: UserId,
    /// How present.
    pub state: PresenceState,
    /// When they were last there.
    pub last_seen: Option<TimestampMs>,
}

/// The state of an own message (its tick).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum SendState {
    /// In the outbox, not tried yet (or waiting for the next try).
    Queued,
    /// On its way; the server has not confirmed it.
    Sending,
    /// The server has it.
    Sent,
    /// A device of somebody else has it.
    Delivered,
    /// Somebody else has read it (in a group: everybody else).
    Read,
    /// Refused; waits for the user.
    Failed {
        /// Why.
        code: ErrorCode,
    },
}

/// A row of the conversation list.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct ConversationView {
    /// Which.
    pub id: ConversationId,
    /// Direct or group.
    pub kind: ConversationKind,
    /// The peer's name, the group's title, or its members' names.
    pub title: String,
    /// The other person of a direct conversation.
    pub peer: Option<PersonView>,
    /// What it is about on the platform.
    pub context: Option<Context>,
    /// How many members.
    pub member_count: u32,
    /// One's own role; `None` once left or removed: it can be read, not written.
    pub my_role: Option<Role>,
    /// The last line.
    pub preview: Option<PreviewView>,
    /// For the order: the newest of last event, last local message, creation.
    pub last_activity: TimestampMs,
    /// Unread messages (W7).
    pub unread: u32,
    /// Marked as unread by hand.
    pub unread_flag: bool,
    /// Muted until; 0 for not muted.
    pub mute: TimestampMs,
    /// Pinned in the list.
    pub pin: bool,
    /// Archived.
    pub archive: bool,
    /// The text not yet sent.
    pub draft: Option<String>,
    /// Another device wrote this at the same time; the user chooses (R4).
    pub draft_conflict: Option<String>,
    /// Who types at the moment.
    pub typing: Vec<PersonView>,
    /// The peer's presence.
    pub presence: Option<PresenceView>,
    /// Created here and not confirmed by the server yet.
    pub is_local: bool,
}

/// The last line of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct PreviewView {
    /// Who wrote it; `None` for oneself.
    pub sender: Option<PersonView>,
    /// One line, at most 200 characters.
    pub text: String,
    /// It is a deleted message.
    pub deleted: bool,
    /// When.
    pub ts: TimestampMs,
    /// The tick of an own message.
    pub send_state: Option<SendState>,
}

/// An entry of the timeline.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TimelineItem {
    /// Somebody wrote something.
    Message(MessageView),
    /// Something happened to the conversation.
    Notice(NoticeView),
    /// Events between two stored ranges are not here; they are being fetched when online (C2).
    Gap(GapView),
}

/// A message.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct MessageView {
    /// Which.
    pub id: EventId,
    /// Its place in the timeline: the seq, or above all seqs for what is not numbered yet.
    pub order: f64,
    /// Its seq, once numbered.
    pub seq: Option<Seq>,
    /// Who wrote it.
    pub sender: PersonView,
    /// Oneself did.
    pub mine: bool,
    /// The text after edits; empty once deleted.
    pub text: String,
    /// Server time, or the local clock's while unconfirmed.
    pub ts: TimestampMs,
    /// It was edited.
    pub edited: bool,
    /// It was deleted.
    pub deleted: bool,
    /// Pinned for everybody.
    pub pinned: bool,
    /// What it answers.
    pub reply_to: Option<QuoteView>,
    /// Emoji on it, in the order of their first use.
    pub reactions: Vec<ReactionView>,
    /// The tick; `None` for others' messages.
    pub send_state: Option<SendState>,
    /// An edit, deletion or reaction by oneself is still in the outbox.
    pub pending_change: bool,
}

/// A quoted message.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct QuoteView {
    /// Which.
    pub id: EventId,
    /// Who wrote it; `None` while it is not here.
    pub sender: Option<PersonView>,
    /// Its beginning, at most 200 characters; empty once deleted or while it is not here.
    pub text: String,
    /// It was deleted.
    pub deleted: bool,
}

/// An emoji on a message.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct ReactionView {
    /// Which.
    pub emoji: String,
    /// How many people.
    pub count: u32,
    /// Their names, at most 64.
    pub names: Vec<String>,
    /// Oneself among them.
    pub mine: bool,
}

/// Something that happened to the conversation.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct NoticeView {
    /// Which event.
    pub id: EventId,
    /// Its place in the timeline.
    pub order: f64,
    /// When.
    pub ts: TimestampMs,
    /// Who did it.
    pub actor: PersonView,
    /// What.
    pub what: NoticeKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum NoticeKind {
    /// Membership changed.
    Member {
        /// About whom.
        user: PersonView,
        /// How.
        change: MemberChange,
        /// The role that they have.
        role: Option<Role>,
    },
    /// The title changed.
    Title {
        /// To this.
        text: String,
    },
    /// A kind of a later version: shown as a placeholder (C6).
    Unknown {
        /// Its name.
        name: String,
    },
}

/// A hole in what is stored here.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct GapView {
    /// Its place in the timeline.
    pub order: f64,
    /// The first missing seq.
    pub from: Seq,
    /// The last missing seq.
    pub to: Seq,
}

/// Where to read a timeline.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(tag = "at", rename_all = "snake_case")]
pub enum Anchor {
    /// The newest `limit` entries.
    Newest,
    /// `limit` entries before this place (exclusive).
    Before {
        /// An entry's `order`.
        order: f64,
    },
    /// `limit` entries from this place on (inclusive), towards newer ones.
    From {
        /// An entry's `order`.
        order: f64,
    },
    /// `limit` entries around a message.
    Around {
        /// Which.
        id: EventId,
    },
    /// `limit` entries around the first unread message, or the newest ones when all is read.
    FirstUnread,
}

/// A part of a timeline, oldest first.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct TimelineView {
    /// The entries.
    pub items: Vec<TimelineItem>,
    /// The conversation's first visible event is in it.
    pub at_start: bool,
    /// The newest entry is in it.
    pub at_end: bool,
    /// Older events exist on the server and are being fetched; `timeline_changed` follows.
    pub loading: bool,
    /// Where the "new messages" line goes: the first unread message of others.
    pub first_unread: Option<EventId>,
    /// Read up to here.
    pub read: Seq,
}

/// Everything about one conversation, for its header and its details.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct ConversationDetail {
    /// The list's row.
    pub conversation: ConversationView,
    /// Who is in it, by name.
    pub members: Vec<MemberView>,
}

/// A member.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct MemberView {
    /// Who.
    pub person: PersonView,
    /// In which role.
    pub role: Role,
    /// Their messages' ticks: read up to here, if known.
    pub read: Option<Seq>,
}

/// What the user did that has not reached the server.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct OutboxItemView {
    /// To act on it.
    pub item: f64,
    /// Where.
    pub conversation: Option<ConversationId>,
    /// The conversation's title.
    pub conversation_title: String,
    /// What.
    pub what: OutboxKind,
    /// The message's or edit's text, the emoji, the new title … at most 200 characters.
    pub summary: String,
    /// When the user did it.
    pub written_at: TimestampMs,
    /// How it stands.
    pub state: OutboxState,
    /// How often it was tried.
    pub tries: u32,
}

/// What an outbox item does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the kinds of section 10, and the operations of O3")]
pub enum OutboxKind {
    Message,
    Edit,
    Delete,
    Reaction,
    Pin,
    Member,
    Title,
    Settings,
    Open,
    State,
}

/// How an outbox item stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum OutboxState {
    /// Waits for its turn or for the network.
    Queued,
    /// On its way.
    Sending,
    /// Tried; the next try is planned.
    Retry {
        /// When.
        at: TimestampMs,
        /// What the last one met.
        code: ErrorCode,
    },
    /// Waits behind a parked item of its conversation.
    Held,
    /// Will not succeed by retrying; waits for the user.
    Parked {
        /// Why.
        code: ErrorCode,
    },
}

/// A message that a search found.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct SearchHit {
    /// Where.
    pub conversation: ConversationId,
    /// The conversation's title.
    pub conversation_title: String,
    /// Which message.
    pub message: EventId,
    /// Who wrote it.
    pub sender: PersonView,
    /// When.
    pub ts: TimestampMs,
    /// The text around the hit, in parts.
    pub snippet: Vec<SnippetPart>,
}

/// A part of a snippet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct SnippetPart {
    /// The text.
    pub text: String,
    /// It is what was searched for.
    pub hit: bool,
}

/// What a search found, newest first, and how much it looked at.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct SearchView {
    /// At most the limit asked for.
    pub hits: Vec<SearchHit>,
    /// There are more.
    pub more: bool,
    /// Messages searched.
    pub searched: u32,
    /// Messages that exist, as far as known (the rest is only on the server).
    pub total: u32,
}

/// What the user is told before signing out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct SignOutPreview {
    /// Items that have not reached the server; wiping would lose them.
    pub unsent: u32,
    /// Messages stored here.
    pub messages: u32,
    /// The database ends with the session, for want of a key that is kept: any sign-out loses what is unsent.
    pub is_temporary: bool,
}

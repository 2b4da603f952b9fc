//! Server → client.

use super::{Context, ConversationKind, frames};
use crate::{
    Chain, ConversationId, DeviceId, ErrorCode, Event, EventId, Seq, TimestampMs, UserId,
    api::Profile,
    ephemeral::{Presence, Typing},
    event::Role,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

frames! {
    /// What a server sends.
    ServerFrame, ReceivedServerFrame {
        /// Answers `hello`.
        Welcome(Box<Welcome>) = "welcome",
        /// Where every conversation stands (S3).
        Heads(Heads) = "heads",
        /// New events, live.
        Events(Events) = "events",
        /// There is more, without payload (L2).
        Hint(Hint) = "hint",
        /// Answers `pull`.
        Page(Page) = "page",
        /// Answers `send`, and whatever has no answer of its own.
        Ack(Ack) = "ack",
        /// Answers `probe`.
        Chains(Chains) = "chains",
        /// Own state that changed (S4).
        OwnState(OwnStates) = "own_state",
        /// Members' markers that changed (R2).
        Markers(Markers) = "markers",
        /// Profiles, asked for or changed.
        Profiles(Profiles) = "profiles",
        /// Answers `members`.
        Members(Members) = "members",
        /// The platform's notifications.
        Notification(Notifications) = "notification",
        /// Typing and presence.
        Ephemeral(Ephemeral) = "ephemeral",
        /// The token ends soon (S11).
        AuthExpiring(AuthExpiring) = "auth_expiring",
        /// The connection will be closed.
        Bye(Bye) = "bye",
        /// Something was refused.
        Error(ErrorFrame) = "error",
    }
}

impl ServerFrame {
    /// Writes the frame as JSON.
    pub fn encode(&self) -> String {
        super::write(self, None)
    }

    /// The request that this frame answers.
    pub fn reply_to(&self) -> Option<u64> {
        match self {
            Self::Welcome(f) => f.reply_to,
            Self::Heads(f) => f.reply_to,
            Self::Page(f) => f.reply_to,
            Self::Ack(f) => f.reply_to,
            Self::Chains(f) => f.reply_to,
            Self::OwnState(f) => f.reply_to,
            Self::Markers(f) => f.reply_to,
            Self::Profiles(f) => f.reply_to,
            Self::Members(f) => f.reply_to,
            Self::Error(f) => f.reply_to,
            Self::Events(_)
            | Self::Hint(_)
            | Self::Notification(_)
            | Self::Ephemeral(_)
            | Self::AuthExpiring(_)
            | Self::Bye(_) => None,
        }
    }
}

/// `welcome`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Welcome {
    /// The `hello`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<u64>,
    /// This connection, for logs.
    pub connection: String,
    /// `name/version`.
    pub server: String,
    /// Whose token it was. Another one than expected opens another file (S9).
    pub user: UserId,
    /// The device.
    pub device: DeviceId,
    /// To present in the next `hello` (S8).
    pub generation: u64,
    /// The database's lineage (S6).
    pub epoch: String,
    /// The server's clock.
    pub now: TimestampMs,
    /// 1.
    pub protocol: u32,
    /// Optional abilities of this server.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// Limits in force.
    pub limits: WelcomeLimits,
    /// How long the token is good for.
    pub token_ms: u64,
}

/// Limits in force on a connection.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WelcomeLimits {
    /// Bytes of a frame.
    pub frame_bytes: u64,
    /// Unicode scalar values of a message.
    pub text_chars: u64,
    /// Events of a `send`.
    pub send_events: u64,
    /// `{type: [per second, burst]}`
    #[serde(default)]
    pub rates: BTreeMap<String, (u32, u32)>,
}

/// `heads`: may come in several parts; live events start after the last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Heads {
    /// The request, if it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<u64>,
    /// Every conversation, or only some.
    pub full: bool,
    /// Another part follows.
    #[serde(default)]
    pub more: bool,
    /// Own state is complete up to here.
    pub user_seq: u64,
    /// Opaque (S5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// One each conversation.
    pub items: Vec<HeadsItem>,
    /// Conversations that the user has hidden.
    #[serde(default)]
    pub gone: Vec<ConversationId>,
}

/// A member in a heads item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HeadsMember {
    /// Who.
    pub user: UserId,
    /// In which role.
    pub role: Role,
    /// To know whether the profile at hand is the current one.
    pub profile_version: u64,
}

/// A draft as the server holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Draft {
    /// The text.
    pub text: String,
    /// The `base` of the next change (R4).
    pub version: u64,
}

/// A user's own state in one conversation (S4).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OwnState {
    /// Which conversation.
    pub conversation: ConversationId,
    /// Unread messages (W7).
    pub unread: u64,
    /// Read up to here.
    pub read: Seq,
    /// Stored on some device up to here.
    pub delivered: Seq,
    /// Marked as unread by hand.
    #[serde(default)]
    pub unread_flag: bool,
    /// Muted until; 0 off.
    #[serde(default)]
    pub mute: TimestampMs,
    /// Pinned in the list.
    #[serde(default)]
    pub pin: bool,
    /// Archived.
    #[serde(default)]
    pub archive: bool,
    /// Hidden until the next event.
    #[serde(default)]
    pub hidden: bool,
    /// The text not yet sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draft: Option<Draft>,
    /// The `user_seq` of the last change.
    pub version: u64,
}

/// Where one conversation stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HeadsItem {
    /// Own state; its `conversation` names the conversation.
    #[serde(flatten)]
    pub own: OwnState,
    /// Direct or group.
    pub kind: ConversationKind,
    /// The newest seq; for a former member the end of the last interval.
    pub head: Seq,
    /// The chain's value there.
    pub chain: Chain,
    /// Messages up to there.
    pub countable: u64,
    /// The newest event's time, 0 when there is none.
    #[serde(default)]
    pub last_ts: TimestampMs,
    /// The oldest seq that can still be pulled.
    pub floor: Seq,
    /// The intervals of one's membership, `[from, to]`; `null` while it lasts (R6).
    pub visible: Vec<(Seq, Option<Seq>)>,
    /// Members, oneself included, when there are at most [`crate::limits::HEADS_MEMBERS_MAX`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<Vec<HeadsMember>>,
    /// How many members.
    pub member_count: u32,
    /// A group's title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What it is about on the platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<Context>,
}

/// `events`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Events {
    /// Where.
    pub conversation: ConversationId,
    /// Ascending, without holes between them.
    pub events: Vec<Event>,
}

/// `hint`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hint {
    /// `[conversation, head]`
    pub heads: Vec<(ConversationId, Seq)>,
}

/// What a message has become through its relations.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MessageState {
    /// The text after edits; absent once deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The seq of the edit that counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edited_seq: Option<Seq>,
    /// It was deleted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
    /// `emoji → users`, at most [`crate::limits::REACTION_USERS_MAX`] each.
    #[serde(default)]
    pub reactions: BTreeMap<String, Vec<UserId>>,
    /// `emoji → how many` where there are more users than listed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reaction_counts: BTreeMap<String, u64>,
    /// Pinned for everybody.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pinned: bool,
}

/// `page`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Page {
    /// The `pull`; absent over HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<u64>,
    /// Which conversation.
    pub conversation: ConversationId,
    /// The chain's value before `low`.
    pub chain_before: Chain,
    /// The first seq.
    pub low: Seq,
    /// The last seq; `low − 1` when the page is empty.
    pub high: Seq,
    /// The newest seq that the reader may see.
    pub head: Seq,
    /// Ascending, every seq from low to high.
    pub events: Vec<Event>,
    /// What the page's messages have become.
    #[serde(default)]
    pub states: BTreeMap<EventId, MessageState>,
    /// The seq up to which `states` counts.
    pub as_of: Seq,
    /// Whether the interval's edge in that direction is in the page.
    pub end: bool,
}

/// What became of one item of a `send`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AckStatus {
    /// Numbered and stored.
    Ok,
    /// Stored before, at this seq.
    Duplicate,
    /// Refused; `code` says why.
    Error,
    /// Not tried.
    Skipped,
}

/// One result, in the order of the items.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AckResult {
    /// The item's id; absent when it could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<EventId>,
    /// What became of it.
    pub status: AckStatus,
    /// With `ok` and `duplicate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<Seq>,
    /// With `ok` and `duplicate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ts: Option<TimestampMs>,
    /// With `ok` and `duplicate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub countable: Option<u64>,
    /// With `ok` and `duplicate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<Chain>,
    /// With `error`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<ErrorCode>,
    /// When to come back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// `ack`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ack {
    /// The request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<u64>,
    /// One each item; empty for frames without items.
    pub results: Vec<AckResult>,
}

/// `chains`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Chains {
    /// The `probe`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<u64>,
    /// Which conversation.
    pub conversation: ConversationId,
    /// The newest seq that the reader may see.
    pub head: Seq,
    /// `[seq, chain]`; a seq that the reader may not see, or above the head, is left out.
    pub chains: Vec<(Seq, Chain)>,
}

/// `own_state`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OwnStates {
    /// The `state`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<u64>,
    /// Own state is complete up to here, if the client was complete up to the one before.
    pub user_seq: u64,
    /// What changed.
    pub items: Vec<OwnState>,
}

/// `markers`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Markers {
    /// The request, if it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<u64>,
    /// Which conversation.
    pub conversation: ConversationId,
    /// `[user, delivered, read]`
    pub markers: Vec<(UserId, Seq, Seq)>,
}

/// `profiles`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Profiles {
    /// The request, if it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<u64>,
    /// Unknown users are left out.
    pub items: Vec<Profile>,
}

/// A member in `members`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberItem {
    /// Who.
    pub user: UserId,
    /// In which role.
    pub role: Role,
}

/// `members`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Members {
    /// The request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<u64>,
    /// Which conversation.
    pub conversation: ConversationId,
    /// By user id.
    pub items: Vec<MemberItem>,
    /// `after` of the next part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<UserId>,
}

/// A notification of the platform.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notification {
    /// Its id.
    pub id: EventId,
    /// `assessment_started`, `recommendation`, `system`, …
    pub kind: String,
    /// One line.
    pub title: String,
    /// The rest.
    pub text: String,
    /// The platform's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
    /// Where it leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// When.
    pub at: TimestampMs,
    /// Whether it was seen.
    pub acknowledged: bool,
}

/// `notification`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notifications {
    /// Newest last.
    pub items: Vec<Notification>,
}

/// `ephemeral`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Ephemeral {
    /// Who types where.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub typing: Vec<Typing>,
    /// Who is there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub presence: Vec<Presence>,
}

/// `auth_expiring`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuthExpiring {
    /// Until the token ends.
    pub ms: u64,
}

/// `bye`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bye {
    /// The close code that follows.
    pub code: u16,
    /// When to come back.
    pub after_ms: u64,
}

/// `error`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorFrame {
    /// The request, if that much could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<u64>,
    /// Branch on this.
    pub code: ErrorCode,
    /// For developers.
    pub message: String,
    /// When to come back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// With `state_conflict`: the own state as it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<Box<OwnState>>,
}

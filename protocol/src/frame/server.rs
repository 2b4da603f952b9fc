//! Server → client.

use super::{Heads, OwnState, OwnStates, frames};
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
    /// `emoji → users`, at most [`crate::limits::REACTION_USERS_MAX`] each; the reader comes first.
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

impl Page {
    /// The bytes that an event and the state of its message take of [`crate::limits::PAGE_BYTES_MAX`].
    pub fn bytes_of(event: &Event, state: Option<&MessageState>) -> usize {
        /// A quoted id, a colon and a comma.
        const KEY_BYTES: usize = 40;
        let event = serde_json::to_string(event).map_or(0, |text| text.len() + 1);
        let state = state.map(|state| serde_json::to_string(state).map_or(0, |text| text.len() + KEY_BYTES));
        event + state.unwrap_or_default()
    }
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
    /// The list includes all events up to this seq, and possibly later ones. Absent from older servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of: Option<Seq>,
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

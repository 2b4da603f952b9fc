//! Where each conversation stands, and a user's own state in it (S3, S4).

use super::{Context, ConversationKind};
use crate::{Chain, ConversationId, Seq, TimestampMs, UserId, event::Role};
use serde::{Deserialize, Serialize};

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

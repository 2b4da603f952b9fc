//! The list of conversations, and one of them in detail.

use super::{PersonView, PresenceView, SendState};
use kith_protocol::{
    ConversationId, Seq, TimestampMs, UserId,
    event::Role,
    frame::{Context, ConversationKind},
};
use serde::Serialize;

/// A row of the conversation list.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct ConversationView {
    pub id: ConversationId,
    pub kind: ConversationKind,
    /// The peer's name, the group's title, or its members' names.
    pub title: String,
    /// The other person of a direct conversation.
    pub peer: Option<PersonView>,
    /// What it is about on the platform.
    pub context: Option<Context>,
    pub member_count: u32,
    /// One's own role; `None` once left or removed: it can be read, not written.
    pub my_role: Option<Role>,
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
    pub archive: bool,
    /// The text not yet sent.
    pub draft: Option<String>,
    /// Another device wrote this at the same time; the user chooses (R4).
    pub draft_conflict: Option<String>,
    /// Who types at the moment.
    pub typing: Vec<PersonView>,
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
    pub ts: TimestampMs,
    /// The tick of an own message.
    pub send_state: Option<SendState>,
}

/// Everything about one conversation, for its header and its details.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct ConversationDetail {
    pub conversation: ConversationView,
    /// Who is in it, by name.
    pub members: Vec<MemberView>,
    /// Who brought one into the group, as far as that is known.
    pub added_by: Option<UserId>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct MemberView {
    pub person: PersonView,
    pub role: Role,
    /// Their messages' ticks: read up to here, if known.
    pub read: Option<Seq>,
}

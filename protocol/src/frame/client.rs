//! Client → server.

use super::{Context, ConversationKind, frames};
use crate::{ConversationId, DeviceId, EventId, Seq, TimestampMs, UserId, ephemeral::PresenceState};
use serde::{Deserialize, Serialize};
use serde_json::Value;

frames! {
    /// What a client sends.
    ClientFrame, ReceivedClientFrame {
        /// First on every connection.
        Hello(Hello) = "hello",
        /// Renews the token in-band (S11).
        Auth(Auth) = "auth",
        /// New events for one conversation (O4).
        Send(Send) = "send",
        /// Creates a conversation, or finds it.
        Open(Open) = "open",
        /// Asks for a page.
        Pull(Pull) = "pull",
        /// Asks for chain values (S7).
        Probe(Probe) = "probe",
        /// Changes own state.
        State(StateChange) = "state",
        /// What this device has stored (R1).
        Delivered(Delivered) = "delivered",
        /// Asks for heads (S3).
        Heads(HeadsRequest) = "heads",
        /// Asks for members.
        Members(MembersRequest) = "members",
        /// Asks for profiles.
        Profiles(ProfilesRequest) = "profiles",
        /// Asks for members' markers (R2).
        Markers(MarkersRequest) = "markers",
        /// What is on screen (L3).
        Focus(Focus) = "focus",
        /// Typing or not (R5).
        Typing(TypingChange) = "typing",
        /// Whose presence to tell (R5).
        PresenceWatch(PresenceWatch) = "presence.watch",
        /// One's own presence.
        PresenceSet(PresenceSet) = "presence.set",
        /// The platform's notifications that were seen.
        NotificationAck(NotificationAck) = "notification.ack",
    }
}

impl ClientFrame {
    /// Writes the frame as JSON.
    pub fn encode(&self, request: Option<u64>) -> String {
        super::write(self, request)
    }
}

/// `hello`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// 1.
    pub protocol: u32,
    /// The device the token was given to.
    pub device: DeviceId,
    /// The last `welcome`'s, 0 on a new device (S8).
    #[serde(deserialize_with = "crate::seq::counter")]
    pub generation: u64,
    /// The last `welcome`'s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<String>,
    /// From the last heads, if any (S5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// How far own state is known, 0 for not at all (S4).
    #[serde(deserialize_with = "crate::seq::counter")]
    pub user_seq: u64,
    /// Asks for full heads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full: Option<bool>,
    /// `name/version`.
    pub app: String,
    /// Optional abilities of this client.
    #[serde(default)]
    pub capabilities: Vec<String>,
}

/// `auth`
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Auth {
    /// A fresh access token of the same user and device.
    pub token: String,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Auth")
    }
}

/// `send`: items are read one by one, so that a bad one is answered by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Send {
    /// Where to.
    pub conversation: ConversationId,
    /// [`crate::NewEvent`]s, 1 to [`crate::limits::SEND_EVENTS_MAX`], in order.
    #[serde(deserialize_with = "super::once::list")]
    pub events: Vec<Value>,
}

/// `open`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Open {
    /// A direct conversation's id follows from its members; a group's is minted.
    pub conversation: ConversationId,
    /// Direct or group.
    pub kind: ConversationKind,
    /// Without the caller.
    pub members: Vec<UserId>,
    /// Groups only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What it is about on the platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<Context>,
    /// The first message, a [`crate::NewEvent`].
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "super::once::optional")]
    pub first: Option<Value>,
}

/// Which way a pull reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Towards newer events.
    Forward,
    /// Towards older events.
    Backward,
}

/// `pull`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pull {
    /// Which conversation.
    pub conversation: ConversationId,
    /// Where to begin, inclusive; absent for the head.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Seq>,
    /// Where to end, inclusive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Seq>,
    /// Which way.
    pub direction: Direction,
    /// Countable messages, clamped to [`crate::limits::PAGE_MESSAGES_MAX`]; 0 is `invalid`.
    pub max: u32,
}

/// `probe`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// Which conversation.
    pub conversation: ConversationId,
    /// At most [`crate::limits::PROBE_SEQS_MAX`].
    pub seqs: Vec<Seq>,
}

/// A draft with the version it was written on (R4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DraftChange {
    /// Empty removes it.
    pub text: String,
    /// The draft's version that it replaces; 0 for none.
    #[serde(deserialize_with = "crate::seq::counter")]
    pub base: u64,
}

/// `state`: what is absent stays as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StateChange {
    /// Which conversation.
    pub conversation: ConversationId,
    /// Read up to here (R1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<Seq>,
    /// Marked as unread by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unread_flag: Option<bool>,
    /// Muted until, ms; 0 off, 2^53−1 for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mute: Option<TimestampMs>,
    /// Pinned in the list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<bool>,
    /// Archived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<bool>,
    /// Hidden until the next event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hidden: Option<bool>,
    /// The text not yet sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draft: Option<DraftChange>,
}

impl StateChange {
    /// A change of nothing, to set fields on.
    pub const fn of(conversation: ConversationId) -> Self {
        Self {
            conversation,
            read: None,
            unread_flag: None,
            mute: None,
            pin: None,
            archive: None,
            hidden: None,
            draft: None,
        }
    }
}

/// `delivered`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Delivered {
    /// `[conversation, seq]`, sent only after the events are stored.
    pub markers: Vec<(ConversationId, Seq)>,
}

/// `heads`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct HeadsRequest {
    /// All of them, whatever the cursor says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full: Option<bool>,
}

/// `members`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MembersRequest {
    /// Which conversation.
    pub conversation: ConversationId,
    /// The last user of the part before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<UserId>,
    /// Rows, at most [`crate::limits::LIST_ITEMS_MAX`].
    pub max: u32,
}

/// `profiles`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProfilesRequest {
    /// Whose, at most [`crate::limits::USERS_PER_FRAME_MAX`].
    pub users: Vec<UserId>,
}

/// `markers`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MarkersRequest {
    /// Which conversation.
    pub conversation: ConversationId,
}

/// `focus`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Focus {
    /// What is on screen, at most [`crate::limits::FOCUS_MAX`].
    pub conversations: Vec<ConversationId>,
}

/// `typing`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TypingChange {
    /// Where.
    pub conversation: ConversationId,
    /// Typing or not.
    pub on: bool,
}

/// `presence.watch`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PresenceWatch {
    /// Everybody of interest; replaces what was watched before.
    pub users: Vec<UserId>,
}

/// `presence.set`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PresenceSet {
    /// `online`, `away` or `busy`.
    pub state: PresenceState,
}

/// `notification.ack`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NotificationAck {
    /// Which ones.
    pub ids: Vec<EventId>,
}

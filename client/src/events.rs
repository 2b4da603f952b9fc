//! What the engine tells: that something changed, never what to draw. A listener re-reads what it shows.

use crate::{
    ClientError,
    view::{PersonView, StatusView},
};
use kith_protocol::{ConversationId, ErrorCode, EventId, UserId};
use serde::Serialize;

/// A change notice. Notices are bounded and gathered: many changes of one thing may arrive as one.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum EngineEvent {
    /// Signed in, signed out, or the store could not be opened: ask for the app's state.
    AppChanged,
    /// The connection or the account's numbers.
    StatusChanged {
        status: StatusView,
    },
    /// The list, or rows of it.
    ConversationsChanged {
        /// Which rows; empty for all of them.
        conversations: Vec<ConversationId>,
    },
    /// Messages, ticks, reactions, gaps of one conversation.
    TimelineChanged {
        conversation: ConversationId,
    },
    /// Typing in one conversation.
    TypingChanged {
        conversation: ConversationId,
        /// Who types, oneself excluded.
        people: Vec<PersonView>,
    },
    /// Somebody came or went.
    PresenceChanged,
    OutboxChanged,
    /// A message of somebody else arrived that should be announced if its conversation is not in view.
    MessageArrived {
        conversation: ConversationId,
        title: String,
        message: EventId,
        sender_id: UserId,
        /// Their name as far as it is known.
        sender: String,
        /// Its text, one line, at most 200 characters.
        text: String,
        /// How many arrived together (after an absence: one notice a conversation).
        count: u32,
    },
    /// Messages were read (here or on another device): announcements of them can go.
    MessagesRead {
        conversation: ConversationId,
    },
    /// Something the user should know.
    Problem {
        problem: Problem,
    },
    /// The listener was too slow and missed notices, or everything was made anew after an update: re-read everything
    /// that is shown.
    Missed,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Problem {
    /// An item of the outbox was refused for good.
    Parked { conversation: Option<ConversationId>, code: ErrorCode },
    /// The disk is full; what was written stays in the composer.
    DiskFull,
    /// The disk or the file is read-only; what was written stays in the composer.
    ReadOnly,
    /// The store cannot be written.
    StoreFailed,
    /// The secret store cannot be used; the sign-in lasts until the app quits.
    NoSecretStore,
    /// The account was signed in to on a further device.
    NewDevice {
        /// What the device calls itself.
        name: String,
        /// It goes on with a copy of a device's profile.
        is_copy: bool,
    },
    /// This device was signed out from elsewhere.
    DeviceRevoked,
    /// This version is too old for the server.
    UpgradeRequired,
    /// A part of the engine has failed again and again. What is stored is whole; the process should end.
    EngineFailed,
}

impl Problem {
    /// What the user can do something about at once; the rest is told where it happens.
    pub(crate) fn of_disk(error: &ClientError) -> Option<Self> {
        match error {
            ClientError::DiskFull => Some(Self::DiskFull),
            ClientError::ReadOnly => Some(Self::ReadOnly),
            _ => None,
        }
    }
}

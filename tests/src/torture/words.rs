//! What a run and its agents (engines as processes of their own) tell each other: a JSON object a line.

use kith_protocol::{ConversationId, EventId, UserId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case")]
pub enum Order {
    Group {
        title: String,
        members: Vec<UserId>,
    },
    /// Begin a direct conversation.
    Direct {
        user: UserId,
    },
    /// Write until told otherwise, with a pause of about so many milliseconds between two operations.
    Write {
        pause_ms: u64,
    },
    /// Do nothing more, look at everything, and report.
    Rest,
    /// The clock is wrong from now on.
    Clock {
        wrong_by_ms: i64,
    },
    Quit,
}

/// Something that an agent does as its user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "operation", rename_all = "snake_case")]
pub enum Operation {
    /// Writes a message. No two texts of a run are equal.
    Message { conversation: ConversationId, text: String },
    /// Changes an own one.
    Edit { conversation: ConversationId, message: EventId, text: String },
    /// Deletes an own one.
    Delete { conversation: ConversationId, message: EventId },
    /// Sets a reaction or takes it back. Every device has an emoji of its own.
    Reaction { conversation: ConversationId, message: EventId, emoji: String, on: bool },
    /// Moves the read marker.
    Read { conversation: ConversationId },
    /// Adds or removes a member.
    Member { conversation: ConversationId, user: UserId, added: bool },
}

impl Operation {
    /// The texts that may be in the log because of it.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Message { text, .. } | Self::Edit { text, .. } => Some(text),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "said", rename_all = "snake_case")]
pub enum Said {
    /// The engine is open and somebody is signed in.
    Ready { user: UserId },
    /// The conversation was made.
    Made { conversation: ConversationId },
    /// An operation begins: a kill may leave it done or not.
    Will { operation: Operation },
    /// The engine has accepted it; `id` is a message's.
    Did { operation: Operation, id: Option<EventId> },
    /// The engine has not.
    Refused { operation: Operation, code: String },
    /// How it stands, again and again while resting.
    Report(Report),
    /// Something could not be read or done for a reason of the disk or the file.
    Trouble { code: String },
    /// A damaged file was replaced; so many unsent items were in it.
    Mended { salvaged: u32 },
}

/// What an engine shows to its user.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Report {
    /// Connected and in sync.
    pub connected: bool,
    /// All that is visible has been read to its beginning, without a gap.
    pub complete: bool,
    /// Unread messages by conversation.
    pub unread: BTreeMap<String, u32>,
    /// Items in the outbox that do not wait for the user.
    pub unsent: usize,
    /// Events that are stored.
    pub stored: u64,
}

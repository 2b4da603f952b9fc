//! What is sent to a connection.

use kith_protocol::{ConversationId, Seq, UserId};
use std::{sync::Arc, time::Instant};

/// What a [`Latest`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Topic {
    /// A member's markers in a conversation.
    Markers(ConversationId, UserId),
    Profile(UserId),
    /// A person's own state in a conversation. It waits as a frame; between instances the newest is told again.
    Own(ConversationId, UserId),
}

/// A fact of which only the newest counts.
#[derive(Debug, Clone)]
pub struct Latest {
    pub topic: Topic,
    /// Rises with each change, so that one which is told late replaces nothing newer.
    pub version: (u64, u64),
    pub json: Arc<str>,
}

/// Something for a connection.
#[derive(Debug, Clone)]
pub enum Outgoing {
    /// An answer, heads or own state: never dropped.
    Frame(Arc<str>),
    /// Replaces what waits on the same topic.
    Latest(Latest),
    /// Typing or presence: the first to go.
    Ephemeral(Arc<str>),
    /// An event: becomes a hint when there is too much.
    Event {
        conversation: ConversationId,
        seq: Seq,
        json: Arc<str>,
        /// When it was committed.
        since: Instant,
    },
}

impl Outgoing {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Frame(text) | Self::Ephemeral(text) | Self::Event { json: text, .. } => text.len(),
            Self::Latest(fact) => fact.json.len(),
        }
    }

    /// Whether the client finds out by itself, or by a hint, that it did not come.
    pub(super) fn may_go(&self) -> bool {
        matches!(self, Self::Ephemeral(_) | Self::Event { .. })
    }
}

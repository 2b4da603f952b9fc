//! What has not reached the server.

use kith_protocol::{ConversationId, ErrorCode, TimestampMs};
use serde::Serialize;

/// What the user did that has not reached the server.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct OutboxItemView {
    /// To act on it.
    pub item: f64,
    pub conversation: Option<ConversationId>,
    pub conversation_title: String,
    pub what: OutboxKind,
    /// The message's or edit's text, the emoji, the new title … at most 200 characters.
    pub summary: String,
    /// When the user did it.
    pub written_at: TimestampMs,
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
    Sending,
    /// Tried; the next try is planned.
    Retry {
        at: TimestampMs,
        /// What the last one met.
        code: ErrorCode,
    },
    /// Waits behind a parked item of its conversation.
    Held,
    /// Will not succeed by retrying; waits for the user.
    Parked {
        code: ErrorCode,
    },
}

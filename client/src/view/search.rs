//! What a search found.

use super::PersonView;
use kith_protocol::{ConversationId, EventId, TimestampMs};
use serde::Serialize;

/// A message that a search found.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct SearchHit {
    pub conversation: ConversationId,
    pub conversation_title: String,
    pub message: EventId,
    pub sender: PersonView,
    pub ts: TimestampMs,
    /// The text around the hit, in parts.
    pub snippet: Vec<SnippetPart>,
}

/// A part of a snippet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct SnippetPart {
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
    pub more: bool,
    pub searched: u32,
    /// Messages that exist, as far as known (the rest is only on the server).
    pub total: u32,
}

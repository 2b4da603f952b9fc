//! What a search found.

use super::PersonView;
use kith_protocol::{ConversationId, EventId, TimestampMs};
use serde::Serialize;

/// A message that a search found.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct SearchHit {
    /// Where.
    pub conversation: ConversationId,
    /// The conversation's title.
    pub conversation_title: String,
    /// Which message.
    pub message: EventId,
    /// Who wrote it.
    pub sender: PersonView,
    /// When.
    pub ts: TimestampMs,
    /// The text around the hit, in parts.
    pub snippet: Vec<SnippetPart>,
}

/// A part of a snippet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct SnippetPart {
    /// The text.
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
    /// There are more.
    pub more: bool,
    /// Messages searched.
    pub searched: u32,
    /// Messages that exist, as far as known (the rest is only on the server).
    pub total: u32,
}

//! Where logs stand by the events of other instances.
//!
//! Without a hint, a lane finds out from its first statement that another instance wrote to the log, and needs a second
//! one. A hint is never trusted: the statement compares head and chain under the lock.

use crate::db::heads::HeadRow;
use kith_protocol::{Chain, ConversationId, Event, Seq, TimestampMs};
use quick_cache::sync::Cache;
use std::sync::Arc;

/// Logs that are remembered; one takes about 100 bytes. Without its hint, a log costs one more statement.
const HINTS_MAX: usize = 50_000;

/// A log's state after an event.
#[derive(Debug, Clone, Copy)]
struct Hint {
    seq: Seq,
    countable: u64,
    chain: Chain,
    ts: TimestampMs,
}

/// The newest events that the bus brought; a handle that is cheap to clone.
#[derive(Debug, Clone)]
pub struct HeadHints(Arc<Cache<ConversationId, Hint>>);

impl Default for HeadHints {
    fn default() -> Self {
        Self(Arc::new(Cache::new(HINTS_MAX)))
    }
}

impl HeadHints {
    /// Takes an event that another instance committed.
    pub fn heard(&self, conversation: ConversationId, event: &Event) {
        let hint = Hint { seq: event.seq, countable: event.countable, chain: event.chain, ts: event.ts };
        self.0.insert(conversation, hint);
    }

    /// The head after a newer event, if one is known.
    pub(super) fn newer(&self, conversation: ConversationId, head: &HeadRow) -> Option<HeadRow> {
        let hint = self.0.get(&conversation).filter(|hint| hint.seq.as_i64() > head.head)?;
        Some(HeadRow {
            head: hint.seq.as_i64(),
            countable: i64::try_from(hint.countable).ok()?,
            chain: hint.chain.as_bytes().to_vec(),
            last_ts: hint.ts.as_i64(),
            ..head.clone()
        })
    }
}

//! How well what is stored agrees with the server, for whoever looks into a problem.

use super::LinkView;
use kith_protocol::{ConversationId, DeviceId, Seq, TimestampMs};
use serde::Serialize;

/// The state of sync. Nothing in it is a secret but titles; a report leaves them out.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct DiagnosticsView {
    /// `name/version`.
    pub app: String,
    pub server: String,
    pub device: DeviceId,
    /// The lineage of the server's database, once it was told.
    pub epoch: Option<String>,
    pub link: LinkView,
    /// When this was read.
    pub at: TimestampMs,
    /// When stored events were last compared with the server's.
    pub checked_at: Option<TimestampMs>,
    /// Size of the database with what is not yet checkpointed, bytes.
    pub file_bytes: f64,
    /// Items in the outbox that wait for the network.
    pub waiting: u32,
    /// Items in the outbox that wait for the user.
    pub parked: u32,
    /// Conversations that the server knows.
    pub conversations: u32,
    /// Conversations in which something is missing.
    pub incomplete: u32,
    /// At most 50 of them: those that lack something first, then the newest.
    pub logs: Vec<LogView>,
    /// All counters, since the database was made.
    pub counters: Vec<CounterView>,
}

/// How one conversation's log stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct LogView {
    pub conversation: ConversationId,
    pub title: String,
    /// The newest stored event.
    pub in_sync_to: Seq,
    /// The newest event that the server is known to have.
    pub head: Seq,
    /// Events between the oldest stored one and the head that are not here.
    pub missing: u32,
    /// Older events, which come when somebody scrolls to them.
    pub older: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct CounterView {
    pub counter: Counter,
    pub count: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum Counter {
    /// Events that did not come by themselves were asked for.
    GapPulls,
    /// The state of all conversations was fetched.
    FullHeads,
    /// The server had a message already that was sent to it again.
    Duplicates,
    /// The server's log was another one than what was stored (it was set back).
    Forks,
    /// Own messages that the server had lost and that were sent again.
    Orphans,
    /// Conversations that were compared with the server's.
    Checks,
    /// Stored rows were damaged, and fetched anew.
    Repairs,
    /// Sync failed and was started again.
    DriverRestarts,
    /// The writer of the database failed and was started again.
    WriterRestarts,
}

impl From<kith_sync::ops::Counter> for Counter {
    fn from(counter: kith_sync::ops::Counter) -> Self {
        use kith_sync::ops::Counter as Counted;
        match counter {
            Counted::GapPulls => Self::GapPulls,
            Counted::FullHeads => Self::FullHeads,
            Counted::Duplicates => Self::Duplicates,
            Counted::Forks => Self::Forks,
            Counted::Orphans => Self::Orphans,
            Counted::Checks => Self::Checks,
            Counted::Repairs => Self::Repairs,
            Counted::DriverRestarts => Self::DriverRestarts,
            Counted::WriterRestarts => Self::WriterRestarts,
        }
    }
}

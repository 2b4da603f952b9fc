//! The way to the other instances, where there are any (L4).
//!
//! The hub hands what it tells to a bounded queue and never waits: whatever is lost on the way, the other instances find
//! in the database. So that nothing is handed on twice, whoever hands an event on claims its place first, be it the lane
//! that numbered it, the bus, or the look into the database.

use super::{Published, Topic};
use kith_protocol::{ConversationId, DeviceId, Seq, TimestampMs, UserId, ephemeral::PresenceState};
use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

/// What waits for the bus. When it is full the rest is dropped and counted: the others notice and look for themselves.
pub const OUTWARD_MAX: usize = 4_096;
/// Runs of events that wait for those before them. When it is full the rest is left to the look into the database.
pub const HELD_MAX: usize = 1_024;
/// Locks of the windows.
const SHARDS: usize = 16;
/// Conversations that a shard remembers. When there are more, those go of which nothing was heard for long.
const WINDOWS_MAX: usize = 16_384;
/// Longer than an event may go unnoticed by the look into the database.
const FORGET_AFTER: Duration = Duration::from_secs(120);

/// Something that the other instances are to know.
#[derive(Debug, Clone)]
pub enum Outward {
    /// Events of one commit, in order, and who gets heads before them.
    Log {
        /// Who, and of which conversation.
        announce: Vec<(UserId, ConversationId)>,
        events: Vec<Published>,
    },
    /// A frame for all connections of these users.
    Frame {
        /// What it is about, if it is to be told again after a loss.
        topic: Option<Topic>,
        users: Vec<UserId>,
        json: Arc<str>,
    },
    /// A device was signed out.
    Closed { device: DeviceId, code: u16 },
    /// A device has a newer socket here, or signed in again here.
    Replaced {
        user: UserId,
        device: DeviceId,
        /// Sockets of lower generations are closed.
        generation: u64,
    },
    /// A block between two people.
    Parted { pair: [UserId; 2] },
    /// How present somebody is here.
    Presence {
        user: UserId,
        /// The most telling state of the connections here; `None` without any.
        state: Option<PresenceState>,
        /// When the last one went.
        last_seen: Option<TimestampMs>,
        /// Which change of this instance's presence it is.
        version: u64,
    },
}

/// The places of a log that were handed on: all from `low` to `high`.
#[derive(Debug, Clone, Copy)]
struct Window {
    low: Seq,
    high: Seq,
    used: Instant,
}

/// What becomes of a run of events.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Those from this one on go out.
    From(usize),
    /// Something is missing between them and what was handed on.
    Gap,
}

#[derive(Debug, Default)]
pub(super) struct Windows(HashMap<ConversationId, Window>);

impl Windows {
    /// Claims the places of a run of consecutive events. With `is_read` a gap before them is none: whoever read them from
    /// the database has seen to it.
    pub(super) fn claim(&mut self, run: &[Published], is_read: bool) -> Verdict {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { return Verdict::From(0) };
        let Some(window) = self.0.get_mut(&first.conversation) else { return Verdict::From(0) };
        window.used = Instant::now();
        if first.seq < window.low {
            // Behind the others; the client puts it into its place (C1).
            if last.seq.0 + 1 == window.low.0 {
                window.low = first.seq;
            } else if !is_read {
                return Verdict::Gap;
            }
            return Verdict::From(0);
        }
        if first.seq.0 > window.high.0 + 1 && !is_read {
            return Verdict::Gap;
        }
        let known = (window.high.0 + 1).saturating_sub(first.seq.0);
        window.high = window.high.max(last.seq);
        Verdict::From(usize::try_from(known).unwrap_or(usize::MAX).min(run.len()))
    }

    /// Begins to remember a conversation, for somebody who was handed this run.
    pub(super) fn begin(&mut self, run: &[Published]) {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { return };
        if self.0.contains_key(&first.conversation) {
            return;
        }
        if self.0.len() >= WINDOWS_MAX {
            self.0.retain(|_, window| window.used.elapsed() < FORGET_AFTER);
        }
        if self.0.len() >= WINDOWS_MAX {
            self.0.clear();
        }
        let window = Window { low: first.seq, high: last.seq, used: Instant::now() };
        self.0.insert(first.conversation, window);
    }

    /// Nobody here is in it any more.
    pub(super) fn forget(&mut self, conversation: ConversationId) {
        self.0.remove(&conversation);
    }

    /// What was not handed on, so that all of `low..=high` was and nothing is missing between.
    fn missing(&self, conversation: ConversationId, low: Seq, high: Seq) -> Vec<(Seq, Seq)> {
        let Some(window) = self.0.get(&conversation) else { return vec![(low, high)] };
        let mut missing = Vec::new();
        if low < window.low {
            missing.push((low, window.low.previous()));
        }
        if high > window.high {
            missing.push((Seq(window.high.0 + 1), high));
        }
        missing
    }
}

/// The hub's end of the bus.
#[derive(Debug)]
pub struct Relay {
    outward: mpsc::Sender<Outward>,
    held: mpsc::Sender<Vec<Published>>,
    /// What found no room in a queue.
    overflowed: AtomicU64,
    shards: [Mutex<Windows>; SHARDS],
    /// Keyed anew by each process, so that nobody can choose conversations that share a lock.
    hasher: RandomState,
}

impl Relay {
    /// A relay with the other ends of its queues: what is to be told elsewhere, and runs of events that wait for others.
    pub fn new() -> (Self, mpsc::Receiver<Outward>, mpsc::Receiver<Vec<Published>>) {
        let (outward, outward_end) = mpsc::channel(OUTWARD_MAX);
        let (held, held_end) = mpsc::channel(HELD_MAX);
        let relay = Self {
            outward,
            held,
            overflowed: AtomicU64::new(0),
            shards: Default::default(),
            hasher: RandomState::new(),
        };
        (relay, outward_end, held_end)
    }

    pub(super) fn tell(&self, outward: Outward) {
        if self.outward.try_send(outward).is_err() {
            self.overflowed.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn hold(&self, run: Vec<Published>) {
        // The look into the database finds what has no room here.
        let _ = self.held.try_send(run);
    }

    /// What found no room since somebody last asked.
    pub fn take_overflowed(&self) -> u64 {
        self.overflowed.swap(0, Ordering::Relaxed)
    }

    pub(super) fn windows(&self, conversation: ConversationId) -> MutexGuard<'_, Windows> {
        let shard = usize::try_from(self.hasher.hash_one(conversation) % SHARDS as u64).unwrap_or_default();
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody here is in the conversation, or nobody knows what was handed on.
    pub fn forget(&self, conversation: ConversationId) {
        self.windows(conversation).forget(conversation);
    }

    /// Forgets what was handed on of all conversations.
    pub(super) fn begin_anew(&self) {
        for shard in &self.shards {
            *shard.lock().unwrap_or_else(PoisonError::into_inner) = Windows::default();
        }
    }

    /// What was not handed on here, so that all of `low..=high` was and nothing is missing between.
    pub fn missing(&self, conversation: ConversationId, low: Seq, high: Seq) -> Vec<(Seq, Seq)> {
        self.windows(conversation).missing(conversation, low, high)
    }
}

/// Divides events into runs: neighbours of one conversation whose places follow each other.
pub(super) fn runs(events: &[Published]) -> impl Iterator<Item = &[Published]> {
    events.chunk_by(|a, b| {
        a.conversation == b.conversation && a.seq.0 + 1 == b.seq.0 && Arc::ptr_eq(&a.audience, &b.audience)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(conversation: ConversationId, seqs: std::ops::RangeInclusive<u64>) -> Vec<Published> {
        let audience: Arc<[UserId]> = Arc::new([]);
        let event = |seq| Published {
            conversation,
            seq: Seq(seq),
            json: "{}".into(),
            audience: Arc::clone(&audience),
        };
        seqs.map(event).collect()
    }

    #[test]
    fn l4_a_place_is_claimed_once_whoever_comes_first() {
        let mut windows = Windows::default();
        let id = ConversationId::mint();
        windows.begin(&run(id, 3..=4));
        assert_eq!(windows.claim(&run(id, 4..=4), false), Verdict::From(1), "known");
        assert_eq!(windows.claim(&run(id, 4..=6), false), Verdict::From(1), "the first is known");
        assert_eq!(windows.claim(&run(id, 5..=6), true), Verdict::From(2), "both are known");
        assert_eq!(windows.claim(&run(id, 7..=7), false), Verdict::From(0), "the next");
        assert_eq!(windows.claim(&run(id, 1..=1), false), Verdict::Gap, "late, and another one with it");
        assert_eq!(windows.missing(id, Seq(1), Seq(1)), [(Seq(1), Seq(2))]);
        assert_eq!(windows.claim(&run(id, 1..=2), true), Verdict::From(0), "late, and not yet told");
        assert_eq!(windows.claim(&run(id, 1..=2), true), Verdict::From(2), "late, and told");
    }

    #[test]
    fn l4_a_hole_is_noticed_and_filled_by_what_is_read() {
        let mut windows = Windows::default();
        let id = ConversationId::mint();
        assert_eq!(windows.missing(id, Seq(2), Seq(5)), [(Seq(2), Seq(5))], "nothing was told yet");
        windows.begin(&run(id, 3..=3));
        assert_eq!(windows.claim(&run(id, 5..=5), false), Verdict::Gap);
        assert_eq!(windows.missing(id, Seq(2), Seq(5)), [(Seq(2), Seq(2)), (Seq(4), Seq(5))]);
        assert_eq!(windows.claim(&run(id, 4..=4), true), Verdict::From(0));
        assert_eq!(windows.claim(&run(id, 5..=5), false), Verdict::From(0), "no hole any more");
        assert_eq!(windows.missing(id, Seq(3), Seq(5)), []);
    }

    #[test]
    fn l4_what_is_remembered_has_a_bound() {
        let mut windows = Windows::default();
        for _ in 0..WINDOWS_MAX * 2 + 1 {
            windows.begin(&run(ConversationId::mint(), 1..=1));
            assert!(windows.0.len() <= WINDOWS_MAX);
        }
    }

    #[test]
    fn l4_a_queue_that_is_full_makes_nobody_wait_and_is_counted() {
        let (relay, _outward, _held) = Relay::new();
        for _ in 0..OUTWARD_MAX + 3 {
            relay.tell(Outward::Closed { device: DeviceId::mint(), code: 4_200 });
        }
        assert_eq!((relay.take_overflowed(), relay.take_overflowed()), (3, 0));
    }
}

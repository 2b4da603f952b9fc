//! What is watched while all seems well: a sample of the logs is compared with the server's every hour, and what went
//! otherwise than planned is counted, for whoever looks into it.

use super::{Asked, Machine};
use crate::ops::{Counter, StoreOp};
use kith_protocol::{ClientFrame, ConversationId, frame::Chains, frame::Probe};
use std::collections::VecDeque;

/// How many at a time.
const SAMPLE: usize = 16;
/// How many are compared with the server's at once.
const IN_FLIGHT: usize = 4;

/// The check under way, and the next one.
#[derive(Debug, Default)]
pub(super) struct Checking {
    /// Monotonic ms; `None` until there was a connection.
    at: Option<u64>,
    /// Those whose turn it is.
    left: VecDeque<ConversationId>,
    /// Monotonic ms; after a refusal nothing is asked before.
    after: u64,
    /// The last one that had its turn; the next sample begins behind it.
    last: Option<ConversationId>,
}

impl Machine {
    pub(super) fn count(&mut self, counter: Counter, by: usize) {
        if by > 0 {
            self.store(StoreOp::Count { counter, by: by as u64 });
        }
    }

    /// The user wants everything checked, as soon as there is a connection.
    pub(super) fn check_now(&mut self) {
        self.checking.left = self.in_order().into();
    }

    pub(super) fn check_deadline(&self) -> Option<u64> {
        let Checking { at, left, after, .. } = &self.checking;
        let again = (!left.is_empty() && *after > self.now.mono).then_some(*after);
        [*at, again].into_iter().flatten().min()
    }

    /// The server had no time for a check.
    pub(super) fn check_later(&mut self, conversation: ConversationId, retry_after_ms: Option<u64>) {
        self.checking.left.push_back(conversation);
        self.checking.after = self.now.mono + retry_after_ms.unwrap_or(super::ASK_AGAIN_MS);
    }

    /// Within a connection: begins a check when it is time, and goes on with it.
    pub(super) fn check_some(&mut self) {
        let (now, every) = (self.now.mono, self.options.pace.check_every_ms);
        match self.checking.at {
            None => self.checking.at = Some(now + every),
            Some(at) if at <= now => {
                self.checking.at = Some(now + every);
                self.draw_sample();
            }
            Some(_) => {}
        }
        if self.checking.after > now {
            return;
        }
        let asked = |asked: &Asked| matches!(asked, Asked::Check { .. });
        let mut in_flight = self.requests.values().filter(|request| asked(&request.asked)).count();
        while in_flight < IN_FLIGHT
            && let Some(conversation) = self.checking.left.pop_front()
        {
            in_flight += usize::from(self.check(conversation));
        }
    }

    fn in_order(&self) -> Vec<ConversationId> {
        let mut all: Vec<_> = self.logs.keys().copied().collect();
        all.sort_unstable();
        all
    }

    fn draw_sample(&mut self) {
        let all = self.in_order();
        let start = self.checking.last.map_or(0, |last| all.partition_point(|id| *id <= last));
        let sample: Vec<_> = all.iter().cycle().skip(start).take(SAMPLE.min(all.len())).copied().collect();
        self.checking.last = sample.last().copied();
        self.checking.left.extend(sample);
    }

    /// Here against itself, and here against the server.
    fn check(&mut self, conversation: ConversationId) -> bool {
        let Some(log) = self.logs.get(&conversation).filter(|log| !log.probing) else { return false };
        let seqs = log.probes();
        if seqs.is_empty() {
            return false;
        }
        self.store(StoreOp::Verify { conversation, salt: self.now.wall.0 });
        self.request(ClientFrame::Probe(Probe { conversation, seqs }), Asked::Check { conversation });
        true
    }

    /// What the server answers to a check.
    pub(super) fn checked(&mut self, chains: &Chains) {
        let Some(log) = self.logs.get(&chains.conversation) else { return };
        if !log.probing && log.differs_from(chains) {
            self.fork(chains.conversation);
        }
    }
}

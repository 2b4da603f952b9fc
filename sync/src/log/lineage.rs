//! Whether the stored log and the server's are the same (S7).

use super::{CONTRADICTIONS_MAX, Log};
use crate::{ops::LocalRange, ranges::Ranges};
use kith_protocol::{
    Chain, Seq,
    frame::{Chains, Direction},
    limits,
};
use std::collections::BTreeSet;

impl Log {
    /// Whether what is stored of an earlier membership will never touch what comes (R6): only a probe compares it (S7).
    pub(crate) fn is_apart(&self) -> bool {
        let low = self.ranges.all().first().map(|range| range.high);
        let start = self.visible.last().map(|(from, _)| *from);
        low.zip(start).is_some_and(|(high, from)| high.next() < from)
    }

    /// Whether a seq lies in an interval of the membership (R6).
    pub(crate) fn may_see(&self, seq: Seq) -> bool {
        self.visible.iter().any(|(from, to)| *from <= seq && to.is_none_or(|to| seq <= to))
    }

    /// The first stored seq that may not be seen: intervals only grow, so it is of another log (S7).
    pub(crate) fn first_unseen(&self) -> Option<Seq> {
        self.ranges.all().iter().find_map(|range| {
            let mut seq = range.low;
            while seq <= range.high {
                let within = |(from, to): &&(Seq, Option<Seq>)| *from <= seq && to.is_none_or(|to| seq <= to);
                match self.visible.iter().find(within) {
                    None => return Some(seq),
                    Some((_, None)) => return None,
                    Some((_, Some(to))) => seq = to.next(),
                }
            }
            None
        })
    }

    /// The seqs to be compared with the server's (S7), newest first: the end of each range, for an upper one may be
    /// of the server's log already and a lower one not, and steps that double from the top. The server answers only
    /// for what may be seen, so a range ends with each interval.
    pub(crate) fn probes(&self) -> Vec<Seq> {
        let ends = self.ranges.all().iter().rev().flat_map(|range| {
            self.visible.iter().rev().filter_map(|(from, to)| {
                let end = to.unwrap_or(range.high).min(range.high);
                (end >= range.low.max(*from)).then_some(end)
            })
        });
        let highs = ends.take(limits::PROBE_SEQS_MAX / 3);
        let mut seqs: BTreeSet<Seq> = highs.chain(self.suspect).collect();
        let (top, mut back) = (self.ranges.high(), 0);
        while top.0 > back && seqs.len() < limits::PROBE_SEQS_MAX {
            seqs.insert(Seq(top.0 - back));
            back = back * 2 + 1;
        }
        seqs.into_iter().rev().collect()
    }

    /// Whether what is stored cannot be of the log that the server tells of. A log of which nothing that was asked for may be
    /// seen is another one.
    pub(crate) fn differs_from(&self, chains: &Chains) -> bool {
        let differs = |range: &LocalRange, (seq, chain): &(Seq, Chain)| {
            (*seq == range.high && *chain != range.chain_high)
                || (*seq == range.low.previous() && *chain != range.chain_before)
        };
        let is_other =
            |range: &LocalRange| chains.chains.iter().any(|told: &(Seq, Chain)| differs(range, told));
        let is_unseen = chains.chains.is_empty() && !self.ranges.all().is_empty();
        is_unseen || chains.head < self.ranges.high() || self.ranges.all().iter().any(is_other)
    }

    /// Full heads said nothing of this log, for the conversation is hidden: only a probe compares it (S7).
    pub(crate) fn unconfirm(&mut self) {
        (self.is_confirmed, self.confirm_after) = (self.ranges.all().is_empty(), None);
    }

    /// What came touches all that was stored when the connection began, and its chain fits: it is of the same log.
    pub(crate) fn confirm_if_continued(&mut self) {
        let [range] = self.ranges.all() else { return };
        let continues = range.high > self.high_at_hello && range.low <= self.high_at_hello;
        self.is_confirmed |= continues || self.head_chain == Some((range.high, range.chain_high));
    }

    /// Whether the next page of the catching up will tell if the server's log continues what is stored.
    pub(crate) fn is_confirmed_by_pull(&self, forward_max: u64) -> bool {
        self.is_behind()
            && self.ranges.all().len() == 1
            && self.catch_up(forward_max).direction == Direction::Forward
    }

    /// Events were not stored because of the one at `seq`. Returns whether asking the server about it is worth while.
    pub(crate) fn contradicted(&mut self, ranges: Vec<LocalRange>, seq: Seq) -> bool {
        self.ranges = Ranges::new(ranges);
        self.buffer.clear();
        self.suspect = Some(seq);
        self.contradictions += 1;
        self.contradictions <= CONTRADICTIONS_MAX
    }

    /// After a rewind (S7): what is left. Returns whether something was cut.
    pub(crate) fn rewound(&mut self, ranges: Vec<LocalRange>) -> bool {
        let left = Ranges::new(ranges);
        let is_cut = left != self.ranges;
        if is_cut {
            self.awaits_item = true;
            self.contradictions = 0;
            self.delivered_sent = self.delivered_sent.min(left.high());
        }
        self.suspect = None;
        self.high_at_hello = self.high_at_hello.min(left.high());
        self.ranges = left;
        self.others_high = self.others_high.min(self.ranges.high());
        self.told_at = self.told_at.min(self.ranges.high());
        self.buffer.clear();
        self.requests.clear();
        self.request_in_flight = None;
        (self.probing, self.probe_after) = (false, None);
        self.wait_until = None;
        is_cut
    }
}

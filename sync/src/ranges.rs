//! The contiguous ranges of a conversation's log that are stored here (C2), with the chain's value at their ends (W8).
//!
//! Invariant: ascending, and between two ranges at least one seq is missing.

use super::ops::LocalRange;
use crate::mutation::{self, Mutation};
use kith_protocol::{Chain, ConversationId, Event, Seq};

/// Two logs differ where they should be the same (S7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mismatch;

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Ranges(Vec<LocalRange>);

impl Ranges {
    pub fn new(ranges: Vec<LocalRange>) -> Self {
        Self(ranges)
    }

    /// The range with the greatest seqs.
    pub fn newest(&self) -> Option<&LocalRange> {
        self.0.last()
    }

    /// The last stored seq, 0 when nothing is stored.
    pub fn high(&self) -> Seq {
        self.newest().map_or(Seq::ZERO, |range| range.high)
    }

    pub fn contains(&self, seq: Seq) -> bool {
        self.0.iter().rev().any(|range| range.low <= seq && seq <= range.high)
    }

    /// What is missing between the ranges, newest first, inclusive on both sides.
    pub fn gaps(&self) -> impl Iterator<Item = (Seq, Seq)> + '_ {
        self.0.windows(2).rev().map(|pair| (pair[0].high.next(), pair[1].low.previous()))
    }

    pub fn all(&self) -> &[LocalRange] {
        &self.0
    }

    /// Whether a log that ends there, with this chain value, is all that is stored. Of several ranges only the newest
    /// one could be compared.
    pub fn is_continued_by(&self, head: Seq, chain: Chain) -> bool {
        match &self.0[..] {
            [] => true,
            [range] => range.high == head && range.chain_high == chain,
            _ => false,
        }
    }

    /// Puts a run of events in; ranges that it touches become one.
    ///
    /// `inside` is the run's chain value at a seq of the run.
    ///
    /// # Errors
    /// [`Mismatch`] if the chain differs at an end that can be compared; nothing is changed then.
    pub fn merge(&mut self, run: LocalRange, inside: impl Fn(Seq) -> Option<Chain>) -> Result<(), Mismatch> {
        let value_at =
            |seq: Seq| if seq == run.low.previous() { Some(run.chain_before) } else { inside(seq) };
        let leaps = mutation::is(Mutation::RangeLeapsHole);
        let touches = |range: &LocalRange| {
            let is_near = leaps && run.low == range.high.next().next();
            is_near || (range.low <= run.high.next() && run.low <= range.high.next())
        };
        let mut merged = run;
        for range in self.0.iter().filter(|range| touches(range)) {
            let ends = [(range.low.previous(), range.chain_before), (range.high, range.chain_high)];
            for (seq, chain) in ends {
                if value_at(seq).is_some_and(|value| value != chain) {
                    return Err(Mismatch);
                }
            }
            let own = [(run.low.previous(), run.chain_before), (run.high, run.chain_high)];
            for (seq, chain) in own {
                let known = [(range.low.previous(), range.chain_before), (range.high, range.chain_high)];
                if known.iter().any(|(at, value)| *at == seq && *value != chain) {
                    return Err(Mismatch);
                }
            }
            if range.low < merged.low {
                (merged.low, merged.chain_before) = (range.low, range.chain_before);
            }
            if range.high > merged.high {
                (merged.high, merged.chain_high) = (range.high, range.chain_high);
            }
        }
        self.0.retain(|range| !touches(range));
        let place = self.0.partition_point(|range| range.low < merged.low);
        self.0.insert(place, merged);
        Ok(())
    }
}

/// Checks that events follow each other and that the chain's values are theirs. Returns the run that they are.
///
/// # Errors
/// [`Mismatch`] if not; also for no events.
pub fn run_of(conversation: ConversationId, before: Chain, events: &[Event]) -> Result<LocalRange, Mismatch> {
    let (Some(first), Some(last)) = (events.first(), events.last()) else { return Err(Mismatch) };
    let (mut chain, mut seq) = (before, first.seq.previous());
    for event in events {
        chain = chain.then(conversation, seq, event.id);
        seq = seq.next();
        if event.seq != seq || event.chain != chain {
            return Err(Mismatch);
        }
    }
    Ok(LocalRange { low: first.seq, high: last.seq, chain_before: before, chain_high: chain })
}

/// Cuts the intervals of a membership (R6) where the log ends: what ended above `high` goes on, and what began above it is
/// not known. One interval stays.
pub fn cut_intervals(visible: &mut Vec<(Seq, Option<Seq>)>, high: Seq) {
    let begun = visible.iter().take_while(|(from, _)| *from <= high).count();
    visible.truncate(begun.max(1));
    if let Some((_, to)) = visible.last_mut() {
        *to = to.filter(|to| *to <= high);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(seq: u64) -> Chain {
        Chain(seq.to_be_bytes())
    }

    fn range(low: u64, high: u64) -> LocalRange {
        LocalRange { low: Seq(low), high: Seq(high), chain_before: chain(low - 1), chain_high: chain(high) }
    }

    fn put(ranges: &mut Ranges, low: u64, high: u64) -> Result<(), Mismatch> {
        ranges.merge(range(low, high), |seq| (low <= seq.0 && seq.0 <= high).then(|| chain(seq.0)))
    }

    #[test]
    fn c2_ranges_stay_apart_until_the_gap_is_filled() {
        let mut ranges = Ranges::default();
        put(&mut ranges, 1, 10).unwrap();
        put(&mut ranges, 20, 30).unwrap();
        assert_eq!(ranges.gaps().collect::<Vec<_>>(), [(Seq(11), Seq(19))]);
        put(&mut ranges, 15, 19).unwrap();
        assert_eq!(ranges.all(), [range(1, 10), range(15, 30)]);
        put(&mut ranges, 5, 17).unwrap();
        assert_eq!(ranges.all(), [range(1, 30)]);
        assert!(ranges.contains(Seq(13)) && !ranges.contains(Seq(31)));
    }

    #[test]
    fn c3_a_run_that_is_known_changes_nothing() {
        let mut ranges = Ranges::default();
        put(&mut ranges, 3, 9).unwrap();
        put(&mut ranges, 3, 9).unwrap();
        put(&mut ranges, 4, 5).unwrap();
        assert_eq!(ranges.all(), [range(3, 9)]);
    }

    #[test]
    fn w8_a_run_of_another_log_is_refused() {
        let mut ranges = Ranges::default();
        put(&mut ranges, 1, 10).unwrap();
        let other = |low: u64, high: u64| LocalRange { chain_before: chain(99), ..range(low, high) };
        assert_eq!(ranges.merge(other(11, 12), |_| None), Err(Mismatch));
        assert_eq!(ranges.merge(range(8, 12), |_| Some(chain(77))), Err(Mismatch));
        assert_eq!(ranges.all(), [range(1, 10)]);
    }

    #[test]
    fn r6_a_membership_is_cut_where_the_log_ends() {
        let cut = |visible: &[(u64, Option<u64>)], high| {
            let mut cut: Vec<_> = visible.iter().map(|(from, to)| (Seq(*from), to.map(Seq))).collect();
            cut_intervals(&mut cut, Seq(high));
            cut.into_iter().map(|(from, to)| (from.0, to.map(|to| to.0))).collect::<Vec<_>>()
        };
        let visible = [(1, Some(5)), (8, Some(13))];
        assert_eq!(cut(&visible, 13), visible);
        assert_eq!(cut(&visible, 9), [(1, Some(5)), (8, None)]);
        assert_eq!(cut(&visible, 7), [(1, Some(5))]);
        assert_eq!(cut(&visible, 4), [(1, None)]);
        assert_eq!(cut(&[(8, None)], 0), [(8, None)]);
        assert_eq!(cut(&[], 3), []);
    }
}

//! Which events of a conversation are missing, and the pull that brings them.

use super::{HISTORY_MAX, Log, RangeRequest};
use kith_protocol::{
    Seq,
    frame::{Direction, Pull},
    limits,
};

impl Log {
    /// The pull that brings the newest part: upwards without leaving a gap, where at most `forward_max` events are missing.
    pub(crate) fn catch_up(&self, forward_max: u64) -> Pull {
        let high = self.ranges.high();
        let newest = Pull {
            conversation: self.conversation,
            from: None,
            to: None,
            direction: Direction::Backward,
            max: limits::PAGE_MESSAGES_MAX,
        };
        if high == Seq::ZERO || self.head.0 - high.0 > forward_max {
            return newest;
        }
        let start = self.visible.last().map_or(Seq(1), |(from, _)| *from);
        Pull { from: Some(high.next().max(start).max(self.floor)), direction: Direction::Forward, ..newest }
    }

    /// The newest gap between ranges that may be seen.
    pub(super) fn gap(&self) -> Option<(Seq, Seq)> {
        self.ranges.gaps().find_map(|gap| self.visible_part(gap))
    }

    /// What is older than everything stored, while not much is.
    pub(super) fn history(&self) -> Option<(Seq, Seq)> {
        let stored: u64 = self.ranges.all().iter().map(|range| range.high.0 - range.low.0 + 1).sum();
        let low = self.ranges.all().first()?.low;
        if low <= self.floor || stored >= HISTORY_MAX {
            return None;
        }
        self.visible_part((self.floor, low.previous()))
    }

    /// The newest part of an interval of seqs that may be seen.
    fn visible_part(&self, (low, high): (Seq, Seq)) -> Option<(Seq, Seq)> {
        self.visible.iter().rev().find_map(|(from, to)| {
            let low = low.max(*from).max(self.floor);
            let high = high.min(to.unwrap_or(high));
            (low <= high).then_some((low, high))
        })
    }

    /// Whether a gap between ranges is to be filled.
    pub(crate) fn has_gap(&self) -> bool {
        self.gap().is_some()
    }

    /// The pull that fills the newest gap, or else fetches older events.
    pub(crate) fn fill(&self) -> Option<Pull> {
        let (low, high) = self.gap().or_else(|| self.history())?;
        Some(Pull {
            conversation: self.conversation,
            from: Some(high),
            to: Some(low),
            direction: Direction::Backward,
            max: limits::PAGE_MESSAGES_MAX,
        })
    }

    /// The next pull that somebody asked for and that still brings something.
    pub(crate) fn next_request(&mut self) -> Option<Pull> {
        while let Some(request) = self.requests.pop_front() {
            if let Some(from) = self.first_visible(request).filter(|from| !self.ranges.contains(*from)) {
                self.request_in_flight = Some(request);
                return Some(Pull {
                    conversation: self.conversation,
                    from: Some(from),
                    to: request.to,
                    direction: request.direction,
                    max: limits::PAGE_MESSAGES_MAX,
                });
            }
        }
        None
    }

    /// Where what is wanted begins: what lies between two memberships is nothing to ask for, and what is older than
    /// that is (R6). Upwards, what is wanted was acknowledged: its author may see it, whatever the last heads said of the
    /// membership. Heads leave out what is hidden.
    fn first_visible(&self, request: RangeRequest) -> Option<Seq> {
        match request.direction {
            Direction::Forward => {
                let mut from = request.from;
                while let Some(stored) =
                    self.ranges.all().iter().find(|range| range.low <= from && from <= range.high)
                {
                    from = stored.high.next();
                }
                let is_asked = from <= request.to.unwrap_or(request.from);
                (is_asked && from >= self.floor).then_some(from)
            }
            Direction::Backward => {
                self.visible_part((request.to.unwrap_or(self.floor), request.from)).map(|(_, high)| high)
            }
        }
        .filter(|seq| *seq > Seq::ZERO)
    }
}

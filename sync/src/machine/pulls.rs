//! Which pull comes next (S3): what somebody waits for, what is on screen, the newest twenty, the rest, gaps, history.

use super::{Asked, Machine};
use crate::{log::Log, ops::Counter};
use kith_protocol::{ClientFrame, ConversationId, frame::HeadsRequest};
use std::{cmp::Reverse, collections::BTreeSet};

/// Pulls in flight, over all conversations. More than those of which nobody waits for the answer, so that one that
/// somebody waits for goes out at once.
const PULLS_MAX: usize = 12;
/// The newest conversations, which are caught up before the rest.
const NEWEST: usize = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Urgency {
    Requested,
    OnScreen,
    Newest,
    Rest,
    Gap,
    History,
}

impl Urgency {
    /// How many pulls may be in flight for one of this kind to join them: what nobody waits for comes when idle.
    const fn joins_up_to(self) -> usize {
        match self {
            Self::Requested | Self::OnScreen | Self::Newest => PULLS_MAX,
            Self::Rest | Self::Gap | Self::History => PULLS_MAX - 4,
        }
    }

    const fn is_paced(self) -> bool {
        matches!(self, Self::Rest | Self::Gap | Self::History)
    }
}

impl Machine {
    /// Notes whether a conversation has something to pull.
    pub(super) fn attend(&mut self, conversation: ConversationId) {
        if self.logs.get(&conversation).is_some_and(Log::has_work) {
            self.attention.insert(conversation);
        } else {
            self.attention.remove(&conversation);
        }
    }

    /// After the last heads: who is among the newest, and who has something to pull.
    pub(super) fn plan_catch_up(&mut self) {
        let mut by_age: Vec<_> = self.logs.iter().map(|(id, log)| (Reverse(log.last_ts), *id)).collect();
        by_age.sort_unstable();
        self.live.newest = by_age.iter().take(NEWEST).map(|(_, id)| *id).collect();
        self.attention = self.logs.iter().filter(|(_, log)| log.has_work()).map(|(id, _)| *id).collect();
    }

    /// What the next pull of a conversation would be for.
    fn kind(&self, conversation: ConversationId, log: &Log) -> Urgency {
        if !log.requests.is_empty() {
            Urgency::Requested
        } else if log.is_behind() {
            // What is queued waits for it.
            if self.live.focus.contains(&conversation) || self.outbox.waits_in(conversation) {
                Urgency::OnScreen
            } else if self.live.newest.contains(&conversation) {
                Urgency::Newest
            } else {
                Urgency::Rest
            }
        } else if log.has_gap() {
            Urgency::Gap
        } else {
            Urgency::History
        }
    }

    /// When it may go out, monotonic ms.
    fn due(&self, log: &Log, urgency: Urgency) -> u64 {
        let closes = matches!(urgency, Urgency::OnScreen | Urgency::Newest | Urgency::Rest);
        let by_itself = log.wait_until.filter(|_| closes).unwrap_or(0);
        let paced = self.live.paced_us.saturating_sub(self.terms.pull_saved_us()).div_ceil(1_000);
        let paced = if urgency.is_paced() { paced } else { 0 };
        log.pull_after.max(by_itself).max(paced)
    }

    fn urgency(&self, conversation: ConversationId) -> Option<(Urgency, Reverse<u64>)> {
        let log = self.logs.get(&conversation)?;
        if log.pull.is_some() || log.probing {
            return None;
        }
        let urgency = self.kind(conversation, log);
        if self.due(log, urgency) > self.now.mono || (urgency == Urgency::History && !self.outbox.is_idle()) {
            return None;
        }
        Some((urgency, Reverse(log.last_ts.0)))
    }

    pub(super) fn send_pulls(&mut self) {
        let mut in_flight =
            self.requests.values().filter(|request| matches!(request.asked, Asked::Pull { .. })).count();
        while in_flight < PULLS_MAX {
            let next = self.attention.iter().filter_map(|id| Some((self.urgency(*id)?, *id))).min();
            let Some(((urgency, _), conversation)) = next else { return };
            if in_flight >= urgency.joins_up_to() {
                return;
            }
            if self.send_pull(conversation, urgency) {
                in_flight += 1;
            } else {
                self.attend(conversation);
            }
        }
    }

    fn send_pull(&mut self, conversation: ConversationId, urgency: Urgency) -> bool {
        let Some(log) = self.logs.get_mut(&conversation) else { return false };
        // A hole that did not close by itself, or one between ranges.
        let fills_gap = log.wait_until.is_some() || urgency == Urgency::Gap;
        let pull = match urgency {
            Urgency::Requested => log.next_request(),
            Urgency::OnScreen | Urgency::Newest | Urgency::Rest => {
                Some(log.catch_up(self.options.pace.forward_max))
            }
            Urgency::Gap | Urgency::History => log.fill(),
        };
        let Some(pull) = pull else { return false };
        if urgency.is_paced() {
            self.live.paced_us = self.live.paced_us.max(self.now.mono * 1_000) + self.terms.pull_pace_us();
        }
        self.count(Counter::GapPulls, usize::from(fills_gap));
        let number = self.request(ClientFrame::Pull(pull), Asked::Pull { conversation });
        if let Some(log) = self.logs.get_mut(&conversation) {
            log.pull = Some(number);
            log.head_at_pull = log.head;
        }
        true
    }

    /// When a pull that waits may go out.
    pub(super) fn pull_deadline(&self) -> Option<u64> {
        let waits = self.attention.iter().filter_map(|id| {
            let log = self.logs.get(id)?;
            if log.probing {
                return log.probe_after;
            }
            let due = self.due(log, self.kind(*id, log));
            (log.pull.is_none() && due > self.now.mono).then_some(due)
        });
        waits.min()
    }

    /// Something was missed that only heads can tell (S4).
    pub(super) fn ask_heads_if_due(&mut self) {
        if self.heads_deadline().is_some_and(|at| at <= self.now.mono) {
            self.heads_at = None;
            self.request(ClientFrame::Heads(HeadsRequest { full: None }), Asked::Heads);
        }
    }

    /// When heads are to be asked for, monotonic ms; what is missed while an answer is under way waits for its end.
    pub(super) fn heads_deadline(&self) -> Option<u64> {
        let is_asked = || self.requests.values().any(|request| matches!(request.asked, Asked::Heads));
        self.heads_at.filter(|_| !is_asked())
    }

    /// The conversations whose members' markers are asked for after an absence (R2).
    pub(super) fn markers_after_absence(&self) -> BTreeSet<ConversationId> {
        self.live
            .focus
            .iter()
            .chain(&self.live.newest)
            .copied()
            .filter(|id| self.logs.contains_key(id))
            .collect()
    }
}

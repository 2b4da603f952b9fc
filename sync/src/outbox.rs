//! Whose turn it is in the outbox (O4–O6): one `send` in flight per conversation, opens first, own state beside.

mod answers;
mod turns;

use super::ops::{EntryState, OutboxEntry, OutboxUpdate, OutboxWhat, StoreOp};
use kith_protocol::{ConversationId, ErrorCode, EventId, Seq, TimestampMs, limits};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Queued,
    /// Handed to the store to be marked; its content follows.
    Leaving,
    Sent,
    Acked(Seq),
    Parked,
    /// Refused for want of its target. What the store says to that decides whether it goes on before what follows.
    Refused,
    /// Parked for want of what it is about or answers. What is about the same message, or about this one, waits with it,
    /// so that the order stays. Messages do not wait: whoever wrote the target may never come back.
    AwaitsTarget,
}

#[derive(Debug)]
struct Row {
    conversation: ConversationId,
    what: OutboxWhat,
    message: Option<EventId>,
    bytes: usize,
    tries: u32,
    written_at: TimestampMs,
    phase: Phase,
    retry_at: u64,
}

impl Row {
    fn is_busy(&self) -> bool {
        matches!(self.phase, Phase::Leaving | Phase::Sent)
    }
}

#[derive(Debug, Default)]
struct Lane {
    items: BTreeSet<i64>,
    /// Own state leaves at most every [`limits::MARKER_EVERY`] (R2); monotonic ms.
    state_after: u64,
    /// Events wait behind an acknowledged event that is not stored: the server may have lost it, and a relation would
    /// overtake it (S7). A rewind and each handshake set this. It ends when no such row is left.
    awaits_acked: bool,
}

/// What of a conversation may leave before all of it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    /// Only the opening: the server does not have the conversation, or may have another log of it than the stored one.
    Opening,
    /// The opening and own state, no events: what others wrote meanwhile has not come yet.
    States,
}

/// What the machine knows of the outbox.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    rows: BTreeMap<i64, Row>,
    lanes: BTreeMap<ConversationId, Lane>,
}

impl Outbox {
    pub(crate) fn new(entries: Vec<OutboxEntry>) -> Self {
        let mut outbox = Self::default();
        outbox.update(OutboxUpdate { changed: entries, removed: Vec::new() });
        outbox
    }

    /// A handshake. The server may have been set back since it acknowledged what is not stored yet.
    pub(crate) fn handshake(&mut self) {
        for lane in self.lanes.values_mut() {
            let is_acked =
                |item: &i64| matches!(self.rows.get(item).map(|row| row.phase), Some(Phase::Acked(_)));
            lane.awaits_acked |= lane.items.iter().any(is_acked);
        }
    }

    /// A rewind cut the log of a conversation. Acknowledged events may be lost, and rows about to leave are queued again.
    pub(crate) fn rewound(&mut self, conversation: ConversationId) -> Option<StoreOp> {
        let lane = self.lanes.get_mut(&conversation)?;
        lane.awaits_acked = true;
        let leaves = |item: &i64| self.rows.get(item).is_some_and(|row| row.phase == Phase::Leaving);
        let items = lane.items.iter().copied().filter(leaves).collect();
        self.requeued(items)
    }

    pub(crate) fn update(&mut self, update: OutboxUpdate) {
        for item in update.removed {
            self.remove(item);
        }
        for entry in update.changed {
            let phase = match entry.state {
                EntryState::Queued => Phase::Queued,
                EntryState::Acked(seq) => Phase::Acked(seq),
                EntryState::Parked(ErrorCode::TargetMissing) => Phase::AwaitsTarget,
                EntryState::Parked(_) => Phase::Parked,
            };
            if self.rows.get(&entry.item).is_some_and(Row::is_busy) {
                continue; // on its way: its answer decides
            }
            self.lanes.entry(entry.conversation).or_default().items.insert(entry.item);
            self.rows.insert(
                entry.item,
                Row {
                    conversation: entry.conversation,
                    what: entry.what,
                    message: entry.message,
                    bytes: entry.bytes as usize,
                    tries: entry.tries,
                    written_at: entry.written_at,
                    phase,
                    retry_at: 0,
                },
            );
        }
    }

    /// The store has taken what was refused.
    pub(crate) fn stored(&mut self) {
        for row in self.rows.values_mut().filter(|row| row.phase == Phase::Refused) {
            row.phase = Phase::AwaitsTarget;
        }
    }

    pub(crate) fn remove(&mut self, item: i64) {
        if let Some(row) = self.rows.remove(&item)
            && let Some(lane) = self.lanes.get_mut(&row.conversation)
        {
            lane.items.remove(&item);
        }
    }

    pub(crate) fn conversation(&self, item: i64) -> Option<ConversationId> {
        self.rows.get(&item).map(|row| row.conversation)
    }

    pub(crate) fn is_idle(&self) -> bool {
        !self.rows.values().any(Row::is_busy)
    }

    /// Acknowledged rows whose events are not stored yet.
    pub(crate) fn acked(&self) -> impl Iterator<Item = (i64, ConversationId, Seq)> + '_ {
        self.rows.iter().filter_map(|(item, row)| match row.phase {
            Phase::Acked(seq) => Some((*item, row.conversation, seq)),
            Phase::Queued
            | Phase::Leaving
            | Phase::Sent
            | Phase::Parked
            | Phase::Refused
            | Phase::AwaitsTarget => None,
        })
    }

    pub(crate) fn acked_in(&self, conversation: ConversationId) -> impl Iterator<Item = Seq> + '_ {
        let items = self.lanes.get(&conversation).into_iter().flat_map(|lane| &lane.items);
        items.filter_map(|item| match self.rows.get(item)?.phase {
            Phase::Acked(seq) => Some(seq),
            _ => None,
        })
    }

    /// Rows that were written so long ago that the user is to be asked first; they are parked from here on (O5). Own
    /// state is never asked about.
    pub(crate) fn park_old(&mut self, wall: TimestampMs) -> Vec<i64> {
        let oldest = wall.0.saturating_sub(limits::OUTBOX_ASK_AFTER.as_millis() as u64);
        let is_old = |row: &Row| {
            row.phase == Phase::Queued && row.what != OutboxWhat::State && row.written_at.0 < oldest
        };
        let old: Vec<_> = self.rows.iter().filter(|(_, row)| is_old(row)).map(|(item, _)| *item).collect();
        for item in &old {
            if let Some(row) = self.rows.get_mut(item) {
                row.phase = Phase::Parked;
            }
        }
        old
    }

    /// What the server has acknowledged and does not have leaves once more (S7). Rows of its conversation that are about
    /// to leave are queued again: a relation among them would overtake its target.
    pub(crate) fn send_again(&mut self, mut items: Vec<i64>) -> Option<StoreOp> {
        let lanes: BTreeSet<_> = items.iter().filter_map(|item| self.conversation(*item)).collect();
        let leaves = |row: &Row| row.phase == Phase::Leaving && lanes.contains(&row.conversation);
        items.extend(self.rows.iter().filter(|(_, row)| leaves(row)).map(|(item, _)| *item));
        for item in &items {
            if let Some(row) = self.rows.get_mut(item) {
                row.phase = Phase::Queued;
            }
        }
        (!items.is_empty()).then_some(StoreOp::Queued { items })
    }

    /// The conversations in which something is queued.
    pub(crate) fn queued(&self) -> impl Iterator<Item = ConversationId> + '_ {
        self.lanes.iter().filter(|(_, lane)| self.has_queued(lane)).map(|(conversation, _)| *conversation)
    }

    /// Whether something is queued in a conversation.
    pub(crate) fn waits_in(&self, conversation: ConversationId) -> bool {
        self.lanes.get(&conversation).is_some_and(|lane| self.has_queued(lane))
    }

    fn has_queued(&self, lane: &Lane) -> bool {
        lane.items.iter().any(|item| self.rows.get(item).is_some_and(|row| row.phase == Phase::Queued))
    }

    /// The rows whose turn it is, ascending; they count as on their way from here on. A conversation that is not among
    /// `gates` sends freely. `most`: events and bytes of one `send`.
    pub(crate) fn take_turns(
        &mut self,
        gates: &BTreeMap<ConversationId, Gate>,
        most: (usize, usize),
        now: u64,
    ) -> Vec<i64> {
        let mut turns = Vec::new();
        for (conversation, lane) in &mut self.lanes {
            let gate = gates.get(conversation).copied();
            let opens = |item| self.rows.get(item).is_some_and(|row| row.what == OutboxWhat::Open);
            if gate != Some(Gate::Opening) || lane.items.iter().any(opens) {
                turns::turns_of(&self.rows, lane, gate.is_none().then_some(most), now, &mut turns);
            }
        }
        turns.sort_unstable();
        for item in &turns {
            if let Some(row) = self.rows.get_mut(item) {
                row.phase = Phase::Leaving;
                row.tries = row.tries.saturating_add(1);
            }
        }
        turns
    }

    /// The openings of a conversation that wait, or were refused; not one that is on its way.
    pub(crate) fn waiting_openings(&self, conversation: ConversationId) -> Vec<i64> {
        let items = self.lanes.get(&conversation).into_iter().flat_map(|lane| &lane.items);
        let waits = |item: &i64| {
            self.rows.get(item).is_some_and(|row| row.what == OutboxWhat::Open && !row.is_busy())
        };
        items.copied().filter(waits).collect()
    }

    /// The row's content has come from the store and goes out; `false` if its turn is over (the link broke).
    pub(crate) fn sent(&mut self, item: i64) -> bool {
        match self.rows.get_mut(&item) {
            Some(row) if row.phase == Phase::Leaving => {
                row.phase = Phase::Sent;
                true
            }
            _ => false,
        }
    }

    /// Rows that were to leave and of which the store had no content: the user took them back.
    pub(crate) fn drop_taken_back(&mut self) {
        let gone: Vec<_> =
            self.rows.iter().filter(|(_, row)| row.phase == Phase::Leaving).map(|(item, _)| *item).collect();
        for item in gone {
            self.remove(item);
        }
    }

    /// When a row's turn comes, if none has come yet; monotonic ms.
    pub(crate) fn deadline(&self, now: u64) -> Option<u64> {
        let retries = self.rows.values().filter(|row| row.phase == Phase::Queued).map(|row| row.retry_at);
        let states = self.lanes.values().filter(|lane| {
            lane.state_after > now
                && lane.items.iter().any(|item| {
                    self.rows
                        .get(item)
                        .is_some_and(|row| row.what == OutboxWhat::State && row.phase == Phase::Queued)
                })
        });
        retries.chain(states.map(|lane| lane.state_after)).filter(|at| *at > now).min()
    }

    /// The link broke: everything unanswered is queued again, and no wait counts any more (O6).
    pub(crate) fn disconnected(&mut self) -> Option<StoreOp> {
        let mut items = Vec::new();
        for (item, row) in &mut self.rows {
            if row.is_busy() || (row.phase == Phase::Queued && row.retry_at > 0) {
                row.phase = Phase::Queued;
                row.retry_at = 0;
                items.push(*item);
            }
        }
        (!items.is_empty()).then_some(StoreOp::Queued { items })
    }

    /// Whether an event that waits to leave was written before these rows, and has to leave before them: a message, or
    /// a relation to the target of one of them.
    pub(crate) fn is_overtaking(&self, conversation: ConversationId, items: &[i64]) -> bool {
        let Some((lane, last)) = self.lanes.get(&conversation).zip(items.iter().max()) else { return false };
        let targets: BTreeSet<_> =
            items.iter().filter_map(|item| self.rows.get(item)).filter_map(|row| row.message).collect();
        let is_before = |row: &Row| {
            row.what == OutboxWhat::Message || row.message.is_some_and(|target| targets.contains(&target))
        };
        lane.items
            .range(..last)
            .filter_map(|item| self.rows.get(item))
            .any(|row| row.phase == Phase::Queued && is_before(row))
    }

    /// Rows whose answer will not come any more.
    pub(crate) fn requeued(&mut self, mut items: Vec<i64>) -> Option<StoreOp> {
        items.retain(|item| self.requeue(*item));
        (!items.is_empty()).then_some(StoreOp::Queued { items })
    }

    pub(crate) fn send_now(&mut self) {
        for row in self.rows.values_mut() {
            row.retry_at = 0;
        }
    }
}

//! What leaves the outbox, and as which requests (O3–O5).

use super::{Asked, Machine};
use crate::{
    ops::{OutboxItem, OutboxOp, StoreOp},
    outbox::Gate,
};
use kith_protocol::{ClientFrame, ConversationId, ErrorCode, NewEvent, frame};
use std::collections::{BTreeMap, BTreeSet};

/// Events of a conversation wait this long for what others wrote meanwhile, ms from the heads of a connection on.
pub(super) const CATCH_UP_MS: u64 = 2_000;

impl Machine {
    /// What has waited too long does not leave without the user's word (O5).
    pub(super) fn ask_about_old(&mut self) {
        let items = self.outbox.park_old(self.now.wall);
        if !items.is_empty() {
            self.store(StoreOp::Parked { items, code: ErrorCode::TooOld });
        }
    }

    pub(super) fn send_outbox(&mut self) {
        let (mut gates, mut unconfirmed) = (BTreeMap::new(), Vec::new());
        self.gate_at = None;
        for conversation in self.outbox.queued() {
            let Some((gate, until)) = self.gate(conversation) else { continue };
            gates.insert(conversation, gate);
            match until {
                Some(until) if until <= self.now.mono => unconfirmed.push(conversation),
                Some(until) => self.gate_at = Some(self.gate_at.map_or(until, |at| at.min(until))),
                None => {}
            }
        }
        for conversation in unconfirmed {
            self.confirm(conversation);
        }
        let most = (self.terms.send_events(), self.terms.send_bytes());
        let items = self.outbox.take_turns(&gates, most, self.now.mono);
        if !items.is_empty() {
            self.store(StoreOp::Sending { items });
        }
    }

    /// What holds the outbox of a conversation, and until when it is to be looked at again, monotonic ms; `None` if all
    /// of it may leave.
    ///
    /// Nothing of a conversation leaves before the server's log is known to continue the stored one (S7): in another
    /// lineage a relation would overtake its target, and a new message what goes out again. No event leaves before what
    /// others wrote meanwhile has come, [`CATCH_UP_MS`] at most. Where the server refuses the conversation altogether,
    /// its answer decides.
    pub(super) fn gate(&self, conversation: ConversationId) -> Option<(Gate, Option<u64>)> {
        if self.missing_from_heads.contains(&conversation) {
            return Some((Gate::Opening, None));
        }
        let log = self.logs.get(&conversation).filter(|log| !log.denied)?;
        if log.probing {
            return Some((Gate::Opening, None));
        }
        if !log.is_confirmed {
            let is_pulled = log.is_confirmed_by_pull(self.options.pace.forward_max);
            let pulled_by = if is_pulled { self.caught_up_by } else { 0 };
            let at = log.confirm_after.unwrap_or(pulled_by);
            return Some((Gate::Opening, Some(at).filter(|at| *at < u64::MAX)));
        }
        let waits = log.is_behind_handshake() && self.now.mono < self.caught_up_by;
        waits.then_some((Gate::States, Some(self.caught_up_by)))
    }

    /// The content of rows that leave (O4: all events of a conversation in one `send`).
    pub(super) fn send_items(&mut self, items: Vec<OutboxItem>) {
        let mut sends: BTreeMap<ConversationId, Vec<(i64, NewEvent)>> = BTreeMap::new();
        let mut states: BTreeMap<ConversationId, (Vec<i64>, frame::StateChange)> = BTreeMap::new();
        let mut refused = BTreeSet::new();
        for OutboxItem { item, conversation, op } in items {
            if !self.outbox.sent(item) || !self.is_within_terms(item, conversation, &op, &mut refused) {
                continue;
            }
            match op {
                OutboxOp::Open(open) => {
                    self.request(ClientFrame::Open(open), Asked::Open { item });
                }
                OutboxOp::Event(event) => sends.entry(conversation).or_default().push((item, event)),
                OutboxOp::State(change) => {
                    // In one frame, in the order of the rows: a later word about the same thing counts.
                    let (items, merged) = states
                        .entry(conversation)
                        .or_insert_with(|| (Vec::new(), frame::StateChange::of(conversation)));
                    items.push(item);
                    coalesce(merged, change);
                }
            }
        }
        self.outbox.drop_taken_back();
        for (conversation, events) in sends {
            self.send_events(conversation, events);
        }
        for (items, change) in states.into_values() {
            let draft = change.draft.is_some();
            self.request(ClientFrame::State(change), Asked::State { items, draft });
        }
    }

    /// Whether the server takes what a row says, by its own word. What it would refuse does not leave: it is parked as if
    /// it had been refused, and what follows it in its conversation has its turn again (O4, O5).
    fn is_within_terms(
        &mut self,
        item: i64,
        conversation: ConversationId,
        op: &OutboxOp,
        refused: &mut BTreeSet<ConversationId>,
    ) -> bool {
        let OutboxOp::Event(event) = op else { return true };
        if refused.contains(&conversation) {
            if let Some(op) = self.outbox.requeued(vec![item]) {
                self.store(op);
            }
            return false;
        }
        let Err(code) = self.terms.check(event) else { return true };
        refused.insert(conversation);
        let op = self.outbox.refused(item, code, None, self.now.mono, self.now.wall);
        self.store(op);
        false
    }

    fn send_events(&mut self, conversation: ConversationId, events: Vec<(i64, NewEvent)>) {
        let items = events.iter().map(|(item, event)| (*item, event.id)).collect();
        // Plain data with string keys: writing it as a value has no way to fail.
        let events = events.into_iter().filter_map(|(_, event)| serde_json::to_value(event).ok()).collect();
        self.request(ClientFrame::Send(frame::Send { conversation, events }), Asked::Send { items });
    }
}

/// Puts a later change over an earlier one; a read marker only rises.
pub(crate) fn coalesce(into: &mut frame::StateChange, later: frame::StateChange) {
    // An advance clears the flag (R1).
    let cleared = if later.read > into.read { into.unread_flag.map(|_| false) } else { into.unread_flag };
    into.read = into.read.max(later.read);
    into.unread_flag = later.unread_flag.or(cleared);
    into.mute = later.mute.or(into.mute);
    into.pin = later.pin.or(into.pin);
    into.archive = later.archive.or(into.archive);
    into.hidden = later.hidden.or(into.hidden);
    into.draft = later.draft.or(into.draft.take());
}

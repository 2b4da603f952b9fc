//! What leaves the outbox, and as which requests (O3–O5).

use super::{Asked, Machine};
use crate::sync::{
    ops::{OutboxItem, OutboxOp, StoreOp},
    outbox::Gate,
};
use kith_protocol::{ClientFrame, ConversationId, ErrorCode, NewEvent, frame};
use std::collections::{BTreeMap, BTreeSet, HashMap};

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
        let items = self.outbox.take_turns(&self.unheard, self.now.mono);
        if !items.is_empty() {
            self.store(StoreOp::Sending { items });
        }
    }

    /// The content of rows that leave (O4: all events of a conversation in one `send`).
    pub(super) fn send_items(&mut self, items: Vec<OutboxItem>) {
        let mut sends: BTreeMap<ConversationId, Vec<(i64, NewEvent)>> = BTreeMap::new();
        let mut states: BTreeMap<(ConversationId, bool), (Vec<i64>, frame::StateChange)> = BTreeMap::new();
        for OutboxItem { item, conversation, op } in items {
            if !self.outbox.sent(item) {
                continue;
            }
            match op {
                OutboxOp::Open(open) => {
                    self.request(ClientFrame::Open(open), Asked::Open { item });
                }
                OutboxOp::Event(event) => sends.entry(conversation).or_default().push((item, event)),
                OutboxOp::State(change) => {
                    let is_draft = change.draft.is_some();
                    let (items, merged) = states
                        .entry((conversation, is_draft))
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
        for ((_, draft), (items, change)) in states {
            self.request(ClientFrame::State(change), Asked::State { items, draft });
        }
    }

    fn send_events(&mut self, conversation: ConversationId, events: Vec<(i64, NewEvent)>) {
        let items = events.iter().map(|(item, event)| (*item, event.id)).collect();
        // Plain data with string keys: writing it as a value has no way to fail.
        let events = events.into_iter().filter_map(|(_, event)| serde_json::to_value(event).ok()).collect();
        self.request(ClientFrame::Send(frame::Send { conversation, events }), Asked::Send { items });
    }
}

/// Puts a later change over an earlier one; a read marker only rises.
fn coalesce(into: &mut frame::StateChange, later: frame::StateChange) {
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

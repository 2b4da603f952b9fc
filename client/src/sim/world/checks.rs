//! Rules that hold at every step, not only at rest.

use super::World;
use crate::sim::operations::{Facts, OwnMarks};
use kith_protocol::{ClientFrame, ConversationId, EventId, NewEvent};
use kith_sync::{
    memory::RowState,
    ops::{OutboxOp, StoreOp},
};

impl World {
    /// Checks a frame that a client sends.
    pub(super) fn check_leaving(&self, client: usize, frame: &ClientFrame) {
        self.check_relations(client, frame);
        self.check_left(client, frame);
    }

    /// S7: a relation is sent after its target, and a message deleted by its author is not sent again.
    fn check_relations(&self, client: usize, frame: &ClientFrame) {
        let ClientFrame::Send(send) = frame else { return };
        let events =
            send.events.iter().filter_map(|event| serde_json::from_value::<NewEvent>(event.clone()).ok());
        let events: Vec<NewEvent> = events.collect();
        if events.iter().all(|event| event.target.is_none() && event.resubmitted.is_none()) {
            return;
        }
        let rows = self.clients[client].store.outbox();
        for (index, event) in events.iter().enumerate() {
            let waits = |id: EventId| rows.iter().any(|(_, row)| row.is(id) && row.state == RowState::Queued);
            let is_before = |id| events[..index].iter().any(|other| other.id == id);
            let overtakes = event.target.is_some_and(|target| waits(target) && !is_before(target));
            assert!(!overtakes, "seed {}: S7, client {client}, a relation overtakes its target", self.seed);
            let item = rows.iter().find(|(_, row)| row.is(event.id)).map(|(item, _)| *item);
            let is_deleted = rows.iter().any(|(other, row)| match &row.op {
                OutboxOp::Event(delete) => {
                    Some(*other) < item && delete.kind == "delete" && delete.target == Some(event.id)
                }
                OutboxOp::Open(_) | OutboxOp::State(_) => false,
            });
            let comes_again = event.resubmitted.is_some() && event.kind == "message" && is_deleted;
            assert!(!comes_again, "seed {}: S7, client {client}, what was deleted is sent again", self.seed);
        }
    }

    /// O7: after a power cut the store still knows which events were sent, so they are not edited in place.
    fn check_left(&self, client: usize, frame: &ClientFrame) {
        let ClientFrame::Send(send) = frame else { return };
        let Some(durable) = self.clients[client].store.durable() else { return };
        let events =
            send.events.iter().filter_map(|event| serde_json::from_value::<NewEvent>(event.clone()).ok());
        for event in events {
            let row = durable.outbox.values().find(|row| row.is(event.id));
            let is_known = row.is_none_or(|row| row.tries > 0);
            assert!(
                is_known,
                "seed {}: O7, client {client}, a power cut forgets that a row has left",
                self.seed
            );
        }
    }

    /// O2: a new process starts without rows in `sending`.
    pub(super) fn check_started(&self, client: usize) {
        let rows = self.clients[client].store.outbox();
        let leaves = rows.iter().find(|(_, row)| row.state == RowState::Sending);
        assert!(
            leaves.is_none(),
            "seed {}: O2, client {client} starts with {leaves:?} on its way",
            self.seed
        );
    }

    /// Own state before ops that must not decrease it.
    pub(super) fn own_marks(&self, client: usize, ops: &[StoreOp]) -> Vec<(ConversationId, OwnMarks)> {
        // A restored server counts again from an earlier version.
        let sets_back = |op: &StoreOp| {
            matches!(
                op,
                StoreOp::Heads { handshake: true, .. } | StoreOp::Rewind { .. } | StoreOp::Lost { .. }
            )
        };
        if ops.iter().any(sets_back) {
            return Vec::new();
        }
        let store = &self.clients[client].store;
        self.conversations.iter().filter_map(|(id, ..)| Some((*id, store.own_marks(*id)?))).collect()
    }

    /// R1, S4: read marker and version of own state never decrease.
    pub(super) fn check_own_marks(&self, client: usize, before: Vec<(ConversationId, OwnMarks)>) {
        for (id, before) in before {
            let now = self.clients[client].store.own_marks(id).unwrap_or_default();
            let holds = now.read >= before.read && now.version >= before.version;
            assert!(holds, "seed {}: R1, client {client}, own state falls: {before:?}, {now:?}", self.seed);
        }
    }

    /// Facts of conversations for which these ops bring only outdated heads.
    pub(super) fn overtaken(&self, client: usize, ops: &[StoreOp]) -> Vec<(ConversationId, Facts)> {
        let store = &self.clients[client].store;
        let items = ops.iter().filter_map(|op| match op {
            StoreOp::Heads { handshake: false, items, .. } => Some(items),
            _ => None,
        });
        let brings_more = |op: &StoreOp, id: ConversationId| match op {
            StoreOp::Append { conversation, .. }
            | StoreOp::Rewind { conversation, .. }
            | StoreOp::Members { conversation, .. } => *conversation == id,
            StoreOp::Page(page) => page.conversation == id,
            StoreOp::Heads { handshake, .. } => *handshake,
            _ => false,
        };
        let times = |id| {
            let all = ops
                .iter()
                .filter_map(|op| if let StoreOp::Heads { items, .. } = op { Some(items) } else { None });
            all.flatten().filter(|item| item.own.conversation == id).count()
        };
        let mut overtaken = Vec::new();
        for item in items.flatten() {
            let id = item.own.conversation;
            let facts = store.facts(id).filter(|facts| facts.as_of > item.head);
            let is_alone = times(id) == 1 && !ops.iter().any(|op| brings_more(op, id));
            overtaken.extend(facts.filter(|_| is_alone).map(|facts| (id, facts)));
        }
        overtaken
    }

    /// R1: `delivered` names only stored events.
    pub(crate) fn check_delivered(&self, connection: u64, frame: &ClientFrame) {
        let ClientFrame::Delivered(delivered) = frame else { return };
        let Some(client) = self.clients.iter().find(|one| one.connection == Some(connection)) else { return };
        for (conversation, seq) in &delivered.markers {
            let ranges = client.store.ranges(*conversation).unwrap_or_default();
            let is_stored = ranges.iter().any(|range| range.low <= *seq && *seq <= range.high);
            // A marker sent before a rewind or a power cut may name removed events.
            let is_excused = client.power_cuts > 0 || self.lost.from.contains_key(conversation);
            let stored = is_stored || is_excused;
            assert!(stored, "seed {}: R1, {seq} is not stored", self.seed);
        }
    }
}

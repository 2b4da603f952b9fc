//! What must hold once the network has healed.

use super::{
    store::{RowState, what},
    world::World,
};
use crate::sync::ops::{OutboxOp, OutboxWhat};
use kith_protocol::{Chain, EventId, Seq};
use std::collections::BTreeMap;

impl World {
    pub(super) fn judge(&self) {
        self.logs_are_dense();
        for client in 0..self.clients.len() {
            self.acknowledged_is_kept(client);
            self.ranges_are_the_servers(client);
            self.order_is_kept(client);
            self.parked_messages_hold(client);
            self.everything_ended(client);
            self.own_state_is_the_servers(client);
        }
    }

    /// I2
    fn logs_are_dense(&self) {
        for (id, conversation) in &self.server.conversations {
            let mut chain = Chain::empty(*id);
            let mut ids = BTreeMap::new();
            for (index, event) in conversation.log.iter().enumerate() {
                let seq = Seq(index as u64 + 1);
                chain = chain.then(*id, seq.previous(), event.id);
                assert_eq!((event.seq, event.chain), (seq, chain), "seed {}: I2", self.seed);
                assert_eq!(ids.insert(event.id, seq), None, "seed {}: I2, twice", self.seed);
            }
        }
    }

    fn seq_of(&self, id: EventId) -> Option<Seq> {
        self.server
            .conversations
            .values()
            .flat_map(|one| &one.log)
            .find(|event| event.id == id)
            .map(|event| event.seq)
    }

    /// I1
    fn acknowledged_is_kept(&self, client: usize) {
        for (conversation, id, seq) in &self.clients[client].store.acked {
            let event = self.server.conversations[conversation].log.get(seq.0 as usize - 1);
            assert_eq!(event.map(|event| event.id), Some(*id), "seed {}: I1", self.seed);
        }
    }

    /// I3, I6
    fn ranges_are_the_servers(&self, client: usize) {
        let one = &self.clients[client];
        for (id, conversation) in
            self.server.conversations.iter().filter(|(_, c)| c.members.contains(&one.user))
        {
            let kept = one.store.conversations.get(id);
            let kept =
                kept.unwrap_or_else(|| panic!("seed {}: I6, client {client} does not know {id}", self.seed));
            let head = Seq(conversation.log.len() as u64);
            assert_eq!(
                kept.ranges.high(),
                head,
                "seed {}: I6, client {client} is behind: {}",
                self.seed,
                self.state_of(client)
            );
            assert_eq!(kept.ranges.gaps().count(), 0, "seed {}: C2, client {client} has gaps", self.seed);
            let first = kept.ranges.all().first().map_or(Seq(1), |range| range.low);
            assert_eq!(first, Seq(1), "seed {}: client {client} has not fetched what is older", self.seed);
            for range in kept.ranges.all() {
                for seq in range.low.0..=range.high.0 {
                    let stored = kept.events.get(&Seq(seq));
                    assert_eq!(stored, conversation.log.get(seq as usize - 1), "seed {}: I3", self.seed);
                }
            }
        }
    }

    /// I5
    fn order_is_kept(&self, client: usize) {
        let mut last: BTreeMap<_, Seq> = BTreeMap::new();
        for (conversation, id) in &self.clients[client].written {
            let Some(seq) = self.seq_of(*id) else { continue };
            let before = last.insert(*conversation, seq).unwrap_or_default();
            assert!(before < seq, "seed {}: I5, client {client}: {before} then {seq}", self.seed);
        }
    }

    /// O5: nothing that was written after a message that waits for the user has gone before it.
    fn parked_messages_hold(&self, client: usize) {
        let one = &self.clients[client];
        let parked = |id: &EventId| {
            let mut rows = one.store.outbox.values();
            rows.any(|row| {
                row.is(*id)
                    && matches!(row.state, RowState::Parked(_))
                    && what(&row.op) == OutboxWhat::Message
            })
        };
        let mut holding = Vec::new();
        for (conversation, id) in &one.written {
            if parked(id) {
                holding.push(*conversation);
            } else if holding.contains(conversation) {
                assert_eq!(self.seq_of(*id), None, "seed {}: O5, client {client} did not wait", self.seed);
            }
        }
    }

    /// I6, I9: every row ends as exactly one of event, parked, cancelled; what still waits is held by a parked message.
    fn everything_ended(&self, client: usize) {
        let one = &self.clients[client];
        let mut held = Vec::new();
        for (item, row) in &one.store.outbox {
            match &row.state {
                RowState::Parked(code) => {
                    assert!(!code.is_retryable(), "seed {}: I6", self.seed);
                    if matches!(what(&row.op), OutboxWhat::Message | OutboxWhat::Open) {
                        held.push(row.conversation);
                    }
                }
                RowState::Queued => {
                    let waits = held.contains(&row.conversation) && what(&row.op) != OutboxWhat::State;
                    assert!(waits, "seed {}: I6, client {client}, row {item} is left: {row:?}", self.seed);
                }
                RowState::Sending | RowState::Acked(_) => {
                    panic!("seed {}: I6, client {client}, row {item} has not ended: {row:?}", self.seed);
                }
            }
        }
        for (_, id) in &one.written {
            let numbered = self.seq_of(*id).is_some();
            let waits = one.store.outbox.values().any(|row| row.is(*id));
            let cancelled = one.cancelled.contains(id);
            let ends = usize::from(numbered) + usize::from(waits) + usize::from(cancelled);
            assert_eq!(ends, 1, "seed {}: I9, client {client}: {numbered} {waits} {cancelled}", self.seed);
        }
    }

    /// I7, S4
    fn own_state_is_the_servers(&self, client: usize) {
        let one = &self.clients[client];
        for ((user, conversation), state) in &self.server.states {
            if *user != one.user {
                continue;
            }
            let own = one.store.conversations.get(conversation).and_then(|kept| kept.own.as_ref());
            let own =
                own.unwrap_or_else(|| panic!("seed {}: S4, nothing is known of {conversation}", self.seed));
            let is = (own.read, own.pin, &own.draft);
            assert_eq!(is, (state.read, state.pin, &state.draft), "seed {}: I7, client {client}", self.seed);
            let marked = one.read.get(conversation).copied().unwrap_or_default();
            let waits = one.store.outbox.values().any(|row| matches!(row.op, OutboxOp::State(_)));
            assert!(state.read >= marked || waits, "seed {}: I7, a read marker was lost", self.seed);
        }
    }
}

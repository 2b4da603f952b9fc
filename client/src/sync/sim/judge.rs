//! What must hold once the network has healed.

use super::{
    store::{RowState, what},
    world::World,
};
use crate::sync::ops::{OutboxOp, OutboxWhat};
use kith_model::Conversation;
use kith_protocol::{Chain, Event, EventId, Seq};
use std::collections::BTreeMap;

/// What comes back at its place after a restore has a time of its own.
fn is_same(one: &Event, other: &Event) -> bool {
    let is = |event: &Event| (event.seq, event.id, event.sender, event.chain, event.countable);
    is(one) == is(other) && one.kind == other.kind && one.target == other.target && one.body == other.body
}

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

    /// I1: what was acknowledged is there for ever, unless the server was set back.
    fn acknowledged_is_kept(&self, client: usize) {
        for (conversation, id, seq) in &self.clients[client].store.acked {
            let log = &self.server.conversations[conversation].log;
            let event = log.get((seq.0 as usize).wrapping_sub(1));
            let is_kept = event.is_some_and(|event| event.id == *id);
            assert!(is_kept || self.counts.restores > 0, "seed {}: I1", self.seed);
        }
    }

    /// I3, I4, I6: a client has what it may see, all of it, and nothing else.
    fn ranges_are_the_servers(&self, client: usize) {
        let one = &self.clients[client];
        let seen = |conversation: &Conversation| conversation.is_shown_to(one.user);
        for (id, conversation) in self.server.conversations.iter().filter(|(_, one)| seen(one)) {
            let kept = one.store.conversations.get(id);
            let kept =
                kept.unwrap_or_else(|| panic!("seed {}: I6, client {client} does not know {id}", self.seed));
            for event in &conversation.log {
                let shown = conversation.shows(one.user, event.seq);
                let stored = kept.events.get(&event.seq);
                let state = || self.state_of(client);
                assert!(
                    stored.is_some() || !shown,
                    "seed {}: I6, client {client} lacks {}: {}",
                    self.seed,
                    event.seq,
                    state()
                );
                assert!(
                    stored.is_none_or(|stored| is_same(stored, event)),
                    "seed {}: I3, client {client} has {stored:?} and not {event:?}: {}",
                    self.seed,
                    state()
                );
                assert!(stored.is_none() || shown, "seed {}: I4, client {client}", self.seed);
                let within = kept.ranges.contains(event.seq);
                assert_eq!(within, stored.is_some(), "seed {}: C2, client {client}", self.seed);
            }
            let high = kept.events.last_key_value().map_or(Seq::ZERO, |(seq, _)| *seq);
            assert!(high <= Seq(conversation.log.len() as u64), "seed {}: I3, above the head", self.seed);
            if conversation.members.contains_key(&one.user) {
                assert_eq!(kept.members, conversation.members, "seed {}: client {client}", self.seed);
            }
        }
    }

    /// I5
    fn order_is_kept(&self, client: usize) {
        if self.counts.restores + self.counts.copies > 0 {
            return; // what comes back, or goes out twice, has no one order
        }
        let mut last: BTreeMap<_, Seq> = BTreeMap::new();
        for (conversation, id) in &self.clients[client].written {
            // A parked reaction holds nothing: said to go after all, it comes later.
            let Some(seq) = self.seq_of(*id) else { continue };
            if self.clients[client].retried.contains(id) {
                continue;
            }
            let before = last.insert(*conversation, seq).unwrap_or_default();
            assert!(before < seq, "seed {}: I5, client {client}: {before} then {seq}", self.seed);
        }
    }

    /// O5: nothing that was written after a message that waits for the user has gone before it.
    fn parked_messages_hold(&self, client: usize) {
        if self.counts.restores + self.counts.copies > 0 {
            return;
        }
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
        let (mut held, mut unopened) = (Vec::new(), Vec::new());
        for (item, row) in &one.store.outbox {
            match &row.state {
                RowState::Parked(code) => {
                    assert!(!code.is_retryable(), "seed {}: I6", self.seed);
                    if matches!(what(&row.op), OutboxWhat::Message | OutboxWhat::Open) {
                        held.push(row.conversation);
                    }
                    if what(&row.op) == OutboxWhat::Open {
                        unopened.push(row.conversation);
                    }
                }
                RowState::Queued => {
                    let waits = held.contains(&row.conversation) && what(&row.op) != OutboxWhat::State;
                    let waits = waits || unopened.contains(&row.conversation);
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
            let cancelled = one.cancelled.contains_key(id);
            let tried = one.cancelled.get(id) == Some(&true);
            let ends = usize::from(numbered) + usize::from(waits) + usize::from(cancelled);
            // A copy, or another device after a restore, may have sent what was cancelled here.
            let is_excused = tried || self.counts.restores + self.counts.copies > 0;
            let twice = is_excused && cancelled && !(numbered && waits);
            assert!(
                ends == 1 || twice,
                "seed {}: I9, client {client}: {numbered} {waits} {cancelled}",
                self.seed
            );
        }
    }

    /// I7, S4
    fn own_state_is_the_servers(&self, client: usize) {
        let one = &self.clients[client];
        for ((user, conversation), kept) in &self.server.states {
            let state = &kept.own;
            let is_in = |one: &Conversation| one.members.contains_key(user) && one.is_shown_to(*user);
            if *user != one.user || !self.server.conversations.get(conversation).is_some_and(is_in) {
                continue;
            }
            let own = one.store.conversations.get(conversation).and_then(|kept| kept.own.as_ref());
            let own =
                own.unwrap_or_else(|| panic!("seed {}: S4, nothing is known of {conversation}", self.seed));
            let is = (own.pin, &own.draft);
            assert_eq!(is, (state.pin, &state.draft), "seed {}: I7, client {client}", self.seed);
            // A server that was set back may know an older marker; the client's never falls below it.
            let read = own.read == state.read || (self.counts.restores > 0 && own.read > state.read);
            assert!(read, "seed {}: I7, client {client}: {} and {}", self.seed, own.read, state.read);
            let marked = one.read.get(conversation).copied().unwrap_or_default();
            let waits = one.store.outbox.values().any(|row| matches!(row.op, OutboxOp::State(_)));
            assert!(
                state.read >= marked || waits || self.counts.restores > 0,
                "seed {}: I7, a read marker was lost",
                self.seed
            );
        }
    }
}

//! What must hold once the network has healed.
//!
//! A restore excuses only what it has taken: the events that were lost, the conversations whose log became another one,
//! the own states that had changed since the backup.

mod outbox;
mod own;
mod shown;

use super::world::World;
use kith_model::Conversation;
use kith_protocol::{Chain, ConversationId, Event, EventId, Seq, UserId, limits};
use kith_sync::{Link, Machine, memory::MemoryStore};
use std::collections::BTreeMap;

/// What comes back at its place after a restore has a time of its own.
fn is_same(one: &Event, other: &Event, keeps_text: bool) -> bool {
    let is = |event: &Event| (event.seq, event.id, event.sender, event.chain, event.countable);
    is(one) == is(other)
        && one.kind == other.kind
        && one.target == other.target
        && (keeps_text || (one.body == other.body && one.redacted == other.redacted))
}

/// Whether a user may see the event that took another's text.
fn sees_delete(conversation: &Conversation, user: UserId, redacted: &Event) -> bool {
    let message = if redacted.kind == "edit" { redacted.target } else { Some(redacted.id) };
    let mut log = conversation.log.iter();
    log.any(|event| event.kind == "delete" && event.target == message && conversation.shows(user, event.seq))
}

impl World {
    /// I6: who was online for [`super::world`]'s time has everything, and an empty outbox.
    pub(super) fn judge_caught_up(&self) {
        for client in 0..self.clients.len() {
            let link = self.clients[client].machine.as_ref().map(Machine::link);
            if !matches!(link, Some(Link::Live { .. })) {
                continue; // who polls asks every ten seconds (S12)
            }
            let image = self.clients[client].store.image();
            self.ranges_are_the_servers(client, &image);
            // A restore of a hidden conversation is found only by the periodic check.
            let user = self.clients[client].user;
            let mut seen = image;
            seen.outbox.retain(|_, row| !self.is_hidden(user, row.conversation));
            self.outbox_has_ended(client, &seen);
        }
    }

    pub(super) fn judge(&self) {
        self.logs_are_dense();
        for client in 0..self.clients.len() {
            let image = self.clients[client].store.image();
            self.acknowledged_is_kept(client);
            self.ranges_are_the_servers(client, &image);
            self.facts_are_the_servers(client, &image);
            self.order_is_kept(client);
            self.parked_messages_hold(client, &image);
            self.outbox_has_ended(client, &image);
            self.parked_for_a_reason(client, &image);
            self.everything_ended(client, &image);
            self.own_state_is_the_servers(client, &image);
            self.shown_is_the_servers(client, &image);
        }
        self.deletions_hold();
    }

    /// S7: a message that its author deleted stays deleted, though the server lost the deletion and another device sent
    /// the message again.
    fn deletions_hold(&self) {
        for (id, conversation) in &self.server.conversations {
            let is_undone = |event: &&Event| {
                let by = self.lost.undeleted.get(&event.id);
                !event.redacted && by.is_some_and(|by| by.contains(&event.sender))
            };
            for event in conversation.log.iter().filter(is_undone) {
                let author = event.sender;
                let is_there = conversation.members.contains_key(&author) && !self.is_hidden(author, *id);
                let deletes = |id: &EventId| {
                    self.targets.get(id).is_some_and(|(of, kind)| *of == event.id && kind == "delete")
                };
                // Behind a message that waits for the user, or taken back.
                let mut devices = self.clients.iter().filter(|one| one.user == author);
                let is_settled = devices
                    .any(|one| one.store.image().is_deleting(event.id) || one.cancelled.keys().any(deletes));
                assert!(is_settled || !is_there, "seed {}: S7, {} is back", self.seed, event.id);
            }
        }
    }

    /// I2
    fn logs_are_dense(&self) {
        for (id, conversation) in &self.server.conversations {
            let mut chain = Chain::empty(*id);
            let mut ids = BTreeMap::new();
            let (mut countable, mut ts) = (0, 0);
            for (index, event) in conversation.log.iter().enumerate() {
                let seq = Seq(index as u64 + 1);
                chain = chain.then(*id, seq.previous(), event.id);
                countable += u64::from(event.kind == "message");
                assert_eq!((event.seq, event.chain), (seq, chain), "seed {}: I2", self.seed);
                assert_eq!(event.countable, countable, "seed {}: I2, countable", self.seed);
                assert!(event.ts.0 >= ts, "seed {}: I2, the time falls", self.seed);
                assert_eq!(ids.insert(event.id, seq), None, "seed {}: I2, twice", self.seed);
                ts = event.ts.0;
                let is_of = |other: &&Event| event.kind == "edit" && Some(other.id) == event.target;
                let target = conversation.log.iter().find(is_of);
                let is_own = target.is_none_or(|target| target.sender == event.sender);
                assert!(is_own, "seed {}: rights, {} changed another's message", self.seed, event.sender);
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

    /// I1: what was acknowledged is there for ever, unless the server was set back behind it.
    fn acknowledged_is_kept(&self, client: usize) {
        for (conversation, id, seq) in &self.clients[client].acked {
            let log = self.server.conversations.get(conversation).map(|one| &one.log);
            let event = log.and_then(|log| log.get((seq.0 as usize).wrapping_sub(1)));
            let is_kept = event.is_some_and(|event| event.id == *id);
            assert!(is_kept || self.lost.events.contains(id), "seed {}: I1", self.seed);
        }
    }

    /// Whether a user has hidden a conversation.
    fn is_hidden(&self, user: UserId, conversation: ConversationId) -> bool {
        let is_kept = self.server.states.contains_key(&(user, conversation));
        is_kept && self.server.own(user, conversation).hidden
    }

    /// The conversations that a client is to have whole: hidden ones come with their next event.
    fn followed(&self, client: usize) -> impl Iterator<Item = (&ConversationId, &Conversation)> + use<'_> {
        let user = self.clients[client].user;
        let is_followed = move |(id, one): &(&ConversationId, &Conversation)| {
            one.is_shown_to(user) && !self.server.own(user, **id).hidden
        };
        self.server.conversations.iter().filter(is_followed)
    }

    /// I3, I4, I6: a client has what it may see, all of it, and nothing else.
    fn ranges_are_the_servers(&self, client: usize, image: &MemoryStore) {
        let user = self.clients[client].user;
        for (id, conversation) in self.followed(client) {
            let kept = image.conversations.get(id);
            let kept =
                kept.unwrap_or_else(|| panic!("seed {}: I6, client {client} does not know {id}", self.seed));
            for event in &conversation.log {
                let shown = conversation.shows(user, event.seq);
                let stored = kept.events.get(&event.seq);
                let state = || self.state_of(client);
                assert!(
                    stored.is_some() || !shown,
                    "seed {}: I6, client {client} lacks {}: {}",
                    self.seed,
                    event.seq,
                    state()
                );
                // A delete that one may not see takes nothing from what one had (R6).
                let keeps_text = event.redacted && !sees_delete(conversation, user, event);
                let keeps_text = keeps_text || self.is_undeleted(event) || self.has_two_texts(event);
                assert!(
                    stored.is_none_or(|stored| is_same(stored, event, keeps_text)),
                    "seed {}: I3, client {client} has {stored:?} and not {event:?}: {}",
                    self.seed,
                    state()
                );
                assert!(stored.is_none() || shown, "seed {}: I4, client {client}", self.seed);
                let within = kept.ranges.contains(event.seq);
                assert_eq!(within, stored.is_some(), "seed {}: C2, client {client}", self.seed);
            }
            let high = kept.events.last_key_value().map_or(Seq::ZERO, |(seq, _)| *seq);
            let head = Seq(conversation.log.len() as u64);
            assert!(high <= head, "seed {}: I3, above the head", self.seed);
            assert!(kept.ranges.high() <= head, "seed {}: C2, above the head", self.seed);
        }
    }

    /// Whether the server has lost the deletion of a message, or of the message that an edit is about.
    fn is_undeleted(&self, event: &Event) -> bool {
        let message = if event.kind == "edit" { event.target } else { Some(event.id) };
        message.is_some_and(|id| self.lost.undeleted.contains_key(&id))
    }

    /// Whether two copies of a profile sent an event, each in its own words, and the server lost the first one.
    fn has_two_texts(&self, event: &Event) -> bool {
        self.is_copied(event.sender) && self.lost.events.contains(&event.id)
    }

    /// Members, their number, the title and one's own intervals are the log's.
    fn facts_are_the_servers(&self, client: usize, image: &MemoryStore) {
        let user = self.clients[client].user;
        for (id, conversation) in self.followed(client) {
            let (kept, seed) = (&image.conversations[id], self.seed);
            assert_eq!(
                kept.visible, conversation.visible[&user],
                "seed {seed}: R6, client {client}, the intervals of {id}"
            );
            let title = title_of(conversation, conversation.head_of(user));
            assert_eq!(kept.title, title, "seed {seed}: title, client {client}, {id}");
            let count = conversation.members.len();
            if conversation.members.contains_key(&user) && count <= limits::HEADS_MEMBERS_MAX {
                assert_eq!(kept.members, conversation.members, "seed {seed}: members, client {client}");
            }
            // Of a large group heads tell the number alone; a role that changed meanwhile comes with the list.
            if conversation.members.contains_key(&user) {
                let known = kept.member_count as usize;
                assert_eq!(known, count, "seed {seed}: members, client {client}, counted");
            }
        }
    }

    /// Whether the server does not count the user among the members.
    fn is_out(&self, client: usize, conversation: ConversationId) -> bool {
        let known = self.server.conversations.get(&conversation);
        known.is_none_or(|one| !one.members.contains_key(&self.clients[client].user))
    }

    /// Whether it is a message that somebody has deleted, or about one.
    fn is_about_deleted(&self, id: EventId) -> bool {
        let about = self.targets.get(&id).map_or(id, |(target, _)| *target);
        self.deleted.contains(&about)
    }

    /// Whether it is a deleted message that the server never took from this device, or about one; a deletion that waits
    /// counts.
    fn is_taken_back(&self, image: &MemoryStore, id: EventId) -> bool {
        let about = self.targets.get(&id).map_or(id, |(target, _)| *target);
        let is_gone = self.seq_of(about).is_none() || self.counts.copies > 0 || image.is_deleting(about);
        self.deleted.contains(&about) && is_gone
    }

    /// Whether the deletion of a message needs no event of its own. The message is not on the server, or its text is not,
    /// or another deletion of it waits.
    fn is_deletion_done(&self, image: &MemoryStore, id: EventId) -> bool {
        let Some((target, _)) = self.targets.get(&id).filter(|(_, kind)| kind == "delete") else {
            return false;
        };
        let mut logs = self.server.conversations.values().flat_map(|one| &one.log);
        let is_gone = logs.find(|event| event.id == *target).is_none_or(|event| event.redacted);
        is_gone || image.is_deleting(*target)
    }

    /// Whether it would change a message that the server knows as deleted: that ends, and the text of an edit with it (W9).
    fn would_change_deleted(&self, id: EventId) -> bool {
        let target = self.targets.get(&id).filter(|(_, kind)| kind != "delete").map(|(target, _)| *target);
        let mut logs = self.server.conversations.values().flat_map(|one| &one.log);
        target.is_some_and(|target| logs.any(|event| event.id == target && event.redacted))
    }
}

/// The title at a seq, by the events alone.
fn title_of(conversation: &Conversation, head: Seq) -> Option<String> {
    let mut title = conversation.title.clone();
    for event in conversation.log.iter().filter(|event| event.kind == "title" && event.seq <= head) {
        title = event.body.as_ref().and_then(|body| body["text"].as_str()).map(str::to_owned);
    }
    title.filter(|text| !text.is_empty())
}

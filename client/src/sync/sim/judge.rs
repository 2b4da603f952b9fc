//! What must hold once the network has healed.
//!
//! A restore excuses only what it has taken: the events that were lost, the conversations whose log became another one,
//! the own states that had changed since the backup.

mod own;
mod shown;

use super::{
    store::{MemoryStore, Row, RowState, what},
    world::World,
};
use crate::sync::{
    Link, Machine,
    ops::{OutboxOp, OutboxWhat},
};
use kith_model::Conversation;
use kith_protocol::{
    Chain, ConversationId, ErrorCode, Event, EventId, Seq, UserId, error::ErrorClass, limits,
};
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
            self.outbox_has_ended(client, &image);
        }
    }

    /// Everything, at rest.
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
                let keeps_text = keeps_text || self.is_undeleted(event);
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
        message.is_some_and(|id| self.lost.undeleted.contains(&id))
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

    /// I5
    fn order_is_kept(&self, client: usize) {
        if self.counts.copies > 0 {
            return; // what goes out twice has no one order
        }
        let mut last: BTreeMap<_, Seq> = BTreeMap::new();
        for (conversation, id) in &self.clients[client].written {
            // A parked reaction holds nothing: said to go after all, it comes later.
            let Some(seq) = self.seq_of(*id) else { continue };
            // What waited while a log was cut leaves behind what comes back (S7).
            let is_set_back = self.lost.from.contains_key(conversation);
            if self.clients[client].retried.contains(id) || is_set_back {
                continue;
            }
            let before = last.insert(*conversation, seq).unwrap_or_default();
            assert!(before < seq, "seed {}: I5, client {client}: {before} then {seq}", self.seed);
        }
    }

    /// O5: nothing that was written after a message that waits for the user has gone before it.
    fn parked_messages_hold(&self, client: usize, image: &MemoryStore) {
        if self.counts.copies > 0 {
            return;
        }
        let parked = |id: &EventId| {
            let mut rows = image.outbox.values();
            rows.any(|row| {
                row.is(*id)
                    && matches!(row.state, RowState::Parked(_))
                    && what(&row.op) == OutboxWhat::Message
            })
        };
        let mut holding = Vec::new();
        for (conversation, id) in &self.clients[client].written {
            if self.lost.from.contains_key(conversation) {
                continue;
            }
            if parked(id) {
                holding.push(*conversation);
            } else if holding.contains(conversation) {
                assert_eq!(self.seq_of(*id), None, "seed {}: O5, client {client} did not wait", self.seed);
            }
        }
    }

    /// I6: what is left is parked with a permanent code, or held by what is parked, or by a conversation that the server
    /// has lost and that is somebody else's to begin again.
    fn outbox_has_ended(&self, client: usize, image: &MemoryStore) {
        let (mut held, mut unopened) = (Vec::new(), Vec::new());
        for (item, row) in &image.outbox {
            match &row.state {
                RowState::Parked(code) => {
                    assert_eq!(code.class(), ErrorClass::Permanent, "seed {}: I6", self.seed);
                    if matches!(what(&row.op), OutboxWhat::Message | OutboxWhat::Open) {
                        held.push(row.conversation);
                    }
                    if what(&row.op) == OutboxWhat::Open {
                        unopened.push(row.conversation);
                    }
                }
                RowState::Queued => {
                    // Begun again by somebody else, and without this user.
                    let is_out = self.is_out(client, row.conversation);
                    let is_lost = self.lost.whole.contains(&row.conversation) && is_out;
                    let waits = held.contains(&row.conversation) && what(&row.op) != OutboxWhat::State;
                    let waits = waits || unopened.contains(&row.conversation) || is_lost;
                    assert!(waits, "seed {}: I6, client {client}, row {item} is left: {row:?}", self.seed);
                }
                RowState::Sending | RowState::Acked(_) => {
                    panic!("seed {}: I6, client {client}, row {item} has not ended: {row:?}", self.seed);
                }
            }
        }
    }

    /// O5: what waits for the user was refused for a reason that holds at rest, or that held before somebody changed it.
    fn parked_for_a_reason(&self, client: usize, image: &MemoryStore) {
        let user = self.clients[client].user;
        for row in image.outbox.values() {
            let RowState::Parked(code) = row.state else { continue };
            assert!(
                self.reason_holds(client, user, row, code),
                "seed {}: O5, client {client}, nothing speaks against {row:?}",
                self.seed
            );
        }
    }

    fn reason_holds(&self, client: usize, user: UserId, row: &Row, code: ErrorCode) -> bool {
        if code == ErrorCode::TooOld {
            return self.counts.clock_jumps > 0;
        }
        let Some(conversation) = self.server.conversations.get(&row.conversation) else { return true };
        // What follows a refused message of the conversation waits with it.
        let was_out = has_been_out(conversation, user) || self.lost.from.contains_key(&row.conversation);
        let now = match &row.op {
            OutboxOp::Event(event) => self.server.refuses(user, row.conversation, event),
            // Somebody else has made it, and this one is not in it.
            OutboxOp::Open(_) => return code == ErrorCode::IdConflict && was_out,
            OutboxOp::State(_) => None,
        };
        match code {
            // An id that two copies of a profile used, each in its own way (O7).
            ErrorCode::IdConflict => self.counts.copies > 0,
            ErrorCode::NotMember | ErrorCode::NotAllowed => {
                let is_anothers = changes_another(conversation, user, row);
                now == Some(code) || was_out || is_anothers || has_had_another_role(conversation, user)
            }
            ErrorCode::Invalid => now == Some(code) || changes_members(row),
            ErrorCode::TargetMissing => {
                let target = if let OutboxOp::Event(event) = &row.op { event.target } else { None };
                let is_lost = target.is_some_and(|target| self.lost.events.contains(&target));
                // Taken back here, and sent by a copy of the profile later.
                let is_cancelled =
                    target.is_some_and(|target| self.clients[client].cancelled.contains_key(&target));
                let is_own = |id| conversation.log.iter().any(|e| e.id == id && e.sender == user);
                now.is_some()
                    || was_out
                    || is_cancelled
                    || changes_members(row)
                    || (is_lost && !target.is_some_and(is_own))
            }
            _ => now == Some(code),
        }
    }

    /// I9, I12: every event that a user wrote ends as exactly one of: numbered, waiting, taken back.
    fn everything_ended(&self, client: usize, image: &MemoryStore) {
        let one = &self.clients[client];
        for (conversation, id) in &one.written {
            let numbered = self.seq_of(*id).is_some();
            let waits = image.outbox.values().any(|row| row.is(*id));
            let cancelled = one.cancelled.contains_key(id);
            let tried = one.cancelled.get(id) == Some(&true);
            let ends = usize::from(numbered) + usize::from(waits) + usize::from(cancelled);
            let is_lost = self.lost.events.contains(id);
            // A copy, or another device after a restore, may have sent what was cancelled here.
            let is_excused = tried || is_lost || self.counts.copies > 0;
            let twice = is_excused && cancelled && !(numbered && waits);
            // What was deleted before the server lost it is not written again (S7).
            let is_deleted = self.lost.from.contains_key(conversation) && self.is_about_deleted(*id);
            // What a copy has sent, where this device does not follow the log since somebody has hidden it.
            let is_kept = self.server.states.contains_key(&(one.user, *conversation));
            let is_hidden = is_kept && self.server.own(one.user, *conversation).hidden;
            let is_unknown = self.counts.copies > 0 && is_hidden;
            let sent_elsewhere = is_unknown && numbered && waits && !cancelled;
            // Somebody who is no longer a member cannot write again what the server lost; the own device keeps it.
            let stays = is_lost && self.is_out(client, *conversation) && is_stored(image, *conversation, *id);
            assert!(
                ends == 1
                    || twice
                    || sent_elsewhere
                    || (ends == 0 && (is_deleted || stays || self.is_edit_of_deleted(*id))),
                "seed {}: I9, client {client}, {id}: {numbered} {waits} {cancelled}",
                self.seed
            );
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

    /// Whether it would change a message that the server knows as deleted: such an edit ends, and its text with it (W9).
    fn is_edit_of_deleted(&self, id: EventId) -> bool {
        let target = self.targets.get(&id).filter(|(_, is_edit)| *is_edit).map(|(target, _)| *target);
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

/// Whether a device holds an event in its log.
fn is_stored(image: &MemoryStore, conversation: ConversationId, id: EventId) -> bool {
    let known = image.conversations.get(&conversation);
    known.is_some_and(|kept| kept.events.values().any(|event| event.id == id))
}

/// Whether a user was not a member for some time.
fn has_been_out(conversation: &Conversation, user: UserId) -> bool {
    let intervals = conversation.visible.get(&user);
    intervals.is_none_or(|all| all.len() > 1 || all.iter().any(|(from, to)| from.0 > 1 || to.is_some()))
}

/// Whether somebody's role was changed: what was not allowed then may be now.
fn has_had_another_role(conversation: &Conversation, user: UserId) -> bool {
    conversation.log.iter().any(|event| {
        let body = event.body.as_ref().filter(|_| event.kind == "member");
        body.is_some_and(|body| body["user"] == user.to_string())
    })
}

/// Whether it would change a message of somebody else, which may have been deleted since.
fn changes_another(conversation: &Conversation, user: UserId, row: &Row) -> bool {
    let OutboxOp::Event(event) = &row.op else { return false };
    let is_of = |message: &&Event| Some(message.id) == event.target && message.sender != user;
    matches!(event.kind.as_str(), "edit" | "delete") && conversation.log.iter().any(|one| is_of(&one))
}

/// Who may be added, removed or promoted changes with the members.
fn changes_members(row: &Row) -> bool {
    matches!(&row.op, OutboxOp::Event(event) if event.kind == "member")
}

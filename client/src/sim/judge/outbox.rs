//! The outbox: order, what waits for the user, and that everything ends (I5, I6, I9, O5).

use super::super::world::World;
use kith_model::Conversation;
use kith_protocol::{ConversationId, ErrorCode, Event, EventId, Seq, UserId, error::ErrorClass};
use kith_sync::{
    memory::{MemoryStore, Row, RowState, what},
    ops::{OutboxOp, OutboxWhat},
};
use std::collections::BTreeMap;

impl World {
    /// I5
    pub(super) fn order_is_kept(&self, client: usize) {
        if self.is_copied(self.clients[client].user) {
            return; // what goes out twice has no one order
        }
        let mut last: BTreeMap<_, Seq> = BTreeMap::new();
        for (conversation, id) in &self.clients[client].written {
            // A parked reaction holds nothing: said to go after all, it comes later.
            let Some(seq) = self.seq_of(*id) else { continue };
            if self.may_come_later(*id) {
                continue;
            }
            let before = last.insert(*conversation, seq).unwrap_or_default();
            assert!(before < seq, "seed {}: I5, client {client}: {before} then {seq}, {id}", self.seed);
        }
    }

    /// Whether what was written later may have overtaken it: it was lost (S7) or said to go after all, it was refused and
    /// held nothing, it waited for a message that was deleted (whose deletion may be lost
    /// since), or for one that itself came later.
    fn may_come_later(&self, id: EventId) -> bool {
        let about = self.targets.get(&id).map(|(target, _)| target).or_else(|| self.answers.get(&id));
        let is_later = self.lost.events.contains(&id)
            || self.answers_no_more(id)
            || self.clients.iter().any(|client| client.retried.contains(&id) || client.refused.contains(&id));
        is_later
            || about.is_some_and(|it| {
                self.lost.undeleted.contains_key(it) || self.is_of_copies(*it) || self.may_come_later(*it)
            })
    }

    /// Whether copies of one profile exist: what they hold in common goes out from each, in no one order.
    pub(in super::super) fn is_copied(&self, user: UserId) -> bool {
        self.copied.contains(&user)
    }

    fn is_of_copies(&self, id: EventId) -> bool {
        let mut copies = self.clients.iter().filter(|client| self.is_copied(client.user));
        copies.any(|client| client.written.iter().any(|(_, written)| *written == id))
    }

    /// Whether an answer waited for a message that was deleted, and came without it.
    fn answers_no_more(&self, id: EventId) -> bool {
        let mut logs = self.server.conversations.values().flat_map(|one| &one.log);
        let is_plain = |event: &Event| event.body.as_ref().is_some_and(|body| body.get("reply_to").is_none());
        self.answers.contains_key(&id) && logs.any(|event| event.id == id && is_plain(event))
    }

    /// O5: nothing that was written after a message that waits for the user has gone before it. An answer to what is
    /// missing holds nothing.
    pub(super) fn parked_messages_hold(&self, client: usize, image: &MemoryStore) {
        if self.is_copied(self.clients[client].user) {
            return;
        }
        let parked = |id: &EventId| {
            let mut rows = image.outbox.values();
            rows.any(|row| {
                // One that waited for its target was passed before it was refused once more.
                let was_passed = self.answers.contains_key(id) && row.tries > 1;
                !was_passed
                    && row.is(*id)
                    && matches!(row.state, RowState::Parked(code) if code != ErrorCode::TargetMissing)
                    && what(&row.op) == OutboxWhat::Message
            })
        };
        let mut holding = Vec::new();
        for (conversation, id) in &self.clients[client].written {
            if self.may_come_later(*id) {
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
    pub(super) fn outbox_has_ended(&self, client: usize, image: &MemoryStore) {
        let (mut held, mut awaited) = (Vec::new(), Vec::new());
        // A conversation that is begun again is opened by a row behind its own state.
        let is_unopened =
            |row: &&Row| matches!(row.state, RowState::Parked(_)) && what(&row.op) == OutboxWhat::Open;
        let unopened: Vec<_> =
            image.outbox.values().filter(is_unopened).map(|row| row.conversation).collect();
        for (item, row) in &image.outbox {
            // Begun again by somebody else, and without this user.
            let is_lost =
                self.lost.whole.contains(&row.conversation) && self.is_out(client, row.conversation);
            match &row.state {
                RowState::Parked(code) => {
                    assert_eq!(code.class(), ErrorClass::Permanent, "seed {}: I6", self.seed);
                    if *code == ErrorCode::TargetMissing {
                        awaited.extend(row.waits_with().map(|message| (row.conversation, message)));
                    } else if matches!(what(&row.op), OutboxWhat::Message | OutboxWhat::Open) {
                        held.push(row.conversation);
                    }
                }
                RowState::Queued => {
                    let waits = held.contains(&row.conversation) && what(&row.op) != OutboxWhat::State;
                    let message = row.waits_with().map(|message| (row.conversation, message));
                    let is_relation = what(&row.op) == OutboxWhat::Relation;
                    let waits = waits || (is_relation && message.is_some_and(|it| awaited.contains(&it)));
                    let waits = waits || unopened.contains(&row.conversation) || is_lost;
                    assert!(waits, "seed {}: I6, client {client}, row {item} is left: {row:?}", self.seed);
                }
                // It stays as it was, like what is stored there.
                RowState::Acked(_) if is_lost => {}
                RowState::Sending | RowState::Acked(_) => {
                    panic!("seed {}: I6, client {client}, row {item} has not ended: {row:?}", self.seed);
                }
            }
        }
    }

    /// O5: what waits for the user was refused for a reason that holds at rest, or that held before somebody changed it.
    pub(super) fn parked_for_a_reason(&self, client: usize, image: &MemoryStore) {
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
            ErrorCode::IdConflict => self.is_copied(user),
            ErrorCode::NotMember | ErrorCode::NotAllowed => {
                let is_anothers = changes_another(conversation, user, row);
                now == Some(code) || was_out || is_anothers || has_had_another_role(conversation, user)
            }
            ErrorCode::Invalid => now == Some(code) || changes_members(row),
            ErrorCode::TargetMissing => {
                let target = row.about();
                let is_lost = target.is_some_and(|target| self.lost.events.contains(&target));
                // Taken back here, and sent by a copy of the profile later.
                let is_cancelled =
                    target.is_some_and(|target| self.clients[client].cancelled.contains_key(&target));
                // A copy sent it, and this device does not sync the conversation while it is hidden.
                let is_unknown = self.is_copied(user) && self.is_hidden(user, row.conversation);
                let is_own = |id| conversation.log.iter().any(|e| e.id == id && e.sender == user);
                now.is_some()
                    || was_out
                    || is_cancelled
                    || is_unknown
                    || changes_members(row)
                    || (is_lost && !target.is_some_and(is_own))
            }
            _ => now == Some(code),
        }
    }

    /// Whether an event waits on another device of the same user.
    fn waits_elsewhere(&self, client: usize, id: EventId) -> bool {
        let user = self.clients[client].user;
        let mut others =
            self.clients.iter().enumerate().filter(|(other, one)| *other != client && one.user == user);
        others.any(|(_, other)| other.store.image().outbox.values().any(|row| row.is(id)))
    }

    /// I9, I12: every event that a user wrote ends as exactly one of: numbered, waiting, taken back.
    pub(super) fn everything_ended(&self, client: usize, image: &MemoryStore) {
        let one = &self.clients[client];
        for (conversation, id) in &one.written {
            let numbered = self.seq_of(*id).is_some();
            let waits = image.outbox.values().any(|row| row.is(*id));
            let cancelled = one.cancelled.contains_key(id);
            let tried = one.cancelled.get(id) == Some(&true);
            let ends = usize::from(numbered) + usize::from(waits) + usize::from(cancelled);
            let is_lost = self.lost.events.contains(id);
            // A copy, or another device after a restore, may have sent what was cancelled here.
            let is_excused = tried || is_lost || self.is_copied(one.user);
            let twice = is_excused && cancelled && !(numbered && waits);
            // What was deleted before the server lost it is not written again (S7).
            let is_deleted = self.lost.from.contains_key(conversation) && self.is_about_deleted(*id);
            // A copy sent it, and this device does not sync the conversation while it is hidden.
            let is_unknown = self.is_copied(one.user) && self.is_hidden(one.user, *conversation);
            let sent_elsewhere = is_unknown && numbered && waits && !cancelled;
            // Somebody who is no longer a member cannot write again what the server lost; the own device keeps it.
            let stays = is_lost && self.is_out(client, *conversation) && is_stored(image, *conversation, *id);
            // The copy from which this device comes had sent it, and keeps it for the user.
            let is_kept_elsewhere = is_lost && self.is_copied(one.user) && self.waits_elsewhere(client, *id);
            assert!(
                ends == 1
                    || twice
                    || sent_elsewhere
                    || (ends == 0 && is_kept_elsewhere)
                    || (ends == 0 && (is_deleted || stays || self.would_change_deleted(*id)))
                    || (ends == 0 && self.is_taken_back(image, *id))
                    || (ends == 0 && self.is_deletion_done(image, *id)),
                "seed {}: I9, client {client}, {id}: {numbered} {waits} {cancelled}",
                self.seed
            );
        }
    }
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

/// Whether it edits or deletes another user's message, which may be deleted by now.
fn changes_another(conversation: &Conversation, user: UserId, row: &Row) -> bool {
    let OutboxOp::Event(event) = &row.op else { return false };
    let is_of = |message: &&Event| Some(message.id) == event.target && message.sender != user;
    matches!(event.kind.as_str(), "edit" | "delete") && conversation.log.iter().any(|one| is_of(&one))
}

/// Who may be added, removed or promoted changes with the members.
fn changes_members(row: &Row) -> bool {
    matches!(&row.op, OutboxOp::Event(event) if event.kind == "member")
}

//! Writing the log (W2, W3, W9): known ids first, then rights, then numbers; then everybody is told.

use super::{Answer, Mutation, Server};
use kith_protocol::{
    Chain, ConversationId, ErrorCode, Event, EventContent, EventId, NewEvent, Seq, ServerFrame, TimestampMs,
    UserId, capability,
    event::{MemberChange, body_hash},
    frame::{Ack, AckResult, AckStatus, ConversationKind, Events, Hint, Send},
    limits,
};
use serde_json::Value;
use std::collections::BTreeSet;

/// An event of the right form.
pub(crate) struct New {
    event: NewEvent,
    content: EventContent,
}

impl New {
    pub(crate) fn read(value: &Value, abilities: &[String]) -> Result<Self, ErrorCode> {
        let event: NewEvent = serde_json::from_value(value.clone()).map_err(|_| ErrorCode::Invalid)?;
        let content = EventContent::parse(&event.kind, event.target, &event.body)?;
        capability::check(&content, |name| abilities.iter().any(|one| one == name))?;
        Ok(Self { event, content })
    }
}

/// What one transaction has done.
#[derive(Default)]
struct Batch {
    numbered: Vec<Event>,
    added: BTreeSet<UserId>,
    removed: BTreeSet<UserId>,
}

impl Server {
    pub(crate) fn send(&mut self, user: UserId, send: &Send, abilities: &[String]) -> Answer {
        if send.events.is_empty() || send.events.len() > limits::SEND_EVENTS_MAX {
            return Err(ErrorCode::Invalid.into());
        }
        if self.strikes(16) {
            return Err(ErrorCode::Unavailable.into());
        }
        let id_of = |value: &Value| value["id"].as_str().and_then(|text| EventId::parse(text).ok());
        let results = self.take_all(
            user,
            send.conversation,
            send.events.iter().map(|value| New::read(value, abilities)),
        );
        let results = send.events.iter().zip(results).map(|(value, result)| {
            let refused = |status, code| refused(id_of(value), status, code);
            match result {
                Some(Ok(result)) => result,
                Some(Err(code)) => refused(AckStatus::Error, code),
                None => refused(AckStatus::Skipped, ErrorCode::Skipped),
            }
        });
        Ok(ServerFrame::Ack(Ack { reply_to: None, results: results.collect() }))
    }

    /// Publishes one event by itself.
    pub(crate) fn publish(&mut self, user: UserId, id: ConversationId, new: New) -> Result<(), ErrorCode> {
        let result = self.take_all(user, id, [Ok(new)].into_iter()).pop().flatten();
        result.map_or(Ok(()), |result| result.map(drop))
    }

    /// Takes events in one transaction; `None` for those behind the first that was refused.
    fn take_all(
        &mut self,
        user: UserId,
        id: ConversationId,
        events: impl Iterator<Item = Result<New, ErrorCode>>,
    ) -> Vec<Option<Result<AckResult, ErrorCode>>> {
        let hidden = self.hidden(id);
        let (mut batch, mut failed) = (Batch::default(), false);
        let mut results = Vec::new();
        for event in events {
            let result = (!failed).then(|| event.and_then(|new| self.take(user, id, &new, &mut batch)));
            failed |= matches!(result, Some(Err(_)));
            results.push(result);
        }
        if !batch.numbered.is_empty() {
            self.finish(id, hidden, batch);
        }
        results
    }

    /// What the server says to an event that it does not have; nothing is changed.
    pub fn refuses(&self, user: UserId, id: ConversationId, event: &NewEvent) -> Option<ErrorCode> {
        let value = serde_json::to_value(event).unwrap_or_default();
        let Some(conversation) = self.conversations.get(&id) else { return Some(ErrorCode::NotMember) };
        if let Some(known) = conversation.by_id(event.id) {
            let hash = body_hash(&event.kind, event.target, &event.body);
            let is_known = known.sender == user && conversation.hashes.get(&known.id) == Some(&hash);
            return (!is_known).then_some(ErrorCode::IdConflict);
        }
        let checked = New::read(&value, &self.offered).and_then(|new| self.may_add(id, user, &new.content));
        checked.err()
    }

    /// The members who have hidden a conversation.
    fn hidden(&self, id: ConversationId) -> BTreeSet<UserId> {
        let members = self.conversations.get(&id).into_iter().flat_map(|one| one.members.keys());
        let has_hidden = |user: &&UserId| self.states[&(**user, id)].hidden_at.is_some();
        members.filter(has_hidden).copied().collect()
    }

    fn take(
        &mut self,
        user: UserId,
        id: ConversationId,
        new: &New,
        batch: &mut Batch,
    ) -> Result<AckResult, ErrorCode> {
        let conversation = self.conversations.get(&id).ok_or(ErrorCode::NotMember)?;
        let hash = body_hash(&new.event.kind, new.event.target, &new.event.body);
        let known = conversation.by_id(new.event.id);
        if let Some(known) = known.filter(|_| !self.has(Mutation::KnownIsNumbered)) {
            if known.sender == user && conversation.hashes.get(&known.id) == Some(&hash) {
                return Ok(stored(known, AckStatus::Duplicate));
            }
            let is_member = conversation.members.contains_key(&user);
            return Err(if is_member { ErrorCode::IdConflict } else { ErrorCode::NotMember });
        }
        self.may_add(id, user, &new.content)?;
        if self.strikes(21) {
            return Err(ErrorCode::Busy);
        }
        let event = self.number(user, id, new, hash);
        match &new.content {
            EventContent::Delete { target } => self.redact(id, *target),
            EventContent::Member(body) => {
                self.change_members(id, event.seq, body);
                match body.change {
                    MemberChange::Added => batch.added.insert(body.user),
                    MemberChange::Removed | MemberChange::Left => batch.removed.insert(body.user),
                    MemberChange::Role => false,
                };
            }
            _ => {}
        }
        let result = stored(&event, AckStatus::Ok);
        batch.numbered.push(event);
        Ok(result)
    }

    fn number(&mut self, user: UserId, id: ConversationId, new: &New, hash: [u8; 32]) -> Event {
        let now = TimestampMs(self.now);
        let log = &self.conversations[&id].log;
        let last = log.last().map(|event| (event.seq, event.chain, event.countable, event.ts));
        let (seq, chain, countable, ts) = last.unwrap_or((Seq::ZERO, Chain::empty(id), 0, now));
        let event = Event {
            seq: seq.next(),
            id: new.event.id,
            kind: new.content.kind().to_owned(),
            sender: user,
            ts: ts.max(now),
            written_at: new.event.written_at,
            countable: countable + u64::from(new.content.is_countable()),
            chain: chain.then(id, seq, new.event.id),
            target: new.content.target(),
            body: Some(new.event.body.clone()),
            redacted: false,
        };
        if let Some(conversation) = self.conversations.get_mut(&id) {
            conversation.hashes.insert(event.id, hash);
            conversation.log.push(event.clone());
        }
        event
    }

    /// A message and its edits lose their payload; the positions stay (W9).
    fn redact(&mut self, id: ConversationId, target: EventId) {
        let keeps_edits = self.has(Mutation::EditsStay);
        let log = self.conversations.get_mut(&id).into_iter().flat_map(|one| &mut one.log);
        for event in log {
            let is_edit = event.kind == "edit" && event.target == Some(target);
            if event.id == target || (is_edit && !keeps_edits) {
                (event.body, event.redacted) = (None, true);
            }
        }
    }

    /// Raises the own counters, shows the conversation to whom it is new, then sends the events to those who see them.
    fn finish(&mut self, id: ConversationId, hidden: BTreeSet<UserId>, batch: Batch) {
        let Batch { numbered, added, removed } = batch;
        for user in &hidden {
            if let Some(kept) = self.states.get_mut(&(*user, id)) {
                kept.hidden_at = None;
            }
        }
        let changed: BTreeSet<UserId> = [&hidden, &added, &removed].into_iter().flatten().copied().collect();
        for user in changed {
            let version = self.raise_user_seq(user);
            if let Some(kept) = self.states.get_mut(&(user, id)) {
                kept.own.version = version;
            }
        }
        let conversation = &self.conversations[&id];
        // A group was told of when it was made.
        let begins =
            conversation.kind == ConversationKind::Direct && conversation.log.len() == numbered.len();
        let members = conversation.members.keys().filter(|user| begins || hidden.contains(user));
        let told: BTreeSet<UserId> = members.chain(&added).copied().collect();
        for user in told {
            self.announce(user, id);
        }
        let slow = self.strikes(16);
        for event in numbered {
            self.fan_out(id, event, slow);
        }
    }

    /// Sends an event to everybody who may see it; the last that a removed member gets is the removal (R6).
    fn fan_out(&mut self, id: ConversationId, event: Event, slow: bool) {
        let conversation = &self.conversations[&id];
        let seq = event.seq;
        let to: Vec<UserId> =
            conversation.visible.keys().filter(|user| conversation.shows(**user, seq)).copied().collect();
        let frame = if slow {
            ServerFrame::Hint(Hint { heads: vec![(id, seq)] })
        } else {
            ServerFrame::Events(Events { conversation: id, events: vec![event] })
        };
        for user in to {
            self.push(user, &frame);
        }
    }
}

fn stored(event: &Event, status: AckStatus) -> AckResult {
    AckResult {
        id: Some(event.id),
        status,
        seq: Some(event.seq),
        ts: Some(event.ts),
        countable: Some(event.countable),
        chain: Some(event.chain),
        code: None,
        retry_after_ms: None,
    }
}

fn refused(id: Option<EventId>, status: AckStatus, code: ErrorCode) -> AckResult {
    AckResult {
        id,
        status,
        seq: None,
        ts: None,
        countable: None,
        chain: None,
        code: Some(code),
        retry_after_ms: None,
    }
}

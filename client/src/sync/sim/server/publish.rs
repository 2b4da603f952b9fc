//! The reference server's writing of the log (W2, W3): known ids first, then rights, then numbers.

use super::{Answer, Server};
use crate::sync::backoff::Jitter;
use kith_protocol::{
    Chain, ConversationId, ErrorCode, Event, NewEvent, Seq, ServerFrame, TimestampMs, UserId,
    event::{MemberBody, MemberChange},
    frame::{Ack, AckResult, AckStatus, Events, Hint, Send},
};

impl Server {
    pub(super) fn send(&mut self, user: UserId, send: &Send, rng: &mut Jitter) -> Answer {
        if self.chaos && rng.up_to(15) == 0 {
            return Err((ErrorCode::Unavailable, None));
        }
        if !self.conversations.contains_key(&send.conversation) {
            return Err((ErrorCode::NotMember, None));
        }
        let (mut results, mut failed) = (Vec::new(), false);
        let slow = self.chaos && rng.up_to(15) == 0;
        for value in &send.events {
            let event: NewEvent = serde_json::from_value(value.clone()).expect("a client writes events");
            let mut result = skipped(&event);
            if !failed {
                match self.publish(user, send.conversation, &event, rng) {
                    Ok((event, status)) => {
                        (result.status, result.seq, result.ts) = (status, Some(event.seq), Some(event.ts));
                        if status == AckStatus::Ok {
                            self.fan_out(send.conversation, event, slow);
                        }
                    }
                    Err(code) => {
                        (result.status, result.code) = (AckStatus::Error, Some(code));
                        failed = true;
                    }
                }
            }
            results.push(result);
        }
        Ok(ServerFrame::Ack(Ack { reply_to: None, results }))
    }

    /// Sends an event to everybody who may see it; the last that a removed member gets is the removal (R6).
    fn fan_out(&mut self, id: ConversationId, event: Event, slow: bool) {
        let body = (event.kind == "member").then(|| event.body.clone()).flatten();
        let body: Option<MemberBody> = body.and_then(|body| serde_json::from_value(body).ok());
        if let Some(MemberBody { user, change: MemberChange::Added, .. }) = body {
            self.announce(user, id);
        }
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

    fn publish(
        &mut self,
        user: UserId,
        id: ConversationId,
        new: &NewEvent,
        rng: &mut Jitter,
    ) -> Result<(Event, AckStatus), ErrorCode> {
        let conversation = self.conversations.get_mut(&id).expect("looked up before");
        if let Some(known) = conversation.log.iter().find(|event| event.id == new.id) {
            return if known.sender == user {
                Ok((known.clone(), AckStatus::Duplicate))
            } else {
                Err(ErrorCode::IdConflict)
            };
        }
        if !conversation.members.contains_key(&user) {
            return Err(ErrorCode::NotMember);
        }
        if new.body.get("text").is_some_and(|text| text == "poison") {
            return Err(ErrorCode::Invalid);
        }
        if self.chaos && rng.up_to(20) == 0 {
            return Err(ErrorCode::Busy);
        }
        let member = Self::may_change(&conversation.members, conversation.kind, user, new)?;
        let (seq, chain, countable) = conversation
            .log
            .last()
            .map_or((Seq::ZERO, Chain::empty(id), 0), |e| (e.seq, e.chain, e.countable));
        let event = Event {
            seq: seq.next(),
            id: new.id,
            kind: new.kind.clone(),
            sender: user,
            ts: TimestampMs(self.now),
            written_at: None,
            countable: countable + u64::from(new.kind == "message"),
            chain: chain.then(id, seq, new.id),
            target: new.target,
            body: Some(new.body.clone()),
            redacted: false,
        };
        conversation.log.push(event.clone());
        if let Some(body) = member {
            self.change_members(id, event.seq, &body);
        }
        Ok((event, AckStatus::Ok))
    }
}

fn skipped(event: &NewEvent) -> AckResult {
    AckResult {
        id: Some(event.id),
        status: AckStatus::Skipped,
        seq: None,
        ts: None,
        countable: None,
        chain: None,
        code: None,
        retry_after_ms: None,
    }
}

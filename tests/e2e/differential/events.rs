//! What is sent: every kind of event, known ids, and what is refused.

use super::play::Play;
use kith_protocol::{ConversationId, Event, EventId};
use serde_json::{Value, json};

/// As long as a text may be, in characters of four bytes.
const LONG: usize = 16_000;

impl Play<'_> {
    pub fn send(&mut self, device: usize) -> Value {
        let conversation = self.conversation(device);
        let count = [1, 1, 1, 2, 3, 5][self.below(6)];
        let mut events: Vec<Value> = (0..count).map(|_| self.event(device, conversation)).collect();
        if self.one_in(25) {
            events = self.many_reactions(device, conversation);
        }
        if self.one_in(25) {
            events = self.many_pins();
        }
        if self.one_in(40) {
            events = vec![self.message("𝕏".repeat(LONG))];
        }
        for event in &events {
            self.sent.push((conversation, event.clone()));
        }
        json!({"type": "send", "conversation": conversation, "events": events})
    }

    /// One event: of any kind, or one that was sent before, or a bad one.
    pub fn event(&mut self, device: usize, conversation: ConversationId) -> Value {
        match self.below(20) {
            0..2 => self.known(conversation).unwrap_or_else(|| self.message("hello")),
            2 => self.bad(),
            _ => self.fresh(device, conversation),
        }
    }

    fn new_event(&mut self, kind: &str, body: Value) -> Value {
        let mut event = json!({"id": EventId::from_uuid(self.uuid_v7()), "kind": kind, "body": body});
        if self.one_in(3) {
            event["written_at"] = (1_700_000_000_000 + self.random.up_to(1_000)).into();
        }
        event
    }

    fn message(&mut self, text: impl Into<String>) -> Value {
        self.new_event("message", json!({"text": text.into()}))
    }

    fn fresh(&mut self, device: usize, conversation: ConversationId) -> Value {
        match self.below(24) {
            0..8 => {
                let text = format!("text {}", self.below(1_000));
                let mut message = self.message(text);
                if self.one_in(5) {
                    message["body"]["reply_to"] = self.target(None, conversation).to_string().into();
                }
                message
            }
            8..10 => self.about("edit", json!({"text": "better"}), device, conversation),
            10..12 => self.about("delete", json!({}), device, conversation),
            12..16 => {
                let emoji = ["👍", "❤", "👩‍👩‍👧‍👦"][self.below(3)];
                let body = json!({"emoji": emoji, "on": !self.one_in(3)});
                self.about("reaction", body, device, conversation)
            }
            16..18 => {
                let body = json!({"on": !self.one_in(3)});
                self.about("pin", body, device, conversation)
            }
            18..22 => {
                let body = self.member_change(device, conversation);
                self.new_event("member", body)
            }
            22 => {
                let text = ["a title", "another", ""][self.below(3)];
                self.new_event("title", json!({"text": text}))
            }
            _ => self.new_event("settings", json!({"colour": "blue"})),
        }
    }

    /// Many emoji on one message, so that a few such sends reach the limits.
    fn many_reactions(&mut self, device: usize, conversation: ConversationId) -> Vec<Value> {
        let first = self.about("reaction", json!({}), device, conversation);
        let letters = (b'a'..=b'z').map(char::from).collect::<Vec<_>>();
        let mut events = Vec::new();
        for _ in 0..6 {
            let body =
                json!({"emoji": letters[self.below(letters.len())].to_string(), "on": !self.one_in(8)});
            let mut event = self.new_event("reaction", body);
            event["target"] = first["target"].clone();
            events.push(event);
        }
        events
    }

    /// Many messages, each with its pin, so that a few such sends reach the limit.
    fn many_pins(&mut self) -> Vec<Value> {
        let mut events = Vec::new();
        for _ in 0..20 {
            let message = self.message("pinned");
            let mut pin = self.new_event("pin", json!({"on": true}));
            pin["target"] = message["id"].clone();
            events.extend([message, pin]);
            if self.one_in(20) {
                let mut deletion = self.new_event("delete", json!({}));
                deletion["target"] = events[0]["id"].clone();
                events.push(deletion);
            }
        }
        events
    }

    fn about(&mut self, kind: &str, body: Value, device: usize, conversation: ConversationId) -> Value {
        let mut event = self.new_event(kind, body);
        let mine = kind == "edit" || kind == "delete";
        event["target"] = self.target(mine.then_some(device), conversation).to_string().into();
        event
    }

    /// Mostly a message of the conversation, one of the device's user where that is asked for; else anything.
    fn target(&mut self, of: Option<usize>, conversation: ConversationId) -> EventId {
        let of = of.filter(|_| self.random.up_to(3) > 0).map(|device| self.devices[device].user);
        let log = self.model.conversations.get(&conversation).map_or(&[][..], |one| &one.log);
        let fits = |event: &&Event| event.kind == "message" && of.is_none_or(|user| event.sender == user);
        let messages: Vec<EventId> = log.iter().filter(fits).map(|event| event.id).collect();
        let all: Vec<EventId> = log.iter().map(|event| event.id).collect();
        if !messages.is_empty() && !self.one_in(8) {
            // The newest are talked about most.
            let newest = messages.len().saturating_sub(6);
            let first = if self.one_in(3) { 0 } else { newest };
            return messages[first + self.below(messages.len() - first)];
        }
        if all.is_empty() || self.one_in(3) {
            return EventId::from_uuid(self.uuid_v7());
        }
        all[self.below(all.len())]
    }

    fn member_change(&mut self, device: usize, conversation: ConversationId) -> Value {
        let own = self.devices[device].user;
        let user = self.user();
        let is_in =
            self.model.conversations.get(&conversation).is_some_and(|one| one.members.contains_key(&user));
        if self.one_in(2) {
            return json!({"user": user, "change": if is_in { "removed" } else { "added" }});
        }
        let role = ["owner", "admin", "member"][self.below(3)];
        match self.below(12) {
            0..4 => json!({"user": user, "change": "added"}),
            4 => json!({"user": user, "change": "added", "role": role}),
            5..8 => json!({"user": user, "change": "removed"}),
            8..10 => json!({"user": user, "change": "role", "role": role}),
            10 => json!({"user": if self.one_in(3) { user } else { own }, "change": "left"}),
            _ => json!({"user": self.uuid_v7().to_string(), "change": "added"}),
        }
    }

    /// An id that was used: the same again, with another body, or in another conversation.
    fn known(&mut self, conversation: ConversationId) -> Option<Value> {
        let elsewhere = self.one_in(6);
        let known =
            self.sent.iter().filter(|(at, event)| event.is_object() && (elsewhere || *at == conversation));
        let known: Vec<Value> = known.map(|(_, event)| event.clone()).collect();
        let mut again = known.get(self.random.up_to(known.len().checked_sub(1)? as u64) as usize)?.clone();
        match self.below(6) {
            0 => again["body"] = json!({"text": "another"}),
            1 => {
                (again["kind"], again["target"], again["body"]) =
                    ("message".into(), Value::Null, json!({"text": "hello"}))
            }
            // Neither is a part of what makes it the same.
            2 => again["written_at"] = 1_700_000_000_000_u64.into(),
            3 => again["resubmitted"] = true.into(),
            _ => {}
        }
        Some(again)
    }

    fn bad(&mut self) -> Value {
        let mut event = self.message("hello");
        match self.below(12) {
            0 => event["body"]["text"] = "".into(),
            1 => event["body"]["text"] = "a\0b".into(),
            2 => event["body"]["text"] = "x".repeat(LONG + 1).into(),
            3 => event["body"]["html"] = "<b>".into(),
            4 => event["kind"] = "poll".into(),
            5 => event["id"] = "00000000-0000-4000-8000-000000000000".into(),
            6 => event["seq"] = 7.into(),
            7 => event["target"] = event["id"].clone(),
            8 => event = json!("hello"),
            9 => event["id"] = Value::Null,
            10 => (event["kind"], event["body"]) = ("edit".into(), json!({"text": "no target"})),
            _ => (event["kind"], event["body"]) = ("title".into(), json!({"text": "t".repeat(129)})),
        }
        event
    }
}

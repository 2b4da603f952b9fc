//! What is done next: chosen by the seed, with an eye on what there is.

use super::play::{Operation, Play};
use kith_protocol::{ConversationId, Seq, UserId};
use serde_json::{Value, json};
use uuid::{Builder, Version};

impl Play<'_> {
    pub fn choose(&mut self, number: u64) -> Operation {
        let online: Vec<usize> =
            (0..self.devices.len()).filter(|device| self.devices[*device].is_online()).collect();
        if online.is_empty() || self.one_in(16) {
            return self.come_or_go();
        }
        let device = online[self.below(online.len())];
        if number >= 4 && self.one_in(32) {
            return self.block_somebody(device);
        }
        // Each list begins with some conversations.
        let kind = if number < 4 { 0 } else { self.below(100) };
        let frame = match kind {
            0..3 => self.open(device),
            3..50 => self.send(device),
            50..66 => self.pull(device),
            66..71 => self.probe(device),
            71..84 => self.state(device),
            84..90 => self.delivered(device),
            90..93 => json!({"type": "heads"}),
            93..95 => self.members(device),
            95..97 => json!({"type": "markers", "conversation": self.conversation(device)}),
            97..99 => {
                let on = self.one_in(2);
                json!({"type": "typing", "conversation": self.conversation(device), "on": on})
            }
            _ => {
                let conversations: Vec<_> = (0..self.below(4)).map(|_| self.conversation(device)).collect();
                json!({"type": "focus", "conversations": conversations})
            }
        };
        Operation::Frame(device, frame)
    }

    // --- chance ---

    pub fn below(&mut self, end: usize) -> usize {
        self.random.up_to(end as u64 - 1) as usize
    }

    pub fn one_in(&mut self, times: u64) -> bool {
        self.random.up_to(times - 1) == 0
    }

    pub fn uuid_v7(&mut self) -> uuid::Uuid {
        let bits = u128::from(self.random.number()) << 64 | u128::from(self.random.number());
        Builder::from_u128(bits).with_version(Version::SortRand).into_uuid()
    }

    pub fn user(&mut self) -> UserId {
        let user = self.below(self.users.len());
        self.users[user]
    }

    /// Mostly one that the device's user is in, or sees a part of; else a stranger's, or none at all.
    pub fn conversation(&mut self, device: usize) -> ConversationId {
        let user = self.devices[device].user;
        let is_partial = |id: &&ConversationId| {
            let visible = self.model.conversations.get(*id).and_then(|one| one.visible.get(&user));
            visible.is_some_and(|visible| visible[..] != [(Seq(1), None)])
        };
        let partial: Vec<ConversationId> = self.conversations.iter().filter(is_partial).copied().collect();
        if !partial.is_empty() && self.one_in(3) {
            return partial[self.below(partial.len())];
        }
        let is_in = |id: &&ConversationId| {
            self.model.conversations.get(*id).is_some_and(|one| one.members.contains_key(&user))
        };
        let own: Vec<ConversationId> = self.conversations.iter().filter(is_in).copied().collect();
        if !own.is_empty() && !self.one_in(5) {
            return own[self.below(own.len())];
        }
        if self.conversations.is_empty() || self.one_in(8) {
            return ConversationId::from_uuid(self.uuid_v7());
        }
        let any = self.below(self.conversations.len());
        self.conversations[any]
    }

    /// A place at, in, or just above a log.
    fn seq(&mut self, conversation: ConversationId) -> Seq {
        let head = self.head(conversation);
        Seq(self.random.up_to(head.0 + 2))
    }

    // --- connections ---

    pub fn hello(&mut self, device: usize) -> Value {
        let one = &self.devices[device];
        let generation = one.generations.last();
        json!({"type": "hello", "protocol": 1, "device": one.id, "generation": generation, "user_seq": 0, "app": "test/0"})
    }

    fn come_or_go(&mut self) -> Operation {
        let device = self.below(self.devices.len());
        if self.devices[device].is_online() && self.one_in(3) {
            return Operation::Leave(device);
        }
        let mut hello = self.hello(device);
        match self.below(12) {
            // The one before is good once more: its welcome may have been lost.
            0..3 => {
                let generations = &self.devices[device].generations;
                hello["generation"] = generations[generations.len().saturating_sub(2)].into();
            }
            3 => {
                let any = self.below(self.devices[device].generations.len());
                hello["generation"] = self.devices[device].generations[any].into();
            }
            4 => hello["generation"] = (self.devices[device].generations.len() as u64 + 3).into(),
            5 => hello["protocol"] = 2.into(),
            6 => hello["device"] = self.uuid_v7().to_string().into(),
            _ => {}
        }
        Operation::Hello { device, hello, leaves_first: self.one_in(2) }
    }

    /// Blocks end sooner than they begin, so that most people can talk most of the time.
    fn block_somebody(&mut self, device: usize) -> Operation {
        let own = self.devices[device].user;
        let others: Vec<UserId> = self.users.iter().copied().filter(|user| *user != own).collect();
        let user = others[self.below(others.len())];
        Operation::Block { device, user, on: self.one_in(3) }
    }

    // --- conversations ---

    fn open(&mut self, device: usize) -> Value {
        let user = self.devices[device].user;
        let mut open = match self.below(10) {
            0..4 => self.open_group(),
            4..8 => {
                let other = self.user();
                json!({"type": "open", "conversation": ConversationId::direct(user, other), "kind": "direct", "members": [other]})
            }
            // What is there already, by whoever; another's, too.
            8 => {
                let again = self.conversation(device);
                json!({"type": "open", "conversation": again, "kind": "group", "members": []})
            }
            _ => {
                let (one, other) = (self.user(), self.user());
                let members = if self.one_in(2) { json!([one]) } else { json!([one, other]) };
                json!({"type": "open", "conversation": ConversationId::direct(one, other), "kind": "direct", "members": members})
            }
        };
        let id: ConversationId = serde_json::from_value(open["conversation"].clone()).expect("an id");
        if self.one_in(3) {
            let first = self.event(device, id);
            self.sent.push((id, first.clone()));
            open["first"] = first;
        }
        if !self.conversations.contains(&id) {
            self.conversations.push(id);
        }
        open
    }

    fn open_group(&mut self) -> Value {
        let id = ConversationId::from_uuid(self.uuid_v7());
        let mut members: Vec<UserId> = (0..self.below(5)).map(|_| self.user()).collect();
        if self.one_in(12) {
            members.push(UserId::from_uuid(self.uuid_v7()));
        }
        let mut open = json!({"type": "open", "conversation": id, "kind": "group", "members": members});
        match self.below(6) {
            0 | 1 => open["title"] = "a group".into(),
            2 => open["title"] = "".into(),
            3 => open["context"] = json!({"kind": "job", "id": "17", "title": "a job"}),
            4 if self.one_in(3) => open["title"] = "two\nlines".into(),
            _ => {}
        }
        open
    }

    fn members(&mut self, device: usize) -> Value {
        let mut frame =
            json!({"type": "members", "conversation": self.conversation(device), "max": self.below(4)});
        if self.one_in(2) {
            frame["after"] = self.user().to_string().into();
        }
        frame
    }

    // --- reading ---

    fn pull(&mut self, device: usize) -> Value {
        let conversation = self.conversation(device);
        let direction = if self.one_in(2) { "forward" } else { "backward" };
        let max = match self.below(8) {
            0 => 50,
            1 => 60,
            2 if self.one_in(4) => 0,
            _ => 1 + self.below(6),
        };
        let mut pull =
            json!({"type": "pull", "conversation": conversation, "direction": direction, "max": max});
        if !self.one_in(4) {
            pull["from"] = self.seq(conversation).0.into();
        }
        if self.one_in(4) {
            pull["to"] = self.seq(conversation).0.into();
        }
        pull
    }

    fn probe(&mut self, device: usize) -> Value {
        let conversation = self.conversation(device);
        let count = if self.one_in(10) { 33 } else { self.below(8) };
        let seqs: Vec<Seq> = (0..count).map(|_| self.seq(conversation)).collect();
        json!({"type": "probe", "conversation": conversation, "seqs": seqs})
    }

    // --- own state ---

    fn state(&mut self, device: usize) -> Value {
        let conversation = self.conversation(device);
        let mut state = json!({"type": "state", "conversation": conversation});
        for _ in 0..=self.below(2) {
            match self.below(9) {
                0..3 => state["read"] = self.seq(conversation).0.into(),
                3 => state["unread_flag"] = self.one_in(2).into(),
                4 => state["pin"] = self.one_in(2).into(),
                5 => state["archive"] = self.one_in(2).into(),
                6 => state["mute"] = [0, 1_900_000_000_000, (1_u64 << 53) - 1][self.below(3)].into(),
                7 => state["hidden"] = (!self.one_in(3)).into(),
                _ => state["draft"] = self.draft(device, conversation),
            }
        }
        state
    }

    fn draft(&mut self, device: usize, conversation: ConversationId) -> Value {
        let known = self.model.states.get(&(self.devices[device].user, conversation));
        let version = known.and_then(|kept| kept.own.draft.as_ref()).map_or(0, |draft| draft.version);
        let base = if self.one_in(3) { self.random.up_to(version + 1) } else { version };
        let text = match self.below(12) {
            0 => "a\0b".to_owned(),
            1 => "x".repeat(16_001),
            2..5 => String::new(),
            _ => format!("draft {}", self.below(4)),
        };
        json!({"text": text, "base": base})
    }

    fn delivered(&mut self, device: usize) -> Value {
        let mut markers = Vec::new();
        for _ in 0..self.below(4) {
            let conversation = self.conversation(device);
            markers.push((conversation, self.seq(conversation)));
        }
        json!({"type": "delivered", "markers": markers})
    }
}

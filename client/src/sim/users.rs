//! What the users do.

use super::{
    operations::{Doing, EMOJI},
    world::{Happening, World},
};
use kith_protocol::{
    ConversationId, EventId, Seq, TimestampMs,
    event::{MemberBody, MemberChange, Role},
    frame::{ConversationKind, DraftChange, Open, StateChange},
};
use kith_sync::{
    HistoryRequest, Input,
    memory::{RowState, what},
    ops::{OutboxOp, OutboxWhat},
};
use std::collections::BTreeMap;

const FOR_EVER: TimestampMs = TimestampMs((1 << 53) - 1);

impl World {
    pub(super) fn act(&mut self, client: usize) {
        self.sign_in(client);
        let user = self.clients[client].user;
        let pick = self.rng.up_to(self.conversations.len() as u64 - 1) as usize;
        let (id, kind, members) = self.conversations[pick].clone();
        let known = self.clients[client].store.ranges(id).is_some();
        if !members.contains(&user) && !known {
            return;
        }
        let is_opening = self.clients[client]
            .store
            .outbox()
            .iter()
            .any(|(_, row)| row.conversation == id && what(&row.op) == OutboxWhat::Open);
        if !known && !is_opening {
            let members = members.into_iter().filter(|member| *member != user).collect();
            let title = (kind == ConversationKind::Group).then(|| "first".to_owned());
            let open = Open { conversation: id, kind, members, title, context: None, first: None };
            self.does(client, Doing::Open(open));
        }
        let is_group = kind == ConversationKind::Group;
        let (own, on) = (StateChange::of(id), self.rng.up_to(1) == 1);
        match self.rng.up_to(27) {
            0..=8 => {
                for _ in 0..=self.rng.up_to(3) {
                    self.write_message(client, id);
                }
            }
            9 => self.mark_read(client, id),
            10 => self.change_own(client, StateChange { pin: Some(on), ..own }),
            11 => {
                let draft = Some(DraftChange { text: self.now.to_string(), base: 0 });
                self.change_own(client, StateChange { draft, ..own });
            }
            12 => {
                let mute = if on { FOR_EVER } else { TimestampMs(0) };
                self.change_own(client, StateChange { mute: Some(mute), ..own });
            }
            13 => self.change_own(client, StateChange { archive: Some(on), ..own }),
            14 => self.change_own(client, StateChange { unread_flag: Some(on), ..own }),
            15 => self.change_own(client, StateChange { hidden: Some(true), ..own }),
            16 => self.cancel_untried(client),
            17 => self.feed(client, Input::Focus(vec![id])),
            18 | 19 if is_group => self.change_members(client, id),
            20 if is_group => {
                let (event, text) = (self.mint(), self.now.to_string());
                self.does(client, Doing::Title { conversation: id, id: event, text });
            }
            21..=25 => self.change_message(client, id),
            _ => {
                let oldest = self.clients[client].store.ranges(id).and_then(|all| all.first().copied());
                if let Some(range) = oldest {
                    self.feed(
                        client,
                        Input::History(HistoryRequest::Older { conversation: id, before: range.low }),
                    );
                }
            }
        }
    }

    /// Does something and tells the machine; what came into the outbox, and what was taken back, is noted (I9).
    pub(super) fn does(&mut self, client: usize, doing: Doing) -> bool {
        let wall = self.clients[client].wall(self.now);
        self.note_targets(client);
        let before = self.events_in_outbox(client);
        let discarded = self.opening_of(client, &doing);
        self.trace(|| format!("client {client} does {doing:?}"));
        let Some(update) = self.clients[client].store.act(doing, wall) else { return false };
        let after = self.events_in_outbox(client);
        self.note_targets(client);
        let one = &mut self.clients[client];
        // Discarding an opening discards its own state.
        discarded.and_then(|conversation| one.said.remove(&conversation));
        for (item, (conversation, id, _)) in &after {
            if !before.contains_key(item) {
                one.written.push((*conversation, *id));
            }
        }
        for (item, (_, id, is_tried)) in before {
            if !after.contains_key(&item) {
                one.cancelled.insert(id, is_tried);
            }
        }
        self.feed(client, Input::Outbox(update));
        true
    }

    /// Notes what the relations in an outbox are about; the store puts some of them there by itself.
    fn note_targets(&mut self, client: usize) {
        for (_, row) in self.clients[client].store.outbox() {
            if let OutboxOp::Event(event) = row.op
                && let Some(target) = event.target
            {
                self.targets.insert(event.id, (target, event.kind.clone()));
                if event.kind == "delete" {
                    self.deleted.insert(target);
                }
            }
        }
    }

    /// The conversation whose opening the user discards.
    fn opening_of(&self, client: usize, doing: &Doing) -> Option<ConversationId> {
        let Doing::Cancel(item) = doing else { return None };
        let rows = self.clients[client].store.outbox();
        let row = rows.into_iter().find(|(other, _)| other == item).map(|(_, row)| row)?;
        (what(&row.op) == OutboxWhat::Open).then_some(row.conversation)
    }

    /// The events of the outbox, by row; and whether they were tried.
    fn events_in_outbox(&self, client: usize) -> BTreeMap<i64, (ConversationId, EventId, bool)> {
        let rows = self.clients[client].store.outbox().into_iter();
        rows.filter_map(|(item, row)| match &row.op {
            OutboxOp::Event(event) => {
                let is_tried = row.tries > 0 || event.resubmitted == Some(true);
                Some((item, (row.conversation, event.id, is_tried)))
            }
            OutboxOp::Open(_) | OutboxOp::State(_) => None,
        })
        .collect()
    }

    fn change_own(&mut self, client: usize, change: StateChange) {
        let conversation = change.conversation;
        if self.does(client, Doing::Own(change.clone())) {
            let said = self.clients[client].said.entry(conversation).or_default();
            said.pin = change.pin.or(said.pin);
            said.mute = change.mute.or(said.mute);
        }
    }

    fn write_message(&mut self, client: usize, conversation: ConversationId) {
        // The server refuses an empty one.
        let text = if self.rng.up_to(24) == 0 { String::new() } else { format!("hello {}", self.now) };
        let id = self.mint();
        let reply_to = self.answered(client, conversation, id);
        self.answers.extend(reply_to.map(|answered| (id, answered)));
        self.does(client, Doing::Write { conversation, id, text, reply_to });
    }

    /// What a message answers, if it does; the choice is in the message's id.
    fn answered(&self, client: usize, conversation: ConversationId, id: EventId) -> Option<EventId> {
        let choice = id.as_uuid().as_u128() as usize;
        let messages = self.clients[client].store.messages(conversation);
        let (target, _) = messages.get((choice >> 8) % messages.len().max(1))?;
        choice.is_multiple_of(5).then_some(*target)
    }

    /// Edits, deletes, pins or reacts to one of the newest messages. Some users try to edit the messages of others.
    fn change_message(&mut self, client: usize, conversation: ConversationId) {
        let me = self.clients[client].user;
        let mut messages = self.clients[client].store.messages(conversation);
        let what = self.rng.up_to(5);
        if what <= 2 && self.rng.up_to(15) > 0 {
            messages.retain(|(_, sender)| *sender == me);
        }
        if messages.is_empty() {
            return;
        }
        let (target, _) = messages[self.rng.up_to(messages.len() as u64 - 1) as usize];
        let (id, on) = (self.mint(), self.rng.up_to(3) > 0);
        let doing = match what {
            0 | 1 => Doing::Edit { conversation, id, target, text: format!("edited {}", self.now) },
            2 => Doing::Delete { conversation, id, target },
            3 => Doing::Pin { conversation, id, target, on },
            _ => {
                let emoji = EMOJI[(id.as_uuid().as_u128() % 2) as usize];
                Doing::React { conversation, id, target, emoji, on }
            }
        };
        self.does(client, doing);
    }

    /// Adds, removes, promotes or leaves; the server may not agree.
    fn change_members(&mut self, client: usize, conversation: ConversationId) {
        let me = self.clients[client].user;
        let other = self.users[self.rng.up_to(self.users.len() as u64 - 1) as usize];
        let silent = self.crowd.get(self.rng.up_to(self.crowd.len() as u64) as usize).copied();
        let (user, change, role) = match self.rng.up_to(7) {
            0 => (me, MemberChange::Left, None),
            1 => (other, MemberChange::Role, Some(Role::Admin)),
            2..=4 => (silent.unwrap_or(other), MemberChange::Added, None),
            5 => (silent.unwrap_or(other), MemberChange::Removed, None),
            _ => (other, MemberChange::Removed, None),
        };
        let id = self.mint();
        self.does(client, Doing::Member { conversation, id, body: MemberBody { user, change, role } });
    }

    pub(super) fn mint(&mut self) -> EventId {
        let bytes = (u128::from(self.rng.number()) << 64) | u128::from(self.rng.number());
        EventId::from_uuid(uuid::Builder::from_u128(bytes).with_version(uuid::Version::SortRand).into_uuid())
    }

    fn mark_read(&mut self, client: usize, conversation: ConversationId) {
        let one = &mut self.clients[client];
        let high = one.store.ranges(conversation).and_then(|all| all.last().map(|range| range.high));
        if let Some(high) = high.filter(|high| *high > Seq::ZERO) {
            let read = one.read.entry(conversation).or_default();
            *read = high.max(*read);
            let change = StateChange { read: Some(high), ..StateChange::of(conversation) };
            self.does(client, Doing::Own(change));
        }
    }

    /// Whether the user is in a conversation, and the server knows it.
    fn is_in(&self, client: usize, conversation: ConversationId) -> bool {
        let user = self.clients[client].user;
        let server = self.server.conversations.get(&conversation);
        server.is_some_and(|one| one.members.contains_key(&user) && one.is_shown_to(user))
    }

    pub(super) fn hide(&mut self, client: usize, conversation: ConversationId) {
        if self.is_in(client, conversation) {
            let change = StateChange { hidden: Some(true), ..StateChange::of(conversation) };
            self.does(client, Doing::Own(change));
        }
    }

    /// Writes, where that is not held by something that waits for the user.
    pub(super) fn write_to_members(&mut self, client: usize, conversation: ConversationId) {
        let waits =
            self.clients[client].store.outbox().iter().any(|(_, row)| row.conversation == conversation);
        if self.is_in(client, conversation) && !waits {
            let id = self.mint();
            self.does(client, Doing::Write { conversation, id, text: "news".to_owned(), reply_to: None });
        }
    }

    /// Marks what the user is in as unread, or not.
    pub(super) fn mark_unread(&mut self, client: usize, conversation: ConversationId, on: bool) {
        let user = self.clients[client].user;
        if self.is_in(client, conversation) && !self.server.own(user, conversation).hidden {
            let change = StateChange { unread_flag: Some(on), ..StateChange::of(conversation) };
            self.does(client, Doing::Own(change));
        }
    }

    /// O7: what was not tried may be taken back.
    fn cancel_untried(&mut self, client: usize) {
        let rows = self.clients[client].store.outbox();
        let untried = rows.iter().find(|(_, row)| {
            row.tries == 0 && row.state == RowState::Queued && matches!(row.op, OutboxOp::Event(_))
        });
        if let Some(item) = untried.map(|(item, _)| *item) {
            self.does(client, Doing::Cancel(item));
        }
    }

    /// The user says that it is to go after all (O5).
    pub(super) fn retry(&mut self, client: usize, item: i64) {
        let rows = self.clients[client].store.outbox();
        let row = rows.into_iter().find(|(other, _)| *other == item).map(|(_, row)| row);
        // Whatever was parked for the same reason goes with it.
        if let Some(row) = row {
            let rows = self.clients[client].store.outbox();
            for (_, other) in rows {
                if let OutboxOp::Event(event) = &other.op
                    && other.conversation == row.conversation
                    && other.state == row.state
                {
                    self.clients[client].retried.insert(event.id);
                }
            }
            self.does(client, Doing::Retry(item));
        }
    }

    pub(super) fn cancel(&mut self, client: usize, item: i64) {
        self.does(client, Doing::Cancel(item));
    }

    /// Something that the user does while the store is busy with what the machine has decided.
    pub(super) fn act_meanwhile(&mut self, client: usize, until: u64) {
        for _ in 0..self.rng.up_to(2) {
            let at = self.now + self.rng.up_to(until - self.now);
            self.at(at, Happening::User { client });
        }
    }
}

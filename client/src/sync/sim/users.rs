//! What the users do.

use super::{
    store::{RowState, what},
    world::World,
};
use crate::sync::{
    Input, Want,
    ops::{OutboxOp, OutboxUpdate, OutboxWhat},
};
use kith_protocol::{
    ConversationId, EventId, NewEvent, Seq,
    event::{MemberBody, MemberChange, Role},
    frame::{ConversationKind, DraftChange, Open, StateChange},
};
use serde_json::json;

impl World {
    pub(super) fn act(&mut self, client: usize) {
        self.sign_in(client);
        let user = self.clients[client].user;
        let pick = self.rng.up_to(self.conversations.len() as u64 - 1) as usize;
        let (id, kind, members) = self.conversations[pick].clone();
        let known = self.clients[client].store.conversations.contains_key(&id);
        if !members.contains(&user) && !known {
            return;
        }
        let opening = self.clients[client]
            .store
            .outbox
            .values()
            .any(|row| row.conversation == id && what(&row.op) == OutboxWhat::Open);
        if !known && !opening {
            let members = members.into_iter().filter(|member| *member != user).collect();
            let open = Open { conversation: id, kind, members, title: None, context: None, first: None };
            self.push(client, id, OutboxOp::Open(open));
        }
        match self.rng.up_to(13) {
            0..=5 => {
                for _ in 0..=self.rng.up_to(3) {
                    self.write_message(client, id);
                }
            }
            6 => self.mark_read(client, id),
            7 => {
                let pin = Some(self.rng.up_to(1) == 1);
                self.push(client, id, OutboxOp::State(StateChange { pin, ..StateChange::of(id) }));
            }
            8 => {
                let draft = Some(DraftChange { text: self.now.to_string(), base: 0 });
                self.push(client, id, OutboxOp::State(StateChange { draft, ..StateChange::of(id) }));
            }
            9 => self.cancel_untried(client),
            10 => self.feed(client, Input::Focus(vec![id])),
            11 | 12 if kind == ConversationKind::Group => self.change_members(client, id),
            _ => {
                let oldest = self.clients[client]
                    .store
                    .conversations
                    .get(&id)
                    .and_then(|k| k.ranges.all().first().copied());
                if let Some(range) = oldest {
                    self.feed(client, Input::Want(Want::Older { conversation: id, before: range.low }));
                }
            }
        }
    }

    fn push(&mut self, client: usize, conversation: ConversationId, op: OutboxOp) {
        let wall = self.clients[client].wall(self.now);
        let store = &mut self.clients[client].store;
        store.wall = Some(wall);
        let entry = store.push(conversation, op);
        self.feed(client, Input::Outbox(OutboxUpdate { changed: vec![entry], removed: Vec::new() }));
    }

    fn write_message(&mut self, client: usize, conversation: ConversationId) {
        // The server refuses an empty one.
        let text = if self.rng.up_to(24) == 0 { "" } else { "hello" };
        let last = self.clients[client].messages.get(&conversation).copied();
        if self.rng.up_to(4) == 0 && last.is_some() {
            let body = json!({ "emoji": "+", "on": true });
            self.write_event(client, conversation, "reaction", last, body);
        } else {
            let id = self.write_event(client, conversation, "message", None, json!({ "text": text }));
            self.clients[client].messages.insert(conversation, id);
        }
    }

    fn write_event(
        &mut self,
        client: usize,
        conversation: ConversationId,
        kind: &str,
        target: Option<EventId>,
        body: serde_json::Value,
    ) -> EventId {
        let id = self.mint();
        let kind = kind.to_owned();
        let event = NewEvent { id, kind, target, body, written_at: None, resubmitted: None };
        self.clients[client].written.push((conversation, id));
        self.push(client, conversation, OutboxOp::Event(event));
        id
    }

    /// Adds, removes, promotes or leaves; the server may not agree.
    fn change_members(&mut self, client: usize, conversation: ConversationId) {
        let me = self.clients[client].user;
        let other = self.users[self.rng.up_to(self.users.len() as u64 - 1) as usize];
        let (user, change, role) = match self.rng.up_to(7) {
            0 => (me, MemberChange::Left, None),
            1 => (other, MemberChange::Role, Some(Role::Admin)),
            2..=4 => (other, MemberChange::Added, None),
            _ => (other, MemberChange::Removed, None),
        };
        let body = MemberBody { user, change, role };
        let body = serde_json::to_value(body).expect("plain data");
        self.write_event(client, conversation, "member", None, body);
    }

    pub(super) fn mint(&mut self) -> EventId {
        let bytes = (u128::from(self.rng.number()) << 64) | u128::from(self.rng.number());
        EventId::from_uuid(uuid::Builder::from_u128(bytes).with_version(uuid::Version::SortRand).into_uuid())
    }

    fn mark_read(&mut self, client: usize, conversation: ConversationId) {
        let one = &mut self.clients[client];
        let high = one.store.conversations.get(&conversation).map_or(Seq::ZERO, |kept| kept.ranges.high());
        if high > Seq::ZERO {
            let read = one.read.entry(conversation).or_default();
            *read = high.max(*read);
            let change = StateChange { read: Some(high), ..StateChange::of(conversation) };
            self.push(client, conversation, OutboxOp::State(change));
        }
    }

    /// O7: what was not tried may be taken back.
    fn cancel_untried(&mut self, client: usize) {
        let untried = self.clients[client].store.outbox.iter().find(|(_, row)| {
            row.tries == 0 && row.state == RowState::Queued && matches!(row.op, OutboxOp::Event(_))
        });
        if let Some(item) = untried.map(|(item, _)| *item) {
            self.cancel(client, item);
        }
    }

    /// The user says that it is to go after all (O5).
    pub(super) fn retry(&mut self, client: usize, item: i64) {
        let written_at = self.clients[client].wall(self.now);
        let one = &mut self.clients[client];
        if let Some(row) = one.store.outbox.get_mut(&item) {
            (row.state, row.written_at) = (RowState::Queued, written_at);
            if let OutboxOp::Event(event) = &row.op {
                one.retried.insert(event.id);
            }
            let changed = vec![one.store.entry(item)];
            self.feed(client, Input::Outbox(OutboxUpdate { changed, removed: Vec::new() }));
        }
    }

    pub(super) fn cancel(&mut self, client: usize, item: i64) {
        let Some(row) = self.clients[client].store.outbox.remove(&item) else { return };
        if let OutboxOp::Event(event) = row.op {
            self.clients[client].cancelled.insert(event.id, row.tries > 0);
        }
        self.feed(client, Input::Outbox(OutboxUpdate { changed: Vec::new(), removed: vec![item] }));
    }
}

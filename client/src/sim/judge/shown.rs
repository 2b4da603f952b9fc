//! What people see, by the real store's own reading: unread numbers, titles, what messages have become, announcements.

use super::super::world::World;
use crate::{store::disk::Disk, view::MessageView};
use kith_model::Conversation;
use kith_protocol::{ConversationId, Event, EventId, Seq, UserId};
use kith_sync::{
    memory::{MemoryStore, Row, what},
    ops::OutboxWhat,
};
use std::collections::{BTreeMap, BTreeSet};

/// What a message has become, counted from the log alone.
#[derive(Debug, PartialEq, Default)]
struct Outcome {
    text: String,
    is_edited: bool,
    is_deleted: bool,
    is_pinned: bool,
    reactions: u64,
    is_mine: bool,
    answers: Option<String>,
}

impl World {
    pub(super) fn shown_is_the_servers(&self, client: usize, image: &MemoryStore) {
        let Some(disk) = self.clients[client].store.as_disk() else { return };
        let user = self.clients[client].user;
        let listed: BTreeSet<ConversationId> = disk.views().iter().map(|view| view.id).collect();
        for (id, conversation) in &self.server.conversations {
            let is_in = conversation.members.contains_key(&user) && conversation.is_shown_to(user);
            let is_hidden = is_in && self.server.own(user, *id).hidden;
            let is_listed = listed.contains(id);
            // An opening that was refused here is shown, though another device has hidden the conversation.
            let is_opening = |row: &Row| row.conversation == *id && what(&row.op) == OutboxWhat::Open;
            let is_local = image.outbox.values().any(is_opening);
            assert!(
                !is_in || is_listed != is_hidden || (is_listed && is_local),
                "seed {}: list, client {client}, {id}",
                self.seed
            );
        }
        for (id, conversation) in self.followed(client) {
            self.messages_are_the_logs(client, image, disk, (*id, conversation));
            if conversation.members.contains_key(&user) {
                self.numbers_are_the_logs(client, disk, *id, conversation);
                self.announced_once(client, *id, conversation);
            }
        }
    }

    /// I3, W9: a timeline shows every message as the log makes it.
    fn messages_are_the_logs(
        &self,
        client: usize,
        image: &MemoryStore,
        disk: &Disk,
        (id, conversation): (ConversationId, &Conversation),
    ) {
        // What waits in the outbox is laid over what the log says.
        if image.outbox.values().any(|row| row.conversation == id) {
            return;
        }
        let user = self.clients[client].user;
        let seen: Vec<&Event> = conversation.log.iter().filter(|e| conversation.shows(user, e.seq)).collect();
        let differs = |event: &&&Event| {
            self.is_undeleted(event)
                || self.has_two_texts(event)
                || (event.redacted && !super::sees_delete(conversation, user, event))
        };
        if seen.iter().any(|event| differs(&event)) {
            return;
        }
        let expected: BTreeMap<EventId, Outcome> =
            seen.iter().filter(|e| e.kind == "message").map(|e| (e.id, outcome_of(e, &seen, user))).collect();
        let shown = disk.timeline(id);
        let shown = shown.into_iter().filter(|message| !message.lost);
        let shown: BTreeMap<EventId, Outcome> =
            shown.map(|message| (message.id, as_shown(message))).collect();
        assert_eq!(shown, expected, "seed {}: W9, client {client} shows something else", self.seed);
    }

    /// W7, by counting; and the title.
    fn numbers_are_the_logs(
        &self,
        client: usize,
        disk: &Disk,
        id: ConversationId,
        conversation: &Conversation,
    ) {
        let (user, seed) = (self.clients[client].user, self.seed);
        let view = disk.view(id);
        let state = &self.server.states[&(user, id)].own;
        let is_lost = self.lost.states.contains(&(user, id)) || self.lost.from.contains_key(&id);
        if !is_lost {
            let unread = conversation.log.iter().filter(|event| {
                let is_unread = event.seq > state.read && event.sender != user && !event.redacted;
                is_unread && event.kind == "message" && conversation.shows(user, event.seq)
            });
            assert_eq!(
                u64::from(view.unread),
                unread.count() as u64,
                "seed {seed}: I7, client {client}, unread"
            );
            let told = self.server.own(user, id).unread;
            assert_eq!(u64::from(view.unread), told, "seed {seed}: W7, client {client}, the server's unread");
        }
        let newest =
            conversation.log.iter().rev().find(|e| e.kind == "message" && conversation.shows(user, e.seq));
        let preview = view.preview.as_ref().map(|preview| preview.deleted);
        if let (Some(newest), Some(deleted)) = (newest, preview) {
            let is_own_unsent = disk.outbox().iter().any(|(_, row)| row.conversation == id);
            // A delete that one may not see takes nothing from what one had (R6).
            let keeps_text = newest.redacted && !super::sees_delete(conversation, user, newest);
            let is_excused = is_own_unsent || keeps_text || self.is_undeleted(newest);
            assert!(is_excused || deleted == newest.redacted, "seed {seed}: preview, client {client}");
        }
        assert_eq!(
            view.member_count as usize,
            conversation.members.len(),
            "seed {seed}: members, client {client}"
        );
    }

    /// No message is announced twice, and one that is the newest event of the log is: what comes below what was known
    /// before is not (C2).
    fn announced_once(&self, client: usize, id: ConversationId, conversation: &Conversation) {
        let (one, seed) = (&self.clients[client], self.seed);
        if one.power_cuts > 0 || self.lost.from.contains_key(&id) {
            return; // what was forgotten is news once more
        }
        let from = one.known_from.get(&id).copied().unwrap_or_default();
        let is_news = |event: &&Event| {
            let is_seen = event.kind == "message" && event.sender != one.user && event.seq > from;
            is_seen && conversation.shows(one.user, event.seq)
        };
        let news = conversation.log.iter().filter(is_news).count() as u64;
        let announced = one.announced.get(&id).copied().unwrap_or_default();
        assert!(announced <= news, "seed {seed}: announced, client {client}: {announced} of {news}");
        let ends_with_news = conversation.log.last().is_some_and(|event| is_news(&event));
        let is_untouched = self.clients.iter().filter(|other| other.user == one.user).all(|other| {
            !other.read.contains_key(&id) && other.said.get(&id).is_none_or(|said| said.mute.is_none())
        });
        let is_whole = conversation.log.iter().all(|event| event.kind != "delete");
        let was_always_in = conversation.visible[&one.user] == [(Seq(1), None)];
        if is_untouched && is_whole && was_always_in && self.counts.copies == 0 && ends_with_news {
            assert!(announced > 0, "seed {seed}: announced, client {client}: nothing of {news}");
        }
    }
}

/// What a message has become by what a reader sees (W9): nothing counts after a delete, the last edit wins, the last
/// reaction of each user, the last pin.
fn outcome_of(message: &Event, seen: &[&Event], user: UserId) -> Outcome {
    if message.redacted {
        return Outcome { is_deleted: true, ..Outcome::default() };
    }
    let text_in = |event: &Event| {
        let text = event.body.as_ref().and_then(|body| body["text"].as_str());
        text.unwrap_or_default().to_owned()
    };
    let emoji_in = |event: &Event| event.body.as_ref().map(|body| body["emoji"].to_string());
    let mut outcome = Outcome { text: text_in(message), ..Outcome::default() };
    let answers = message.body.as_ref().and_then(|body| body["reply_to"].as_str()).map(str::to_owned);
    let mut by = BTreeSet::new();
    for event in seen.iter().filter(|event| event.target == Some(message.id)) {
        let is_on = event.body.as_ref().is_some_and(|body| body["on"] == true);
        match event.kind.as_str() {
            "edit" => (outcome.text, outcome.is_edited) = (text_in(event), true),
            "pin" => outcome.is_pinned = is_on,
            "reaction" if is_on => drop(by.insert((emoji_in(event), event.sender))),
            "reaction" => drop(by.remove(&(emoji_in(event), event.sender))),
            _ => {}
        }
    }
    Outcome { reactions: by.len() as u64, is_mine: by.iter().any(|(_, by)| *by == user), answers, ..outcome }
}

fn as_shown(message: MessageView) -> Outcome {
    Outcome {
        reactions: message.reactions.iter().map(|reaction| u64::from(reaction.count)).sum(),
        is_mine: message.reactions.iter().any(|reaction| reaction.mine),
        answers: message.reply_to.filter(|_| !message.deleted).map(|quote| quote.id.to_string()),
        text: message.text,
        is_edited: message.edited,
        is_deleted: message.deleted,
        is_pinned: message.pinned,
    }
}

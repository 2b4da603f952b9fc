//! Heads: where every conversation of a user stands (S3).

use super::{Conversation, Server};
use kith_protocol::{
    Chain, ConversationId, Seq, ServerFrame, TimestampMs, UserId,
    frame::{Heads, HeadsItem, HeadsMember},
    limits,
};
use std::cmp::Reverse;

impl Server {
    /// All heads of a user, the one with the newest event first.
    pub(crate) fn heads(&mut self, user: UserId) -> Heads {
        self.heads_since(user, None)
    }

    /// The same, of those only in which something differs from what came with the cursor (S5).
    pub(crate) fn heads_since(&mut self, user: UserId, cursor: Option<&str>) -> Heads {
        let mine = self.conversations.iter().filter(|(_, one)| one.is_shown_to(user));
        let mut items: Vec<HeadsItem> = mine.map(|(id, _)| self.item(user, *id)).collect();
        items.sort_by_key(|item| Reverse((item.last_ts, item.own.conversation)));
        let told = cursor.and_then(|cursor| self.cursors.get(&(user, cursor.to_owned()))).cloned();
        self.last_cursor += 1;
        let next = format!("after {}", self.last_cursor);
        self.cursors.insert((user, next.clone()), items.clone());
        items.retain(|item| told.as_ref().is_none_or(|told| !told.contains(item)));
        let (hidden, items): (Vec<_>, Vec<_>) = items.into_iter().partition(|item| item.own.hidden);
        let gone = hidden.into_iter().map(|item| item.own.conversation).collect();
        Heads { full: told.is_none(), cursor: Some(next), gone, ..self.some_heads(user, items) }
    }

    /// `heads {full: false}`
    pub(crate) fn some_heads(&self, user: UserId, items: Vec<HeadsItem>) -> Heads {
        Heads {
            reply_to: None,
            full: false,
            more: false,
            user_seq: self.user_seqs.get(&user).copied().unwrap_or(0),
            cursor: None,
            items,
            gone: Vec::new(),
        }
    }

    /// Tells of a conversation before its first event.
    pub(crate) fn announce(&mut self, user: UserId, conversation: ConversationId) {
        let items = vec![self.item(user, conversation)];
        let frame = self.some_heads(user, items);
        self.push(user, &ServerFrame::Heads(frame));
    }

    /// A former member's item ends where the last interval does, and tells nothing of the members there are.
    pub(crate) fn item(&self, user: UserId, id: ConversationId) -> HeadsItem {
        let conversation = &self.conversations[&id];
        let head = conversation.head_of(user);
        let last = conversation.at(head);
        let members = conversation.members.iter().map(|(member, role)| HeadsMember {
            user: *member,
            role: *role,
            profile_version: 1,
        });
        let visible = conversation.visible[&user].clone();
        let is_in = conversation.members.contains_key(&user);
        let count = if is_in { conversation.members.len() } else { 0 };
        let is_listed = is_in && count <= limits::HEADS_MEMBERS_MAX;
        HeadsItem {
            own: self.own(user, id),
            kind: conversation.kind,
            head,
            chain: last.map_or(Chain::empty(id), |event| event.chain),
            countable: last.map_or(0, |event| event.countable),
            last_ts: last.map_or(TimestampMs(0), |event| event.ts),
            floor: visible.first().map_or(Seq(1), |(from, _)| *from),
            visible,
            members: is_listed.then(|| members.collect()),
            member_count: u32::try_from(count).unwrap_or_default(),
            title: title_at(conversation, head),
            context: conversation.context.clone(),
        }
    }
}

/// The title as it was at a seq: what was changed outside of an interval is not told (R6).
fn title_at(conversation: &Conversation, seq: Seq) -> Option<String> {
    let mut titles = conversation.log.iter().filter(|event| event.kind == "title" && event.seq <= seq);
    let newest =
        titles.next_back().and_then(|event| event.body.as_ref()).and_then(|body| body["text"].as_str());
    newest.map_or(conversation.title.clone(), |text| Some(text.to_owned()).filter(|text| !text.is_empty()))
}

/// Splits heads into frames of at most `items_max` items; cursor and hidden conversations come with the last.
pub(crate) fn parts(mut heads: Heads, items_max: usize) -> Vec<ServerFrame> {
    let mut frames = Vec::new();
    while heads.items.len() > items_max {
        let rest = heads.items.split_off(items_max);
        let items = std::mem::replace(&mut heads.items, rest);
        frames.push(ServerFrame::Heads(Heads {
            reply_to: heads.reply_to,
            full: heads.full,
            more: true,
            user_seq: heads.user_seq,
            cursor: None,
            items,
            gone: Vec::new(),
        }));
    }
    frames.push(ServerFrame::Heads(heads));
    frames
}

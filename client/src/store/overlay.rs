//! What waits in the outbox, laid over what the log says: shown at once, and undone by itself when it is cancelled.

use super::{Db, messages::Message, project::EmojiUsers, sql};
use crate::ClientError;
use kith_protocol::{
    EventContent, EventId, NewEvent, UserId,
    event::{MemberBody, ReactionBody},
};
use std::collections::HashMap;

/// The pending changes of one conversation's messages.
pub(super) struct Overlay {
    me: UserId,
    by_target: HashMap<EventId, Vec<EventContent>>,
}

impl Overlay {
    pub(super) fn of(db: &Db<'_>, cid: i64) -> Result<Self, ClientError> {
        let mut by_target: HashMap<EventId, Vec<EventContent>> = HashMap::new();
        for content in pending(db, cid)? {
            if let Some(target) = content.target() {
                by_target.entry(target).or_default().push(content);
            }
        }
        Ok(Self { me: db.me, by_target })
    }

    /// Changes a message as the outbox will. Returns whether something waits.
    pub(super) fn lay_over(&self, message: &mut Message) -> bool {
        let Some(changes) = self.by_target.get(&message.id) else { return false };
        for change in changes {
            match change {
                EventContent::Edit { text, .. } if !message.is_deleted => {
                    message.text.clone_from(text);
                    message.is_edited = true;
                }
                EventContent::Delete { .. } => {
                    message.is_deleted = true;
                    message.is_pinned = false;
                    message.text.clear();
                    message.reactions.clear();
                }
                EventContent::Pin { on, .. } => message.is_pinned = *on,
                EventContent::Reaction { reaction, .. } => react(&mut message.reactions, self.me, reaction),
                _ => {}
            }
        }
        true
    }
}

fn react(reactions: &mut Vec<EmojiUsers>, me: UserId, change: &ReactionBody) {
    let known = reactions.iter_mut().find(|reaction| reaction.emoji == change.emoji);
    match (known, change.on) {
        (Some(known), true) if !known.users.contains(&me) => {
            known.users.push(me);
            known.count += 1;
        }
        (Some(known), false) if known.users.contains(&me) => {
            known.users.retain(|user| *user != me);
            known.count = known.count.saturating_sub(1);
        }
        (None, true) => reactions.push(EmojiUsers { emoji: change.emoji.clone(), count: 1, users: vec![me] }),
        _ => {}
    }
    reactions.retain(|reaction| reaction.count > 0);
}

/// The events of the outbox that are not messages, in order; refused ones have no effect.
fn pending(db: &Db<'_>, cid: i64) -> Result<Vec<EventContent>, ClientError> {
    let mut query = db.conn.prepare_cached(
        "SELECT content FROM outbox WHERE cid = ?1 AND kind NOT IN ('message', 'open', 'state') AND state <> 'parked'
         ORDER BY item",
    )?;
    let events = query.query_map([cid], |row| sql::json::<NewEvent>(row, "content"))?;
    let mut contents = Vec::new();
    for event in events {
        let event = event?;
        contents.extend(EventContent::parse(&event.kind, event.target, &event.body));
    }
    Ok(contents)
}

/// Changes of membership that wait.
pub(super) fn member_changes(db: &Db<'_>, cid: i64) -> Result<Vec<MemberBody>, ClientError> {
    let of_members = |content| match content {
        EventContent::Member(body) => Some(body),
        _ => None,
    };
    Ok(pending(db, cid)?.into_iter().filter_map(of_members).collect())
}

/// A title that waits.
pub(super) fn title(db: &Db<'_>, cid: i64) -> Result<Option<String>, ClientError> {
    let of_title = |content| match content {
        EventContent::Title(body) => Some(body.text),
        _ => None,
    };
    Ok(pending(db, cid)?.into_iter().filter_map(of_title).next_back())
}

//! Who may add which event.

use super::{Conversation, Mutation, Server, pages::reactions};
use kith_protocol::{
    ConversationId, ErrorCode, Event, EventContent, EventId, UserId,
    event::{MemberBody, MemberChange, ReactionBody, Role},
    frame::ConversationKind,
    limits,
};
use std::collections::BTreeSet;

impl Server {
    /// Somebody blocks another person, or ends that.
    pub fn block(&mut self, user: UserId, other: UserId, on: bool) {
        if on {
            self.blocks.insert((user, other));
        } else {
            self.blocks.remove(&(user, other));
        }
    }

    /// Whether one of two people has blocked the other.
    pub(crate) fn is_blocked(&self, one: UserId, other: UserId) -> bool {
        self.blocks.contains(&(one, other)) || self.blocks.contains(&(other, one))
    }

    /// Whether it is direct, and one of the two has blocked the other.
    pub(crate) fn is_parted(&self, conversation: &Conversation) -> bool {
        let mut two = conversation.members.keys();
        conversation.kind == ConversationKind::Direct
            && two.next().zip(two.next()).is_some_and(|(one, other)| self.is_blocked(*one, *other))
    }

    /// Whether `sender` may add this event.
    pub(crate) fn may_add(
        &self,
        id: ConversationId,
        sender: UserId,
        content: &EventContent,
    ) -> Result<(), ErrorCode> {
        let conversation = &self.conversations[&id];
        let role = *conversation.members.get(&sender).ok_or(ErrorCode::NotMember)?;
        let is_group = conversation.kind == ConversationKind::Group;
        if self.is_parted(conversation) && !matches!(content, EventContent::Delete { .. }) {
            return Err(ErrorCode::NotAllowed);
        }
        let allowed = match content {
            EventContent::Message(message) => match message.reply_to {
                Some(id) => conversation.target(sender, id).map(|_| true)?,
                None => true,
            },
            EventContent::Edit { target, .. } => {
                let is_own = conversation.target(sender, *target)?.sender == sender;
                if is_own {
                    return conversation.may_edit(*target);
                }
                self.has(Mutation::AllMayEdit)
            }
            EventContent::Delete { target } => {
                let is_own = conversation.target(sender, *target)?.sender == sender;
                is_own || (is_group && role.may_manage())
            }
            EventContent::Reaction { target, reaction } => {
                conversation.target(sender, *target)?;
                return conversation.may_react(*target, sender, reaction);
            }
            EventContent::Pin { target, on } => {
                conversation.target(sender, *target)?;
                return if *on { conversation.may_pin(*target) } else { Ok(()) };
            }
            _ if !is_group => false,
            EventContent::Member(member) => return self.may_change(conversation, (sender, role), member),
            EventContent::Title(_) => true,
            EventContent::Settings(_) => role.may_manage(),
        };
        if allowed { Ok(()) } else { Err(ErrorCode::NotAllowed) }
    }

    fn may_change(
        &self,
        conversation: &Conversation,
        (sender, role): (UserId, Role),
        member: &MemberBody,
    ) -> Result<(), ErrorCode> {
        let present = conversation.members.get(&member.user);
        let touches_owner = present == Some(&Role::Owner) || member.role == Some(Role::Owner);
        match member.change {
            MemberChange::Left if member.user == sender => Ok(()),
            MemberChange::Left => Err(ErrorCode::NotAllowed),
            _ if !role.may_manage() || (touches_owner && role != Role::Owner) => Err(ErrorCode::NotAllowed),
            MemberChange::Added if !self.users.contains(&member.user) => Err(ErrorCode::TargetMissing),
            MemberChange::Added if self.is_blocked(sender, member.user) => Err(ErrorCode::TargetMissing),
            MemberChange::Added if present.is_some() => Err(ErrorCode::Invalid),
            MemberChange::Added if conversation.members.len() >= limits::GROUP_MEMBERS_MAX => {
                Err(ErrorCode::TooLarge)
            }
            MemberChange::Added => Ok(()),
            MemberChange::Removed if member.user == sender => Err(ErrorCode::Invalid),
            MemberChange::Removed | MemberChange::Role if present.is_none() => Err(ErrorCode::TargetMissing),
            MemberChange::Removed | MemberChange::Role => Ok(()),
        }
    }
}

/// The emoji of reactions.
fn of<'a>(reactions: impl IntoIterator<Item = &'a (String, UserId)>) -> BTreeSet<&'a str> {
    reactions.into_iter().map(|(emoji, _)| emoji.as_str()).collect()
}

impl Conversation {
    /// A message that `user` sees and that was not deleted.
    fn target(&self, user: UserId, id: EventId) -> Result<&Event, ErrorCode> {
        let message = self.by_id(id).filter(|event| event.kind == "message" && !event.redacted);
        message.filter(|event| self.shows(user, event.seq)).ok_or(ErrorCode::TargetMissing)
    }

    /// At most [`limits::MESSAGE_EMOJI_MAX`] different emoji on a message, [`limits::PERSON_EMOJI_MAX`] of them one person's.
    fn may_react(&self, target: EventId, user: UserId, change: &ReactionBody) -> Result<(), ErrorCode> {
        let on = reactions(self.log.iter().filter(|event| event.target == Some(target)));
        let own: BTreeSet<&str> = of(on.iter().filter(|(_, sender)| *sender == user));
        let all: BTreeSet<&str> = of(&on);
        let emoji = change.emoji.as_str();
        let is_too_many = !own.contains(emoji)
            && (own.len() >= limits::PERSON_EMOJI_MAX
                || (!all.contains(emoji) && all.len() >= limits::MESSAGE_EMOJI_MAX));
        if change.on && is_too_many { Err(ErrorCode::TooLarge) } else { Ok(()) }
    }

    /// At most [`limits::MESSAGE_EDITS_MAX`] edits of a message.
    fn may_edit(&self, target: EventId) -> Result<(), ErrorCode> {
        let edits = self.log.iter().filter(|event| event.kind == "edit" && event.target == Some(target));
        if edits.count() < limits::MESSAGE_EDITS_MAX { Ok(()) } else { Err(ErrorCode::TooLarge) }
    }

    /// At most [`limits::CONVERSATION_PINS_MAX`] messages that were not deleted.
    fn may_pin(&self, target: EventId) -> Result<(), ErrorCode> {
        let mut pinned = BTreeSet::new();
        for event in &self.log {
            match (event.kind.as_str(), event.target) {
                ("pin", Some(id)) if event.body.as_ref().is_some_and(|body| body["on"] == true) => {
                    pinned.insert(id);
                }
                ("pin" | "delete", Some(id)) => {
                    pinned.remove(&id);
                }
                _ => {}
            }
        }
        let has_room = pinned.contains(&target) || pinned.len() < limits::CONVERSATION_PINS_MAX;
        if has_room { Ok(()) } else { Err(ErrorCode::TooLarge) }
    }
}

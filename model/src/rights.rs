//! Who may add which event.

use super::{Conversation, Server};
use kith_protocol::{
    ConversationId, ErrorCode, Event, EventContent, EventId, UserId,
    event::{MemberBody, MemberChange, Role},
    frame::ConversationKind,
    limits,
};

impl Server {
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
        let allowed = match content {
            EventContent::Message(message) => match message.reply_to {
                Some(id) => conversation.target(sender, id).map(|_| true)?,
                None => true,
            },
            EventContent::Edit { target, .. } => conversation.target(sender, *target)?.sender == sender,
            EventContent::Delete { target } => {
                let is_own = conversation.target(sender, *target)?.sender == sender;
                is_own || (is_group && role.may_manage())
            }
            EventContent::Reaction { target, .. } | EventContent::Pin { target, .. } => {
                conversation.target(sender, *target).map(|_| true)?
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

impl Conversation {
    /// A message that `user` sees and that was not deleted.
    fn target(&self, user: UserId, id: EventId) -> Result<&Event, ErrorCode> {
        let message = self.by_id(id).filter(|event| event.kind == "message" && !event.redacted);
        message.filter(|event| self.shows(user, event.seq)).ok_or(ErrorCode::TargetMissing)
    }
}

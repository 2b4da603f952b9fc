//! Starting a conversation, or finding it.

use super::{Answer, Conversation, Kept, Refused, Server, publish::New};
use kith_protocol::{
    ConversationId, ErrorCode, Seq, ServerFrame, UserId,
    event::Role,
    frame::{ConversationKind, Open},
    limits,
    text::check_title,
};
use std::collections::{BTreeMap, BTreeSet};

impl Server {
    /// Creates the conversation or finds it, and publishes the first event. Contexts are taken as they are.
    pub fn open_as(&mut self, user: UserId, open: &Open) -> Result<ServerFrame, ErrorCode> {
        let abilities = self.offered.clone();
        self.open(user, open, &abilities).map_err(|refused| refused.code)
    }

    pub(crate) fn open(&mut self, user: UserId, open: &Open, abilities: &[String]) -> Answer {
        let id = open.conversation;
        let first = open.first.as_ref().map(|first| New::read(first, abilities)).transpose()?;
        let others: BTreeSet<UserId> = open.members.iter().copied().filter(|one| *one != user).collect();
        check(user, open, &others)?;
        match self.conversations.get(&id) {
            Some(known) if known.kind == open.kind && known.members.contains_key(&user) => {}
            Some(_) => return Err(ErrorCode::IdConflict.into()),
            None if others.iter().all(|one| self.users.contains(one) && !self.is_blocked(user, *one)) => {
                self.create(user, open, others);
            }
            None => return Err(ErrorCode::TargetMissing.into()),
        }
        if let Some(first) = first {
            self.publish(user, id, first)?;
        }
        let items = vec![self.item(user, id)];
        Ok(ServerFrame::Heads(self.some_heads(user, items)))
    }

    fn create(&mut self, user: UserId, open: &Open, others: BTreeSet<UserId>) {
        let id = open.conversation;
        let is_group = open.kind == ConversationKind::Group;
        let role = |member: UserId| if is_group && member == user { Role::Owner } else { Role::Member };
        let users: BTreeSet<UserId> = others.iter().copied().chain([user]).collect();
        for member in &users {
            let mut kept = Kept::fresh(id);
            kept.own.version = self.raise_user_seq(*member);
            self.states.insert((*member, id), kept);
        }
        let conversation = Conversation {
            kind: open.kind,
            creator: user,
            title: open.title.clone().filter(|title| !title.is_empty()),
            context: open.context.clone(),
            members: users.iter().map(|member| (*member, role(*member))).collect(),
            visible: users.iter().map(|member| (*member, vec![(Seq(1), None)])).collect(),
            log: Vec::new(),
            hashes: BTreeMap::new(),
        };
        self.conversations.insert(id, conversation);
        let told = users.into_iter().filter(|member| is_group || *member == user);
        for member in told {
            self.announce(member, id);
        }
    }
}

fn check(user: UserId, open: &Open, others: &BTreeSet<UserId>) -> Result<(), Refused> {
    let title = open.title.as_deref().unwrap_or_default();
    let mut people = others.iter();
    let fits = match (open.kind, people.next(), people.next()) {
        (ConversationKind::Direct, Some(other), None) => {
            open.conversation == ConversationId::direct(user, *other) && title.is_empty()
        }
        (ConversationKind::Direct, ..) => false,
        (ConversationKind::Group, ..) if open.conversation.as_uuid().get_version_num() != 7 => false,
        (ConversationKind::Group, ..) if others.len() >= limits::GROUP_MEMBERS_MAX => {
            return Err(ErrorCode::TooLarge.into());
        }
        (ConversationKind::Group, ..) => return Ok(check_title(title)?),
    };
    if fits { Ok(()) } else { Err(ErrorCode::Invalid.into()) }
}

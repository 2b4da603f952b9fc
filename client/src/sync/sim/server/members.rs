//! The reference server's conversations and who is in them (R6).

use super::{Answer, Conversation, Server, fresh_state};
use kith_protocol::{
    ConversationId, ErrorCode, NewEvent, Seq, ServerFrame, UserId,
    event::{MemberBody, MemberChange, Role},
    frame::{ConversationKind, Heads, MemberItem, Members, MembersRequest, Open},
};
use std::collections::{BTreeMap, BTreeSet};

impl Server {
    pub(crate) fn open(&mut self, user: UserId, open: &Open) -> Answer {
        if !self.conversations.contains_key(&open.conversation) {
            let is_group = open.kind == ConversationKind::Group;
            let role = |member: UserId| {
                if is_group && member == user { Role::Owner } else { Role::Member }
            };
            let users: BTreeSet<UserId> = open.members.iter().copied().chain([user]).collect();
            for member in &users {
                self.states.insert((*member, open.conversation), fresh_state(open.conversation));
            }
            let conversation = Conversation {
                kind: open.kind,
                members: users.iter().map(|member| (*member, role(*member))).collect(),
                visible: users.iter().map(|member| (*member, vec![(Seq(1), None)])).collect(),
                log: Vec::new(),
            };
            self.conversations.insert(open.conversation, conversation);
            for member in users {
                self.announce(member, open.conversation);
            }
        }
        if !self.conversations[&open.conversation].members.contains_key(&user) {
            return Err((ErrorCode::NotMember, None));
        }
        let items = vec![self.item(user, open.conversation)];
        Ok(ServerFrame::Heads(Heads { items, ..self.heads_frame(user) }))
    }

    fn heads_frame(&self, user: UserId) -> Heads {
        Heads { items: Vec::new(), ..self.heads(user, false) }
    }

    /// Tells of a conversation before its first event.
    pub(super) fn announce(&mut self, user: UserId, conversation: ConversationId) {
        let items = vec![self.item(user, conversation)];
        let frame = Heads { full: false, items, ..self.heads_frame(user) };
        self.push(user, &ServerFrame::Heads(frame));
    }

    pub(super) fn members(&self, user: UserId, request: &MembersRequest) -> Answer {
        let conversation = self.conversations.get(&request.conversation);
        let conversation = conversation.filter(|one| one.members.contains_key(&user));
        let conversation = conversation.ok_or((ErrorCode::NotMember, None))?;
        let item = |(user, role): (&UserId, &Role)| MemberItem { user: *user, role: *role };
        Ok(ServerFrame::Members(Members {
            reply_to: None,
            conversation: request.conversation,
            items: conversation.members.iter().map(item).collect(),
            next: None,
        }))
    }

    /// Who may change the members, and to what end.
    pub(super) fn may_change(
        members: &BTreeMap<UserId, Role>,
        kind: ConversationKind,
        by: UserId,
        new: &NewEvent,
    ) -> Result<Option<MemberBody>, ErrorCode> {
        if new.kind != "member" {
            return Ok(None);
        }
        let body: MemberBody = serde_json::from_value(new.body.clone()).map_err(|_| ErrorCode::Invalid)?;
        let is_in = members.contains_key(&body.user);
        let manages = members.get(&by).is_some_and(|role| role.may_manage());
        let is_allowed = if body.change == MemberChange::Left { body.user == by } else { manages };
        match body.change {
            _ if kind == ConversationKind::Direct || !is_allowed => Err(ErrorCode::NotAllowed),
            MemberChange::Added if is_in => Err(ErrorCode::Invalid),
            MemberChange::Added => Ok(Some(body)),
            MemberChange::Removed | MemberChange::Role | MemberChange::Left if !is_in => {
                Err(ErrorCode::TargetMissing)
            }
            MemberChange::Removed | MemberChange::Role | MemberChange::Left => Ok(Some(body)),
        }
    }

    /// What a member event changes, at its seq; both belong to the interval.
    pub(super) fn change_members(&mut self, id: ConversationId, seq: Seq, body: &MemberBody) {
        let conversation = self.conversations.get_mut(&id).expect("looked up before");
        let role = body.role.unwrap_or(Role::Member);
        match body.change {
            MemberChange::Added => {
                conversation.members.insert(body.user, role);
                conversation.visible.entry(body.user).or_default().push((seq, None));
                let mut state = self.states.remove(&(body.user, id)).unwrap_or_else(|| fresh_state(id));
                // Markers start before the interval.
                state.read = state.read.max(seq.previous());
                state.delivered = state.delivered.max(seq.previous());
                self.states.insert((body.user, id), state);
            }
            MemberChange::Removed | MemberChange::Left => {
                conversation.members.remove(&body.user);
                if let Some((_, to)) = conversation.visible.get_mut(&body.user).and_then(|all| all.last_mut())
                {
                    *to = Some(seq);
                }
            }
            MemberChange::Role => {
                conversation.members.insert(body.user, role);
            }
        }
    }
}

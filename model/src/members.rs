//! Who is in a conversation: the list, changes by events, and what only members may do (R5, R6).

use super::{Answer, Kept, Mutation, Server, ack};
use kith_protocol::{
    ConversationId, ErrorCode, Seq, ServerFrame, UserId,
    ephemeral::Typing,
    event::{MemberBody, MemberChange, Role},
    frame::{Ephemeral, MemberItem, Members, MembersRequest, TypingChange},
    limits,
};

impl Server {
    pub(crate) fn members(&self, user: UserId, asked: &MembersRequest) -> Answer {
        if asked.max == 0 {
            return Err(ErrorCode::Invalid.into());
        }
        let conversation = self.of_member(user, asked.conversation)?;
        let max = asked.max.min(limits::LIST_ITEMS_MAX) as usize;
        let rest =
            conversation.members.iter().filter(|(user, _)| asked.after.is_none_or(|after| **user > after));
        let rest: Vec<MemberItem> =
            rest.map(|(user, role)| MemberItem { user: *user, role: *role }).collect();
        let items: Vec<MemberItem> = rest.iter().take(max).cloned().collect();
        let next = items.last().filter(|_| rest.len() > max).map(|last| last.user);
        let as_of = Some(conversation.head_of(user));
        let conversation = asked.conversation;
        Ok(ServerFrame::Members(Members { reply_to: None, conversation, as_of, items, next }))
    }

    /// What a member event changes, at its seq; both belong to the interval.
    pub(crate) fn change_members(&mut self, id: ConversationId, seq: Seq, body: &MemberBody) {
        let stays_visible = self.has(Mutation::RemovedReads);
        let Some(conversation) = self.conversations.get_mut(&id) else { return };
        let role = body.role.unwrap_or(Role::Member);
        match body.change {
            MemberChange::Added => {
                conversation.members.insert(body.user, role);
                conversation.visible.entry(body.user).or_default().push((seq, None));
                let kept = self.states.entry((body.user, id)).or_insert_with(|| Kept::fresh(id));
                // Markers start before the interval.
                kept.own.read = kept.own.read.max(seq.previous());
                kept.own.delivered = kept.own.delivered.max(seq.previous());
                kept.hidden_at = None;
            }
            MemberChange::Removed | MemberChange::Left => {
                conversation.members.remove(&body.user);
                if stays_visible {
                    return;
                }
                let intervals = conversation.visible.get_mut(&body.user);
                if let Some((_, to)) = intervals.and_then(|all| all.last_mut()) {
                    *to = Some(seq);
                }
            }
            MemberChange::Role => {
                conversation.members.insert(body.user, role);
            }
        }
    }

    pub(crate) fn focus(
        &mut self,
        connection: u64,
        user: UserId,
        conversations: &[ConversationId],
    ) -> Answer {
        if conversations.len() > limits::FOCUS_MAX {
            return Err(ErrorCode::Invalid.into());
        }
        conversations.iter().try_for_each(|id| self.of_member(user, *id).map(drop))?;
        self.focus.insert(connection, conversations.iter().copied().collect());
        Ok(ack())
    }

    pub(crate) fn typing(&mut self, user: UserId, typing: &TypingChange) -> Answer {
        self.of_member(user, typing.conversation)?;
        let typing_now = vec![Typing(typing.conversation, user, typing.on)];
        let frame = ServerFrame::Ephemeral(Ephemeral { typing: typing_now, ..Default::default() });
        for peer in self.peers(user, typing.conversation) {
            self.push(peer, &frame);
        }
        Ok(ack())
    }
}

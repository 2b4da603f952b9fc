//! Own state, and markers that others are told of (R1, R2, R4, S4, W7).

use super::{Answer, Conversation, Kept, Mutation, Refused, Server, ack};
use kith_protocol::{
    ConversationId, ErrorCode, Event, Seq, ServerFrame, TimestampMs, UserId,
    frame::{ConversationKind, Draft, DraftChange, Markers, OwnState, OwnStates, StateChange},
    limits,
};
use std::collections::BTreeMap;

/// Markers of one `delivered` frame.
const DELIVERED_MAX: usize = 1_000;

impl Kept {
    pub(crate) fn fresh(conversation: ConversationId) -> Self {
        let own = OwnState {
            conversation,
            unread: 0,
            read: Seq::ZERO,
            delivered: Seq::ZERO,
            unread_flag: false,
            mute: TimestampMs(0),
            pin: false,
            archive: false,
            hidden: false,
            draft: None,
            version: 0,
        };
        Self { own, drafts: 0, hidden_at: None }
    }

    pub(crate) fn is_hidden(&self, head: Seq) -> bool {
        self.hidden_at.is_some_and(|at| head <= at)
    }

    /// Applies a change; whether that made a difference.
    fn change(&mut self, change: &StateChange, head: Seq) -> bool {
        let mut changed = change.draft.as_ref().is_some_and(|draft| self.change_draft(draft));
        let own = &mut self.own;
        let read = change.read.unwrap_or_default().min(head);
        if read > own.read {
            (own.read, own.delivered, own.unread_flag) = (read, own.delivered.max(read), false);
            changed = true;
        }
        let mut set = |field: &mut bool, value: Option<bool>| {
            changed |= value.is_some_and(|value| value != *field);
            *field = value.unwrap_or(*field);
        };
        set(&mut own.unread_flag, change.unread_flag);
        set(&mut own.pin, change.pin);
        set(&mut own.archive, change.archive);
        if let Some(mute) = change.mute.filter(|mute| *mute != own.mute) {
            own.mute = mute;
            changed = true;
        }
        if let Some(hidden) = change.hidden.filter(|hidden| *hidden != self.is_hidden(head)) {
            self.hidden_at = hidden.then_some(head);
            changed = true;
        }
        changed
    }

    /// The same text again is no change, on whatever it was written.
    fn is_same_draft(&self, draft: &DraftChange) -> bool {
        self.own.draft.as_ref().map_or("", |known| &known.text) == draft.text
    }

    fn change_draft(&mut self, draft: &DraftChange) -> bool {
        let is_other = !self.is_same_draft(draft);
        if is_other {
            self.drafts += 1;
            let known = Draft { text: draft.text.clone(), version: self.drafts };
            self.own.draft = Some(known).filter(|known| !known.text.is_empty());
        }
        is_other
    }

    /// Whether a draft was written on another version than there is (R4).
    fn is_stale(&self, draft: &DraftChange) -> bool {
        let version = self.own.draft.as_ref().map_or(0, |known| known.version);
        !self.is_same_draft(draft) && draft.base != version
    }
}

impl Server {
    /// Own state as it is told: unread follows from the log (W7).
    pub fn own(&self, user: UserId, id: ConversationId) -> OwnState {
        let kept = &self.states[&(user, id)];
        let conversation = &self.conversations[&id];
        let head = conversation.head_of(user);
        OwnState {
            unread: unread(conversation, user, kept.own.read, head, self.has(Mutation::DeletedIsUnread)),
            hidden: kept.is_hidden(head),
            ..kept.own.clone()
        }
    }

    /// How far a user's own counter has come (S4).
    pub fn user_seq(&self, user: UserId) -> u64 {
        self.user_seqs.get(&user).copied().unwrap_or_default()
    }

    /// The next value of a user's own counter (S4).
    pub(crate) fn raise_user_seq(&mut self, user: UserId) -> u64 {
        let user_seq = self.user_seqs.entry(user).or_default();
        *user_seq += 1;
        *user_seq
    }

    pub(crate) fn state(&mut self, connection: u64, user: UserId, change: &StateChange) -> Answer {
        if let Some(draft) = &change.draft {
            if draft.text.chars().count() > limits::DRAFT_CHARS_MAX {
                return Err(ErrorCode::TooLarge.into());
            }
            if draft.text.contains('\0') {
                return Err(ErrorCode::Invalid.into());
            }
        }
        let id = change.conversation;
        let head = self.of_member(user, id)?.head_of(user);
        let before = self.states[&(user, id)].clone();
        if change.draft.as_ref().is_some_and(|draft| before.is_stale(draft)) {
            let current = Some(Box::new(self.own(user, id)));
            return Err(Refused { code: ErrorCode::StateConflict, current });
        }
        let mut kept = before.clone();
        let is_changed = kept.change(change, head);
        if let Some(read) = change.read.filter(|_| self.has(Mutation::ReadMarkerFalls)) {
            kept.own.read = read.previous();
        }
        if is_changed {
            kept.own.version = self.raise_user_seq(user);
        }
        let marker_rose = (kept.own.read, kept.own.delivered) != (before.own.read, before.own.delivered);
        if !self.has(Mutation::StateIsForgotten) {
            self.states.insert((user, id), kept);
        }
        let user_seq = self.user_seqs.get(&user).copied().unwrap_or_default();
        let own = OwnStates { reply_to: None, user_seq, items: vec![self.own(user, id)] };
        if is_changed {
            self.push_except(user, Some(connection), &ServerFrame::OwnState(own.clone()));
        }
        if marker_rose {
            self.tell(user, id);
        }
        Ok(ServerFrame::OwnState(own))
    }

    /// Others' conversations are refused; the rest counts all the same.
    pub(crate) fn delivered(&mut self, user: UserId, markers: &[(ConversationId, Seq)]) -> Answer {
        if markers.len() > DELIVERED_MAX {
            return Err(ErrorCode::Invalid.into());
        }
        let mut asked: BTreeMap<ConversationId, Seq> = BTreeMap::new();
        for (id, seq) in markers {
            let most = asked.entry(*id).or_default();
            *most = (*most).max(*seq);
        }
        let mut answer = Ok(ack());
        for (id, seq) in asked {
            let Ok(conversation) = self.of_member(user, id) else {
                answer = Err(ErrorCode::NotMember.into());
                continue;
            };
            let seq = seq.min(conversation.head_of(user));
            let rises = self.states.get_mut(&(user, id)).filter(|kept| seq > kept.own.delivered);
            if let Some(kept) = rises {
                kept.own.delivered = seq;
                self.tell(user, id);
            }
        }
        answer
    }

    pub(crate) fn markers(&self, user: UserId, id: ConversationId) -> Answer {
        let conversation = self.of_member(user, id)?;
        let is_parted = self.is_parted(conversation);
        let members = conversation.members.keys().filter(|member| !is_parted || **member == user);
        let markers = members.map(|member| self.marker(*member, id)).collect();
        Ok(ServerFrame::Markers(Markers { reply_to: None, conversation: id, markers }))
    }

    fn marker(&self, user: UserId, id: ConversationId) -> (UserId, Seq, Seq) {
        let own = &self.states[&(user, id)].own;
        (user, own.delivered, own.read)
    }

    /// The members besides `user`. In a direct conversation nobody is met before its first event, and while one has
    /// blocked the other.
    pub(crate) fn peers(&self, user: UserId, id: ConversationId) -> Vec<UserId> {
        let conversation = &self.conversations[&id];
        let has_begun = conversation.kind == ConversationKind::Group || !conversation.log.is_empty();
        if !has_begun || self.is_parted(conversation) {
            return Vec::new();
        }
        conversation.members.keys().copied().filter(|member| *member != user).collect()
    }

    /// Tells of a marker (R2): the other person of a direct conversation; of a small group those who look at it.
    fn tell(&mut self, user: UserId, id: ConversationId) {
        if self.conversations[&id].members.len() > limits::MARKERS_PUSH_MEMBERS_MAX {
            return;
        }
        let markers = vec![self.marker(user, id)];
        let frame = ServerFrame::Markers(Markers { reply_to: None, conversation: id, markers });
        for peer in self.peers(user, id) {
            if id.is_group() {
                self.push_to_focused(peer, id, &frame);
            } else {
                self.push(peer, &frame);
            }
        }
    }
}

/// Others' messages in `(read, head]`, less those of them that were deleted in it (W7).
fn unread(conversation: &Conversation, user: UserId, read: Seq, head: Seq, counts_deleted: bool) -> u64 {
    let is_between = |event: &&Event| read < event.seq && event.seq <= head;
    let is_unread = |event: &Event| event.kind == "message" && event.sender != user;
    let is_undone = |event: &Event| {
        let target = event.target.filter(|_| event.kind == "delete").and_then(|id| conversation.by_id(id));
        target.is_some_and(|target| target.seq > read && is_unread(target))
    };
    let events: Vec<&Event> = conversation.log.iter().filter(is_between).collect();
    let written = events.iter().filter(|event| is_unread(event)).count();
    let undone = events.iter().filter(|event| !counts_deleted && is_undone(event)).count();
    written.saturating_sub(undone) as u64
}

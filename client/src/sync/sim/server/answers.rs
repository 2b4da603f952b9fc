//! The reference server's pages, chains and own state.

use super::{Answer, Server};
use kith_protocol::{
    Chain, ConversationId, ErrorCode, Event, Seq, ServerFrame, UserId,
    frame::{Chains, Direction, Draft, MessageState, OwnState, OwnStates, Page, Probe, Pull, StateChange},
};
use std::collections::BTreeMap;

/// Small pages, so that a short log has many.
const PAGE: u64 = 4;

impl Server {
    /// A page stays within one interval of the reader's (R6).
    pub(super) fn pull(&self, user: UserId, pull: &Pull) -> Answer {
        let conversation = self.conversations.get(&pull.conversation);
        let conversation = conversation.filter(|one| one.visible.contains_key(&user));
        let conversation = conversation.ok_or((ErrorCode::NotMember, None))?;
        let head = conversation.head_of(user);
        let from = pull.from.unwrap_or(head);
        let intervals = conversation.visible[&user].iter().map(|(low, to)| (low.0, to.unwrap_or(head).0));
        let within = intervals.clone().find(|(low, high)| *low <= from.0 && from.0 <= *high);
        let (low, high) = match (pull.direction, within) {
            (_, None) => (from.0 + 1, from.0),
            (Direction::Forward, Some((_, end))) => {
                (from.0, (from.0 + PAGE - 1).min(pull.to.map_or(end, |seq| seq.0)).min(end))
            }
            (Direction::Backward, Some((start, _))) => {
                ((from.0 + 1).saturating_sub(PAGE).max(pull.to.map_or(1, |seq| seq.0)).max(start), from.0)
            }
        };
        let log = &conversation.log;
        let events: Vec<Event> = log.iter().filter(|e| low <= e.seq.0 && e.seq.0 <= high).cloned().collect();
        let before = log.get((low as usize).wrapping_sub(2));
        let is_edge = |(start, end): (u64, u64)| match pull.direction {
            Direction::Forward => high >= end,
            Direction::Backward => low <= start,
        };
        Ok(ServerFrame::Page(Page {
            reply_to: None,
            conversation: pull.conversation,
            chain_before: before.map_or(Chain::empty(pull.conversation), |event| event.chain),
            low: Seq(low),
            high: events.last().map_or(Seq(low.saturating_sub(1)), |event| event.seq),
            head,
            events,
            states: BTreeMap::<_, MessageState>::new(),
            as_of: head,
            end: within.is_none_or(is_edge),
        }))
    }

    pub(super) fn probe(&self, user: UserId, probe: &Probe) -> Answer {
        let conversation = self.conversations.get(&probe.conversation);
        let conversation = conversation.filter(|one| one.visible.contains_key(&user));
        let conversation = conversation.ok_or((ErrorCode::NotMember, None))?;
        let chain = |seq: &Seq| {
            let event = conversation.log.get(seq.0.checked_sub(1)? as usize)?;
            conversation.shows(user, *seq).then_some((*seq, event.chain))
        };
        Ok(ServerFrame::Chains(Chains {
            reply_to: None,
            conversation: probe.conversation,
            head: conversation.head_of(user),
            chains: probe.seqs.iter().filter_map(chain).collect(),
        }))
    }

    pub(super) fn delivered(&mut self, user: UserId, markers: &[(ConversationId, Seq)]) {
        for (conversation, seq) in markers {
            let is_member =
                self.conversations.get(conversation).is_some_and(|one| one.members.contains_key(&user));
            if let Some(state) = self.states.get_mut(&(user, *conversation)).filter(|_| is_member) {
                state.delivered = state.delivered.max(*seq);
            }
        }
    }

    /// Own state as it is told: the unread count is made from the log (W7).
    pub(super) fn own(&self, user: UserId, id: ConversationId) -> OwnState {
        let state = self.states[&(user, id)].clone();
        let conversation = &self.conversations[&id];
        let counts = |event: &&Event| {
            event.kind == "message"
                && event.sender != user
                && event.seq > state.read
                && conversation.shows(user, event.seq)
        };
        OwnState { unread: conversation.log.iter().filter(counts).count() as u64, ..state }
    }

    pub(super) fn state(&mut self, user: UserId, change: &StateChange) -> Answer {
        let id = change.conversation;
        let conversation = self.conversations.get(&id).filter(|one| one.members.contains_key(&user));
        let head = conversation.ok_or((ErrorCode::NotMember, None))?.head_of(user);
        let known = self.own(user, id);
        if let Some(draft) = &change.draft
            && draft.base != known.draft.as_ref().map_or(0, |draft| draft.version)
        {
            return Err((ErrorCode::StateConflict, Some(Box::new(known))));
        }
        let user_seq = self.user_seqs.entry(user).or_default();
        *user_seq += 1;
        let user_seq = *user_seq;
        if let Some(state) = self.states.get_mut(&(user, id)) {
            state.version = user_seq;
            state.read = state.read.max(change.read.unwrap_or_default().min(head));
            state.pin = change.pin.unwrap_or(state.pin);
            if let Some(draft) = &change.draft {
                state.draft = Some(Draft { text: draft.text.clone(), version: user_seq });
            }
        }
        let own = OwnStates { reply_to: None, user_seq, items: vec![self.own(user, id)] };
        self.push(user, &ServerFrame::OwnState(own.clone()));
        Ok(ServerFrame::OwnState(own))
    }
}

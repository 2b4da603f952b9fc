//! The reference server's pages and own state.

use super::{Answer, Server};
use kith_protocol::{
    Chain, ErrorCode, Event, Seq, ServerFrame, UserId,
    frame::{Direction, Draft, MessageState, OwnStates, Page, Pull, StateChange},
};
use std::collections::BTreeMap;

/// Small pages, so that a short log has many.
const PAGE: u64 = 4;

impl Server {
    pub(super) fn pull(&self, user: UserId, pull: &Pull) -> Answer {
        let conversation = self.conversations.get(&pull.conversation).filter(|c| c.members.contains(&user));
        let log = &conversation.ok_or((ErrorCode::NotMember, None))?.log;
        let head = log.len() as u64;
        let (low, high) = match pull.direction {
            Direction::Forward => {
                let low = pull.from.map_or(head, |seq| seq.0);
                (low, (low + PAGE - 1).min(pull.to.map_or(head, |seq| seq.0)).min(head))
            }
            Direction::Backward => {
                let high = pull.from.map_or(head, |seq| seq.0).min(head);
                (high.saturating_sub(PAGE - 1).max(pull.to.map_or(1, |seq| seq.0)).max(1), high)
            }
        };
        let events: Vec<Event> = log.iter().filter(|e| low <= e.seq.0 && e.seq.0 <= high).cloned().collect();
        let chain_before = log
            .iter()
            .find(|event| event.seq.0 + 1 == low)
            .map_or(Chain::empty(pull.conversation), |event| event.chain);
        Ok(ServerFrame::Page(Page {
            reply_to: None,
            conversation: pull.conversation,
            chain_before,
            low: Seq(low),
            high: events.last().map_or(Seq(low.saturating_sub(1)), |event| event.seq),
            head: Seq(head),
            events,
            states: BTreeMap::<_, MessageState>::new(),
            as_of: Seq(head),
            end: low <= 1 || high >= head,
        }))
    }

    pub(super) fn state(&mut self, user: UserId, change: &StateChange) -> Answer {
        let key = (user, change.conversation);
        let head = self.conversations.get(&change.conversation).map_or(0, |c| c.log.len() as u64);
        let Some(state) = self.states.get_mut(&key) else { return Err((ErrorCode::NotMember, None)) };
        if let Some(draft) = &change.draft
            && draft.base != state.draft.as_ref().map_or(0, |draft| draft.version)
        {
            return Err((ErrorCode::StateConflict, Some(Box::new(state.clone()))));
        }
        let user_seq = self.user_seqs.entry(user).or_default();
        *user_seq += 1;
        state.version = *user_seq;
        state.read = state.read.max(change.read.unwrap_or_default().min(Seq(head)));
        state.pin = change.pin.unwrap_or(state.pin);
        if let Some(draft) = &change.draft {
            state.draft = Some(Draft { text: draft.text.clone(), version: *user_seq });
        }
        let own = OwnStates { reply_to: None, user_seq: *user_seq, items: vec![state.clone()] };
        self.push(user, &ServerFrame::OwnState(own.clone()));
        Ok(ServerFrame::OwnState(own))
    }
}

//! Pages, what their messages have become, and chain values (W9, R6, S7).

use super::{Answer, Conversation, Mutation, Server};
use kith_protocol::{
    Chain, ErrorCode, Event, EventContent, EventId, Seq, ServerFrame, UserId,
    frame::{Chains, Direction, MessageState, Page, Probe, Pull},
    limits,
};
use std::collections::BTreeMap;

impl Server {
    /// A page stays within one interval of the reader's (R6).
    pub(crate) fn pull(&self, user: UserId, pull: &Pull) -> Answer {
        if pull.max == 0 {
            return Err(ErrorCode::Invalid.into());
        }
        let conversation = self.reader(user, pull.conversation)?;
        let head = conversation.head_of(user);
        let from = pull.from.unwrap_or(head);
        let mut intervals = conversation.visible[&user].iter().map(|(low, to)| (*low, to.unwrap_or(head)));
        let interval = intervals.find(|(low, high)| *low <= from && from <= *high);
        let reader = (conversation, user);
        let events = interval.map_or(Vec::new(), |within| self.slice(reader, pull, from, within));
        let low = events.first().map_or(Seq(from.0.max(1)), |event| event.seq);
        let high = events.last().map_or(low.previous(), |event| event.seq);
        let end = interval.is_none_or(|(lowest, highest)| match pull.direction {
            Direction::Forward => high == highest,
            Direction::Backward => low == lowest && !events.is_empty(),
        });
        let is_near =
            |(low_edge, to): &(Seq, Option<Seq>)| *low_edge <= low && low <= to.unwrap_or(head).next();
        let before = conversation.at(low.previous());
        let before = before.filter(|_| conversation.visible[&user].iter().any(is_near));
        Ok(ServerFrame::Page(Page {
            reply_to: None,
            conversation: pull.conversation,
            chain_before: before.map_or(Chain::empty(pull.conversation), |event| event.chain),
            low,
            high,
            head,
            states: states(conversation, user, &events, self.has(Mutation::StatesAreOld)),
            events,
            as_of: head,
            end,
        }))
    }

    /// The events of a page, ascending.
    fn slice(
        &self,
        (conversation, user): (&Conversation, UserId),
        pull: &Pull,
        from: Seq,
        (lowest, highest): (Seq, Seq),
    ) -> Vec<Event> {
        let (low, high) = match pull.direction {
            Direction::Forward => (from, pull.to.map_or(highest, |to| to.min(highest))),
            Direction::Backward => (pull.to.map_or(lowest, |to| to.max(lowest)), from),
        };
        let mut within: Vec<&Event> =
            conversation.log.iter().filter(|event| low <= event.seq && event.seq <= high).collect();
        if pull.direction == Direction::Backward {
            within.reverse();
        }
        let max = pull.max.min(limits::PAGE_MESSAGES_MAX);
        let (mut messages, mut bytes, mut events) = (0, 0, Vec::new());
        for event in within.into_iter().take(self.page_events) {
            messages += u32::from(event.kind == "message");
            let state = (event.kind == "message").then(|| state(conversation, user, event, false));
            bytes += Page::bytes_of(event, state.as_ref());
            if messages > max || (bytes > limits::PAGE_BYTES_MAX && !events.is_empty()) {
                break;
            }
            events.push(event.clone());
        }
        events.sort_by_key(|event| event.seq);
        events
    }

    pub(crate) fn probe(&self, user: UserId, probe: &Probe) -> Answer {
        if probe.seqs.len() > limits::PROBE_SEQS_MAX {
            return Err(ErrorCode::Invalid.into());
        }
        let conversation = self.reader(user, probe.conversation)?;
        let mut chains = BTreeMap::new();
        for seq in &probe.seqs {
            if *seq == Seq::ZERO {
                chains.insert(*seq, Chain::empty(probe.conversation));
            } else if let Some(event) = conversation.at(*seq).filter(|_| conversation.shows(user, *seq)) {
                chains.insert(*seq, event.chain);
            }
        }
        Ok(ServerFrame::Chains(Chains {
            reply_to: None,
            conversation: probe.conversation,
            head: conversation.head_of(user),
            chains: chains.into_iter().collect(),
        }))
    }
}

/// What the messages among these events have become by the relations that a reader sees.
fn states(
    conversation: &Conversation,
    user: UserId,
    page: &[Event],
    are_old: bool,
) -> BTreeMap<EventId, MessageState> {
    let messages = page.iter().filter(|event| event.kind == "message");
    messages.map(|message| (message.id, state(conversation, user, message, are_old))).collect()
}

fn state(conversation: &Conversation, user: UserId, message: &Event, is_old: bool) -> MessageState {
    let mut state = MessageState { deleted: message.redacted, ..MessageState::default() };
    if message.redacted {
        return state;
    }
    state.text = message.body.as_ref().and_then(|body| body["text"].as_str()).map(str::to_owned);
    if is_old {
        return state;
    }
    let about = |event: &&Event| event.target == Some(message.id) && conversation.shows(user, event.seq);
    for event in conversation.log.iter().filter(about) {
        let body = event.body.clone().unwrap_or_default();
        match EventContent::parse(&event.kind, event.target, &body) {
            Ok(EventContent::Edit { text, .. }) => {
                (state.text, state.edited_seq) = (Some(text), Some(event.seq));
            }
            Ok(EventContent::Pin { on, .. }) => state.pinned = on,
            _ => {}
        }
    }
    // The reader's own come first, so that they are among the listed ones.
    let (own, of_others): (Vec<_>, Vec<_>) =
        reactions(past(conversation, user, message)).into_iter().partition(|(_, sender)| *sender == user);
    for (emoji, sender) in own.into_iter().chain(of_others) {
        let users = state.reactions.entry(emoji.clone()).or_default();
        if users.len() < limits::REACTION_USERS_MAX {
            users.push(sender);
            continue;
        }
        *state.reaction_counts.entry(emoji).or_insert(users.len() as u64) += 1;
    }
    state
}

/// The reactions to a message that a reader's page counts, in the order of the log. Where the reader sees the log's end
/// they are all; else the newest [`limits::PAST_REACTIONS_MAX`] of each interval.
fn past<'a>(conversation: &'a Conversation, user: UserId, message: &Event) -> Vec<&'a Event> {
    let is_it = |event: &&Event| event.kind == "reaction" && event.target == Some(message.id);
    let intervals = &conversation.visible[&user];
    let sees_end = intervals.last().is_some_and(|(from, to)| to.is_none() && *from <= message.seq);
    let max = if sees_end { usize::MAX } else { limits::PAST_REACTIONS_MAX };
    let within = |(from, to): &(Seq, Option<Seq>)| {
        let (from, to) = (*from, *to);
        let shown = move |event: &&Event| from <= event.seq && to.is_none_or(|to| event.seq <= to);
        let mut newest: Vec<&Event> =
            conversation.log.iter().rev().filter(shown).filter(is_it).take(max).collect();
        newest.reverse();
        newest
    };
    intervals.iter().flat_map(within).collect()
}

/// Which emoji of whom are on after these events, in the order in which each was last put on.
pub(crate) fn reactions<'a>(events: impl IntoIterator<Item = &'a Event>) -> Vec<(String, UserId)> {
    let mut on: Vec<(String, UserId)> = Vec::new();
    for event in events {
        let body = event.body.clone().unwrap_or_default();
        let content = EventContent::parse(&event.kind, event.target, &body);
        if let Ok(EventContent::Reaction { reaction, .. }) = content {
            let one = (reaction.emoji, event.sender);
            on.retain(|other| *other != one);
            if reaction.on {
                on.push(one);
            }
        }
    }
    on
}

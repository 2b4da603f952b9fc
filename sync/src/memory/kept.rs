//! One conversation in the memory store: its log and the facts from it.

use crate::ranges::{Ranges, cut_intervals};
use kith_protocol::{
    Event, EventContent, Seq, TimestampMs, UserId,
    event::{MemberChange, Role},
    frame::{ConversationKind, OwnState},
};
use serde_json::Value;
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Kept {
    pub kind: Option<ConversationKind>,
    pub ranges: Ranges,
    pub events: BTreeMap<Seq, Event>,
    pub head: Seq,
    pub visible: Vec<(Seq, Option<Seq>)>,
    pub last_ts: TimestampMs,
    pub own: Option<OwnState>,
    /// Two drafts wait for the user to choose (R4).
    pub has_draft_conflict: bool,
    pub members: BTreeMap<UserId, Role>,
    /// As heads count them; the list of a large group comes by itself.
    pub member_count: u32,
    /// The parts of the list that have come.
    pub listed: BTreeMap<UserId, Role>,
    /// Up to where the list is complete.
    pub members_as_of: Seq,
    pub title: Option<String>,
    /// How far member and title events are known.
    pub metadata_seq: Seq,
}

impl Kept {
    /// The place of a stored event that cannot be of the same log.
    pub(super) fn contradicts(&self, event: &Event) -> Option<Seq> {
        let differs = |(seq, known): &(&Seq, &Event)| (**seq == event.seq) != (known.id == event.id);
        self.events.iter().find(differs).map(|(seq, _)| *seq)
    }

    /// The server's log ends here: what was known above it was another log's.
    pub(super) fn fell_to(&mut self, high: Seq) {
        self.head = self.head.min(high);
        self.metadata_seq = self.metadata_seq.min(high);
        self.members_as_of = self.members_as_of.min(high);
        cut_intervals(&mut self.visible, high);
        if let Some(own) = &mut self.own {
            (own.read, own.delivered) = (own.read.min(high), own.delivered.min(high));
        }
    }

    /// Extends the known facts to the end of the range that begins right after them.
    pub(super) fn catch_up_facts(&mut self, me: Option<UserId>) {
        let as_of = self.metadata_seq;
        let range = self.ranges.all().iter().find(|range| range.low <= as_of.next() && as_of < range.high);
        if let Some(high) = range.map(|range| range.high) {
            self.take_facts(as_of, high, me);
            self.metadata_seq = high;
        }
    }

    /// The member list is complete as of `as_of`. Stored member events above it apply again.
    pub(super) fn members_told(&mut self, as_of: Option<Seq>, me: Option<UserId>) {
        let Some(as_of) = as_of else { return };
        self.members_as_of = as_of;
        let above = self.events.range(as_of.next()..).map(|(_, event)| event);
        let changes: Vec<Event> = above.filter(|event| event.kind == "member").cloned().collect();
        changes.iter().for_each(|event| self.take_fact(event, me));
    }

    /// Takes the stored facts above one seq, up to another.
    pub(super) fn take_facts(&mut self, above: Seq, to: Seq, me: Option<UserId>) {
        let is_fact = |event: &&Event| matches!(event.kind.as_str(), "member" | "title");
        let within = self.events.range(above.next()..).map(|(_, event)| event);
        let facts: Vec<Event> = within.take_while(|event| event.seq <= to).filter(is_fact).cloned().collect();
        facts.iter().for_each(|event| self.take_fact(event, me));
    }

    /// Title, members and one's own intervals, as an event changes them.
    pub(super) fn take_fact(&mut self, event: &Event, me: Option<UserId>) {
        match EventContent::parse_stored(&event.kind, None, event.body.as_ref().unwrap_or(&Value::Null)) {
            Ok(EventContent::Title(title)) => self.title = Some(title.text).filter(|text| !text.is_empty()),
            Ok(EventContent::Member(body)) => {
                let is_in = matches!(body.change, MemberChange::Added | MemberChange::Role);
                if is_in {
                    self.members.insert(body.user, body.role.unwrap_or(Role::Member));
                } else {
                    self.members.remove(&body.user);
                }
                self.member_count = self.members.len() as u32;
                if Some(body.user) == me && body.change != MemberChange::Role {
                    self.enter_or_leave(event.seq, is_in);
                }
            }
            _ => {}
        }
    }

    fn enter_or_leave(&mut self, seq: Seq, is_in: bool) {
        match self.visible.last_mut() {
            Some((from, to @ None)) if !is_in && *from <= seq => *to = Some(seq),
            Some((_, None)) => {}
            Some((from, _)) if *from >= seq => {}
            _ if is_in => self.visible.push((seq, None)),
            _ => {}
        }
    }

    /// Erases the payload of each message that a stored delete targets, in any order of arrival (W9, C4).
    pub(super) fn erase_deleted(&mut self, fresh: &Event) {
        let is_delete = |event: &Event, of| event.kind == "delete" && event.target == Some(of);
        let deleted = match (fresh.kind.as_str(), fresh.target) {
            ("delete", Some(target)) => Some(target),
            ("edit", Some(target)) => {
                self.events.values().any(|one| is_delete(one, target)).then_some(target)
            }
            ("message", _) => self.events.values().any(|one| is_delete(one, fresh.id)).then_some(fresh.id),
            _ => None,
        };
        let Some(deleted) = deleted else { return };
        for event in self.events.values_mut() {
            if event.id == deleted || (event.kind == "edit" && event.target == Some(deleted)) {
                (event.body, event.redacted) = (None, true);
            }
        }
    }
}

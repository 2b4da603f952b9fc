//! The store's twin in memory: the same answers to the same ops, and nothing that is shown.

mod kept;
mod rewind;
mod row;

pub use kept::Kept;
pub use row::{Row, RowState, what};

use crate::{
    machine::coalesce,
    ops::{EntryState, LocalConversation, LocalState, OutboxEntry, OutboxItem, OutboxOp, StoreOp, Stored},
    ranges::run_of,
    resend,
    terms::Terms,
};
use kith_protocol::{
    Chain, ConversationId, ErrorCode, Event, EventId, Seq, TimestampMs, UserId,
    frame::{HeadsItem, OwnState, StateChange},
};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone, PartialEq, Default)]
pub struct MemoryStore {
    /// Whose store it is: their events come back from a rewind.
    pub me: Option<UserId>,
    /// The wall clock, where rows are to grow old.
    pub wall: Option<TimestampMs>,
    pub generation: u64,
    pub epoch: Option<String>,
    pub user_seq: u64,
    pub conversations: BTreeMap<ConversationId, Kept>,
    pub outbox: BTreeMap<i64, Row>,
    pub last_item: i64,
    /// Messages that this user deleted and whose deletion the server has lost.
    pub deletions: BTreeSet<(ConversationId, EventId)>,
}

impl MemoryStore {
    pub fn push(&mut self, conversation: ConversationId, op: OutboxOp) -> OutboxEntry {
        self.last_item += 1;
        let written_at = self.wall.unwrap_or(TimestampMs(u64::MAX));
        let row = Row { written_at, conversation, op, state: RowState::Queued, tries: 0 };
        self.outbox.insert(self.last_item, row);
        self.entry(self.last_item)
    }

    /// What was refused with a draft goes again without it; what waits is newer.
    fn states_again(&mut self, conversation: ConversationId, refused: Vec<OutboxOp>, stored: &mut Stored) {
        let mut whole = StateChange::of(conversation);
        for op in refused {
            if let OutboxOp::State(change) = op {
                coalesce(&mut whole, StateChange { draft: None, ..change });
            }
        }
        if whole == StateChange::of(conversation) {
            return;
        }
        let waits = |row: &&mut Row| row.conversation == conversation && row.state == RowState::Queued;
        for row in self.outbox.values_mut().filter(waits) {
            if let OutboxOp::State(newer) = &mut row.op {
                coalesce(&mut whole, newer.clone());
                *newer = whole;
                return;
            }
        }
        stored.queued.push(self.push(conversation, OutboxOp::State(whole)));
    }

    pub fn entry(&self, item: i64) -> OutboxEntry {
        let row = &self.outbox[&item];
        let state = match row.state {
            RowState::Queued | RowState::Sending => EntryState::Queued,
            RowState::Acked(seq) => EntryState::Acked(seq),
            RowState::Parked(code) => EntryState::Parked(code),
        };
        OutboxEntry {
            item,
            conversation: row.conversation,
            what: what(&row.op),
            message: row.waits_with(),
            bytes: 100,
            state,
            tries: row.tries,
            written_at: row.written_at,
        }
    }

    pub fn load(&mut self) -> LocalState {
        for row in self.outbox.values_mut() {
            if row.state == RowState::Sending {
                row.state = RowState::Queued;
            }
        }
        LocalState {
            generation: self.generation,
            epoch: self.epoch.clone(),
            terms: Terms::default(),
            user_seq: self.user_seq,
            conversations: self.conversations.iter().map(|(id, kept)| local(*id, kept)).collect(),
            outbox: self.outbox.keys().map(|item| self.entry(*item)).collect(),
        }
    }

    pub fn apply(&mut self, ops: Vec<StoreOp>) -> Stored {
        let mut stored = Stored::default();
        for op in ops {
            self.one(op, &mut stored);
        }
        stored.queued.retain(|entry| self.outbox.contains_key(&entry.item));
        stored
    }

    fn one(&mut self, op: StoreOp, stored: &mut Stored) {
        match op {
            StoreOp::Welcome { generation, epoch, .. } => {
                self.generation = generation;
                self.epoch = Some(epoch);
            }
            StoreOp::Device { .. } => (self.generation, self.user_seq) = (0, 0),
            StoreOp::Heads { last, handshake, user_seq, items, gone, .. } => {
                for item in items {
                    self.head(item, handshake, stored);
                }
                for id in gone {
                    let Some(kept) = self.conversations.get_mut(&id) else { continue };
                    if handshake {
                        kept.metadata_seq = kept.metadata_seq.min(kept.ranges.high());
                    }
                    let own = kept.own.as_mut();
                    // One whose own state is newer has come back meanwhile.
                    if let Some(own) = own.filter(|own| handshake || own.version <= user_seq) {
                        own.hidden = true;
                        own.version = own.version.min(user_seq);
                    }
                }
                if last && handshake {
                    // Of before a restore: the server counts again.
                    let all = self.conversations.values_mut().filter_map(|kept| kept.own.as_mut());
                    all.filter(|own| own.version > user_seq).for_each(|own| own.version = 0);
                }
                if last {
                    self.user_seq = if handshake { user_seq } else { self.user_seq.max(user_seq) };
                }
            }
            StoreOp::Append { conversation, chain_before, events } => {
                self.events(conversation, chain_before, &events, stored);
            }
            StoreOp::Page(page) => self.events(page.conversation, page.chain_before, &page.events, stored),
            StoreOp::Lost { conversations } => {
                conversations.into_iter().for_each(|id| self.lost(id, stored));
            }
            StoreOp::Rewind { conversation, chains } => self.rewind(conversation, &chains, stored),
            StoreOp::Sending { items } => {
                for item in items {
                    let Some(row) = self.outbox.get_mut(&item) else { continue };
                    assert_eq!(row.state, RowState::Queued, "only a queued row leaves");
                    row.state = RowState::Sending;
                    row.tries += 1;
                    let mut op = row.op.clone();
                    let conversation = row.conversation;
                    if let OutboxOp::State(change) = &mut op
                        && let Some(draft) = &mut change.draft
                    {
                        let own = self.conversations.get(&conversation).and_then(|kept| kept.own.as_ref());
                        draft.base = own.and_then(|own| own.draft.as_ref()).map_or(0, |draft| draft.version);
                    }
                    stored.sending.push(OutboxItem { item, conversation, op });
                }
            }
            StoreOp::Queued { items } | StoreOp::Retry { items, .. } => self.set(&items, &RowState::Queued),
            StoreOp::Parked { items, code } => {
                self.set(&items, &RowState::Parked(code));
                for item in items {
                    if code == ErrorCode::TargetMissing && self.has_target(item) {
                        self.set(&[item], &RowState::Queued);
                        stored.queued.push(self.entry(item));
                    } else if code == ErrorCode::TargetMissing
                        && let Some(deletion) = self.deletion_of(item)
                    {
                        self.deletions.insert(deletion);
                        self.outbox.remove(&item);
                        stored.ended.push(item);
                    } else {
                        let (ended, queued) = self.end_if_deleted(item, code);
                        stored.ended.extend(ended);
                        stored.queued.extend(queued);
                    }
                }
            }
            StoreOp::Acked { item, id, seq, .. } => {
                let Some(row) = self.outbox.get(&item) else { return };
                let kept = self.conversations.get(&row.conversation);
                let stored_already =
                    kept.is_some_and(|kept| kept.events.values().any(|event| event.id == id));
                if stored_already {
                    self.outbox.remove(&item);
                    stored.ended.push(item);
                } else {
                    self.set(&[item], &RowState::Acked(seq));
                }
            }
            StoreOp::Done { items } => self.outbox.retain(|item, _| !items.contains(item)),
            StoreOp::OwnState { user_seq, items } => {
                for item in items {
                    self.own(item, false);
                }
                self.user_seq = user_seq.unwrap_or(self.user_seq);
            }
            StoreOp::DraftConflict { items, current } => {
                let rows = items.iter().filter_map(|item| self.outbox.remove(item));
                let refused: Vec<OutboxOp> = rows.map(|row| row.op).collect();
                let conversation = current.conversation;
                self.own(*current, false);
                self.states_again(conversation, refused, stored);
            }
            StoreOp::Verify { conversation, .. } => {
                let Some(kept) = self.conversations.get(&conversation) else { return };
                let here: Vec<Seq> = kept.events.keys().copied().collect();
                let claimed = kept.ranges.all().iter().flat_map(|range| range.low.0..=range.high.0).map(Seq);
                assert_eq!(here, claimed.collect::<Vec<_>>(), "C2: what is claimed is there");
            }
            StoreOp::Members { conversation, as_of, items, first, last } => {
                let Some(kept) = self.conversations.get_mut(&conversation) else { return };
                if first {
                    kept.listed.clear();
                }
                kept.listed.extend(items.into_iter().map(|member| (member.user, member.role)));
                if last {
                    kept.members = std::mem::take(&mut kept.listed);
                    kept.member_count = kept.members.len() as u32;
                    kept.members_told(as_of, self.me);
                }
            }
            StoreOp::Count { .. }
            | StoreOp::Markers { .. }
            | StoreOp::Profiles(_)
            | StoreOp::Notifications(_) => {}
        }
    }

    /// What a row deletes.
    fn deletion_of(&self, item: i64) -> Option<(ConversationId, EventId)> {
        let row = self.outbox.get(&item)?;
        let OutboxOp::Event(event) = &row.op else { return None };
        Some((row.conversation, event.target.filter(|_| event.kind == "delete")?))
    }

    /// A message was refused, and its deletion waits: both end, with what else is about it. One that other devices may
    /// have is deleted once more.
    pub fn end_if_deleted(&mut self, item: i64, code: ErrorCode) -> (Vec<i64>, Option<OutboxEntry>) {
        let nothing = (Vec::new(), None);
        let Some(row) = self.outbox.get(&item) else { return nothing };
        let OutboxOp::Event(event) = &row.op else { return nothing };
        let (id, conversation) = (event.id, row.conversation);
        if event.kind != "message" || !self.is_deleting(id) {
            return nothing;
        }
        let is_alone = event.resubmitted.is_none() && (row.tries == 0 || code != ErrorCode::TooOld);
        let is_about = |row: &Row| matches!(&row.op, OutboxOp::Event(event) if event.id == id || event.target == Some(id));
        let ended = self.outbox.iter().filter(|(_, row)| is_about(row)).map(|(item, _)| *item).collect();
        self.outbox.retain(|_, row| !is_about(row));
        if is_alone {
            return (ended, None);
        }
        self.deletions.insert((conversation, id));
        let delete = self.delete_again(id);
        (ended, Some(self.push(conversation, OutboxOp::Event(delete))))
    }

    /// Whether the deletion of a message waits.
    pub fn is_deleting(&self, message: EventId) -> bool {
        self.outbox.values().any(|row| {
            matches!(&row.op, OutboxOp::Event(event) if event.kind == "delete" && event.target == Some(message))
        })
    }

    /// Whether a relation refused with `target_missing` has a stored target.
    fn has_target(&self, item: i64) -> bool {
        let Some(row) = self.outbox.get(&item).filter(|row| row.tries < resend::TARGET_TRIES_MAX) else {
            return false;
        };
        let target = row.about();
        let kept = self.conversations.get(&row.conversation);
        let is_it = |event: &Event| Some(event.id) == target && !event.redacted;
        target.is_some() && kept.is_some_and(|kept| kept.events.values().any(is_it))
    }

    fn set(&mut self, items: &[i64], state: &RowState) {
        for item in items {
            if let Some(row) = self.outbox.get_mut(item) {
                row.state = state.clone();
            }
        }
    }

    fn head(&mut self, item: HeadsItem, handshake: bool, stored: &mut Stored) {
        let me = self.me;
        let kept = self.conversations.entry(item.own.conversation).or_default();
        let known = if handshake { Seq::ZERO } else { kept.head };
        let head = item.head.max(kept.ranges.high()).max(known);
        let has_fallen = head < kept.head;
        if has_fallen && let Some(own) = &mut kept.own {
            (own.read, own.delivered) = (own.read.min(head), own.delivered.min(head));
        }
        if has_fallen {
            kept.members_as_of = kept.members_as_of.min(head);
        }
        kept.head = head;
        kept.kind = Some(item.kind);
        kept.last_ts = kept.last_ts.max(item.last_ts);
        let is_overtaken = !handshake && item.head < kept.metadata_seq;
        kept.metadata_seq = if handshake { item.head } else { kept.metadata_seq.max(item.head) };
        if !is_overtaken {
            (kept.visible, kept.title) = (item.visible, item.title);
            kept.member_count = item.member_count;
            match item.members {
                Some(members) => {
                    kept.members = members.into_iter().map(|member| (member.user, member.role)).collect();
                    kept.members_as_of = kept.metadata_seq;
                }
                None if has_fallen || kept.members.len() != item.member_count as usize => {
                    stored.members_wanted.push(item.own.conversation);
                }
                None => {}
            }
            let above = Seq(u64::MAX);
            kept.take_facts(kept.metadata_seq, above, me);
            kept.catch_up_facts(me);
        }
        let has_left = kept.visible.last().is_none_or(|(_, to)| to.is_some());
        if handshake
            && has_left
            && let Some(own) = &mut kept.own
        {
            own.version = own.version.min(item.own.version);
        }
        self.own(item.own, handshake && !has_left);
    }

    fn own(&mut self, own: OwnState, is_whole: bool) {
        // Heads bring it with the conversation.
        let Some(kept) = self.conversations.get_mut(&own.conversation) else { return };
        let known = kept.own.as_ref();
        let markers = |own: &OwnState| (own.read, own.delivered);
        let (read, delivered) = known.map_or((Seq::ZERO, Seq::ZERO), markers);
        let (read, delivered) = (read.max(own.read), delivered.max(own.delivered));
        let counts = is_whole || known.is_none_or(|known| known.version <= own.version);
        let newest = if counts { own } else { known.cloned().unwrap_or(own) };
        kept.own = Some(OwnState { read, delivered, ..newest });
    }

    #[expect(clippy::expect_used, reason = "for tests, and it states what the machine keeps")]
    fn events(&mut self, conversation: ConversationId, before: Chain, events: &[Event], stored: &mut Stored) {
        let run = run_of(conversation, before, events).expect("the machine has checked the chain");
        let me = self.me;
        let kept = self.conversations.entry(conversation).or_default();
        let (list, as_of) = (kept.members_as_of, kept.metadata_seq);
        let is_new_to_the_list = |event: &Event| list < event.seq && event.seq <= as_of;
        let mut fresh = events.iter().filter(|event| !kept.events.contains_key(&event.seq));
        let wants_members = fresh.any(|event| event.kind == "member" && is_new_to_the_list(event));
        let at = |seq: Seq| events.iter().find(|event| event.seq == seq).map(|event| event.chain);
        let elsewhere = events.iter().find_map(|event| kept.contradicts(event));
        let seq = elsewhere.or_else(|| kept.ranges.merge(run, at).is_err().then_some(run.low));
        if let Some(seq) = seq {
            stored.forked.push((local(conversation, kept), seq));
            return;
        }
        if wants_members && !stored.members_wanted.contains(&conversation) {
            stored.members_wanted.push(conversation);
        }
        let mut freed = Vec::new();
        for event in events {
            let is_known = kept.events.contains_key(&event.seq);
            if !is_known {
                kept.events.insert(event.seq, event.clone());
            }
            if !is_known && event.seq > kept.metadata_seq {
                kept.take_fact(event, me);
            }
            if !is_known {
                kept.erase_deleted(event);
            }
            let ended: Vec<_> =
                self.outbox.iter().filter(|(_, row)| row.is(event.id)).map(|(item, _)| *item).collect();
            for item in ended {
                self.outbox.remove(&item);
                stored.ended.push(item);
            }
            let missed: Vec<_> =
                self.outbox.iter().filter(|(_, row)| row.lacks(event.id)).map(|(item, _)| *item).collect();
            for item in missed {
                if let Some(row) = self.outbox.get_mut(&item) {
                    row.state = RowState::Queued;
                }
                freed.push(item);
            }
        }
        let messages = events.iter().filter(|event| event.kind == "message");
        let came = messages.filter(|event| self.deletions.remove(&(conversation, event.id)));
        let deletes: Vec<EventId> = came.filter(|event| !event.redacted).map(|event| event.id).collect();
        kept.head = kept.head.max(run.high);
        kept.last_ts = kept.last_ts.max(events.last().map_or(TimestampMs(0), |event| event.ts));
        kept.catch_up_facts(me);
        let left = freed.into_iter().filter(|item| self.outbox.contains_key(item));
        stored.queued.extend(left.map(|item| self.entry(item)));
        for target in deletes.into_iter().filter(|id| !self.is_deleting(*id)).collect::<Vec<_>>() {
            let delete = self.delete_again(target);
            stored.queued.push(self.push(conversation, OutboxOp::Event(delete)));
        }
    }
}

pub(super) fn local(conversation: ConversationId, kept: &Kept) -> LocalConversation {
    LocalConversation {
        conversation,
        ranges: kept.ranges.all().to_vec(),
        head: kept.head,
        visible: kept.visible.clone(),
        last_ts: kept.last_ts,
        delivered: kept.own.as_ref().map_or(Seq::ZERO, |own| own.delivered),
    }
}

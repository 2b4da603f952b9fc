//! The store's twin in memory: the same answers to the same ops, and nothing that is shown.

use crate::sync::{
    ops::{
        EntryState, LocalConversation, LocalRange, LocalState, OutboxEntry, OutboxItem, OutboxOp, OutboxWhat,
        StoreOp, Stored,
    },
    ranges::{Ranges, run_of},
};
use kith_protocol::{Chain, ConversationId, ErrorCode, Event, EventId, Seq, TimestampMs, frame::OwnState};
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum RowState {
    Queued,
    Sending,
    Acked(Seq),
    Parked(ErrorCode),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub conversation: ConversationId,
    pub op: OutboxOp,
    pub state: RowState,
    pub tries: u32,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Kept {
    pub ranges: Ranges,
    pub events: BTreeMap<Seq, Event>,
    pub head: Seq,
    pub visible: Vec<(Seq, Option<Seq>)>,
    pub last_ts: TimestampMs,
    pub own: Option<OwnState>,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct MemoryStore {
    pub generation: u64,
    pub epoch: Option<String>,
    pub user_seq: u64,
    pub conversations: BTreeMap<ConversationId, Kept>,
    pub outbox: BTreeMap<i64, Row>,
    pub last_item: i64,
    /// Every acknowledgement ever (I1).
    pub acked: Vec<(ConversationId, EventId, Seq)>,
}

pub(crate) fn what(op: &OutboxOp) -> OutboxWhat {
    match op {
        OutboxOp::Open(_) => OutboxWhat::Open,
        OutboxOp::State(_) => OutboxWhat::State,
        OutboxOp::Event(event) if event.kind == "message" => OutboxWhat::Message,
        OutboxOp::Event(_) => OutboxWhat::Relation,
    }
}

impl MemoryStore {
    /// The user writes something.
    pub(crate) fn push(&mut self, conversation: ConversationId, op: OutboxOp) -> OutboxEntry {
        self.last_item += 1;
        self.outbox.insert(self.last_item, Row { conversation, op, state: RowState::Queued, tries: 0 });
        self.entry(self.last_item)
    }

    pub(crate) fn entry(&self, item: i64) -> OutboxEntry {
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
            bytes: 100,
            state,
            tries: row.tries,
            // Never old: the simulation's clock begins at 0, the driver's is the computer's.
            written_at: kith_protocol::TimestampMs(u64::MAX),
        }
    }

    pub(crate) fn load(&mut self) -> LocalState {
        for row in self.outbox.values_mut() {
            if row.state == RowState::Sending {
                row.state = RowState::Queued;
            }
        }
        LocalState {
            generation: self.generation,
            epoch: self.epoch.clone(),
            user_seq: self.user_seq,
            conversations: self.conversations.iter().map(|(id, kept)| local(*id, kept)).collect(),
            outbox: self.outbox.keys().map(|item| self.entry(*item)).collect(),
        }
    }

    pub(crate) fn apply(&mut self, ops: Vec<StoreOp>) -> Stored {
        let mut stored = Stored::default();
        for op in ops {
            self.one(op, &mut stored);
        }
        stored
    }

    fn one(&mut self, op: StoreOp, stored: &mut Stored) {
        match op {
            StoreOp::Welcome { generation, epoch } => {
                self.generation = generation;
                self.epoch = Some(epoch);
            }
            StoreOp::Device { .. } => (self.generation, self.user_seq) = (0, 0),
            StoreOp::Heads { last, user_seq, items, .. } => {
                for item in items {
                    let kept = self.conversations.entry(item.own.conversation).or_default();
                    kept.head = item.head;
                    kept.visible = item.visible;
                    kept.last_ts = item.last_ts;
                    self.own(item.own);
                }
                if last {
                    self.user_seq = user_seq;
                }
            }
            StoreOp::Append { conversation, chain_before, events } => {
                self.events(conversation, chain_before, &events, stored);
            }
            StoreOp::Page(page) => self.events(page.conversation, page.chain_before, &page.events, stored),
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
            StoreOp::Parked { items, code } => self.set(&items, &RowState::Parked(code)),
            StoreOp::Acked { item, id, seq, .. } => {
                let Some(row) = self.outbox.get(&item) else { return };
                let conversation = row.conversation;
                self.acked.push((conversation, id, seq));
                let stored_already =
                    self.conversations.get(&conversation).is_some_and(|kept| kept.events.contains_key(&seq));
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
                    self.own(item);
                }
                self.user_seq = user_seq.unwrap_or(self.user_seq);
            }
            StoreOp::DraftConflict { items, current } => {
                self.outbox.retain(|item, _| !items.contains(item));
                self.own(*current);
            }
            StoreOp::Markers { .. }
            | StoreOp::Profiles(_)
            | StoreOp::Members { .. }
            | StoreOp::Notifications(_) => {}
        }
    }

    fn set(&mut self, items: &[i64], state: &RowState) {
        for item in items {
            if let Some(row) = self.outbox.get_mut(item) {
                row.state = state.clone();
            }
        }
    }

    fn own(&mut self, own: OwnState) {
        let kept = self.conversations.entry(own.conversation).or_default();
        let read = kept.own.as_ref().map_or(Seq::ZERO, |own| own.read);
        if kept.own.as_ref().is_none_or(|known| known.version <= own.version) {
            kept.own = Some(OwnState { read: read.max(own.read), ..own });
        }
    }

    fn events(&mut self, conversation: ConversationId, before: Chain, events: &[Event], stored: &mut Stored) {
        let run = run_of(conversation, before, events).expect("the machine has checked the chain");
        let kept = self.conversations.entry(conversation).or_default();
        kept.ranges.merge(run, |_| None).expect("the machine has checked the ranges");
        for event in events {
            kept.events.insert(event.seq, event.clone());
            let ended: Vec<_> =
                self.outbox.iter().filter(|(_, row)| row.is(event.id)).map(|(item, _)| *item).collect();
            for item in ended {
                self.outbox.remove(&item);
                stored.ended.push(item);
            }
        }
        kept.head = kept.head.max(run.high);
    }

    fn rewind(&mut self, conversation: ConversationId, chains: &[(Seq, Chain)], stored: &mut Stored) {
        let kept = self.conversations.entry(conversation).or_default();
        let equal =
            |(seq, chain): &&(Seq, Chain)| kept.events.get(seq).is_some_and(|event| event.chain == *chain);
        let keep = chains.iter().filter(equal).map(|(seq, _)| *seq).max().unwrap_or(Seq::ZERO);
        let mut ranges: Vec<LocalRange> =
            kept.ranges.all().iter().copied().filter(|range| range.low <= keep).collect();
        if let Some(last) = ranges.last_mut()
            && last.high > keep
        {
            last.high = keep;
            last.chain_high = kept.events[&keep].chain;
        }
        kept.ranges = Ranges::new(ranges);
        kept.events.retain(|seq, _| *seq <= keep);
        stored.rewound.push(local(conversation, kept));
    }
}

impl Row {
    pub(crate) fn is(&self, id: EventId) -> bool {
        matches!(&self.op, OutboxOp::Event(event) if event.id == id)
    }
}

fn local(conversation: ConversationId, kept: &Kept) -> LocalConversation {
    LocalConversation {
        conversation,
        ranges: kept.ranges.all().to_vec(),
        head: kept.head,
        visible: kept.visible.clone(),
        last_ts: kept.last_ts,
        delivered: kept.own.as_ref().map_or(Seq::ZERO, |own| own.delivered),
    }
}

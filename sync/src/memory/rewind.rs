//! The memory store after a restore of the server (S7, I12).

use super::{MemoryStore, RowState, local, what};
use crate::{
    ops::{LocalRange, OutboxOp, OutboxWhat, Stored},
    ranges::Ranges,
    resend::{self, Next, Waiting},
};
use kith_protocol::{
    Chain, ConversationId, Event, EventId, NewEvent, Seq,
    event::Role,
    frame::{ConversationKind, Open},
};

impl MemoryStore {
    /// The server has lost a conversation: whose it is to do begins it again, and its own state counts anew.
    pub(super) fn lost(&mut self, conversation: ConversationId, stored: &mut Stored) {
        let (Some(kept), Some(me)) = (self.conversations.get_mut(&conversation), self.me) else { return };
        kept.fell_to(kept.ranges.high());
        if let Some(own) = &mut kept.own {
            own.version = 0;
        }
        let role = kept.members.get(&me).copied();
        let is_direct = kept.kind == Some(ConversationKind::Direct);
        let is_opening = self
            .outbox
            .values()
            .any(|row| row.conversation == conversation && what(&row.op) == OutboxWhat::Open);
        if is_opening || !(role == Some(Role::Owner) || (is_direct && role.is_some())) {
            return;
        }
        let (kind, members) = (kept.kind.unwrap_or(ConversationKind::Direct), kept.members.keys().copied());
        let members = members.filter(|member| *member != me).collect();
        let title = kept.title.clone();
        let open = Open { conversation, kind, members, title, context: None, first: None };
        stored.queued.push(self.push(conversation, OutboxOp::Open(open)));
    }

    pub(super) fn rewind(
        &mut self,
        conversation: ConversationId,
        chains: &[(Seq, Chain)],
        stored: &mut Stored,
    ) {
        let kept = self.conversations.entry(conversation).or_default();
        let mut ascending = chains.to_vec();
        ascending.sort_by_key(|(seq, _)| *seq);
        let mut keep = Seq::ZERO;
        for (seq, chain) in ascending {
            match kept.events.get(&seq) {
                Some(event) if event.chain == chain => keep = seq,
                Some(_) => break,
                None => {}
            }
        }
        let mut ranges: Vec<LocalRange> =
            kept.ranges.all().iter().copied().filter(|range| range.low <= keep).collect();
        if let Some(last) = ranges.last_mut()
            && last.high > keep
        {
            last.high = keep;
            last.chain_high = kept.events[&keep].chain;
        }
        kept.ranges = Ranges::new(ranges);
        let above = kept.events.split_off(&keep.next());
        let known = kept.metadata_seq;
        kept.fell_to(keep);
        stored.rewound.push(local(conversation, kept));
        let changes_members = above.values().any(|event| event.kind == "member")
            || (above.len() as u64) < known.0.saturating_sub(keep.0);
        if changes_members && !stored.members_wanted.contains(&conversation) {
            stored.members_wanted.push(conversation);
        }
        let Some(me) = self.me else { return };
        let above: Vec<Event> = above.into_values().collect();
        let plan = resend::plan(me, &above, &self.waiting(conversation));
        self.deletions.extend(plan.deleted.iter().map(|id| (conversation, *id)));
        let moved = |next: &Next| if let Next::Row { item, .. } = next { Some(*item) } else { None };
        stored.ended.extend(plan.ended.iter().copied().chain(plan.order.iter().filter_map(moved)));
        self.outbox.retain(|item, _| !plan.ended.contains(item));
        for next in plan.order {
            let (item, is_freed) = match next {
                Next::Again(event) => {
                    stored.queued.push(self.push(conversation, OutboxOp::Event(event)));
                    continue;
                }
                Next::Row { item, is_freed } => (item, is_freed),
            };
            let Some(mut row) = self.outbox.remove(&item) else { continue };
            if row.state == RowState::Sending || is_freed {
                row.state = RowState::Queued;
            }
            self.last_item += 1;
            self.outbox.insert(self.last_item, row);
            stored.queued.push(self.entry(self.last_item));
        }
    }

    /// The deletion of a message that another device has sent again.
    pub(super) fn delete_again(&self, target: EventId) -> NewEvent {
        let bits = target.as_uuid().as_u128() ^ (self.last_item as u128 + 1);
        let id = uuid::Builder::from_u128(bits).with_version(uuid::Version::SortRand).into_uuid();
        let body = serde_json::Value::Object(serde_json::Map::new());
        NewEvent {
            id: EventId::from_uuid(id),
            kind: "delete".to_owned(),
            target: Some(target),
            body,
            written_at: None,
            resubmitted: None,
        }
    }

    /// The events of a conversation that wait.
    fn waiting(&self, conversation: ConversationId) -> Vec<Waiting> {
        let rows = self.outbox.iter().filter(|(_, row)| row.conversation == conversation);
        let rows = rows.filter_map(|(item, row)| match &row.op {
            OutboxOp::Event(event) => Some(Waiting {
                item: *item,
                id: Some(event.id),
                acked: if let RowState::Acked(seq) = row.state { Some(seq) } else { None },
                kind: event.kind.clone(),
                target: event.target,
                parked: if let RowState::Parked(code) = row.state { Some(code) } else { None },
            }),
            OutboxOp::Open(_) | OutboxOp::State(_) => None,
        });
        rows.collect()
    }
}

//! What of one's own events goes out again after a rewind, and in which order (S7).
//!
//! Two rules hold whatever was queued when the log was cut: a relation follows its target in the outbox, and a message
//! that its author deleted is not sent again, nor is anything about it.

use crate::mutation::{self, Mutation};
use kith_protocol::{ErrorCode, Event, EventId, NewEvent, Seq, UserId};
use std::collections::BTreeSet;

/// How often a relation is sent although the server reports `target_missing` and the target is stored here.
pub const TARGET_TRIES_MAX: u32 = 5;

/// An event that waits in the outbox.
#[derive(Debug, Clone)]
pub struct Waiting {
    pub item: i64,
    pub id: Option<EventId>,
    /// Where the server has numbered it, as it said; the event itself is not stored yet.
    pub acked: Option<Seq>,
    pub kind: String,
    pub target: Option<EventId>,
    /// Why it is parked, if it is.
    pub parked: Option<ErrorCode>,
}

/// What happens to the outbox of a conversation whose log was cut.
#[derive(Debug, Default)]
pub struct Resend {
    /// Rows that end, for what they are about was deleted by its author.
    pub ended: Vec<i64>,
    /// Messages that this user deleted, and whose deletion is not sent again: there is nothing to delete, unless another
    /// device sends the message.
    pub deleted: BTreeSet<EventId>,
    /// What leaves, in this order, each with a new number; empty if the rows stay as they are.
    pub order: Vec<Next>,
}

/// One place in the outbox.
#[derive(Debug)]
pub enum Next {
    /// An own event of the log that was cut.
    Again(NewEvent),
    Row {
        item: i64,
        /// It was refused for want of its target, which goes out again before it.
        is_freed: bool,
    },
}

/// Plans it: `above` are the stored events that are cut off, ascending; `waiting` the rows, ascending.
pub fn plan(me: UserId, above: &[Event], waiting: &[Waiting]) -> Resend {
    let own: BTreeSet<EventId> =
        above.iter().filter(|event| event.sender == me).map(|event| event.id).collect();
    let redacted = above.iter().filter(|event| event.redacted).map(|event| event.id);
    let numbered = above.iter().filter(|event| event.kind == "delete").filter_map(|event| event.target);
    let queued = waiting.iter().filter(|row| row.kind == "delete").filter_map(|row| row.target);
    let queued = queued.filter(|_| !mutation::is(Mutation::RelationOvertakes));
    let deleted: BTreeSet<EventId> =
        redacted.chain(numbered.chain(queued).filter(|target| own.contains(target))).collect();
    let is_about_deleted = |target: Option<EventId>| target.is_some_and(|target| deleted.contains(&target));
    let again: Vec<&Event> = above
        .iter()
        .filter(|event| event.sender == me && event.body.is_some())
        .filter(|event| !deleted.contains(&event.id) && !is_about_deleted(event.target))
        .collect();
    let mut plan = Resend::default();
    if mutation::is(Mutation::RelationOvertakes) {
        plan.order = again.into_iter().filter_map(again_of).map(Next::Again).collect();
        return plan;
    }
    let (ended, mut rows): (Vec<&Waiting>, Vec<&Waiting>) =
        waiting.iter().partition(|row| is_about_deleted(row.target));
    let own_deletes = above.iter().filter(|event| event.sender == me && event.kind == "delete");
    let waiting_deletes = ended.iter().filter(|row| row.kind == "delete");
    let by_me = own_deletes.map(|event| event.target).chain(waiting_deletes.map(|row| row.target)).flatten();
    let by_others = above.iter().filter(|event| event.sender != me && event.kind == "delete");
    let by_others: BTreeSet<EventId> = by_others.filter_map(|event| event.target).collect();
    // An own message that was erased, and of whose deletion nothing is stored, was deleted on another device.
    let erased = own.into_iter().filter(|id| !by_others.contains(id));
    let by_me: BTreeSet<EventId> = by_me.chain(erased).collect();
    if !mutation::is(Mutation::LostDeletionIsForgotten) {
        plan.deleted = deleted.intersection(&by_me).copied().collect();
    }
    plan.ended = ended.into_iter().map(|row| row.item).collect();
    if again.is_empty() {
        return plan;
    }
    let row_of = |row: &Waiting| Next::Row {
        item: row.item,
        is_freed: row.parked == Some(ErrorCode::TargetMissing)
            && row.target.is_some_and(|target| again.iter().any(|event| event.id == target)),
    };
    let mut later: BTreeSet<EventId> = again.iter().map(|event| event.id).collect();
    later.extend(rows.iter().filter_map(|row| row.id));
    for event in &again {
        // What was acknowledged and has not come stood before it in the log, as what it is about did. One that an earlier
        // log acknowledged may be about what comes later here.
        let goes_before = |row: &mut &Waiting| {
            let was_before =
                row.acked.is_some_and(|seq| seq < event.seq) || (row.id.is_some() && row.id == event.target);
            let goes = was_before && row.target.is_none_or(|target| !later.contains(&target));
            row.id.filter(|_| goes).is_some_and(|id| later.remove(&id)) || goes
        };
        plan.order.extend(rows.extract_if(.., goes_before).map(row_of));
        later.remove(&event.id);
        plan.order.extend(again_of(event).map(Next::Again));
    }
    plan.order.extend(rows.into_iter().map(row_of));
    plan
}

/// A stored event as it is written once more.
fn again_of(event: &Event) -> Option<NewEvent> {
    Some(NewEvent {
        id: event.id,
        kind: event.kind.clone(),
        target: event.target,
        body: event.body.clone()?,
        written_at: event.written_at,
        resubmitted: Some(true),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kith_protocol::{Chain, ConversationId, TimestampMs};
    use serde_json::json;

    fn event(seq: u64, sender: UserId, kind: &str, target: Option<EventId>) -> Event {
        let id = ConversationId::from_uuid(uuid::Uuid::from_u128(1));
        Event {
            seq: Seq(seq),
            id: EventId::mint(),
            kind: kind.to_owned(),
            sender,
            ts: TimestampMs(1),
            written_at: None,
            countable: 1,
            chain: Chain::empty(id),
            target,
            body: Some(json!({})),
            redacted: false,
        }
    }

    fn waiting(item: i64, kind: &str, target: Option<EventId>) -> Waiting {
        Waiting { item, id: None, acked: None, kind: kind.to_owned(), target, parked: None }
    }

    fn again(plan: &Resend) -> Vec<EventId> {
        let events = plan.order.iter();
        events.filter_map(|next| if let Next::Again(event) = next { Some(event.id) } else { None }).collect()
    }

    fn rows_of(plan: &Resend) -> Vec<(i64, bool)> {
        let row = |next: &Next| match next {
            Next::Row { item, is_freed } => Some((*item, *is_freed)),
            Next::Again(_) => None,
        };
        plan.order.iter().filter_map(row).collect()
    }

    #[test]
    fn s7_what_was_acknowledged_and_has_not_come_keeps_its_place() {
        let me = UserId::mint();
        let target = EventId::mint();
        let reaction = event(9, me, "reaction", Some(target));
        let numbered = |item, seq| Waiting { acked: Some(Seq(seq)), ..waiting(item, "message", None) };
        let rows =
            [Waiting { id: Some(target), ..numbered(1, 4) }, numbered(2, 12), waiting(3, "message", None)];
        let plan = plan(me, &[reaction], &rows);
        let order: Vec<_> =
            plan.order.iter().map(|next| if let Next::Row { item, .. } = next { *item } else { 0 }).collect();
        assert_eq!(order, [1, 0, 2, 3]);
    }

    #[test]
    fn s7_what_an_earlier_log_acknowledged_follows_its_target_too() {
        let me = UserId::mint();
        let (first, target) = (event(8, me, "message", None), event(9, me, "message", None));
        let pin = |item, target| Waiting { acked: Some(Seq(5)), ..waiting(item, "pin", Some(target)) };
        let queued = Waiting { id: Some(EventId::mint()), ..waiting(1, "message", None) };
        let rows = [queued.clone(), pin(2, queued.id.unwrap()), pin(3, target.id)];
        let plan = plan(me, &[first, target], &rows);
        let order: Vec<_> =
            plan.order.iter().map(|next| if let Next::Row { item, .. } = next { *item } else { 0 }).collect();
        assert_eq!(order, [0, 0, 1, 2, 3]);
    }

    #[test]
    fn s7_a_relation_follows_its_target_and_what_was_deleted_stays_deleted() {
        let (me, peer) = (UserId::mint(), UserId::mint());
        let mine = event(4, me, "message", None);
        let gone = event(5, me, "message", None);
        let edit = event(6, me, "edit", Some(gone.id));
        let theirs = event(7, peer, "message", None);
        let refused =
            Waiting { parked: Some(ErrorCode::TargetMissing), ..waiting(4, "reaction", Some(mine.id)) };
        let rows = [
            waiting(1, "edit", Some(mine.id)),
            waiting(2, "message", None),
            waiting(3, "delete", Some(gone.id)),
            refused,
            waiting(5, "delete", Some(theirs.id)),
        ];
        let deleted = [gone.id];
        let plan = plan(me, &[mine.clone(), gone, edit, theirs], &rows);
        assert_eq!(again(&plan), [mine.id]);
        assert_eq!(plan.ended, [3]);
        assert_eq!(plan.deleted.iter().copied().collect::<Vec<_>>(), deleted);
        assert_eq!(rows_of(&plan), [(1, false), (2, false), (4, true), (5, false)]);
    }

    #[test]
    fn s7_a_numbered_deletion_counts_though_its_message_was_not_redacted_here() {
        let me = UserId::mint();
        let gone = event(4, me, "message", None);
        let delete = event(5, me, "delete", Some(gone.id));
        let kept = event(3, me, "message", None);
        let plan = plan(me, &[kept.clone(), gone, delete], &[]);
        assert_eq!(again(&plan), [kept.id]);
    }

    #[test]
    fn s7_what_this_user_deleted_is_remembered_whoever_wrote_it() {
        let (me, peer) = (UserId::mint(), UserId::mint());
        let redacted =
            |seq, sender| Event { redacted: true, body: None, ..event(seq, sender, "message", None) };
        let (mine, theirs, by_peer) = (redacted(1, me), redacted(2, peer), redacted(3, peer));
        let deletes = [event(4, me, "delete", Some(theirs.id)), event(5, peer, "delete", Some(by_peer.id))];
        let wanted = BTreeSet::from([mine.id, theirs.id]);
        let plan = plan(me, &[vec![mine, theirs, by_peer], deletes.to_vec()].concat(), &[]);
        assert_eq!((plan.deleted, plan.order.len()), (wanted, 0));
    }

    #[test]
    fn s7_nothing_is_moved_when_nothing_goes_out_again() {
        let (me, peer) = (UserId::mint(), UserId::mint());
        let plan = plan(me, &[event(4, peer, "message", None)], &[waiting(1, "message", None)]);
        assert!(plan.order.is_empty() && plan.ended.is_empty());
    }
}

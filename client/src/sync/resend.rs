//! What of one's own events goes out again after a rewind, and in which order (S7).
//!
//! Two rules hold whatever was queued when the log was cut: a relation follows its target in the outbox, and a message
//! that its author deleted is not sent again, nor is anything about it.

use crate::mutation::{self, Mutation};
use kith_protocol::{ErrorCode, Event, EventId, NewEvent, UserId};
use std::collections::BTreeSet;

/// An event that waits in the outbox.
#[derive(Debug, Clone)]
pub(crate) struct Waiting {
    /// Its row.
    pub item: i64,
    /// Its kind.
    pub kind: String,
    /// What it is about.
    pub target: Option<EventId>,
    /// Why it is parked, if it is.
    pub parked: Option<ErrorCode>,
}

/// What happens to the outbox of a conversation whose log was cut.
#[derive(Debug, Default)]
pub(crate) struct Resend {
    /// Own events that go back to the outbox, in the order of the log.
    pub again: Vec<NewEvent>,
    /// Rows that end, for what they are about was deleted by its author.
    pub ended: Vec<i64>,
    /// Rows that leave after [`Self::again`]: each gets a new number, in this order. `true` if it was refused for want
    /// of its target, which goes out again before it.
    pub moved: Vec<(i64, bool)>,
}

/// Plans it: `above` are the stored events that are cut off, ascending; `waiting` the rows, ascending.
pub(crate) fn plan(me: UserId, above: &[Event], waiting: &[Waiting]) -> Resend {
    let own: BTreeSet<EventId> =
        above.iter().filter(|event| event.sender == me).map(|event| event.id).collect();
    let redacted = above.iter().filter(|event| event.redacted).map(|event| event.id);
    let numbered = above.iter().filter(|event| event.kind == "delete").filter_map(|event| event.target);
    let queued = waiting.iter().filter(|row| row.kind == "delete").filter_map(|row| row.target);
    let queued = queued.filter(|_| !mutation::is(Mutation::RelationOvertakes));
    let deleted: BTreeSet<EventId> =
        redacted.chain(numbered.chain(queued).filter(|target| own.contains(target))).collect();
    let is_about_deleted = |target: Option<EventId>| target.is_some_and(|target| deleted.contains(&target));
    let mut plan = Resend::default();
    for event in above.iter().filter(|event| event.sender == me) {
        if deleted.contains(&event.id) || is_about_deleted(event.target) {
            continue;
        }
        let Some(body) = event.body.clone() else { continue };
        plan.again.push(NewEvent {
            id: event.id,
            kind: event.kind.clone(),
            target: event.target,
            body,
            written_at: event.written_at,
            resubmitted: Some(true),
        });
    }
    let comes_again = |target: EventId| plan.again.iter().any(|event| event.id == target);
    if mutation::is(Mutation::RelationOvertakes) {
        return plan;
    }
    for row in waiting {
        if is_about_deleted(row.target) {
            plan.ended.push(row.item);
        } else if !plan.again.is_empty() {
            let is_missed = row.parked == Some(ErrorCode::TargetMissing);
            plan.moved.push((row.item, is_missed && row.target.is_some_and(comes_again)));
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use kith_protocol::{Chain, ConversationId, Seq, TimestampMs};
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
        Waiting { item, kind: kind.to_owned(), target, parked: None }
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
        let plan = plan(me, &[mine.clone(), gone, edit, theirs], &rows);
        assert_eq!(plan.again.iter().map(|event| event.id).collect::<Vec<_>>(), [mine.id]);
        assert_eq!(plan.ended, [3]);
        assert_eq!(plan.moved, [(1, false), (2, false), (4, true), (5, false)]);
    }

    #[test]
    fn s7_a_numbered_deletion_counts_though_its_message_was_not_redacted_here() {
        let me = UserId::mint();
        let gone = event(4, me, "message", None);
        let delete = event(5, me, "delete", Some(gone.id));
        let kept = event(3, me, "message", None);
        let plan = plan(me, &[kept.clone(), gone, delete], &[]);
        assert_eq!(plan.again.iter().map(|event| event.id).collect::<Vec<_>>(), [kept.id]);
    }

    #[test]
    fn s7_nothing_is_moved_when_nothing_goes_out_again() {
        let (me, peer) = (UserId::mint(), UserId::mint());
        let plan = plan(me, &[event(4, peer, "message", None)], &[waiting(1, "message", None)]);
        assert!(plan.again.is_empty() && plan.moved.is_empty() && plan.ended.is_empty());
    }
}

//! What this user deleted stays deleted, also where the server has lost it (S7).

use super::{lineage::outbox, *};
use crate::{store::members, view::OutboxState};
use kith_sync::ops::{EntryState, OutboxWhat};

#[tokio::test]
async fn s7_what_was_acknowledged_lost_and_deleted_is_not_sent_again() {
    let fixture = Fixture::new().await;
    let (id, item) = fixture.send("regretted").await;
    fixture.apply(vec![StoreOp::Sending { items: vec![item] }]).await;
    fixture.apply(vec![StoreOp::Acked { item, id, seq: Seq(1), ts: TimestampMs(1) }]).await;
    fixture.write(move |tx| doing::delete(tx, Fixture::CID, id)).await;
    let stored = fixture.apply(vec![StoreOp::Queued { items: vec![item] }]).await;
    assert_eq!((outbox(&fixture).await, stored.ended.len()), (Vec::new(), 2));
    assert_eq!(fixture.texts().await, [""; 0]);
}

#[tokio::test]
async fn s7_what_was_deleted_and_another_device_sends_again_is_deleted_again() {
    let mut fixture = Fixture::new().await;
    let (ada, bo) = (fixture.ada, fixture.bo);
    let (mine, theirs) = (fixture.says(ada, "mine").id, fixture.says(bo, "theirs").id);
    fixture.number(ada, EventId::mint(), &EventContent::Delete { target: mine });
    fixture.apply(vec![fixture.append(1, 3)]).await;
    let conversation = fixture.conversation;
    fixture.log.clear();
    fixture.apply(vec![StoreOp::Rewind { conversation, chains: Vec::new() }]).await;
    assert_eq!(outbox(&fixture).await, [], "there is nothing to delete");
    fixture.number(bo, theirs, &message("theirs"));
    fixture.number(ada, mine, &message("mine"));
    let stored = fixture.apply(vec![fixture.append(1, 2)]).await;
    assert_eq!(stored.queued.len(), 1);
    let rows = fixture.read(crate::store::outbox::all).await;
    let delete: kith_protocol::NewEvent = serde_json::from_str(&rows[0].content).unwrap();
    assert_eq!((delete.kind.as_str(), delete.target), ("delete", Some(mine)));
    assert_eq!(fixture.texts().await, ["theirs", ""], "it is shown as deleted at once");
    // The device that sent it again has heard of the deletion meanwhile.
    fixture.log.clear();
    fixture.apply(vec![StoreOp::Rewind { conversation, chains: Vec::new() }]).await;
    let event = fixture.number(ada, mine, &message("mine"));
    let event = Event { redacted: true, body: None, ..event };
    let chain_before = Chain::empty(conversation);
    let stored =
        fixture.apply(vec![StoreOp::Append { conversation, chain_before, events: vec![event] }]).await;
    assert_eq!((stored.queued.len(), outbox(&fixture).await), (0, Vec::new()));
}

#[tokio::test]
async fn s7_the_deletion_of_what_the_server_does_not_have_ends_until_it_comes() {
    let mut fixture = Fixture::new().await;
    let ada = fixture.ada;
    let mine = fixture.says(ada, "mine").id;
    fixture.apply(vec![fixture.append(1, 1)]).await;
    let conversation = fixture.conversation;
    fixture.log.clear();
    fixture.apply(vec![StoreOp::Rewind { conversation, chains: Vec::new() }]).await;
    let rows = fixture.read(crate::store::outbox::all).await;
    fixture.apply(vec![StoreOp::Sending { items: vec![rows[0].item] }]).await;
    fixture.write(move |tx| doing::delete(tx, Fixture::CID, mine)).await;
    let delete = fixture.read(crate::store::outbox::all).await[1].item;
    let code = kith_protocol::ErrorCode::TargetMissing;
    let stored = fixture.apply(vec![StoreOp::Parked { items: vec![delete], code }]).await;
    assert_eq!(stored.ended, [delete], "the user has nothing to decide");
    fixture.number(ada, mine, &message("mine"));
    let stored = fixture.apply(vec![fixture.append(1, 1)]).await;
    assert_eq!((stored.queued.len(), fixture.texts().await), (1, vec![String::new()]));
}

/// A message of bo's that ada deleted as an admin, and that the server then lost with its deletion.
async fn deleted_by_an_admin(role_after: Role) -> (Fixture, EventId) {
    let mut fixture = Fixture::new().await;
    let (ada, bo, conversation) = (fixture.ada, fixture.bo, fixture.conversation);
    fixture.write(move |tx| members::put(tx, Fixture::CID, tx.me, Role::Admin)).await;
    let theirs = fixture.says(bo, "rude").id;
    fixture.number(ada, EventId::mint(), &EventContent::Delete { target: theirs });
    fixture.apply(vec![fixture.append(1, 2)]).await;
    fixture.log.clear();
    fixture.apply(vec![StoreOp::Rewind { conversation, chains: Vec::new() }]).await;
    fixture.write(move |tx| members::put(tx, Fixture::CID, tx.me, role_after)).await;
    fixture.number(bo, theirs, &message("rude"));
    (fixture, theirs)
}

#[tokio::test]
async fn s7_what_an_admin_deleted_comes_back_unannounced_and_is_deleted_again() {
    let (fixture, theirs) = deleted_by_an_admin(Role::Admin).await;
    let stored = fixture.apply(vec![fixture.append(1, 1)]).await;
    let announced = |notice: &EngineEvent| matches!(notice, EngineEvent::MessageArrived { .. });
    assert!(!stored.notices.iter().any(announced), "nobody is told of what is about to go");
    let rows = fixture.read(crate::store::outbox::all).await;
    let delete: kith_protocol::NewEvent = serde_json::from_str(&rows[0].content).unwrap();
    assert_eq!((rows.len(), delete.kind.as_str(), delete.target), (1, "delete", Some(theirs)));
}

#[tokio::test]
async fn s7_who_may_delete_no_more_does_not_repeat_a_deletion() {
    let (fixture, _) = deleted_by_an_admin(Role::Member).await;
    let stored = fixture.apply(vec![fixture.append(1, 1)]).await;
    assert_eq!((stored.queued.len(), fixture.texts().await), (0, vec!["rude".to_owned()]));
}

#[tokio::test]
async fn s7_a_damaged_file_keeps_what_was_deleted() {
    let mut fixture = Fixture::new().await;
    let (ada, conversation) = (fixture.ada, fixture.conversation);
    let mine = fixture.says(ada, "mine").id;
    fixture.number(ada, EventId::mint(), &EventContent::Delete { target: mine });
    fixture.apply(vec![fixture.append(1, 2)]).await;
    fixture.log.clear();
    fixture.apply(vec![StoreOp::Rewind { conversation, chains: Vec::new() }]).await;
    fixture.store.close().await;
    fixture.store = fixture.store.mended().await.unwrap();
    fixture.apply(vec![fixture.heads(true)]).await;
    fixture.number(ada, mine, &message("mine"));
    let stored = fixture.apply(vec![fixture.append(1, 1)]).await;
    assert_eq!(stored.queued.len(), 1, "it is deleted again");
}

#[tokio::test]
async fn o5_what_waits_with_a_missing_target_is_held_and_retried_with_it_and_a_deletion_passes() {
    let mut fixture = Fixture::new().await;
    let bo = fixture.bo;
    let mine = fixture.says(fixture.ada, "mine").id;
    let theirs = fixture.says(bo, "theirs").id;
    fixture.apply(vec![fixture.append(1, 2)]).await;
    for (target, on) in [(mine, true), (theirs, true)] {
        fixture.write(move |tx| doing::react(tx, Fixture::CID, target, "+", on)).await;
    }
    let rows = fixture.read(crate::store::outbox::all).await;
    fixture.apply(vec![StoreOp::Sending { items: vec![rows[0].item] }]).await;
    // As if its target had been lost and were not stored here.
    let item = rows[0].item;
    fixture
        .write(move |tx| {
            let parked = "UPDATE outbox SET state = 'parked', code = 'target_missing' WHERE item = ?1";
            tx.conn.execute(parked, [item]).map(|_| ()).map_err(Into::into)
        })
        .await;
    fixture.write(move |tx| doing::react(tx, Fixture::CID, mine, "-", true)).await;
    let items = fixture.read(doing::list).await;
    let seen: Vec<_> = items.iter().map(|item| item.state).collect();
    let parked = OutboxState::Parked { code: kith_protocol::ErrorCode::TargetMissing };
    assert_eq!(seen, [parked, OutboxState::Queued, OutboxState::Held]);
    let held = items[2].item;
    let ((), _, update) = fixture.write(move |tx| doing::retry(tx, held)).await;
    let tried: Vec<_> = update.changed.iter().map(|entry| (entry.item, entry.state)).collect();
    assert_eq!(tried[0], (item, EntryState::Queued), "what holds it back is tried, in its place");
    let ((), _, update) = fixture.write(move |tx| doing::delete(tx, Fixture::CID, mine)).await;
    let delete = update.changed.iter().find(|entry| entry.what == OutboxWhat::Relation);
    assert_eq!(delete.unwrap().message, None, "a deletion waits for nothing");
}

/// A row leaves; the server does not have what it is about.
async fn refused(fixture: &Fixture, item: i64) -> Applied {
    fixture.apply(vec![StoreOp::Sending { items: vec![item] }]).await;
    let code = kith_protocol::ErrorCode::TargetMissing;
    fixture.apply(vec![StoreOp::Parked { items: vec![item], code }]).await
}

/// Bo's message and what was written about it here; Bo deletes it: before that is known here it is refused, or after.
async fn answered(write: fn(&mut Tx<'_>, EventId) -> Result<(), ClientError>, order: usize) -> Fixture {
    let mut fixture = Fixture::new().await;
    let bo = fixture.bo;
    let theirs = fixture.says(bo, "theirs").id;
    fixture.apply(vec![fixture.append(1, 1)]).await;
    fixture.write(move |tx| write(tx, theirs)).await;
    fixture.number(bo, EventId::mint(), &EventContent::Delete { target: theirs });
    let item = fixture.read(crate::store::outbox::all).await[0].item;
    match order {
        0 => {}
        1 => drop(fixture.apply(vec![StoreOp::Sending { items: vec![item] }]).await),
        _ => {
            let at = TimestampMs(1);
            let code = kith_protocol::ErrorCode::Busy;
            fixture.apply(vec![StoreOp::Sending { items: vec![item] }]).await;
            fixture.apply(vec![StoreOp::Retry { items: vec![item], at, code }]).await;
        }
    }
    fixture.apply(vec![fixture.append(2, 2)]).await;
    if order > 0 {
        refused(&fixture, item).await;
    }
    fixture
}

#[tokio::test]
async fn w9_an_answer_to_what_was_deleted_becomes_a_message_of_its_own() {
    for order in 0..3 {
        let write = |tx: &mut Tx<'_>, theirs| {
            doing::write_message(tx, Fixture::CID, EventId::mint(), "answer", Some(theirs))
        };
        let fixture = answered(write, order).await;
        let rows = fixture.read(crate::store::outbox::all).await;
        let event: kith_protocol::NewEvent = serde_json::from_str(&rows[0].content).unwrap();
        assert_eq!(
            (rows[0].state.as_str(), event.body),
            ("queued", serde_json::json!({"text": "answer"})),
            "{order}"
        );
        let newest = fixture.messages().await.pop().unwrap();
        assert_eq!((newest.text.as_str(), newest.reply_to), ("answer", None), "{order}");
        assert_eq!(fixture.read(doing::list).await.len(), 1);
    }
}

#[tokio::test]
async fn w9_reactions_and_pins_of_what_was_deleted_end() {
    for order in 0..3 {
        let react = |tx: &mut Tx<'_>, theirs| doing::react(tx, Fixture::CID, theirs, "+", true);
        assert_eq!(answered(react, order).await.read(doing::list).await, [], "{order}");
        let pin = |tx: &mut Tx<'_>, theirs| doing::pin(tx, Fixture::CID, theirs, true);
        assert_eq!(answered(pin, order).await.read(doing::list).await, [], "{order}");
    }
}

#[tokio::test]
async fn o7_a_refused_message_whose_deletion_waits_goes_with_it() {
    let fixture = Fixture::new().await;
    let (id, item) = fixture.send("hasty").await;
    fixture.apply(vec![StoreOp::Sending { items: vec![item] }]).await;
    fixture.write(move |tx| doing::delete(tx, Fixture::CID, id)).await;
    let delete = fixture.read(crate::store::outbox::all).await[1].item;
    let code = kith_protocol::ErrorCode::NotMember;
    let stored = fixture.apply(vec![StoreOp::Parked { items: vec![item], code }]).await;
    assert_eq!(stored.ended, [delete, item]);
    assert_eq!(
        stored.notices.iter().filter(|notice| matches!(notice, EngineEvent::Problem { .. })).count(),
        0
    );
    assert_eq!((fixture.read(doing::list).await, fixture.texts().await), (Vec::new(), Vec::new()));
}

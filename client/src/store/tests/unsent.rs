use super::*;
use crate::{
    events::Problem,
    store::{list, outbox, own_state as own, search},
    view::{OutboxKind, OutboxState, SendState},
};
use kith_protocol::{ErrorCode, frame::StateChange};
use kith_sync::ops::{EntryState, OutboxOp, OutboxWhat};

async fn sending(fixture: &Fixture, items: &[i64]) -> Vec<OutboxOp> {
    let stored = fixture.apply(vec![StoreOp::Sending { items: items.to_vec() }]).await;
    stored.stored.sending.into_iter().map(|item| item.op).collect()
}

async fn states(fixture: &Fixture) -> Vec<Option<SendState>> {
    fixture.messages().await.into_iter().map(|message| message.send_state).collect()
}

#[tokio::test]
async fn a03_o2_what_was_sending_is_queued_after_a_restart() {
    let mut fixture = Fixture::new().await;
    let (id, item) = fixture.send("kept").await;
    assert_eq!(states(&fixture).await, [Some(SendState::Queued)]);
    sending(&fixture, &[item]).await;
    assert_eq!(states(&fixture).await, [Some(SendState::Sending)]);
    fixture.reopen().await;
    let local = fixture.store.load_sync_state(nothing_earlier()).await.unwrap();
    assert_eq!(local.outbox.len(), 1);
    assert_eq!(
        (local.outbox[0].item, local.outbox[0].state, local.outbox[0].tries),
        (item, EntryState::Queued, 1)
    );
    let op = sending(&fixture, &[item]).await.remove(0);
    assert!(matches!(op, OutboxOp::Event(event) if event.id == id));
}

#[tokio::test]
async fn o2_an_acknowledgement_alone_ends_nothing() {
    let mut fixture = Fixture::new().await;
    let ada = fixture.ada;
    let (id, item) = fixture.send("hi").await;
    sending(&fixture, &[item]).await;
    let event = fixture.number(ada, id, &message("hi"));
    let acked = StoreOp::Acked { item, id, seq: event.seq, ts: event.ts };
    fixture.apply(vec![acked.clone()]).await;
    let local = fixture.store.load_sync_state(nothing_earlier()).await.unwrap();
    assert_eq!(local.outbox[0].state, EntryState::Acked(Seq(1)));
    assert_eq!(states(&fixture).await, [Some(SendState::Sent)]);
    assert_eq!(fixture.store.numbers().await.unwrap().unsent, 0);
    let stored = fixture.apply(vec![fixture.append(1, 1)]).await;
    assert_eq!(stored.ended, [item]);
    assert!(fixture.store.load_sync_state(nothing_earlier()).await.unwrap().outbox.is_empty());
    // The acknowledgement after the event, or twice, changes nothing.
    fixture.apply(vec![acked]).await;
    assert_eq!(fixture.texts().await, ["hi"]);
}

#[tokio::test]
async fn a06_o5_a_parked_message_holds_what_is_behind_it_until_the_user_acts() {
    let fixture = Fixture::new().await;
    let (_, first) = fixture.send("refused").await;
    fixture.send("behind").await;
    sending(&fixture, &[first]).await;
    let stored =
        fixture.apply(vec![StoreOp::Parked { items: vec![first], code: ErrorCode::NotAllowed }]).await;
    assert!(stored.notices.iter().any(|notice| {
        matches!(
            notice,
            EngineEvent::Problem { problem: Problem::Parked { code: ErrorCode::NotAllowed, .. } }
        )
    }));
    assert_eq!(states(&fixture).await[0], Some(SendState::Failed { code: ErrorCode::NotAllowed }));
    let items = fixture.read(doing::list).await;
    assert_eq!(items[0].state, OutboxState::Parked { code: ErrorCode::NotAllowed });
    assert_eq!((items[1].state, items[1].what), (OutboxState::Held, OutboxKind::Message));
    let numbers = fixture.store.numbers().await.unwrap();
    assert_eq!((numbers.unsent, numbers.parked), (2, 1));
    let item = items[0].item;
    let ((), _, update) = fixture.write(move |tx| doing::retry(tx, item)).await;
    assert_eq!((update.changed[0].item, update.changed[0].state), (first, EntryState::Queued));
    let (text, _, update) = fixture.write(move |tx| doing::take_back(tx, item)).await;
    assert_eq!(text, "refused");
    assert_eq!(update.changed.len(), 1, "tried already: a deletion follows it");
    assert_eq!(update.changed[0].what, OutboxWhat::Relation);
}

#[tokio::test]
async fn o7_what_was_not_tried_is_changed_or_dropped_in_place() {
    let fixture = Fixture::new().await;
    let (id, item) = fixture.send("helo").await;
    fixture.write(move |tx| doing::react(tx, Fixture::CID, id, "👍", true)).await;
    let ((), _, update) = fixture.write(move |tx| doing::edit(tx, Fixture::CID, id, "hello")).await;
    assert_eq!(update.changed.iter().map(|entry| entry.item).collect::<Vec<_>>(), [item]);
    let seen = fixture.messages().await.remove(0);
    assert_eq!((seen.text.as_str(), seen.edited, seen.reactions.len()), ("hello", false, 1));
    let OutboxOp::Event(event) = sending(&fixture, &[item]).await.remove(0) else { panic!("an event") };
    assert_eq!(event.body["text"], "hello");
    // Now the server may have it: an edit is an event of its own.
    let ((), _, update) = fixture.write(move |tx| doing::edit(tx, Fixture::CID, id, "hello!")).await;
    assert_eq!(update.changed[0].what, OutboxWhat::Relation);
    let seen = fixture.messages().await.remove(0);
    assert_eq!((seen.text.as_str(), seen.pending_change), ("hello!", true));

    let (other, dropped) = fixture.send("oops").await;
    let ((), _, update) = fixture.write(move |tx| doing::delete(tx, Fixture::CID, other)).await;
    assert_eq!(update.removed, [dropped]);
    assert_eq!(fixture.texts().await, ["hello!"]);
}

#[tokio::test]
async fn optimistic_changes_are_undone_when_they_are_cancelled() {
    let mut fixture = Fixture::new().await;
    let ada = fixture.ada;
    let id = fixture.says(ada, "original").id;
    fixture.apply(vec![fixture.append(1, 1)]).await;
    for (at, text) in ["one", "two"].into_iter().enumerate() {
        let ((), _, update) = fixture.write(move |tx| doing::edit(tx, Fixture::CID, id, text)).await;
        assert_eq!(update.removed.len(), at, "an edit replaces one that waits");
    }
    fixture.write(move |tx| doing::react(tx, Fixture::CID, id, "👍", true)).await;
    let seen = fixture.messages().await.remove(0);
    assert_eq!((seen.text.as_str(), seen.reactions[0].mine, seen.pending_change), ("two", true, true));
    assert_eq!(fixture.row().await.preview.unwrap().text, "two");
    let ((), _, update) = fixture.write(move |tx| doing::react(tx, Fixture::CID, id, "👍", false)).await;
    assert_eq!((update.changed.len(), update.removed.len()), (0, 1), "taken back before it left");
    let item = fixture.read(doing::list).await[0].item;
    fixture.write(move |tx| doing::cancel(tx, item)).await;
    let seen = fixture.messages().await.remove(0);
    assert_eq!((seen.text.as_str(), seen.pending_change, seen.reactions.len()), ("original", false, 0));
    let bo = fixture.bo;
    let theirs = fixture.says(bo, "theirs").id;
    fixture.apply(vec![fixture.append(2, 2)]).await;
    let refused = fixture.store.write(move |tx| doing::edit(tx, Fixture::CID, theirs, "x")).await;
    assert!(matches!(refused, Err(ClientError::Refused(ErrorCode::NotAllowed))));
    let refused = fixture.store.write(move |tx| doing::delete(tx, Fixture::CID, theirs)).await;
    assert!(matches!(refused, Err(ClientError::Refused(ErrorCode::NotAllowed))));
}

#[tokio::test]
async fn o3_a_conversation_begun_offline_is_opened_before_its_first_message() {
    let fixture = Fixture::empty().await;
    let (conversation, bo) = (fixture.conversation, fixture.bo);
    let new = conversations::NewConversation {
        id: conversation,
        kind: ConversationKind::Direct,
        title: None,
        context: None,
        members: vec![bo],
    };
    fixture.write(move |tx| conversations::create_local(tx, &new)).await;
    assert!(fixture.read(outbox::all).await.is_empty(), "nothing to say yet");
    let (_, message) = fixture.send("hi").await;
    fixture.send("again").await;
    let local = fixture.store.load_sync_state(nothing_earlier()).await.unwrap();
    let kinds: Vec<_> = local.outbox.iter().map(|entry| entry.what).collect();
    assert_eq!(kinds, [OutboxWhat::Open, OutboxWhat::Message, OutboxWhat::Message]);
    assert!(local.conversations.is_empty(), "the server does not know it");
    let row = fixture.row().await;
    assert_eq!((row.title.as_str(), row.is_local), ("Bo", true));
    let open = local.outbox[0].item;
    let OutboxOp::Open(op) = sending(&fixture, &[open]).await.remove(0) else { panic!("an open") };
    assert_eq!((op.conversation, op.members.as_slice()), (conversation, &[bo][..]));
    fixture.apply(vec![fixture.heads(false), StoreOp::Done { items: vec![open] }]).await;
    assert!(!fixture.row().await.is_local);
    assert_eq!(fixture.texts().await, ["hi", "again"]);
    assert_eq!(fixture.read(outbox::all).await[0].item, message);
}

#[tokio::test]
async fn cancelling_an_opening_forgets_the_conversation() {
    let fixture = Fixture::empty().await;
    let (conversation, bo) = (fixture.conversation, fixture.bo);
    let members = vec![bo];
    let new = conversations::NewConversation {
        id: conversation,
        kind: ConversationKind::Direct,
        title: None,
        context: None,
        members,
    };
    fixture.write(move |tx| conversations::create_local(tx, &new)).await;
    fixture.send("hi").await;
    let item = fixture.read(doing::list).await[0].item;
    fixture.write(move |tx| doing::cancel(tx, item)).await;
    assert!(fixture.read(list::conversations).await.is_empty());
    assert!(fixture.read(outbox::all).await.is_empty());
    let found = fixture.read(|db| crate::store::search::search(db, "hi", None, 5)).await;
    assert!(found.hits.is_empty());
}

#[tokio::test]
async fn cancelling_an_opening_keeps_what_was_written_where_somebody_else_has_begun() {
    let mut fixture = Fixture::empty().await;
    let (conversation, bo) = (fixture.conversation, fixture.bo);
    let new = conversations::NewConversation {
        id: conversation,
        kind: ConversationKind::Direct,
        title: None,
        context: None,
        members: vec![bo],
    };
    fixture.write(move |tx| conversations::create_local(tx, &new)).await;
    fixture.send("hi").await;
    let item = fixture.read(doing::list).await[0].item;
    fixture.number(bo, EventId::mint(), &message("hello"));
    let heads = fixture.heads(false);
    fixture.apply(vec![heads]).await;
    fixture.write(move |tx| doing::cancel(tx, item)).await;
    let left = fixture.read(outbox::all).await;
    assert_eq!(left.iter().map(|row| row.kind.as_str()).collect::<Vec<_>>(), ["message"]);
}

#[tokio::test]
async fn own_state_moves_at_once_and_is_one_row_a_conversation() {
    let mut fixture = Fixture::new().await;
    let (bo, conversation) = (fixture.bo, fixture.conversation);
    fixture.says(bo, "1");
    fixture.says(bo, "2");
    fixture.apply(vec![fixture.append(1, 2)]).await;
    for read in [1, 2] {
        let change = StateChange { read: Some(Seq(read)), ..StateChange::of(conversation) };
        fixture
            .write(move |tx| {
                let cid = conversations::known(tx, conversation)?;
                own::change(tx, cid, change)
            })
            .await;
    }
    let change = StateChange { pin: Some(true), ..StateChange::of(conversation) };
    fixture
        .write(move |tx| {
            let cid = conversations::known(tx, conversation)?;
            own::change(tx, cid, change)
        })
        .await;
    let row = fixture.row().await;
    assert_eq!((row.unread, row.pin), (0, true));
    let rows = fixture.read(outbox::all).await;
    assert_eq!(rows.len(), 1);
    let item = rows[0].item;
    let OutboxOp::State(sent) = sending(&fixture, &[item]).await.remove(0) else { panic!("a state") };
    assert_eq!((sent.read, sent.pin), (Some(Seq(2)), Some(true)));
    // The server's older word does not undo what waits.
    let older = own_state(conversation, 2);
    fixture.apply(vec![StoreOp::OwnState { user_seq: Some(2), items: vec![older] }]).await;
    assert_eq!((fixture.row().await.unread, fixture.row().await.pin), (0, true));
    let answer = OwnState { read: Seq(2), pin: true, ..own_state(conversation, 3) };
    let ops = vec![
        StoreOp::OwnState { user_seq: Some(3), items: vec![answer] },
        StoreOp::Done { items: vec![item] },
    ];
    fixture.apply(ops).await;
    let row = fixture.row().await;
    assert_eq!((row.unread, row.pin), (0, true));
    assert_eq!(fixture.store.load_sync_state(nothing_earlier()).await.unwrap().user_seq, 3);
}

#[tokio::test]
async fn unread_numbers_of_any_size_are_added() {
    let fixture = Fixture::new().await;
    let mut ops = Vec::new();
    for _ in 0..3 {
        let mut item = fixture.item();
        item.own = own_state(ConversationId::mint(), 1);
        (item.own.unread, item.head, item.countable) = (u64::MAX, Seq(9), u64::MAX);
        ops.push(heads_of(item, 2));
    }
    fixture.store.apply(ops, nothing_earlier()).await.unwrap();
    assert_eq!(fixture.store.numbers().await.unwrap().unread, u32::MAX);
    assert!(fixture.read(list::conversations).await.iter().filter(|row| row.unread == u32::MAX).count() == 3);
    let found = fixture.read(|db| search::search(db, "nothing", None, 10)).await;
    assert_eq!((found.searched, found.total), (0, u32::MAX));
}

#[tokio::test]
async fn o7_nothing_more_is_queued_about_a_message_that_is_being_deleted() {
    let mut fixture = Fixture::new().await;
    let (ada, id) = (fixture.ada, EventId::mint());
    fixture.number(ada, id, &message("once"));
    fixture.apply(vec![fixture.append(1, 1)]).await;
    fixture.write(move |tx| doing::delete(tx, Fixture::CID, id)).await;
    for what in 0..3 {
        let changed = fixture.store.write(move |tx| match what {
            0 => doing::edit(tx, Fixture::CID, id, "again"),
            1 => doing::react(tx, Fixture::CID, id, "👍", true),
            _ => doing::pin(tx, Fixture::CID, id, true),
        });
        assert!(matches!(changed.await, Err(ClientError::NotFound)), "{what}");
    }
}

#[tokio::test]
async fn o7_what_was_refused_after_a_try_can_be_removed_and_holds_nothing_any_more() {
    let mut fixture = Fixture::new().await;
    let (id, first) = fixture.send("too late").await;
    let (_, behind) = fixture.send("behind").await;
    sending(&fixture, &[first]).await;
    // The try may have arrived: its answer was lost.
    fixture.apply(vec![StoreOp::Queued { items: vec![first] }]).await;
    fixture.apply(vec![StoreOp::Parked { items: vec![first], code: ErrorCode::TooOld }]).await;
    let ((), _, update) = fixture.write(move |tx| doing::cancel(tx, first as f64)).await;
    assert_eq!((update.removed, update.changed.len()), (vec![first], 1), "a deletion goes instead");
    assert_eq!(fixture.texts().await, ["behind"]);
    let items = fixture.read(doing::list).await;
    let seen: Vec<_> = items.iter().map(|item| (item.what, item.state)).collect();
    let queued = |what| (what, OutboxState::Queued);
    assert_eq!(seen, [queued(OutboxKind::Message), queued(OutboxKind::Delete)]);
    assert_eq!(items[0].item as i64, behind);
    // It had not arrived: there is nothing to delete.
    let delete = items[1].item as i64;
    sending(&fixture, &[delete]).await;
    let code = ErrorCode::TargetMissing;
    let stored = fixture.apply(vec![StoreOp::Parked { items: vec![delete], code }]).await;
    assert_eq!(stored.ended, [delete]);
    // A copy of the profile sends it after all.
    fixture.number(fixture.ada, id, &message("too late"));
    let stored = fixture.apply(vec![fixture.append(1, 1)]).await;
    assert_eq!(stored.queued.len(), 1, "it is deleted there, too");
}

#[tokio::test]
async fn o7_an_answer_outlives_the_unsent_message_that_it_answers() {
    let fixture = Fixture::new().await;
    let (id, first) = fixture.send("a thought").await;
    let answer = EventId::mint();
    fixture.write(move |tx| doing::write_message(tx, Fixture::CID, answer, "and another", Some(id))).await;
    fixture.write(move |tx| doing::delete(tx, Fixture::CID, id)).await;
    let items = fixture.read(outbox::all).await;
    assert_eq!(items.len(), 1);
    let OutboxOp::Event(event) = sending(&fixture, &[items[0].item]).await.remove(0) else {
        panic!("an event")
    };
    assert_eq!((event.id, event.body.get("reply_to")), (answer, None), "the server knows nothing of {first}");
    assert!(fixture.messages().await[0].reply_to.is_none());
}

#[tokio::test]
async fn o7_an_edit_from_before_a_refusal_does_not_undo_a_later_one() {
    let fixture = Fixture::new().await;
    let (id, item) = fixture.send("one").await;
    sending(&fixture, &[item]).await;
    fixture.write(move |tx| doing::edit(tx, Fixture::CID, id, "two")).await;
    fixture.apply(vec![StoreOp::Parked { items: vec![item], code: ErrorCode::NotMember }]).await;
    fixture.write(move |tx| doing::edit(tx, Fixture::CID, id, "three")).await;
    let rows = fixture.read(outbox::all).await;
    let event: kith_protocol::NewEvent = serde_json::from_str(&rows[0].content).unwrap();
    assert_eq!((rows.len(), event.body["text"].as_str()), (1, Some("three")));
    assert_eq!(fixture.texts().await, ["three"]);
}

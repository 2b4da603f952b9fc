//! What must stay true beside the plain way: late frames, reused ids, things undone, old things.

use super::*;
use crate::{
    store::{conversations, own_state as own, receipts},
    view::SendState,
};
use kith_protocol::{ErrorCode, event::ReactionBody, frame::MessageState, frame::StateChange};

async fn look(fixture: &Fixture, up_to: u64) -> bool {
    let conversation = fixture.conversation;
    let change = fixture.read(move |db| receipts::advance(db, conversation, Seq(up_to))).await;
    let Some(change) = change else { return false };
    let write = fixture.write(move |tx| {
        let cid = conversations::known(tx, conversation)?;
        own::change(tx, cid, change)
    });
    write.await;
    true
}

async fn start_chat(fixture: &Fixture) {
    let (conversation, bo) = (fixture.conversation, fixture.bo);
    let new = conversations::NewConversation {
        id: conversation,
        kind: ConversationKind::Direct,
        title: None,
        context: None,
        members: vec![bo],
    };
    fixture.write(move |tx| conversations::create_local(tx, &new).map(drop)).await;
}

#[tokio::test]
async fn s3_heads_that_were_overtaken_do_not_move_the_head_back() {
    let mut fixture = Fixture::new().await;
    let bo = fixture.bo;
    fixture.says(bo, "one");
    fixture.apply(vec![fixture.heads(false), fixture.append(1, 1)]).await;
    let overtaken = fixture.heads(false);
    fixture.says(bo, "two");
    fixture.apply(vec![fixture.append(2, 2)]).await;
    fixture.apply(vec![overtaken]).await;
    assert_eq!(fixture.row().await.unread, 2);
    assert!(look(&fixture, 2).await);
    assert_eq!(fixture.row().await.unread, 0);
}

#[tokio::test]
async fn r1_looking_ends_the_unread_flag() {
    let mut fixture = Fixture::new().await;
    let bo = fixture.bo;
    fixture.says(bo, "one");
    let mut item = fixture.item();
    (item.own.read, item.own.unread_flag) = (Seq(1), true);
    let heads = heads_of(item, 2);
    fixture.apply(vec![fixture.append(1, 1), heads]).await;
    assert!(fixture.row().await.unread_flag);
    assert!(look(&fixture, 1).await);
    assert!(!fixture.row().await.unread_flag);
    assert!(!look(&fixture, 1).await, "nothing is written where nothing changes");
}

#[tokio::test]
async fn o5_after_having_left_one_reads_and_hides_without_the_server() {
    let mut fixture = Fixture::new().await;
    let (bo, conversation) = (fixture.bo, fixture.conversation);
    fixture.says(bo, "one");
    fixture.says(bo, "two");
    let mut item = fixture.item();
    (item.visible, item.own.unread) = (vec![(Seq(1), Some(Seq(2)))], 2);
    let heads = heads_of(item, 2);
    fixture.apply(vec![heads.clone(), fixture.append(1, 2)]).await;
    assert_eq!(fixture.row().await.unread, 2);
    assert!(look(&fixture, 2).await);
    assert_eq!(fixture.row().await.unread, 0);
    let ((), _, update) = fixture
        .write(move |tx| {
            let cid = conversations::known(tx, conversation)?;
            own::change(tx, cid, StateChange { hidden: Some(true), ..StateChange::of(conversation) })
        })
        .await;
    assert_eq!(update, OutboxUpdate::default());
    // The next connection does not undo it.
    fixture.apply(vec![heads]).await;
    assert!(fixture.read(super::super::list::conversations).await.is_empty());
    assert_eq!(fixture.store.numbers().await.unwrap().unread, 0);
}

#[tokio::test]
async fn o7_a_tried_message_is_cancelled_by_one_delete() {
    let fixture = Fixture::new().await;
    let (_, item) = fixture.send("hi").await;
    fixture.apply(vec![StoreOp::Sending { items: vec![item] }]).await;
    fixture.apply(vec![StoreOp::Queued { items: vec![item] }]).await;
    fixture.write(move |tx| doing::cancel(tx, item as f64)).await;
    fixture.write(move |tx| doing::cancel(tx, item as f64)).await;
    assert_eq!(fixture.read(doing::list).await.len(), 2);
}

#[tokio::test]
async fn o5_what_is_asked_about_for_its_age_may_be_with_the_server() {
    let fixture = Fixture::new().await;
    let (id, item) = fixture.send("hi").await;
    fixture.apply(vec![StoreOp::Sending { items: vec![item] }]).await;
    fixture.apply(vec![StoreOp::Parked { items: vec![item], code: ErrorCode::TooOld }]).await;
    // An edit must not change in place what others may have read.
    fixture.write(move |tx| doing::edit(tx, Fixture::CID, id, "other")).await;
    assert_eq!(fixture.read(doing::list).await.len(), 2);
    let before = fixture.store.load_sync_state(nothing_earlier()).await.unwrap().outbox[0].written_at;
    let ((), _, update) = fixture.write(move |tx| doing::retry(tx, item as f64)).await;
    let entry = update.changed.iter().find(|entry| entry.item == item).unwrap();
    assert!(entry.written_at >= before, "the user's word counts from now");
}

#[tokio::test]
async fn what_was_deleted_at_once_is_not_announced() {
    let mut fixture = Fixture::new().await;
    let bo = fixture.bo;
    let event = fixture.says(bo, "oops");
    fixture.number(bo, EventId::mint(), &EventContent::Delete { target: event.id });
    let stored = fixture.apply(vec![fixture.heads(false), fixture.append(1, 2)]).await;
    assert!(!stored.notices.iter().any(|notice| matches!(notice, EngineEvent::MessageArrived { .. })));
}

#[tokio::test]
async fn w9_a_deleted_text_leaves_the_file() {
    let mut fixture = Fixture::new().await;
    let bo = fixture.bo;
    let event = fixture.says(bo, "very secret");
    fixture.number(
        bo,
        EventId::mint(),
        &EventContent::Edit { target: event.id, text: "still secret".to_owned() },
    );
    fixture.number(bo, EventId::mint(), &EventContent::Delete { target: event.id });
    // In any order: the deletion first, then what it deletes.
    fixture.apply(vec![fixture.heads(false), fixture.append(3, 3), StoreOp::Page(fixture.page(1, 2))]).await;
    let dump = fixture.dump().await;
    assert!(!dump.iter().any(|line| line.contains("secret")), "{dump:#?}");
}

#[tokio::test]
async fn w9_a_plain_state_takes_back_what_a_stored_relation_says() {
    let mut fixture = Fixture::new().await;
    let bo = fixture.bo;
    let event = fixture.says(bo, "one");
    let reaction = |on| EventContent::Reaction {
        target: event.id,
        reaction: ReactionBody { emoji: "👍".to_owned(), on },
    };
    fixture.number(bo, EventId::mint(), &reaction(true));
    fixture.number(bo, EventId::mint(), &reaction(false));
    fixture.says(bo, "two");
    let mut page = fixture.page(1, 2);
    let plain = MessageState { text: Some("one".to_owned()), ..MessageState::default() };
    page.states.insert(event.id, plain);
    fixture.apply(vec![fixture.heads(false), fixture.append(4, 4), StoreOp::Page(page)]).await;
    let found = fixture.messages().await.into_iter().find(|message| message.id == event.id).unwrap();
    assert_eq!(found.reactions, []);
}

#[tokio::test]
async fn a_conversation_without_a_word_is_hidden_without_the_server() {
    let fixture = Fixture::empty().await;
    start_chat(&fixture).await;
    let conversation = fixture.conversation;
    let ((), _, update) = fixture
        .write(move |tx| {
            let cid = conversations::known(tx, conversation)?;
            own::change(tx, cid, StateChange { hidden: Some(true), ..StateChange::of(conversation) })
        })
        .await;
    assert_eq!(update, OutboxUpdate::default());
    assert!(fixture.read(super::super::list::conversations).await.is_empty());
}

#[tokio::test]
async fn o5_a_refused_opening_shows_at_its_messages() {
    let fixture = Fixture::empty().await;
    start_chat(&fixture).await;
    let (_, item) = fixture.send("hi").await;
    let open = item - 1;
    fixture.apply(vec![StoreOp::Sending { items: vec![open] }]).await;
    fixture.apply(vec![StoreOp::Parked { items: vec![open], code: ErrorCode::NotAllowed }]).await;
    let state = fixture.messages().await[0].send_state;
    assert_eq!(state, Some(SendState::Failed { code: ErrorCode::NotAllowed }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn i5_rows_are_handed_over_in_the_order_of_their_numbers() {
    let fixture = std::sync::Arc::new(Fixture::new().await);
    let handed = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for number in 0..300 {
        let (fixture, handed) = (fixture.clone(), handed.clone());
        tasks.push(tokio::spawn(async move {
            let (id, conversation) = (EventId::mint(), fixture.conversation);
            let work = move |tx: &mut Tx<'_>| {
                let cid = conversations::known(tx, conversation)?;
                doing::write_message(tx, cid, id, &number.to_string(), None)
            };
            let hand_over =
                move |changes: &mut Changes| handed.lock().unwrap().push(changes.update.changed[0].item);
            fixture.store.write_then(work, hand_over).await.map(drop)
        }));
    }
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert!(handed.lock().unwrap().is_sorted());
}

#[tokio::test]
async fn o1_what_the_user_did_is_synced_before_it_is_shown() {
    const FULL: i64 = 2;
    let fixture = Fixture::new().await;
    let synchronous =
        |tx: &mut Tx<'_>| Ok(tx.conn.query_row("PRAGMA synchronous", [], |row| row.get::<_, i64>(0))?);
    assert_eq!(fixture.write(synchronous).await.0, FULL);
    let (_, item) = fixture.send("kept").await;
    let row = fixture.store.load_sync_state(nothing_earlier()).await.unwrap().outbox;
    assert_eq!(row[0].item, item);
}

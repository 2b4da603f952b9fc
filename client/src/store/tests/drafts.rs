use super::*;
use crate::store::{drafts, outbox};
use kith_protocol::frame::{Draft, DraftChange, StateChange};
use kith_sync::ops::OutboxOp;

async fn write(fixture: &Fixture, text: &str) {
    let (conversation, text) = (fixture.conversation, text.to_owned());
    fixture
        .write(move |tx| {
            let cid = conversations::known(tx, conversation)?;
            drafts::set(tx, cid, &text)
        })
        .await;
}

/// The draft leaves. Returns its row and what is sent.
async fn leave(fixture: &Fixture) -> (i64, DraftChange) {
    let item = fixture.read(outbox::all).await.last().unwrap().item;
    let stored = fixture.apply(vec![StoreOp::Sending { items: vec![item] }]).await;
    let OutboxOp::State(change) = stored.sending[0].op.clone() else { panic!("a state") };
    (item, change.draft.unwrap())
}

fn theirs(fixture: &Fixture, text: &str, version: u64) -> OwnState {
    let draft = Some(Draft { text: text.to_owned(), version });
    OwnState { draft, ..own_state(fixture.conversation, version) }
}

async fn shown(fixture: &Fixture) -> (Option<String>, Option<String>) {
    let row = fixture.row().await;
    (row.draft, row.draft_conflict)
}

#[tokio::test]
async fn a25_a_draft_survives_a_restart() {
    let mut fixture = Fixture::new().await;
    write(&fixture, "half a thou").await;
    write(&fixture, "half a thought").await;
    fixture.reopen().await;
    assert_eq!(shown(&fixture).await, (Some("half a thought".into()), None));
    assert_eq!(fixture.read(outbox::all).await.len(), 1, "one row, however many keys");
}

#[tokio::test]
async fn r4_the_base_is_the_version_that_the_text_stands_on_when_it_leaves() {
    let fixture = Fixture::new().await;
    write(&fixture, "a").await;
    let (item, sent) = leave(&fixture).await;
    assert_eq!((sent.text.as_str(), sent.base), ("a", 0));
    write(&fixture, "ab").await;
    let answer = theirs(&fixture, "a", 5);
    let ops =
        vec![StoreOp::OwnState { user_seq: None, items: vec![answer] }, StoreOp::Done { items: vec![item] }];
    fixture.apply(ops).await;
    assert_eq!(shown(&fixture).await, (Some("ab".into()), None));
    let (_, sent) = leave(&fixture).await;
    assert_eq!((sent.text.as_str(), sent.base), ("ab", 5));
}

#[tokio::test]
async fn a_draft_of_another_device_is_taken_where_nothing_was_written() {
    let fixture = Fixture::new().await;
    let op = |own| vec![StoreOp::OwnState { user_seq: None, items: vec![own] }];
    fixture.apply(op(theirs(&fixture, "from the laptop", 4))).await;
    assert_eq!(shown(&fixture).await, (Some("from the laptop".into()), None));
    fixture.apply(op(own_state(fixture.conversation, 6))).await;
    assert_eq!(shown(&fixture).await, (None, None));
}

#[tokio::test]
async fn r4_a_draft_that_was_cleared_elsewhere_before_its_answer_came_is_cleared_here() {
    let fixture = Fixture::new().await;
    write(&fixture, "a").await;
    let (item, _) = leave(&fixture).await;
    let of = |version, draft| OwnState { draft, ..own_state(fixture.conversation, version) };
    let had = Draft { text: "a".into(), version: 1 };
    let ops =
        [of(4, None), of(3, Some(had))].map(|own| StoreOp::OwnState { user_seq: None, items: vec![own] });
    let done = StoreOp::Done { items: vec![item] };
    for _ in 0..2 {
        fixture.apply(ops.iter().cloned().chain([done.clone()]).collect()).await;
        assert_eq!(shown(&fixture).await, (None, None));
        assert_eq!(fixture.read(outbox::all).await.len(), 0, "it is not sent again");
    }
}

#[tokio::test]
async fn r4_what_was_written_while_a_refused_draft_was_on_its_way_waits_for_the_users_choice() {
    let fixture = Fixture::new().await;
    write(&fixture, "a").await;
    let (first, _) = leave(&fixture).await;
    write(&fixture, "ab").await;
    let current = Box::new(theirs(&fixture, "x", 7));
    fixture.apply(vec![StoreOp::DraftConflict { items: vec![first], current }]).await;
    assert_eq!(shown(&fixture).await, (Some("ab".into()), Some("x".into())));
    let item = fixture.read(outbox::all).await.last().unwrap().item;
    let stored = fixture.apply(vec![StoreOp::Sending { items: vec![item] }]).await;
    let OutboxOp::State(change) = stored.sending[0].op.clone() else { panic!("a state") };
    assert_eq!(change.draft, None, "it would overwrite what nobody has seen");
}

#[tokio::test]
async fn r4_a_draft_that_is_refused_behind_a_newer_one_leaves_the_user_the_choice() {
    let fixture = Fixture::new().await;
    write(&fixture, "a").await;
    let (item, _) = leave(&fixture).await;
    let newer = StoreOp::OwnState { user_seq: None, items: vec![theirs(&fixture, "x", 7)] };
    fixture.apply(vec![newer.clone()]).await;
    assert_eq!(shown(&fixture).await, (Some("a".into()), None), "the server may have taken it before");
    fixture.apply(vec![StoreOp::Done { items: vec![item] }]).await;
    assert_eq!(shown(&fixture).await, (Some("a".into()), Some("x".into())));
    fixture.apply(vec![newer]).await;
    assert_eq!(shown(&fixture).await, (Some("a".into()), Some("x".into())), "I8");
}

#[tokio::test]
async fn r4_what_was_refused_with_a_draft_does_not_undo_a_later_change() {
    let fixture = Fixture::new().await;
    let change = async |change: StateChange| {
        fixture.write(move |tx| outbox::push_state(tx, Fixture::CID, change)).await;
    };
    let of = StateChange::of(fixture.conversation);
    write(&fixture, "a").await;
    change(StateChange { archive: Some(true), pin: Some(true), ..of.clone() }).await;
    let (first, _) = leave(&fixture).await;
    change(StateChange { archive: Some(false), ..of }).await;
    let current = Box::new(theirs(&fixture, "x", 7));
    fixture.apply(vec![StoreOp::DraftConflict { items: vec![first], current }]).await;
    let item = fixture.read(outbox::all).await.last().unwrap().item;
    let stored = fixture.apply(vec![StoreOp::Sending { items: vec![item] }]).await;
    let OutboxOp::State(again) = stored.sending[0].op.clone() else { panic!("a state") };
    assert_eq!((again.archive, again.pin), (Some(false), Some(true)));
}

#[tokio::test]
async fn a26_r4_two_texts_written_apart_both_survive() {
    let fixture = Fixture::new().await;
    write(&fixture, "mine").await;
    let (item, _) = leave(&fixture).await;
    let current = Box::new(theirs(&fixture, "the other", 7));
    fixture.apply(vec![StoreOp::DraftConflict { items: vec![item], current }]).await;
    assert_eq!(shown(&fixture).await, (Some("mine".into()), Some("the other".into())));
    assert!(fixture.read(outbox::all).await.is_empty(), "nothing leaves before the user has chosen");
    write(&fixture, "mine, longer").await;
    assert_eq!(shown(&fixture).await, (Some("mine, longer".into()), Some("the other".into())));
    let conversation = fixture.conversation;
    fixture
        .write(move |tx| {
            let cid = conversations::known(tx, conversation)?;
            drafts::keep(tx, cid, "mine, longer")
        })
        .await;
    assert_eq!(shown(&fixture).await, (Some("mine, longer".into()), None));
    let (_, sent) = leave(&fixture).await;
    assert_eq!((sent.text.as_str(), sent.base), ("mine, longer", 7));
}

#[tokio::test]
async fn a26_a_draft_that_waits_is_not_replaced_by_heads() {
    let fixture = Fixture::new().await;
    write(&fixture, "written offline").await;
    let mut item = fixture.item();
    item.own = theirs(&fixture, "written elsewhere", 9);
    let heads = heads_of(item, 9);
    fixture.apply(vec![heads]).await;
    assert_eq!(shown(&fixture).await.0, Some("written offline".into()));
    let (_, sent) = leave(&fixture).await;
    assert_eq!(sent.base, 0, "so that the server sees the conflict");
}

#[tokio::test]
async fn what_left_with_a_refused_draft_goes_again() {
    let mut fixture = Fixture::new().await;
    let (bo, conversation) = (fixture.bo, fixture.conversation);
    fixture.says(bo, "1");
    fixture.apply(vec![fixture.append(1, 1)]).await;
    write(&fixture, "mine").await;
    let change = StateChange { read: Some(Seq(1)), ..StateChange::of(conversation) };
    fixture
        .write(move |tx| {
            let cid = conversations::known(tx, conversation)?;
            crate::store::own_state::change(tx, cid, change)
        })
        .await;
    let (item, _) = leave(&fixture).await;
    let current = Box::new(theirs(&fixture, "the other", 7));
    let stored = fixture.apply(vec![StoreOp::DraftConflict { items: vec![item], current }]).await;
    assert_eq!(stored.queued.len(), 1);
    assert_eq!(fixture.row().await.unread, 0);
    let stored = fixture.apply(vec![StoreOp::Sending { items: vec![stored.queued[0].item] }]).await;
    let OutboxOp::State(change) = stored.sending[0].op.clone() else { panic!("a state") };
    assert_eq!((change.read, change.draft), (Some(Seq(1)), None));
}

#[tokio::test]
async fn a_draft_that_was_refused_outside_of_a_conversation_leaves_when_one_is_back() {
    let fixture = Fixture::new().await;
    write(&fixture, "for later").await;
    let (item, _) = leave(&fixture).await;
    let outside = HeadsItem { visible: vec![(Seq(1), Some(Seq(1)))], ..fixture.item() };
    // As the server refuses it.
    fixture.apply(vec![heads_of(outside.clone(), 2), StoreOp::Done { items: vec![item] }]).await;
    let stored = fixture.apply(vec![heads_of(outside, 2)]).await;
    assert_eq!(stored.queued, [], "it would be refused once more");
    let back = HeadsItem { visible: vec![(Seq(1), Some(Seq(1))), (Seq(3), None)], ..fixture.item() };
    let stored = fixture.apply(vec![heads_of(back.clone(), 3)]).await;
    assert_eq!(stored.queued.len(), 1);
    let stored = fixture.apply(vec![heads_of(back, 3)]).await;
    assert_eq!(stored.queued, [], "it is on its way");
    let (_, sent) = leave(&fixture).await;
    assert_eq!((sent.text.as_str(), sent.base), ("for later", 0));
}

//! A server that was set back (S7): what is stored may be of a log that is no more.

use super::*;

/// Heads that come within a connection.
fn pushed(item: HeadsItem) -> StoreOp {
    StoreOp::Heads {
        full: false,
        greeting: false,
        last: false,
        user_seq: 1,
        items: vec![item],
        gone: Vec::new(),
    }
}

/// Ten messages are stored above a hole; then the server's log is another one from the fourth on.
async fn set_back() -> (Fixture, Event) {
    let mut fixture = Fixture::new().await;
    let bo = fixture.bo;
    for at in 1..=12 {
        fixture.says(bo, &format!("m{at}"));
    }
    fixture.apply(vec![fixture.heads(true), fixture.append(1, 3), fixture.append(8, 12)]).await;
    let came_back = fixture.log[8].clone();
    fixture.log.truncate(3);
    fixture.number(bo, came_back.id, &message("m9"));
    (fixture, came_back)
}

#[tokio::test]
async fn s7_a_run_with_an_event_that_is_stored_elsewhere_is_not_stored() {
    let (fixture, came_back) = set_back().await;
    let stored = fixture.apply(vec![fixture.append(4, 4)]).await;
    let (left, seq) = &stored.forked[0];
    assert_eq!((*seq, stored.forked.len()), (came_back.seq, 1));
    let ends: Vec<_> = left.ranges.iter().map(|range| (range.low.0, range.high.0)).collect();
    assert_eq!(ends, [(1, 3), (8, 12)], "nothing is claimed that is not there");
    // The rewind makes room, and then it is stored.
    let chains = vec![(Seq(3), fixture.log[2].chain)];
    fixture.apply(vec![StoreOp::Rewind { conversation: fixture.conversation, chains }]).await;
    let stored = fixture.apply(vec![fixture.append(4, 4)]).await;
    assert_eq!(stored.forked, []);
    assert_eq!(
        lines(&fixture, Anchor::Newest, 50).await,
        ["m1", "m2", "m3", "[m10]", "[m11]", "[m12]", "m9"]
    );
}

#[tokio::test]
async fn s7_a_run_over_other_events_at_its_places_is_not_stored() {
    let (mut fixture, _) = set_back().await;
    for at in 5..=9 {
        let bo = fixture.bo;
        fixture.says(bo, &format!("other {at}"));
    }
    let stored = fixture.apply(vec![StoreOp::Page(fixture.page(7, 9))]).await;
    assert_eq!(stored.forked.iter().map(|(_, seq)| *seq).collect::<Vec<_>>(), [Seq(8)]);
    assert!(!fixture.texts().await.iter().any(|text| text.starts_with("other")));
}

#[tokio::test]
async fn s7_own_state_of_an_earlier_lineage_gives_way_though_one_has_left_meanwhile() {
    let fixture = Fixture::new().await;
    let own = |version, pin| OwnState { pin, ..own_state(fixture.conversation, version) };
    fixture.apply(vec![StoreOp::OwnState { user_seq: Some(5), items: vec![own(5, true)] }]).await;
    let left = HeadsItem { visible: vec![(Seq(1), Some(Seq(1)))], own: own(2, false), ..fixture.item() };
    fixture.apply(vec![heads_of(left, 2)]).await;
    assert!(fixture.row().await.pin, "whoever has left tidies up alone");
    let back = HeadsItem {
        visible: vec![(Seq(1), Some(Seq(1))), (Seq(2), None)],
        own: own(2, false),
        ..fixture.item()
    };
    fixture.apply(vec![pushed(back)]).await;
    assert!(!fixture.row().await.pin, "a member again, the server's word counts");
}

#[tokio::test]
async fn s3_heads_do_not_undo_member_events_that_are_stored_above_them() {
    let mut fixture = Fixture::new().await;
    let (ada, bo, third) = (fixture.ada, fixture.bo, UserId::mint());
    fixture.says(bo, "one");
    let early = fixture.item();
    let added = kith_protocol::event::MemberBody {
        change: kith_protocol::event::MemberChange::Added,
        user: third,
        role: Some(Role::Member),
    };
    fixture.number(ada, EventId::mint(), &EventContent::Member(added));
    fixture.apply(vec![fixture.append(2, 2)]).await;
    fixture.apply(vec![pushed(early)]).await;
    let conversation = fixture.conversation;
    let members = fixture
        .read(move |db| {
            let cid = conversations::cid(db, conversation)?.unwrap();
            crate::store::members::count(db, cid)
        })
        .await;
    assert_eq!(members, 3);
}

/// Texts in the order of the timeline, those that the server has lost in brackets.
async fn lines(fixture: &Fixture, anchor: Anchor, limit: usize) -> Vec<String> {
    let conversation = fixture.conversation;
    let part = fixture.read(move |db| crate::store::timeline::read(db, conversation, &anchor, limit)).await;
    let lines = part.view.items.into_iter().map(|item| match item {
        TimelineItem::Message(message) if message.lost => {
            assert_eq!(message.seq, None);
            format!("[{}]", message.text)
        }
        TimelineItem::Message(message) => message.text,
        TimelineItem::Gap(_) => "gap".to_owned(),
        TimelineItem::Notice(_) => "notice".to_owned(),
    });
    lines.collect()
}

async fn found(fixture: &Fixture, text: &'static str) -> usize {
    fixture.read(move |db| crate::store::search::search(db, text, None, 50)).await.hits.len()
}

fn announced(stored: &Stored) -> Vec<&str> {
    let arrived = stored.notices.iter().filter_map(|notice| match notice {
        EngineEvent::MessageArrived { text, .. } => Some(text.as_str()),
        _ => None,
    });
    arrived.collect()
}

fn order_of(items: &[TimelineItem], at: usize) -> f64 {
    match &items[at] {
        TimelineItem::Message(message) => message.order,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn s7_what_others_wrote_stays_in_its_place_until_it_comes_back() {
    let mut fixture = Fixture::new().await;
    let (ada, bo) = (fixture.ada, fixture.bo);
    for at in 1..=3 {
        fixture.says(bo, &format!("b{at}"));
    }
    let mine = fixture.says(ada, "mine").id;
    let (kept, gone) = (fixture.says(bo, "b5").id, fixture.says(bo, "b6").id);
    fixture.number(bo, EventId::mint(), &EventContent::Delete { target: gone });
    fixture.apply(vec![fixture.heads(true), fixture.append(1, 7)]).await;
    // The server is set back to the second message.
    fixture.log.truncate(2);
    let chains = vec![(Seq(2), fixture.log[1].chain)];
    let stored = fixture.apply(vec![StoreOp::Rewind { conversation: fixture.conversation, chains }]).await;
    assert_eq!(stored.queued.len(), 1, "one's own goes out again");
    assert_eq!(lines(&fixture, Anchor::Newest, 50).await, ["b1", "b2", "[b3]", "[b5]", "mine"]);
    // Something new is written before the author is back; one's own is numbered.
    fixture.says(bo, "new");
    fixture.number(ada, mine, &message("mine"));
    let stored = fixture.apply(vec![fixture.append(3, 4)]).await;
    assert_eq!(announced(&stored), ["new"]);
    assert_eq!(lines(&fixture, Anchor::Newest, 50).await, ["b1", "b2", "[b3]", "[b5]", "new", "mine"]);
    assert_eq!(fixture.row().await.preview.map(|last| last.text), Some("mine".to_owned()));
    // It is read in parts of any size, from either side, without a hole or a repetition.
    let conversation = fixture.conversation;
    for limit in 1..=3 {
        let (mut before, mut all) = (f64::MAX, Vec::new());
        loop {
            let anchor = Anchor::Before { order: before };
            let part =
                fixture.read(move |db| crate::store::timeline::read(db, conversation, &anchor, limit)).await;
            if part.view.items.is_empty() {
                break;
            }
            before = order_of(&part.view.items, 0);
            all.splice(0..0, part.view.items.iter().map(|item| order_of(std::slice::from_ref(item), 0)));
        }
        assert_eq!(all.len(), 6);
        let (mut from, mut again) = (0.0, Vec::new());
        loop {
            let anchor = Anchor::From { order: from };
            let part =
                fixture.read(move |db| crate::store::timeline::read(db, conversation, &anchor, limit)).await;
            again.extend(part.view.items.iter().map(|item| order_of(std::slice::from_ref(item), 0)));
            from = again.last().unwrap().next_up();
            if part.view.at_end {
                break;
            }
        }
        assert_eq!(again, all);
    }
    assert_eq!(found(&fixture, "b3").await, 1, "what is lost is still found");
    // The author's device brings one back: it is an ordinary message, and no news. What the author wrote before and
    // does not bring back was deleted there.
    fixture.number(bo, kept, &message("b5"));
    let stored = fixture.apply(vec![fixture.append(5, 5)]).await;
    assert!(announced(&stored).is_empty());
    assert_eq!(lines(&fixture, Anchor::Newest, 50).await, ["b1", "b2", "new", "mine", "b5"]);
    assert_eq!(lines(&fixture, Anchor::Around { id: kept }, 2).await, ["mine", "b5"]);
    assert_eq!((found(&fixture, "b5").await, found(&fixture, "b3").await), (1, 0));
}

#[tokio::test]
async fn s4_s7_own_state_of_a_conversation_that_the_server_lost_counts_anew() {
    let fixture = Fixture::new().await;
    let own = |version, pin| OwnState { pin, ..own_state(fixture.conversation, version) };
    fixture.apply(vec![StoreOp::OwnState { user_seq: Some(5), items: vec![own(5, true)] }]).await;
    let stored = fixture.apply(vec![StoreOp::Lost { conversations: vec![fixture.conversation] }]).await;
    assert_eq!(stored.queued.len(), 1, "it is begun again");
    fixture.apply(vec![pushed(HeadsItem { own: own(2, false), ..fixture.item() })]).await;
    assert!(!fixture.row().await.pin, "the server's word of the new lineage counts");
}

#[tokio::test]
async fn s7_w9_what_is_deleted_before_it_comes_back_goes() {
    let mut fixture = Fixture::new().await;
    let bo = fixture.bo;
    fixture.says(bo, "b1");
    let target = fixture.says(bo, "b2").id;
    fixture.apply(vec![fixture.append(1, 2)]).await;
    fixture.log.truncate(1);
    let chains = vec![(Seq(1), fixture.log[0].chain)];
    fixture.apply(vec![StoreOp::Rewind { conversation: fixture.conversation, chains }]).await;
    assert_eq!(lines(&fixture, Anchor::Newest, 50).await, ["b1", "[b2]"]);
    // Beyond a hole in which the message itself is again.
    fixture.number(bo, target, &message("b2"));
    fixture.number(bo, EventId::mint(), &EventContent::Delete { target });
    fixture.apply(vec![StoreOp::Page(fixture.page(3, 3))]).await;
    assert!(!lines(&fixture, Anchor::Newest, 50).await.contains(&"[b2]".to_owned()));
    assert_eq!(found(&fixture, "b2").await, 0);
}

#[tokio::test]
async fn s7_messages_whose_events_were_given_up_leave_their_places_too() {
    let mut fixture = Fixture::new().await;
    let bo = fixture.bo;
    for at in 1..=6 {
        fixture.says(bo, &format!("m{at}"));
    }
    fixture.apply(vec![fixture.append(1, 6)]).await;
    // A look through the rows has found the fifth damaged: its events and those behind it go, to be fetched again.
    fixture
        .write(|tx| {
            tx.conn.execute("DELETE FROM events WHERE seq >= 5", [])?;
            tx.conn.execute(
                "UPDATE log_range SET high = 4, chain_high = (SELECT chain FROM events WHERE seq = 4)",
                [],
            )?;
            Ok(())
        })
        .await;
    fixture.log.truncate(3);
    let chains = vec![(Seq(3), fixture.log[2].chain)];
    fixture.apply(vec![StoreOp::Rewind { conversation: fixture.conversation, chains }]).await;
    for at in 4..=6 {
        fixture.says(bo, &format!("other {at}"));
    }
    fixture.apply(vec![fixture.append(4, 6)]).await;
    let texts = fixture.texts().await;
    assert_eq!(texts, ["m1", "m2", "m3", "m4", "other 4", "other 5", "other 6"]);
}

#[tokio::test]
async fn s7_o7_what_goes_out_again_is_deleted_for_everybody_who_holds_it() {
    let mut fixture = Fixture::new().await;
    let (ada, bo) = (fixture.ada, fixture.bo);
    fixture.says(bo, "b1");
    let mine = fixture.says(ada, "mine").id;
    fixture.apply(vec![fixture.append(1, 2)]).await;
    fixture.log.truncate(1);
    let chains = vec![(Seq(1), fixture.log[0].chain)];
    let stored = fixture.apply(vec![StoreOp::Rewind { conversation: fixture.conversation, chains }]).await;
    assert_eq!(stored.queued.len(), 1);
    let (_, _, update) = fixture.write(move |tx| doing::delete(tx, Fixture::CID, mine)).await;
    assert!(update.removed.is_empty(), "others show it until a deletion follows it");
    let kinds: Vec<_> = update.changed.iter().map(|entry| entry.what).collect();
    assert_eq!(kinds, [crate::sync::ops::OutboxWhat::Relation]);
}

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
    assert_eq!(fixture.texts().await, ["m1", "m2", "m3", "m9"]);
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

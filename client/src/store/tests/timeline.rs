use super::*;

#[tokio::test]
async fn a02_five_thousand_messages_are_read_offline_in_order() {
    let mut fixture = Fixture::new().await;
    let (ada, bo) = (fixture.ada, fixture.bo);
    for at in 1..=5_000 {
        fixture.says(if at % 2 == 0 { ada } else { bo }, &format!("message {at}"));
    }
    for low in (1..=5_000).step_by(200) {
        fixture.apply(vec![fixture.append(low, low + 199)]).await;
    }
    fixture.reopen().await;
    let (mut texts, mut anchor) = (Vec::new(), Anchor::Newest);
    loop {
        let (conversation, at) = (fixture.conversation, anchor.clone());
        let view = fixture.read(move |db| crate::store::timeline::read(db, conversation, &at, 50)).await.view;
        let TimelineItem::Message(oldest) = &view.items[0] else { panic!("only messages") };
        anchor = Anchor::Before { order: oldest.order };
        for item in view.items.into_iter().rev() {
            let TimelineItem::Message(message) = item else { panic!("only messages") };
            texts.push(message.text);
        }
        if view.at_start {
            break;
        }
    }
    texts.reverse();
    assert_eq!(texts, (1..=5_000).map(|at| format!("message {at}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn anchors_meet_without_overlap() {
    let mut fixture = Fixture::new().await;
    let bo = fixture.bo;
    for at in 1..=20 {
        fixture.says(bo, &format!("{at}"));
    }
    fixture.apply(vec![fixture.append(1, 20)]).await;
    fixture.send("21").await;
    let numbers = |items: Vec<TimelineItem>| -> Vec<u32> {
        items
            .into_iter()
            .map(|item| if let TimelineItem::Message(m) = item { m.text.parse().unwrap() } else { 0 })
            .collect()
    };
    assert_eq!(numbers(fixture.items(Anchor::Newest, 3).await), [19, 20, 21]);
    assert_eq!(numbers(fixture.items(Anchor::Before { order: 19.0 }, 3).await), [16, 17, 18]);
    assert_eq!(numbers(fixture.items(Anchor::From { order: 19.0 }, 9).await), [19, 20, 21]);
    let id = fixture.log[9].id;
    assert_eq!(numbers(fixture.items(Anchor::Around { id }, 6).await), [7, 8, 9, 10, 11, 12]);
    let own = OwnState { read: Seq(15), ..own_state(fixture.conversation, 2) };
    fixture.apply(vec![StoreOp::OwnState { user_seq: Some(2), items: vec![own] }]).await;
    let conversation = fixture.conversation;
    let part =
        fixture.read(move |db| crate::store::timeline::read(db, conversation, &Anchor::FirstUnread, 4)).await;
    assert_eq!(part.view.first_unread, Some(fixture.log[15].id));
    assert_eq!(numbers(part.view.items), [14, 15, 16, 17]);
}

#[tokio::test]
async fn a10_c5_own_messages_stand_last_until_they_are_numbered() {
    let mut fixture = Fixture::new().await;
    let (ada, bo) = (fixture.ada, fixture.bo);
    let (first, first_item) = fixture.send("mine 1").await;
    fixture.send("mine 2").await;
    fixture.says(bo, "theirs");
    fixture.apply(vec![fixture.append(1, 1)]).await;
    assert_eq!(fixture.texts().await, ["theirs", "mine 1", "mine 2"]);
    let event = fixture.number(ada, first, &message("mine 1"));
    fixture.apply(vec![StoreOp::Acked { item: first_item, id: first, seq: event.seq, ts: event.ts }]).await;
    assert_eq!(fixture.texts().await, ["theirs", "mine 1", "mine 2"]);
    let stored = fixture.apply(vec![fixture.append(2, 2)]).await;
    assert_eq!(stored.ended, [first_item]);
    fixture.says(bo, "theirs 2");
    fixture.apply(vec![fixture.append(3, 3)]).await;
    assert_eq!(fixture.texts().await, ["theirs", "mine 1", "theirs 2", "mine 2"]);
    assert_eq!(fixture.messages().await[1].ts, event.ts, "A11: times shown are the server's");
}

#[tokio::test]
async fn r6_what_lies_between_two_memberships_is_no_gap() {
    let mut fixture = Fixture::new().await;
    let bo = fixture.bo;
    for at in 1..=30 {
        fixture.says(bo, &format!("{at}"));
    }
    let mut item = fixture.item();
    item.visible = vec![(Seq(5), Some(Seq(10))), (Seq(21), None)];
    let heads = heads_of(item, 2);
    fixture.apply(vec![heads, StoreOp::Page(fixture.page(21, 30)), StoreOp::Page(fixture.page(5, 10))]).await;
    let conversation = fixture.conversation;
    let part =
        fixture.read(move |db| crate::store::timeline::read(db, conversation, &Anchor::Newest, 50)).await;
    assert!(part.gaps.is_empty() && part.view.at_start && !part.view.loading);
    assert_eq!(part.view.items.len(), 16);
}

#[tokio::test]
async fn w9_a_reaction_that_a_page_only_counts_is_taken_off() {
    let mut fixture = Fixture::new().await;
    let (ada, bo) = (fixture.ada, fixture.bo);
    let id = fixture.says(ada, "many like this").id;
    let state = kith_protocol::frame::MessageState {
        reactions: [("👍".to_owned(), vec![ada])].into(),
        reaction_counts: [("👍".to_owned(), 70)].into(),
        ..Default::default()
    };
    let mut page = fixture.page(1, 1);
    page.states.insert(id, state);
    fixture.apply(vec![StoreOp::Page(page)]).await;
    for (on, count) in [(false, 69), (false, 69), (true, 70), (false, 69)] {
        let body = kith_protocol::event::ReactionBody { emoji: "👍".into(), on };
        let reaction = EventContent::Reaction { target: id, reaction: body };
        let event = fixture.number(bo, EventId::mint(), &reaction);
        fixture.apply(vec![fixture.append(event.seq.0, event.seq.0)]).await;
        let shown = &fixture.messages().await[0].reactions[0];
        assert_eq!((shown.count, shown.mine), (count, true), "after {on}");
    }
}

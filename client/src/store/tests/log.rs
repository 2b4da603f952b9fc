use super::*;
use crate::view::{NoticeKind, SendState};
use kith_protocol::{
    event::{MemberBody, MemberChange, ReactionBody, TitleBody},
    frame::{MessageState, StateChange},
};
use kith_sync::ops::OutboxWhat;

fn reaction(target: EventId, emoji: &str, on: bool) -> EventContent {
    EventContent::Reaction { target, reaction: ReactionBody { emoji: emoji.to_owned(), on } }
}

#[tokio::test]
async fn c3_a_frame_applied_twice_changes_nothing() {
    let mut fixture = Fixture::new().await;
    let (ada, bo) = (fixture.ada, fixture.bo);
    let first = fixture.says(bo, "one");
    fixture.says(ada, "two");
    fixture.number(bo, EventId::mint(), &EventContent::Edit { target: first.id, text: "one!".into() });
    fixture.number(ada, EventId::mint(), &reaction(first.id, "👍", true));
    let mut page = fixture.page(1, 4);
    let state = MessageState { edited_seq: Some(Seq(3)), text: Some("one!".into()), ..Default::default() };
    page.states.insert(first.id, state);
    let ops = vec![fixture.heads(true), fixture.append(1, 4), StoreOp::Page(page)];
    let once = fixture.apply(ops.clone()).await;
    assert!(!once.notices.is_empty());
    let before = fixture.dump().await;
    let twice = fixture.apply(ops).await;
    assert_eq!(fixture.dump().await, before);
    assert_eq!((twice.notices, twice.stored.ended), (vec![], vec![]));
}

#[tokio::test]
async fn c2_ranges_join_and_holes_are_shown_as_gaps() {
    let mut fixture = Fixture::new().await;
    let bo = fixture.bo;
    for at in 1..=30 {
        fixture.says(bo, &format!("m{at}"));
    }
    fixture.apply(vec![fixture.heads(true), fixture.append(1, 10), fixture.append(21, 30)]).await;
    let items = fixture.items(Anchor::Newest, 50).await;
    let gap = items.iter().position(|item| matches!(item, TimelineItem::Gap(_))).unwrap();
    assert_eq!(gap, 10);
    let TimelineItem::Gap(view) = &items[gap] else { unreachable!() };
    assert_eq!((view.from, view.to), (Seq(11), Seq(20)));
    let conversation = fixture.conversation;
    let part =
        fixture.read(move |db| crate::store::timeline::read(db, conversation, &Anchor::Newest, 50)).await;
    assert_eq!(part.gaps, [(Seq(11), Seq(20))]);
    assert!(part.view.at_start && part.view.at_end);
    fixture.apply(vec![StoreOp::Page(fixture.page(11, 20))]).await;
    assert_eq!(fixture.texts().await, (1..=30).map(|at| format!("m{at}")).collect::<Vec<_>>());
    assert_eq!(fixture.items(Anchor::Newest, 50).await.len(), 30);
}

#[tokio::test]
async fn c4_relations_wait_for_their_target() {
    let mut fixture = Fixture::new().await;
    let (ada, bo) = (fixture.ada, fixture.bo);
    let target = fixture.says(bo, "befor");
    fixture.says(bo, "other");
    fixture.number(bo, EventId::mint(), &EventContent::Edit { target: target.id, text: "before".into() });
    fixture.number(ada, EventId::mint(), &reaction(target.id, "🎉", true));
    fixture.number(bo, EventId::mint(), &EventContent::Pin { target: target.id, on: true });
    fixture.apply(vec![fixture.heads(true), fixture.append(2, 5)]).await;
    assert_eq!(fixture.texts().await, ["other"]);
    fixture.apply(vec![StoreOp::Page(fixture.page(1, 1))]).await;
    let message = fixture.messages().await.remove(0);
    assert_eq!((message.text.as_str(), message.edited, message.pinned), ("before", true, true));
    assert_eq!((message.reactions[0].emoji.as_str(), message.reactions[0].mine), ("🎉", true));
}

#[tokio::test]
async fn w9_the_highest_edit_wins_and_nothing_comes_after_a_delete() {
    let mut fixture = Fixture::new().await;
    let (ada, bo) = (fixture.ada, fixture.bo);
    let target = fixture.says(bo, "a");
    for text in ["b", "c"] {
        fixture.number(bo, EventId::mint(), &EventContent::Edit { target: target.id, text: text.into() });
    }
    fixture.number(ada, EventId::mint(), &reaction(target.id, "👍", true));
    fixture.number(ada, EventId::mint(), &reaction(target.id, "👍", false));
    fixture.apply(vec![fixture.append(1, 5)]).await;
    let message = fixture.messages().await.remove(0);
    assert_eq!((message.text.as_str(), message.reactions.len()), ("c", 0));
    fixture.number(bo, EventId::mint(), &EventContent::Delete { target: target.id });
    fixture.apply(vec![fixture.append(6, 6)]).await;
    let message = fixture.messages().await.remove(0);
    assert!(message.deleted && message.text.is_empty() && !message.edited);
    assert!(fixture.row().await.preview.unwrap().deleted);
}

#[tokio::test]
async fn w9_a_pages_states_stand_for_relations_that_are_not_stored() {
    let mut fixture = Fixture::new().await;
    let (ada, bo) = (fixture.ada, fixture.bo);
    let target = fixture.says(bo, "a");
    for at in 0..20 {
        fixture.says(bo, &format!("filler {at}"));
    }
    fixture.number(bo, EventId::mint(), &EventContent::Edit { target: target.id, text: "edited".into() });
    fixture.number(ada, EventId::mint(), &reaction(target.id, "👍", true));
    let mut page = fixture.page(1, 3);
    let state = MessageState {
        text: Some("edited".into()),
        edited_seq: Some(Seq(22)),
        reactions: [("👍".to_owned(), vec![ada])].into(),
        ..Default::default()
    };
    page.states.insert(target.id, state);
    fixture.apply(vec![fixture.heads(true), StoreOp::Page(page)]).await;
    let seen = fixture.messages().await.remove(0);
    assert_eq!((seen.text.as_str(), seen.reactions.len()), ("edited", 1));
    // The events themselves, later, say the same; and what follows them counts on top.
    fixture.number(ada, EventId::mint(), &reaction(target.id, "👍", false));
    fixture.apply(vec![StoreOp::Page(fixture.page(4, 24))]).await;
    let seen = fixture.messages().await.remove(0);
    assert_eq!((seen.text.as_str(), seen.reactions.len()), ("edited", 0));
}

#[tokio::test]
async fn i8_projections_made_again_are_equal() {
    let mut fixture = Fixture::new().await;
    let (ada, bo) = (fixture.ada, fixture.bo);
    let mut ids = Vec::new();
    for at in 0..40 {
        let sender = if at % 3 == 0 { ada } else { bo };
        ids.push((sender, fixture.says(sender, &format!("message {at}")).id));
    }
    for (at, (sender, id)) in ids.iter().enumerate() {
        match at % 4 {
            0 => fixture.number(
                *sender,
                EventId::mint(),
                &EventContent::Edit { target: *id, text: format!("e{at}") },
            ),
            1 => fixture.number(*sender, EventId::mint(), &EventContent::Delete { target: *id }),
            2 => fixture.number(bo, EventId::mint(), &reaction(*id, "👍", true)),
            _ => fixture.number(ada, EventId::mint(), &EventContent::Pin { target: *id, on: true }),
        };
    }
    fixture.apply(vec![fixture.append(51, 80), StoreOp::Page(fixture.page(11, 50))]).await;
    fixture.apply(vec![StoreOp::Page(fixture.page(1, 10))]).await;
    fixture.send("pending").await;
    let before = (fixture.messages().await, fixture.row().await);
    fixture.write(crate::store::rebuild::all).await;
    assert_eq!((fixture.messages().await, fixture.row().await), before);
    let found = fixture.read(|db| crate::store::search::search(db, "message", None, 100)).await;
    assert_eq!(found.hits.len(), 20);
    let found = fixture.read(|db| crate::store::search::search(db, "pending", None, 100)).await;
    assert_eq!(found.hits.len(), 1);
}

#[tokio::test]
async fn c3_c4_any_order_of_pages_ends_in_the_same() {
    let mut fixture = Fixture::new().await;
    let (ada, bo) = (fixture.ada, fixture.bo);
    let mut random = Random(20_261_121);
    let mut targets = vec![(bo, fixture.says(bo, "first").id)];
    for at in 0..150 {
        let sender = if random.below(2) == 0 { ada } else { bo };
        let (author, target) = targets[random.below(targets.len())];
        match random.below(8) {
            0 => fixture.number(
                author,
                EventId::mint(),
                &EventContent::Edit { target, text: format!("e{at}") },
            ),
            1 => fixture.number(sender, EventId::mint(), &reaction(target, "👍", random.below(2) == 0)),
            2 => fixture.number(sender, EventId::mint(), &reaction(target, "🎉", true)),
            3 => fixture.number(
                sender,
                EventId::mint(),
                &EventContent::Pin { target, on: random.below(2) == 0 },
            ),
            4 if random.below(4) == 0 => {
                fixture.number(author, EventId::mint(), &EventContent::Delete { target })
            }
            _ => {
                let event = fixture.says(sender, &format!("m{at}"));
                targets.push((sender, event.id));
                event
            }
        };
    }
    let head = fixture.log.len() as u64;
    fixture.apply(vec![fixture.heads(true), fixture.append(1, head)]).await;
    let expected = fixture.messages().await;
    for round in 0..12 {
        let mut other = Fixture::empty().await;
        other.store.close().await;
        let path = other.folder.path().join("again.db");
        other.store = Store::open(&path, &other.key, ada).await.unwrap();
        (other.ada, other.bo, other.conversation) = (ada, bo, fixture.conversation);
        other.log.clone_from(&fixture.log);
        other.apply(vec![StoreOp::Profiles(vec![profile(ada, "Ada"), profile(bo, "Bo")])]).await;
        other.apply(vec![other.heads(true)]).await;
        let mut lows: Vec<u64> = (1..=head).step_by(10).collect();
        while !lows.is_empty() {
            let low = lows.swap_remove(random.below(lows.len()));
            let high = (low + 9 + random.below(9) as u64).min(head);
            other.apply(vec![StoreOp::Page(other.page(low, high))]).await;
        }
        assert_eq!(other.messages().await, expected, "round {round}");
        let ranges =
            other.store.load_sync_state(nothing_earlier()).await.unwrap().conversations.remove(0).ranges;
        assert_eq!((ranges.len(), ranges[0].low, ranges[0].high), (1, Seq(1), Seq(head)));
    }
}

/// The same numbers at every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

#[tokio::test]
async fn w7_unread_is_the_brute_force_count() {
    let mut fixture = Fixture::new().await;
    let (ada, bo) = (fixture.ada, fixture.bo);
    fixture.says(bo, "1");
    fixture.says(ada, "2");
    let gone = fixture.says(bo, "3");
    fixture.says(bo, "4");
    fixture.number(bo, EventId::mint(), &EventContent::Delete { target: gone.id });
    fixture.number(bo, EventId::mint(), &EventContent::Title(TitleBody { text: "t".into() }));
    fixture.apply(vec![fixture.append(1, 6)]).await;
    assert_eq!(fixture.row().await.unread, 2);
    let own = OwnState { read: Seq(1), ..own_state(fixture.conversation, 2) };
    let stored = fixture.apply(vec![StoreOp::OwnState { user_seq: Some(2), items: vec![own.clone()] }]).await;
    assert_eq!(fixture.row().await.unread, 1);
    assert!(stored.notices.contains(&EngineEvent::MessagesRead { conversation: fixture.conversation }));
    // A marker never falls (I7).
    let lower = OwnState { read: Seq(0), ..own_state(fixture.conversation, 3) };
    fixture.apply(vec![StoreOp::OwnState { user_seq: Some(3), items: vec![lower] }]).await;
    assert_eq!(fixture.row().await.unread, 1);
    // Where the log is not stored, the server's number stands for it.
    for at in 0..100 {
        fixture.says(bo, &format!("later {at}"));
    }
    let mut item = fixture.item();
    item.own = OwnState { unread: 101, read: Seq(1), ..own_state(fixture.conversation, 4) };
    let heads = heads_of(item, 4);
    fixture.apply(vec![heads, fixture.append(90, 106)]).await;
    assert_eq!(fixture.row().await.unread, 101);
    fixture.says(bo, "one more");
    fixture.apply(vec![fixture.append(107, 107)]).await;
    assert_eq!(fixture.row().await.unread, 102);
    assert_eq!(fixture.store.numbers().await.unwrap().unread, 102);
}

#[tokio::test]
async fn w7_a_server_that_counts_nonsense_breaks_no_list() {
    let mut fixture = Fixture::new().await;
    let bo = fixture.bo;
    for at in 0..10 {
        fixture.says(bo, &format!("{at}"));
    }
    let nonsense = [u64::MAX, 0, 7, i64::MAX as u64, 1, u64::MAX, 3, 0, 0, u64::MAX];
    for (event, countable) in fixture.log.iter_mut().zip(nonsense) {
        event.countable = countable;
    }
    fixture
        .apply(vec![fixture.heads(false), fixture.append(1, 3), fixture.append(6, 7), fixture.append(9, 10)])
        .await;
    assert!(fixture.row().await.unread <= 10);
    assert!(fixture.store.numbers().await.unwrap().unread <= 10);
}

#[tokio::test]
async fn r1_ticks_follow_from_markers() {
    let mut fixture = Fixture::new().await;
    let (ada, bo, conversation) = (fixture.ada, fixture.bo, fixture.conversation);
    fixture.says(ada, "1");
    fixture.says(ada, "2");
    fixture.apply(vec![fixture.append(1, 2)]).await;
    let ticks =
        |messages: Vec<MessageView>| messages.into_iter().filter_map(|m| m.send_state).collect::<Vec<_>>();
    assert_eq!(ticks(fixture.messages().await), [SendState::Sent, SendState::Sent]);
    fixture.apply(vec![StoreOp::Markers { conversation, markers: vec![(bo, Seq(2), Seq(1))] }]).await;
    assert_eq!(ticks(fixture.messages().await), [SendState::Read, SendState::Delivered]);
    fixture.apply(vec![StoreOp::Markers { conversation, markers: vec![(bo, Seq(1), Seq(0))] }]).await;
    assert_eq!(ticks(fixture.messages().await), [SendState::Read, SendState::Delivered]);
}

#[tokio::test]
async fn r6_membership_follows_new_events_and_not_old_ones() {
    let mut fixture = Fixture::new().await;
    let (ada, bo, cy) = (fixture.ada, fixture.bo, UserId::mint());
    let member = |user, change| EventContent::Member(MemberBody { user, change, role: None });
    fixture.number(bo, EventId::mint(), &member(cy, MemberChange::Added));
    fixture.number(bo, EventId::mint(), &member(cy, MemberChange::Removed));
    fixture.says(bo, "x");
    fixture.apply(vec![fixture.heads(true)]).await;
    let stored = fixture.apply(vec![StoreOp::Page(fixture.page(1, 3))]).await;
    assert!(stored.profiles_wanted.is_empty(), "old membership is history");
    assert_eq!(fixture.row().await.member_count, 2);
    fixture.number(bo, EventId::mint(), &member(cy, MemberChange::Added));
    let stored = fixture.apply(vec![fixture.append(4, 4)]).await;
    assert_eq!(stored.profiles_wanted, [cy]);
    assert_eq!(fixture.row().await.member_count, 3);
    fixture.number(bo, EventId::mint(), &member(ada, MemberChange::Removed));
    fixture.apply(vec![fixture.append(5, 5)]).await;
    let row = fixture.row().await;
    assert_eq!((row.my_role, row.member_count), (None, 2));
    let items = fixture.items(Anchor::Newest, 1).await;
    assert!(matches!(
        &items[0],
        TimelineItem::Notice(notice) if matches!(&notice.what, NoticeKind::Member { user, .. } if user.id == ada)
    ));
}

#[tokio::test]
async fn r6_the_list_of_a_large_group_is_asked_for_when_a_page_tells_of_a_change() {
    let mut fixture = Fixture::new().await;
    let (bo, conversation) = (fixture.bo, fixture.conversation);
    fixture.says(bo, "known");
    fixture.apply(vec![fixture.heads(true), fixture.append(1, 1)]).await;
    let change = MemberBody { user: bo, change: MemberChange::Role, role: Some(Role::Admin) };
    fixture.number(bo, EventId::mint(), &EventContent::Member(change));
    fixture.says(bo, "news");
    // Away meanwhile: heads bring what they know up to date, without a list.
    let item = HeadsItem { members: None, ..fixture.item() };
    let stored = fixture.apply(vec![heads_of(item, 2)]).await;
    assert!(stored.members_wanted.is_empty());
    let stored = fixture.apply(vec![StoreOp::Page(fixture.page(2, 3))]).await;
    assert_eq!(stored.members_wanted, [conversation]);
}

#[tokio::test]
async fn r6_the_list_of_a_large_group_is_requested_for_a_change_below_everything_stored() {
    let mut fixture = Fixture::new().await;
    let (bo, conversation) = (fixture.bo, fixture.conversation);
    // The list comes while the group has no events.
    fixture.apply(vec![fixture.heads(true)]).await;
    let row = fixture.row().await;
    assert_eq!(row.member_count, 2);
    let change = MemberBody { user: bo, change: MemberChange::Role, role: Some(Role::Admin) };
    fixture.number(bo, EventId::mint(), &EventContent::Member(change));
    fixture.says(bo, "two");
    fixture.says(bo, "three");
    let item = HeadsItem { members: None, ..fixture.item() };
    let stored = fixture.apply(vec![heads_of(item, 2), StoreOp::Page(fixture.page(3, 3))]).await;
    assert!(stored.members_wanted.is_empty());
    let stored = fixture.apply(vec![StoreOp::Page(fixture.page(1, 2))]).await;
    assert_eq!(stored.members_wanted, [conversation]);
}

#[tokio::test]
async fn r6_history_below_the_list_of_a_large_group_requests_nothing() {
    let mut fixture = Fixture::new().await;
    let bo = fixture.bo;
    let change = MemberBody { user: bo, change: MemberChange::Role, role: Some(Role::Admin) };
    fixture.number(bo, EventId::mint(), &EventContent::Member(change));
    fixture.says(bo, "two");
    fixture.apply(vec![fixture.heads(true)]).await;
    let stored = fixture.apply(vec![StoreOp::Page(fixture.page(1, 2))]).await;
    assert!(stored.members_wanted.is_empty());
}

#[tokio::test]
async fn membership_beyond_a_hole_counts_and_is_right_when_the_hole_is_closed() {
    let mut fixture = Fixture::new().await;
    let (bo, cy, dee) = (fixture.bo, UserId::mint(), UserId::mint());
    let member = |user, change| EventContent::Member(MemberBody { user, change, role: None });
    fixture.says(bo, "known");
    fixture.apply(vec![fixture.heads(true), fixture.append(1, 1)]).await;
    fixture.number(bo, EventId::mint(), &member(cy, MemberChange::Added));
    fixture.number(bo, EventId::mint(), &member(dee, MemberChange::Added));
    fixture.number(bo, EventId::mint(), &member(cy, MemberChange::Removed));
    fixture.apply(vec![StoreOp::Page(fixture.page(4, 4))]).await;
    assert_eq!(fixture.row().await.member_count, 2);
    fixture.apply(vec![StoreOp::Page(fixture.page(2, 3))]).await;
    let conversation = fixture.conversation;
    let detail = fixture.read(move |db| crate::store::list::detail(db, conversation)).await;
    let members: Vec<_> = detail.members.iter().map(|member| member.person.id).collect();
    assert!(members.contains(&dee) && !members.contains(&cy));
}

#[tokio::test]
async fn c6_unknown_kinds_are_shown_as_placeholders() {
    let mut fixture = Fixture::new().await;
    let bo = fixture.bo;
    let mut event = fixture.says(bo, "?");
    event.kind = "poll".into();
    event.body = Some(serde_json::json!({"question": "tea?"}));
    let op = StoreOp::Append {
        conversation: fixture.conversation,
        chain_before: Chain::empty(fixture.conversation),
        events: vec![event],
    };
    fixture.apply(vec![op]).await;
    let items = fixture.items(Anchor::Newest, 5).await;
    assert!(matches!(
        &items[0],
        TimelineItem::Notice(notice) if notice.what == NoticeKind::Unknown { name: "poll".into() }
    ));
}

#[tokio::test]
async fn a27_one_notice_a_conversation_and_none_for_what_was_read_elsewhere() {
    let mut fixture = Fixture::new().await;
    let bo = fixture.bo;
    for at in 1..=300 {
        fixture.says(bo, &format!("m{at}"));
    }
    let mut item = fixture.item();
    item.own = OwnState { read: Seq(250), unread: 50, ..own_state(fixture.conversation, 2) };
    let heads = heads_of(item, 2);
    let stored = fixture.apply(vec![heads, fixture.append(201, 300)]).await;
    let arrived: Vec<_> =
        stored.notices.iter().filter(|notice| matches!(notice, EngineEvent::MessageArrived { .. })).collect();
    let [EngineEvent::MessageArrived { count, text, sender, .. }] = arrived[..] else {
        panic!("one notice, not {arrived:?}")
    };
    assert_eq!((*count, text.as_str(), sender.as_str()), (50, "m300", "Bo"));
    let stored = fixture.apply(vec![StoreOp::Page(fixture.page(101, 200))]).await;
    assert!(!stored.notices.iter().any(|notice| matches!(notice, EngineEvent::MessageArrived { .. })));
}

#[tokio::test]
async fn the_first_sync_of_a_device_announces_nothing() {
    let mut fixture = Fixture::empty().await;
    let bo = fixture.bo;
    fixture.says(bo, "old");
    let stored = fixture.apply(vec![fixture.heads(true), fixture.append(1, 1)]).await;
    assert!(!stored.notices.iter().any(|notice| matches!(notice, EngineEvent::MessageArrived { .. })));
    fixture.says(bo, "new");
    let stored = fixture.apply(vec![fixture.append(2, 2)]).await;
    assert!(
        stored.notices.iter().any(|notice| matches!(notice, EngineEvent::MessageArrived { count: 1, .. }))
    );
}

#[tokio::test]
async fn s7_a_rewind_queues_own_events_again_with_their_ids() {
    let mut fixture = Fixture::new().await;
    let (ada, bo) = (fixture.ada, fixture.bo);
    fixture.says(bo, "kept");
    let mine = fixture.says(ada, "mine");
    fixture.says(bo, "theirs");
    let on = fixture.log[0].id;
    fixture.number(ada, EventId::mint(), &reaction(on, "👍", true));
    fixture.apply(vec![fixture.append(1, 4)]).await;
    let chains = vec![(Seq(1), fixture.log[0].chain), (Seq(2), Chain([9; 8]))];
    let rewind = StoreOp::Rewind { conversation: fixture.conversation, chains };
    let stored = fixture.apply(vec![rewind]).await;
    assert_eq!(fixture.texts().await, ["kept", "theirs", "mine"]);
    assert_eq!(stored.queued.len(), 2);
    assert_eq!(stored.rewound[0].ranges.len(), 1);
    assert_eq!((stored.rewound[0].ranges[0].high, stored.rewound[0].head), (Seq(1), Seq(1)));
    let items: Vec<_> = stored.queued.iter().map(|entry| entry.item).collect();
    let stored = fixture.apply(vec![StoreOp::Sending { items }]).await;
    let kith_sync::ops::OutboxOp::Event(again) = &stored.sending[0].op else { panic!("an event") };
    assert_eq!((again.id, again.resubmitted), (mine.id, Some(true)));
}

fn with_own(fixture: &Fixture, change: impl FnOnce(&mut OwnState)) -> StoreOp {
    let mut own = own_state(fixture.conversation, 2);
    change(&mut own);
    StoreOp::OwnState { user_seq: Some(2), items: vec![own] }
}

/// What is in the archive counts nowhere, and a new message brings it back, on every device.
#[tokio::test]
async fn an_archived_conversation_returns_with_a_new_message() {
    let mut fixture = Fixture::new().await;
    let (ada, bo) = (fixture.ada, fixture.bo);
    fixture.says(bo, "before");
    fixture.apply(vec![fixture.append(1, 1)]).await;
    assert_eq!(fixture.store.numbers().await.unwrap().unread, 1);
    fixture.apply(vec![with_own(&fixture, |own| own.archive = true)]).await;
    assert!(fixture.row().await.archive);
    assert_eq!(fixture.store.numbers().await.unwrap().unread, 0, "the archive counts");

    // Neither one's own words nor what is no message bring it back.
    fixture.says(ada, "my own");
    let target = fixture.log[0].id;
    fixture.number(bo, EventId::mint(), &reaction(target, "👍", true));
    fixture.apply(vec![fixture.append(2, 3)]).await;
    assert!(fixture.row().await.archive);

    fixture.says(bo, "new");
    let stored = fixture.apply(vec![fixture.append(4, 4)]).await;
    assert!(!fixture.row().await.archive, "it stays out of sight");
    assert_eq!(fixture.store.numbers().await.unwrap().unread, 2);
    let told: Vec<_> = stored.queued.iter().map(|entry| entry.what).collect();
    assert_eq!(told, [OutboxWhat::State], "the server is told");
}

/// News may lie below the newest page, which has none: many reactions came after it.
#[tokio::test]
async fn a_message_below_a_page_without_news_is_news() {
    let mut fixture = Fixture::new().await;
    let bo = fixture.bo;
    let target = fixture.says(bo, "before").id;
    fixture.apply(vec![fixture.append(1, 1)]).await;
    fixture.apply(vec![with_own(&fixture, |own| own.archive = true)]).await;
    fixture.says(bo, "missed");
    for emoji in ["👍", "🎉", "🚀"] {
        fixture.number(bo, EventId::mint(), &reaction(target, emoji, true));
    }
    let arrived = |stored: &Applied| {
        let is_it = |notice: &&EngineEvent| matches!(notice, EngineEvent::MessageArrived { .. });
        stored.notices.iter().filter(is_it).count()
    };
    let newest = fixture.apply(vec![StoreOp::Page(fixture.page(4, 5))]).await;
    assert_eq!((arrived(&newest), fixture.row().await.archive), (0, true));
    let below = fixture.apply(vec![StoreOp::Page(fixture.page(2, 3))]).await;
    assert_eq!((arrived(&below), fixture.row().await.archive), (1, false));
    let older = fixture.apply(vec![StoreOp::Page(fixture.page(1, 1))]).await;
    assert_eq!(arrived(&older), 0);
}

#[tokio::test]
async fn a_message_below_a_page_of_own_and_deleted_messages_is_news() {
    let mut fixture = Fixture::new().await;
    let (ada, bo) = (fixture.ada, fixture.bo);
    fixture.says(bo, "before");
    fixture.apply(vec![fixture.append(1, 1)]).await;
    fixture.apply(vec![with_own(&fixture, |own| own.archive = true)]).await;
    fixture.says(bo, "missed");
    fixture.says(ada, "from another device");
    let mut deleted = fixture.says(bo, "deleted");
    (deleted.body, deleted.redacted) = (None, true);
    *fixture.log.last_mut().unwrap() = deleted;
    fixture.apply(vec![StoreOp::Page(fixture.page(3, 4))]).await;
    assert!(fixture.row().await.archive);
    fixture.apply(vec![StoreOp::Page(fixture.page(2, 2))]).await;
    assert!(!fixture.row().await.archive, "it came while nobody looked");
}

/// What is muted stays in the archive, and counts nowhere.
#[tokio::test]
async fn an_archived_and_muted_conversation_stays_in_the_archive() {
    let mut fixture = Fixture::new().await;
    let bo = fixture.bo;
    let muted = |own: &mut OwnState| {
        (own.archive, own.mute) = (true, TimestampMs((1 << 53) - 1));
    };
    fixture.apply(vec![with_own(&fixture, muted)]).await;
    fixture.says(bo, "new");
    let stored = fixture.apply(vec![fixture.append(1, 1)]).await;
    let row = fixture.row().await;
    assert_eq!((row.archive, row.unread), (true, 1));
    assert_eq!(fixture.store.numbers().await.unwrap().unread, 0);
    assert!(stored.queued.is_empty());
}

/// A device that was away does not bring back what another one archived with these messages unread in it.
#[tokio::test]
async fn what_another_device_had_when_it_archived_stays_there() {
    let mut fixture = Fixture::new().await;
    let bo = fixture.bo;
    for text in ["known", "before", "after"] {
        fixture.says(bo, text);
    }
    fixture.apply(vec![fixture.append(1, 1)]).await;
    let archived = |own: &mut OwnState| (own.archive, own.delivered) = (true, Seq(2));
    fixture.apply(vec![with_own(&fixture, archived)]).await;
    let stored = fixture.apply(vec![fixture.append(2, 2)]).await;
    assert!(fixture.row().await.archive && stored.queued.is_empty(), "it was there when it was archived");
    fixture.apply(vec![fixture.append(3, 3)]).await;
    assert!(!fixture.row().await.archive, "no device had it");
}

/// What this device archives returns with whatever comes before the server knows: its user has not seen that.
#[tokio::test]
async fn what_waits_to_be_archived_returns_with_what_another_device_had() {
    let mut fixture = Fixture::new().await;
    let bo = fixture.bo;
    fixture.apply(vec![with_own(&fixture, |own| own.delivered = Seq(1))]).await;
    let conversation = fixture.conversation;
    let archive = StateChange { archive: Some(true), ..StateChange::of(conversation) };
    fixture
        .write(move |tx| {
            let cid = conversations::known(tx, conversation)?;
            crate::store::own_state::change(tx, cid, archive)
        })
        .await;
    fixture.says(bo, "meanwhile");
    fixture.apply(vec![fixture.append(1, 1)]).await;
    assert!(!fixture.row().await.archive);
}

/// A device that signs in does not bring everything back that has something unread.
#[tokio::test]
async fn what_was_archived_unread_stays_so_on_a_new_device() {
    let mut fixture = Fixture::empty().await;
    let bo = fixture.bo;
    fixture.says(bo, "unread");
    let mut item = fixture.item();
    (item.own.archive, item.own.unread) = (true, 1);
    fixture.apply(vec![heads_of(item, 1), StoreOp::Page(fixture.page(1, 1))]).await;
    assert!(fixture.row().await.archive);
    assert_eq!(fixture.store.numbers().await.unwrap().unread, 0);
}

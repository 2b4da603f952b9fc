//! A server that was set back (S7): what is stored may be of a log that is no more.

use super::*;
use kith_protocol::event::{MemberBody, MemberChange};

/// Heads that come within a connection.
fn pushed(item: HeadsItem) -> StoreOp {
    StoreOp::Heads {
        full: false,
        handshake: false,
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

fn announced(stored: &Applied) -> Vec<&str> {
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

/// A log of four messages, of which the third answers the second. Returns the ids of the second and of the fourth.
async fn answered() -> (Fixture, EventId, EventId) {
    let mut fixture = Fixture::new().await;
    let (ada, bo) = (fixture.ada, fixture.bo);
    fixture.says(bo, "b1");
    let asked = fixture.says(ada, "question").id;
    let body = MessageBody { text: "answer".to_owned(), reply_to: Some(asked), ..MessageBody::default() };
    fixture.number(bo, EventId::mint(), &EventContent::Message(body));
    let next = fixture.says(bo, "b4").id;
    (fixture, asked, next)
}

#[tokio::test]
async fn s7_an_answer_to_what_is_lost_stays_though_its_author_has_gone_on() {
    let (mut fixture, _, next) = answered().await;
    let bo = fixture.bo;
    fixture.apply(vec![fixture.heads(true), fixture.append(1, 4)]).await;
    fixture.log.truncate(1);
    let chains = vec![(Seq(1), fixture.log[0].chain)];
    fixture.apply(vec![StoreOp::Rewind { conversation: fixture.conversation, chains }]).await;
    // The author's device brings back what waits for nothing. The answer waits for the question.
    fixture.number(bo, next, &message("b4"));
    fixture.apply(vec![fixture.append(2, 2)]).await;
    assert_eq!(lines(&fixture, Anchor::Newest, 50).await, ["b1", "[answer]", "b4", "question"]);
}

#[tokio::test]
async fn s7_an_answer_to_what_was_deleted_in_the_lost_log_stays_though_its_author_has_gone_on() {
    let (mut fixture, asked, next) = answered().await;
    let (ada, bo) = (fixture.ada, fixture.bo);
    fixture.number(ada, EventId::mint(), &EventContent::Delete { target: asked });
    fixture.apply(vec![fixture.heads(true), fixture.append(1, 5)]).await;
    fixture.log.truncate(1);
    let chains = vec![(Seq(1), fixture.log[0].chain)];
    fixture.apply(vec![StoreOp::Rewind { conversation: fixture.conversation, chains }]).await;
    // The server refuses the answer for want of its target, so its author's device waits with it.
    fixture.number(bo, next, &message("b4"));
    fixture.apply(vec![fixture.append(2, 2)]).await;
    assert_eq!(lines(&fixture, Anchor::Newest, 50).await, ["b1", "[answer]", "b4"]);
}

#[tokio::test]
async fn s7_a_deleted_answer_goes_whose_target_was_never_here_or_came_back_before() {
    for is_here in [false, true] {
        let (mut fixture, asked, next) = answered().await;
        let (ada, bo) = (fixture.ada, fixture.bo);
        let (low, keep) = if is_here { (1, 1) } else { (3, 2) };
        fixture.apply(vec![fixture.heads(true), fixture.append(low, 4)]).await;
        fixture.log.truncate(keep);
        let chains = vec![(Seq(keep as u64), fixture.log[keep - 1].chain)];
        fixture.apply(vec![StoreOp::Rewind { conversation: fixture.conversation, chains }]).await;
        // The answer was deleted before: its author's device brings back what came after it, in one page with the question.
        if is_here {
            fixture.number(ada, asked, &message("question"));
        }
        fixture.number(bo, next, &message("b4"));
        let high = fixture.log.len() as u64;
        fixture.apply(vec![fixture.append(keep as u64 + 1, high)]).await;
        let texts = lines(&fixture, Anchor::Newest, 50).await;
        assert!(!texts.iter().any(|text| text.contains("answer")), "{texts:?}");
        assert_eq!(texts.last().map(String::as_str), Some("b4"));
    }
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
async fn s3_s7_what_was_known_of_a_lost_log_does_not_overtake_the_log_begun_again() {
    let mut fixture = Fixture::new().await;
    let bo = fixture.bo;
    let item = |head, title: &str| HeadsItem {
        kind: ConversationKind::Group,
        head: Seq(head),
        title: Some(title.to_owned()),
        own: own_state(fixture.conversation, 1),
        ..fixture.item()
    };
    let (known, begun) = (item(7, "lost"), item(0, "begun again"));
    fixture.apply(vec![heads_of(known, 1)]).await;
    fixture.apply(vec![StoreOp::Lost { conversations: vec![fixture.conversation] }, pushed(begun)]).await;
    assert_eq!(fixture.row().await.title, "begun again");
    let title = EventContent::Title(kith_protocol::event::TitleBody { text: "later".to_owned() });
    fixture.number(bo, EventId::mint(), &title);
    fixture.apply(vec![fixture.append(1, 1)]).await;
    assert_eq!(fixture.row().await.title, "later");
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
    assert_eq!(kinds, [kith_sync::ops::OutboxWhat::Relation]);
}

/// What a conversation's outbox holds, in the order of sending: kind, text or nothing, state.
pub(super) async fn outbox(fixture: &Fixture) -> Vec<(String, String, String)> {
    let rows = fixture.read(crate::store::outbox::all).await;
    let text = |content: &str| {
        let event: serde_json::Value = serde_json::from_str(content).unwrap();
        event["body"]["text"].as_str().unwrap_or_default().to_owned()
    };
    rows.into_iter().map(|row| (row.kind, text(&row.content), row.state)).collect()
}

fn row(kind: &str, text: &str) -> (String, String, String) {
    (kind.to_owned(), text.to_owned(), "queued".to_owned())
}

#[tokio::test]
async fn s7_what_its_author_deleted_is_not_sent_again() {
    let mut fixture = Fixture::new().await;
    let (ada, bo) = (fixture.ada, fixture.bo);
    fixture.says(bo, "b1");
    let gone = fixture.says(ada, "regretted").id;
    let kept = fixture.says(ada, "kept").id;
    fixture.apply(vec![fixture.append(1, 3)]).await;
    let (_, _, update) = fixture.write(move |tx| doing::edit(tx, Fixture::CID, gone, "regretted more")).await;
    fixture.apply(vec![StoreOp::Sending { items: vec![update.changed[0].item] }]).await;
    fixture.write(move |tx| doing::delete(tx, Fixture::CID, gone)).await;
    // The server is set back before either was written.
    fixture.log.truncate(1);
    let chains = vec![(Seq(1), fixture.log[0].chain)];
    let stored = fixture.apply(vec![StoreOp::Rewind { conversation: fixture.conversation, chains }]).await;
    assert_eq!(outbox(&fixture).await, [row("message", "kept")]);
    assert_eq!(stored.queued.len(), 1);
    assert_eq!(stored.ended.len(), 2, "edit and deletion have nothing to be about");
    assert_eq!(lines(&fixture, Anchor::Newest, 50).await, ["b1", "kept"]);
    assert_eq!(found(&fixture, "regretted").await, 0);
    fixture.number(ada, kept, &message("kept"));
    fixture.apply(vec![fixture.append(2, 2)]).await;
    assert_eq!(outbox(&fixture).await, []);
}

#[tokio::test]
async fn s7_a_relation_follows_its_target_and_later_messages_what_goes_out_again() {
    let mut fixture = Fixture::new().await;
    let (ada, bo) = (fixture.ada, fixture.bo);
    fixture.says(bo, "b1");
    let mine = fixture.says(ada, "mine").id;
    fixture.apply(vec![fixture.append(1, 2)]).await;
    fixture.write(move |tx| doing::edit(tx, Fixture::CID, mine, "mine, edited")).await;
    let conversation = fixture.conversation;
    fixture.send("later").await;
    fixture.write(move |tx| doing::react(tx, Fixture::CID, mine, "+", true)).await;
    let before = fixture.read(crate::store::outbox::all).await;
    // One has left already, one was refused: the server had lost the message by then.
    let (edit, reaction) = (before[0].item, before[2].item);
    fixture.apply(vec![StoreOp::Sending { items: vec![edit] }]).await;
    let code = kith_protocol::ErrorCode::TargetMissing;
    fixture.apply(vec![StoreOp::Parked { items: vec![reaction], code }]).await;
    fixture.log.truncate(1);
    let chains = vec![(Seq(1), fixture.log[0].chain)];
    let stored = fixture.apply(vec![StoreOp::Rewind { conversation, chains }]).await;
    let wanted =
        [row("message", "mine"), row("edit", "mine, edited"), row("message", "later"), row("reaction", "")];
    assert_eq!(outbox(&fixture).await, wanted);
    assert_eq!(stored.ended, before.iter().map(|row| row.item).collect::<Vec<_>>(), "they have new numbers");
    assert_eq!(stored.queued.len(), 4);
    assert_eq!(lines(&fixture, Anchor::Newest, 50).await, ["b1", "mine, edited", "later"]);
    // An answer to a row that was moved is void.
    fixture.apply(vec![StoreOp::Parked { items: vec![edit], code }]).await;
    assert_eq!(outbox(&fixture).await, wanted);
}

#[tokio::test]
async fn s7_o5_what_was_refused_for_want_of_its_target_goes_on_when_the_target_comes() {
    let mut fixture = Fixture::new().await;
    let bo = fixture.bo;
    let theirs = fixture.says(bo, "theirs").id;
    fixture.apply(vec![fixture.append(1, 1)]).await;
    fixture.write(move |tx| doing::react(tx, Fixture::CID, theirs, "+", true)).await;
    let conversation = fixture.conversation;
    fixture
        .write(move |tx| {
            let cid = conversations::known(tx, conversation)?;
            doing::write_message(tx, cid, EventId::mint(), "an answer", Some(theirs))
        })
        .await;
    fixture.log.clear();
    fixture.apply(vec![StoreOp::Rewind { conversation, chains: Vec::new() }]).await;
    let items: Vec<_> = fixture.read(crate::store::outbox::all).await.iter().map(|row| row.item).collect();
    let code = kith_protocol::ErrorCode::TargetMissing;
    fixture.apply(vec![StoreOp::Parked { items: items.clone(), code }]).await;
    fixture.says(bo, "another");
    let stored = fixture.apply(vec![fixture.append(1, 1)]).await;
    assert_eq!(stored.queued, [], "that is not what they are about");
    fixture.number(bo, theirs, &message("theirs"));
    let stored = fixture.apply(vec![fixture.append(2, 2)]).await;
    assert_eq!(stored.queued.iter().map(|entry| entry.item).collect::<Vec<_>>(), items);
}

#[tokio::test]
async fn s7_a_log_that_came_instead_of_damaged_events_takes_their_places() {
    let mut fixture = Fixture::new().await;
    let (ada, bo) = (fixture.ada, fixture.bo);
    for at in 1..=4 {
        fixture.says(bo, &format!("m{at}"));
    }
    fixture.says(ada, "mine");
    fixture.says(bo, "m6");
    fixture.apply(vec![fixture.append(1, 6)]).await;
    // A look through the rows has found the fifth damaged; the server has been set back to the fourth by then, so that
    // what comes continues what is stored.
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
    fixture.log.truncate(4);
    fixture.says(bo, "other 5");
    fixture.says(bo, "other 6");
    let stored = fixture.apply(vec![fixture.append(5, 6)]).await;
    let texts = fixture.texts().await;
    assert_eq!(texts, ["m1", "m2", "m3", "m4", "other 5", "other 6", "mine"]);
    assert_eq!(outbox(&fixture).await, [row("message", "mine")]);
    assert_eq!(stored.queued.len(), 1, "one's own goes out again");
}

/// What heads and the log both tell of a conversation: title, visible, member count, head, floor.
async fn facts(fixture: &Fixture) -> (String, String, i64, i64, i64) {
    let conversation = fixture.conversation;
    let facts = fixture.read(move |db| {
        let mut query = db
            .conn
            .prepare("SELECT title, visible, member_count, head, floor FROM conversations WHERE id = ?1")?;
        let read =
            |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?));
        Ok(query.query_row([conversation.as_bytes()], read)?)
    });
    facts.await
}

#[tokio::test]
async fn s3_heads_that_the_log_has_overtaken_change_neither_title_nor_visibility_nor_counts() {
    let mut fixture = Fixture::new().await;
    let (ada, bo) = (fixture.ada, fixture.bo);
    fixture.says(bo, "one");
    let early = HeadsItem { title: Some("old".to_owned()), members: None, member_count: 7, ..fixture.item() };
    fixture.apply(vec![pushed(early.clone())]).await;
    let title = kith_protocol::event::TitleBody { text: "new".to_owned() };
    fixture.number(bo, EventId::mint(), &EventContent::Title(title));
    let removed = kith_protocol::event::MemberBody {
        change: kith_protocol::event::MemberChange::Removed,
        user: ada,
        role: None,
    };
    fixture.number(bo, EventId::mint(), &EventContent::Member(removed));
    fixture.apply(vec![fixture.append(1, 3)]).await;
    let known = facts(&fixture).await;
    assert_eq!((known.0.as_str(), known.1.as_str(), known.2), ("new", "[[1,3]]", 1));
    fixture.apply(vec![pushed(early)]).await;
    assert_eq!(facts(&fixture).await, known);
}

#[tokio::test]
async fn s7_what_heads_said_of_a_lost_log_yields_to_one_that_is_begun_again() {
    let mut fixture = Fixture::new().await;
    let far = HeadsItem { head: Seq(5), title: Some("old".to_owned()), ..fixture.item() };
    fixture.apply(vec![heads_of(far, 1)]).await;
    let StoreOp::Heads { user_seq, .. } = fixture.heads(true) else { panic!("heads") };
    fixture
        .apply(vec![StoreOp::Heads {
            full: true,
            handshake: true,
            last: true,
            user_seq,
            items: Vec::new(),
            gone: vec![fixture.conversation],
        }])
        .await;
    let left = kith_protocol::event::MemberBody {
        change: kith_protocol::event::MemberChange::Left,
        user: fixture.ada,
        role: None,
    };
    let began = HeadsItem { title: Some("new".to_owned()), ..fixture.item() };
    fixture.number(fixture.ada, EventId::mint(), &EventContent::Member(left));
    fixture.apply(vec![fixture.append(1, 1), pushed(began)]).await;
    let known = facts(&fixture).await;
    assert_eq!((known.0.as_str(), known.1.as_str()), ("old", "[[1,1]]"), "the log is newer than these heads");
    let ended =
        HeadsItem { visible: vec![(Seq(1), Some(Seq(1)))], title: Some("new".to_owned()), ..fixture.item() };
    fixture.apply(vec![pushed(ended)]).await;
    let known = facts(&fixture).await;
    assert_eq!((known.0.as_str(), known.1.as_str()), ("new", "[[1,1]]"));
}

#[tokio::test]
async fn s4_a_snapshot_does_not_hide_what_has_come_back_since() {
    let fixture = Fixture::new().await;
    let conversation = fixture.conversation;
    let back = OwnState { hidden: false, ..own_state(conversation, 5) };
    fixture.apply(vec![StoreOp::OwnState { user_seq: Some(5), items: vec![back] }]).await;
    let gone = |handshake, user_seq| StoreOp::Heads {
        full: true,
        handshake,
        last: true,
        user_seq,
        items: Vec::new(),
        gone: vec![conversation],
    };
    fixture.apply(vec![gone(false, 4)]).await;
    let shown = fixture.read(crate::store::list::conversations).await;
    assert_eq!(shown.len(), 1, "it was hidden when the snapshot was taken");
    fixture.apply(vec![gone(false, 5)]).await;
    assert_eq!(fixture.read(crate::store::list::conversations).await.len(), 0);
}

#[tokio::test]
async fn o5_what_was_refused_and_whose_target_has_come_meanwhile_is_tried_again_a_few_times() {
    tried_again(|tx, cid, target| doing::react(tx, cid, target, "👍", true)).await;
    tried_again(|tx, cid, target| doing::write_message(tx, cid, EventId::mint(), "answer", Some(target)))
        .await;
}

async fn tried_again(write: fn(&mut Tx<'_>, i64, EventId) -> Result<(), ClientError>) {
    let mut fixture = Fixture::new().await;
    let (bo, conversation) = (fixture.bo, fixture.conversation);
    let target = fixture.says(bo, "back again").id;
    fixture.apply(vec![fixture.append(1, 1)]).await;
    fixture.write(move |tx| write(tx, conversations::known(tx, conversation)?, target)).await;
    let item = fixture.read(crate::store::outbox::all).await[0].item;
    let park = || StoreOp::Parked { items: vec![item], code: kith_protocol::ErrorCode::TargetMissing };
    for _ in 0..4 {
        fixture.apply(vec![StoreOp::Sending { items: vec![item] }]).await;
        let stored = fixture.apply(vec![park()]).await;
        assert_eq!(stored.queued.iter().map(|entry| entry.item).collect::<Vec<_>>(), [item]);
    }
    fixture.apply(vec![StoreOp::Sending { items: vec![item] }]).await;
    assert_eq!(fixture.apply(vec![park()]).await.queued, []);
}

#[tokio::test]
async fn s7_what_others_had_read_and_become_in_the_lost_log_is_forgotten() {
    let mut fixture = Fixture::new().await;
    let (ada, bo, conversation) = (fixture.ada, fixture.bo, fixture.conversation);
    let theirs = fixture.says(bo, "theirs").id;
    fixture.says(ada, "mine");
    for _ in 0..8 {
        fixture.says(bo, "more");
    }
    let state = kith_protocol::frame::MessageState { pinned: true, ..Default::default() };
    let mut page = fixture.page(1, 3);
    (page.as_of, page.head) = (Seq(10), Seq(10));
    page.states.insert(theirs, state);
    let markers = StoreOp::Markers { conversation, markers: vec![(bo, Seq(10), Seq(10))] };
    fixture.apply(vec![StoreOp::Page(page), markers]).await;
    assert!(fixture.messages().await[0].pinned);
    // The pin was above the place where the server's log ends now.
    let chains = vec![(Seq(3), fixture.log[2].chain)];
    fixture.apply(vec![StoreOp::Rewind { conversation, chains }]).await;
    fixture.log.truncate(3);
    assert!(!fixture.messages().await[0].pinned);
    fixture.says(ada, "mine, later");
    fixture.apply(vec![fixture.append(4, 4)]).await;
    let newest = fixture.messages().await.pop().unwrap();
    assert_eq!(newest.send_state, Some(crate::view::SendState::Sent), "nobody has read it");
}

#[tokio::test]
async fn s7_what_was_known_above_an_end_that_fell_is_forgotten_though_nothing_is_cut() {
    let mut fixture = Fixture::new().await;
    let (ada, bo, conversation) = (fixture.ada, fixture.bo, fixture.conversation);
    let theirs = fixture.says(bo, "theirs").id;
    fixture.says(ada, "mine");
    for _ in 0..8 {
        fixture.says(bo, "more");
    }
    let lost = fixture.log.clone();
    // Three of ten are stored; the rest was read on another device.
    let mut page = fixture.page(1, 3);
    page.states.insert(theirs, kith_protocol::frame::MessageState { pinned: true, ..Default::default() });
    let own = OwnState { read: Seq(10), delivered: Seq(10), ..own_state(conversation, 7) };
    let markers = StoreOp::Markers { conversation, markers: vec![(bo, Seq(10), Seq(10))] };
    fixture.apply(vec![heads_of(HeadsItem { own, ..fixture.item() }, 7), StoreOp::Page(page), markers]).await;
    assert!(fixture.messages().await[0].pinned);
    fixture.log.truncate(4);
    fixture.apply(vec![fixture.heads(true)]).await;
    let row = fixture.row().await;
    assert!(!fixture.messages().await[0].pinned, "what messages had become");
    fixture.apply(vec![fixture.append(4, 4)]).await;
    fixture.says(bo, "news");
    fixture.says(ada, "mine, later");
    let stored = fixture.apply(vec![fixture.append(5, 6)]).await;
    assert_eq!(announced(&stored), ["news"]);
    assert_eq!(fixture.row().await.unread, row.unread + 1);
    let newest = fixture.messages().await.pop().unwrap();
    assert_eq!(newest.send_state, Some(crate::view::SendState::Sent), "nobody has read it");
    assert_ne!(lost[4].id, fixture.log[4].id);
}

#[tokio::test]
async fn s7_r6_the_members_of_a_lost_log_are_asked_for_though_there_are_as_many() {
    let mut fixture = Fixture::new().await;
    let (bo, conversation) = (fixture.bo, fixture.conversation);
    fixture.says(bo, "both logs");
    let change = MemberBody { user: bo, change: MemberChange::Role, role: Some(Role::Admin) };
    fixture.number(bo, EventId::mint(), &EventContent::Member(change));
    fixture.apply(vec![fixture.heads(true), fixture.append(1, 2)]).await;
    fixture.log.truncate(1);
    fixture.says(bo, "begun again");
    let large = HeadsItem { members: None, ..fixture.item() };
    let stored = fixture.apply(vec![heads_of(large.clone(), 2)]).await;
    assert!(stored.members_wanted.is_empty(), "as many, and it is not known yet that the log is another one");
    let chains = vec![(Seq(1), fixture.log[0].chain)];
    let stored = fixture.apply(vec![StoreOp::Rewind { conversation, chains }]).await;
    assert_eq!(stored.members_wanted, [conversation]);
}

#[tokio::test]
async fn s7_r6_the_members_of_a_lost_log_are_asked_for_though_the_change_was_not_stored() {
    let mut fixture = Fixture::new().await;
    let (bo, conversation) = (fixture.bo, fixture.conversation);
    fixture.says(bo, "both logs");
    let change = MemberBody { user: bo, change: MemberChange::Role, role: Some(Role::Admin) };
    fixture.number(bo, EventId::mint(), &EventContent::Member(change));
    fixture.says(bo, "lost");
    fixture.says(bo, "lost, too");
    fixture.apply(vec![fixture.heads(true), StoreOp::Page(fixture.page(3, 4))]).await;
    let chains = vec![(Seq(1), fixture.log[0].chain)];
    let stored = fixture.apply(vec![StoreOp::Rewind { conversation, chains }]).await;
    assert_eq!(stored.members_wanted, [conversation]);
}

#[tokio::test]
async fn s7_r6_the_members_of_a_log_whose_end_fell_are_asked_for_though_there_are_as_many() {
    let mut fixture = Fixture::new().await;
    let (bo, conversation) = (fixture.bo, fixture.conversation);
    fixture.says(bo, "both logs");
    fixture.says(bo, "lost");
    fixture.apply(vec![fixture.heads(true), fixture.append(1, 1)]).await;
    fixture.log.truncate(1);
    let large = HeadsItem { members: None, ..fixture.item() };
    let stored = fixture.apply(vec![heads_of(large.clone(), 2)]).await;
    assert_eq!(stored.members_wanted, [conversation], "the list may be of what is lost");
    let stored = fixture.apply(vec![heads_of(large, 2)]).await;
    assert!(stored.members_wanted.is_empty());
}

#[tokio::test]
async fn s7_r6_who_left_in_a_lost_log_has_not_left_the_one_that_came_instead() {
    let mut fixture = Fixture::new().await;
    let (ada, bo, conversation) = (fixture.ada, fixture.bo, fixture.conversation);
    fixture.says(bo, "both logs");
    let left = MemberBody { user: ada, change: MemberChange::Left, role: None };
    fixture.number(ada, EventId::mint(), &EventContent::Member(left));
    let ended = HeadsItem { visible: vec![(Seq(1), Some(Seq(2)))], ..fixture.item() };
    fixture.apply(vec![heads_of(ended, 2), fixture.append(1, 2)]).await;
    let visible = async |fixture: &Fixture| {
        let read = move |db: &Db<'_>| conversations::visible(db, conversations::known(db, conversation)?);
        fixture.read(read).await
    };
    // The conversation is hidden: heads say nothing of it any more.
    let chains = vec![(Seq(1), fixture.log[0].chain)];
    fixture.apply(vec![StoreOp::Rewind { conversation, chains }]).await;
    assert_eq!(visible(&fixture).await, [(Seq(1), None)]);
}

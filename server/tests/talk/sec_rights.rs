//! What a member may not do, what nobody may claim, and that lists and counters hold nothing foreign.

use crate::support::{Person, World, about, event, member, message};
use kith_protocol::{ConversationId, EventId, UserId};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::PgPool;
use std::collections::{BTreeMap, HashSet};
use uuid::Uuid;

#[tokio::test]
async fn sec_035_nobody_says_who_wrote_an_event_when_or_where_it_stands() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let (mut line, mut bo_line) = (ada.online().await, bo.online().await);
    let chat = line.start_chat(bo.user, "1").await;
    // Inside an event or an HTTP body a forged field is refused.
    for field in ["sender", "user", "seq", "ts", "countable", "chain", "redacted"] {
        let mut forged = message("forged");
        forged[field] = json!(bo.user);
        assert_eq!(line.refused(chat, forged).await, "invalid", "{field}");
        let post = json!({"text": "forged", field: bo.user});
        let (status, answer) =
            ada.ask(Method::POST, &format!("/v1/conversations/{chat}/messages"), Some(post)).await;
        assert_eq!((status, &answer["code"]), (400, &json!("invalid")), "{field}");
    }
    // Beside the events of a frame it is not read: the user is the token's.
    let mut frame = json!({"type": "send", "conversation": chat, "events": [message("by ada")]});
    for field in ["sender", "user", "device", "seq", "ts"] {
        frame[field] = json!(bo.user);
    }
    let ack = line.call(frame).await;
    assert_eq!((&ack["results"][0]["status"], &ack["results"][0]["seq"]), (&json!("ok"), &json!(2)));
    let events = bo_line.events_to(chat, 2).await;
    let last = events.last().unwrap();
    assert_eq!((&last["sender"], &last["body"]["text"]), (&json!(ada.user), &json!("by ada")));
    // Nor does anybody join or leave for somebody else.
    let group = line.start_group(&[bo.user]).await;
    assert_eq!(line.refused(group, member(bo.user, "left")).await, "not_allowed");
    assert_eq!(bo_line.refused(group, member(ada.user, "removed")).await, "not_allowed");
}

#[tokio::test]
async fn sec_040_a_guessed_id_of_a_message_a_user_or_a_notification_is_worth_nothing() {
    let world = World::start().await;
    let [ada, bo, eve] = world.people(["ada", "bo", "eve"]).await;
    let (mut line, mut eve_line) = (ada.online().await, eve.online().await);
    let chat = line.start_chat(bo.user, "1").await;
    let secret = message("between us");
    line.ok(chat, secret.clone()).await;
    let own = eve_line.start_chat(ada.user, "hello").await;
    // The id of a message in a conversation that one is not in, and one that nobody has.
    let mut answers = Vec::new();
    for id in [&secret["id"], &json!(EventId::mint())] {
        for event in [
            about("edit", id, json!({"text": "x"})),
            about("delete", id, json!({})),
            about("reaction", id, json!({"emoji": "👍", "on": true})),
            about("pin", id, json!({"on": true})),
            event("message", json!({"text": "re", "reply_to": id})),
        ] {
            answers.push((eve_line.refused(own, event.clone()).await, eve_line.refused(chat, event).await));
        }
    }
    assert!(
        answers.iter().all(|both| *both == ("target_missing".into(), "not_member".into())),
        "{answers:?}"
    );
    // Somebody else's notification stays unseen.
    let id = EventId::mint();
    sqlx::query(
        "INSERT INTO notifications (id, user_id, kind, title, text) VALUES ($1, $2, 'job', 't', 't')",
    )
    .bind(id.as_uuid())
    .bind(ada.user.as_uuid())
    .execute(&world.server.pool)
    .await
    .unwrap();
    let acknowledge = json!({"type": "notification.ack", "ids": [id]});
    let is_seen = async || {
        let query = "SELECT acknowledged_at IS NOT NULL FROM notifications";
        sqlx::query_scalar::<_, bool>(query).fetch_one(&world.server.pool).await.unwrap()
    };
    assert_eq!(eve_line.call(acknowledge.clone()).await["type"], "ack", "as for one that does not exist");
    assert!(!is_seen().await);
    line.call(acknowledge).await;
    assert!(is_seen().await);
}

#[tokio::test]
async fn sec_041_an_ex_member_gets_nothing_from_the_removal_on_by_any_way() {
    let world = World::start().await;
    let [ada, bo, cy] = world.people(["ada", "bo", "cy"]).await;
    let (mut line, mut bo_line) = (ada.online().await, bo.online().await);
    let group = line.start_group(&[bo.user, cy.user]).await;
    line.ok(group, message("before")).await;
    line.ok(group, member(bo.user, "removed")).await;
    bo_line.events_to(group, 2).await;
    bo_line.everything().await;
    line.ok(group, message("afterwards")).await;
    line.ok(group, event("title", json!({"text": "afterwards too"}))).await;
    line.call(json!({"type": "typing", "conversation": group, "on": true})).await;
    line.call(json!({"type": "state", "conversation": group, "read": 4})).await;
    // Live, in an exchange that begins anew, in lists, pages, probes and the oldest way of all: guessing seqs.
    let mut told = bo_line.everything().await;
    for from in [1, 2, 3, 4, 5] {
        told.push(bo_line.pull(group, json!({"from": from, "direction": "forward"})).await);
    }
    told.push(bo_line.call(json!({"type": "probe", "conversation": group, "seqs": [3, 4]})).await);
    told.push(bo_line.call(json!({"type": "heads", "full": true})).await);
    let exchange = json!({"frames": [bo.hello(1), {"type": "heads", "request": 2}]});
    told.push(bo.ask(Method::POST, "/v1/exchange", Some(exchange)).await.1);
    for path in [
        "",
        &format!("/{group}"),
        &format!("/{group}/messages?after=0"),
        &format!("/{group}/messages?around=4"),
    ] {
        told.push(bo.get(&format!("/v1/conversations{path}")).await);
    }
    for answer in &told {
        let text = answer.to_string();
        assert!(!text.contains("afterwards") && !text.contains("ephemeral"), "{text}");
        assert!(answer["type"] != "markers" && answer["type"] != "hint", "{text}");
    }
    assert!(told.iter().any(|answer| answer.to_string().contains("before")));
}

#[tokio::test]
async fn sec_042_nobody_changes_what_another_wrote_and_an_edit_stays_in_its_conversation() {
    let world = World::start().await;
    let [ada, bo, eve] = world.people(["ada", "bo", "eve"]).await;
    let (mut ada_line, mut bo_line, mut eve_line) =
        (ada.online().await, bo.online().await, eve.online().await);
    let group = ada_line.start_group(&[bo.user]).await;
    let (by_owner, by_member) = (message("by the owner"), message("by the member"));
    ada_line.ok(group, by_owner.clone()).await;
    bo_line.ok(group, by_member.clone()).await;
    let edit = |of: &Value| about("edit", &of["id"], json!({"text": "changed"}));
    let delete = |of: &Value| about("delete", &of["id"], json!({}));
    assert_eq!(bo_line.refused(group, edit(&by_owner)).await, "not_allowed");
    assert_eq!(bo_line.refused(group, delete(&by_owner)).await, "not_allowed");
    assert_eq!(
        ada_line.refused(group, edit(&by_member)).await,
        "not_allowed",
        "an owner puts no words into a mouth"
    );
    for event in [
        edit(&by_owner),
        delete(&by_owner),
        about("reaction", &by_owner["id"], json!({"emoji": "👍", "on": true})),
    ] {
        assert_eq!(eve_line.refused(group, event).await, "not_member");
    }
    // An edit, a deletion or a reaction reaches no message of another conversation, not even one's own.
    let chat = bo_line.start_chat(ada.user, "elsewhere").await;
    for event in [
        edit(&by_member),
        delete(&by_member),
        about("reaction", &by_member["id"], json!({"emoji": "👍", "on": true})),
    ] {
        assert_eq!(bo_line.refused(chat, event).await, "target_missing");
    }
    let page = ada_line.pull(group, json!({})).await;
    for (message, text) in [(&by_owner, "by the owner"), (&by_member, "by the member")] {
        assert_eq!(page["states"][message["id"].as_str().unwrap()]["text"], text);
    }
    bo_line.ok(group, edit(&by_member)).await;
    ada_line.ok(group, delete(&by_member)).await;
}

/// Dense pseudo-random numbers; the seed is in the failure's text by the step.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % below
    }
}

type EventRow = (Uuid, i64, Uuid, Uuid, String, Option<Uuid>);

/// What the list of a user must be, read off the log and the intervals by the letter: conversation → unread.
async fn naive(pool: &PgPool, user: UserId) -> BTreeMap<String, i64> {
    let events: Vec<EventRow> = sqlx::query_as(
        "SELECT c.id, e.seq, e.id, e.sender, e.kind, e.target FROM events e JOIN conversations c ON c.key = e.conversation_key",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let intervals: Vec<(Uuid, i64, Option<i64>, i64)> = sqlx::query_as(
        "SELECT c.id, i.from_seq, i.to_seq, m.read_seq
         FROM member_intervals i JOIN conversations c ON c.key = i.conversation_key
         JOIN members m ON m.conversation_key = i.conversation_key AND m.user_id = i.user_id
         WHERE i.user_id = $1",
    )
    .bind(user.as_uuid())
    .fetch_all(pool)
    .await
    .unwrap();
    let mut list = BTreeMap::new();
    for (conversation, _, _, read) in &intervals {
        let sees = |seq: i64| {
            intervals
                .iter()
                .any(|(of, from, to, _)| of == conversation && *from <= seq && to.is_none_or(|to| seq <= to))
        };
        let of: Vec<&EventRow> = events.iter().filter(|row| row.0 == *conversation && sees(row.1)).collect();
        let unread: HashSet<Uuid> = of
            .iter()
            .filter(|row| row.1 > *read && row.4 == "message" && row.3 != user.as_uuid())
            .map(|row| row.2)
            .collect();
        let gone =
            of.iter().filter(|row| row.4 == "delete" && row.5.is_some_and(|id| unread.contains(&id))).count();
        list.insert(conversation.to_string(), i64::try_from(unread.len() - gone).unwrap());
    }
    list
}

/// The list as the server tells it: over HTTP in small parts, and as heads.
async fn told(person: &Person) -> [BTreeMap<String, i64>; 2] {
    let entry =
        |item: &Value| (item["conversation"].as_str().unwrap().to_owned(), item["unread"].as_i64().unwrap());
    let (mut path, mut by_http) = ("/v1/conversations?limit=2".to_owned(), BTreeMap::new());
    loop {
        let part = person.get(&path).await;
        by_http.extend(part["items"].as_array().unwrap().iter().map(entry));
        let Some(next) = part["next"].as_str() else { break };
        path = format!("/v1/conversations?limit=2&after={next}");
    }
    let hello = json!({"frames": [person.hello(0)]});
    let (_, exchanged) = person.ask(Method::POST, "/v1/exchange", Some(hello)).await;
    let heads = &exchanged["frames"][1];
    assert_eq!((&heads["type"], &heads["more"]), (&json!("heads"), &json!(false)), "{heads}");
    [by_http, heads["items"].as_array().unwrap().iter().map(entry).collect()]
}

#[tokio::test]
async fn sec_045_lists_and_unread_counters_are_what_a_naive_filter_finds_for_any_history() {
    let world = World::start().await;
    let people = world.people(["ada", "bo", "cy", "dee"]).await;
    let mut lines = Vec::new();
    for person in &people {
        lines.push(world.device_of(person).await.online().await);
    }
    let mut groups: Vec<(ConversationId, Vec<Value>)> = Vec::new();
    for others in [vec![1], vec![1, 2], vec![2, 3]] {
        let members: Vec<UserId> = others.into_iter().map(|other| people[other].user).collect();
        groups.push((lines[0].start_group(&members).await, Vec::new()));
    }
    let mut dice = Dice(0x5eed);
    for step in 0..150 {
        let (who, whom, place) = (dice.roll(4), dice.roll(4), dice.roll(groups.len()));
        let (group, messages) = &mut groups[place];
        let group = *group;
        // Whoever may not do it is refused; what counts is what the log says afterwards.
        let event = match dice.roll(8) {
            0..=2 => message(&step.to_string()),
            3 if !messages.is_empty() => {
                let target = messages.swap_remove(dice.roll(messages.len()));
                about("delete", &target, json!({}))
            }
            4 => member(people[whom].user, "added"),
            5 if whom != 0 => member(people[whom].user, "removed"),
            _ => {
                let read = json!({"type": "state", "conversation": group, "read": dice.roll(step + 2)});
                lines[who].call(read).await;
                continue;
            }
        };
        let by = if event["kind"] == "message" { who } else { 0 };
        let results = lines[by].send(group, std::slice::from_ref(&event)).await;
        if results[0]["status"] == "ok" && event["kind"] == "message" {
            messages.push(event["id"].clone());
        }
        lines.iter_mut().for_each(|line| line.unread.clear());
        if step % 5 != 0 {
            continue;
        }
        for person in &people {
            let expected = naive(&world.server.pool, person.user).await;
            for told in told(&world.device_of(person).await).await {
                assert_eq!(told, expected, "step {step}: {}", person.user);
            }
        }
    }
}

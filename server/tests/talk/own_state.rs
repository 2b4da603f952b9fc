//! Own state, markers and unread numbers: S4, R1, R2, R4, W7.

use crate::support::{World, about, event, member, message};
use kith_protocol::{ConversationId, limits};
use serde_json::{Value, json};
use sqlx::PgPool;

fn state(conversation: ConversationId, rest: Value) -> Value {
    let mut frame = json!({"type": "state", "conversation": conversation});
    for (key, value) in rest.as_object().unwrap() {
        frame[key] = value.clone();
    }
    frame
}

#[tokio::test]
async fn r1_read_is_max_merged_and_clamped_and_raises_delivered() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let (mut ada_line, mut bo_line) = (ada.online().await, bo.online().await);
    let chat = ada_line.start_chat(bo.user, "1").await;
    ada_line.ok(chat, message("2")).await;
    bo_line.call(state(chat, json!({"unread_flag": true}))).await;

    let own = bo_line.call(state(chat, json!({"read": 1}))).await;
    let item = &own["items"][0];
    assert_eq!((&item["read"], &item["delivered"], &item["unread"]), (&json!(1), &json!(1), &json!(1)));
    assert_eq!(
        (&item["unread_flag"], &item["version"]),
        (&json!(false), &own["user_seq"]),
        "an advance clears it"
    );
    let markers = ada_line.until_type("markers").await;
    assert_eq!(markers["markers"], json!([[bo.user, 1, 1]]));

    let far = bo_line.call(state(chat, json!({"read": 99}))).await;
    assert_eq!((&far["items"][0]["read"], &far["items"][0]["unread"]), (&json!(2), &json!(0)));
    let back = bo_line.call(state(chat, json!({"read": 1}))).await;
    assert_eq!(back["items"][0]["read"], 2, "I7");
    assert_eq!(back["user_seq"], far["user_seq"], "nothing changed");
    assert_eq!(bo_line.error(state(chat, json!({"read": -1}))).await, "invalid");
    assert_eq!(bo_line.error(state(chat, json!({"read": 1.5}))).await, "invalid");
    let asked = ada_line.call(json!({"type": "markers", "conversation": chat})).await;
    assert!(asked["markers"].as_array().unwrap().contains(&json!([bo.user, 2, 2])));
}

#[tokio::test]
async fn s4_own_state_is_counted_densely_and_pushed_to_the_users_other_devices() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let other_device = world.sign_in("bo").await;
    let (mut ada, mut one, mut other) = (ada.online().await, bo.online().await, other_device.online().await);
    let chat = ada.start_chat(bo.user, "1").await;
    let before = one.call(json!({"type": "heads"})).await["user_seq"].as_u64().unwrap();
    for (index, change) in [
        json!({"pin": true}),
        json!({"archive": true}),
        json!({"mute": 9_007_199_254_740_991_u64}),
        json!({"read": 1}),
        json!({"draft": {"text": "half a thought", "base": 0}}),
    ]
    .into_iter()
    .enumerate()
    {
        let own = one.call(state(chat, change)).await;
        assert_eq!(own["user_seq"], before + 1 + index as u64);
        let pushed = other.until_type("own_state").await;
        assert_eq!((&pushed["items"], &pushed["user_seq"]), (&own["items"], &own["user_seq"]));
        assert_eq!(pushed["reply_to"], Value::Null);
    }
    let heads = other.call(json!({"type": "heads"})).await;
    let item = &heads["items"][0];
    assert_eq!(heads["user_seq"], before + 5);
    assert_eq!(
        (&item["pin"], &item["archive"], &item["draft"]["text"]),
        (&json!(true), &json!(true), &json!("half a thought"))
    );
    assert_eq!(item["version"], before + 5);
    assert!(
        one.everything().await.iter().all(|frame| frame["type"] != "own_state"),
        "not to the one that asked"
    );
}

#[tokio::test]
async fn r4_a_draft_on_an_old_version_conflicts_and_changes_nothing() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let mut ada = ada.online().await;
    let chat = ada.start_chat(bo.user, "1").await;
    let draft =
        |text: &str, base: &Value| state(chat, json!({"draft": {"text": text, "base": base}, "pin": true}));
    let first = ada.call(draft("one", &json!(0))).await;
    let version = first["items"][0]["draft"]["version"].clone();
    let refused = ada.call(draft("two", &json!(0))).await;
    assert_eq!((&refused["type"], &refused["code"]), (&json!("error"), &json!("state_conflict")));
    assert_eq!(refused["current"]["draft"], json!({"text": "one", "version": version}));
    let beside = state(chat, json!({"draft": {"text": "two", "base": 0}, "archive": true}));
    assert_eq!(ada.call(beside).await["current"], first["items"][0], "what it shows is what stays");
    let again = ada.call(draft("one", &json!(0))).await;
    assert_eq!(again["user_seq"], first["user_seq"], "the same text again is no conflict and no change");
    let second = ada.call(draft("two", &version)).await;
    assert_ne!(second["items"][0]["draft"]["version"], version);
    let gone = ada.call(draft("", &second["items"][0]["draft"]["version"])).await;
    assert_eq!(gone["items"][0]["draft"], Value::Null);
    assert_eq!(ada.error(draft("three", &version)).await, "state_conflict");
    ada.call(draft("three", &json!(0))).await;
    assert_eq!(ada.error(draft(&"x".repeat(16_001), &json!(0))).await, "too_large");
}

#[tokio::test]
async fn r4_all_drafts_of_a_person_have_a_limit_together() {
    let world = World::start().await;
    let [ada, bo, cleo] = world.people(["ada", "bo", "cleo"]).await;
    let mut ada = ada.online().await;
    let (with_bo, with_cleo) = (ada.start_chat(bo.user, "1").await, ada.start_chat(cleo.user, "1").await);
    // As if she had drafts in many conversations.
    let full = limits::DRAFTS_BYTES_MAX - 3;
    sqlx::query(
        "UPDATE members SET draft = repeat('x', $2), draft_version = 1
         WHERE user_id = $1 AND conversation_key = (SELECT key FROM conversations WHERE id = $3)",
    )
    .bind(ada.user.as_uuid())
    .bind(i32::try_from(full).unwrap())
    .bind(with_bo.as_uuid())
    .execute(&world.server.pool)
    .await
    .unwrap();
    let draft = |chat, text: &str, base| state(chat, json!({"draft": {"text": text, "base": base}}));
    assert_eq!(ada.error(draft(with_cleo, "four", 0)).await, "too_large");
    assert_eq!(ada.call(draft(with_cleo, "one", 0)).await["type"], "own_state");
    assert_eq!(ada.error(draft(with_cleo, "four", 1)).await, "too_large");
    assert_eq!(ada.call(draft(with_cleo, "2", 1)).await["type"], "own_state", "a shorter one always fits");
    assert_eq!(ada.call(draft(with_bo, "", 1)).await["type"], "own_state");
    assert_eq!(ada.call(draft(with_cleo, "four", 2)).await["type"], "own_state");
}

#[tokio::test]
async fn r2_delivered_rises_and_is_told_and_a_foreign_one_is_refused() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let (mut ada_line, mut bo_line) = (ada.online().await, bo.online().await);
    let chat = ada_line.start_chat(bo.user, "1").await;
    let delivered = |markers: Value| json!({"type": "delivered", "markers": markers});
    let ack = bo_line.call(delivered(json!([[chat, 9], [chat, 1]]))).await;
    assert_eq!((&ack["type"], &ack["results"]), (&json!("ack"), &json!([])));
    assert_eq!(
        ada_line.until_type("markers").await["markers"],
        json!([[bo.user, 1, 0]]),
        "clamped to the head"
    );
    assert_eq!(bo_line.call(delivered(json!([[chat, 1]]))).await["type"], "ack");
    assert_eq!(bo_line.error(delivered(json!([[chat, 1], [ConversationId::mint(), 1]]))).await, "not_member");
    assert!(ada_line.everything().await.iter().all(|frame| frame["type"] != "markers"), "nothing rose");
    assert_eq!(bo_line.item(chat).await["delivered"], 1);
}

#[tokio::test]
async fn hidden_conversations_are_gone_until_their_next_event() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let (mut ada, mut bo_line) = (ada.online().await, bo.online().await);
    let chat = ada.start_chat(bo.user, "1").await;
    let own = bo_line.call(state(chat, json!({"hidden": true}))).await;
    assert_eq!(own["items"][0]["hidden"], true);
    let heads = bo_line.call(json!({"type": "heads"})).await;
    assert_eq!((&heads["items"], &heads["gone"]), (&json!([]), &json!([chat])));
    bo_line.everything().await;
    ada.ok(chat, message("2")).await;
    let announced = bo_line.next_frame().await;
    assert_eq!((&announced["type"], &announced["items"][0]["hidden"]), (&json!("heads"), &json!(false)));
    assert_eq!(bo_line.next_frame().await["type"], "events");
    let heads = bo_line.call(json!({"type": "heads"})).await;
    assert_eq!((&heads["items"][0]["hidden"], &heads["gone"]), (&json!(false), &json!([])));
    assert!(heads["user_seq"].as_u64() > own["user_seq"].as_u64(), "offline devices learn of it too");
    let again = bo_line.call(state(chat, json!({"hidden": true}))).await;
    assert_eq!(again["items"][0]["hidden"], true);
    assert_eq!(bo_line.call(state(chat, json!({"hidden": false}))).await["items"][0]["hidden"], false);
}

/// W7 counted one by one, as a reader of the rule would.
async fn brute_force(pool: &PgPool, chat: ConversationId, user: uuid::Uuid, read: i64) -> i64 {
    let rows: Vec<(i64, uuid::Uuid, uuid::Uuid, String, Option<uuid::Uuid>)> = sqlx::query_as(
        "SELECT seq, events.id, sender, events.kind, target FROM events JOIN conversations c ON c.key = conversation_key
         WHERE c.id = $1 ORDER BY seq",
    )
    .bind(chat.as_uuid())
    .fetch_all(pool)
    .await
    .unwrap();
    let unread: Vec<_> = rows
        .iter()
        .filter(|row| row.0 > read && row.3 == "message" && row.2 != user)
        .map(|row| row.1)
        .collect();
    let deleted = rows.iter().filter(|row| row.3 == "delete" && row.4.is_some_and(|id| unread.contains(&id)));
    i64::try_from(unread.len() - deleted.count()).unwrap()
}

#[tokio::test]
async fn w7_unread_equals_a_brute_force_count_for_any_history() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let (mut ada_line, mut bo_line) = (ada.online().await, bo.online().await);
    let chat = ada_line.start_group(&[bo.user]).await;
    let mut seed = 0x5eed_u64;
    let mut random = move |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let mut messages: Vec<(Value, bool)> = Vec::new();
    for step in 0..160 {
        let by_ada = random(2) == 0;
        let line = if by_ada { &mut ada_line } else { &mut bo_line };
        match random(6) {
            0..=2 => {
                let event = message(&format!("{step}"));
                messages.push((event["id"].clone(), by_ada));
                line.ok(chat, event).await;
            }
            3 if !messages.is_empty() => {
                let index = usize::try_from(random(messages.len() as u64)).unwrap();
                let (id, of_ada) = messages.remove(index);
                let line = if of_ada { &mut ada_line } else { &mut bo_line };
                line.ok(chat, about("delete", &id, json!({}))).await;
            }
            4 if !messages.is_empty() => {
                let id = messages[0].0.clone();
                line.ok(chat, about("reaction", &id, json!({"emoji": "👍", "on": true}))).await;
            }
            _ => {
                let read = random(step + 2);
                line.call(state(chat, json!({"read": read}))).await;
            }
        }
        let person = if random(2) == 0 { &ada } else { &bo };
        let item = person.get(&format!("/v1/conversations/{chat}")).await;
        let read = item["read"].as_i64().unwrap();
        let expected = brute_force(&world.server.pool, chat, person.user.as_uuid(), read).await;
        assert_eq!(item["unread"], expected, "step {step}: {item}");
    }
}

#[tokio::test]
async fn w7_sending_moves_no_marker_and_own_messages_are_never_unread() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let mut ada = ada.online().await;
    let chat = ada.start_chat(bo.user, "1").await;
    let item = ada.item(chat).await;
    assert_eq!((&item["read"], &item["unread"]), (&json!(0), &json!(0)));
}

#[tokio::test]
async fn sec_041_r6_what_a_former_member_has_not_read_ends_with_the_membership() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let (mut ada, mut bo_line) = (ada.online().await, bo.online().await);
    let group = ada.start_group(&[bo.user]).await;
    ada.ok(group, message("1")).await;
    ada.ok(group, member(bo.user, "removed")).await;
    ada.ok(group, message("3")).await;
    let item = bo_line.item(group).await;
    assert_eq!((&item["unread"], &item["countable"], &item["members"]), (&json!(1), &json!(1), &Value::Null));
}

#[tokio::test]
async fn sec_041_r6_a_title_that_came_later_is_not_told_to_a_former_member() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let (mut ada, mut bo_line) = (ada.online().await, bo.online().await);
    let group = ada.start_group(&[bo.user]).await;
    let title = |text: &str| event("title", json!({ "text": text }));
    let then = [title("then"), member(bo.user, "removed"), title("later")];
    ada.send(group, &then).await;
    assert_eq!(bo_line.item(group).await["title"], "then");
    assert_eq!(ada.item(group).await["title"], "later");
    ada.ok(group, member(bo.user, "added")).await;
    assert_eq!(bo_line.item(group).await["title"], "later");
}

//! Heads since a cursor (S5): exact, and full whenever the cursor is none to go by.

use crate::support::{Line, Person, SOON, World, member, message};
use kith_protocol::ConversationId;
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Heads as a person's device gets them who says hello with this cursor. A cursor tells again what was committed while an
/// older transaction went on, in whatever database of the cluster: those are waited for.
async fn heads_since(world: &World, person: &Person, cursor: &Value) -> Value {
    let number = "SELECT pg_current_xact_id()::text::bigint";
    let last: i64 = sqlx::query_scalar(number).fetch_one(&world.server.pool).await.unwrap();
    let deadline = tokio::time::Instant::now() + SOON;
    let oldest = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint";
    while sqlx::query_scalar::<_, i64>(oldest).fetch_one(&world.server.pool).await.unwrap() <= last {
        assert!(tokio::time::Instant::now() < deadline, "an older transaction does not end");
        tokio::task::yield_now().await;
    }
    handshake(person, cursor).await.1
}

async fn handshake(person: &Person, cursor: &Value) -> (Line, Value) {
    let mut hello = person.hello(1_000);
    hello["cursor"] = cursor.clone();
    let mut line = person.connect_raw(&hello).await;
    assert_eq!(line.next_frame().await["type"], "welcome");
    let heads = line.next_frame().await;
    assert_eq!((&heads["type"], &heads["more"]), (&json!("heads"), &json!(false)));
    assert!(heads["cursor"].is_string(), "{heads}");
    (line, heads)
}

fn named(heads: &Value) -> BTreeSet<String> {
    let items = heads["items"].as_array().unwrap();
    items.iter().map(|item| item["conversation"].as_str().unwrap().to_owned()).collect()
}

fn all(conversations: &[ConversationId]) -> BTreeSet<String> {
    conversations.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn s5_a_cursor_gets_what_changed_since_and_nothing_else() {
    let world = World::start().await;
    let [ada, bo, cy, di] = world.people(["ada", "bo", "cy", "di"]).await;
    let (mut a, mut b) = (ada.online().await, bo.online().await);
    let with_bo = a.start_chat(bo.user, "one").await;
    let with_cy = a.start_chat(cy.user, "one").await;
    let with_di = a.start_chat(di.user, "one").await;
    let first = heads_since(&world, &ada, &Value::Null).await;
    assert_eq!((&first["full"], named(&first)), (&json!(true), all(&[with_bo, with_cy, with_di])));

    let none = heads_since(&world, &ada, &first["cursor"]).await;
    assert_eq!((&none["full"], named(&none)), (&json!(false), all(&[])));
    b.ok(with_bo, message("two")).await;
    let event = heads_since(&world, &ada, &none["cursor"]).await;
    assert_eq!(named(&event), all(&[with_bo]), "an event");
    assert_eq!((&event["items"][0]["head"], &event["items"][0]["unread"]), (&json!(2), &json!(1)));
    let (status, _) =
        ada.ask(Method::PUT, &format!("/v1/conversations/{with_bo}/read"), Some(json!({"up_to": 2}))).await;
    assert_eq!(status, 204);
    let own = heads_since(&world, &ada, &event["cursor"]).await;
    assert_eq!((named(&own), &own["items"][0]["unread"]), (all(&[with_bo]), &json!(0)), "own state");
    let (status, _) = cy.ask(Method::PATCH, "/v1/me", Some(json!({"display_name": "Cy, renamed"}))).await;
    assert_eq!(status, 200);
    let profile = heads_since(&world, &ada, &own["cursor"]).await;
    assert_eq!(named(&profile), all(&[with_cy]), "a member's profile");
    let since_first = heads_since(&world, &ada, &first["cursor"]).await;
    assert_eq!(named(&since_first), all(&[with_bo, with_cy]), "an older cursor gets all of it");
    assert_eq!(named(&heads_since(&world, &ada, &profile["cursor"]).await), all(&[]));
}

#[tokio::test]
async fn s5_what_is_written_before_the_cursor_and_committed_after_it_is_told() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let mut b = bo.online().await;
    let chat = b.start_chat(ada.user, "one").await;
    // The message has its time and its transaction before ada's snapshot, and is committed after it.
    let mut gate = kith_server::db::begin(&world.server.pool).await.unwrap();
    sqlx::query("LOCK TABLE events IN SHARE MODE").execute(&mut *gate).await.unwrap();
    let two = message("two");
    let request =
        b.start(&mut json!({"type": "send", "conversation": chat, "events": [two], "request": 0})).await;
    let deadline = tokio::time::Instant::now() + SOON;
    let waits = "SELECT count(*) FROM pg_stat_activity
                 WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while sqlx::query_scalar::<_, i64>(waits).fetch_one(&world.server.pool).await.unwrap() == 0 {
        assert!(tokio::time::Instant::now() < deadline, "nobody waits");
        tokio::task::yield_now().await;
    }
    let (_, before) = handshake(&ada, &Value::Null).await;
    assert_eq!(before["items"][0]["head"], 1);
    gate.rollback().await.unwrap();
    let ack = b.until(|frame| frame["reply_to"] == request).await;
    assert_eq!(ack["results"][0]["seq"], 2, "{ack}");
    let (_, after) = handshake(&ada, &before["cursor"]).await;
    assert_eq!((&after["full"], named(&after)), (&json!(false), all(&[chat])));
    assert_eq!(after["items"][0]["head"], 2);
}

#[tokio::test]
async fn s5_a_cursor_that_is_none_to_go_by_gets_full_heads() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let chat = ada.online().await.start_chat(bo.user, "one").await;
    let foreign = heads_since(&world, &ada, &Value::Null).await["cursor"].clone();
    let good = heads_since(&world, &bo, &Value::Null).await["cursor"].clone();
    let text = good.as_str().unwrap();
    let parts: Vec<&str> = text.split('.').collect();
    let future = format!("{}.{}.{}.999999999999.{}", parts[0], parts[1], parts[2], parts[4]);
    let long = "x".repeat(10_000);
    for cursor in [foreign, json!(future), json!(long), json!(""), json!(format!("2{}", &text[1..]))] {
        let heads = heads_since(&world, &bo, &cursor).await;
        assert_eq!((&heads["full"], named(&heads)), (&json!(true), all(&[chat])), "{cursor}");
    }
    assert_eq!(heads_since(&world, &bo, &good).await["full"], false);
    let mut hello = bo.hello(1_000);
    (hello["cursor"], hello["full"]) = (good.clone(), json!(true));
    let mut line = bo.connect_raw(&hello).await;
    line.next_frame().await;
    assert_eq!(line.next_frame().await["full"], true, "who asks for full heads gets them");
    // Contents put back into the table: the lineage is the same, the file is not.
    sqlx::raw_sql(
        "CREATE TABLE kept AS SELECT * FROM events; TRUNCATE events; INSERT INTO events SELECT * FROM kept",
    )
    .execute(&world.server.pool)
    .await
    .unwrap();
    assert_eq!(heads_since(&world, &bo, &good).await["full"], true, "an earlier life of the database");
}

#[tokio::test]
async fn s5_r6_a_cursor_tells_of_leaving_and_hiding_and_nothing_of_what_goes_on_without_the_user() {
    let world = World::start().await;
    let [ada, bo, cy] = world.people(["ada", "bo", "cy"]).await;
    let mut a = ada.online().await;
    let group = a.start_group(&[bo.user, cy.user]).await;
    a.ok(group, message("one")).await;
    let before = heads_since(&world, &bo, &Value::Null).await;
    let mut line = bo.online_as(1_000).await;
    assert_eq!(named(&before), all(&[group]));
    let state = line.call(json!({"type": "state", "conversation": group, "hidden": true})).await;
    assert_eq!(state["type"], "own_state", "{state}");
    let hidden = heads_since(&world, &bo, &before["cursor"]).await;
    assert_eq!((named(&hidden), &hidden["gone"]), (all(&[]), &json!([group])));
    a.ok(group, member(bo.user, "removed")).await;
    let removed = heads_since(&world, &bo, &hidden["cursor"]).await;
    assert_eq!((named(&removed), &removed["items"][0]["head"]), (all(&[group]), &json!(2)));
    a.ok(group, message("among ourselves")).await;
    let later = heads_since(&world, &bo, &removed["cursor"]).await;
    assert_eq!((&later["full"], named(&later)), (&json!(false), all(&[])));
}

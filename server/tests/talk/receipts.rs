//! Receipts of many at once, and who is told of them (R1, R2).

use crate::support::{World, message};
use futures_util::future::join_all;
use serde_json::{Value, json};

fn markers_of(frames: &[Value]) -> usize {
    frames.iter().filter(|frame| frame["type"] == "markers").count()
}

#[tokio::test]
async fn r2_markers_of_a_group_go_to_those_who_look_at_it() {
    let world = World::start().await;
    let [ada, bo, cy] = world.people(["ada", "bo", "cy"]).await;
    let (mut ada_line, mut bo_line, mut cy_line) = (ada.online().await, bo.online().await, cy.online().await);
    let group = ada_line.start_group(&[bo.user, cy.user]).await;
    ada_line.ok(group, message("one")).await;
    ada_line.call(json!({"type": "focus", "conversations": [group]})).await;
    let answer = bo_line.call(json!({"type": "state", "conversation": group, "read": 1})).await;
    assert_eq!((&answer["items"][0]["read"], &answer["items"][0]["unread"]), (&json!(1), &json!(0)));
    let told = ada_line.until_type("markers").await;
    assert_eq!(told["markers"], json!([[bo.user, 1, 1]]));
    assert_eq!(markers_of(&cy_line.everything().await), 0, "who does not look is not told");
    // Whoever looks away is not told any more, and whoever begins to look asks.
    ada_line.call(json!({"type": "focus", "conversations": []})).await;
    cy_line.call(json!({"type": "delivered", "markers": [[group, 1]]})).await;
    assert_eq!(markers_of(&ada_line.everything().await), 0);
    let all = ada_line.call(json!({"type": "markers", "conversation": group})).await;
    assert!(all["markers"].as_array().unwrap().contains(&json!([cy.user, 1, 0])), "{all}");
}

/// Each marker goes to those who look, and not to everybody: what readers cost does not grow with the group.
#[tokio::test]
async fn r2_what_markers_cost_in_a_group_is_linear_in_its_readers() {
    const READERS: usize = 24;
    let world = World::start().await;
    let ada = world.person("ada").await;
    let mut line = ada.online().await;
    let (mut people, mut lines) = (Vec::new(), Vec::new());
    for n in 0..READERS {
        let person = world.person(&format!("p{n:02}")).await;
        lines.push(person.online().await);
        people.push(person);
    }
    let members: Vec<_> = people.iter().map(|person| person.user).collect();
    let group = line.start_group(&members).await;
    line.ok(group, message("one")).await;
    line.call(json!({"type": "focus", "conversations": [group]})).await;
    line.everything().await;
    for reader in &mut lines {
        reader.events_to(group, 1).await;
        reader.call(json!({"type": "delivered", "markers": [[group, 1]]})).await;
        reader.call(json!({"type": "state", "conversation": group, "read": 1})).await;
    }
    let mut told = 0;
    for reader in &mut lines {
        told += markers_of(&reader.everything().await);
    }
    assert_eq!(told, 0, "whoever does not look hears of nobody's marker");
    let told = markers_of(&line.everything().await);
    assert!((1..=2 * READERS).contains(&told), "{told} frames of {READERS} readers");
}

#[tokio::test]
async fn r1_many_markers_at_once_end_where_they_should_and_are_told_in_direct_conversations() {
    let world = World::start().await;
    let names: Vec<String> = (0..12).map(|n| format!("p{n:02}")).collect();
    let mut people = Vec::new();
    for name in &names {
        people.push(world.person(name).await);
    }
    let hub = world.person("hub").await;
    let mut line = hub.online().await;
    let mut chats = Vec::new();
    for person in &people {
        let chat = line.start_chat(person.user, "1").await;
        for text in ["2", "3", "4"] {
            line.ok(chat, message(text)).await;
        }
        chats.push(chat);
    }
    let reading = people.iter().zip(&chats).map(|(person, chat)| async move {
        let mut line = person.online().await;
        for seq in 1..=4 {
            line.call(json!({"type": "delivered", "markers": [[chat, seq]]})).await;
            let own = line.call(json!({"type": "state", "conversation": chat, "read": seq})).await;
            let item = &own["items"][0];
            assert_eq!((&item["read"], &item["unread"]), (&json!(seq), &json!(4 - seq)), "{own}");
        }
        let same = line.call(json!({"type": "state", "conversation": chat, "read": 2})).await;
        assert_eq!(same["items"][0]["read"], 4, "never back");
    });
    join_all(reading).await;
    for (person, chat) in people.iter().zip(&chats) {
        let all = line.call(json!({"type": "markers", "conversation": chat})).await;
        assert!(all["markers"].as_array().unwrap().contains(&json!([person.user, 4, 4])), "{all}");
    }
    let own = people[0].online().await.item(chats[0]).await;
    assert_eq!(own["version"].as_u64().unwrap(), 5, "one for the opening, one for each read");
}

/// Others lock rows in many orders (W1): a row that somebody holds is waited for by its owner alone.
#[tokio::test]
async fn r1_a_row_that_somebody_holds_keeps_nobody_else_waiting() {
    let world = World::start().await;
    let hub = world.person("hub").await;
    let mut line = hub.online().await;
    let (mut lines, mut chats) = (Vec::new(), Vec::new());
    for n in 0..8 {
        let person = world.person(&format!("p{n}")).await;
        chats.push(line.start_chat(person.user, "1").await);
        lines.push(person.online().await);
    }
    let held =
        ["SELECT FROM members WHERE user_id = $1 FOR UPDATE", "SELECT FROM users WHERE id = $1 FOR UPDATE"];
    for (seq, held) in (2..).zip(held) {
        for chat in &chats {
            assert_eq!(line.ok(*chat, message("more")).await, seq);
        }
        let mut holding = kith_server::db::begin(&world.server.pool).await.unwrap();
        sqlx::query(held).bind(lines[0].user.as_uuid()).execute(&mut *holding).await.unwrap();
        let (first, others) = lines.split_first_mut().unwrap();
        let waits = first.start(&mut json!({"type": "state", "conversation": chats[0], "read": seq})).await;
        for (other, chat) in others.iter_mut().zip(&chats[1..]) {
            let own = other.call(json!({"type": "state", "conversation": chat, "read": seq})).await;
            assert_eq!(own["items"][0]["read"], seq, "{own}");
        }
        holding.rollback().await.unwrap();
        let own = first.until(|frame| frame["reply_to"] == waits).await;
        assert_eq!(own["items"][0]["read"], seq, "it waited, and was not refused: {own}");
    }
}

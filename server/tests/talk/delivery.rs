//! What reaches live connections, in which order, and what does not: S2, L1–L3, R5.

use crate::support::{Line, SOON, World, member, message};
use futures_util::{SinkExt, StreamExt};
use kith_protocol::{ConversationId, UserId};
use kith_server::Config;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
async fn s2_heads_come_first_and_nothing_falls_between_them_and_live_events() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let mut ada = ada.online().await;
    let chat = ada.start_chat(bo.user, "1").await;
    let sending = async {
        for n in 0..200 {
            ada.ok(chat, message(&n.to_string())).await;
        }
    };
    let connecting = async {
        for generation in 0..12 {
            let mut line = bo.connect_as(generation).await;
            assert_eq!(line.next_frame().await["type"], "welcome");
            let heads = line.next_frame().await;
            assert_eq!(heads["type"], "heads", "no live frame before heads");
            let mut head = heads["items"][0]["head"].as_u64().unwrap();
            for event in live(&mut line, chat, 5).await {
                head += 1;
                assert_eq!(event["seq"], head, "from the head on, without holes or doubles");
            }
            if head >= 200 {
                break;
            }
        }
    };
    tokio::join!(sending, connecting);
}

/// At least `count` live events, unless the log ends before.
async fn live(line: &mut Line, chat: ConversationId, count: usize) -> Vec<Value> {
    let mut events: Vec<Value> = Vec::new();
    while events.len() < count && events.last().is_none_or(|event| event["seq"] != 201) {
        let probe = line.start(&mut json!({"type": "probe", "conversation": chat, "seqs": []})).await;
        let frame = line.until(|frame| frame["type"] == "events" || frame["reply_to"] == probe).await;
        if frame["type"] == "events" {
            events.extend(frame["events"].as_array().unwrap().iter().cloned());
        } else if frame["head"] == 201 {
            let rest = std::mem::take(&mut line.unread);
            let rest = rest.into_iter().filter(|frame| frame["type"] == "events");
            events.extend(rest.flat_map(|frame| frame["events"].as_array().unwrap().clone()));
            return events;
        }
    }
    events
}

#[tokio::test]
async fn l1_all_devices_of_all_members_get_an_event_and_nobody_else() {
    let world = World::start().await;
    let [ada, bo, eve] = world.people(["ada", "bo", "eve"]).await;
    let bo_two = world.sign_in("bo").await;
    let (mut ada, mut one, mut two, mut eve) =
        (ada.online().await, bo.online().await, bo_two.online().await, eve.online().await);
    let chat = ada.start_chat(bo.user, "1").await;
    let (first, second) = (one.events_to(chat, 1).await, two.events_to(chat, 1).await);
    assert_eq!(first, second);
    assert_eq!(ada.events_to(chat, 1).await, first);
    assert_eq!(eve.everything().await, Vec::<Value>::new());
}

#[tokio::test]
async fn sec_031_l2_a_reader_who_stalls_gets_hints_and_costs_nobody_else_anything() {
    let world = World::start().await;
    let [ada, bo, cy] = world.people(["ada", "bo", "cy"]).await;
    let (mut ada, mut stalled, mut cy_line) = (ada.online().await, bo.online().await, cy.online().await);
    let group = ada.start_group(&[bo.user, cy.user]).await;
    let text = "é".repeat(16_000);
    // Far more than socket buffers and queue hold, while `stalled` does not read.
    for part in 0..20 {
        let events: Vec<_> = (0..8).map(|_| message(&text)).collect();
        let results = ada.send(group, &events).await;
        assert!(results.iter().all(|one| one["status"] == "ok"), "{part}: {results:?}");
        ada.unread.clear();
        let events = cy_line.events_to(group, (part + 1) * 8).await;
        assert_eq!(events.last().unwrap()["seq"], (part + 1) * 8, "the others are not held up");
    }
    for _ in 0..40 {
        let events: Vec<_> = (0..8).map(|_| message(&text)).collect();
        ada.send(group, &events).await;
        ada.unread.clear();
        cy_line.everything().await;
    }
    let hint = stalled.until_type("hint").await;
    assert_eq!(hint["heads"][0][0], json!(group));
    let last = stalled.item(group).await["head"].as_u64().unwrap();
    assert_eq!(last, 480);
    let page = stalled.pull(group, json!({"max": 1})).await;
    assert_eq!(page["high"], last, "and it finds the rest by pulling");
}

#[tokio::test]
async fn sec_031_l2_a_connection_that_takes_no_byte_is_closed_and_catches_up_later() {
    let config = Config { write_within: Duration::from_secs(1), ..Config::for_tests() };
    let world = World::start_with(config).await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let mut ada_line = ada.online().await;
    let chat = ada_line.start_chat(bo.user, "1").await;
    let mut stalled = bo.online().await;
    ada_line.call(json!({"type": "presence.watch", "users": [bo.user]})).await;
    let is_there = |frame: &Value| frame["type"] == "ephemeral" && frame["presence"][0][1] == "online";
    ada_line.until(is_there).await;
    // More than the socket's buffers hold, while `stalled` does not read.
    let is_gone = |frame: &Value| frame["type"] == "ephemeral" && frame["presence"][0][1] == "offline";
    let (text, mut seen_gone) = ("é".repeat(16_000), false);
    for part in 0..60 {
        if part % 10 == 0 {
            // It is not silent: only that it takes nothing can end it. Once it is closed, nothing can be sent.
            drop(stalled.socket.send(Message::Ping(Default::default())).await);
        }
        let events: Vec<_> = (0..8).map(|_| message(&text)).collect();
        ada_line.send(chat, &events).await;
        seen_gone |= std::mem::take(&mut ada_line.unread).iter().any(is_gone);
    }
    if !seen_gone {
        // Silence would end it too, but only after 30 s.
        timeout(Duration::from_secs(12), ada_line.until(is_gone)).await.expect("it is closed in time");
    }
    while let Some(Ok(_)) = timeout(SOON, stalled.socket.next()).await.expect("the socket is still open") {}
    let mut back = bo.online_as(1).await;
    assert_eq!(back.item(chat).await["head"], 481);
    assert_eq!(back.pull(chat, json!({"max": 1})).await["high"], 481, "and it finds the rest by pulling");
}

#[tokio::test]
async fn r5_typing_reaches_the_others_alone() {
    let world = World::start().await;
    let [ada, bo, eve] = world.people(["ada", "bo", "eve"]).await;
    let ada_two = world.sign_in("ada").await;
    let (mut one, mut two, mut bo_line, mut eve) =
        (ada.online().await, ada_two.online().await, bo.online().await, eve.online().await);
    let chat = one.start_chat(bo.user, "1").await;
    one.call(json!({"type": "typing", "conversation": chat, "on": true})).await;
    let typing = bo_line.until_type("ephemeral").await;
    assert_eq!(typing["typing"], json!([[chat, ada.user, true]]));
    one.call(json!({"type": "typing", "conversation": chat, "on": false})).await;
    assert_eq!(bo_line.until_type("ephemeral").await["typing"], json!([[chat, ada.user, false]]));
    for line in [&mut one, &mut two, &mut eve] {
        assert!(line.everything().await.iter().all(|frame| frame["type"] != "ephemeral"));
    }
}

#[tokio::test]
async fn r5_nobody_is_met_in_a_direct_conversation_before_its_first_event() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let (mut ada_line, mut bo_line) = (ada.online().await, bo.online().await);
    let chat = ConversationId::direct(ada.user, bo.user);
    let open = json!({"type": "open", "conversation": chat, "kind": "direct", "members": [bo.user]});
    assert_eq!(ada_line.call(open).await["type"], "heads");
    let typing = json!({"type": "typing", "conversation": chat, "on": true});
    assert_eq!(ada_line.call(typing.clone()).await["type"], "ack");
    assert_eq!(bo_line.everything().await, Vec::<Value>::new());
    ada_line.ok(chat, message("1")).await;
    bo_line.events_to(chat, 1).await;
    ada_line.call(typing).await;
    assert_eq!(bo_line.until_type("ephemeral").await["typing"], json!([[chat, ada.user, true]]));
}

#[tokio::test]
async fn r5_presence_is_told_to_who_watches_with_last_seen() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let mut ada_line = ada.online().await;
    ada_line.start_chat(bo.user, "1").await;
    ada_line.everything().await;
    ada_line.call(json!({"type": "presence.watch", "users": [bo.user, kith_protocol::UserId::mint()]})).await;
    let first = ada_line.until_type("ephemeral").await;
    assert_eq!(
        first["presence"],
        json!([[bo.user, "offline"]]),
        "never seen, and unknown people are left out"
    );
    let mut bo_line = bo.online().await;
    assert_eq!(ada_line.until_type("ephemeral").await["presence"], json!([[bo.user, "online"]]));
    let two = world.sign_in("bo").await;
    let mut bo_two = two.online().await;
    bo_line.call(json!({"type": "presence.set", "state": "away"})).await;
    bo_two.call(json!({"type": "presence.set", "state": "away"})).await;
    assert_eq!(ada_line.until_type("ephemeral").await["presence"], json!([[bo.user, "away"]]));
    bo_two.call(json!({"type": "presence.set", "state": "busy"})).await;
    assert_eq!(ada_line.until_type("ephemeral").await["presence"], json!([[bo.user, "busy"]]));
    bo_two.socket.close(None).await.unwrap();
    assert_eq!(ada_line.until_type("ephemeral").await["presence"], json!([[bo.user, "away"]]));
    bo_line.socket.close(None).await.unwrap();
    let gone = ada_line.until_type("ephemeral").await;
    assert_eq!(gone["presence"][0][1], "offline");
    assert_eq!(gone["presence"][0][2].as_u64().unwrap() % 60_000, 0, "to the minute");
    ada_line.call(json!({"type": "presence.watch", "users": []})).await;
    let _again = bo.online_as(1).await;
    assert!(ada_line.everything().await.iter().all(|frame| frame["type"] != "ephemeral"), "watches nobody");
}

#[tokio::test]
async fn r5_whoever_polls_is_present_between_two_polls() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let mut ada_line = ada.online().await;
    ada_line.start_chat(bo.user, "1").await;
    ada_line.everything().await;
    ada_line.call(json!({"type": "presence.watch", "users": [bo.user]})).await;
    ada_line.until_type("ephemeral").await;
    for _ in 0..2 {
        let exchange = json!({"frames": [bo.hello(0)]});
        assert_eq!(bo.ask(reqwest::Method::POST, "/v1/exchange", Some(exchange)).await.0, 200);
    }
    let told: Vec<_> =
        ada_line.everything().await.into_iter().filter(|one| one["type"] == "ephemeral").collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["presence"], json!([[bo.user, "online"]]));
}

/// Whom a watcher is told of, with the state.
async fn watched(line: &mut Line, users: &[UserId]) -> Vec<(Value, Value)> {
    line.call(json!({"type": "presence.watch", "users": users})).await;
    let told = line.everything().await.into_iter().filter(|frame| frame["type"] == "ephemeral");
    let items = told.flat_map(|frame| frame["presence"].as_array().cloned().unwrap_or_default());
    items.map(|item| (item[0].clone(), item[1].clone())).collect()
}

#[tokio::test]
async fn sec_047_r5_nobody_watches_strangers() {
    let world = World::start().await;
    let [ada, bo, cyn] = world.people(["ada", "bo", "cyn"]).await;
    let (mut ada_line, mut bo_line) = (ada.online().await, bo.online().await);
    assert_eq!(watched(&mut ada_line, &[bo.user, cyn.user]).await, [], "no conversation is shared");
    // One without events is its creator's alone.
    let id = kith_protocol::ConversationId::direct(ada.user, bo.user);
    let open = json!({"type": "open", "conversation": id, "kind": "direct", "members": [bo.user]});
    ada_line.call(open).await;
    assert_eq!(watched(&mut ada_line, &[bo.user]).await, []);
    ada_line.start_chat(bo.user, "1").await;
    assert_eq!(watched(&mut ada_line, &[bo.user, cyn.user]).await, [(json!(bo.user), json!("online"))]);
    let group = ada_line.start_group(&[cyn.user]).await;
    assert_eq!(watched(&mut ada_line, &[cyn.user]).await, [(json!(cyn.user), json!("offline"))]);
    ada_line.ok(group, member(cyn.user, "removed")).await;
    assert_eq!(watched(&mut ada_line, &[cyn.user]).await, []);
    bo_line.everything().await;
}

#[tokio::test]
async fn sec_047_r5_presence_ends_with_the_last_conversation_that_two_people_share() {
    let world = World::start().await;
    let [ada, bo, cyn] = world.people(["ada", "bo", "cyn"]).await;
    let (mut ada_line, mut bo_line) = (ada.online().await, bo.online().await);
    let mut cyn_line = cyn.online().await;
    let first = ada_line.start_group(&[bo.user, cyn.user]).await;
    let second = ada_line.start_group(&[bo.user]).await;
    assert_eq!(watched(&mut ada_line, &[bo.user]).await, [(json!(bo.user), json!("online"))]);
    assert_eq!(watched(&mut bo_line, &[ada.user]).await, [(json!(ada.user), json!("online"))]);
    assert_eq!(watched(&mut cyn_line, &[bo.user]).await, [(json!(bo.user), json!("online"))]);
    let away = |frame: &Value| frame["presence"].clone();
    // Bo leaves the group of all three: only Cyn shares nothing with him now.
    bo_line.ok(first, member(bo.user, "left")).await;
    assert_eq!(away(&cyn_line.until_type("ephemeral").await), json!([[bo.user, "offline"]]));
    bo_line.call(json!({"type": "presence.set", "state": "away"})).await;
    assert_eq!(away(&ada_line.until_type("ephemeral").await), json!([[bo.user, "away"]]));
    ada_line.ok(second, member(bo.user, "removed")).await;
    assert_eq!(away(&ada_line.until_type("ephemeral").await), json!([[bo.user, "offline"]]));
    assert_eq!(away(&bo_line.until_type("ephemeral").await), json!([[ada.user, "offline"]]));
    bo_line.call(json!({"type": "presence.set", "state": "online"})).await;
    let told = |frames: Vec<Value>| frames.iter().filter(|frame| frame["type"] == "ephemeral").count();
    assert_eq!((told(cyn_line.everything().await), told(ada_line.everything().await)), (0, 0));
}

#[tokio::test]
async fn sec_047_r5_who_hides_their_presence_is_not_seen_and_sees_nobody() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let (mut ada_line, mut bo_line) = (ada.online().await, bo.online().await);
    ada_line.start_chat(bo.user, "1").await;
    assert_eq!(watched(&mut ada_line, &[bo.user]).await, [(json!(bo.user), json!("online"))]);
    assert_eq!(watched(&mut bo_line, &[ada.user]).await, [(json!(ada.user), json!("online"))]);
    let hide = Some(json!({"show_presence": false}));
    let (status, profile) = bo.ask(reqwest::Method::PATCH, "/v1/me", hide).await;
    assert_eq!((status, &profile["show_presence"]), (200, &json!(false)));
    let told = ada_line.until_type("ephemeral").await;
    assert_eq!(told["presence"], json!([[bo.user, "offline"]]), "at once, and without a time");
    assert_eq!(watched(&mut ada_line, &[bo.user]).await, []);
    assert_eq!(watched(&mut bo_line, &[ada.user]).await, [], "reciprocal");
    drop(ada_line);
    let public = bo.get(&format!("/v1/users/{}", ada.user)).await;
    assert_eq!(public.get("show_presence"), None, "only in one's own profile");
    // It holds for a connection that comes later.
    let mut ada_line = ada.online_as(1).await;
    drop(bo_line);
    let mut bo_line = bo.online_as(1).await;
    assert_eq!(watched(&mut ada_line, &[bo.user]).await, []);
    let show = Some(json!({"show_presence": true}));
    assert_eq!(bo.ask(reqwest::Method::PATCH, "/v1/me", show).await.0, 200);
    assert_eq!(watched(&mut ada_line, &[bo.user]).await, [(json!(bo.user), json!("online"))]);
    assert_eq!(watched(&mut bo_line, &[ada.user]).await, [(json!(ada.user), json!("online"))]);
}

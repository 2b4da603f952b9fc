//! The connection itself: hello, forks, refusals, rates, close codes (S2, S6, S8, S11, S13, L2, section 8).

use crate::support::{SOON, World, closed, message};
use futures_util::SinkExt;
use kith_protocol::{ConversationId, DeviceId};
use kith_server::Config;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    },
};

#[tokio::test]
async fn hello_is_answered_by_welcome_then_heads() {
    let world = World::start().await;
    let [ada] = world.people(["ada"]).await;
    let mut line = ada.connect_as(0).await;
    let welcome = line.next_frame().await;
    assert_eq!((&welcome["type"], &welcome["reply_to"]), (&json!("welcome"), &json!(1)));
    assert_eq!((&welcome["user"], &welcome["device"]), (&json!(ada.user), &json!(ada.device)));
    assert_eq!((&welcome["generation"], &welcome["protocol"]), (&json!(1), &json!(1)));
    assert!(welcome["token_ms"].as_u64().is_some_and(|ms| ms > 500_000 && ms <= 600_000));
    assert!(welcome["epoch"].as_str().is_some_and(|epoch| !epoch.is_empty()), "S6");
    assert_eq!(welcome["limits"]["frame_bytes"], 262_144);
    assert!(welcome["limits"]["rates"]["send"].is_array());
    let heads = line.next_frame().await;
    assert_eq!(
        (&heads["type"], &heads["full"], &heads["items"]),
        (&json!("heads"), &json!(true), &json!([]))
    );
}

#[tokio::test]
async fn sec_028_a_bad_first_frame_is_refused_and_closed() {
    let world = World::start().await;
    let [ada] = world.people(["ada"]).await;
    let with = |key: &str, value: Value| {
        let mut hello = ada.hello(0);
        hello[key] = value;
        hello
    };
    for (frame, code) in [
        (json!({"type": "heads", "request": 1}), "invalid"),
        (with("device", json!(DeviceId::mint())), "invalid"),
        (with("protocol", 2.into()), "upgrade_required"),
        (with("type", "handshakes".into()), "unsupported"),
    ] {
        let mut line = ada.connect_raw(&frame).await;
        let error = line.next_frame().await;
        assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!(code)), "{frame}");
        assert_eq!(line.closed().await, 4000);
    }
    let mut socket = ada.dial().await;
    socket.send(Message::binary(vec![1])).await.unwrap();
    assert_eq!(closed(&mut socket).await, 4000);
}

#[tokio::test]
async fn sec_028_silence_is_closed_after_five_seconds() {
    let world = World::start().await;
    let [ada] = world.people(["ada"]).await;
    let mut socket = ada.dial().await;
    let begun = std::time::Instant::now();
    assert_eq!(closed(&mut socket).await, 4000);
    assert!(begun.elapsed() >= Duration::from_secs(4), "it had its five seconds");
}

#[tokio::test]
async fn s8_generations_rotate_and_an_old_one_is_a_fork() {
    let world = World::start().await;
    let [ada] = world.people(["ada"]).await;
    async fn welcome(world: &World, ada: &crate::support::Person, generation: u64) -> Value {
        let mut line = ada.connect_raw(&ada.hello(generation)).await;
        let frame = line.next_frame().await;
        let _ = world;
        if frame["type"] == "welcome" { frame["generation"].clone() } else { frame["code"].clone() }
    }
    assert_eq!(welcome(&world, &ada, 0).await, 1);
    assert_eq!(welcome(&world, &ada, 0).await, 2, "the first welcome may have been lost");
    assert_eq!(welcome(&world, &ada, 2).await, 3);
    assert_eq!(welcome(&world, &ada, 2).await, 4);
    assert_eq!(welcome(&world, &ada, 0).await, "device_forked");
    assert_eq!(welcome(&world, &ada, 3).await, "device_forked", "a copy that performed one handshake");
    assert_eq!(welcome(&world, &ada, 9).await, 10, "from before a restore of the database");
}

#[tokio::test]
async fn a_second_connection_of_a_device_replaces_the_first() {
    let world = World::start().await;
    let [ada] = world.people(["ada"]).await;
    let mut first = ada.online().await;
    let mut second = ada.online_as(1).await;
    assert_eq!(first.closed().await, 4001);
    assert_eq!(
        second.call(json!({"type": "profiles", "users": [ada.user]})).await["items"][0]["id"],
        json!(ada.user)
    );
    let other_device = world.sign_in("ada").await;
    let mut other = other_device.online().await;
    second.everything().await;
    other.everything().await;
}

#[tokio::test]
async fn sec_033_bad_frames_are_answered_and_the_socket_stays() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let mut line = ada.online().await;
    let chat = line.start_chat(bo.user, "hello").await;
    // An event as it would be taken, but for a field of it or of its body that stands there once more.
    let twice = |body: &str, more: &str| {
        let id = kith_protocol::EventId::mint();
        let event = format!(r#"{{"id":"{id}","kind":"message","body":{{{body}}}{more}}}"#);
        format!(r#"{{"type":"send","conversation":"{chat}","events":[{event}]}}"#)
    };
    for (text, code) in [
        ("{".to_owned(), "invalid"),
        ("[]".to_owned(), "invalid"),
        (r#"{"request": 5}"#.to_owned(), "invalid"),
        (r#"{"type": "poke"}"#.to_owned(), "unsupported"),
        (r#"{"type": "pull", "conversation": 5}"#.to_owned(), "invalid"),
        (format!(r#"{{"type":"heads","x":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000)), "invalid"),
        (r#"{"type":"heads","request":9223372036854775808}"#.to_owned(), "invalid"),
        (r#"{"type":"heads","a":NaN}"#.to_owned(), "invalid"),
        (r#"{"type":"he\ud800ads"}"#.to_owned(), "invalid"),
        (r#"{"type":"heads","type":"heads"}"#.to_owned(), "invalid"),
        (r#"{"type":"heads","request":5,"request":5}"#.to_owned(), "invalid"),
        (r#"{"type":"presence.set","state":"busy","state":"busy"}"#.to_owned(), "invalid"),
        (twice(r#""text":"one","text":"two""#, ""), "invalid"),
        (twice(r#""text":"one""#, r#","kind":"message""#), "invalid"),
    ] {
        line.socket.send(Message::text(text.clone())).await.unwrap();
        let error = line.until_type("error").await;
        assert_eq!(error["code"], code, "{text}");
    }
    line.everything().await;
    assert_eq!(line.item(chat).await["head"], 1, "nothing of it was stored");
    assert_eq!(line.error(ada.hello(1)).await, "invalid");
    assert_eq!(line.error(json!({"type": "presence.set", "state": "offline"})).await, "invalid");
    // Without a request number only errors answer; unknown fields of a frame are ignored.
    line.write(&json!({"type": "presence.set", "state": "busy", "later": 1})).await;
    assert_eq!(line.everything().await, Vec::<Value>::new());
}

#[tokio::test]
async fn sec_029_bytes_that_are_no_frames_close_with_their_own_codes() {
    let world = World::start().await;
    let [ada, bo, cy] = world.people(["ada", "bo", "cy"]).await;
    let mut line = ada.online().await;
    line.socket.send(Message::text("x".repeat(256 * 1024 + 1))).await.unwrap();
    assert_eq!(line.closed().await, 1009);
    let mut line = bo.online().await;
    line.socket.send(Message::binary(vec![1, 2])).await.unwrap();
    assert_eq!(line.closed().await, 4000);
    let mut line = cy.online().await;
    let bad = Frame::message(vec![0xff, 0xfe], OpCode::Data(Data::Text), true);
    line.socket.send(Message::Frame(bad)).await.unwrap();
    assert_eq!(line.closed().await, 1007);
}

#[tokio::test]
async fn sec_030_l2_too_many_frames_are_rate_limited_by_type() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let mut line = ada.online().await;
    let chat = line.start_chat(bo.user, "1").await;
    let mut limited = None;
    for request in 1_000..1_200 {
        line.write(&json!({"type": "typing", "conversation": chat, "on": true, "request": request})).await;
    }
    for request in 1_000..1_200 {
        let answer = line.until(|frame| frame["reply_to"] == request).await;
        if answer["type"] == "error" {
            limited = Some(answer);
        }
    }
    let limited = limited.expect("a burst of 200 is too much");
    assert_eq!(limited["code"], "rate_limited");
    assert!(limited["retry_after_ms"].as_u64().is_some_and(|ms| ms >= 1));
    line.ok(chat, message("other types go on")).await;
}

#[tokio::test]
async fn s13_full_heads_on_request_are_limited_and_hello_is_not() {
    let world = World::start().await;
    let [ada] = world.people(["ada"]).await;
    let mut line = ada.online().await;
    let full = json!({"type": "heads", "full": true});
    assert_eq!(line.call(full.clone()).await["type"], "heads");
    assert_eq!(line.call(full.clone()).await["type"], "heads");
    let refused = line.call(full).await;
    assert_eq!(refused["code"], "rate_limited");
    assert!(refused["retry_after_ms"].as_u64().is_some_and(|ms| ms > 30_000));
    assert_eq!(line.call(json!({"type": "heads"})).await["type"], "heads");
    ada.online_as(1).await;
}

#[tokio::test]
async fn sec_032_s11_a_minute_before_its_end_a_token_is_asked_for_and_auth_moves_the_end() {
    let config = Config { access_token: Duration::from_secs(62), ..Config::for_tests() };
    let world = World::start_with(config).await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let mut line = ada.online().await;
    let warning = line.until_type("auth_expiring").await;
    assert!(warning["ms"].as_u64().is_some_and(|ms| ms <= 60_000));
    assert_eq!(line.error(json!({"type": "auth", "token": bo.token})).await, "token_invalid");
    assert_eq!(line.error(json!({"type": "auth", "token": "nonsense"})).await, "token_invalid");
    let refresh = json!({"refresh_token": ada.session.refresh_token, "device": ada.device});
    let (status, fresh) = world.ask(reqwest::Method::POST, "/v1/sessions/refresh", None, Some(refresh)).await;
    assert_eq!(status, 200);
    let ack = line.call(json!({"type": "auth", "token": fresh["access_token"]})).await;
    assert_eq!((&ack["type"], &ack["results"]), (&json!("ack"), &json!([])));
    line.until_type("auth_expiring").await;
}

#[tokio::test]
async fn wrong_ids_and_counts_in_frames_are_invalid() {
    let world = World::start().await;
    let [ada] = world.people(["ada"]).await;
    let mut line = ada.online().await;
    let many: Vec<_> = (0..201).map(|_| kith_protocol::UserId::mint()).collect();
    let conversations: Vec<_> = (0..33).map(|_| ConversationId::mint()).collect();
    for frame in [
        json!({"type": "profiles", "users": many}),
        json!({"type": "presence.watch", "users": many}),
        json!({"type": "focus", "conversations": conversations}),
        json!({"type": "typing", "conversation": "x", "on": true}),
        json!({"type": "presence.set", "state": "dancing"}),
    ] {
        assert_eq!(line.error(frame.clone()).await, "invalid", "{frame}");
    }
}

#[tokio::test]
async fn sec_028_sockets_that_say_nothing_are_few_for_each_user() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(ada.dial().await);
    }
    let path = "/v1/socket";
    let upgrade = world
        .http
        .get(world.server.url(path))
        .bearer_auth(&ada.token)
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    assert_eq!(upgrade.send().await.unwrap().status(), 503);
    bo.online().await;
}

/// Connects until the server refuses. Returns how many it took.
async fn room(world: &World) -> usize {
    let mut held = Vec::new();
    loop {
        let mut stream = TcpStream::connect(world.server.address).await.unwrap();
        let asked = stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
        if asked.is_err() || stream.read_u8().await.is_err() {
            return held.len();
        }
        held.push(stream);
    }
}

/// Six open sockets leave what is left of `most`, and one that goes makes room for one.
async fn sockets_take_places(config: Config, most: usize) {
    let world = World::start_with(config).await;
    let mut lines = Vec::new();
    for person in &world.people(["ada", "bo", "cy", "di", "ed", "flo"]).await {
        lines.push(person.online().await);
    }
    let beside = room(&world).await;
    assert!(beside <= most - 6, "{beside} beside six sockets");
    lines.pop();
    // The client that signed them in keeps its own connections for some seconds.
    let one_more = async {
        while room(&world).await <= most - 6 {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(SOON, one_more).await.expect("whoever goes makes room");
}

#[tokio::test]
async fn sec_028_open_sockets_count_among_the_connections_of_an_address() {
    let config = Config { loopback_is_limited: true, connections_per_address: 10, ..Config::for_tests() };
    sockets_take_places(config, 10).await;
}

#[tokio::test]
async fn sec_028_open_sockets_count_among_all_connections() {
    sockets_take_places(Config { connections: 16, ..Config::for_tests() }, 16).await;
}

#[tokio::test]
async fn s11_a_device_that_is_signed_out_is_not_served_further_even_if_it_does_not_read() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let bo_two = world.sign_in("bo").await;
    let (mut ada, mut stalled) = (ada.online().await, bo.online().await);
    let chat = ada.start_chat(bo.user, "1").await;
    let long: Vec<_> = (0..4).map(|_| message(&"é".repeat(16_000))).collect();
    ada.send(chat, &long).await;
    ada.call(json!({"type": "presence.watch", "users": [bo.user]})).await;
    ada.until(|frame| frame["presence"][0][1] == "online").await;
    // Answers for far more than socket buffers and queue hold; the message's turn comes after them.
    for _ in 0..300 {
        stalled
            .start(&mut json!({"type": "pull", "conversation": chat, "direction": "backward", "max": 50}))
            .await;
    }
    stalled.start(&mut json!({"type": "send", "conversation": chat, "events": [message("late")]})).await;
    // The server waits for its reader once it reads no further itself.
    let filler = json!({"type": "focus", "conversations": [], "filler": "x".repeat(100_000)});
    while timeout(Duration::from_secs(2), stalled.write(&filler)).await.is_ok() {}
    let path = format!("/v1/sessions/{}", bo.device);
    let password = json!({"password": "correct horse battery"});
    assert_eq!(bo_two.ask(reqwest::Method::DELETE, &path, Some(password)).await.0, 204);
    ada.until(|frame| frame["presence"][0][1] == "offline").await;
    assert_eq!(ada.pull(chat, json!({})).await["high"], 5, "nothing is written after the end");
}

#[tokio::test]
async fn s13_full_heads_are_counted_for_a_device_however_often_it_connects() {
    let world = World::start().await;
    let [ada] = world.people(["ada"]).await;
    let full = json!({"type": "heads", "full": true, "request": 7});
    for generation in 0..2 {
        let mut line = ada.online_as(generation).await;
        assert_eq!(line.call(full.clone()).await["type"], "heads");
    }
    let mut line = ada.online_as(2).await;
    assert_eq!(line.error(full.clone()).await, "rate_limited");
    let exchange = json!({"frames": [ada.hello(3), full.clone()]});
    let (_, answer) = ada.ask(reqwest::Method::POST, "/v1/exchange", Some(exchange)).await;
    let refused = answer["frames"].as_array().unwrap().iter().find(|frame| frame["reply_to"] == 7).unwrap();
    assert_eq!(refused["code"], "rate_limited");
    let two = world.sign_in("ada").await;
    assert_eq!(two.online().await.call(full).await["type"], "heads", "each device for itself");
}

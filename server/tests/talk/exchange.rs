//! The socket's twin over HTTP (S12).

use crate::support::{Person, SOON, World, message};
use axum::{
    extract::{FromRequestParts, State},
    http::Request,
};
use futures_util::future::select_all;
use kith_protocol::{ClientFrame, ConversationId, api::ExchangeRequest};
use kith_server::{
    Config,
    auth::Tokens,
    http::{exchange as handler, extract::JsonBody},
    hub::Outbox,
    state::{AppState, Ending},
    ws::hello,
};
use reqwest::Method;
use serde_json::{Value, json};
use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::timeout;

async fn exchange(person: &Person, frames: Vec<Value>, wait_ms: u64) -> Vec<Value> {
    let (status, answer) =
        person.ask(Method::POST, "/v1/exchange", Some(json!({"frames": frames, "wait_ms": wait_ms}))).await;
    assert_eq!(status, 200, "{answer}");
    answer["frames"].as_array().unwrap().clone()
}

#[tokio::test]
async fn s12_an_exchange_gives_the_same_frames_as_a_socket() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let chat = ConversationId::direct(ada.user, bo.user);
    let first = message("over HTTP");
    let frames = vec![
        ada.hello(0),
        json!({"type": "open", "request": 2, "conversation": chat, "kind": "direct", "members": [bo.user]}),
        json!({"type": "send", "request": 3, "conversation": chat, "events": [first]}),
        json!({"type": "pull", "request": 4, "conversation": ConversationId::mint(), "direction": "backward", "max": 1}),
        json!({"type": "nonsense", "request": 5}),
    ];
    let answers = exchange(&ada, frames.clone(), 0).await;
    assert_eq!((&answers[0]["type"], &answers[1]["type"]), (&json!("welcome"), &json!("heads")));
    assert_eq!(answers[0]["generation"], 0, "S8: an exchange does not rotate");
    let reply = |request: u64| answers.iter().find(|frame| frame["reply_to"] == request).unwrap();
    assert_eq!(reply(2)["items"][0]["conversation"], json!(chat));
    assert_eq!(reply(3)["results"][0]["status"], "ok");
    assert_eq!((&reply(4)["code"], &reply(5)["code"]), (&json!("not_member"), &json!("unsupported")));
    assert!(answers.iter().any(|frame| frame["type"] == "events"), "live frames come along");

    // The same again is harmless, and a socket sees the same log.
    let again = exchange(&ada, frames, 0).await;
    let ack = again.iter().find(|frame| frame["reply_to"] == 3).unwrap();
    assert_eq!(ack["results"][0]["status"], "duplicate");
    let mut line = bo.online().await;
    let socket_page = line.pull(chat, json!({})).await;
    let pull =
        json!({"type": "pull", "request": 2, "conversation": chat, "direction": "backward", "max": 50});
    let frames = exchange(&bo, vec![bo.hello(1), pull], 0).await;
    let mut page = frames.iter().find(|frame| frame["type"] == "page").unwrap().clone();
    page["reply_to"] = socket_page["reply_to"].clone();
    assert_eq!(page, socket_page);
    assert_eq!(line.item(chat).await, frames[1]["items"][0]);
    line.everything().await;
}

/// S12, W3: whoever is not sure which way a send went may take both.
#[tokio::test]
async fn s12_w3_the_same_send_over_socket_and_exchange_at_once_is_one_message() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let (mut line, mut other) = (ada.online().await, bo.online().await);
    let chat = line.start_chat(bo.user, "0").await;
    for round in 1..=20_u64 {
        let said = [message(&format!("{round}"))];
        let frames =
            vec![ada.hello(1), json!({"type": "send", "request": 2, "conversation": chat, "events": said})];
        let (by_socket, by_post) = tokio::join!(line.send(chat, &said), exchange(&ada, frames, 0));
        let ack = by_post.iter().find(|frame| frame["reply_to"] == 2).unwrap();
        let (one, two) = (&by_socket[0], &ack["results"][0]);
        let mut statuses = [one["status"].as_str().unwrap(), two["status"].as_str().unwrap()];
        statuses.sort_unstable();
        assert_eq!(statuses, ["duplicate", "ok"], "{one} {two}");
        assert_eq!((&one["seq"], &two["seq"]), (&json!(round + 1), &json!(round + 1)));
    }
    let page = other.pull(chat, json!({})).await;
    assert_eq!((&page["head"], page["events"].as_array().unwrap().len()), (&json!(21), 21));
}

#[tokio::test]
async fn s12_waiting_ends_with_the_first_live_frame() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let mut ada_line = ada.online().await;
    let chat = ada_line.start_chat(bo.user, "1").await;
    let nothing = exchange(&bo, vec![bo.hello(0)], 50).await;
    assert_eq!(nothing.len(), 2, "{nothing:?}");
    let begun = Instant::now();
    let waiting = exchange(&bo, vec![bo.hello(0)], 25_000);
    let talking = async {
        loop {
            ada_line.ok(chat, message("more")).await;
        }
    };
    let frames = tokio::select! {
        frames = waiting => frames,
        () = talking => unreachable!(),
    };
    assert!(begun.elapsed() < Duration::from_secs(10));
    let events = frames.iter().find(|frame| frame["type"] == "events").unwrap();
    let head = frames[1]["items"][0]["head"].as_u64().unwrap();
    assert_eq!(events["events"][0]["seq"], head + 1, "{frames:?}");
}

#[tokio::test]
async fn s12_exchanges_of_a_bad_form_are_refused() {
    let world = World::start().await;
    let [ada] = world.people(["ada"]).await;
    let mut line = ada.online().await;
    for (body, code) in [
        (json!({"frames": []}), "invalid"),
        (json!({"frames": [{"type": "heads"}]}), "invalid"),
        (json!({"frames": [ada.hello(1)], "later": 1}), "invalid"),
        (json!({"frames": [ada.hello(1), {"type": "heads", "x": "x".repeat(256 * 1024)}]}), "too_large"),
        (json!({"frames": [{"type": "hello", "protocol": 1}]}), "invalid"),
    ] {
        let (_, answer) = ada.ask(Method::POST, "/v1/exchange", Some(body)).await;
        assert_eq!(answer["code"], code, "{answer}");
    }
    let many = |count: usize| {
        let frames: Vec<Value> = std::iter::once(ada.hello(1)).chain((1..count).map(|_| json!(0))).collect();
        json!({"frames": frames})
    };
    let (_, answer) = ada.ask(Method::POST, "/v1/exchange", Some(many(257))).await;
    assert_eq!(answer["code"], "too_large", "{answer}");
    assert_eq!(ada.ask(Method::POST, "/v1/exchange", Some(many(256))).await.0, 200);
    let (status, answer) =
        world.ask(Method::POST, "/v1/exchange", None, Some(json!({"frames": [ada.hello(1)]}))).await;
    assert_eq!((status, &answer["code"]), (401, &json!("token_invalid")));
    exchange(&ada, vec![ada.hello(1)], 0).await;
    line.everything().await; // not replaced by an exchange
}

#[tokio::test]
async fn s12_an_exchange_of_many_frames_lets_others_go_on_between_them() {
    let world = World::start().await;
    let [ada] = world.people(["ada"]).await;
    let pool = world.server.pool.clone();
    let tokens = Tokens::load(&pool, Duration::from_secs(60), None).await.unwrap();
    let state = AppState::new(Config::for_tests(), pool, tokens, Ending::default());
    let asked = Request::post("/v1/exchange").header("authorization", format!("Bearer {}", ada.token));
    let (mut parts, ()) = asked.body(()).unwrap().into_parts();
    let places = handler::Places::from_request_parts(&mut parts, &state).await.unwrap();
    let frames = std::iter::once(ada.hello(0)).chain((1..256).map(|_| json!(0))).collect();
    let request = JsonBody(ExchangeRequest { frames, wait_ms: None });
    let mut exchanging = pin!(handler::exchange(State(state), places, request));
    let mut turns = 0;
    let answer = poll_fn(|cx| {
        turns += 1;
        exchanging.as_mut().poll(cx)
    });
    assert_eq!(answer.await.unwrap().0.frames.len(), 2 + 255);
    assert!(turns > 2 * 255, "{turns} turns, for reading a frame and for giving its answer");
}

#[tokio::test]
async fn s12_an_exchange_that_is_given_up_during_its_handshake_leaves_the_hub() {
    let world = World::start().await;
    let [ada] = world.people(["ada"]).await;
    let pool = world.server.pool.clone();
    let tokens = Tokens::load(&pool, Duration::from_secs(60), None).await.unwrap();
    let state = AppState::new(Config::for_tests(), pool.clone(), tokens, Ending::default());
    let authed = state.tokens.verify(&ada.token).unwrap();
    let ClientFrame::Hello(hello) = ClientFrame::decode(&ada.hello(0).to_string()).unwrap().frame else {
        unreachable!()
    };
    let mut locked = kith_server::db::begin(&pool).await.unwrap();
    sqlx::query("LOCK TABLE members IN ACCESS EXCLUSIVE MODE").execute(&mut *locked).await.unwrap();
    let connected = async {
        while !state.hub.is_connected(ada.user) {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        handshake = hello::handshake(&state, &authed, &hello, None, Arc::new(Outbox::new(false, state.metrics.clone()))) => {
            panic!("the heads cannot be read: {:?}", handshake.err())
        }
        connected = timeout(SOON, connected) => connected.unwrap(),
    }
    assert!(!state.hub.is_connected(ada.user), "nobody is there any more");
}

#[tokio::test]
async fn s2_whoever_waits_too_long_for_a_turn_is_sent_away_by_every_handler() {
    let config = Config { permits: 1, permit_within: Duration::from_millis(300), ..Config::for_tests() };
    let world = World::start_with(config).await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let (mut holding, mut waiting) = (bo.dialled().await, ada.dialled().await);
    let mut locked = kith_server::db::begin(&world.server.pool).await.unwrap();
    let row = sqlx::query("SELECT FROM devices WHERE id = $1 FOR UPDATE").bind(bo.device.as_uuid());
    row.execute(&mut *locked).await.unwrap();
    holding.write(&bo.hello(0)).await;
    let begun = async {
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        while sqlx::query_scalar::<_, i64>(waits).fetch_one(&world.server.pool).await.unwrap() == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, begun).await.expect("the handshake waits for the row");
    waiting.write(&ada.hello(0)).await;
    let body = json!({"frames": [ada.hello(0)]});
    let handler = async {
        let request = world.http.get(world.server.url("/v1/socket")).bearer_auth(&ada.token);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let (poll, handler) = tokio::join!(ada.ask(Method::POST, "/v1/exchange", Some(body)), handler);
    let hello = (503, waiting.next_frame().await);
    for (status, answer) in [poll, handler, hello] {
        assert_eq!((status, &answer["code"]), (503, &json!("busy")), "{answer}");
        assert!(answer["retry_after_ms"].as_u64().unwrap() >= 2_000, "{answer}");
    }
    locked.rollback().await.unwrap();
    assert_eq!(holding.next_frame().await["type"], "welcome");
}

#[tokio::test]
async fn l2_a_device_has_few_exchanges_at_the_same_time() {
    let world = World::start().await;
    let [ada] = world.people(["ada"]).await;
    let body = json!({"frames": [ada.hello(0)], "wait_ms": 25_000});
    let asked = (0..5).map(|_| Box::pin(ada.ask(Method::POST, "/v1/exchange", Some(body.clone()))));
    let ((status, answer), _, others) = timeout(SOON, select_all(asked)).await.expect("four wait");
    assert_eq!((status, &answer["code"]), (503, &json!("busy")));
    drop(others);
}

#[tokio::test]
async fn s12_an_exchange_that_asks_for_too_much_is_answered_in_part_and_the_rest_is_busy() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let mut line = ada.online().await;
    let chat = line.start_chat(bo.user, "1").await;
    let long: Vec<_> = (0..4).map(|_| message(&"é".repeat(16_000))).collect();
    line.send(chat, &long).await;
    let pull = |request: u64| json!({"type": "pull", "request": request, "conversation": chat, "direction": "backward", "max": 50});
    let frames = [bo.hello(0)].into_iter().chain((2..142).map(pull)).collect();
    let answers = exchange(&bo, frames, 0).await;
    let reply = |request: u64| answers.iter().find(|frame| frame["reply_to"] == request).unwrap();
    let pages = (2..142).take_while(|request| reply(*request)["type"] == "page").count() as u64;
    assert!((2..20).contains(&pages), "{pages}");
    assert!((2 + pages..142).all(|request| reply(request)["code"] == "busy"));
}

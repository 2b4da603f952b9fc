//! What becomes of the log when the database, or the network before it, fails.

mod proxy;
mod set_back;

use crate::support::{SOON, World, about, message};
use kith_server::{Config, testing};
use proxy::Proxy;
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// A server that reaches its database through a proxy, and waits for it at most a second.
async fn behind_proxy() -> (World, Proxy) {
    let database = testing::database().await.unwrap();
    let url = database.url().to_owned();
    let proxy = Proxy::start(&url).await;
    let config = Config { database_within: Duration::from_secs(1), ..Config::for_tests() };
    let server = testing::TestServer::start_on(&url, &proxy.url, Some(database), config).await.unwrap();
    (World { server, http: reqwest::Client::new() }, proxy)
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !is_so().await {
        assert!(Instant::now() < deadline, "{what}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn w6_a_commit_whose_answer_is_lost_is_retryable_and_members_are_told_where_the_log_stands() {
    let (world, proxy) = behind_proxy().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let (mut ada, mut bo_line) = (ada.online().await, bo.online().await);
    let chat = ada.start_chat(bo.user, "1").await;
    ada.ok(chat, message("2")).await;
    let target = ada.pull(chat, json!({"max": 1})).await["events"][0]["id"].clone();
    bo_line.events_to(chat, 2).await;
    // A message goes in one statement, which is its own commit; a reaction in a transaction.
    let reaction = about("reaction", &target, json!({"emoji": "👍", "on": true}));
    let (text, transaction) = ("nobody hears that it is stored", "COMMIT");
    for (seq, event, swallow) in [(3, message(text), text), (4, reaction, transaction)] {
        bo_line.everything().await;
        proxy.swallow_answer_to(swallow);
        let frame = json!({"type": "send", "conversation": chat, "events": [event]});
        let refused = ada.call(frame.clone()).await;
        assert_eq!(refused["code"], "unavailable", "{refused}");
        assert!(refused["retry_after_ms"].is_u64());
        assert_eq!(proxy.swallowed(), seq - 2, "the database has committed it");
        // Whole heads, not a hint alone: what the lost commit did may have been the first that somebody hears of it.
        let heads = bo_line.until_type("heads").await;
        let item = &heads["items"][0];
        assert_eq!((&item["conversation"], &item["head"]), (&json!(chat), &json!(seq)), "{heads}");
        let again = ada.call(frame).await;
        let result = &again["results"][0];
        assert_eq!((&result["status"], &result["seq"]), (&json!("duplicate"), &json!(seq)), "{again}");
    }
    assert_eq!(ada.ok(chat, message("5")).await, 5, "once each");
}

#[tokio::test]
async fn w4_a_silent_network_hangs_no_lane_and_is_told_to_whoever_watches() {
    let (world, proxy) = behind_proxy().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let mut line = ada.online().await;
    let chat = line.start_chat(bo.user, "1").await;
    let ready =
        async || reqwest::get(world.server.url("/readyz")).await.is_ok_and(|answer| answer.status() == 200);
    assert!(ready().await);
    proxy.set_silent(true);
    let asked = Instant::now();
    let event = message("into the void");
    let frame = json!({"type": "send", "conversation": chat, "events": [event]});
    assert_eq!(line.error(frame.clone()).await, "unavailable");
    assert!(asked.elapsed() < Duration::from_secs(8), "it took {:?}", asked.elapsed());
    assert!(!ready().await, "nobody sends new clients here");
    // Every further batch of the lane fails as soon.
    let asked = Instant::now();
    assert_eq!(line.error(frame.clone()).await, "unavailable");
    assert!(asked.elapsed() < Duration::from_secs(8), "it took {:?}", asked.elapsed());
    proxy.set_silent(false);
    until("it is stored", async || {
        let answer = line.call(frame.clone()).await;
        matches!(answer["results"][0]["status"].as_str(), Some("ok" | "duplicate"))
    })
    .await;
    until("it is ready again", ready).await;
    let page = line.pull(chat, json!({})).await;
    let events = page["events"].as_array().unwrap();
    assert_eq!(events.iter().filter(|one| one["id"] == event["id"]).count(), 1, "{page}");
}

#[tokio::test]
async fn w4_connections_that_a_failover_leaves_silent_hold_nothing_up_for_ever() {
    let (world, proxy) = behind_proxy().await;
    let [ada, bo, cara] = world.people(["ada", "bo", "cara"]).await;
    let mut lines = [ada.online().await, bo.online().await];
    let chat = lines[0].start_chat(bo.user, "1").await;
    let mut doomed = cara.online().await;
    // Markers and the look for sign-outs are on their way when the old primary goes.
    for seq in 2..20 {
        lines[0].ok(chat, message("more")).await;
        lines[1].write(&json!({"type": "state", "conversation": chat, "read": seq})).await;
        lines[1].write(&json!({"type": "delivered", "markers": [[chat, seq]]})).await;
        if seq == 10 {
            proxy.fail_over();
            break;
        }
    }
    let sql = "UPDATE devices SET revoked_at = now() WHERE user_id = $1";
    sqlx::query(sql).bind(cara.user.as_uuid()).execute(&world.server.pool).await.unwrap();
    until("a marker is raised again", async || {
        let frame = json!({"type": "state", "conversation": chat, "read": 10});
        lines[1].call(frame).await["type"] == "own_state"
    })
    .await;
    until("messages are written again", async || {
        let frame = json!({"type": "send", "conversation": chat, "events": [message("again")]});
        lines[0].call(frame).await["results"][0]["status"] == "ok"
    })
    .await;
    assert_eq!(doomed.closed().await, 4_200, "sign-outs are seen again");
}

#[tokio::test]
async fn w4_a_lane_that_commits_nothing_is_told_although_the_database_answers() {
    let config = Config { database_within: Duration::from_secs(1), ..Config::for_tests() };
    let world = World::start_with(config).await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let mut line = ada.online().await;
    let chat = line.start_chat(bo.user, "1").await;
    let ready =
        async || reqwest::get(world.server.url("/readyz")).await.is_ok_and(|answer| answer.status() == 200);
    assert!(ready().await);
    let mut holding = kith_server::db::begin(&world.server.pool).await.unwrap();
    let held = sqlx::query("SELECT 1 FROM conversation_head WHERE conversation_id = $1 FOR UPDATE");
    held.bind(chat.as_uuid()).execute(&mut *holding).await.unwrap();
    let frame = json!({"type": "send", "conversation": chat, "events": [message("2")]});
    until("whoever watches is told", async || {
        line.call(frame.clone()).await;
        !ready().await
    })
    .await;
    assert_eq!(ada.ask(reqwest::Method::GET, "/v1/me", None).await.0, 200, "the database answers");
    holding.rollback().await.unwrap();
    until("it is stored", async || {
        let answer = line.call(frame.clone()).await;
        matches!(answer["results"][0]["status"].as_str(), Some("ok" | "duplicate"))
    })
    .await;
    until("it is ready again", ready).await;
}

#[tokio::test]
async fn w4_a_silent_network_leaves_no_request_and_no_handshake_without_an_answer() {
    let (world, proxy) = behind_proxy().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let chat = ada.online().await.start_chat(bo.user, "1").await;
    let mut handshake = bo.dialled().await;
    proxy.set_silent(true);
    let started = Instant::now();
    let url = |path: &str| world.server.url(path);
    let http = || reqwest::Client::new();
    let page = http().get(url(&format!("/v1/conversations/{chat}/messages"))).bearer_auth(&ada.token);
    let own = http().get(url("/v1/me")).bearer_auth(&ada.token);
    let sign_in = http().post(url("/v1/sessions")).json(
        &json!({"username": "ada.test", "password": "correct horse battery", "device": {"name": "a test"}}),
    );
    let open = http().post(url("/v1/conversations")).bearer_auth(&ada.token).json(&json!({
        "kind": "group", "members": [bo.user], "title": "a group",
    }));
    let asked = futures_util::future::join_all([page, own, sign_in, open].map(|request| request.send()));
    handshake.write(&bo.hello(0)).await;
    let answers = asked.await;
    for answer in answers {
        let answer = answer.unwrap();
        assert_eq!(answer.status(), 503, "{}", answer.url());
        assert!(answer.headers().contains_key("retry-after"), "{}", answer.url());
        let body: serde_json::Value = answer.json().await.unwrap();
        assert_eq!(body["code"], "unavailable", "{body}");
        assert!(body["retry_after_ms"].is_u64(), "{body}");
    }
    assert_eq!(handshake.next_frame().await["code"], "unavailable");
    let took = started.elapsed();
    assert!(took < Duration::from_secs(8), "it took {took:?}");
    proxy.set_silent(false);
    until("it answers again", async || ada.ask(reqwest::Method::GET, "/v1/me", None).await.0 == 200).await;
}

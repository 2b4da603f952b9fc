//! What people do at one instance and see at another.

use super::{Instance, Nats, until};
use crate::support::{Person, World, member, message};
use kith_protocol::error::close;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// An instance in this process, and one in another.
struct Two {
    nats: Nats,
    world: World,
    other: Instance,
}

impl Two {
    async fn start() -> Option<Self> {
        let nats = Nats::start().await?;
        let world = World::start_with(nats.config()).await;
        let other = Instance::start(world.server.database_url(), &nats).await;
        until("they hear each other", async || other.metric("kith_bus_instances").await == 1).await;
        Some(Self { nats, world, other })
    }

    /// The person, at the other instance.
    fn over_there(&self, person: &Person) -> Person {
        person.at(self.other.address)
    }
}

fn is_presence(frame: &Value, of: &Person, state: &str) -> bool {
    let items = frame["presence"].as_array();
    items.is_some_and(|items| items.iter().any(|item| item[0] == json!(of.user) && item[1] == state))
}

#[tokio::test]
async fn l4_r5_presence_and_typing_are_seen_at_another_instance() {
    let Some(two) = Two::start().await else { return };
    let [ada, bo] = two.world.people(["ada", "bo"]).await;
    let mut at_a = ada.online().await;
    let chat = at_a.start_chat(bo.user, "hello").await;
    at_a.write(&json!({"type": "presence.watch", "users": [bo.user]})).await;
    at_a.until(|frame| is_presence(frame, &bo, "offline")).await;

    let mut at_b = two.over_there(&bo).online().await;
    at_a.until(|frame| is_presence(frame, &bo, "online")).await;
    at_b.write(&json!({"type": "presence.set", "state": "busy"})).await;
    at_a.until(|frame| is_presence(frame, &bo, "busy")).await;
    at_b.write(&json!({"type": "typing", "conversation": chat, "on": true})).await;
    let typing = at_a.until(|frame| frame["typing"].is_array()).await;
    assert_eq!(typing["typing"], json!([[chat, bo.user, true]]));

    // Whoever begins to watch is told what the other instance said before.
    let mut again = two.world.device_of(&ada).await.online().await;
    again.write(&json!({"type": "presence.watch", "users": [bo.user]})).await;
    again.until(|frame| is_presence(frame, &bo, "busy")).await;
    drop(at_b);
    at_a.until(|frame| is_presence(frame, &bo, "offline")).await;
}

#[tokio::test]
async fn sec_048_l4_a_block_holds_at_once_at_another_instance() {
    let Some(two) = Two::start().await else { return };
    let [ada, bo] = two.world.people(["ada", "bo"]).await;
    let mut at_a = ada.online().await;
    let chat = at_a.start_chat(bo.user, "1").await;
    let mut at_b = two.over_there(&bo).online().await;
    // The other instance remembers who may write.
    at_b.ok(chat, message("2")).await;
    at_b.ok(chat, message("3")).await;
    at_b.write(&json!({"type": "presence.watch", "users": [ada.user]})).await;
    at_b.until(|frame| is_presence(frame, &ada, "online")).await;
    let (status, _) = ada.ask(Method::PUT, &format!("/v1/blocks/{}", bo.user), None).await;
    assert_eq!(status, 204);
    // Ada seems to go, and does not come back.
    at_b.until(|frame| is_presence(frame, &ada, "offline")).await;
    assert_eq!(at_b.refused(chat, message("4")).await, "not_allowed");
    at_b.call(json!({"type": "presence.watch", "users": [ada.user]})).await;
    let told = at_b.everything().await;
    assert!(told.iter().all(|frame| frame["type"] != "ephemeral"), "{told:?}");
}

#[tokio::test]
async fn l4_r5_people_of_an_instance_that_is_gone_are_offline() {
    let Some(mut two) = Two::start().await else { return };
    let [ada, bo] = two.world.people(["ada", "bo"]).await;
    let mut at_a = ada.online().await;
    at_a.start_chat(bo.user, "hello").await;
    let _at_b = two.over_there(&bo).online().await;
    at_a.write(&json!({"type": "presence.watch", "users": [bo.user]})).await;
    at_a.until(|frame| is_presence(frame, &bo, "online")).await;
    two.other.child.kill().await.unwrap();
    at_a.until(|frame| is_presence(frame, &bo, "offline")).await;
}

#[tokio::test]
async fn l4_r1_s4_markers_and_own_state_are_told_at_another_instance() {
    let Some(two) = Two::start().await else { return };
    let [ada, bo] = two.world.people(["ada", "bo"]).await;
    let mut at_a = ada.online().await;
    let chat = at_a.start_chat(bo.user, "hello").await;
    let mut at_b = two.over_there(&bo).online().await;
    at_b.call(json!({"type": "state", "conversation": chat, "read": 1})).await;
    let markers = at_a.until_type("markers").await;
    assert_eq!(markers["markers"], json!([[bo.user, 1, 1]]));

    let mut device = two.over_there(&two.world.device_of(&ada).await).online().await;
    at_a.call(json!({"type": "state", "conversation": chat, "pin": true})).await;
    let own = device.until_type("own_state").await;
    assert_eq!((&own["items"][0]["conversation"], &own["items"][0]["pin"]), (&json!(chat), &json!(true)));
}

#[tokio::test]
async fn l4_r1_s4_what_is_said_while_the_bus_is_away_is_said_when_it_is_back() {
    let Some(mut two) = Two::start().await else { return };
    let [ada, bo] = two.world.people(["ada", "bo"]).await;
    let mut at_a = ada.online().await;
    let chat = at_a.start_chat(bo.user, "hello").await;
    let mut at_b = two.over_there(&bo).online().await;
    let mut device = two.over_there(&two.world.device_of(&ada).await).online().await;
    at_a.write(&json!({"type": "presence.watch", "users": [bo.user]})).await;
    at_a.until(|frame| is_presence(frame, &bo, "online")).await;
    two.nats.kill().await;
    until("B has noticed", async || two.other.metric("kith_bus_connected").await == 0).await;
    at_b.call(json!({"type": "state", "conversation": chat, "read": 1})).await;
    at_b.call(json!({"type": "presence.set", "state": "busy"})).await;
    at_a.call(json!({"type": "state", "conversation": chat, "pin": true})).await;
    let seq = at_b.ok(chat, message("read from the database")).await;
    at_a.events_to(chat, seq).await;
    two.nats.up().await;
    assert_eq!(at_a.until_type("markers").await["markers"], json!([[bo.user, 1, 1]]));
    at_a.until(|frame| is_presence(frame, &bo, "busy")).await;
    assert_eq!(device.until_type("own_state").await["items"][0]["pin"], true);
}

#[tokio::test]
async fn l4_r6_groups_begin_and_end_for_members_at_another_instance() {
    let Some(two) = Two::start().await else { return };
    let [ada, bo] = two.world.people(["ada", "bo"]).await;
    let mut at_a = ada.online().await;
    let mut at_b = two.over_there(&bo).online().await;
    let group = at_a.start_group(&[bo.user]).await;
    let heads = at_b.until_type("heads").await;
    assert_eq!(heads["items"][0]["conversation"], json!(group), "announced before its first event");
    at_a.ok(group, message("to all")).await;
    let removal = at_a.ok(group, member(bo.user, "removed")).await;
    at_a.ok(group, message("without bo")).await;
    assert_eq!(at_b.events_to(group, removal).await.len(), 2);
    // What is known of members here counts only at the version in the database (W1).
    assert_eq!(at_b.refused(group, message("I am still here")).await, "not_member");
    let rest = at_b.everything().await;
    assert!(rest.iter().all(|frame| frame["type"] != "events"), "the removal is the last: {rest:?}");
    at_a.ok(group, member(bo.user, "added")).await;
    // What was handed on before may come once more, by the look into the database.
    let both = json!([[1, 2], [4, null]]);
    let is_new = |frame: &Value| frame["events"][0]["seq"].as_u64() >= Some(4);
    let told = at_b.until(|frame| is_new(frame) || frame["items"][0]["visible"] == both).await;
    assert_eq!(told["type"], "heads", "told before the event that adds");
}

#[tokio::test]
async fn l4_a_sign_out_and_a_newer_socket_end_sockets_of_another_instance() {
    let Some(two) = Two::start().await else { return };
    let [ada] = two.world.people(["ada"]).await;
    let mut older = two.over_there(&ada).online().await;
    let mut newer = ada.online_as(1).await;
    assert_eq!(older.closed().await, close::REPLACED, "the device came back elsewhere");
    let mut newest = two.over_there(&ada).online_as(2).await;
    assert_eq!(newer.closed().await, close::REPLACED, "and back again");
    assert_eq!(ada.ask(Method::DELETE, "/v1/sessions/current", None).await.0, 204);
    assert_eq!(newest.closed().await, close::REVOKED);
}

#[tokio::test]
async fn l4_what_strangers_write_on_the_bus_is_not_heard() {
    let Some(two) = Two::start().await else { return };
    let [ada, bo] = two.world.people(["ada", "bo"]).await;
    let mut at_b = two.over_there(&bo).online().await;
    let chat = ada.online().await.start_chat(bo.user, "hello").await;
    at_b.events_to(chat, 1).await;
    at_b.everything().await;
    let stranger = async_nats::ConnectOptions::new()
        .user_and_password("kith".to_owned(), "sesame+open".to_owned())
        .connect(two.nats.address.to_string())
        .await
        .unwrap();
    let mut heard = stranger.subscribe("kith-test.v3").await.unwrap();
    let real = futures_util::StreamExt::next(&mut heard).await.unwrap().payload;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    let closes = json!({"from": ada.device, "number": 1, "at": now,
                        "items": [{"closed": {"device": bo.device, "code": close::REVOKED}}]});
    let mut bent = real.to_vec();
    *bent.last_mut().unwrap() ^= 1;
    let unmarked = [&[0; 16], closes.to_string().as_bytes()].concat();
    let long = vec![0; 1024 * 1024];
    let tries = [Vec::new(), b"{}".to_vec(), bent, unmarked, long];
    for payload in &tries {
        stranger.publish("kith-test.v3", payload.clone().into()).await.unwrap();
    }
    // One's own words, once more, are no news: nobody acts on them.
    stranger.publish("kith-test.v3", real).await.unwrap();
    stranger.flush().await.unwrap();
    until("all are refused", async || {
        two.other.metric("kith_bus_messages_total{outcome=\"refused\"}").await == tries.len() as u64
    })
    .await;
    let rest = at_b.everything().await;
    assert!(rest.iter().all(|frame| frame["type"] == "ack" || frame["type"] == "profiles"), "{rest:?}");
}

#[tokio::test]
async fn l4_events_and_markers_go_to_the_instances_that_hold_a_member_and_to_no_other() {
    let Some(two) = Two::start().await else { return };
    let [ada, bo, cy] = two.world.people(["ada", "bo", "cy"]).await;
    let third = Instance::start(two.world.server.database_url(), &two.nats).await;
    let mut at_a = ada.online().await;
    let (with_bo, with_cy) =
        (at_a.start_chat(bo.user, "hello").await, at_a.start_chat(cy.user, "hello").await);
    let (mut at_b, mut at_c) = (two.over_there(&bo).online().await, cy.at(third.address).online().await);
    const OWN: &str = "kith_bus_messages_total{outcome=\"in_own\"}";
    const ALL: &str = "kith_bus_messages_total{outcome=\"in\"}";
    // Until it is known who is where, everything goes everywhere.
    until("what concerns bo is not sent to the third instance", async || {
        let (before, at) = (third.metric(OWN).await, third.metric(ALL).await);
        let seq = at_a.ok(with_bo, message("to bo")).await;
        at_b.events_to(with_bo, seq).await;
        at_b.call(json!({"type": "state", "conversation": with_bo, "read": seq})).await;
        at_a.until_type("markers").await;
        // Both others have said twice that they live: what they said before has come.
        until("signs of life", async || third.metric(ALL).await >= at + 4).await;
        third.metric(OWN).await == before
    })
    .await;
    let repaired = "kith_bus_repaired_total";
    let before = (two.other.metric(OWN).await, two.other.metric(repaired).await, third.metric(OWN).await);
    let seq = at_a.ok(with_bo, message("to bo")).await;
    at_b.events_to(with_bo, seq).await;
    until("the bus has brought it", async || two.other.metric(OWN).await > before.0).await;
    assert_eq!(two.other.metric(repaired).await, before.1, "nothing had to be read");
    let seq = at_a.ok(with_cy, message("to cy")).await;
    at_c.events_to(with_cy, seq).await;
    until("the bus has brought it", async || third.metric(OWN).await > before.2).await;
    // Who comes to another instance is found there.
    drop(at_b);
    let mut at_c_too = bo.at(third.address).online_as(1).await;
    let seq = at_a.ok(with_bo, message("to bo, elsewhere")).await;
    at_c_too.events_to(with_bo, seq).await;
}

#[tokio::test]
async fn l4_readyz_and_doctor_say_whether_the_bus_is_there() {
    let Some(mut two) = Two::start().await else { return };
    let address = two.other.address;
    let ready = async || {
        let answer = reqwest::get(format!("http://{address}/readyz")).await.unwrap();
        assert_eq!(answer.status(), 200, "it serves all the same");
        answer.text().await.unwrap()
    };
    let (url, wrong) = (two.nats.url(), two.nats.url().replace("sesame", "hunter2"));
    let database = two.world.server.database_url().to_owned();
    let doctor = async |bus: &str| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_kith-server"));
        command.args(["doctor", "--listen", "127.0.0.1:0", "--bus", bus]).env("DATABASE_URL", &database);
        let output = command.output().await.unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    };
    until("it is ready with its bus", async || ready().await == "ready\n").await;
    let (_, text) = doctor(&url).await;
    assert!(text.contains("ok    the bus at nats://***@127.0.0.1"), "{text}");
    let (is_well, text) = doctor(&wrong).await;
    assert!(!is_well && text.contains("BAD   the bus at nats://***@127.0.0.1"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    two.nats.kill().await;
    until("it says that the bus is away", async || ready().await == "ready\nthe bus is away\n").await;
    let (is_well, text) = doctor(&url).await;
    assert!(!is_well && text.contains("BAD   the bus at"), "{text}");
}

//! Versions that know different things: abilities that only one side lists, and clients of the release before.

use crate::support::{World, message};
use kith_protocol::{ConversationId, EventId};
use kith_server::Config;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What a client of the release before sends, and the fields of the frames that it reads. Recorded with that release, and not
/// changed as long as it is served.
const PREVIOUS: &str = include_str!("versions/previous.json");

fn with_a_file(text: &str) -> Value {
    let mut event = message(text);
    event["body"]["attachments"] = json!([{"sha256": "0"}]);
    event
}

#[tokio::test]
async fn an_ability_is_used_by_the_connections_that_list_it_and_its_events_reach_all() {
    // Nothing is offered yet; the second name is of a later version.
    let config = Config { offered: &["files.v1", "later.v9"], ..Config::for_tests() };
    let world = World::start_with(config).await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let mut hello = ada.hello(0);
    hello["capabilities"] = json!(["files.v1", "unheard.v3"]);
    let mut at_a = ada.connect_raw(&hello).await;
    let welcome = at_a.next_frame().await;
    assert_eq!(welcome["capabilities"], json!(["files.v1", "later.v9"]));
    let mut at_b = bo.online().await;
    let chat = at_a.start_chat(bo.user, "1").await;
    at_b.events_to(chat, 1).await;

    let seq = at_a.ok(chat, with_a_file("a file")).await;
    let events = at_b.events_to(chat, seq).await;
    assert!(events.last().unwrap()["body"]["attachments"].is_array(), "whole, so that no log has a hole");
    assert_eq!(
        at_b.refused(chat, with_a_file("another")).await,
        "unsupported",
        "bo's client does not list it"
    );
    assert_eq!(at_b.ok(chat, message("text")).await, seq + 1);
    let other = ConversationId::mint();
    let first = json!({"type": "open", "conversation": other, "kind": "group", "members": [ada.user],
                       "title": "t", "first": with_a_file("first")});
    assert_eq!(at_b.error(first).await, "unsupported");
    // An exchange lists for itself.
    let frames = json!([bo.hello(1), {"type": "send", "request": 2, "conversation": chat, "events": [with_a_file("x")]}]);
    let (status, answer) =
        bo.ask(reqwest::Method::POST, "/v1/exchange", Some(json!({"frames": frames}))).await;
    assert_eq!(status, 200, "{answer}");
    let frames = answer["frames"].as_array().unwrap();
    let ack = frames.iter().find(|frame| frame["reply_to"] == 2).unwrap();
    assert_eq!(ack["results"][0]["code"], "unsupported", "{ack}");
}

#[tokio::test]
async fn what_is_not_offered_is_not_used_whatever_a_client_lists() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let mut hello = ada.hello(0);
    hello["capabilities"] = json!(["files.v1"]);
    let mut line = ada.connect_raw(&hello).await;
    assert_eq!(line.next_frame().await["capabilities"], json!([]));
    let chat = line.start_chat(bo.user, "1").await;
    assert_eq!(line.refused(chat, with_a_file("a file")).await, "unsupported");
}

/// The fields of a frame, and of what its lists hold, that a client of the release before does not know.
fn unknown(frame: &Value, known: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let kind = frame["type"].as_str().unwrap();
    let mut objects = vec![(kind.to_owned(), frame)];
    for list in ["items", "events", "results"] {
        let all = frame[list].as_array().into_iter().flatten();
        objects.extend(all.map(|one| (format!("{kind}.{list}"), one)));
    }
    let fields = objects.into_iter().flat_map(|(name, object)| {
        let fields = object.as_object().into_iter().flat_map(|fields| fields.keys());
        fields.map(move |field| (name.clone(), field.clone()))
    });
    let is_unknown =
        |(name, field): &(String, String)| !known.get(name).is_some_and(|fields| fields.contains(field));
    fields.filter(is_unknown).map(|(name, field)| format!("{name}: {field}")).collect()
}

/// Fields added since the previous release. Clients ignore unknown fields.
const ADDED: [&str; 1] = ["members: as_of"];

#[tokio::test]
async fn a_client_of_the_release_before_is_understood_and_sent_nothing_that_it_cannot_read() {
    let world = World::start_with(Config { offered: &["files.v1"], ..Config::for_tests() }).await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let chat = ConversationId::direct(ada.user, bo.user);
    let mut text = PREVIOUS.replace("$chat", &chat.to_string());
    text = text.replace("$bo", &bo.user.to_string()).replace("$device", &ada.device.to_string());
    for name in ["$first", "$second", "$third"] {
        text = text.replace(name, &EventId::mint().to_string());
    }
    let previous: Value = serde_json::from_str(&text).unwrap();
    let known: BTreeMap<String, BTreeSet<String>> =
        serde_json::from_value(previous["fields"].clone()).unwrap();
    assert!(previous["hello"].get("capabilities").is_none());

    let mut hello = bo.hello(0);
    hello["capabilities"] = json!(["files.v1"]);
    let mut newer = bo.connect_raw(&hello).await;
    let mut line = ada.connect_raw(&previous["hello"]).await;
    let mut frames = vec![line.next_frame().await, line.next_frame().await];
    assert_eq!((&frames[0]["type"], &frames[1]["type"]), (&json!("welcome"), &json!("heads")));
    for frame in previous["frames"].as_array().unwrap() {
        let answer = line.call(frame.clone()).await;
        assert_ne!(answer["type"], "error", "{frame} ⇒ {answer}");
        let results = answer["results"].as_array().into_iter().flatten();
        assert!(results.into_iter().all(|one| one["status"] == "ok"), "{answer}");
        frames.push(answer);
    }
    // Both ways: what the newer client sends comes, with what the older one does not list.
    newer.events_to(chat, 3).await;
    newer.call(json!({"type": "state", "conversation": chat, "read": 3})).await;
    newer.write(&json!({"type": "typing", "conversation": chat, "on": true})).await;
    let seq = newer.ok(chat, with_a_file("four")).await;
    frames.extend(line.everything().await);
    let is_it = |frame: &&Value| {
        frame["events"].as_array().is_some_and(|all| all.iter().any(|one| one["seq"] == seq))
    };
    assert!(frames.iter().filter(is_it).count() > 0, "{frames:?}");
    let strange: BTreeSet<String> = frames.iter().flat_map(|frame| unknown(frame, &known)).collect();
    let added = ADDED.iter().map(|field| (*field).to_owned()).collect();
    assert_eq!(strange, added, "what a client of the release before does not know");
    let kinds: BTreeSet<&str> = frames.iter().filter_map(|frame| frame["type"].as_str()).collect();
    for kind in
        ["page", "chains", "own_state", "markers", "profiles", "members", "ephemeral", "events", "ack"]
    {
        assert!(kinds.contains(kind), "{kind} was not tried: {kinds:?}");
    }
}

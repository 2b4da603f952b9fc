//! Reading the log: pages, states, probes (W9, S7, section 12).

use crate::support::{World, about, event, message};
use kith_protocol::{Chain, EventId, Seq};
use serde_json::{Value, json};

fn seqs(page: &Value) -> Vec<u64> {
    page["events"].as_array().unwrap().iter().map(|event| event["seq"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn pages_walk_the_log_both_ways_and_end_at_its_edges() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let mut ada = ada.online().await;
    let chat = ada.start_chat(bo.user, "1").await;
    for part in 0..3 {
        let events: Vec<_> = (0..40).map(|n| message(&format!("{part} {n}"))).collect();
        ada.send(chat, &events).await;
    }
    let newest = ada.pull(chat, json!({"max": 500})).await;
    assert_eq!((seqs(&newest), &newest["end"]), ((72..=121).collect(), &json!(false)), "50 at most");
    assert_eq!((&newest["low"], &newest["high"], &newest["head"]), (&json!(72), &json!(121), &json!(121)));
    let older = ada.pull(chat, json!({"from": 71, "max": 50})).await;
    assert_eq!((seqs(&older), &older["end"]), ((22..=71).collect(), &json!(false)));
    assert_eq!(newest["chain_before"], older["events"][49]["chain"]);
    let oldest = ada.pull(chat, json!({"from": 21})).await;
    assert_eq!((seqs(&oldest), &oldest["end"]), ((1..=21).collect(), &json!(true)));
    assert_eq!(oldest["chain_before"], Chain::empty(chat).to_string());
    let chain = oldest["events"].as_array().unwrap().iter().fold(Chain::empty(chat), |chain, event| {
        let seq = Seq(event["seq"].as_u64().unwrap());
        chain.then(chat, seq.previous(), EventId::parse(event["id"].as_str().unwrap()).unwrap())
    });
    assert_eq!(older["chain_before"], chain.to_string());

    let forward = ada.pull(chat, json!({"from": 119, "direction": "forward"})).await;
    assert_eq!((seqs(&forward), &forward["end"]), ((119..=121).collect(), &json!(true)));
    let part = ada.pull(chat, json!({"from": 10, "to": 13, "direction": "forward"})).await;
    assert_eq!((seqs(&part), &part["end"]), ((10..=13).collect(), &json!(false)));
    let part = ada.pull(chat, json!({"from": 10, "to": 8})).await;
    assert_eq!(seqs(&part), [8, 9, 10]);
    let inverted = ada.pull(chat, json!({"from": 10, "to": 12})).await;
    assert_eq!(
        (seqs(&inverted), &inverted["end"]),
        (vec![], &json!(false)),
        "nothing was asked for, nor is it the edge"
    );
    let beyond = ada.pull(chat, json!({"from": 122, "direction": "forward"})).await;
    assert_eq!((&beyond["low"], &beyond["high"], &beyond["end"]), (&json!(122), &json!(121), &json!(true)));
    assert_eq!(beyond["chain_before"], newest["events"][49]["chain"]);
    assert_eq!(
        ada.error(json!({"type": "pull", "conversation": chat, "direction": "forward", "max": 0})).await,
        "invalid"
    );
}

#[tokio::test]
async fn a_page_has_at_most_128_kib_of_events_and_one_larger_goes_alone() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let mut ada = ada.online().await;
    let chat = ada.start_chat(bo.user, "1").await;
    for _ in 0..6 {
        ada.ok(chat, message(&"é".repeat(16_000))).await;
    }
    let page = ada.pull(chat, json!({})).await;
    assert_eq!((seqs(&page), &page["end"]), (vec![6, 7], &json!(false)));
    assert!(page["events"].to_string().len() <= 128 * 1024);
}

#[tokio::test]
async fn a_page_has_at_most_200_events() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let mut ada = ada.online().await;
    let first = message("1");
    let chat = ada.start_chat(bo.user, "0").await;
    ada.ok(chat, first.clone()).await;
    let reactions: Vec<_> =
        (0..250).map(|n| about("reaction", &first["id"], json!({"emoji": "👍", "on": n % 2 == 0}))).collect();
    ada.send(chat, &reactions).await;
    assert_eq!(seqs(&ada.pull(chat, json!({})).await), (53..=252).collect::<Vec<_>>());
}

#[tokio::test]
async fn w9_states_tell_what_messages_have_become_also_from_outside_the_page() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let (mut ada_line, mut bo_line) = (ada.online().await, bo.online().await);
    let first = message("first");
    let chat = ada_line.start_chat(bo.user, "0").await;
    ada_line.ok(chat, first.clone()).await;
    let id = &first["id"];
    ada_line.ok(chat, about("edit", id, json!({"text": "second"}))).await;
    ada_line.ok(chat, about("edit", id, json!({"text": "third"}))).await;
    for (emoji, on) in [("👍", true), ("🎉", true), ("👍", false), ("🎉", true)] {
        bo_line.ok(chat, about("reaction", id, json!({"emoji": emoji, "on": on}))).await;
    }
    ada_line.ok(chat, about("reaction", id, json!({"emoji": "👍", "on": true}))).await;
    bo_line.ok(chat, about("pin", id, json!({"on": true}))).await;
    let page = ada_line.pull(chat, json!({"from": 2, "max": 1})).await;
    assert_eq!(page["as_of"], page["head"]);
    let state = &page["states"][id.as_str().unwrap()];
    assert_eq!((&state["text"], &state["edited_seq"]), (&json!("third"), &json!(4)));
    assert_eq!(state["reactions"], json!({"👍": [ada.user], "🎉": [bo.user]}));
    assert_eq!(state["pinned"], true);
    assert_eq!(page["events"][0]["body"]["text"], "first", "the log itself stays as it was written");
}

#[tokio::test]
async fn s7_a_probe_answers_the_chain_where_it_may() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let mut ada = ada.online().await;
    let chat = ada.start_chat(bo.user, "1").await;
    ada.ok(chat, event("message", json!({"text": "2"}))).await;
    let page = ada.pull(chat, json!({})).await;
    let chains = ada.call(json!({"type": "probe", "conversation": chat, "seqs": [2, 1, 7]})).await;
    assert_eq!(chains["chains"], json!([[1, page["events"][0]["chain"]], [2, page["events"][1]["chain"]]]));
    assert_eq!(chains["head"], 2);
    let many: Vec<u64> = (1..=33).collect();
    assert_eq!(ada.error(json!({"type": "probe", "conversation": chat, "seqs": many})).await, "invalid");
}

//! W6: what the clocks of clients may say, and what counts.

use crate::support::{World, message};
use serde_json::json;
use std::time::{SystemTime, UNIX_EPOCH};

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

/// A06: a device's clock in the past or far ahead is kept as `written_at` and neither dates nor orders anything.
#[tokio::test]
async fn w6_a_clients_clock_dates_and_orders_nothing() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let mut ada = ada.online().await;
    let before = now_ms();
    let conversation = ada.start_chat(bo.user, "one").await;
    let hour = 3_600_000;
    let clocks = [before + 400 * 24 * hour, 5, before - hour, before + hour];
    for (number, clock) in clocks.iter().enumerate() {
        let mut event = message(&number.to_string());
        event["written_at"] = json!(clock);
        ada.ok(conversation, event).await;
    }
    let page = ada.pull(conversation, json!({})).await;
    let events = &page["events"].as_array().unwrap()[1..];
    let texts: Vec<_> = events.iter().map(|event| event["body"]["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["0", "1", "2", "3"], "the order of arrival");
    let times: Vec<_> = events.iter().map(|event| event["ts"].as_u64().unwrap()).collect();
    assert!(times.is_sorted());
    assert!(times.iter().all(|ts| (before..=now_ms()).contains(ts)), "{times:?}");
}

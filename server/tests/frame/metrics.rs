//! What an operator watches.

use crate::support::World;
use kith_protocol::{ConversationId, EventId};
use kith_server::{Config, Listeners};
use reqwest::Method;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The value of a line, `None` without one.
fn value(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[tokio::test]
async fn metrics_count_on_a_listener_of_their_own_and_name_nobody() {
    let world = World::start().await;
    let (ada, bo) = (world.person("ada").await, world.person("bob").await);
    // A second server on the same database, with a listener for metrics.
    let pool = kith_server::connect(world.server.database_url(), 10).await.unwrap();
    let (clients, metrics) =
        (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let (address, watched) = (clients.local_addr().unwrap(), metrics.local_addr().unwrap());
    let shutdown = CancellationToken::new();
    let listeners = Listeners { clients, tls: None, metrics: Some(metrics) };
    let serving = tokio::spawn(kith_server::serve(listeners, Config::for_tests(), pool, shutdown.clone()));

    let chat = ConversationId::direct(ada.user.id, bo.user.id);
    let message = json!({"id": EventId::mint(), "kind": "message", "body": {"text": "a secret text"}});
    let mut again = message.clone();
    again["resubmitted"] = json!(true);
    let mut brought_back = message.clone();
    (brought_back["id"], brought_back["resubmitted"]) = (json!(EventId::mint()), json!(true));
    let hello = json!({"type": "hello", "request": 1, "protocol": 1, "device": ada.device.id, "generation": 0,
                       "user_seq": 0, "app": "test/0", "cursor": "of another time"});
    let frames = json!([hello,
        {"type": "open", "request": 2, "conversation": chat, "kind": "direct", "members": [bo.user.id]},
        {"type": "send", "request": 3, "conversation": chat, "events": [message, again, brought_back, {"id": 5}, {}]},
        {"type": "pull", "request": 4, "conversation": chat, "direction": "backward", "max": 1},
        {"type": "probe", "request": 5, "conversation": chat, "seqs": [1]}]);
    let http = reqwest::Client::new();
    let answer = http
        .request(Method::POST, format!("http://{address}/v1/exchange"))
        .bearer_auth(&ada.access_token)
        .json(&json!({"frames": frames}))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());

    let answer = http.get(format!("http://{watched}/metrics")).send().await.unwrap();
    assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    let text = answer.text().await.unwrap();
    for (name, expected) in [
        ("kith_sockets", 0.0),
        ("kith_exchanges_total", 1.0),
        (r#"kith_events_total{outcome="stored"}"#, 1.0),
        (r#"kith_events_total{outcome="duplicate"}"#, 1.0),
        (r#"kith_events_total{outcome="resubmitted"}"#, 1.0),
        (r#"kith_heads_total{form="refused"}"#, 1.0),
        ("kith_pulls_total", 1.0),
        ("kith_probes_total", 1.0),
        ("kith_device_forks_total", 0.0),
        ("kith_batch_events_sum", 2.0),
        ("kith_publish_seconds_count", 1.0),
    ] {
        assert_eq!(value(&text, name), Some(expected), "{name} in {text}");
    }
    assert!(value(&text, r#"kith_database_connections{state="used"}"#).is_some(), "{text}");
    assert!(text.ends_with("# EOF\n"));
    let names = [ada.user.id.to_string(), chat.to_string(), "ada".to_owned(), "secret".to_owned()];
    for name in names {
        assert!(!text.contains(&name), "{name} in {text}");
    }
    let answer = http.get(format!("http://{address}/metrics")).send().await.unwrap();
    assert_eq!(answer.status(), 404, "not for everybody");
    shutdown.cancel();
    serving.await.unwrap().unwrap();
}

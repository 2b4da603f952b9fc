//! What the server tells a user, and how often the user is told.

use super::*;
use crate::events::Problem;
use kith_protocol::frame::Notification;
use serde_json::json;

fn new_device(name: &str) -> Notification {
    Notification {
        id: EventId::mint(),
        kind: "new_device".to_owned(),
        title: "New device".to_owned(),
        text: String::new(),
        data: Some(json!({"device": "d", "name": name, "copy": true})),
        link: None,
        at: TimestampMs(1),
        acknowledged: false,
    }
}

#[tokio::test]
async fn sec_021_a_further_device_is_told_once_and_hostile_names_are_not_shown() {
    let fixture = Fixture::new().await;
    let told = async |items: Vec<Notification>| {
        let stored = fixture.apply(vec![StoreOp::Notifications(items)]).await;
        let problems = stored.notices.into_iter().filter_map(|notice| match notice {
            EngineEvent::Problem { problem } => Some(problem),
            _ => None,
        });
        problems.collect::<Vec<_>>()
    };
    let laptop = new_device("a laptop");
    let problem = Problem::NewDevice { name: "a laptop".to_owned(), is_copy: true };
    assert_eq!(told(vec![laptop.clone()]).await, [problem]);
    assert_eq!(told(vec![laptop]).await, [], "the server brings it at each handshake");
    let seen = Notification { acknowledged: true, ..new_device("seen elsewhere") };
    assert_eq!(told(vec![seen, new_device("a\u{202e}b"), new_device("")]).await, []);
}

//! One sound frame of every type a client sends, for tests that mutate them.

use super::ClientFrame;
use crate::{ConversationId, DeviceId, EventId, UserId};
use serde_json::{Value, json};

/// A sound frame of a type, with every field that it may have and `request` 7.
///
/// # Panics
/// For a type without an example: a new type needs one.
pub fn example(kind: &str) -> Value {
    let (conversation, user, event) = (ConversationId::mint(), UserId::mint(), EventId::mint());
    let new_event = json!({"id": event, "kind": "message", "body": {"text": "hi"}});
    let mut frame = match kind {
        "hello" => json!({
            "protocol": 1, "device": DeviceId::mint(), "generation": 0, "epoch": "e", "cursor": "c", "user_seq": 0,
            "full": true, "app": "test/1", "capabilities": ["x"],
        }),
        "auth" => json!({"token": "t"}),
        "send" => json!({"conversation": conversation, "events": [new_event]}),
        "open" => json!({
            "conversation": conversation, "kind": "group", "members": [user], "title": "t",
            "context": {"kind": "job", "id": "7", "title": "t", "link": "https://a.example"}, "first": new_event,
        }),
        "pull" => {
            json!({"conversation": conversation, "from": 1, "to": 2, "direction": "forward", "max": 50})
        }
        "probe" => json!({"conversation": conversation, "seqs": [1, 2]}),
        "state" => json!({
            "conversation": conversation, "read": 1, "unread_flag": true, "mute": 0, "pin": true, "archive": false,
            "hidden": false, "draft": {"text": "d", "base": 0},
        }),
        "delivered" => json!({"markers": [[conversation, 1]]}),
        "heads" => json!({"full": true}),
        "members" => json!({"conversation": conversation, "after": user, "max": 50}),
        "profiles" | "presence.watch" => json!({"users": [user]}),
        "markers" => json!({"conversation": conversation}),
        "focus" => json!({"conversations": [conversation]}),
        "typing" => json!({"conversation": conversation, "on": true}),
        "presence.set" => json!({"state": "away"}),
        "notification.ack" => json!({"ids": [event]}),
        other => panic!("a new type needs an example: {other}"),
    };
    frame["type"] = kind.into();
    frame["request"] = 7.into();
    frame
}

/// One of every type.
pub fn examples() -> Vec<Value> {
    ClientFrame::TYPES.iter().map(|kind| example(kind)).collect()
}

/// The fields of a type that may be absent, and null.
pub fn optional(kind: &str) -> &'static [&'static str] {
    match kind {
        "hello" => &["epoch", "cursor", "full", "capabilities"],
        "open" => &["title", "context", "first"],
        "pull" => &["from", "to"],
        "state" => &["read", "unread_flag", "mute", "pin", "archive", "hidden", "draft"],
        "heads" => &["full"],
        "members" => &["after"],
        _ => &[],
    }
}

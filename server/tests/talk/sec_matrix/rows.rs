//! The rows: what is asked, and how each person is answered.

use super::stage::Cell;
use crate::support::message;
use kith_protocol::EventId;
use serde_json::{Value, json};

/// A route: the outcome for each person, as `status` or `status code`.
pub struct Route {
    pub body: Option<fn(&Cell) -> Value>,
    pub expected: [&'static str; 7],
    /// Whether a refusal must look the same for an id that does not exist.
    pub hides: bool,
    pub is_upgrade: bool,
}

impl Route {
    fn with(self, body: fn(&Cell) -> Value) -> Self {
        Self { body: Some(body), ..self }
    }

    fn hiding(self) -> Self {
        Self { hides: true, ..self }
    }
}

const PASSWORD: &str = "correct horse battery";

/// A route that asks for no token.
fn open(expected: [&'static str; 7]) -> Route {
    Route { body: None, expected, hides: false, is_upgrade: false }
}

/// A route that asks for a token: for owner, member, ex-member and stranger.
fn signed_in([owner, member, ex_member, stranger]: [&'static str; 4]) -> Route {
    let dead = ["401 device_revoked", "401 token_invalid", "401 token_expired"];
    open([owner, member, ex_member, stranger, dead[0], dead[1], dead[2]])
}

/// The row of a route: `method path`.
pub fn route(name: &str) -> Option<Route> {
    let everybody = |outcome: &'static str| signed_in([outcome; 4]);
    let row = match name {
        "post /v1/accounts" => open(["201"; 7]).with(|_| {
            let name = format!("new.{}", &EventId::mint().to_string()[24..]);
            json!({"username": name, "password": PASSWORD, "display_name": "Somebody"})
        }),
        "post /v1/sessions" => {
            let refused = "401 credentials_invalid";
            open(["200", "200", "200", "200", refused, refused, "200"]).with(
                |cell| json!({"username": cell.username, "password": PASSWORD, "device": {"name": "a test"}}),
            )
        }
        "post /v1/sessions/refresh" => {
            // Without a device it parts a new one, and the server has met no copy.
            let refused = "403 not_allowed";
            open([refused, refused, refused, refused, "401 device_revoked", "401 token_invalid", refused])
                .with(|cell| json!({"refresh_token": cell.refresh_token, "device": null}))
        }
        "get /v1/sessions" => everybody("200"),
        "delete /v1/sessions" => everybody("204").with(|_| json!({"password": PASSWORD})),
        "delete /v1/sessions/current" => everybody("204"),
        "delete /v1/sessions/{device}" => {
            let foreign = "404 target_missing";
            signed_in(["204", foreign, foreign, foreign]).with(|_| json!({"password": PASSWORD})).hiding()
        }
        "get /v1/me" => everybody("200"),
        "patch /v1/me" => everybody("200").with(|_| json!({})),
        "put /v1/me/password" => everybody("204").with(|_| json!({"current": PASSWORD, "new": PASSWORD})),
        // People of one platform may find each other.
        "get /v1/users" | "get /v1/users/{id}" => everybody("200"),
        "get /v1/blocks" => everybody("200"),
        "put /v1/blocks/{user}" | "delete /v1/blocks/{user}" => everybody("204"),
        "post /v1/conversations" => signed_in(["200", "200", "409 id_conflict", "409 id_conflict"])
            .with(|cell| json!({"id": cell.group, "kind": "group", "members": []})),
        "get /v1/conversations" => everybody("200"),
        "get /v1/conversations/{id}" | "get /v1/conversations/{id}/messages" => {
            signed_in(["200", "200", "200", "404 not_member"]).hiding()
        }
        "delete /v1/conversations/{id}" => {
            signed_in(["204", "204", "404 not_member", "404 not_member"]).hiding()
        }
        "post /v1/conversations/{id}/messages" => {
            signed_in(["201", "201", "404 not_member", "404 not_member"])
                .with(|_| json!({"text": "hello"}))
                .hiding()
        }
        "put /v1/conversations/{id}/read" => signed_in(["204", "204", "404 not_member", "404 not_member"])
            .with(|_| json!({"up_to": 1}))
            .hiding(),
        "get /v1/socket" => Route { is_upgrade: true, ..everybody("101") },
        "post /v1/exchange" => everybody("200").with(|cell| {
            let hello = cell.person.as_ref().map_or(json!({"type": "hello"}), |person| person.hello(0));
            json!({"frames": [hello, {"type": "heads", "request": 2}]})
        }),
        "get /v1/info" | "get /healthz" | "get /readyz" => open(["200"; 7]),
        _ => return None,
    };
    Some(row)
}

/// A frame: the type of the answer, or the code of the refusal, for each person.
pub struct Frame {
    pub frame: fn(&Cell) -> Value,
    pub expected: [&'static str; 7],
    /// Whether a refusal must look the same for an id that does not exist.
    pub hides: bool,
}

fn row([owner, member, ex_member, stranger]: [&'static str; 4], frame: fn(&Cell) -> Value) -> Frame {
    let dead = ["401 device_revoked", "401 token_invalid", "401 token_expired"];
    let expected = [owner, member, ex_member, stranger, dead[0], dead[1], dead[2]];
    Frame { frame, expected, hides: true }
}

/// The row of a frame type.
pub fn frame(kind: &str) -> Option<Frame> {
    const OUT: &str = "not_member";
    let row = match kind {
        "hello" => row(["invalid"; 4], |cell| {
            let device = cell.person.as_ref().map_or(cell.device, |person| person.device);
            json!({"type": "hello", "protocol": 1, "device": device, "generation": 0, "user_seq": 0, "app": "test/0"})
        }),
        // Somebody else's token renews nothing.
        "auth" => row(
            ["ack", "token_invalid", "token_invalid", "token_invalid"],
            |cell| json!({"type": "auth", "token": cell.owner_token}),
        ),
        "send" => row(
            ["ack", "ack", OUT, OUT],
            |cell| json!({"type": "send", "conversation": cell.group, "events": [message("hello")]}),
        ),
        "open" => row(
            ["heads", "heads", "id_conflict", "id_conflict"],
            |cell| json!({"type": "open", "conversation": cell.group, "kind": "group", "members": []}),
        ),
        "pull" => row(
            ["page", "page", "page", OUT],
            |cell| json!({"type": "pull", "conversation": cell.group, "direction": "backward", "max": 50}),
        ),
        "probe" => row(
            ["chains", "chains", "chains", OUT],
            |cell| json!({"type": "probe", "conversation": cell.group, "seqs": [1, 2, 3]}),
        ),
        "state" => row(
            ["own_state", "own_state", OUT, OUT],
            |cell| json!({"type": "state", "conversation": cell.group, "read": 3, "pin": true}),
        ),
        "delivered" => {
            row(["ack", "ack", OUT, OUT], |cell| json!({"type": "delivered", "markers": [[cell.group, 3]]}))
        }
        "heads" => row(["heads"; 4], |_| json!({"type": "heads"})),
        "members" => row(
            ["members", "members", OUT, OUT],
            |cell| json!({"type": "members", "conversation": cell.group, "max": 50}),
        ),
        "profiles" => row(["profiles"; 4], |cell| json!({"type": "profiles", "users": [cell.owner]})),
        "markers" => row(
            ["markers", "markers", OUT, OUT],
            |cell| json!({"type": "markers", "conversation": cell.group}),
        ),
        "focus" => {
            row(["ack", "ack", OUT, OUT], |cell| json!({"type": "focus", "conversations": [cell.group]}))
        }
        "typing" => row(
            ["ack", "ack", OUT, OUT],
            |cell| json!({"type": "typing", "conversation": cell.group, "on": true}),
        ),
        "presence.watch" => row(["ack"; 4], |cell| json!({"type": "presence.watch", "users": [cell.owner]})),
        "presence.set" => row(["ack"; 4], |_| json!({"type": "presence.set", "state": "busy"})),
        "notification.ack" => {
            row(["ack"; 4], |_| json!({"type": "notification.ack", "ids": [EventId::mint()]}))
        }
        _ => return None,
    };
    Some(row)
}

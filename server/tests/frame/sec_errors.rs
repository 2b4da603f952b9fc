//! What failures say to askers, and what the log says of anybody.

use crate::{
    sockets::{closed, connect, upgrade},
    support::{PASSWORD, World},
};
use futures_util::{SinkExt, StreamExt};
use kith_protocol::{ConversationId, ErrorCode, EventId};
use kith_server::router::{Access, route_list};
use reqwest::Method;
use serde_json::{Value, json};
use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio_tungstenite::{connect_async, tungstenite::Message};

/// What only the inside of a server knows: statements, names of tables and constraints, files and stacks.
const INSIDE: [&str; 16] = [
    "select ",
    "insert",
    "update ",
    " from ",
    "where",
    "relation",
    "column",
    "constraint",
    "pkey",
    "sqlx",
    "postgres",
    "users",
    "devices",
    ".rs",
    "/src/",
    "panicked",
];

fn holds_nothing_of_the_inside(text: &str, what: &str) {
    let small = text.to_lowercase();
    for word in INSIDE {
        assert!(!small.contains(word), "{what} says {word:?}: {text}");
    }
}

#[tokio::test]
async fn sec_089_with_a_broken_database_every_route_answers_a_code_and_a_request_id_only() {
    let world = World::start().await;
    let (ada, bob) = (world.person("ada").await, world.person("bob").await);
    let chat = ConversationId::direct(ada.user.id, bob.user.id);
    let mut socket = connect(&world, &ada).await;
    // Every statement that names one of them fails from here on, as after a migration that went wrong.
    for table in ["users", "devices", "events", "members", "conversation_head", "conversations"] {
        let rename = sqlx::AssertSqlSafe(format!("ALTER TABLE {table} RENAME TO {table}_lost"));
        sqlx::query(rename).execute(&world.server.pool).await.unwrap();
    }
    let mut broken = 0;
    for (method, path, access) in route_list() {
        let path = path
            .replace("{device}", &bob.device.id.to_string())
            .replace("/v1/users/{id}", &format!("/v1/users/{}", bob.user.id))
            .replace("{id}", &chat.to_string());
        let what = format!("{method} {path}");
        let mut request =
            world.client.request(method.to_uppercase().parse().unwrap(), world.server.url(&path));
        if access == Access::SignedIn {
            request = request.bearer_auth(&ada.access_token);
        }
        let body = match path.as_str() {
            "/v1/accounts" => json!({"username": "cleo", "password": PASSWORD, "display_name": "Cleo"}),
            "/v1/sessions" => json!({"username": "ada", "password": PASSWORD, "device": {"name": "x"}}),
            "/v1/sessions/refresh" => {
                json!({"refresh_token": ada.refresh_token, "device": ada.device.id})
            }
            _ => json!({}),
        };
        let response = request.json(&body).send().await.unwrap();
        let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
        let (status, text) = (response.status().as_u16(), response.text().await.unwrap());
        if path == "/v1/info" || path == "/healthz" {
            assert_eq!(status, 200, "{what}: {text}");
            continue;
        }
        holds_nothing_of_the_inside(&text, &what);
        if access == Access::SignedIn || ["/v1/sessions", "/v1/sessions/refresh"].contains(&path.as_str()) {
            broken += 1;
            assert_eq!(status, 500, "{what}: {text}");
            let body: Value = serde_json::from_str(&text).unwrap();
            let fields: Vec<&str> = body.as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(fields, ["code", "message", "retry_after_ms"], "{what}");
            assert_eq!(body["code"], json!(ErrorCode::Unavailable), "{what}");
            assert_eq!(body["message"], format!("internal error, request {id}"), "{what}");
        }
    }
    assert!(broken > 15, "{broken} routes asked the database");
    // By the socket there is a code as well, and nothing more.
    let event = json!({"id": EventId::mint(), "kind": "message", "body": {"text": "hello"}});
    for frame in [
        json!({"type": "open", "request": 5, "conversation": chat, "kind": "direct", "members": [bob.user.id]}),
        json!({"type": "send", "request": 5, "conversation": chat, "events": [event]}),
        json!({"type": "pull", "request": 5, "conversation": chat, "direction": "backward", "max": 5}),
        json!({"type": "profiles", "request": 5, "users": [bob.user.id]}),
    ] {
        socket.send(Message::text(frame.to_string())).await.unwrap();
        let answer = loop {
            let Message::Text(text) = socket.next().await.unwrap().unwrap() else { continue };
            let answer: Value = serde_json::from_str(&text).unwrap();
            if answer["reply_to"] == 5 {
                break answer;
            }
        };
        assert_eq!((&answer["type"], &answer["code"]), (&json!("error"), &json!("unavailable")), "{answer}");
        holds_nothing_of_the_inside(&answer.to_string(), &frame.to_string());
    }
}

#[tokio::test]
async fn sec_089_metrics_and_what_is_for_operators_are_not_served_to_clients() {
    let world = World::start().await;
    let ada = world.person("ada").await;
    for path in ["/metrics", "/v1/metrics", "/admin", "/v1/admin", "/debug", "/v1/users/metrics/.."] {
        for token in [None, Some(ada.access_token.as_str())] {
            let answer = world.ask(Method::GET, path, token, None).await;
            if path.ends_with("..") {
                assert_ne!(answer.status, 500);
                continue;
            }
            answer.refused(404, ErrorCode::Unsupported);
        }
    }
}

/// A log in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn sec_089_the_most_detailed_log_holds_no_password_token_text_or_name() {
    let log = Log::default();
    let writer = log.clone();
    // Of this thread, on which the whole server runs.
    let _recorded =
        tracing::subscriber::set_default(kith_server::testing::most_detailed_log(move || writer.clone()));
    let world = World::start().await;
    let (ada, bob) = (world.person("ada.secretname").await, world.person("bob.secretname").await);
    world.try_sign_in("ada.secretname", "a wrong secret").await.refused(401, ErrorCode::CredentialsInvalid);
    let renewed = world.refresh(&ada).await.session();
    let chat = ConversationId::direct(ada.user.id, bob.user.id);
    let event = json!({"id": EventId::mint(), "kind": "message", "body": {"text": "the secret text"}});
    let mutated =
        json!({"id": EventId::mint(), "kind": "message", "body": {"text": 7, "the secret field": 1}});
    let mut socket = connect(&world, &ada).await;
    for frame in [
        json!({"type": "open", "conversation": chat, "kind": "direct", "members": [bob.user.id], "first": event}),
        json!({"type": "send", "conversation": chat, "events": [event, mutated]}),
        json!({"type": "auth", "token": "the secret token"}),
        json!({"type": "the secret type"}),
        json!({"type": "state", "conversation": chat, "draft": {"text": "the secret draft", "base": 0}}),
        json!({"type": "profiles", "request": 99, "users": []}),
    ] {
        socket.send(Message::text(frame.to_string())).await.unwrap();
    }
    loop {
        let Message::Text(text) = socket.next().await.unwrap().unwrap() else { continue };
        if serde_json::from_str::<Value>(&text).unwrap()["reply_to"] == 99 {
            break;
        }
    }
    let found = world.get("/v1/users?query=bob.secretname", &ada.access_token).await;
    assert_eq!(found.status, 200);
    world.get("/v1/me", "the secret token").await.refused(401, ErrorCode::TokenInvalid);
    assert!(connect_async(upgrade(&world, Some("the secret token"))).await.is_err());
    // What the database refuses is logged: a text that it cannot store, and statements that fail.
    for table in ["users", "events"] {
        let rename = sqlx::AssertSqlSafe(format!("ALTER TABLE {table} RENAME TO {table}_lost"));
        sqlx::query(rename).execute(&world.server.pool).await.unwrap();
    }
    let sign_in = world.try_sign_in("ada.secretname", PASSWORD).await;
    assert_eq!(sign_in.status, 500);
    let refused = world.get("/v1/users?query=bob.secretname", &renewed.access_token).await;
    assert_eq!(refused.status, 500);
    world.server.stop().await.unwrap();
    assert!(closed(&mut socket, Duration::from_secs(10)).await.1);

    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    for wanted in ["answered", "the database refused a statement", "DEBUG"] {
        assert!(log.contains(wanted), "{wanted} is not in the log: {log}");
    }
    let tokens = [&ada, &bob, &renewed].map(|one| [one.access_token.as_str(), one.refresh_token.as_str()]);
    for secret in [PASSWORD, "secret"].into_iter().chain(tokens.into_iter().flatten()) {
        let line = log.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "{secret:?} is logged: {}", line.unwrap_or_default());
    }
}

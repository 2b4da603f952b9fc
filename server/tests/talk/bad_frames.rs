//! Mutated frames of every type against the real socket: each gets the code of the specification, in answer to its
//! request, and the connection goes on.

use crate::support::{Line, World};
use futures_util::SinkExt as _;
use kith_protocol::{
    ClientFrame,
    frame::{example, optional},
};
use serde_json::{Value, json};
use std::time::Duration;
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    },
};

/// What each type needs, as a server that does not know the client must assume.
fn required(kind: &str, frame: &Value) -> Vec<String> {
    let names = frame.as_object().unwrap().keys();
    names
        .filter(|name| *name != "type" && *name != "request" && !optional(kind).contains(&name.as_str()))
        .cloned()
        .collect()
}

/// Sends a text as often as the server asks for, for what is mutated counts for the rate too; the answer to it.
async fn answer(line: &mut Line, text: String) -> (Value, String) {
    loop {
        line.socket.send(Message::text(text.clone())).await.unwrap();
        let error = line.until_type("error").await;
        let code = error["code"].as_str().unwrap().to_owned();
        if code != "rate_limited" {
            return (error["reply_to"].clone(), code);
        }
        tokio::time::sleep(Duration::from_millis(error["retry_after_ms"].as_u64().unwrap())).await;
    }
}

#[tokio::test]
async fn sec_033_mutated_frames_of_every_type_are_answered_with_their_code_and_the_socket_stays() {
    let world = World::start().await;
    // Several, for a connection on which nothing but nonsense comes is closed (L2).
    let mut lines = Vec::new();
    for person in world.people(["ada", "bo", "cy", "dee"]).await {
        lines.push(person.online().await);
    }
    let invalid = |reply_to: Value| (reply_to, "invalid".to_owned());
    for (number, kind) in ClientFrame::TYPES.iter().enumerate() {
        let among = number % lines.len();
        let line = &mut lines[among];
        let frame = example(kind);
        // A sample: all fields of all types are tried against the parser.
        for field in required(kind, &frame).into_iter().take(1) {
            let mut mutated = frame.clone();
            mutated.as_object_mut().unwrap().remove(&field);
            assert_eq!(answer(line, mutated.to_string()).await, invalid(json!(7)), "{kind} without {field}");
            for value in [json!(null), json!({}), json!("\u{0}"), json!(-1), json!([[[]]])] {
                let is_text = matches!(field.as_str(), "app" | "token") && value.is_string();
                let is_event_list = field == "events" && value.is_array();
                if is_text || is_event_list {
                    continue; // sound in form
                }
                let mut mutated = frame.clone();
                mutated[&field] = value.clone();
                let text = mutated.to_string();
                assert_eq!(answer(line, text).await, invalid(json!(7)), "{kind}.{field} = {value}");
            }
        }
        let text = frame.to_string();
        let deep = text.replacen('{', &format!("{{\"x\":{}{},", "[".repeat(200), "]".repeat(200)), 1);
        assert_eq!(answer(line, deep).await, invalid(Value::Null), "{kind}, nested");
        let cut = text[..text.len() - 1].to_owned();
        assert_eq!(answer(line, cut).await, invalid(Value::Null), "{kind}, cut");
    }
    for mut line in lines {
        line.write(&json!({"type": "presence.set", "state": "busy"})).await;
        assert_eq!(line.everything().await, Vec::<Value>::new());
    }
}

#[tokio::test]
async fn w5_nul_extra_and_large_content_of_an_event_is_refused_alone() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let mut line = ada.online().await;
    let talk = line.start_chat(bo.user, "hello").await;
    let sound = || json!({"id": kith_protocol::EventId::mint(), "kind": "message", "body": {"text": "hi"}});
    let with = |field: &str, value: Value| {
        let mut event = sound();
        event[field] = value;
        event
    };
    for (what, event, code) in [
        ("NUL", with("body", json!({"text": "a\u{0}b"})), "invalid"),
        ("empty", with("body", json!({"text": ""})), "invalid"),
        ("no text", with("body", json!({})), "invalid"),
        ("a wrong type", with("body", json!({"text": 7})), "invalid"),
        ("an extra field in the body", with("body", json!({"text": "hi", "later": 1})), "invalid"),
        ("an extra field", with("later", json!(1)), "invalid"),
        ("a seq", with("seq", json!(1)), "invalid"),
        ("a time", with("ts", json!(1)), "invalid"),
        ("a wrong id", with("id", json!("00000000-0000-4000-8000-000000000000")), "invalid"),
        ("files", with("body", json!({"text": "hi", "attachments": []})), "unsupported"),
        ("people named", with("body", json!({"text": "hi", "mentions": [bo.user]})), "unsupported"),
        ("forwarded", with("body", json!({"text": "hi", "forwarded": {"from": bo.user}})), "unsupported"),
        ("an unknown kind", with("kind", json!("dance")), "unsupported"),
        ("a long text", with("body", json!({"text": "x".repeat(16_001)})), "too_large"),
        (
            "a large body",
            with("body", json!({"text": "😀".repeat(16_000), "mentions": vec![bo.user; 64]})),
            "too_large",
        ),
    ] {
        assert_eq!(line.refused(talk, event).await, code, "{what}");
    }
    let results = line.send(talk, &[sound(), with("seq", json!(1)), sound()]).await;
    let statuses: Vec<_> = results.iter().map(|result| result["status"].clone()).collect();
    assert_eq!(statuses, ["ok", "error", "skipped"]);
}

#[tokio::test]
async fn sec_033_invalid_utf8_in_the_middle_of_a_sound_frame_closes_1007() {
    let world = World::start().await;
    let [ada] = world.people(["ada"]).await;
    let mut line = ada.online().await;
    let mut bytes = example("open").to_string().into_bytes();
    let middle = bytes.len() / 2;
    bytes.splice(middle..middle, [0xc3, 0x28]);
    line.socket.send(Message::Frame(Frame::message(bytes, OpCode::Data(Data::Text), true))).await.unwrap();
    assert_eq!(line.closed().await, 1007);
}

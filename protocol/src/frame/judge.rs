//! What has to hold of any text that a parser of this crate gets, for the seeded cases (`frame/tests/fuzz.rs`) and for
//! the coverage-guided fuzz targets (`fuzz/`): no panic, a code of the specification, and a second reading that equals
//! the first.

use super::{ClientFrame, ServerFrame, depth_is_within};
use crate::{ErrorCode, Event, EventContent, EventId, NewEvent, event::canonical_json, limits};
use serde_json::Value;

/// Reads a text as a server does. Returns whether it is a frame.
///
/// # Panics
/// When the parser breaks one of its promises.
pub fn client_frame(text: &str) -> bool {
    let received = match ClientFrame::decode(text) {
        Ok(received) => received,
        Err(error) => {
            assert!(matches!(error.code, ErrorCode::Invalid | ErrorCode::Unsupported), "{text}");
            return false;
        }
    };
    assert!(depth_is_within(text, limits::JSON_DEPTH_MAX), "{text}");
    assert_eq!(
        ClientFrame::decode(&received.frame.encode(received.request)).as_ref(),
        Ok(&received),
        "{text}"
    );
    if let ClientFrame::Send(send) = received.frame {
        for event in send.events {
            if let Ok(event) = serde_json::from_value::<NewEvent>(event) {
                content(&event.kind, event.target, &event.body);
            }
        }
    }
    true
}

/// Reads a text as a client does. Returns whether it is a frame.
///
/// # Panics
/// When the parser breaks one of its promises.
pub fn server_frame(text: &str) -> bool {
    let Ok(received) = ServerFrame::decode(text) else { return false };
    let again = ServerFrame::decode(&received.frame.encode()).map(|again| again.frame);
    assert_eq!(again, Ok(received.frame), "{text}");
    true
}

/// Reads a text as an event of either direction. Returns whether it is one with content that this version knows.
///
/// # Panics
/// When the parser breaks one of its promises.
pub fn event(text: &str) -> bool {
    if !depth_is_within(text, limits::JSON_DEPTH_MAX) {
        return false;
    }
    let mut is_known = false;
    if let Ok(event) = serde_json::from_str::<NewEvent>(text) {
        if is_exact(&event.body) {
            assert_eq!(written(&event), Some(event.clone()), "{text}");
        }
        is_known |= content(&event.kind, event.target, &event.body);
    }
    if let Ok(event) = serde_json::from_str::<Event>(text) {
        let body = event.body.as_ref().unwrap_or(&Value::Null);
        if is_exact(body) {
            assert_eq!(written(&event), Some(event.clone()), "{text}");
        }
        is_known |= content(&event.kind, event.target, body);
    }
    is_known
}

fn written<T: serde::Serialize + serde::de::DeserializeOwned>(event: &T) -> Option<T> {
    serde_json::from_str(&serde_json::to_string(event).ok()?).ok()
}

/// Whether a value reads back as it was: a fraction may change in its last digit, and no known kind has one.
fn is_exact(value: &Value) -> bool {
    match value {
        Value::Number(number) => !number.is_f64(),
        Value::Array(items) => items.iter().all(is_exact),
        Value::Object(fields) => fields.values().all(is_exact),
        _ => true,
    }
}

/// Returns whether a body has the content of its kind.
fn content(kind: &str, target: Option<EventId>, body: &Value) -> bool {
    if is_exact(body) {
        let again: Result<Value, _> = serde_json::from_str(&canonical_json(body));
        assert_eq!(again.as_ref().ok(), Some(body), "{body}");
    }
    let Ok(content) = EventContent::parse(kind, target, body) else { return false };
    let (kind, target, body) = content.to_wire();
    assert_eq!(EventContent::parse(kind, target, &body).as_ref(), Ok(&content), "{body}");
    true
}

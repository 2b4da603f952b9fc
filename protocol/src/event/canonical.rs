//! What makes two events with one id the same event.

use crate::EventId;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Writes canonical JSON: no white space, keys sorted by their bytes, at every level.
pub fn canonical_json(value: &Value) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| key.as_bytes());
            out.push('{');
            for (index, (key, value)) in entries.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_text(key, out);
                out.push(':');
                write(value, out);
            }
            out.push('}');
        }
        Value::String(text) => write_text(text, out),
        plain => out.push_str(&plain.to_string()),
    }
}

fn write_text(text: &str, out: &mut String) {
    // Text has no way to fail.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

/// SHA-256 over the canonical JSON of `[kind, target, body]` (W3): what makes two events with one id the same event.
///
/// An absent target is `null`; `written_at` and `resubmitted` are not part of it. It outlives redaction.
pub fn body_hash(kind: &str, target: Option<EventId>, body: &Value) -> [u8; 32] {
    let mut whole = String::from("[");
    write_text(kind, &mut whole);
    match target {
        Some(target) => {
            whole.push(',');
            write_text(&target.to_string(), &mut whole);
            whole.push(',');
        }
        None => whole.push_str(",null,"),
    }
    write(body, &mut whole);
    whole.push(']');
    Sha256::digest(whole.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn w3_body_hash_is_of_the_canonical_json_of_all_three() {
        let (id, body) = (EventId::mint(), json!({"z": [1, null, "\"\u{1}é"], "a": {"b": true, "a": 1.5}}));
        for target in [None, Some(id)] {
            let whole = json!(["message", target, body]);
            let wanted: [u8; 32] = Sha256::digest(canonical_json(&whole).as_bytes()).into();
            assert_eq!(body_hash("message", target, &body), wanted);
        }
    }

    #[test]
    fn w3_body_hash_does_not_depend_on_key_order() {
        let one = body_hash("message", None, &json!({"text": "x", "mentions": []}));
        let other =
            body_hash("message", None, &serde_json::from_str(r#"{"mentions":[],"text":"x"}"#).unwrap());
        assert_eq!(one, other);
        assert_ne!(one, body_hash("message", None, &json!({"text": "y", "mentions": []})));
        assert_ne!(one, body_hash("edit", None, &json!({"text": "x", "mentions": []})));
    }
}

//! What makes two events with one id the same event.

use crate::EventId;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Writes canonical JSON: no white space, keys sorted by their bytes, at every level.
pub fn canonical_json(value: &Value) -> String {
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
                    out.push_str(&Value::String(key.clone()).to_string());
                    out.push(':');
                    write(value, out);
                }
                out.push('}');
            }
            plain => out.push_str(&plain.to_string()),
        }
    }
    let mut out = String::new();
    write(value, &mut out);
    out
}

/// SHA-256 over the canonical JSON of `[kind, target, body]` (W3): what makes two events with one id the same event.
///
/// An absent target is `null`; `written_at` and `resubmitted` are not part of it. It outlives redaction.
pub fn body_hash(kind: &str, target: Option<EventId>, body: &Value) -> [u8; 32] {
    let target = target.map_or(Value::Null, |id| Value::String(id.to_string()));
    let whole = Value::Array(vec![Value::String(kind.to_owned()), target, body.clone()]);
    Sha256::digest(canonical_json(&whole).as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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

//! Frames without what may differ between two servers that do the same.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Of a server's own life: not compared.
const OF_A_LIFE: [&str; 9] =
    ["message", "retry_after_ms", "connection", "server", "epoch", "now", "limits", "token_ms", "reply_to"];

/// A frame without what may differ.
pub(super) fn plain(frame: &Value) -> Value {
    let mut frame = frame.clone();
    if let Some(fields) = frame.as_object_mut() {
        fields.retain(|name, _| !OF_A_LIFE.contains(&name.as_str()));
        if let Some(cursor) = fields.get_mut("cursor") {
            // Its text is the server's own; that there is one is compared.
            *cursor = cursor.is_string().into();
        }
    }
    let items = frame.get_mut("items").and_then(Value::as_array_mut);
    for item in items.into_iter().flatten() {
        let members = item.get_mut("members").and_then(Value::as_array_mut);
        for member in members.into_iter().flatten().filter_map(Value::as_object_mut) {
            member.remove("profile_version");
        }
    }
    frame
}

/// What a connection is told, by conversation, in order. How many events are in a frame is not compared (L3).
pub(super) fn told(frames: &[Value]) -> BTreeMap<String, Vec<Value>> {
    let mut told: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for frame in frames {
        let one = plain(frame);
        let about = told.entry(conversation(frame)).or_default();
        match one["events"].as_array() {
            Some(events) => about.extend(events.iter().cloned()),
            None => about.push(one),
        }
    }
    told
}

fn conversation(frame: &Value) -> String {
    let named = [&frame["conversation"], &frame["items"][0]["conversation"], &frame["typing"][0][0]];
    named.iter().find_map(|value| value.as_str()).unwrap_or_default().to_owned()
}

/// A frame for people: long texts are cut.
pub(super) fn brief(frame: &Value) -> String {
    fn cut(value: &mut Value) {
        match value {
            Value::String(text) if text.chars().count() > 80 => {
                *text = format!("{}… {} bytes", text.chars().take(20).collect::<String>(), text.len());
            }
            Value::Array(items) => items.iter_mut().for_each(cut),
            Value::Object(fields) => fields.values_mut().for_each(cut),
            _ => {}
        }
    }
    let mut frame = frame.clone();
    cut(&mut frame);
    frame.to_string()
}

/// Where two values differ, and how.
pub(super) fn differing(real: &Value, model: &Value) -> Vec<String> {
    fn look(at: &str, real: &Value, model: &Value, found: &mut Vec<String>) {
        match (real, model) {
            (Value::Object(one), Value::Object(other)) => {
                let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
                for name in names {
                    look(&format!("{at}/{name}"), &real[name], &model[name], found);
                }
            }
            (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
                for (index, (real, model)) in one.iter().zip(other).enumerate() {
                    look(&format!("{at}/{index}"), real, model, found);
                }
            }
            _ if real == model => {}
            _ => found.push(format!("{at}\n  server: {}\n  model:  {}", brief(real), brief(model))),
        }
    }
    let mut found = Vec::new();
    look("", real, model, &mut found);
    found
}

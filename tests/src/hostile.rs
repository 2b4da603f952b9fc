//! Strings that have broken messengers: the corpus of the interface's tests.

use serde_json::Value;

/// All of them, written out.
///
/// # Panics
/// If the corpus is not what it should be.
pub fn corpus() -> Vec<String> {
    let entries: Vec<Value> =
        serde_json::from_str(include_str!("../../ui/src/hostile.json")).expect("the corpus is a list");
    entries.iter().map(written).collect()
}

/// A string, or `{before, repeat, times, after}`.
fn written(entry: &Value) -> String {
    let part = |name: &str| entry[name].as_str().unwrap_or_default();
    match entry.as_str() {
        Some(text) => text.to_owned(),
        None => {
            let times = entry["times"].as_u64().expect("how often it is repeated") as usize;
            format!("{}{}{}", part("before"), part("repeat").repeat(times), part("after"))
        }
    }
}

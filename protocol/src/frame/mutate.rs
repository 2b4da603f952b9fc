//! Mutated JSON from a seed, for tests: what a careless, older or hostile sender may write. A case is a seed, so a
//! failure is played again by its number.

use serde_json::{Map, Value, json};
use std::time::{Duration, Instant};

/// What is put in the place of something else.
const HOSTILE: [&str; 18] = [
    "null",
    "true",
    "0",
    "-1",
    "1.5",
    "1e400",
    "9007199254740991",
    "9007199254740992",
    "18446744073709551615",
    "\"\"",
    "\"\\u0000\"",
    "\"\\ud83d\\ude00\"",
    "[]",
    "[null]",
    "{}",
    "\"0190a000-0000-7000-8000-000000000001\"",
    "[[[[]]]]",
    "\"delete\"",
];
/// Pieces of JSON that are put between others.
const PIECES: [&str; 12] =
    ["{", "}", "[", "]", "\"", ",", ":", "\\", "\\ud800", "\u{0}", "null", "{\"type\":\"heads\"}"];

/// A small generator (SplitMix64), and what it mutates.
#[derive(Debug, Clone)]
pub struct Mutator(u64);

impl Mutator {
    /// The generator of a case.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to `limit` − 1; 0 for none.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.number() % (limit.max(1) as u64)) as usize
    }

    /// One of them.
    pub fn one<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        let at = self.below(all.len());
        &all[at]
    }

    /// Changes something somewhere in a value.
    pub fn value(&mut self, value: &mut Value) {
        let mut places = Vec::new();
        collect(value, String::new(), &mut places);
        let place = self.one(&places).clone();
        let elsewhere = self.one(&places).clone();
        let other = value.pointer(&elsewhere).cloned().unwrap_or(Value::Null);
        if let Some(node) = value.pointer_mut(&place) {
            self.node(node, other);
        }
    }

    fn node(&mut self, node: &mut Value, other: Value) {
        match (self.below(6), node) {
            (0, Value::Object(fields)) => self.field(fields, other),
            (0 | 1, Value::Array(items)) => self.items(items, other),
            (0 | 1, Value::Number(number)) => {
                let near = number.as_u64().unwrap_or(0).wrapping_add(self.number() % 5).wrapping_sub(2);
                *number = near.into();
            }
            (0 | 1, Value::String(text)) => match self.below(3) {
                0 => text.push('\u{0}'),
                1 => *text = text.repeat(1 + self.below(40)),
                _ => *text = text.chars().rev().collect(),
            },
            (2, node) => *node = other,
            (_, node) => {
                let text: &str = self.one::<&str>(&HOSTILE);
                *node = serde_json::from_str(text).unwrap_or(Value::Null);
            }
        }
    }

    fn field(&mut self, fields: &mut Map<String, Value>, other: Value) {
        let names: Vec<String> = fields.keys().cloned().collect();
        if names.is_empty() || self.below(3) == 0 {
            fields.insert("later".to_owned(), other);
        } else {
            fields.remove(self.one(&names));
        }
    }

    fn items(&mut self, items: &mut Vec<Value>, other: Value) {
        let (one, two) = (self.below(items.len()), self.below(items.len()));
        match self.below(4) {
            0 => items.push(other),
            _ if items.is_empty() => {}
            1 => items.swap(one, two),
            2 => drop(items.remove(one)),
            _ => items.insert(one, items[two].clone()),
        }
    }

    /// Changes bytes of a text: what is left may be no text.
    pub fn bytes(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            let to = at + self.below(bytes.len().saturating_sub(at).min(64));
            match self.below(5) {
                0 if !bytes.is_empty() => bytes[at] = self.number() as u8,
                1 => drop(bytes.drain(at..to)),
                2 => bytes.truncate(at),
                3 => {
                    let part = bytes[at..to].to_vec();
                    bytes.splice(at..at, part);
                }
                _ => drop(bytes.splice(at..at, self.one::<&str>(&PIECES).bytes())),
            }
        }
    }
}

/// The place of every value in a value, as JSON pointers.
fn collect(value: &Value, place: String, into: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields {
                let name = name.replace('~', "~0").replace('/', "~1");
                collect(inner, format!("{place}/{name}"), into);
            }
        }
        Value::Array(items) => {
            for (at, inner) in items.iter().enumerate() {
                collect(inner, format!("{place}/{at}"), into);
            }
        }
        _ => {}
    }
    into.push(place);
}

/// Says which case failed.
struct Case(u64);

impl Drop for Case {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the failing case: KITH_FUZZ_SEED={} KITH_FUZZ_CASES=1", self.0);
        }
    }
}

/// Plays cases: those found earlier, then as many as `KITH_FUZZ_CASES` or for as long as `KITH_FUZZ_SECONDS` says, else
/// `usual` ones, from `KITH_FUZZ_SEED` on. Returns how many.
pub fn play(found: &[u64], usual: u64, mut each: impl FnMut(u64)) -> u64 {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let first = number("KITH_FUZZ_SEED").unwrap_or(1);
    let until = number("KITH_FUZZ_SECONDS").map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let cases = number("KITH_FUZZ_CASES").unwrap_or(if until.is_some() { u64::MAX } else { usual });
    let mut played = 0;
    let new = (0..cases).map(|case| first.wrapping_add(case));
    for seed in found.iter().copied().chain(new) {
        if until.is_some_and(|until| Instant::now() >= until) {
            break;
        }
        let _case = Case(seed);
        each(seed);
        played += 1;
    }
    println!("{played} cases from seed {first}");
    played
}

/// Fields of what a server sends, all in one: every type finds its own among them.
pub fn server_fields() -> Value {
    let (conversation, user, event) = (
        "0190a000-0000-7000-8000-00000000c001",
        "0190a000-0000-7000-8000-00000000a001",
        "0190a000-0000-7000-8000-00000000e001",
    );
    let chain = "0011223344556677";
    let own = json!({
        "conversation": conversation, "unread": 0, "read": 0, "delivered": 0, "unread_flag": false, "mute": 0,
        "pin": false, "archive": false, "hidden": false, "draft": {"text": "d", "version": 1}, "version": 1,
    });
    let message = json!({
        "seq": 1, "id": event, "kind": "message", "sender": user, "ts": 1_700_000_000_000_u64, "countable": 1,
        "chain": chain, "body": {"text": "hi"},
    });
    json!({
        "connection": conversation, "server": "s", "user": user, "device": user, "generation": 1, "epoch": "e",
        "now": 1, "protocol": 1, "capabilities": [], "limits": {}, "token_ms": 1, "reply_to": 3, "full": true,
        "more": false, "user_seq": 1, "items": [own], "gone": [conversation], "conversation": conversation,
        "events": [message], "heads": [[conversation, 1]], "chain_before": chain, "low": 1, "high": 1, "head": 1,
        "states": {event: {"text": "hi", "reactions": {"👍": [user]}}}, "as_of": 1, "end": true,
        "results": [{"id": event, "status": "ok", "seq": 1, "ts": 1, "countable": 1, "chain": chain}],
        "chains": [[1, chain]], "markers": [[user, 1, 1]], "next": user, "typing": [[conversation, user, true]],
        "presence": [[user, "online"]], "ms": 1, "code": "invalid", "after_ms": 1, "message": "m",
        "retry_after_ms": 1, "current": own,
    })
}

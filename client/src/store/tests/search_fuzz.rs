//! Any text as a search (`cargo xtask fuzz`): never an error, never more than was asked for, and what is shown as found
//! is a part of a message.

use super::*;
use crate::{
    store::search::judge::{self, LIMIT, LINES},
    view::SearchView,
};
use kith_protocol::frame::mutate::{Mutator, play};
use std::collections::BTreeMap;

/// Cases that failed once.
const FOUND: [u64; 0] = [];
/// What FTS5, SQL and folding could stumble over.
const PIECES: [&str; 56] = [
    "\"",
    "\"\"",
    "'",
    "''",
    "*",
    "^",
    "-",
    "+",
    ":",
    "(",
    ")",
    "{",
    "}",
    "[",
    "]",
    ",",
    ".",
    ";",
    "--",
    "/*",
    "\\",
    "%",
    "_",
    "\0",
    " ",
    "\t",
    "\n",
    "\u{a0}",
    "\u{3000}",
    "AND",
    "OR",
    "NOT",
    "NEAR",
    "NEAR(a b, 3)",
    "text:",
    "text : x",
    "rowid:1",
    "a*",
    "^a",
    "a OR",
    "NOT a",
    "(a",
    "{text}: b",
    "- a",
    "👍",
    "\u{200d}",
    "\u{301}",
    "\u{202e}",
    "\u{10ffff}",
    "\u{fdfa}",
    "明天",
    "İ",
    "ﬃ",
    "ß",
    "\u{1160}",
    "); DROP TABLE messages;--",
];

fn query(mutator: &mut Mutator) -> String {
    let mut query = String::new();
    let pieces_max = if mutator.below(40) == 0 { 3_000 } else { 9 };
    for _ in 0..mutator.below(pieces_max) {
        match mutator.below(5) {
            0 | 1 => query.push_str(mutator.one::<&str>(&PIECES)),
            2 => {
                // A part of what is there.
                let chars: Vec<char> = mutator.one::<&str>(&LINES).chars().collect();
                let from = mutator.below(chars.len());
                let length = 1 + mutator.below(6);
                query.extend(chars.iter().skip(from).take(length));
            }
            3 => query.extend(char::from_u32(mutator.below(0x11_0000) as u32)),
            _ => query.push(' '),
        }
    }
    query
}

async fn search(fixture: &Fixture, query: String, conversation: Option<ConversationId>) -> SearchView {
    fixture.read(move |db| crate::store::search::search(db, &query, conversation, LIMIT)).await
}

async fn case(fixture: &Fixture, seed: u64) -> u64 {
    let mut mutator = Mutator::new(seed);
    let query = query(&mut mutator);
    let within = (mutator.below(3) == 0).then_some(fixture.conversation);
    let view = search(fixture, query.clone(), within).await;
    judge::view(&query, &view);
    view.hits.len() as u64
}

#[test]
fn sec_083_fuzz_searches() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut fixture = runtime.block_on(Fixture::new());
    let bo = fixture.bo;
    for line in LINES {
        fixture.says(bo, line);
    }
    runtime.block_on(fixture.apply(vec![fixture.append(1, LINES.len() as u64)]));
    let rows = runtime.block_on(fixture.dump());
    let mut hits = BTreeMap::from([(true, 0_u64), (false, 0)]);
    let played = play(&FOUND, 1_500, |seed| {
        let found = runtime.block_on(case(&fixture, seed));
        *hits.entry(found > 0).or_default() += 1;
    });
    assert_eq!(runtime.block_on(fixture.dump()), rows, "a search changed something");
    assert!(played < 1_000 || hits[&true] > played / 20, "{hits:?}: nearly nothing is found");
}

/// Every string that has broken messengers, as a search.
#[tokio::test]
async fn sec_083_no_hostile_text_is_a_syntax_error() {
    let mut fixture = Fixture::new().await;
    let bo = fixture.bo;
    fixture.says(bo, "one message");
    fixture.apply(vec![fixture.append(1, 1)]).await;
    let corpus: Vec<serde_json::Value> =
        serde_json::from_str(include_str!("../../../../ui/src/hostile.json")).unwrap();
    for entry in &corpus {
        let text = match entry.as_str() {
            Some(text) => text.to_owned(),
            None => entry["repeat"].as_str().unwrap().repeat(entry["times"].as_u64().unwrap() as usize),
        };
        search(&fixture, text, None).await;
    }
}

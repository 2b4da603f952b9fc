//! The frame parsers on arbitrary bytes (`cargo xtask fuzz`): they never panic, refuse with their codes, and what they
//! take reads back as it was.

use super::*;
use crate::frame::{
    examples, judge,
    mutate::{Mutator, play, server_fields},
};
use serde_json::Value;

/// Cases that failed once.
const FOUND: [u64; 0] = [];

/// What arrived, if it is text: a connection with anything else is closed.
fn text_of(mutator: &mut Mutator, mut frame: Value) -> Option<String> {
    for _ in 0..mutator.below(4) {
        mutator.value(&mut frame);
    }
    let mut bytes = frame.to_string().into_bytes();
    if mutator.below(3) == 0 {
        mutator.bytes(&mut bytes);
    }
    String::from_utf8(bytes).ok()
}

#[test]
fn fuzz_frames_of_both_directions() {
    let (clients, mut taken) = (examples(), 0_u64);
    let played = play(&FOUND, 20_000, |seed| {
        let mut mutator = Mutator::new(seed);
        if mutator.below(2) == 0 {
            let frame = mutator.one(&clients).clone();
            if let Some(text) = text_of(&mut mutator, frame) {
                judge::client_frame(&text);
            }
        } else {
            let mut frame = server_fields();
            frame["type"] = (*mutator.one(ServerFrame::TYPES)).into();
            if let Some(text) = text_of(&mut mutator, frame) {
                taken += u64::from(judge::server_frame(&text));
            }
        }
    });
    assert!(
        played < 1_000 || taken > played / 100,
        "{taken} of {played}: nearly everything is refused early"
    );
}

//! The frame parsers on arbitrary bytes (`cargo xtask fuzz`): they never panic, refuse with their codes, and what they
//! take reads back as it was.

use super::*;
use crate::frame::{
    examples, judge,
    spoil::{Spoiler, play, server_fields},
};
use serde_json::Value;

/// Cases that failed once.
const FOUND: [u64; 0] = [];

/// What arrived, if it is text: a connection with anything else is closed.
fn text_of(spoiler: &mut Spoiler, mut frame: Value) -> Option<String> {
    for _ in 0..spoiler.below(4) {
        spoiler.value(&mut frame);
    }
    let mut bytes = frame.to_string().into_bytes();
    if spoiler.below(3) == 0 {
        spoiler.bytes(&mut bytes);
    }
    String::from_utf8(bytes).ok()
}

#[test]
fn fuzz_frames_of_both_directions() {
    let (clients, mut taken) = (examples(), 0_u64);
    let played = play(&FOUND, 20_000, |seed| {
        let mut spoiler = Spoiler::new(seed);
        if spoiler.below(2) == 0 {
            let frame = spoiler.one(&clients).clone();
            if let Some(text) = text_of(&mut spoiler, frame) {
                judge::client_frame(&text);
            }
        } else {
            let mut frame = server_fields();
            frame["type"] = (*spoiler.one(ServerFrame::TYPES)).into();
            if let Some(text) = text_of(&mut spoiler, frame) {
                taken += u64::from(judge::server_frame(&text));
            }
        }
    });
    assert!(
        played < 1_000 || taken > played / 100,
        "{taken} of {played}: nearly everything is refused early"
    );
}

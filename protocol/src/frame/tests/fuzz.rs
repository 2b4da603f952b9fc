//! The frame parsers on arbitrary bytes (`cargo xtask fuzz`): they never panic, refuse with their codes, and what they
//! take reads back as it was.

use super::*;
use crate::{
    EventContent, NewEvent,
    frame::{
        examples,
        spoil::{Spoiler, play, server_fields},
    },
    limits,
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

fn from_client(text: &str) {
    let received = match ClientFrame::decode(text) {
        Ok(received) => received,
        Err(error) => {
            assert!(matches!(error.code, ErrorCode::Invalid | ErrorCode::Unsupported), "{text}");
            return;
        }
    };
    assert!(depth_is_within(text, limits::JSON_DEPTH_MAX), "{text}");
    let again = ClientFrame::decode(&received.frame.encode(received.request)).unwrap();
    assert_eq!(again, received, "{text}");
    if let ClientFrame::Send(send) = received.frame {
        for event in send.events {
            let Ok(event) = serde_json::from_value::<NewEvent>(event) else { continue };
            let Ok(content) = EventContent::parse(&event.kind, event.target, &event.body) else { continue };
            let (kind, target, body) = content.to_wire();
            assert_eq!(EventContent::parse(kind, target, &body).unwrap(), content, "{text}");
        }
    }
}

fn from_server(text: &str) -> bool {
    let Ok(received) = ServerFrame::decode(text) else { return false };
    let again = ServerFrame::decode(&received.frame.encode()).unwrap();
    assert_eq!(again.frame, received.frame, "{text}");
    true
}

#[test]
fn fuzz_frames_of_both_directions() {
    let (clients, mut taken) = (examples(), 0_u64);
    let played = play(&FOUND, 20_000, |seed| {
        let mut spoiler = Spoiler::new(seed);
        if spoiler.below(2) == 0 {
            let frame = spoiler.one(&clients).clone();
            if let Some(text) = text_of(&mut spoiler, frame) {
                from_client(&text);
            }
        } else {
            let mut frame = server_fields();
            frame["type"] = (*spoiler.one(ServerFrame::TYPES)).into();
            if let Some(text) = text_of(&mut spoiler, frame) {
                taken += u64::from(from_server(&text));
            }
        }
    });
    assert!(
        played < 1_000 || taken > played / 100,
        "{taken} of {played}: nearly everything is refused early"
    );
}

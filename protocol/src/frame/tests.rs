mod bad;
mod fuzz;

use super::*;
use crate::{ConversationId, ErrorCode, Seq};
use serde_json::json;

fn refused(text: &str) -> (Option<u64>, ErrorCode) {
    let error = ClientFrame::decode(text).unwrap_err();
    (error.reply_to, error.code)
}

#[test]
fn bad_frames_get_the_specified_code() {
    assert_eq!(refused("{"), (None, ErrorCode::Invalid));
    assert_eq!(refused("[]"), (None, ErrorCode::Invalid));
    assert_eq!(refused("{}"), (None, ErrorCode::Invalid));
    assert_eq!(refused(r#"{"type":7,"request":4}"#), (Some(4), ErrorCode::Invalid));
    assert_eq!(refused(r#"{"type":"poke","request":4}"#), (Some(4), ErrorCode::Unsupported));
    assert_eq!(refused(r#"{"type":"heads","request":0}"#), (None, ErrorCode::Invalid));
    assert_eq!(refused(r#"{"type":"heads","request":-1}"#), (None, ErrorCode::Invalid));
    assert_eq!(refused(r#"{"type":"typing","request":9,"on":true}"#), (Some(9), ErrorCode::Invalid));
    assert_eq!(refused("{\"type\":\"he\\ud800ads\"}"), (None, ErrorCode::Invalid));
    let deep = format!(r#"{{"type":"heads","x":{}{}}}"#, "[".repeat(64), "]".repeat(64));
    assert_eq!(refused(&deep), (None, ErrorCode::Invalid));
}

#[test]
fn unknown_top_level_fields_are_ignored() {
    let frame = ClientFrame::decode(r#"{"type":"heads","later":1,"full":true,"request":3}"#).unwrap();
    assert_eq!(frame.request, Some(3));
    assert_eq!(frame.frame, ClientFrame::Heads(HeadsRequest { full: Some(true) }));
}

#[test]
fn numbers_stay_below_two_to_the_53() {
    let id = ConversationId::mint();
    let pull = |from: &str| {
        format!(r#"{{"type":"pull","conversation":"{id}","from":{from},"direction":"forward","max":50}}"#)
    };
    assert!(ClientFrame::decode(&pull("9007199254740991")).is_ok());
    for bad in ["9007199254740992", "9223372036854775808", "-1", "1.5", "1e3", "\"1\"", "NaN"] {
        assert_eq!(refused(&pull(bad)).1, ErrorCode::Invalid, "{bad}");
    }
}

#[test]
fn frames_read_back_what_was_written() {
    let conversation = ConversationId::mint();
    let frame = ClientFrame::Typing(TypingChange { conversation, on: true });
    let text = frame.encode(Some(12));
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&text).unwrap(),
        json!({"type": "typing", "conversation": conversation, "on": true, "request": 12})
    );
    let read = ClientFrame::decode(&text).unwrap();
    assert_eq!((read.frame, read.request), (frame, Some(12)));

    let hint = ServerFrame::Hint(Hint { heads: vec![(conversation, Seq(7))] });
    assert_eq!(ServerFrame::decode(&hint.encode()).unwrap().frame, hint);
}

#[test]
fn presence_is_a_short_array() {
    let user = crate::UserId::mint();
    let online =
        crate::ephemeral::Presence { user, state: crate::ephemeral::PresenceState::Online, last_seen: None };
    let text = serde_json::to_string(&online).unwrap();
    assert_eq!(text, format!(r#"["{user}","online"]"#));
    assert_eq!(serde_json::from_str::<crate::ephemeral::Presence>(&text).unwrap(), online);
}

#[test]
fn sec_065_invisible_and_bidi_characters_in_a_context_are_invalid() {
    let context = |id: &str, link: &str| Context {
        kind: "job".to_owned(),
        id: id.to_owned(),
        title: None,
        link: Some(link.to_owned()),
    };
    let link = "https://example.org/jobs/7";
    assert_eq!(context("7 👩‍🔧", link).check(), Ok(()));
    for bad in ['\u{202e}', '\u{2066}', '\u{200b}', '\u{200d}', '\u{feff}', '\u{2028}', '\u{e0041}', '\u{7}']
    {
        assert_eq!(context(&format!("7{bad}8"), link).check(), Err(ErrorCode::Invalid), "id {bad:?}");
        assert_eq!(context("7", &format!("{link}{bad}8")).check(), Err(ErrorCode::Invalid), "link {bad:?}");
    }
    assert_eq!(context(&"é".repeat(128), link).check(), Ok(()));
    assert_eq!(context(&"é".repeat(129), link).check(), Err(ErrorCode::Invalid));
}

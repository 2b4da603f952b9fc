//! Every frame type with missing, extra, wrongly typed, over-size, deeply nested and NUL content. What is sound in
//! form and wrong in meaning (a list that is too long, a text that is empty) is the server's to refuse.

use super::*;
use crate::{
    frame::{example, optional},
    limits,
};
use serde_json::Value;

/// A value of every form that JSON has, and the forms of ours that come closest to another.
fn values() -> Vec<Value> {
    vec![
        json!(null),
        json!(true),
        json!(-1),
        json!(1.5),
        json!(9_007_199_254_740_992_u64),
        json!(3),
        json!(""),
        json!("\u{0}"),
        json!("x".repeat(limits::INBOUND_FRAME_BYTES_MAX)),
        json!([]),
        json!([null]),
        json!([[[]]]),
        json!({}),
        json!({"a": {"b": null}}),
    ]
}

/// Whether a value of this form may stand where the sound one stands.
fn has_the_form_of(value: &Value, sound: &Value, is_optional: bool) -> bool {
    match (value, sound) {
        (Value::Null, _) => is_optional,
        (Value::Bool(_), Value::Bool(_)) => true,
        (Value::Number(number), Value::Number(_)) => number.as_u64().is_some_and(|number| number < 1 << 32),
        // Ids, directions and states are texts of a narrower form, and none of these is one.
        (Value::String(_), Value::String(sound)) => ["e", "c", "t", "test/1"].contains(&sound.as_str()),
        // What lists hold is narrower; lists of events are read one by one, by the server.
        (Value::Array(items), Value::Array(sound)) => items.is_empty() || sound.iter().all(Value::is_object),
        _ => false,
    }
}

/// Every field of every type.
fn each_field() -> Vec<(&'static str, String, Value)> {
    let of = |kind: &&'static str| {
        let frame = example(kind);
        let names: Vec<_> = frame.as_object().unwrap().keys().cloned().collect();
        let fields = names.into_iter().filter(|name| name != "type" && name != "request");
        fields.map(|field| (*kind, field, frame.clone())).collect::<Vec<_>>()
    };
    ClientFrame::TYPES.iter().flat_map(of).collect()
}

fn code(frame: &Value) -> Result<(), (Option<u64>, ErrorCode)> {
    ClientFrame::decode(&frame.to_string()).map(drop).map_err(|error| (error.reply_to, error.code))
}

const REFUSED: Result<(), (Option<u64>, ErrorCode)> = Err((Some(7), ErrorCode::Invalid));

#[test]
fn every_type_has_a_sound_frame_and_takes_more_than_it_knows() {
    for kind in ClientFrame::TYPES {
        let mut frame = example(kind);
        assert_eq!(code(&frame), Ok(()), "{kind}");
        frame["later"] = json!({"deep": [[[null]]]});
        assert_eq!(code(&frame), Ok(()), "{kind} with an extra field");
        let read = ClientFrame::decode(&frame.to_string()).unwrap();
        assert_eq!(read.frame.type_name(), *kind);
        let again = ClientFrame::decode(&read.frame.encode(read.request)).unwrap();
        assert_eq!(again, read, "{kind} reads back what it writes");
    }
}

#[test]
fn every_missing_field_is_invalid_unless_it_is_optional() {
    for (kind, field, mut frame) in each_field() {
        frame.as_object_mut().unwrap().remove(&field);
        let expected = if optional(kind).contains(&field.as_str()) { Ok(()) } else { REFUSED };
        assert_eq!(code(&frame), expected, "{kind} without {field}");
    }
}

#[test]
fn every_field_of_a_wrong_form_is_invalid() {
    let mut refused = 0;
    for (kind, field, frame) in each_field() {
        for value in values() {
            let is_optional = optional(kind).contains(&field.as_str()) && field != "capabilities";
            // An event is read by the server, so that a bad one is answered by itself.
            let is_event = field == "first";
            let is_sound = is_event || has_the_form_of(&value, &frame[&field], is_optional);
            let mut frame = frame.clone();
            frame[&field] = value.clone();
            let shown: String = value.to_string().chars().take(40).collect();
            assert_eq!(code(&frame), if is_sound { Ok(()) } else { REFUSED }, "{kind}.{field} = {shown}");
            refused += u32::from(!is_sound);
        }
    }
    assert!(refused > 400, "{refused}");
}

#[test]
fn every_field_nested_too_deeply_is_invalid_before_it_is_read() {
    for (kind, field, frame) in each_field() {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let deep = format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
            let mut frame = frame.clone();
            frame[&field] = json!("HERE");
            let text = frame.to_string().replace("\"HERE\"", &deep);
            let error = ClientFrame::decode(&text).unwrap_err();
            assert_eq!((error.reply_to, error.code), (None, ErrorCode::Invalid), "{kind}.{field}");
        }
    }
}

#[test]
fn every_text_with_a_lone_surrogate_is_invalid() {
    for (kind, field, frame) in each_field() {
        let mut frame = frame;
        frame[&field] = json!("HERE");
        let text = frame.to_string().replace("HERE", "\\ud800");
        let error = ClientFrame::decode(&text).unwrap_err();
        assert_eq!(error.code, ErrorCode::Invalid, "{kind}.{field}");
    }
}

#[test]
fn every_type_that_is_cut_or_continued_is_invalid() {
    for kind in ClientFrame::TYPES {
        let text = example(kind).to_string();
        for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
            let error = ClientFrame::decode(&text[..end]).unwrap_err();
            assert_eq!((error.reply_to, error.code), (None, ErrorCode::Invalid), "{kind} cut at {end}");
        }
        for more in ["{}", "x", "\0", "]"] {
            assert!(ClientFrame::decode(&format!("{text}{more}")).is_err(), "{kind} with {more:?} behind it");
        }
        let twice = text.replacen('{', "{\"type\":\"poke\",", 1);
        assert!(ClientFrame::decode(&twice).is_err(), "{kind} with two types");
    }
}

#[test]
fn every_request_number_of_a_wrong_form_is_invalid() {
    for kind in ClientFrame::TYPES {
        for request in
            [json!(0), json!(-1), json!(1.5), json!("7"), json!([7]), json!(9_007_199_254_740_992_u64)]
        {
            let mut frame = example(kind);
            frame["request"] = request.clone();
            assert_eq!(code(&frame), Err((None, ErrorCode::Invalid)), "{kind} {request}");
        }
    }
}

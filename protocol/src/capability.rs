//! Optional abilities, by name: `hello` lists what a client understands, `welcome` what a server offers.
//!
//! Everything that version 1 demands has no name. An ability that is not offered is not used: the server answers
//! `unsupported`, and a client does not send it.

use crate::{ErrorCode, EventContent};

/// Messages with files.
pub const FILES: &str = "files.v1";
/// Messages that name people.
pub const MENTIONS: &str = "mentions.v1";
/// Messages that were forwarded.
pub const FORWARD: &str = "forward.v1";

/// The abilities that an event needs.
pub fn needed(content: &EventContent) -> impl Iterator<Item = &'static str> {
    let message = if let EventContent::Message(message) = content { Some(message) } else { None };
    let has = |name: &'static str, is_there: bool| is_there.then_some(name);
    [
        has(FILES, message.is_some_and(|body| body.attachments.is_some())),
        has(MENTIONS, message.is_some_and(|body| body.mentions.is_some())),
        has(FORWARD, message.is_some_and(|body| body.forwarded.is_some())),
    ]
    .into_iter()
    .flatten()
}

/// Checks that an event needs only what is offered.
///
/// # Errors
/// `unsupported` if it needs more.
pub fn check(content: &EventContent, is_offered: impl Fn(&str) -> bool) -> Result<(), ErrorCode> {
    if needed(content).all(is_offered) { Ok(()) } else { Err(ErrorCode::Unsupported) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_field_needs_its_ability_even_when_it_is_empty() {
        let content = |body: Value| EventContent::parse("message", None, &body).unwrap();
        let from = crate::UserId::mint();
        for (name, field, value) in [
            (FILES, "attachments", json!([])),
            (MENTIONS, "mentions", json!([])),
            (FORWARD, "forwarded", json!({ "from": from })),
        ] {
            let content = content(json!({ "text": "x", field: value }));
            assert_eq!(needed(&content).collect::<Vec<_>>(), [name]);
            assert_eq!(check(&content, |_| false), Err(ErrorCode::Unsupported));
            assert_eq!(check(&content, |offered| offered == name), Ok(()));
        }
        assert_eq!(check(&content(json!({ "text": "x" })), |_| false), Ok(()));
        assert_eq!(check(&EventContent::Delete { target: crate::EventId::mint() }, |_| false), Ok(()));
    }
}

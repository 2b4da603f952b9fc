//! What every text has to be, in whatever event it comes (W5).

use crate::{ErrorCode, limits};
use serde_json::Value;
use unicode_segmentation::UnicodeSegmentation;

/// Checks a message's text.
///
/// # Errors
/// `invalid` if empty or with NUL, `too_large` above [`limits::MESSAGE_TEXT_CHARS_MAX`].
pub fn check_text(text: &str) -> Result<(), ErrorCode> {
    if text.is_empty() || text.contains('\0') {
        return Err(ErrorCode::Invalid);
    }
    if text.chars().nth(limits::MESSAGE_TEXT_CHARS_MAX).is_some() {
        return Err(ErrorCode::TooLarge);
    }
    Ok(())
}

/// Checks an emoji: exactly one grapheme cluster, no white space or control characters.
///
/// # Errors
/// `invalid`, or `too_large` above [`limits::EMOJI_BYTES_MAX`].
pub fn check_emoji(emoji: &str) -> Result<(), ErrorCode> {
    if emoji.len() > limits::EMOJI_BYTES_MAX {
        return Err(ErrorCode::TooLarge);
    }
    if emoji.graphemes(true).count() != 1 || emoji.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(ErrorCode::Invalid);
    }
    Ok(())
}

/// Whether any text within has a NUL.
pub(super) fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(map) => map.iter().any(|(key, value)| key.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_emoji_is_one_grapheme() {
        assert_eq!(check_emoji("👍🏽"), Ok(()));
        assert_eq!(check_emoji("👩‍👩‍👧‍👦"), Ok(()));
        assert_eq!(check_emoji("👍👍"), Err(ErrorCode::Invalid));
        assert_eq!(check_emoji(""), Err(ErrorCode::Invalid));
        assert_eq!(check_emoji(" "), Err(ErrorCode::Invalid));
    }
}

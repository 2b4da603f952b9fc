//! What every text has to be, in whatever event it comes (W5).

use crate::{ErrorCode, limits, text::is_invisible};
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

/// Checks an emoji: exactly one grapheme cluster that shows something, no white space, control or bidi characters.
///
/// # Errors
/// `invalid`, or `too_large` above [`limits::EMOJI_BYTES_MAX`].
pub fn check_emoji(emoji: &str) -> Result<(), ErrorCode> {
    if emoji.len() > limits::EMOJI_BYTES_MAX {
        return Err(ErrorCode::TooLarge);
    }
    let is_shown = !emoji.chars().all(is_invisible) && !emoji.chars().any(is_direction);
    let is_plain = !emoji.chars().any(|c| c.is_control() || c.is_whitespace());
    if emoji.graphemes(true).count() != 1 || !is_plain || !is_shown {
        return Err(ErrorCode::Invalid);
    }
    Ok(())
}

/// Turns the direction of the text beside it.
const fn is_direction(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
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
        for hidden in ["\u{200b}", "\u{202e}", "\u{2066}", "\u{fe0f}", "\u{3164}", "👍\u{200f}"] {
            assert_eq!(check_emoji(hidden), Err(ErrorCode::Invalid), "{hidden:?}");
        }
    }
}

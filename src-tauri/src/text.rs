//! Checks of text that came from outside.

/// Characters that change how the text around them is shown: a link or a notification with them is not what it seems.
pub(crate) const fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether text holds a control character, or one that hides or reorders others.
pub(crate) fn has_hidden(text: &str) -> bool {
    text.chars()
        .any(|c| c.is_control() || is_bidi_control(c) || matches!(c, '\u{200b}'..='\u{200d}' | '\u{feff}'))
}

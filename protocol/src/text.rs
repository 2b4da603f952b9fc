//! What names and titles may hold: text that stands beside other text and must not change how that is shown.

use crate::{ErrorCode, limits};
use unicode_normalization::char::is_combining_mark;

/// Combining marks in a row: more make a name run over its neighbours.
const MARKS_MAX: usize = 4;
/// The emoji that a sequence of tags turns into a flag.
const BLACK_FLAG: char = '\u{1f3f4}';
/// Ends a sequence of tags.
const CANCEL_TAG: char = '\u{e007f}';
const JOINER: char = '\u{200d}';

/// Checks a display name or a device's name: 1 to `chars_max` Unicode scalar values, not white space alone.
///
/// # Errors
/// `invalid` if it is empty or as [`check_line`] says, `too_large` above `chars_max`.
pub fn check_name(text: &str, chars_max: usize) -> Result<(), ErrorCode> {
    if text.trim().is_empty() {
        return Err(ErrorCode::Invalid);
    }
    check_line(text, chars_max)
}

/// Checks the title of a conversation; an empty one is none.
///
/// # Errors
/// `invalid` as [`check_line`] says, `too_large` above [`limits::TITLE_CHARS_MAX`].
pub fn check_title(text: &str) -> Result<(), ErrorCode> {
    check_line(text, limits::TITLE_CHARS_MAX)
}

/// Checks text of one line: no control characters or line separators, no bidi overrides or isolates, no invisible
/// characters outside of emoji sequences, at most 4 combining marks in a row.
///
/// # Errors
/// `invalid`, or `too_large` above `chars_max` Unicode scalar values.
pub fn check_line(text: &str, chars_max: usize) -> Result<(), ErrorCode> {
    if text.chars().nth(chars_max).is_some() {
        return Err(ErrorCode::TooLarge);
    }
    let chars: Vec<char> = text.chars().collect();
    let (mut marks, mut at) = (0, 0);
    while let Some(&one) = chars.get(at) {
        let emoji = emoji_len(&chars[at..]);
        if emoji > 0 {
            (marks, at) = (0, at + emoji);
            continue;
        }
        marks = if is_combining_mark(one) { marks + 1 } else { 0 };
        if marks > MARKS_MAX || one.is_control() || is_line_end(one) || is_invisible(one) {
            return Err(ErrorCode::Invalid);
        }
        at += 1;
    }
    Ok(())
}

const fn is_line_end(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}')
}

/// Unicode's Default_Ignorable_Code_Point: bidi controls, zero-width characters, fillers, variation selectors, tags. And
/// the Braille pattern without dots, which looks like a space and is none.
pub(crate) const fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{2800}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

/// How many characters of the beginning are one emoji sequence that has an invisible character; 0 for anything else.
fn emoji_len(chars: &[char]) -> usize {
    if let [key, '\u{fe0f}', '\u{20e3}', ..] = chars
        && matches!(key, '0'..='9' | '#' | '*')
    {
        return 3;
    }
    let mut len = element_len(chars);
    while len > 0 && chars.get(len) == Some(&JOINER) {
        let next = element_len(&chars[len + 1..]);
        if next == 0 {
            break;
        }
        len += 1 + next;
    }
    len
}

/// How many characters of the beginning are one emoji with its presentation, skin tone or tags; 0 for anything else.
fn element_len(chars: &[char]) -> usize {
    let Some(&first) = chars.first().filter(|first| is_emoji(**first)) else { return 0 };
    let mut len = 1;
    if matches!(chars.get(len), Some('\u{fe0e}' | '\u{fe0f}')) {
        len += 1;
    }
    if matches!(chars.get(len), Some('\u{1f3fb}'..='\u{1f3ff}')) {
        len += 1;
    }
    if first == BLACK_FLAG {
        let tags = chars[len..].iter().take_while(|c| matches!(c, '\u{e0020}'..='\u{e007e}')).count();
        if tags > 0 && chars.get(len + tags) == Some(&CANCEL_TAG) {
            len += tags + 1;
        }
    }
    len
}

/// Whether a character may begin an emoji. Wider than Unicode's table: symbols that are none are harmless here.
const fn is_emoji(c: char) -> bool {
    matches!(
        c,
        '\u{a9}'
            | '\u{ae}'
            | '\u{203c}'
            | '\u{2049}'
            | '\u{2122}'
            | '\u{2139}'
            | '\u{2190}'..='\u{21ff}'
            | '\u{2300}'..='\u{23ff}'
            | '\u{2460}'..='\u{24ff}'
            | '\u{25a0}'..='\u{27bf}'
            | '\u{2900}'..='\u{297f}'
            | '\u{2b00}'..='\u{2bff}'
            | '\u{3030}'
            | '\u{303d}'
            | '\u{3297}'
            | '\u{3299}'
            | '\u{1f000}'..='\u{1faff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_all_scripts_and_emoji_pass() {
        for good in [
            "Ada Lovelace",
            "Žluťoučký kůň",
            "محمد",
            "שלום",
            "สวัสดี",
            "क्षत्रिय",
            "Nguyễn Thị Hường",
            "김철수",
            "Zoë \u{1f469}\u{200d}\u{1f469}\u{200d}\u{1f467}",
            "\u{1f44d}\u{1f3fd} team",
            "I \u{2764}\u{fe0f} Rust",
            "\u{1f3f3}\u{fe0f}\u{200d}\u{1f308}",
            "\u{1f3f4}\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}",
            "1\u{fe0f}\u{20e3}",
            "a\u{301}\u{302}\u{303}\u{304}",
            "\u{1f1e8}\u{1f1ff}",
        ] {
            assert_eq!(check_name(good, 64), Ok(()), "{good:?}");
            assert_eq!(check_title(good), Ok(()), "{good:?}");
        }
        assert_eq!(check_title(""), Ok(()));
    }

    #[test]
    fn text_that_hides_or_reorders_is_refused() {
        for bad in [
            "a\0b",
            "a\nb",
            "a\u{85}b",
            "a\u{2028}b",
            "a\u{202e}gpj.exe",
            "a\u{2066}b\u{2069}",
            "a\u{200f}b",
            "ada\u{200b}",
            "a\u{200d}b",
            "ad\u{ad}a",
            "\u{feff}ada",
            "\u{2800}",
            "\u{3164}",
            "ada\u{fe0f}",
            "1\u{fe0f}",
            "\u{1f44d}\u{200d}",
            "\u{1f44d}\u{200d}x",
            "\u{1f44d}\u{fe0f}\u{fe0f}",
            "\u{1f3f4}\u{e0067}\u{e0062}",
            "a\u{e0061}",
            "a\u{301}\u{302}\u{303}\u{304}\u{305}",
        ] {
            assert_eq!(check_name(bad, 64), Err(ErrorCode::Invalid), "{bad:?}");
            assert_eq!(check_title(bad), Err(ErrorCode::Invalid), "{bad:?}");
        }
    }

    #[test]
    fn names_keep_their_length() {
        for empty in ["", " ", "\u{a0}\u{3000}"] {
            assert_eq!(check_name(empty, 64), Err(ErrorCode::Invalid), "{empty:?}");
        }
        assert_eq!(check_name(&"č".repeat(64), 64), Ok(()));
        assert_eq!(check_name(&"č".repeat(65), 64), Err(ErrorCode::TooLarge));
        assert_eq!(check_title(&"č".repeat(128)), Ok(()));
        assert_eq!(check_title(&"č".repeat(129)), Err(ErrorCode::TooLarge));
    }
}

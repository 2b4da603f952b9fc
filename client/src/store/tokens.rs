//! How text becomes tokens, in one place for the search index, the look at the newest messages, queries and snippets.
//!
//! A token is a run of letters and digits; one character of a script that sets no spaces between words (or, as Korean,
//! may be searched inside); or one symbol (`+`, `#`, `€`, an emoji). Case, accents and compatible forms make no
//! difference. Other punctuation and control characters only separate.
//!
//! The index stores [`indexed`] text. Its own tokeniser splits it at spaces and changes nothing, so a phrase of tokens
//! is found in the index exactly where it is a part of the indexed text.

use std::ops::Range;
use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

/// ASCII characters that are tokens of their own; the schema names the same ones.
const SYMBOLS: &[u8] = b"#$%&*+/<=>@\\^_`|~";

/// A token, and where it is in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    /// Without case and accents.
    pub(super) text: String,
    /// For each of its characters the bytes of the text that it is made from.
    pub(super) places: Vec<Range<usize>>,
}

/// The text's tokens with one space between two.
pub(super) fn indexed(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 4);
    scan(text, |c, is_first, _| {
        if is_first && !out.is_empty() {
            out.push(' ');
        }
        out.push(c);
    });
    out
}

/// The text's tokens with their places.
pub(super) fn of(text: &str) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    scan(text, |c, is_first, place| match tokens.last_mut().filter(|_| !is_first) {
        Some(token) => {
            token.text.push(c);
            token.places.push(place);
        }
        None => tokens.push(Token { text: c.to_string(), places: vec![place] }),
    });
    tokens
}

/// What a character is in a text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// A part of a word.
    Word,
    /// A token by itself.
    Alone,
    /// Not in a token: it ends one.
    Separator,
}

/// Calls with each character of each token, whether it is the token's first, and the bytes that it is made from.
fn scan(text: &str, mut found: impl FnMut(char, bool, Range<usize>)) {
    let mut is_in_word = false;
    let mut take = |c: char, place: Range<usize>| {
        let class = class(c);
        if class != Class::Separator {
            found(c, !(is_in_word && class == Class::Word), place);
        }
        is_in_word = class == Class::Word;
    };
    let mut chars = text.char_indices().peekable();
    while let Some((start, c)) = chars.next() {
        // A character and what is written on it belong together, also where they are written apart.
        let mut end = start + c.len_utf8();
        while let Some((at, next)) = chars.next_if(|(_, next)| joins(*next)) {
            end = at + next.len_utf8();
        }
        if c.is_ascii() {
            take(c.to_ascii_lowercase(), start..end);
        } else if !is_ignored(c) {
            folded(&text[start..end], |c| take(c, start..end));
        }
    }
}

/// Without case, accents and compatible forms.
fn folded(cluster: &str, mut found: impl FnMut(char)) {
    for c in cluster.nfkc() {
        if stands_alone(c) {
            found(c);
            continue;
        }
        let plain = std::iter::once(c).nfkd().filter(|c| !is_accent(*c) && !is_ignored(*c));
        for c in plain.flat_map(char::to_lowercase) {
            found(if c == 'ς' { 'σ' } else { c });
        }
    }
}

fn class(c: char) -> Class {
    if c.is_ascii() {
        return match c as u8 {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => Class::Word,
            c if SYMBOLS.contains(&c) => Class::Alone,
            _ => Class::Separator,
        };
    }
    if stands_alone(c) || is_symbol(c) {
        Class::Alone
    } else if c.is_alphanumeric() || is_combining_mark(c) {
        Class::Word
    } else {
        Class::Separator
    }
}

/// Whether a character is read with the one before it. ASCII characters never are.
fn joins(c: char) -> bool {
    !c.is_ascii() && (is_combining_mark(c) || is_ignored(c) || matches!(c as u32, 0x1160..=0x11FF))
}

/// Marks that the same word may be written with and without: accents, and vowel points of Hebrew and Arabic. Those of
/// Indian scripts are vowels, and make another word.
fn is_accent(c: char) -> bool {
    matches!(c as u32,
        0x0300..=0x036F
        | 0x0483..=0x0489
        | 0x0591..=0x05C7
        | 0x0610..=0x061A
        | 0x064B..=0x065F
        | 0x0670
        | 0x06D6..=0x06ED
        | 0x1AB0..=0x1AFF
        | 0x1DC0..=0x1DFF
        | 0x20D0..=0x20FF
        | 0x3099..=0x309A
        | 0xFE20..=0xFE2F)
        && is_combining_mark(c)
}

/// Characters that nobody sees: joiners, directions, variants.
fn is_ignored(c: char) -> bool {
    matches!(c as u32,
        0x00AD
        | 0x200B..=0x200F
        | 0x202A..=0x202E
        | 0x2060..=0x206F
        | 0xFE00..=0xFE0F
        | 0xFEFF
        | 0xE0000..=0xE0FFF)
}

/// Whether words of a character's script are not divided by spaces (or, as in Korean, may be searched inside).
fn stands_alone(c: char) -> bool {
    matches!(c as u32,
        0x0E00..=0x0EFF          // Thai, Lao
        | 0x1000..=0x109F        // Myanmar
        | 0x1780..=0x17FF        // Khmer
        | 0x2E80..=0x2FDF        // radicals
        | 0x3040..=0x3098        // Hiragana
        | 0x309B..=0x30FF        // Katakana
        | 0x3100..=0x31FF        // Bopomofo and others
        | 0x3400..=0x4DBF
        | 0x4E00..=0x9FFF        // Han
        | 0xAC00..=0xD7AF        // Hangul
        | 0xF900..=0xFAFF
        | 0x20000..=0x3FFFF)
}

/// Signs that mean something by themselves: currencies, units, arithmetic, arrows, pictures, private ones.
fn is_symbol(c: char) -> bool {
    matches!(c as u32,
        0x00A2..=0x00A7
        | 0x00A9
        | 0x00AC
        | 0x00AE
        | 0x00B0..=0x00B1
        | 0x00B6
        | 0x00D7
        | 0x00F7
        | 0x2030..=0x2031
        | 0x20A0..=0x20CF
        | 0x2100..=0x2101
        | 0x2103..=0x214F
        | 0x2190..=0x2BFF
        | 0xE000..=0xF8FF
        | 0xFFFC..=0xFFFD
        | 0x1F000..=0x1FAFF
        | 0xF0000..=0x10FFFF)
        && !c.is_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a22_scripts_symbols_and_words_are_set_apart() {
        for (text, wanted) in [
            ("Ask Marvell: 71,500", "ask marvell 71 500"),
            ("我的iPhone坏了", "我 的 iphone 坏 了"),
            ("C++ and C#", "c + + and c #"),
            ("well-known, \"quoted\" (c)", "well known quoted c"),
            ("Žluťoučký kůň", "zlutoucky kun"),
            ("e\u{301}\u{323}te", "ete"),
            ("İstanbul ﬃ Ⅷ ½ ＡＢＣ", "istanbul ffi viii 1 2 abc"),
            ("ΟΔΟΣ οδός", "οδοσ οδοσ"),
            ("מְדַבֵּר مُحَمَّد", "מדבר محمد"),
            ("की का", "की का"),
            ("\u{1112}\u{116c}의", "회 의"),
            ("が か\u{3099}", "が が"),
            ("👍🏽 👨\u{200d}👩", "👍 🏽 👨 👩"),
            ("❤\u{fe0f}5\u{fe0f}\u{20e3}", "❤ 5"),
            ("50% of 9€ @bo a_b", "50 % of 9 € @ bo a _ b"),
            ("a\u{ad}b a\u{200b}b \u{202e}abc", "ab ab abc"),
            ("?! … — \0", ""),
        ] {
            assert_eq!(indexed(text), wanted, "{text:?}");
            let tokens: Vec<_> = of(text).into_iter().map(|token| token.text).collect();
            assert_eq!(tokens.join(" "), wanted, "{text:?}");
        }
    }

    #[test]
    fn a_token_says_where_each_of_its_characters_is() {
        let tokens = of("xé ﬃ");
        assert_eq!(tokens[0].places, [0..1, 1..3]);
        assert_eq!(tokens[1].places, [4..7, 4..7, 4..7]);
    }

    #[test]
    fn the_schema_names_the_same_symbols() {
        let step = include_str!("schema/0004_tokens.sql");
        let named = step.split_once("tokenchars '").and_then(|(_, rest)| rest.split_once('\'')).unwrap().0;
        assert_eq!(named.as_bytes(), SYMBOLS);
    }
}

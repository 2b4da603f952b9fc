//! What is shown of a message that was found.

use super::Query;
use crate::{
    store::{messages, tokens},
    view::SnippetPart,
};

/// Characters shown before the first hit, and in all.
const SNIPPET_BEFORE: usize = 40;
const SNIPPET_CHARS: usize = 160;

/// The text around the first hit, in parts.
pub(super) fn snippet(text: &str, query: &Query) -> Vec<SnippetPart> {
    let text = messages::flat(text);
    let is_hit = hits_in(&text, query);
    let chars: Vec<(char, bool)> = text.char_indices().map(|(at, c)| (c, is_hit[at])).collect();
    let first = chars.iter().position(|(_, is_hit)| *is_hit).unwrap_or(0);
    let start = first.saturating_sub(SNIPPET_BEFORE);
    let end = (start + SNIPPET_CHARS).min(chars.len());
    let mut parts: Vec<SnippetPart> = Vec::new();
    if start > 0 {
        parts.push(SnippetPart { text: "…".to_owned(), hit: false });
    }
    for &(c, hit) in &chars[start..end] {
        match parts.last_mut() {
            Some(part) if part.hit == hit => part.text.push(c),
            _ => parts.push(SnippetPart { text: c.to_string(), hit }),
        }
    }
    if end < chars.len() {
        match parts.last_mut() {
            Some(part) if !part.hit => part.text.push('…'),
            _ => parts.push(SnippetPart { text: "…".to_owned(), hit: false }),
        }
    }
    parts
}

/// For each byte of a text whether it is a part of what was looked for.
fn hits_in(text: &str, query: &Query) -> Vec<bool> {
    let mut is_hit = vec![false; text.len()];
    let tokens = tokens::of(text);
    for phrase in &query.phrases {
        let wanted: Vec<&str> = phrase.split_whitespace().collect();
        for part in tokens.windows(wanted.len()) {
            if let Some(end) = end_of_match(part, &wanted) {
                is_hit[part[0].places[0].start..end].fill(true);
            }
        }
    }
    for mark in &query.marks {
        for (at, _) in text.match_indices(mark.as_str()) {
            is_hit[at..at + mark.len()].fill(true);
        }
    }
    is_hit
}

/// Where the match of a phrase with as many tokens ends, if they match.
fn end_of_match(tokens: &[tokens::Token], wanted: &[&str]) -> Option<usize> {
    let ((last, rest), (wanted_last, wanted_rest)) = (tokens.split_last()?, wanted.split_last()?);
    let is_match = rest.iter().zip(wanted_rest).all(|(token, wanted)| token.text == *wanted)
        && last.text.starts_with(wanted_last);
    is_match.then(|| last.places[wanted_last.chars().count() - 1].end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(text: &str, query: &str) -> String {
        let parts = snippet(text, &Query::of(query));
        parts
            .iter()
            .map(|part| if part.hit { format!("[{}]", part.text) } else { part.text.clone() })
            .collect()
    }

    #[test]
    fn snippets_mark_what_was_searched() {
        assert_eq!(marked("Ask Marvell about it", "marvel"), "Ask [Marvel]l about it");
        assert_eq!(marked("Žluťoučký kůň", "zlut kun"), "[Žluť]oučký [kůň]");
        assert_eq!(marked("我们明天见面", "明天"), "我们[明天]见面");
        assert_eq!(marked("我的iPhone坏了", "iphone"), "我的[iPhone]坏了");
        assert_eq!(marked("c, C++ and C#", "c++"), "c, [C++] and C#");
        assert_eq!(marked("really?! yes", "?!"), "really[?!] yes");
        assert_eq!(marked("nothing here", "x"), "nothing here");
        let long = format!("{} needle {}", "a ".repeat(100), "b ".repeat(200));
        assert!(marked(&long, "needle").starts_with('…'));
        assert!(marked(&long, "needle").contains("[needle]"));
    }
}

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
    // The tokens as phrases are, each behind a space: they are found in time in proportion to the text alone.
    let (mut line, mut starts) = (String::new(), Vec::with_capacity(tokens.len()));
    for token in &tokens {
        starts.push(line.len());
        line.push(' ');
        line.push_str(&token.text);
    }
    for (at, phrase) in query.phrases.iter().enumerate() {
        if query.phrases[..at].contains(phrase) {
            continue;
        }
        let wanted = phrase.matches(' ').count();
        let last_chars = phrase.chars().rev().take_while(|c| *c != ' ').count();
        let mut first = 0;
        for (found, _) in line.match_indices(phrase.as_str()) {
            while starts[first] < found {
                first += 1;
            }
            let last = &tokens[first + wanted - 1];
            is_hit[tokens[first].places[0].start..last.places[last_chars - 1].end].fill(true);
        }
    }
    for (at, mark) in query.marks.iter().enumerate() {
        if query.marks[..at].contains(mark) {
            continue;
        }
        for (at, _) in text.match_indices(mark.as_str()) {
            is_hit[at..at + mark.len()].fill(true);
        }
    }
    is_hit
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

//! What is looked for: the words of a query as tokens, in the index and in texts.

use crate::store::tokens;

/// What of a query is searched for: its first characters, and of them the first words.
const QUERY_CHARS_MAX: usize = 1_000;
const QUERY_WORDS_MAX: usize = 32;

/// What is looked for.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::store) struct Query {
    /// The words, each as its tokens with a space before each of them. The last token is the beginning of one.
    pub(super) phrases: Vec<String>,
    /// Words without a token.
    pub(super) marks: Vec<String>,
}

impl Query {
    pub(in crate::store) fn of(text: &str) -> Self {
        let end = text.char_indices().nth(QUERY_CHARS_MAX).map_or(text.len(), |(at, _)| at);
        let mut query = Self { phrases: Vec::new(), marks: Vec::new() };
        for word in text[..end].split_whitespace().take(QUERY_WORDS_MAX) {
            let tokens = tokens::indexed(word);
            let mark = word.replace(char::is_control, "");
            if !tokens.is_empty() {
                query.phrases.push(format!(" {tokens}"));
            } else if !mark.is_empty() {
                query.marks.push(mark);
            }
        }
        query
    }

    /// Whether a text has all of it.
    pub(in crate::store) fn is_in(&self, text: &str) -> bool {
        if self.phrases.is_empty() {
            return self.has_marks(text);
        }
        let text_tokens = format!(" {}", tokens::indexed(text));
        self.phrases.iter().all(|phrase| text_tokens.contains(phrase)) && self.has_marks(text)
    }

    pub(super) fn has_marks(&self, text: &str) -> bool {
        self.marks.iter().all(|mark| text.contains(mark))
    }

    /// Whether the index knows all that is looked for at once: it keeps beginnings of two and three letters by
    /// themselves.
    pub(in crate::store) fn is_kept(&self) -> bool {
        let is_kept =
            |phrase: &String| !phrase[1..].contains(' ') && (3..=4).contains(&phrase.chars().count());
        self.phrases.iter().all(is_kept)
    }

    /// An FTS5 expression: each word quoted, so that nothing in it is an operator, and found by its beginning.
    pub(super) fn expression(&self) -> String {
        let quoted = self.phrases.iter().map(|phrase| format!("\"{}\"*", &phrase[1..]));
        quoted.collect::<Vec<_>>().join(" AND ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec_083_a23_no_input_is_an_operator() {
        assert_eq!(Query::of("a\"b NOT").expression(), "\"a b\"* AND \"not\"*");
    }

    #[test]
    fn a_query_is_searched_for_as_far_as_its_limits() {
        let long = Query::of(&"word ".repeat(100_000));
        assert_eq!(long.phrases.len(), QUERY_WORDS_MAX);
        assert_eq!(Query::of(&"x".repeat(100_000)).phrases[0].len(), QUERY_CHARS_MAX + 1);
    }

    #[test]
    fn a22_a_word_is_found_by_its_beginning_without_case_and_accents() {
        let finds = |query, text| Query::of(query).is_in(text);
        assert!(finds("ZLUT k", "Žluťoučký kůň"));
        assert!(finds("know w", "a (well-known) offer"));
        assert!(!finds("nown", "a well-known offer"));
        assert!(!finds("offer x", "offer"));
        assert!(finds("iphone", "我的iPhone坏了"));
        assert!(finds("C++", "C++") && finds("c#", "some C#, too") && finds("c", "C++"));
        assert!(!finds("C++", "my cat is cute") && !finds("C#", "my cat is cute"));
    }
}

//! A look at the newest messages before the search index is asked: a beginning that is in every tenth message is found
//! there often enough at once, while the index would gather all places of all its words first.

use super::{Db, search};
use crate::ClientError;

/// Messages that are looked at.
const LOOKED_AT: usize = 1_000;

/// The newest messages with all these words, if there are `limit` of them among the newest of all. `None` if that is not
/// known from here: the index knows it.
pub(super) fn matching(
    db: &Db<'_>,
    indexed: &[String],
    other: &[String],
    limit: usize,
) -> Result<Option<Vec<i64>>, ClientError> {
    let words: Vec<String> = indexed.iter().map(|word| search::folded(word)).collect();
    // What the index keeps by itself is found there at once. What is more than one word to it is its own to tell.
    let is_kept = |word: &String| (2..=3).contains(&word.chars().count());
    let is_plain = |word: &String| word.chars().all(|c| c.is_alphanumeric() && !search::stands_alone(c));
    if words.iter().all(is_kept) || !words.iter().all(is_plain) {
        return Ok(None);
    }
    let mut query = db
        .conn
        .prepare_cached("SELECT mid, text, is_deleted FROM messages WHERE mid > 0 ORDER BY mid DESC")?;
    let mut rows = query.query([])?;
    let mut found = Vec::new();
    for _ in 0..LOOKED_AT {
        let Some(row) = rows.next()? else { break };
        let text = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
        if !row.get::<_, bool>(2)? && fits(text, &words) && has(text, other) {
            found.push(row.get(0)?);
            if found.len() == limit {
                return Ok(Some(found));
            }
        }
    }
    Ok(None)
}

fn has(text: &str, other: &[String]) -> bool {
    other.iter().all(|word| text.contains(word.as_str()))
}

/// Whether each of the words begins one of the text's.
fn fits(text: &str, words: &[String]) -> bool {
    let text = if text.is_ascii() { text.to_ascii_lowercase() } else { search::folded(text) };
    words
        .iter()
        .all(|word| text.split(|c: char| !c.is_alphanumeric()).any(|token| token.starts_with(word.as_str())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a22_a_word_is_found_by_its_beginning_without_case_and_accents() {
        let fits = |text, words: &[&str]| {
            let words: Vec<_> = words.iter().map(|word| search::folded(word)).collect();
            super::fits(text, &words)
        };
        assert!(fits("Žluťoučký kůň", &["ZLUT", "k"]));
        assert!(fits("a (well-known) offer", &["know", "w"]));
        assert!(!fits("a well-known offer", &["nown"]));
        assert!(!fits("offer", &["offer", "x"]));
    }
}

//! The search index, and searching (A22, A23): every word is found by its beginning, scripts without spaces by any
//! run of characters, and no input is a syntax error.

use super::{Db, Tx, conversations, list, messages, people, recent, sql};
use crate::{
    ClientError,
    view::{SearchHit, SearchView, SnippetPart},
};
use kith_protocol::ConversationId;
use rusqlite::{OptionalExtension, named_params, params};
use std::collections::{BTreeMap, HashMap};
use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

/// Characters shown before the first hit, and in all.
const SNIPPET_BEFORE: usize = 40;
const SNIPPET_CHARS: usize = 160;

/// Whether words of a character's script are not divided by spaces (or, as in Korean, may be searched inside).
pub(super) fn stands_alone(c: char) -> bool {
    matches!(c as u32,
        0x0E00..=0x0EFF          // Thai, Lao
        | 0x1000..=0x109F        // Myanmar
        | 0x1780..=0x17FF        // Khmer
        | 0x2E80..=0x2FDF        // radicals
        | 0x3040..=0x30FF        // Hiragana, Katakana
        | 0x3100..=0x31FF        // Bopomofo and others
        | 0x3400..=0x4DBF
        | 0x4E00..=0x9FFF        // Han
        | 0xAC00..=0xD7AF        // Hangul
        | 0xF900..=0xFAFF
        | 0x20000..=0x3FFFF)
}

/// The text as it is indexed: compatible forms made one, characters of scripts without spaces set apart.
fn segmented(text: &str) -> String {
    if text.is_ascii() {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + text.len() / 4);
    for c in text.nfkc() {
        if stands_alone(c) {
            out.push(' ');
            out.push(c);
            out.push(' ');
        } else {
            out.push(c);
        }
    }
    out
}

/// Without case, accents and compatible forms, character by character as far as possible.
pub(super) fn folded(text: &str) -> String {
    text.nfkd().filter(|c| !is_combining_mark(*c)).flat_map(char::to_lowercase).collect()
}

/// What a transaction changes of the index, by mid. It is written at the end of the transaction in the order of the
/// mids: the index begins another segment wherever a mid is below the one before, and merging segments is what costs.
#[derive(Default)]
pub(super) struct Words(BTreeMap<i64, Entry>);

#[derive(Default)]
struct Entry {
    /// The index may have an older text.
    is_known: bool,
    text: Option<String>,
}

impl Words {
    pub(super) fn write(self, tx: &Tx<'_>) -> Result<(), ClientError> {
        if self.0.is_empty() {
            return Ok(());
        }
        let mut remove = tx.conn.prepare_cached("DELETE FROM search WHERE rowid = ?1")?;
        let mut insert = tx.conn.prepare_cached("INSERT INTO search (rowid, text) VALUES (?1, ?2)")?;
        for (mid, entry) in self.0 {
            if entry.is_known {
                remove.execute([mid])?;
            }
            if let Some(text) = entry.text {
                insert.execute(params![mid, text])?;
            }
        }
        Ok(())
    }
}

/// Empties the index.
pub(super) fn clear(tx: &mut Tx<'_>) -> Result<(), ClientError> {
    tx.words.0.clear();
    tx.conn.execute("INSERT INTO search (search) VALUES ('delete-all')", [])?;
    Ok(())
}

/// Indexes a message's text; `is_known`: the index may have an older one. An empty text is not indexed.
pub(super) fn put(tx: &mut Tx<'_>, mid: i64, text: &str, is_known: bool) {
    let entry = tx.words.0.entry(mid).or_default();
    entry.is_known |= is_known;
    entry.text = (!text.is_empty()).then(|| segmented(text));
}

/// Takes a message out of the index.
pub(super) fn remove(tx: &mut Tx<'_>, mid: i64) {
    let entry = tx.words.0.entry(mid).or_default();
    (entry.is_known, entry.text) = (true, None);
}

/// The words of a query. A word without letters or digits cannot be looked up in the index.
fn words(query: &str) -> (Vec<String>, Vec<String>) {
    let words = query.split_whitespace().map(|word| word.replace('\0', "")).filter(|word| !word.is_empty());
    words.partition(|word| word.chars().any(char::is_alphanumeric))
}

/// An FTS5 expression: each word quoted, so that nothing in it is an operator, and found by its beginning.
fn expression(words: &[String]) -> String {
    let quoted = words.iter().map(|word| format!("\"{}\"*", segmented(word).replace('"', " ")));
    quoted.collect::<Vec<_>>().join(" AND ")
}

/// Searches messages, newest first.
pub(crate) fn search(
    db: &Db<'_>,
    query: &str,
    conversation: Option<ConversationId>,
    limit: usize,
) -> Result<SearchView, ClientError> {
    let cid = conversation.map(|id| conversations::known(db, id)).transpose()?;
    let (indexed, other) = words(query);
    let found = if indexed.is_empty() && other.is_empty() {
        Vec::new()
    } else {
        matching(db, &indexed, &other, cid, limit + 1)?
    };
    let (searched, total) = coverage(db, cid)?;
    let more = found.len() > limit;
    let mut hits = Vec::new();
    let mut shown = Shown { db, people: people::Known::of(db), titles: HashMap::new() };
    let words: Vec<&str> = indexed.iter().chain(&other).map(String::as_str).collect();
    for mid in found.into_iter().take(limit) {
        hits.extend(shown.hit(mid, &words)?);
    }
    Ok(SearchView { hits, more, searched, total })
}

/// The mids of messages with all the words, newest first; mids rise with time.
fn matching(
    db: &Db<'_>,
    indexed: &[String],
    other: &[String],
    cid: Option<i64>,
    limit: usize,
) -> Result<Vec<i64>, ClientError> {
    if cid.is_none()
        && let Some(found) = recent::matching(db, indexed, other, limit)?
    {
        return Ok(found);
    }
    let sql = if indexed.is_empty() {
        "SELECT mid, text FROM messages m WHERE (:cid IS NULL OR m.cid = :cid) AND :words = '' AND is_deleted = 0
         ORDER BY mid DESC"
    } else {
        "SELECT m.mid, m.text FROM search s JOIN messages m ON m.mid = s.rowid
         WHERE search MATCH :words AND (:cid IS NULL OR m.cid = :cid) AND m.is_deleted = 0 ORDER BY s.rowid DESC"
    };
    let mut query = db.conn.prepare_cached(sql)?;
    let mut rows = query.query(named_params! { ":words": expression(indexed), ":cid": cid })?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let fits = other.is_empty() || {
            let text: String = row.get("text")?;
            other.iter().all(|word| text.contains(word.as_str()))
        };
        if fits {
            found.push(row.get("mid")?);
            if found.len() == limit {
                break;
            }
        }
    }
    Ok(found)
}

/// The hits of one search; their people and titles are read once.
struct Shown<'a, 'c> {
    db: &'a Db<'c>,
    people: people::Known<'a, 'c>,
    titles: HashMap<i64, (ConversationId, String)>,
}

impl Shown<'_, '_> {
    fn hit(&mut self, mid: i64, words: &[&str]) -> Result<Option<SearchHit>, ClientError> {
        let mut query = self.db.conn.prepare_cached(
            "SELECT cid, id, seq, local, sender, ts, text, reply_to, edited_seq, is_deleted, is_pinned, reactions
             FROM messages WHERE mid = ?1",
        )?;
        let Some(message) = query.query_row([mid], messages::message).optional()? else { return Ok(None) };
        let (conversation, conversation_title) = self.conversation(message.cid)?;
        Ok(Some(SearchHit {
            conversation,
            conversation_title,
            message: message.id,
            sender: self.people.get(message.sender)?,
            ts: message.ts,
            snippet: snippet(&message.text, words),
        }))
    }

    fn conversation(&mut self, cid: i64) -> Result<(ConversationId, String), ClientError> {
        if let Some(known) = self.titles.get(&cid) {
            return Ok(known.clone());
        }
        let id = conversations::id_of(self.db, cid)?;
        let found = (id, list::title_of(self.db, id)?);
        self.titles.insert(cid, found.clone());
        Ok(found)
    }
}

/// Messages that were searched, and that exist. A server may name any number, so each is bounded before it is added.
fn coverage(db: &Db<'_>, cid: Option<i64>) -> Result<(u32, u32), ClientError> {
    let mut query = db.conn.prepare_cached(
        "SELECT ifnull(sum(stored), 0), ifnull(sum(max(stored, CASE WHEN EXISTS (
                 SELECT 1 FROM log_range r WHERE r.cid = c.cid AND r.high >= c.head
                     AND r.low <= max(c.floor, ifnull(json_extract(c.visible, '$[0][0]'), 1)))
             THEN stored ELSE min(countable, 0xFFFFFFFF) END)), 0)
         FROM conversations c WHERE ?1 IS NULL OR cid = ?1",
    )?;
    Ok(query.query_row([cid], |row| Ok((sql::count_u32(row, 0)?, sql::count_u32(row, 1)?)))?)
}

/// The text around the first hit, in parts.
fn snippet(text: &str, words: &[&str]) -> Vec<SnippetPart> {
    let chars: Vec<char> = messages::flat(text).chars().collect();
    let mut is_hit = vec![false; chars.len()];
    for word in words {
        let wanted: Vec<char> = folded(word).chars().collect();
        let mut at = 0;
        while at < chars.len() {
            let length = match_length(&chars[at..], &wanted);
            let begins = at == 0 || !chars[at - 1].is_alphanumeric() || stands_alone(chars[at]);
            if length > 0 && (begins || wanted.iter().all(|c| !c.is_alphanumeric())) {
                is_hit[at..at + length].fill(true);
                at += length;
            } else {
                at += 1;
            }
        }
    }
    let first = is_hit.iter().position(|hit| *hit).unwrap_or(0);
    let start = first.saturating_sub(SNIPPET_BEFORE);
    let end = (start + SNIPPET_CHARS).min(chars.len());
    let mut parts: Vec<SnippetPart> = Vec::new();
    if start > 0 {
        parts.push(SnippetPart { text: "…".to_owned(), hit: false });
    }
    for at in start..end {
        match parts.last_mut() {
            Some(part) if part.hit == is_hit[at] => part.text.push(chars[at]),
            _ => parts.push(SnippetPart { text: chars[at].to_string(), hit: is_hit[at] }),
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

/// How many characters of `text` are `wanted` without case and accents; 0 if they are not.
fn match_length(text: &[char], wanted: &[char]) -> usize {
    let mut left = wanted;
    for (length, c) in text.iter().enumerate() {
        if left.is_empty() {
            // Marks that belong to the last character.
            return length + text[length..].iter().take_while(|c| is_combining_mark(**c)).count();
        }
        let form: Vec<char> = folded(&c.to_string()).chars().collect();
        match left.strip_prefix(form.as_slice()) {
            Some(rest) => left = rest,
            None => return 0,
        }
    }
    if left.is_empty() && !wanted.is_empty() { text.len() } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(text: &str, words: &[&str]) -> String {
        let parts = snippet(text, words);
        parts
            .iter()
            .map(|part| if part.hit { format!("[{}]", part.text) } else { part.text.clone() })
            .collect()
    }

    #[test]
    fn snippets_mark_what_was_searched() {
        assert_eq!(marked("Ask Marvell about it", &["marvel"]), "Ask [Marvel]l about it");
        assert_eq!(marked("Žluťoučký kůň", &["zlut", "kun"]), "[Žluť]oučký [kůň]");
        assert_eq!(marked("我们明天见面", &["明天"]), "我们[明天]见面");
        assert_eq!(marked("nothing here", &["x"]), "nothing here");
        let long = format!("{} needle {}", "a ".repeat(100), "b ".repeat(200));
        assert!(marked(&long, &["needle"]).starts_with('…'));
        assert!(marked(&long, &["needle"]).contains("[needle]"));
    }

    #[test]
    fn sec_083_a23_no_input_is_an_operator() {
        assert_eq!(expression(&["a\"b".into(), "NOT".into()]), "\"a b\"* AND \"NOT\"*");
    }
}

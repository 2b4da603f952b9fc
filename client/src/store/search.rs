//! The search index, and searching (A22, A23): every word is found by its beginning, scripts without spaces by any
//! run of characters, symbols by themselves ([`tokens`]), and no input is a syntax error.

#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod judge;
mod query;
mod snippet;

pub(super) use query::Query;

use super::{Db, Tx, conversations, list, messages, overlay::Overlay, people, rebuild, recent, sql, tokens};
use crate::{
    ClientError,
    view::{SearchHit, SearchView},
};
use kith_protocol::ConversationId;
use rusqlite::{OptionalExtension, named_params, params};
use std::collections::{BTreeMap, HashMap, hash_map};

/// Messages, the newest ones, whose texts one search compares one by one, where the index does not know what is looked for
/// (`?!`); and places of words that one search looks at where not every place is a hit.
const COMPARED_MAX: usize = 20_000;

/// What a transaction changes of the index, by mid. It is written at the end of the transaction in the order of the
/// mids: the index begins another segment wherever a mid is below the one before, and merging segments is what costs.
#[derive(Default)]
pub(super) struct Words(BTreeMap<i64, Entry>);

struct Entry {
    /// The text from before the transaction; the index has it if it has the message.
    old: String,
    new: String,
}

impl Words {
    pub(super) fn write(self, tx: &Tx<'_>) -> Result<(), ClientError> {
        if self.0.is_empty() {
            return Ok(());
        }
        // The index erases a message by the words that it was given, so they must be the same.
        let mut remove =
            tx.conn.prepare_cached("INSERT INTO search (search, rowid, text) VALUES ('delete', ?1, ?2)")?;
        let mut insert = tx.conn.prepare_cached("INSERT INTO search (rowid, text) VALUES (?1, ?2)")?;
        for (mid, entry) in self.0 {
            let (old, new) = (tokens::indexed(&entry.old), tokens::indexed(&entry.new));
            let is_indexed = !old.is_empty() && is_indexed(tx, mid)?;
            if is_indexed && old == new {
                continue;
            }
            if is_indexed {
                remove.execute(params![mid, old])?;
            }
            if !new.is_empty() {
                insert.execute(params![mid, new])?;
            }
        }
        Ok(())
    }
}

/// Whether the index has a message; while projections are rebuilt it has only a part of them.
fn is_indexed(db: &Db<'_>, mid: i64) -> Result<bool, ClientError> {
    let mut query = db.conn.prepare_cached("SELECT EXISTS (SELECT 1 FROM search_docsize WHERE id = ?1)")?;
    Ok(query.query_row([mid], |row| row.get(0))?)
}

pub(super) fn clear(tx: &mut Tx<'_>) -> Result<(), ClientError> {
    tx.words.0.clear();
    tx.conn.execute("INSERT INTO search (search) VALUES ('delete-all')", [])?;
    Ok(())
}

/// Indexes a message's text in the place of the one that its row had (empty for none). An empty text is not indexed.
pub(super) fn put(tx: &mut Tx<'_>, mid: i64, old: &str, text: &str) {
    let entry = tx.words.0.entry(mid).or_insert_with(|| Entry { old: old.to_owned(), new: String::new() });
    text.clone_into(&mut entry.new);
}

/// Takes a message out of the index.
pub(super) fn remove(tx: &mut Tx<'_>, mid: i64, old: &str) {
    put(tx, mid, old, "");
}

/// Messages that the outbox will change: they are found by what they will say, by mid. `None` for a deleted one.
pub(super) struct Pending(HashMap<i64, Option<String>>);

impl Pending {
    fn of(db: &Db<'_>, cid: Option<i64>) -> Result<Self, ClientError> {
        let mut changed = db.conn.prepare_cached(
            "SELECT DISTINCT cid, target FROM outbox
             WHERE kind IN ('edit', 'delete') AND state <> 'parked' AND target IS NOT NULL
                 AND (?1 IS NULL OR cid = ?1)",
        )?;
        let rows = changed.query_map([cid], |row| Ok((row.get::<_, i64>(0)?, sql::event(row, 1)?)))?;
        let (mut overlays, mut pending) = (HashMap::new(), HashMap::new());
        for row in rows {
            let (cid, target) = row?;
            let Some(place) = messages::place(db, cid, target)? else { continue };
            let Some(mut message) = messages::get(db, cid, target)? else { continue };
            let overlay = match overlays.entry(cid) {
                hash_map::Entry::Occupied(known) => known.into_mut(),
                hash_map::Entry::Vacant(unknown) => unknown.insert(Overlay::of(db, cid)?),
            };
            overlay.lay_over(&mut message);
            pending.insert(place.mid, (!message.is_deleted).then_some(message.text));
        }
        Ok(Self(pending))
    }

    pub(super) fn has(&self, mid: i64) -> bool {
        self.0.contains_key(&mid)
    }

    /// The mids of those that a query finds.
    fn matching<'a>(&'a self, query: &'a Query) -> impl Iterator<Item = i64> + 'a {
        let finds = |text: &Option<String>| text.as_ref().is_some_and(|text| query.is_in(text));
        self.0.iter().filter(move |(_, text)| finds(text)).map(|(mid, _)| *mid)
    }
}

/// What was found: mids, the newest first.
struct Found {
    mids: Vec<i64>,
    /// No more than so many messages were looked at.
    compared: Option<usize>,
}

/// Searches messages, newest first.
pub(crate) fn search(
    db: &Db<'_>,
    query: &str,
    conversation: Option<ConversationId>,
    limit: usize,
) -> Result<SearchView, ClientError> {
    let cid = conversation.map(|id| conversations::known(db, id)).transpose()?;
    let query = Query::of(query);
    let (mut searched, total) = coverage(db, cid, &query)?;
    if query.phrases.is_empty() && query.marks.is_empty() {
        return Ok(SearchView { hits: Vec::new(), more: false, searched, total });
    }
    let pending = Pending::of(db, cid)?;
    let mut found = matching(db, &query, &pending, cid, limit + 1)?;
    found.mids.extend(pending.matching(&query));
    found.mids.sort_unstable_by(|a, b| b.cmp(a));
    if let Some(compared) = found.compared {
        searched = searched.min(u32::try_from(compared).unwrap_or(u32::MAX));
    }
    let more = found.mids.len() > limit;
    let mut hits = Vec::new();
    let mut shown = Shown { db, pending, people: people::Known::of(db), titles: HashMap::new() };
    for mid in found.mids.into_iter().take(limit) {
        hits.extend(shown.hit(mid, &query)?);
    }
    Ok(SearchView { hits, more, searched, total })
}

/// Messages with all the words, at most `limit`, without those that the outbox will change.
fn matching(
    db: &Db<'_>,
    query: &Query,
    pending: &Pending,
    cid: Option<i64>,
    limit: usize,
) -> Result<Found, ClientError> {
    if query.phrases.is_empty() {
        return compared(db, query, pending, cid, limit);
    }
    if cid.is_none()
        && let Some(mids) = recent::matching(db, query, pending, limit)?
    {
        return Ok(Found { mids, compared: None });
    }
    let mut statement = db.conn.prepare_cached(
        "SELECT m.mid, m.text, :cid IS NULL OR m.cid = :cid FROM search s JOIN messages m ON m.mid = s.rowid
         WHERE search MATCH :words AND m.is_deleted = 0 ORDER BY s.rowid DESC",
    )?;
    let mut rows = statement.query(named_params! { ":words": query.expression(), ":cid": cid })?;
    let mut mids = Vec::new();
    let mut looked_at = 0;
    while let Some(row) = rows.next()? {
        if cid.is_some() || !query.marks.is_empty() {
            looked_at += 1;
            if looked_at > COMPARED_MAX {
                return instead(db, query, pending, cid, limit, mids);
            }
            let is_elsewhere = !row.get::<_, bool>(2)?;
            if is_elsewhere || !query.has_marks(row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?) {
                continue;
            }
        }
        let mid = row.get(0)?;
        if !pending.has(mid) {
            mids.push(mid);
            if mids.len() == limit {
                break;
            }
        }
    }
    Ok(Found { mids, compared: None })
}

/// After as many places of the words as are looked at: what was found there. In one conversation its own newest messages
/// are read too, for most places may lie elsewhere.
fn instead(
    db: &Db<'_>,
    query: &Query,
    pending: &Pending,
    cid: Option<i64>,
    limit: usize,
    mut mids: Vec<i64>,
) -> Result<Found, ClientError> {
    if cid.is_none() {
        return Ok(Found { mids, compared: Some(COMPARED_MAX) });
    }
    let found = compared(db, query, pending, cid, limit)?;
    mids.extend(found.mids);
    mids.sort_unstable_by(|a, b| b.cmp(a));
    mids.dedup();
    mids.truncate(limit);
    Ok(Found { mids, compared: found.compared })
}

/// The newest messages one by one, for what is not in the index.
fn compared(
    db: &Db<'_>,
    query: &Query,
    pending: &Pending,
    cid: Option<i64>,
    limit: usize,
) -> Result<Found, ClientError> {
    let ways: &[&str] = match cid {
        Some(_) => &[
            "SELECT mid, text FROM messages WHERE cid = ?1 AND seq IS NULL AND is_deleted = 0 ORDER BY local DESC
             LIMIT ?2",
            "SELECT mid, text FROM messages WHERE cid = ?1 AND seq IS NOT NULL AND is_deleted = 0 ORDER BY seq DESC
             LIMIT ?2",
        ],
        // The least number is before all: the rows are read by theirs.
        None => &["SELECT mid, text FROM messages WHERE mid > ?1 AND is_deleted = 0 ORDER BY mid DESC LIMIT ?2"],
    };
    let (mut mids, mut looked_at) = (Vec::new(), 0);
    for sql in ways {
        let mut statement = db.conn.prepare_cached(sql)?;
        let left = COMPARED_MAX - looked_at;
        let mut rows = statement.query(params![cid.unwrap_or(i64::MIN), left as i64])?;
        while let Some(row) = rows.next()? {
            looked_at += 1;
            let mid = row.get(0)?;
            if query.is_in(row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?) && !pending.has(mid) {
                mids.push(mid);
                if mids.len() == limit {
                    return Ok(Found { mids, compared: None });
                }
            }
        }
    }
    Ok(Found { mids, compared: (looked_at == COMPARED_MAX).then_some(COMPARED_MAX) })
}

/// The hits of one search; their people and titles are read once.
struct Shown<'a, 'c> {
    db: &'a Db<'c>,
    pending: Pending,
    people: people::Known<'a, 'c>,
    titles: HashMap<i64, (ConversationId, String)>,
}

impl Shown<'_, '_> {
    fn hit(&mut self, mid: i64, query: &Query) -> Result<Option<SearchHit>, ClientError> {
        let mut statement = self.db.conn.prepare_cached(
            "SELECT cid, id, seq, local, sender, ts, text, reply_to, edited_seq, is_deleted, is_pinned, reactions
             FROM messages WHERE mid = ?1",
        )?;
        let Some(mut message) = statement.query_row([mid], messages::message).optional()? else {
            return Ok(None);
        };
        if let Some(Some(text)) = self.pending.0.get(&mid) {
            message.text.clone_from(text);
        }
        let (conversation, conversation_title) = self.conversation(message.cid)?;
        Ok(Some(SearchHit {
            conversation,
            conversation_title,
            message: message.id,
            sender: self.people.get(message.sender)?,
            ts: message.ts,
            snippet: snippet::snippet(&message.text, query),
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

/// Messages that were searched, and that exist. A server may name any number, so each is bounded before it is added. While
/// the index is made again, it has the conversations before the one that this has reached, and of that one a part.
fn coverage(db: &Db<'_>, cid: Option<i64>, query: &Query) -> Result<(u32, u32), ClientError> {
    let is_indexed = !query.phrases.is_empty();
    let (reached, seq) = rebuild::reached(db)?.filter(|_| is_indexed).unwrap_or((i64::MAX, i64::MAX));
    let mut query = db.conn.prepare_cached(
        "SELECT ifnull(sum(CASE WHEN cid < ?2 THEN stored WHEN cid = ?2 THEN min(stored, ?3) ELSE 0 END), 0),
             ifnull(sum(max(stored, CASE WHEN EXISTS (
                 SELECT 1 FROM log_range r WHERE r.cid = c.cid AND r.high >= c.head
                     AND r.low <= max(c.floor, ifnull(json_extract(c.visible, '$[0][0]'), 1)))
             THEN stored ELSE min(countable, 0xFFFFFFFF) END)), 0)
         FROM conversations c WHERE ?1 IS NULL OR cid = ?1",
    )?;
    let row = query
        .query_row(params![cid, reached, seq], |row| Ok((sql::count_u32(row, 0)?, sql::count_u32(row, 1)?)));
    Ok(row?)
}

/// What a search shows of a text.
#[cfg(test)]
pub(super) fn excerpt(text: &str, query: &str) -> Vec<crate::view::SnippetPart> {
    snippet::snippet(text, &Query::of(query))
}

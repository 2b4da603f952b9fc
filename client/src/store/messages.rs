//! `messages`: one row for life, keyed by its id (C5); first as the user wrote it, then as the log says.

mod mids;
pub(super) mod orphaned;

use super::{
    Db, Tx,
    project::{self, EmojiUsers},
    rewind, search, sql,
};
use crate::ClientError;
use kith_protocol::{Event, EventId, Seq, TimestampMs, UserId};
use rusqlite::{OptionalExtension, Row, named_params, params};

/// The `order` of an entry that is not numbered is above all seqs.
pub(super) const UNNUMBERED: f64 = 4_503_599_627_370_496.0;
/// Characters of a preview, quote or summary.
const LINE_CHARS_MAX: usize = 200;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Message {
    pub(crate) cid: i64,
    pub(crate) id: EventId,
    pub(crate) seq: Option<Seq>,
    pub(super) local: i64,
    pub(crate) sender: UserId,
    pub(crate) ts: TimestampMs,
    pub(crate) text: String,
    pub(super) reply_to: Option<EventId>,
    pub(super) is_edited: bool,
    pub(super) is_deleted: bool,
    pub(super) is_pinned: bool,
    pub(super) reactions: Vec<EmojiUsers>,
}

impl Message {
    /// Its place in the timeline.
    pub(super) fn order(&self) -> f64 {
        match self.seq {
            Some(seq) => seq.0 as f64,
            None if self.is_lost() => orphaned::order(self.local),
            None => UNNUMBERED + self.local as f64,
        }
    }

    /// Somebody else wrote it, and the server has lost it (S7).
    pub(super) fn is_lost(&self) -> bool {
        self.seq.is_none() && self.local < 0
    }
}

/// What a projection writes.
pub(super) struct Projected<'a> {
    pub(super) id: EventId,
    pub(super) seq: Seq,
    pub(super) sender: UserId,
    pub(super) ts: TimestampMs,
    pub(super) text: &'a str,
    pub(super) reply_to: Option<EventId>,
    pub(super) edited: Seq,
    pub(super) is_deleted: bool,
    pub(super) is_pinned: bool,
    pub(super) reactions: Option<String>,
}

/// Reads a row of `cid, id, seq, local, sender, ts, text, reply_to, edited_seq, is_deleted, is_pinned, reactions`.
pub(super) fn message(row: &Row<'_>) -> rusqlite::Result<Message> {
    let reactions: Option<String> = row.get(11)?;
    Ok(Message {
        cid: row.get(0)?,
        id: sql::event(row, 1)?,
        seq: sql::seq_opt(row, 2)?,
        local: row.get::<_, Option<i64>>(3)?.unwrap_or_default(),
        sender: sql::user(row, 4)?,
        ts: sql::time(row, 5)?,
        text: row.get(6)?,
        reply_to: sql::event_opt(row, 7)?,
        is_edited: row.get::<_, i64>(8)? > 0,
        is_deleted: row.get(9)?,
        is_pinned: row.get(10)?,
        reactions: reactions.map_or(Ok(Vec::new()), |text| sql::read_json(&text))?,
    })
}

/// One message. Ids are unique in a conversation only.
pub(crate) fn get(db: &Db<'_>, cid: i64, id: EventId) -> Result<Option<Message>, ClientError> {
    let mut query = db.conn.prepare_cached(
        "SELECT cid, id, seq, local, sender, ts, text, reply_to, edited_seq, is_deleted, is_pinned, reactions
         FROM messages WHERE id = ?1 AND cid = ?2",
    )?;
    Ok(query.query_row(params![id.as_bytes(), cid], message).optional()?)
}

/// The newest message of a conversation; what is not numbered comes last (C5).
pub(super) fn newest(db: &Db<'_>, cid: i64) -> Result<Option<Message>, ClientError> {
    let mut unnumbered = db.conn.prepare_cached(
        "SELECT cid, id, seq, local, sender, ts, text, reply_to, edited_seq, is_deleted, is_pinned, reactions
         FROM messages WHERE cid = ?1 AND seq IS NULL ORDER BY local DESC LIMIT 1",
    )?;
    let unnumbered = unnumbered.query_row([cid], message).optional()?;
    if unnumbered.as_ref().is_some_and(|found| !found.is_lost()) {
        return Ok(unnumbered);
    }
    let mut numbered = db.conn.prepare_cached(
        "SELECT cid, id, seq, local, sender, ts, text, reply_to, edited_seq, is_deleted, is_pinned, reactions
         FROM messages WHERE cid = ?1 AND seq IS NOT NULL ORDER BY seq DESC LIMIT 1",
    )?;
    let numbered = numbered.query_row([cid], message).optional()?;
    Ok([unnumbered, numbered].into_iter().flatten().max_by(|a, b| a.order().total_cmp(&b.order())))
}

/// The message at a place of the log.
pub(super) fn at(db: &Db<'_>, cid: i64, seq: Seq) -> Result<Option<Message>, ClientError> {
    let mut query = db.conn.prepare_cached(
        "SELECT cid, id, seq, local, sender, ts, text, reply_to, edited_seq, is_deleted, is_pinned, reactions
         FROM messages WHERE cid = ?1 AND seq = ?2",
    )?;
    Ok(query.query_row(params![cid, seq.as_i64()], message).optional()?)
}

/// A message that is as its event says.
pub(super) fn unchanged(cid: i64, event: Event) -> Message {
    Message {
        cid,
        id: event.id,
        seq: Some(event.seq),
        local: 0,
        sender: event.sender,
        ts: event.ts,
        text: project::text_of(&event).to_owned(),
        reply_to: event.body.as_ref().and_then(project::reply_to),
        is_edited: false,
        is_deleted: false,
        is_pinned: false,
        reactions: Vec::new(),
    }
}

/// What the user wrote and is not numbered, in local order.
pub(super) fn unnumbered(db: &Db<'_>, cid: i64) -> Result<Vec<Message>, ClientError> {
    let mut query = db.conn.prepare_cached(
        "SELECT cid, id, seq, local, sender, ts, text, reply_to, edited_seq, is_deleted, is_pinned, reactions
         FROM messages WHERE cid = ?1 AND seq IS NULL AND local >= 0 ORDER BY local",
    )?;
    Ok(query.query_map([cid], message)?.collect::<Result<_, _>>()?)
}

/// Messages above a seq.
pub(super) fn numbered_above(db: &Db<'_>, cid: i64, seq: Seq) -> Result<Vec<EventId>, ClientError> {
    let mut query = db.conn.prepare_cached("SELECT id FROM messages WHERE cid = ?1 AND seq > ?2")?;
    let rows = query.query_map(params![cid, seq.as_i64()], |row| sql::event(row, "id"))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Whether a message's row is here, numbered or not.
pub(super) fn is_known(db: &Db<'_>, cid: i64, id: EventId) -> Result<bool, ClientError> {
    Ok(place(db, cid, id)?.is_some())
}

/// A text's first line for lists: white space runs become one blank, cut at 200 characters.
pub(super) fn one_line(text: &str) -> String {
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        if line.len() > LINE_CHARS_MAX * 4 {
            break;
        }
    }
    match line.char_indices().nth(LINE_CHARS_MAX) {
        Some((end, _)) => {
            line.truncate(end);
            line.pop();
            line.push('…');
            line
        }
        None => line,
    }
}

/// White space runs become one blank.
pub(super) fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Writes the row of a message that is new here, in the order of the log; `after` is the mid of the one before it.
/// Returns the row's mid, and whether there was one all the same.
pub(super) fn put_new(
    tx: &mut Tx<'_>,
    cid: i64,
    row: &Projected<'_>,
    after: Option<i64>,
) -> Result<(i64, bool), ClientError> {
    let mid = mids::following(row.ts, after);
    let written = tx
        .conn
        .prepare_cached(
            "INSERT INTO messages (mid, cid, id, seq, sender, ts, text, reply_to, edited_seq, is_deleted, is_pinned,
                 reactions)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
             ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            mid,
            cid,
            row.id.as_bytes(),
            row.seq.as_i64(),
            row.sender.as_bytes(),
            row.ts.as_i64(),
            row.text,
            row.reply_to.as_ref().map(EventId::as_bytes),
            row.edited.as_i64(),
            row.is_deleted,
            row.is_pinned,
            row.reactions,
        ])?;
    if written == 0 {
        // The mid is another's, or the message has a row.
        return put_projected(tx, cid, row);
    }
    tx.lines.insert(cid);
    search::put(tx, mid, "", row.text);
    Ok((mid, false))
}

/// Writes the row as the log says; an unnumbered one of the same id becomes it. Returns its mid, and whether there was
/// one.
pub(super) fn put_projected(
    tx: &mut Tx<'_>,
    cid: i64,
    row: &Projected<'_>,
) -> Result<(i64, bool), ClientError> {
    rewind::make_room(tx, cid, row.seq, row.id)?;
    let known = place(tx, cid, row.id)?;
    // It may have come deleted already, so that no event of it is erased.
    tx.has_erased |= row.is_deleted && known.as_ref().is_some_and(|place| place.text != row.text);
    let (mid, old) = match &known {
        Some(place) if place.is_numbered => (place.mid, place.text.as_str()),
        Some(place) => {
            search::remove(tx, place.mid, &place.text);
            (mids::free(tx, row.ts)?, "")
        }
        None => (mids::free(tx, row.ts)?, ""),
    };
    tx.conn
        .prepare_cached(
            "INSERT INTO messages (mid, cid, id, seq, sender, ts, text, reply_to, edited_seq, is_deleted, is_pinned,
                 reactions)
             VALUES (:mid, :cid, :id, :seq, :sender, :ts, :text, :reply_to, :edited, :is_deleted, :is_pinned, :reactions)
             ON CONFLICT (id, cid) DO UPDATE SET mid = excluded.mid, seq = excluded.seq, local = NULL,
                 sender = excluded.sender, ts = excluded.ts, text = excluded.text, reply_to = excluded.reply_to,
                 edited_seq = excluded.edited_seq, is_deleted = excluded.is_deleted,
                 is_pinned = excluded.is_pinned, reactions = excluded.reactions
             WHERE (mid, seq, local, sender, ts, text, reply_to, edited_seq, is_deleted,
                    is_pinned, reactions)
                 IS NOT (excluded.mid, excluded.seq, NULL, excluded.sender, excluded.ts, excluded.text,
                    excluded.reply_to, excluded.edited_seq, excluded.is_deleted, excluded.is_pinned, excluded.reactions)",
        )?
        .execute(named_params! {
            ":mid": mid,
            ":cid": cid,
            ":id": row.id.as_bytes(),
            ":seq": row.seq.as_i64(),
            ":sender": row.sender.as_bytes(),
            ":ts": row.ts.as_i64(),
            ":text": row.text,
            ":reply_to": row.reply_to.as_ref().map(EventId::as_bytes),
            ":edited": row.edited.as_i64(),
            ":is_deleted": row.is_deleted,
            ":is_pinned": row.is_pinned,
            ":reactions": row.reactions,
        })?;
    tx.lines.insert(cid);
    search::put(tx, mid, old, row.text);
    Ok((mid, known.is_some()))
}

/// Writes what the user wrote, before the server has numbered it.
pub(super) fn put_unnumbered(
    tx: &mut Tx<'_>,
    cid: i64,
    id: EventId,
    item: i64,
    text: &str,
    reply_to: Option<EventId>,
    ts: TimestampMs,
) -> Result<(), ClientError> {
    let mid = mids::free(tx, ts)?;
    tx.conn
        .prepare_cached(
            "INSERT INTO messages (mid, cid, id, local, sender, ts, text, reply_to)
             VALUES (:mid, :cid, :id, :local, :sender, :ts, :text, :reply_to)",
        )?
        .execute(named_params! {
            ":mid": mid,
            ":cid": cid,
            ":id": id.as_bytes(),
            ":local": item,
            ":sender": tx.me.as_bytes(),
            ":ts": ts.as_i64(),
            ":text": text,
            ":reply_to": reply_to.as_ref().map(EventId::as_bytes),
        })?;
    tx.lines.insert(cid);
    search::put(tx, mid, "", text);
    Ok(())
}

/// Changes the text of a message that is not numbered.
pub(super) fn set_text(tx: &mut Tx<'_>, cid: i64, id: EventId, text: &str) -> Result<(), ClientError> {
    let Some(place) = place(tx, cid, id)?.filter(|place| !place.is_numbered) else { return Ok(()) };
    tx.conn.prepare_cached("UPDATE messages SET text = ?3 WHERE id = ?1 AND cid = ?2")?.execute(params![
        id.as_bytes(),
        cid,
        text
    ])?;
    tx.lines.insert(cid);
    search::put(tx, place.mid, &place.text, text);
    Ok(())
}

/// A message that is not numbered answers nothing any more.
pub(super) fn end_answer(tx: &mut Tx<'_>, cid: i64, id: EventId) -> Result<(), ClientError> {
    tx.conn
        .prepare_cached("UPDATE messages SET reply_to = NULL WHERE id = ?1 AND cid = ?2 AND seq IS NULL")?
        .execute(params![id.as_bytes(), cid])?;
    Ok(())
}

/// Moves a message that is not numbered to another place in the local order.
pub(super) fn set_local(tx: &mut Tx<'_>, cid: i64, id: EventId, item: i64) -> Result<(), ClientError> {
    tx.lines.insert(cid);
    tx.conn
        .prepare_cached("UPDATE messages SET local = ?3 WHERE id = ?1 AND cid = ?2 AND seq IS NULL")?
        .execute(params![id.as_bytes(), cid, item])?;
    Ok(())
}

/// Shows the server's time of a message that it has numbered.
pub(super) fn set_server_time(
    tx: &mut Tx<'_>,
    cid: i64,
    id: EventId,
    ts: TimestampMs,
) -> Result<(), ClientError> {
    tx.lines.insert(cid);
    // The row's mid stays of the local time until the event itself is stored.
    tx.conn
        .prepare_cached("UPDATE messages SET ts = ?3 WHERE id = ?1 AND cid = ?2 AND seq IS NULL")?
        .execute(params![id.as_bytes(), cid, ts.as_i64()])?;
    Ok(())
}

/// Removes a message's row.
pub(super) fn remove(tx: &mut Tx<'_>, cid: i64, id: EventId) -> Result<(), ClientError> {
    if let Some(place) = place(tx, cid, id)? {
        tx.lines.insert(cid);
        tx.changes.took_away = true;
        tx.has_erased = true;
        search::remove(tx, place.mid, &place.text);
        tx.conn.prepare_cached("DELETE FROM messages WHERE mid = ?1")?.execute([place.mid])?;
    }
    Ok(())
}

/// Puts what is not numbered into the search index again.
pub(super) fn index_pending(tx: &mut Tx<'_>) -> Result<(), ClientError> {
    let mut query = tx.conn.prepare("SELECT mid, text FROM messages WHERE seq IS NULL")?;
    let rows = query
        .query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?
        .collect::<Result<Vec<_>, _>>()?;
    drop(query);
    for (mid, text) in rows {
        search::put(tx, mid, &text, &text);
    }
    Ok(())
}

/// A message's row, as far as the search index needs it.
pub(super) struct Place {
    pub(super) mid: i64,
    pub(super) is_numbered: bool,
    pub(super) text: String,
}

/// Where a message's row is.
pub(super) fn place(db: &Db<'_>, cid: i64, id: EventId) -> Result<Option<Place>, ClientError> {
    let mut query = db
        .conn
        .prepare_cached("SELECT mid, seq IS NOT NULL, text FROM messages WHERE id = ?1 AND cid = ?2")?;
    let read = |row: &Row<'_>| Ok(Place { mid: row.get(0)?, is_numbered: row.get(1)?, text: row.get(2)? });
    Ok(query.query_row(params![id.as_bytes(), cid], read).optional()?)
}

/// Whether the conversation has messages without a number: what the user wrote, and what the server has lost.
pub(super) fn has_unnumbered(db: &Db<'_>, cid: i64) -> Result<bool, ClientError> {
    let mut query =
        db.conn.prepare_cached("SELECT EXISTS (SELECT 1 FROM messages WHERE cid = ?1 AND seq IS NULL)")?;
    Ok(query.query_row([cid], |row| row.get(0))?)
}

//! `last_lines`: the newest message of each conversation, as the list shows it. A projection of `messages`, made again
//! at the end of every transaction for the conversations whose messages it touched.

use super::{
    Db, Tx, apply,
    messages::{self, Message},
    sql,
};
use crate::ClientError;
use kith_protocol::{EventId, Seq, TimestampMs, UserId};
use rusqlite::{Row, params};

/// What is told of a message in the list.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LastLine {
    pub(super) id: EventId,
    pub(super) seq: Option<Seq>,
    pub(super) local: i64,
    pub(super) sender: UserId,
    pub(super) ts: TimestampMs,
    pub(super) line: String,
    pub(super) is_deleted: bool,
}

impl LastLine {
    /// The message as far as the list shows it.
    pub(super) fn into_message(self, cid: i64) -> Message {
        Message {
            cid,
            id: self.id,
            seq: self.seq,
            local: self.local,
            sender: self.sender,
            ts: self.ts,
            text: self.line,
            reply_to: None,
            is_edited: false,
            is_deleted: self.is_deleted,
            is_pinned: false,
            reactions: Vec::new(),
        }
    }
}

/// Raised when the lines are made differently; a file with another number makes them again.
const VERSION: &str = "1";
const KEY: &str = "last_lines";

/// Reads `id, seq, local, sender, ts, line, is_deleted` from this column on, of a conversation that has a line.
pub(super) fn read(row: &Row<'_>, from: usize) -> rusqlite::Result<Option<LastLine>> {
    let Some(id) = sql::event_opt(row, from)? else { return Ok(None) };
    Ok(Some(LastLine {
        id,
        seq: sql::seq_opt(row, from + 1)?,
        local: row.get::<_, Option<i64>>(from + 2)?.unwrap_or_default(),
        sender: sql::user(row, from + 3)?,
        ts: sql::time(row, from + 4)?,
        line: row.get(from + 5)?,
        is_deleted: row.get(from + 6)?,
    }))
}

/// Makes the line of a conversation again.
pub(super) fn put(tx: &Tx<'_>, cid: i64) -> Result<(), ClientError> {
    let Some(newest) = messages::newest(tx, cid)? else {
        tx.conn.prepare_cached("DELETE FROM last_lines WHERE cid = ?1")?.execute([cid])?;
        return Ok(());
    };
    tx.conn
        .prepare_cached(
            "INSERT INTO last_lines (cid, id, seq, local, sender, ts, line, is_deleted)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT (cid) DO UPDATE SET id = excluded.id, seq = excluded.seq, local = excluded.local,
                 sender = excluded.sender, ts = excluded.ts, line = excluded.line, is_deleted = excluded.is_deleted",
        )?
        .execute(params![
            cid,
            newest.id.as_bytes(),
            newest.seq.map(Seq::as_i64),
            newest.seq.is_none().then_some(newest.local),
            newest.sender.as_bytes(),
            newest.ts.as_i64(),
            messages::one_line(&newest.text),
            newest.is_deleted,
        ])?;
    Ok(())
}

/// Makes the lines of all conversations, unless they are there.
pub(super) fn make_if_missing(tx: &mut Tx<'_>) -> Result<(), ClientError> {
    if apply::meta(tx, KEY)?.as_deref() == Some(VERSION) {
        return Ok(());
    }
    for cid in all(tx)? {
        put(tx, cid)?;
    }
    apply::set_meta(tx, KEY, VERSION)
}

/// The line of a conversation.
#[cfg(test)]
pub(super) fn get(db: &Db<'_>, cid: i64) -> Result<Option<LastLine>, ClientError> {
    let mut query = db.conn.prepare_cached(
        "SELECT id, seq, local, sender, ts, line, is_deleted FROM last_lines WHERE cid = ?1",
    )?;
    let mut rows = query.query([cid])?;
    Ok(rows.next()?.map(|row| read(row, 0)).transpose()?.flatten())
}

pub(super) fn all(db: &Db<'_>) -> Result<Vec<i64>, ClientError> {
    let mut query = db.conn.prepare("SELECT cid FROM conversations")?;
    Ok(query.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

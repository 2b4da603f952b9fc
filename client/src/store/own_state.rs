//! Own state: read marker, mute, pin, archive, hidden, unread flag (S4). The columns hold what the server has; what
//! waits in the outbox is laid over it when it is read, so an item that is cancelled undoes itself.

use super::{Db, Tx, conversations, drafts, outbox, sql};
use crate::{
    ClientError,
    mutation::{self, Mutation},
};
use kith_protocol::{
    Seq, TimestampMs,
    frame::{OwnState, StateChange},
};
use rusqlite::{Row, named_params, params};
use std::collections::HashSet;

/// Where own state comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// The server's whole word; it counts even if its version is lower (another lineage).
    Heads,
    /// A change; an older version than the known one is dropped.
    Change,
    /// For whoever has left: the version that is known is dropped too.
    News,
}

/// Own state as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Own {
    pub(super) read: Seq,
    pub(super) unread_flag: bool,
    pub(super) mute: TimestampMs,
    pub(super) pin: bool,
    pub(super) archive: bool,
    pub(super) hidden: bool,
    /// The server's unread number, which counts from `server_read` to `unread_head`.
    pub(super) server_unread: u64,
    pub(super) server_read: Seq,
    pub(super) unread_head: Seq,
}

impl Own {
    /// Lays what waits in the outbox over it; `waits`: where something does.
    pub(super) fn lay_over(
        &mut self,
        db: &Db<'_>,
        cid: i64,
        waits: &HashSet<i64>,
    ) -> Result<(), ClientError> {
        if waits.contains(&cid) {
            for change in outbox::pending_states(db, cid)? {
                self.change(&change);
            }
        }
        Ok(())
    }

    /// Lays a change over it.
    pub(super) fn change(&mut self, change: &StateChange) {
        if let Some(read) = change.read.filter(|read| *read > self.read) {
            self.read = read;
            self.unread_flag = false;
        }
        self.unread_flag = change.unread_flag.unwrap_or(self.unread_flag);
        self.mute = change.mute.unwrap_or(self.mute);
        self.pin = change.pin.unwrap_or(self.pin);
        self.archive = change.archive.unwrap_or(self.archive);
        self.hidden = change.hidden.unwrap_or(self.hidden);
    }
}

/// Own state as it is shown.
pub(super) fn effective(db: &Db<'_>, cid: i64) -> Result<Own, ClientError> {
    let mut own = stored(db, cid)?;
    for change in outbox::pending_states(db, cid)? {
        own.change(&change);
    }
    Ok(own)
}

fn stored(db: &Db<'_>, cid: i64) -> Result<Own, ClientError> {
    let mut query = db.conn.prepare_cached(
        "SELECT read, unread_flag, mute, pin, archive, hidden, unread, unread_head FROM conversations WHERE cid = ?1",
    )?;
    Ok(query.query_row([cid], |row| of_row(row, 0))?)
}

/// Up to here a conversation that the server has in the archive is no news there: a device of the user had stored it, and
/// had brought the conversation back if it was to return. Zero while the archive is in this device's outbox alone.
pub(super) fn settled_in_archive(db: &Db<'_>, cid: i64) -> Result<Seq, ClientError> {
    let mut query = db.conn.prepare_cached(
        "SELECT CASE WHEN archive THEN delivered ELSE 0 END FROM conversations WHERE cid = ?1",
    )?;
    Ok(query.query_row([cid], |row| sql::seq(row, 0))?)
}

/// What a row of `conversations` holds of it: `read, unread_flag, mute, pin, archive, hidden, unread, unread_head`, from
/// this column on.
pub(super) fn of_row(row: &Row<'_>, from: usize) -> rusqlite::Result<Own> {
    Ok(Own {
        read: sql::seq(row, from)?,
        unread_flag: row.get(from + 1)?,
        mute: sql::time(row, from + 2)?,
        pin: row.get(from + 3)?,
        archive: row.get(from + 4)?,
        hidden: row.get(from + 5)?,
        server_unread: sql::count(row, from + 6)?,
        server_read: sql::seq(row, from)?,
        unread_head: sql::seq(row, from + 7)?,
    })
}

/// Takes own state from the server; markers max-merge (R1).
pub(super) fn put(
    tx: &mut Tx<'_>,
    cid: i64,
    own: &OwnState,
    head: Seq,
    source: Source,
) -> Result<(), ClientError> {
    let before = effective(tx, cid)?;
    let rows = tx
        .conn
        .prepare_cached(
            "UPDATE conversations SET version = :version, unread = :unread, unread_head = :head,
                 unread_flag = :unread_flag, mute = :mute, pin = :pin, archive = :archive, hidden = :hidden
             WHERE cid = :cid AND (:forced OR :version > version
                 OR (:version = version AND NOT :must_be_news AND :head >= unread_head))",
        )?
        .execute(named_params! {
            ":cid": cid,
            ":forced": source == Source::Heads || mutation::is(Mutation::OlderStateCounts),
            ":must_be_news": source == Source::News,
            ":version": i64::try_from(own.version).unwrap_or(i64::MAX),
            ":unread": i64::try_from(own.unread).unwrap_or(i64::MAX),
            ":head": head.as_i64(),
            ":unread_flag": own.unread_flag,
            ":mute": own.mute.as_i64(),
            ":pin": own.pin,
            ":archive": own.archive,
            ":hidden": own.hidden,
        })?;
    if mutation::is(Mutation::MarkerGoesBack) {
        tx.conn.execute("UPDATE conversations SET read = 0 WHERE cid = ?1", [cid])?;
    }
    tx.conn
        .prepare_cached(
            "UPDATE conversations SET read = max(read, :read), delivered = max(delivered, :delivered) WHERE cid = :cid",
        )?
        .execute(named_params! {
            ":cid": cid,
            ":read": own.read.as_i64(),
            ":delivered": own.delivered.as_i64(),
        })?;
    if rows > 0 {
        drafts::from_server(tx, cid, own.draft.as_ref())?;
    } else {
        drafts::overtaken(tx, cid, own.draft.as_ref())?;
    }
    tell(tx, cid, &before)
}

/// The server counts its versions from an earlier one (another lineage, S7).
pub(super) fn lower_version(tx: &Tx<'_>, cid: i64, version: u64) -> Result<(), ClientError> {
    tx.conn
        .prepare_cached("UPDATE conversations SET version = min(version, ?2) WHERE cid = ?1")?
        .execute(params![cid, i64::try_from(version).unwrap_or(i64::MAX)])?;
    Ok(())
}

/// Resets versions above `user_seq`. They date from before a restore of the server, and the heads did not list their
/// conversations: the server's next own state of each is accepted (S7).
pub(super) fn forget_versions_above(tx: &Tx<'_>, user_seq: u64) -> Result<(), ClientError> {
    tx.conn
        .prepare_cached("UPDATE conversations SET version = 0 WHERE version > ?1")?
        .execute([i64::try_from(user_seq).unwrap_or(i64::MAX)])?;
    Ok(())
}

/// Takes a change that the user made: shown at once, sent through the outbox (O3).
pub(crate) fn change(tx: &mut Tx<'_>, cid: i64, change: StateChange) -> Result<(), ClientError> {
    let before = effective(tx, cid)?;
    let mut after = before.clone();
    after.change(&change);
    if after == before {
        return Ok(());
    }
    if change.hidden == Some(true) && conversations::is_unused(tx, cid)? {
        return conversations::remove_local(tx, cid);
    }
    if conversations::has_left(tx, cid)? {
        keep_here(tx, cid, &after)?;
        return tell(tx, cid, &before);
    }
    outbox::push_state(tx, cid, change)?;
    tell(tx, cid, &before)
}

/// Whoever has left reads and tidies up on this device alone: the server takes no more from them.
fn keep_here(tx: &Tx<'_>, cid: i64, own: &Own) -> Result<(), ClientError> {
    tx.conn
        .prepare_cached(
            "UPDATE conversations SET read = :read, unread_flag = :unread_flag, mute = :mute, pin = :pin,
                 archive = :archive, hidden = :hidden
             WHERE cid = :cid",
        )?
        .execute(named_params! {
            ":cid": cid,
            ":read": own.read.as_i64(),
            ":unread_flag": own.unread_flag,
            ":mute": own.mute.as_i64(),
            ":pin": own.pin,
            ":archive": own.archive,
            ":hidden": own.hidden,
        })?;
    Ok(())
}

fn tell(tx: &mut Tx<'_>, cid: i64, before: &Own) -> Result<(), ClientError> {
    let after = effective(tx, cid)?;
    let id = conversations::id_of(tx, cid)?;
    if after.read > before.read {
        tx.changes.read(id);
    } else if after != *before {
        tx.changes.row(id);
    }
    Ok(())
}

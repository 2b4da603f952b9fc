//! Projections made again after an update (C6), behind everything else: one transaction for each batch, so that memory
//! and the wait of a write are bounded, and a crash loses one batch at most.
//!
//! The history is in use meanwhile. What has not had its turn is shown as the older version made it and is not found by
//! a search; whatever touches a message makes its row again. A version that cannot read the rows of an older one comes
//! with a schema step.

use super::{Db, Tx, Watch, apply, kinds, lines, log, messages, project, schema, search, sql, writer};
use crate::ClientError;
use kith_protocol::{Event, UserId};
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

/// Events of one batch: some 20 ms.
const BATCH_EVENTS: usize = 500;
/// Bytes of their bodies after which a batch ends.
const BATCH_BYTES: usize = 1 << 20;
/// After a failure (a full disk) it is tried again.
const RETRY: Duration = Duration::from_secs(60);
/// Names the row of `meta` with the version that made the projections.
const VERSION: &str = "projection";
/// Names the row of `meta` with the place that a rebuild has reached.
const MARK: &str = "rebuild";

/// How far a rebuild has come, in events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) done: u64,
    pub(crate) total: u64,
}

/// All events up to this place are done.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Mark {
    version: i64,
    cid: i64,
    seq: i64,
    done: u64,
}

/// An event, and its marks as they are stored.
struct Row {
    cid: i64,
    event: Event,
    marks: log::Marks,
    is_changed: bool,
}

/// Begins a rebuild if another version made the projections, or one that knew other kinds of events. Returns how far it has come, `None` if there is nothing to
/// do. It goes on by [`step`].
pub(super) fn begin(conn: &mut Connection, me: UserId) -> Result<Option<Progress>, ClientError> {
    let transaction = conn.transaction()?;
    let mut tx = Tx::begin(&transaction, me);
    let progress = begin_in(&mut tx)?;
    lines::make_if_missing(&mut tx)?;
    log::mark_if_unmarked(&tx)?;
    tx.finish()?;
    transaction.commit()?;
    Ok(progress)
}

fn begin_in(tx: &mut Tx<'_>) -> Result<Option<Progress>, ClientError> {
    let has_other_kinds = kinds::have_changed(tx)?;
    if has_other_kinds {
        // What is left of an earlier rebuild was made with other kinds too.
        tx.conn.execute("DELETE FROM meta WHERE key = ?1", [VERSION])?;
    } else if apply::meta(tx, VERSION)?.as_deref() == Some(&schema::PROJECTION.to_string()) {
        return Ok(None);
    }
    let mut mark = mark(tx)?.filter(|_| !has_other_kinds).unwrap_or_default();
    if mark.version != schema::PROJECTION {
        search::clear(tx)?;
        mark = Mark { version: schema::PROJECTION, ..Mark::default() };
        put_mark(tx, &mark)?;
    }
    let progress = Progress { done: mark.done, total: total(tx)? };
    if progress.total == 0 {
        messages::index_pending(tx)?;
        finish(tx)?;
        return Ok(None);
    }
    tracing::info!(done = progress.done, total = progress.total, "rebuilding projections");
    Ok(Some(progress))
}

/// Marks the projections as another version's.
#[cfg(feature = "measure")]
pub(super) fn outdate(tx: &Tx<'_>) -> Result<(), ClientError> {
    tx.conn.execute("DELETE FROM meta WHERE key = ?1", [VERSION])?;
    Ok(())
}

/// Makes the projections of a batch again; `None` when all are done.
pub(super) fn step(tx: &mut Tx<'_>) -> Result<Option<Progress>, ClientError> {
    let Some(mut mark) = mark(tx)? else { return Ok(None) };
    let (rows, is_last) = batch(tx, &mark)?;
    for part in rows.chunk_by(|a, b| a.cid == b.cid) {
        if part[0].cid != mark.cid {
            // Behind the last event of the conversation before.
            drop_strays(tx, mark.cid, mark.seq, i64::MAX)?;
            (mark.cid, mark.seq) = (part[0].cid, 0);
        }
        let end = part[part.len() - 1].event.seq.as_i64();
        drop_strays(tx, mark.cid, mark.seq, end)?;
        let surroundings = project::Surroundings::of(tx, mark.cid)?;
        for row in part {
            put_marks(tx, row)?;
            if row.event.kind == "message" {
                surroundings.put_again(tx, mark.cid, &row.event)?;
            }
        }
        mark.seq = end;
    }
    mark.done += rows.len() as u64;
    if is_last {
        drop_strays(tx, mark.cid, mark.seq, i64::MAX)?;
        for cid in without_events(tx)? {
            drop_strays(tx, cid, 0, i64::MAX)?;
        }
        messages::index_pending(tx)?;
        finish(tx)?;
        return Ok(None);
    }
    put_mark(tx, &mark)?;
    Ok(Some(Progress { done: mark.done, total: total(tx)?.max(mark.done) }))
}

/// Carries out steps until all is done or the writer is gone, behind the writes that wait.
pub(super) async fn run(
    writer: writer::WeakWriter,
    me: UserId,
    watch: Arc<Watch>,
    progress: watch::Sender<Option<Progress>>,
) {
    while progress.borrow().is_some() {
        let Some(writer) = writer.upgraded() else { return };
        match writer.write(me, writer::Durability::Normal, step, |_| ()).await {
            Ok((reached, _)) => {
                progress.send_replace(reached);
            }
            Err(ClientError::Closed) => return,
            Err(ClientError::FileDamaged(error)) => {
                tracing::error!(%error, "the database is damaged");
                watch.raise();
                return;
            }
            Err(error) => {
                tracing::warn!(%error, "failed to rebuild projections");
                drop(writer);
                tokio::time::sleep(RETRY).await;
            }
        }
    }
    tracing::info!("rebuilt projections");
}

fn mark(db: &Db<'_>) -> Result<Option<Mark>, ClientError> {
    Ok(apply::meta(db, MARK)?.map(|text| sql::read_json(&text)).transpose()?)
}

/// The conversation and the seq that a rebuild has reached; `None` if none goes on.
pub(super) fn reached(db: &Db<'_>) -> Result<Option<(i64, i64)>, ClientError> {
    Ok(mark(db)?.map(|mark| (mark.cid, mark.seq)))
}

fn put_mark(tx: &Tx<'_>, mark: &Mark) -> Result<(), ClientError> {
    apply::set_meta(tx, MARK, &sql::write_json(mark)?)
}

fn finish(tx: &Tx<'_>) -> Result<(), ClientError> {
    apply::set_meta(tx, VERSION, &schema::PROJECTION.to_string())?;
    tx.conn.execute("DELETE FROM meta WHERE key = ?1", [MARK])?;
    Ok(())
}

fn total(db: &Db<'_>) -> Result<u64, ClientError> {
    let mut query = db.conn.prepare_cached("SELECT ifnull(sum(high - low + 1), 0) FROM log_range")?;
    Ok(query.query_row([], |row| sql::count(row, 0))?)
}

/// The events behind a place, and whether they are the last ones.
fn batch(db: &Db<'_>, mark: &Mark) -> Result<(Vec<Row>, bool), ClientError> {
    let mut query = db.conn.prepare_cached(
        "SELECT seq, id, kind, sender, ts, written_at, countable, chain, target, body, is_redacted,
             cid, is_shown, is_uncounted, is_changed
         FROM events WHERE (cid, seq) > (?1, ?2) ORDER BY cid, seq",
    )?;
    let mut found = query.query(params![mark.cid, mark.seq])?;
    let (mut rows, mut bytes) = (Vec::new(), 0);
    while let Some(row) = found.next()? {
        if rows.len() == BATCH_EVENTS || bytes > BATCH_BYTES {
            return Ok((rows, false));
        }
        bytes += row.get_ref(9)?.as_str_or_null().map_err(rusqlite::Error::from)?.map_or(0, str::len);
        let marks = log::Marks { is_shown: row.get(12)?, is_uncounted: row.get(13)? };
        rows.push(Row { cid: row.get(11)?, event: project::event(row)?, marks, is_changed: row.get(14)? });
    }
    Ok((rows, true))
}

fn without_events(db: &Db<'_>) -> Result<Vec<i64>, ClientError> {
    let mut query = db.conn.prepare_cached(
        "SELECT cid FROM conversations c WHERE NOT EXISTS (SELECT 1 FROM events e WHERE e.cid = c.cid)",
    )?;
    Ok(query.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

/// Sets what an event's kind and sender say of it.
fn put_marks(tx: &Tx<'_>, row: &Row) -> Result<(), ClientError> {
    let marks = log::Marks::of(&row.event, tx.me);
    if row.marks != marks || row.is_changed {
        // A message that is not as its event says is marked again with its row.
        tx.conn
            .prepare_cached(
                "UPDATE events SET is_shown = ?3, is_uncounted = ?4, is_changed = 0 WHERE cid = ?1 AND seq = ?2",
            )?
            .execute(params![row.cid, row.event.seq.as_i64(), marks.is_shown, marks.is_uncounted])?;
    }
    Ok(())
}

/// Removes the rows of messages in (above, to] whose events are not stored any more.
fn drop_strays(tx: &mut Tx<'_>, cid: i64, above: i64, to: i64) -> Result<(), ClientError> {
    let mut query = tx.conn.prepare_cached(
        "SELECT m.id FROM messages m WHERE m.cid = ?1 AND m.seq > ?2 AND m.seq <= ?3
             AND NOT EXISTS (SELECT 1 FROM events e WHERE e.cid = m.cid AND e.seq = m.seq AND e.id = m.id)",
    )?;
    let strays =
        query.query_map(params![cid, above, to], |row| sql::event(row, 0))?.collect::<Result<Vec<_>, _>>()?;
    drop(query);
    strays.into_iter().try_for_each(|id| messages::remove(tx, cid, id))
}

/// Makes everything again at once.
#[cfg(test)]
pub(super) fn all(tx: &mut Tx<'_>) -> Result<(), ClientError> {
    search::clear(tx)?;
    put_mark(tx, &Mark { version: schema::PROJECTION, ..Mark::default() })?;
    while step(tx)?.is_some() {}
    Ok(())
}

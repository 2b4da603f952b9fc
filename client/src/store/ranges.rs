//! `log_range`: which contiguous runs of a conversation's log are stored (C2).

use super::{Db, Tx, sql};
use crate::ClientError;
use kith_protocol::Seq;
use kith_sync::ops::LocalRange;
use rusqlite::{Row, named_params, params};

fn range(row: &Row<'_>) -> rusqlite::Result<LocalRange> {
    Ok(LocalRange {
        low: sql::seq(row, "low")?,
        high: sql::seq(row, "high")?,
        chain_before: sql::chain(row, "chain_before")?,
        chain_high: sql::chain(row, "chain_high")?,
    })
}

/// All ranges of a conversation, ascending.
pub(super) fn all(db: &Db<'_>, cid: i64) -> Result<Vec<LocalRange>, ClientError> {
    let mut query = db.conn.prepare_cached(
        "SELECT low, high, chain_before, chain_high FROM log_range WHERE cid = ?1 ORDER BY low",
    )?;
    Ok(query.query_map([cid], range)?.collect::<Result<_, _>>()?)
}

/// Whether everything from `low` to `high` is stored.
pub(super) fn is_covered(db: &Db<'_>, cid: i64, low: Seq, high: Seq) -> Result<bool, ClientError> {
    let mut query = db.conn.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM log_range WHERE cid = ?1 AND low <= ?2 AND high >= ?3)",
    )?;
    Ok(query.query_row(params![cid, low.as_i64(), high.as_i64()], |row| row.get(0))?)
}

/// Puts a run in; ranges that it touches become one.
pub(super) fn merge(tx: &Tx<'_>, cid: i64, run: LocalRange) -> Result<(), ClientError> {
    let mut merged = run;
    for old in all(tx, cid)? {
        if old.low > run.high.next() || run.low > old.high.next() {
            continue;
        }
        if old.low < merged.low {
            (merged.low, merged.chain_before) = (old.low, old.chain_before);
        }
        if old.high > merged.high {
            (merged.high, merged.chain_high) = (old.high, old.chain_high);
        }
        delete(tx, cid, old.low)?;
    }
    insert(tx, cid, merged)
}

/// Ends all ranges at `keep`, whose chain value is `chain`.
pub(super) fn cut(tx: &Tx<'_>, cid: i64, keep: Seq, chain: kith_protocol::Chain) -> Result<(), ClientError> {
    for old in all(tx, cid)? {
        if old.high <= keep {
            continue;
        }
        delete(tx, cid, old.low)?;
        if old.low <= keep {
            insert(tx, cid, LocalRange { high: keep, chain_high: chain, ..old })?;
        }
    }
    Ok(())
}

/// Ends one range at `keep`, whose chain value is `chain`; before its first seq, it goes.
pub(super) fn shorten(
    tx: &Tx<'_>,
    cid: i64,
    range: LocalRange,
    keep: Seq,
    chain: kith_protocol::Chain,
) -> Result<(), ClientError> {
    delete(tx, cid, range.low)?;
    if keep < range.low {
        return Ok(());
    }
    insert(tx, cid, LocalRange { high: keep, chain_high: chain, ..range })
}

fn delete(tx: &Tx<'_>, cid: i64, low: Seq) -> Result<(), ClientError> {
    tx.conn
        .prepare_cached("DELETE FROM log_range WHERE cid = ?1 AND low = ?2")?
        .execute(params![cid, low.as_i64()])?;
    Ok(())
}

fn insert(tx: &Tx<'_>, cid: i64, range: LocalRange) -> Result<(), ClientError> {
    tx.conn
        .prepare_cached(
            "INSERT INTO log_range (cid, low, high, chain_before, chain_high)
             VALUES (:cid, :low, :high, :chain_before, :chain_high)",
        )?
        .execute(named_params! {
            ":cid": cid,
            ":low": range.low.as_i64(),
            ":high": range.high.as_i64(),
            ":chain_before": range.chain_before.as_bytes(),
            ":chain_high": range.chain_high.as_bytes(),
        })?;
    Ok(())
}

//! The store against itself: do the rows say what the ranges claim? And what diagnostics count and tell.

use super::{Db, Tx, conversations, list, log, ranges, sql};
use crate::{
    ClientError,
    view::{CounterView, LogView},
};
use kith_protocol::{Chain, ConversationId, EventId, Seq, TimestampMs};
use kith_sync::ops::{Counter, LocalRange};
use rusqlite::{OptionalExtension, params};

/// Rows of each range that are looked at.
const ROWS: u64 = 500;
/// Conversations that diagnostics name.
const NAMED: usize = 50;
const CHECKED_AT: &str = "checked_at";

/// Counts, in the transaction that is under way.
pub(super) fn count(tx: &Tx<'_>, counter: Counter, by: u64) -> Result<(), ClientError> {
    tx.conn
        .prepare_cached(
            "INSERT INTO meta (key, value) VALUES ('count.' || ?1, CAST(?2 AS TEXT))
             ON CONFLICT (key) DO UPDATE SET value = CAST(value AS INTEGER) + ?2",
        )?
        .execute(params![counter.as_str(), i64::try_from(by).unwrap_or(i64::MAX)])?;
    Ok(())
}

/// Looks at a part of each range; damage ends the range before it, and what was behind comes again.
pub(super) fn conversation(tx: &mut Tx<'_>, id: ConversationId, salt: u64) -> Result<(), ClientError> {
    let Some(cid) = conversations::cid(tx, id)? else { return Ok(()) };
    let mut damaged = 0;
    for range in ranges::all(tx, cid)? {
        if let Some((sound, chain)) = sound_to(tx, cid, id, range, salt)? {
            give_up(tx, cid, range, sound, chain)?;
            damaged += 1;
        }
    }
    if damaged > 0 {
        let left = conversations::load_one(tx, cid)?;
        tx.changes.repaired.push(left);
        tx.changes.timeline(id);
        count(tx, Counter::Repairs, damaged)?;
        tracing::warn!(conversation = %id, damaged, "stored events were damaged and are fetched again");
    }
    count(tx, Counter::Checks, 1)?;
    tx.conn
        .prepare_cached(
            "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        )?
        .execute(params![CHECKED_AT, tx.now.as_i64().to_string()])?;
    Ok(())
}

/// The last sound seq before damage, with its chain value; `None` where the part that was looked at is sound.
fn sound_to(
    tx: &Tx<'_>,
    cid: i64,
    id: ConversationId,
    range: LocalRange,
    salt: u64,
) -> Result<Option<(Seq, Chain)>, ClientError> {
    let before = range.low.previous();
    let rows = range.high.0 - before.0;
    let after = Seq(before.0 + if rows > ROWS { salt % (rows - ROWS + 1) } else { 0 });
    let last = Seq(range.high.0.min(after.0 + ROWS));
    let begins = if after == before { Some(range.chain_before) } else { log::chain_at(tx, cid, after)? };
    // Without the row before the part, nothing of the range is known to be sound.
    let Some(mut chain) = begins else { return Ok(Some((before, range.chain_before))) };
    let mut seq = after;
    let mut query = tx.conn.prepare_cached(
        "SELECT seq, id, chain FROM events WHERE cid = ?1 AND seq > ?2 AND seq <= ?3 ORDER BY seq",
    )?;
    let found = query.query_map(params![cid, after.as_i64(), last.as_i64()], |row| {
        Ok((sql::seq(row, "seq")?, sql::event(row, "id")?, sql::chain(row, "chain")?))
    })?;
    for row in found {
        let (at, event, stored): (Seq, EventId, Chain) = row?;
        let next = chain.then(id, seq, event);
        let is_end_wrong = at == range.high && stored != range.chain_high;
        if at != seq.next() || stored != next || is_end_wrong {
            return Ok(Some((seq, chain)));
        }
        (seq, chain) = (at, stored);
    }
    Ok((seq < last).then_some((seq, chain)))
}

/// Ends a range at a seq, and deletes the rows behind it.
fn give_up(tx: &Tx<'_>, cid: i64, range: LocalRange, sound: Seq, chain: Chain) -> Result<(), ClientError> {
    tx.conn
        .prepare_cached("DELETE FROM events WHERE cid = ?1 AND seq > ?2 AND seq <= ?3")?
        .execute(params![cid, sound.as_i64(), range.high.as_i64()])?;
    ranges::shorten(tx, cid, range, sound, chain)?;
    tx.conn
        .prepare_cached(
            "UPDATE conversations SET stored =
                 (SELECT count(*) FROM events e WHERE e.cid = ?1 AND e.kind = 'message') WHERE cid = ?1",
        )?
        .execute([cid])?;
    Ok(())
}

/// What was counted since the file was made, and when it was last looked at.
pub(crate) fn counters(db: &Db<'_>) -> Result<(Vec<CounterView>, Option<TimestampMs>), ClientError> {
    let mut query = db.conn.prepare_cached("SELECT CAST(value AS INTEGER) FROM meta WHERE key = ?1")?;
    let mut number = |key: &str| query.query_row([key], |row| row.get::<_, i64>(0)).optional();
    let mut counters = Vec::new();
    for counter in Counter::ALL {
        let count = number(&format!("count.{}", counter.as_str()))?.unwrap_or(0);
        counters
            .push(CounterView { counter: counter.into(), count: u32::try_from(count).unwrap_or(u32::MAX) });
    }
    Ok((counters, number(CHECKED_AT)?.map(TimestampMs::from_i64)))
}

/// The lineage of the server's database, as the last `welcome` told it.
pub(crate) fn epoch(db: &Db<'_>) -> Result<Option<String>, ClientError> {
    let mut query = db.conn.prepare_cached("SELECT value FROM meta WHERE key = 'epoch'")?;
    Ok(query.query_row([], |row| row.get(0)).optional()?)
}

/// How each conversation's log stands, the newest first.
pub(crate) fn logs(db: &Db<'_>) -> Result<Vec<LogView>, ClientError> {
    let mut query = db.conn.prepare_cached(
        "SELECT cid, id, head, floor FROM conversations WHERE is_local = 0 ORDER BY last_ts DESC",
    )?;
    let rows = query
        .query_map([], |row| {
            let (head, floor) = (sql::seq(row, "head")?, sql::seq(row, "floor")?);
            Ok((row.get::<_, i64>("cid")?, sql::conversation(row, "id")?, head, floor))
        })?
        .collect::<Result<Vec<_>, _>>()?;
    rows.into_iter().map(|(cid, id, head, floor)| log_view(db, cid, id, head, floor)).collect()
}

fn log_view(
    db: &Db<'_>,
    cid: i64,
    id: ConversationId,
    head: Seq,
    floor: Seq,
) -> Result<LogView, ClientError> {
    let ranges = ranges::all(db, cid)?;
    let visible = conversations::visible(db, cid)?;
    let lowest = ranges.first().map_or(head.next(), |range| range.low);
    // How many of the seqs up to `to` may be seen, and are here.
    let seen = |to: Seq| -> u64 {
        let part = |(from, end): &(Seq, Option<Seq>)| {
            let (from, end) = ((*from).max(floor), end.unwrap_or(to).min(to));
            end.0.saturating_add(1).saturating_sub(from.0)
        };
        visible.iter().map(part).fold(0, u64::saturating_add)
    };
    let lengths = ranges.iter().map(|range| (range.high.0 - range.low.0).saturating_add(1));
    let here = lengths.fold(0, u64::saturating_add);
    let older = seen(lowest.previous());
    let missing = seen(head).saturating_sub(older.saturating_add(here));
    let number = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
    let in_sync_to = ranges.last().map_or(Seq::ZERO, |range| range.high);
    Ok(LogView {
        conversation: id,
        title: list::title_of(db, id)?,
        in_sync_to,
        head,
        missing: number(missing),
        older: number(older),
    })
}

/// Those that lack something before the others, and not too many of them.
pub(crate) fn named(mut logs: Vec<LogView>) -> Vec<LogView> {
    logs.sort_by_key(|log| log.missing == 0);
    logs.truncate(NAMED);
    logs
}

//! What others wrote and the server has lost (S7): it stays, in its place, until a device of the sender brings it back.
//!
//! Such a row has no seq, and a `local` below 0 that says its place: behind the last seq that both logs have, in the
//! order that it had. Once the event is numbered again, the row is an ordinary one.

use super::{Message, message};
use crate::{
    ClientError,
    store::{Db, Tx, conversations, ranges, sql},
};
use kith_protocol::{Event, EventId, Seq};
use rusqlite::{OptionalExtension, params};

/// `local` of the first one behind seq 0.
const FIRST: i64 = -(1 << 62);
/// How many are kept behind one seq; the older ones go.
const MOST: i64 = 1_000;

/// The place in the timeline: between a seq and the half that a gap behind the next one has, in decimals so short that
/// they survive being written down.
pub(crate) fn order(local: i64) -> f64 {
    let place = local - FIRST;
    let (seq, number) = (place / MOST, place % MOST);
    (seq * 10_000 + 6_000 + 3 * number) as f64 / 10_000.0
}

/// The least `local` that may be at a place or above.
fn floor(place: f64) -> i64 {
    let seq = place.clamp(0.0, (1_u64 << 50) as f64).floor();
    let number = ((place - seq) * 10_000.0 - 6_000.0) / 3.0;
    FIRST + seq as i64 * MOST + (number.clamp(0.0, MOST as f64) as i64 - 1).max(0)
}

/// Keeps the messages of others among events that are cut off behind `behind`; what was deleted goes.
pub(crate) fn keep(tx: &mut Tx<'_>, cid: i64, behind: Seq, events: &[Event]) -> Result<(), ClientError> {
    let first = FIRST + behind.as_i64() * MOST;
    let mut query = tx.conn.prepare_cached(
        "SELECT max(local) FROM messages WHERE cid = ?1 AND seq IS NULL AND local >= ?2 AND local < ?3",
    )?;
    let taken: Option<i64> = query.query_row(params![cid, first, first + MOST], |row| row.get(0))?;
    drop(query);
    let mut next = taken.map_or(first, |taken| taken + 1);
    let others: Vec<_> =
        events.iter().filter(|event| event.kind == "message" && event.sender != tx.me).collect();
    let room = usize::try_from(first + MOST - next).unwrap_or(0);
    let too_many = others.len().saturating_sub(room);
    for (number, event) in others.into_iter().enumerate() {
        let is_kept = number >= too_many && !event.redacted && !is_deleted(tx, cid, event)?;
        if !is_kept {
            super::remove(tx, cid, event.id)?;
            continue;
        }
        tx.lines.insert(cid);
        tx.conn
            .prepare_cached("UPDATE messages SET seq = NULL, local = ?3 WHERE cid = ?1 AND id = ?2")?
            .execute(params![cid, event.id.as_bytes(), next])?;
        next += 1;
    }
    Ok(())
}

/// The place of a lost message; `None` if it is not one.
pub(crate) fn place(db: &Db<'_>, cid: i64, id: EventId) -> Result<Option<i64>, ClientError> {
    let mut query = db.conn.prepare_cached(
        "SELECT local FROM messages WHERE cid = ?1 AND id = ?2 AND seq IS NULL AND local < 0",
    )?;
    Ok(query.query_row(params![cid, id.as_bytes()], |row| row.get(0)).optional()?)
}

/// A lost message of this place came back. Its sender's device sends lost messages in the order of the log. An earlier
/// one that is still missing was deleted, unless it answers a message that the server does not have: then it waits for
/// its target (S7).
///
/// A target without a row here may be in a part of the log that is not stored. If all of it is stored, the target is lost.
pub(crate) fn came_back(tx: &mut Tx<'_>, cid: i64, event: &Event, local: i64) -> Result<(), ClientError> {
    let from = conversations::visible(tx, cid)?.first().map_or(Seq(1), |(from, _)| *from);
    let behind = Seq::from_i64((local - FIRST) / MOST);
    let is_whole =
        behind < from || ranges::all(tx, cid)?.iter().any(|range| range.low <= from && range.high >= behind);
    let mut query = tx.conn.prepare_cached(
        "SELECT lost.id FROM messages AS lost
         LEFT JOIN messages AS target ON target.cid = ?1 AND target.id = lost.reply_to
         WHERE lost.cid = ?1 AND lost.sender = ?2 AND lost.seq IS NULL AND lost.local < ?3
           AND (lost.reply_to IS NULL OR target.seq <= ?4 OR (target.id IS NULL AND NOT ?5))",
    )?;
    let bound = params![cid, event.sender.as_bytes(), local, event.seq.as_i64(), is_whole];
    let older = query.query_map(bound, |row| sql::event(row, "id"))?.collect::<Result<Vec<_>, _>>()?;
    drop(query);
    older.into_iter().try_for_each(|id| super::remove(tx, cid, id))
}

/// It was deleted before it came back.
pub(crate) fn forget(tx: &mut Tx<'_>, cid: i64, id: EventId) -> Result<(), ClientError> {
    if place(tx, cid, id)?.is_some() { super::remove(tx, cid, id) } else { Ok(()) }
}

fn is_deleted(tx: &Tx<'_>, cid: i64, event: &Event) -> Result<bool, ClientError> {
    let mut query = tx.conn.prepare_cached("SELECT is_deleted FROM messages WHERE cid = ?1 AND id = ?2")?;
    let found = query.query_row(params![cid, event.id.as_bytes()], |row| row.get(0)).optional()?;
    Ok(found.unwrap_or(true))
}

/// At most `limit` of a conversation: before a place, newest first, or from a place on.
pub(crate) fn read(
    db: &Db<'_>,
    cid: i64,
    place: f64,
    limit: usize,
    is_backward: bool,
) -> Result<Vec<Message>, ClientError> {
    let (sql, bound) = if is_backward {
        (
            "SELECT cid, id, seq, local, sender, ts, text, reply_to, edited_seq, is_deleted, is_pinned, reactions
             FROM messages WHERE cid = ?1 AND seq IS NULL AND local < min(?2, 0) ORDER BY local DESC LIMIT ?3",
            floor(place) + 3,
        )
    } else {
        (
            "SELECT cid, id, seq, local, sender, ts, text, reply_to, edited_seq, is_deleted, is_pinned, reactions
             FROM messages WHERE cid = ?1 AND seq IS NULL AND local >= ?2 AND local < 0 ORDER BY local LIMIT ?3",
            floor(place),
        )
    };
    let mut query = db.conn.prepare_cached(sql)?;
    // The bound is a little too wide on purpose.
    let rows = query.query_map(params![cid, bound, limit as i64 + 3], message)?;
    let mut found = rows.collect::<Result<Vec<_>, _>>()?;
    found.retain(|one| (one.order() < place) == is_backward);
    found.truncate(limit);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_rise_lie_between_the_seqs_and_survive_being_written() {
        for seq in [0, 1, 41, 1_000_000, 3_000_000_000] {
            let first = FIRST + seq * MOST;
            let mut before = seq as f64 + 0.5;
            for local in first..first + MOST {
                let place = order(local);
                assert!(before < place && place < seq as f64 + 1.0, "{seq} {local}");
                assert_eq!(serde_json::from_str::<f64>(&place.to_string()).unwrap(), place);
                assert!((floor(place)..floor(place) + 3).contains(&local), "{seq} {local}");
                before = place;
            }
        }
    }
}

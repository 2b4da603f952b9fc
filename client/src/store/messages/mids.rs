//! Where a message stands among all: mids rise with time, so the newest first is the order of rowids, which is what makes
//! a search over a million messages answer without sorting.

use super::super::Db;
use crate::ClientError;
use kith_protocol::TimestampMs;
use rusqlite::params;

/// mid 0 is at this time, ms.
const EPOCH: i64 = 1_577_836_800_000;
/// Messages of one millisecond that keep their order by mid.
const PER_MS: i64 = 64;

/// The least mid of a time.
fn first(ts: TimestampMs) -> i64 {
    (ts.as_i64() - EPOCH).max(1).saturating_mul(PER_MS)
}

/// The likely mid of a message that follows another one in its log: those of one time have one after the other.
pub(super) fn following(ts: TimestampMs, after: Option<i64>) -> i64 {
    let first = first(ts);
    after.filter(|after| (first..first + PER_MS * 8).contains(after)).map_or(first, |after| after + 1)
}

/// A free mid of a time, or of one soon after it.
pub(super) fn free(db: &Db<'_>, ts: TimestampMs) -> Result<i64, ClientError> {
    let mut query = db.conn.prepare_cached("SELECT max(mid) FROM messages WHERE mid >= ?1 AND mid < ?2")?;
    room(first(ts), |low| {
        let taken: Option<i64> = query.query_row(params![low, low + PER_MS], |row| row.get(0))?;
        Ok(taken)
    })
}

/// A free place at `start` or not far behind, where `taken` answers the highest one taken of the millisecond that begins
/// at a place. Where much was written within a short time, milliseconds are full for long: the way is doubled until one
/// has room, and then halved back to one that follows a full one, so that a million full ones are forty questions.
fn room(
    start: i64,
    mut taken: impl FnMut(i64) -> Result<Option<i64>, ClientError>,
) -> Result<i64, ClientError> {
    let mut at = |ms: i64| {
        let low = start.saturating_add(ms.saturating_mul(PER_MS));
        let next = taken(low)?.map_or(low, |highest| highest + 1);
        Ok::<_, ClientError>((next < low + PER_MS).then_some(next))
    };
    if let Some(free) = at(0)? {
        return Ok(free);
    }
    let (mut full, mut ms) = (0, 1);
    let mut found = loop {
        match at(ms)? {
            Some(free) => break free,
            None => (full, ms) = (ms, ms * 2),
        }
    };
    while ms - full > 1 {
        let middle = full + (ms - full) / 2;
        match at(middle)? {
            Some(free) => (ms, found) = (middle, free),
            None => full = middle,
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The place found and the number of questions, where so many milliseconds are full and the next one holds `more`.
    fn asked(full: i64, more: i64) -> (i64, usize) {
        let start = first(TimestampMs(1_800_000_000_000));
        let mut questions = 0;
        let found = room(start, |low| {
            questions += 1;
            let ms = (low - start) / PER_MS;
            Ok(match ms.cmp(&full) {
                std::cmp::Ordering::Less => Some(low + PER_MS - 1),
                std::cmp::Ordering::Equal if more > 0 => Some(low + more - 1),
                _ => None,
            })
        });
        (found.unwrap() - start, questions)
    }

    #[test]
    fn the_first_free_place_is_found_in_few_questions_however_many_are_taken() {
        for full in [0, 1, 2, 3, 5, 63, 64, 65, 1_000, 999_999, 1_000_000] {
            for more in [0, 1, PER_MS - 1] {
                let (found, questions) = asked(full, more);
                assert_eq!(found, full * PER_MS + more, "{full} full, {more} more");
                assert!(questions <= 42, "{questions} questions for {full}");
            }
        }
    }
}

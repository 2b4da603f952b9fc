//! `markers`: how far others have read (R1, R2), the ticks that follow from it, and unread numbers (W7).

use super::{
    Db, Tx, conversations,
    own_state::{self, Own},
    ranges,
};
use crate::{
    ClientError,
    mutation::{self, Mutation},
    view::SendState,
};
use kith_protocol::{ConversationId, Seq, UserId, frame::StateChange};
use rusqlite::{named_params, params};
use std::collections::HashMap;

/// How far the others of a conversation are.
pub(super) struct Others {
    delivered: Seq,
    read: Seq,
    by_user: HashMap<UserId, Seq>,
}

impl Others {
    pub(super) fn of(db: &Db<'_>, cid: i64) -> Result<Self, ClientError> {
        let mut query = db.conn.prepare_cached(
            "SELECT m.user, ifnull(k.delivered, 0), ifnull(k.read, 0)
             FROM members m LEFT JOIN markers k USING (cid, user) WHERE m.cid = ?1 AND m.user <> ?2",
        )?;
        let mut others = Self { delivered: Seq::ZERO, read: Seq::ZERO, by_user: HashMap::new() };
        let mut slowest = None;
        let rows = query.query_map(params![cid, db.me.as_bytes()], |row| {
            let (delivered, read) = (Seq::from_i64(row.get(1)?), Seq::from_i64(row.get(2)?));
            Ok((super::sql::user(row, "user")?, delivered, read))
        })?;
        for row in rows {
            let (user, delivered, read) = row?;
            others.delivered = others.delivered.max(delivered).max(read);
            slowest = Some(slowest.map_or(read, |slowest: Seq| slowest.min(read)));
            others.by_user.insert(user, read);
        }
        others.read = slowest.unwrap_or_default();
        Ok(others)
    }

    /// The tick of an own message.
    pub(super) fn tick(&self, seq: Seq) -> SendState {
        if self.read >= seq {
            SendState::Read
        } else if self.delivered >= seq {
            SendState::Delivered
        } else {
            SendState::Sent
        }
    }

    /// How far one of them has read.
    pub(super) fn read_by(&self, user: UserId) -> Option<Seq> {
        self.by_user.get(&user).copied()
    }
}

/// Takes members' markers; each max-merges.
pub(super) fn put(
    tx: &mut Tx<'_>,
    conversation: ConversationId,
    markers: &[(UserId, Seq, Seq)],
) -> Result<(), ClientError> {
    let Some(cid) = conversations::cid(tx, conversation)? else { return Ok(()) };
    let mut changed = 0;
    for (user, delivered, read) in markers {
        changed += tx
            .conn
            .prepare_cached(
                "INSERT INTO markers (cid, user, delivered, read) VALUES (:cid, :user, :delivered, :read)
                 ON CONFLICT (cid, user) DO UPDATE SET delivered = max(delivered, excluded.delivered),
                     read = max(read, excluded.read)
                 WHERE excluded.delivered > delivered OR excluded.read > read",
            )?
            .execute(named_params! {
                ":cid": cid,
                ":user": user.as_bytes(),
                ":delivered": delivered.as_i64(),
                ":read": read.as_i64(),
            })?;
    }
    if changed > 0 {
        tx.changes.timeline(conversation);
    }
    Ok(())
}

/// The log ends at `high` now. What somebody had read above it was another log's (S7).
pub(super) fn lower(tx: &Tx<'_>, cid: i64, high: Seq) -> Result<(), ClientError> {
    tx.conn
        .prepare_cached(
            "UPDATE markers SET delivered = min(delivered, ?2), read = min(read, ?2)
             WHERE cid = ?1 AND (delivered > ?2 OR read > ?2)",
        )?
        .execute(params![cid, high.as_i64()])?;
    Ok(())
}

/// Unread messages of a conversation (W7): others' messages above the read marker that are not deleted. Where the log
/// between marker and newest range is not stored, the server's number stands for it.
pub(super) fn unread(db: &Db<'_>, cid: i64, own: &Own, head: Seq) -> Result<u32, ClientError> {
    if own.read >= head {
        return Ok(0);
    }
    if ranges::is_covered(db, cid, own.read.next(), head)? {
        let counted = count_others(db, cid, own.read, head)?;
        return Ok(counted + u32::from(mutation::is(Mutation::UnreadOffByOne)));
    }
    let since = count_others(db, cid, own.unread_head.max(own.read), head)?;
    let before = u32::try_from(own.server_unread).unwrap_or(u32::MAX);
    let read_since = count_others(db, cid, own.server_read, own.read.min(own.unread_head))?;
    Ok(before.saturating_sub(read_since).saturating_add(since))
}

/// Others' messages in (above, to] that are not deleted, as far as the log is stored there: what its own count says of
/// each stored part, less what is never unread. Whatever a server counts, no part has more messages than events.
pub(super) fn count_others(db: &Db<'_>, cid: i64, above: Seq, to: Seq) -> Result<u32, ClientError> {
    let mut query = db.conn.prepare_cached(
        "SELECT ifnull(sum(max(0, min(part.high - part.low + 1,
             (SELECT countable FROM events WHERE cid = part.cid AND seq = part.high)
             - (SELECT countable - (kind = 'message') FROM events WHERE cid = part.cid AND seq = part.low)
             - (SELECT count(*) FROM events
                WHERE cid = part.cid AND seq BETWEEN part.low AND part.high AND is_uncounted = 1)))), 0)
         FROM (SELECT cid, max(low, :above + 1) AS low, min(high, :to) AS high FROM log_range
               WHERE cid = :cid AND high > :above AND low <= :to) part",
    )?;
    let bound = named_params! { ":cid": cid, ":above": above.as_i64(), ":to": to.as_i64() };
    Ok(query.query_row(bound, |row| super::sql::count_u32(row, 0))?)
}

/// What reading up to a seq changes (R1): the marker never falls and never passes the head, and whoever looks ends the
/// flag "unread". `None` if nothing changes.
pub(crate) fn advance(
    db: &Db<'_>,
    conversation: ConversationId,
    up_to: Seq,
) -> Result<Option<StateChange>, ClientError> {
    let cid = conversations::known(db, conversation)?;
    let own = own_state::effective(db, cid)?;
    let up_to = up_to.min(conversations::facts(db, cid)?.head);
    let change = StateChange {
        read: Some(up_to).filter(|up_to| *up_to > own.read),
        unread_flag: (own.unread_flag && up_to >= own.read).then_some(false),
        ..StateChange::of(conversation)
    };
    Ok(Some(change).filter(|change| *change != StateChange::of(conversation)))
}

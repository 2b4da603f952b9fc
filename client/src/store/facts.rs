//! Facts: title, members and the user's own intervals, from heads and from events.

use super::{Db, Tx, conversations, members, people, ranges, sql};
use crate::ClientError;
use kith_protocol::{
    ConversationId, EventContent, Seq,
    event::{MemberBody, MemberChange, Role},
};
use rusqlite::params;
use serde_json::Value;

/// Extends the known facts to the end of the range that begins right after them. Events above a gap apply at once; after
/// the gap closes, all apply again in order.
pub(super) fn catch_up(tx: &mut Tx<'_>, cid: i64, as_of: Seq) -> Result<(), ClientError> {
    let ranges = ranges::all(tx, cid)?;
    let Some(range) = ranges.iter().find(|range| range.low <= as_of.next() && as_of < range.high) else {
        return Ok(());
    };
    take(tx, cid, as_of, range.high)?;
    tx.conn
        .prepare_cached("UPDATE conversations SET facts_as_of = ?2 WHERE cid = ?1")?
        .execute(params![cid, range.high.as_i64()])?;
    Ok(())
}

/// Heads have set the facts as of `as_of`. Stored events above it apply again, also those above a gap.
pub(super) fn told(tx: &mut Tx<'_>, cid: i64, as_of: Seq) -> Result<(), ClientError> {
    take(tx, cid, as_of, Seq(i64::MAX.unsigned_abs()))?;
    catch_up(tx, cid, as_of)
}

/// The server does not name the conversation at the beginning of a connection. What is known above the stored events may
/// come from a log that is lost. Whatever comes next replaces it (S7).
pub(super) fn let_go(tx: &Tx<'_>, cid: i64) -> Result<(), ClientError> {
    tx.conn
        .prepare_cached(
            "UPDATE conversations SET facts_as_of = min(facts_as_of,
                 ifnull((SELECT max(r.high) FROM log_range r WHERE r.cid = conversations.cid), 0))
             WHERE cid = ?1",
        )?
        .execute([cid])?;
    Ok(())
}

/// The member list is complete as of `as_of`. Stored member events above it apply again.
pub(super) fn members_told(
    tx: &mut Tx<'_>,
    conversation: ConversationId,
    as_of: Option<Seq>,
) -> Result<(), ClientError> {
    let Some((cid, as_of)) = conversations::cid(tx, conversation)?.zip(as_of) else { return Ok(()) };
    members::listed(tx, cid, as_of)?;
    let above = between(tx, cid, as_of, Seq(i64::MAX.unsigned_abs()))?;
    for (seq, kind, body) in above.into_iter().filter(|(_, kind, _)| kind == "member") {
        apply(tx, cid, seq, &kind, body.as_ref())?;
    }
    Ok(())
}

/// Applies the stored member and title events above `above`, up to `to`, in order.
fn take(tx: &mut Tx<'_>, cid: i64, above: Seq, to: Seq) -> Result<(), ClientError> {
    for (seq, kind, body) in between(tx, cid, above, to)? {
        apply(tx, cid, seq, &kind, body.as_ref())?;
    }
    Ok(())
}

/// A stored event that changes title or members: its seq, kind and body.
type Fact = (Seq, String, Option<Value>);

fn between(db: &Db<'_>, cid: i64, above: Seq, to: Seq) -> Result<Vec<Fact>, ClientError> {
    let mut query = db.conn.prepare_cached(
        "SELECT seq, kind, body FROM events
         WHERE cid = ?1 AND seq > ?2 AND seq <= ?3 AND kind IN ('member', 'title') ORDER BY seq",
    )?;
    let rows = query
        .query_map(params![cid, above.as_i64(), to.as_i64()], |row| {
            let body: Option<String> = row.get("body")?;
            let body = body.map(|text| sql::read_json::<Value>(&text)).transpose()?;
            Ok((sql::seq(row, "seq")?, row.get::<_, String>("kind")?, body))
        })?
        .collect::<Result<Vec<_>, _>>()?;
    Ok(rows)
}

/// Applies a title or member event.
pub(super) fn apply(
    tx: &mut Tx<'_>,
    cid: i64,
    seq: Seq,
    kind: &str,
    body: Option<&Value>,
) -> Result<(), ClientError> {
    match EventContent::parse_stored(kind, None, body.unwrap_or(&Value::Null)) {
        Ok(EventContent::Title(title)) => {
            tx.conn
                .prepare_cached("UPDATE conversations SET title = ?2 WHERE cid = ?1")?
                .execute(params![cid, title.text])?;
        }
        Ok(EventContent::Member(member)) => {
            people::want_if_unknown(tx, member.user)?;
            apply_member(tx, cid, seq, &member)?;
        }
        _ => {}
    }
    Ok(())
}

fn apply_member(tx: &mut Tx<'_>, cid: i64, seq: Seq, member: &MemberBody) -> Result<(), ClientError> {
    let role = member.role.unwrap_or(Role::Member);
    let is_in = match member.change {
        MemberChange::Added | MemberChange::Role => {
            members::put(tx, cid, member.user, role)?;
            true
        }
        MemberChange::Removed | MemberChange::Left => {
            members::remove(tx, cid, member.user)?;
            false
        }
    };
    if member.user == tx.me && member.change != MemberChange::Role {
        let mut visible = conversations::visible(tx, cid)?;
        match visible.last_mut() {
            Some((from, to @ None)) if !is_in && *from <= seq => *to = Some(seq),
            Some((_, None)) => {}
            // Applied again after a gap closed: the interval exists.
            Some((from, _)) if *from >= seq => {}
            _ if is_in => visible.push((seq, None)),
            _ => {}
        }
        conversations::set_visible(tx, cid, &visible)?;
    }
    members::count_again(tx, cid)
}

//! `members`: who is in a conversation, as far as the list is known here.

use super::{Db, Tx, conversations, overlay, people, sql};
use crate::ClientError;
use kith_protocol::{
    ConversationId, EventContent, Seq, UserId,
    event::{MemberChange, Role},
    frame::MemberItem,
};
use rusqlite::{OptionalExtension, params};

/// The members that are known, oneself included; with what waits in the outbox.
pub(crate) fn all(db: &Db<'_>, cid: i64) -> Result<Vec<(UserId, Role)>, ClientError> {
    let mut members = stored(db, cid)?;
    for change in overlay::member_changes(db, cid)? {
        members.retain(|(user, _)| *user != change.user);
        match change.change {
            MemberChange::Added | MemberChange::Role => {
                members.push((change.user, change.role.unwrap_or(Role::Member)));
            }
            MemberChange::Removed | MemberChange::Left => {}
        }
    }
    Ok(members)
}

fn stored(db: &Db<'_>, cid: i64) -> Result<Vec<(UserId, Role)>, ClientError> {
    let mut query = db.conn.prepare_cached("SELECT user, role FROM members WHERE cid = ?1 ORDER BY user")?;
    let rows = query.query_map([cid], |row| Ok((sql::user(row, "user")?, sql::role(row, "role")?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// One's own role; `None` for a former member.
pub(crate) fn own_role(db: &Db<'_>, cid: i64) -> Result<Option<Role>, ClientError> {
    let left = overlay::member_changes(db, cid)?.iter().any(|change| {
        change.user == db.me && matches!(change.change, MemberChange::Left | MemberChange::Removed)
    });
    // The last interval says whether the membership lasts; the list of a large group may not be here.
    let lasts = conversations::visible(db, cid)?.last().is_some_and(|(_, to)| to.is_none());
    if left || !lasts {
        return Ok(None);
    }
    let mut query = db.conn.prepare_cached("SELECT role FROM members WHERE cid = ?1 AND user = ?2")?;
    let role = query.query_row(params![cid, db.me.as_bytes()], |row| sql::role(row, "role")).optional()?;
    Ok(Some(role.unwrap_or(Role::Member)))
}

/// Who added the user to a group: the author of the event that begins the membership, or the owner if the user is a member
/// from the first event. `None` if unknown, and in the user's own group.
pub(super) fn added_by(db: &Db<'_>, cid: i64) -> Result<Option<UserId>, ClientError> {
    let Some((from, None)) = conversations::visible(db, cid)?.last().copied() else { return Ok(None) };
    let mut query =
        db.conn.prepare_cached("SELECT sender, kind, body FROM events WHERE cid = ?1 AND seq = ?2")?;
    let first = query.query_row(params![cid, from.as_i64()], |row| {
        Ok((sql::user(row, "sender")?, row.get::<_, String>("kind")?, row.get::<_, Option<String>>("body")?))
    });
    if let Some((sender, kind, Some(body))) = first.optional()?
        && let Ok(EventContent::Member(member)) =
            EventContent::parse_stored(&kind, None, &sql::read_json(&body)?)
        && (member.user, member.change) == (db.me, MemberChange::Added)
    {
        return Ok(Some(sender).filter(|sender| *sender != db.me));
    }
    if from > Seq(1) {
        return Ok(None);
    }
    let owners: Vec<UserId> =
        stored(db, cid)?.into_iter().filter(|(_, role)| *role == Role::Owner).map(|(user, _)| user).collect();
    Ok(owners.first().copied().filter(|_| !owners.contains(&db.me)))
}

/// Up to where the list is complete.
pub(super) fn as_of(db: &Db<'_>, cid: i64) -> Result<Seq, ClientError> {
    let mut query = db.conn.prepare_cached("SELECT members_as_of FROM conversations WHERE cid = ?1")?;
    Ok(query.query_row([cid], |row| sql::seq(row, 0))?)
}

/// The list is complete up to `as_of`.
pub(super) fn listed(tx: &Tx<'_>, cid: i64, as_of: Seq) -> Result<(), ClientError> {
    tx.conn
        .prepare_cached("UPDATE conversations SET members_as_of = ?2 WHERE cid = ?1")?
        .execute(params![cid, as_of.as_i64()])?;
    Ok(())
}

/// How many are listed here.
pub(super) fn count(db: &Db<'_>, cid: i64) -> Result<u32, ClientError> {
    let mut query = db.conn.prepare_cached("SELECT count(*) FROM members WHERE cid = ?1")?;
    Ok(query.query_row([cid], |row| row.get(0))?)
}

pub(super) fn put(tx: &Tx<'_>, cid: i64, user: UserId, role: Role) -> Result<(), ClientError> {
    tx.conn
        .prepare_cached(
            "INSERT INTO members (cid, user, role) VALUES (?1, ?2, ?3)
             ON CONFLICT (cid, user) DO UPDATE SET role = excluded.role, is_stale = 0",
        )?
        .execute(params![cid, user.as_bytes(), role.as_str()])?;
    Ok(())
}

pub(super) fn remove(tx: &Tx<'_>, cid: i64, user: UserId) -> Result<(), ClientError> {
    tx.conn
        .prepare_cached("DELETE FROM members WHERE cid = ?1 AND user = ?2")?
        .execute(params![cid, user.as_bytes()])?;
    Ok(())
}

/// The number of members follows the list, where the list is whole.
pub(super) fn count_again(tx: &Tx<'_>, cid: i64) -> Result<(), ClientError> {
    tx.conn
        .prepare_cached(
            "UPDATE conversations SET member_count = (SELECT count(*) FROM members WHERE cid = ?1) WHERE cid = ?1",
        )?
        .execute([cid])?;
    Ok(())
}

pub(super) fn replace(tx: &Tx<'_>, cid: i64, members: &[(UserId, Role)]) -> Result<(), ClientError> {
    begin(tx, cid)?;
    for (user, role) in members {
        put(tx, cid, *user, *role)?;
    }
    finish(tx, cid)
}

/// A part of the list (`members` frames).
pub(super) fn put_part(
    tx: &mut Tx<'_>,
    conversation: ConversationId,
    items: &[MemberItem],
    is_first: bool,
    is_last: bool,
) -> Result<(), ClientError> {
    let Some(cid) = conversations::cid(tx, conversation)? else { return Ok(()) };
    if is_first {
        begin(tx, cid)?;
    }
    for item in items {
        put(tx, cid, item.user, item.role)?;
        people::want_if_unknown(tx, item.user)?;
    }
    if is_last {
        finish(tx, cid)?;
        count_again(tx, cid)?;
        tx.changes.timeline(conversation);
    }
    Ok(())
}

fn begin(tx: &Tx<'_>, cid: i64) -> Result<(), ClientError> {
    tx.conn.prepare_cached("UPDATE members SET is_stale = 1 WHERE cid = ?1")?.execute([cid])?;
    Ok(())
}

fn finish(tx: &Tx<'_>, cid: i64) -> Result<(), ClientError> {
    tx.conn.prepare_cached("DELETE FROM members WHERE cid = ?1 AND is_stale = 1")?.execute([cid])?;
    Ok(())
}

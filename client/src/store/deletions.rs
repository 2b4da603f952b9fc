//! Deletions that the server has lost (S7). This device does not send the message again, but another one may. When the
//! message comes, it is deleted once more.

use super::{Db, Tx, members, project, unsent};
use crate::ClientError;
use kith_protocol::{Event, EventId};
use rusqlite::params;

/// Remembers that this user deleted a message.
pub(super) fn keep(tx: &Tx<'_>, cid: i64, id: EventId) -> Result<(), ClientError> {
    tx.conn
        .prepare_cached("INSERT INTO deletions (cid, id) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
        .execute(params![cid, id.as_bytes()])?;
    Ok(())
}

/// Whether any is remembered in a conversation.
pub(super) fn has_some(db: &Db<'_>, cid: i64) -> Result<bool, ClientError> {
    let mut query = db.conn.prepare_cached("SELECT EXISTS (SELECT 1 FROM deletions WHERE cid = ?1)")?;
    Ok(query.query_row([cid], |row| row.get(0))?)
}

/// Whether this user deleted a message that the server lost together with its deletion.
pub(super) fn is_kept(db: &Db<'_>, cid: i64, id: EventId) -> Result<bool, ClientError> {
    let mut query =
        db.conn.prepare_cached("SELECT EXISTS (SELECT 1 FROM deletions WHERE cid = ?1 AND id = ?2)")?;
    Ok(query.query_row(params![cid, id.as_bytes()], |row| row.get(0))?)
}

/// A message came. If this user had deleted it, the deletion is sent again.
pub(super) fn came(tx: &mut Tx<'_>, cid: i64, event: &Event) -> Result<(), ClientError> {
    let forgotten = tx
        .conn
        .prepare_cached("DELETE FROM deletions WHERE cid = ?1 AND id = ?2")?
        .execute(params![cid, event.id.as_bytes()])?;
    if forgotten == 0 || event.redacted || project::is_deleted(tx, cid, event.id)? {
        return Ok(());
    }
    let role = members::own_role(tx, cid)?;
    let may_delete = event.sender == tx.me || role.is_some_and(|role| role.may_manage());
    if may_delete { unsent::push_delete(tx, cid, event.id) } else { Ok(()) }
}

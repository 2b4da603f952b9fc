//! `drafts`: unsent text, with the server's version that it stands on (R4). No text is ever replaced by another one
//! that the user has not seen.

use super::{Db, Tx, conversations, outbox, sql};
use crate::ClientError;
use kith_protocol::frame::{Draft, DraftChange, OwnState, StateChange};
use rusqlite::{OptionalExtension, Row, named_params};

#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct LocalDraft {
    /// What is shown; empty for none.
    pub(crate) text: String,
    /// The server's version that it stands on.
    pub(super) base: u64,
    pub(super) sent: Option<String>,
    pub(super) is_dirty: bool,
    /// What another device wrote at the same time.
    pub(crate) conflict: Option<String>,
    /// The server's draft that came while this one was on its way, and its version.
    newer: Option<(String, u64)>,
}

pub(crate) fn get(db: &Db<'_>, cid: i64) -> Result<LocalDraft, ClientError> {
    let mut query = db.conn.prepare_cached(
        "SELECT text, base, sent, is_dirty, conflict, newer, newer_version FROM drafts WHERE cid = ?1",
    )?;
    let read = |row: &Row<'_>| {
        let newer_version = sql::count(row, "newer_version")?;
        Ok(LocalDraft {
            text: row.get("text")?,
            base: sql::count(row, "base")?,
            sent: row.get("sent")?,
            is_dirty: row.get("is_dirty")?,
            conflict: row.get("conflict")?,
            newer: row.get::<_, Option<String>>("newer")?.map(|text| (text, newer_version)),
        })
    };
    Ok(query.query_row([cid], read).optional()?.unwrap_or_default())
}

fn put(tx: &Tx<'_>, cid: i64, draft: &LocalDraft) -> Result<(), ClientError> {
    tx.conn
        .prepare_cached(
            "INSERT INTO drafts (cid, text, base, sent, is_dirty, conflict, newer, newer_version, changed_at)
             VALUES (:cid, :text, :base, :sent, :is_dirty, :conflict, :newer, :newer_version, :now)
             ON CONFLICT (cid) DO UPDATE SET text = excluded.text, base = excluded.base, sent = excluded.sent,
                 is_dirty = excluded.is_dirty, conflict = excluded.conflict, newer = excluded.newer,
                 newer_version = excluded.newer_version, changed_at = excluded.changed_at",
        )?
        .execute(named_params! {
            ":cid": cid,
            ":text": draft.text,
            ":base": i64::try_from(draft.base).unwrap_or(i64::MAX),
            ":sent": draft.sent,
            ":is_dirty": draft.is_dirty,
            ":conflict": draft.conflict,
            ":newer": draft.newer.as_ref().map(|(text, _)| text),
            ":newer_version": draft.newer.as_ref().map_or(0, |(_, version)| i64::try_from(*version).unwrap_or(i64::MAX)),
            ":now": tx.now.as_i64(),
        })?;
    Ok(())
}

/// Keeps what the user wrote, and sends it when its turn comes.
pub(crate) fn set(tx: &mut Tx<'_>, cid: i64, text: &str) -> Result<(), ClientError> {
    let draft = get(tx, cid)?;
    if draft.text == text {
        return Ok(());
    }
    put(tx, cid, &LocalDraft { text: text.to_owned(), is_dirty: true, ..draft })?;
    let id = conversations::id_of(tx, cid)?;
    tx.changes.row(id);
    send_if_dirty(tx, cid)
}

/// Ends a conflict with the text that the user chose.
pub(crate) fn keep(tx: &mut Tx<'_>, cid: i64, text: &str) -> Result<(), ClientError> {
    let draft = get(tx, cid)?;
    let is_dirty = draft.is_dirty || draft.conflict.as_deref() != Some(text);
    put(tx, cid, &LocalDraft { text: text.to_owned(), conflict: None, is_dirty, ..draft })?;
    let id = conversations::id_of(tx, cid)?;
    tx.changes.row(id);
    send_if_dirty(tx, cid)
}

/// Puts the draft into the outbox. A conversation that the server does not know keeps it here until it is made, and
/// a conflict keeps it until the user has chosen.
pub(super) fn send_if_dirty(tx: &mut Tx<'_>, cid: i64) -> Result<(), ClientError> {
    let draft = get(tx, cid)?;
    if !draft.is_dirty || draft.conflict.is_some() || conversations::is_local(tx, cid)? {
        return Ok(());
    }
    let change = DraftChange { text: draft.text, base: draft.base };
    let conversation = conversations::id_of(tx, cid)?;
    outbox::push_state(tx, cid, StateChange { draft: Some(change), ..StateChange::of(conversation) })
}

/// The draft as it leaves: its base is the version on which the text stands at this moment. `None` while the user has to
/// choose between two texts, or if the server's has taken its place: it would overwrite what nobody has seen.
pub(super) fn sending(
    tx: &Tx<'_>,
    cid: i64,
    mut change: DraftChange,
) -> Result<Option<DraftChange>, ClientError> {
    let draft = get(tx, cid)?;
    let is_replaced = draft != LocalDraft::default() && !draft.is_dirty && draft.text != change.text;
    if draft.conflict.is_some() || is_replaced {
        return Ok(None);
    }
    change.base = draft.base;
    put(tx, cid, &LocalDraft { sent: Some(change.text.clone()), newer: None, ..draft })?;
    Ok(Some(change))
}

/// Takes the server's draft.
pub(super) fn from_server(tx: &mut Tx<'_>, cid: i64, theirs: Option<&Draft>) -> Result<(), ClientError> {
    let draft = get(tx, cid)?;
    let (text, version) = theirs.map_or(("", 0), |theirs| (theirs.text.as_str(), theirs.version));
    if version == draft.base && !draft.is_dirty && draft.text == text {
        return Ok(());
    }
    let next = if draft.text == text {
        LocalDraft { base: version, is_dirty: false, conflict: None, ..draft }
    } else if !draft.is_dirty {
        LocalDraft { text: text.to_owned(), base: version, ..draft }
    } else if draft.sent.as_deref() == Some(text) {
        LocalDraft { base: version, ..draft }
    } else if outbox::has_pending_draft(tx, cid)? {
        // What waits stands on the older version: the server will say so when it leaves.
        if !outbox::is_draft_on_its_way(tx, cid)? {
            return Ok(());
        }
        // If the server took ours before this one, the answer to ours is still to come.
        return put(tx, cid, &LocalDraft { newer: Some((text.to_owned(), version)), ..draft });
    } else if version == draft.base {
        // The server refused it while the user was not a member.
        return if conversations::has_left(tx, cid)? { Ok(()) } else { send_if_dirty(tx, cid) };
    } else {
        in_conflict(draft, text, version)
    };
    put(tx, cid, &LocalDraft { newer: None, ..next })?;
    let id = conversations::id_of(tx, cid)?;
    tx.changes.row(id);
    Ok(())
}

/// Own state came that is older than what is known. If it says that the server had the draft that was sent, the newer one
/// that came before it counts.
pub(super) fn overtaken(tx: &mut Tx<'_>, cid: i64, theirs: Option<&Draft>) -> Result<(), ClientError> {
    let draft = get(tx, cid)?;
    let text = theirs.map_or("", |theirs| theirs.text.as_str());
    let Some((newer, version)) = draft.newer.clone() else { return Ok(()) };
    if !draft.is_dirty || draft.text != text || draft.sent.as_deref() != Some(text) {
        return Ok(());
    }
    put(tx, cid, &LocalDraft { is_dirty: false, newer: None, ..draft })?;
    from_server(tx, cid, Some(&Draft { text: newer, version }))
}

/// The answer to a draft has come. Where it said nothing of the newer one, the server refused ours, and the newer one
/// counts.
pub(super) fn answered(tx: &mut Tx<'_>, cid: i64) -> Result<(), ClientError> {
    let draft = get(tx, cid)?;
    match draft.newer {
        Some((text, version)) if !outbox::has_pending_draft(tx, cid)? => {
            from_server(tx, cid, Some(&Draft { text, version }))
        }
        _ => Ok(()),
    }
}

/// The server refused the draft: both texts are kept for the user to choose.
pub(super) fn conflict(tx: &mut Tx<'_>, cid: i64, current: &OwnState) -> Result<(), ClientError> {
    let draft = get(tx, cid)?;
    let (text, version) =
        current.draft.as_ref().map_or(("", 0), |theirs| (theirs.text.as_str(), theirs.version));
    let next = if draft.text == text {
        LocalDraft { base: version, is_dirty: false, conflict: None, ..draft }
    } else {
        in_conflict(draft, text, version)
    };
    let is_alone = next.conflict.is_none() && next.is_dirty;
    put(tx, cid, &next)?;
    let id = conversations::id_of(tx, cid)?;
    tx.changes.row(id);
    if is_alone { send_if_dirty(tx, cid) } else { Ok(()) }
}

fn in_conflict(draft: LocalDraft, theirs: &str, version: u64) -> LocalDraft {
    // A draft that was sent or emptied elsewhere leaves nothing to choose from; neither does an empty one here.
    if theirs.is_empty() {
        return LocalDraft { base: version, ..draft };
    }
    if draft.text.is_empty() {
        return LocalDraft {
            text: theirs.to_owned(),
            base: version,
            is_dirty: false,
            conflict: None,
            ..draft
        };
    }
    LocalDraft { base: version, conflict: Some(theirs.to_owned()), ..draft }
}

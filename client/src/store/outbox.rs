//! `outbox`: what the user did and the server has not numbered or answered (O1–O5). The row's number is the order of
//! writing.

mod transitions;

pub(super) use transitions::{
    acked, done, end, end_answers, end_event, end_relations, failed, queued, sending, take_states,
};

use super::{Db, Tx, apply, conversations, sql};
use crate::{
    ClientError,
    mutation::{self, Mutation},
};
use kith_protocol::{
    ErrorCode, EventContent, EventId, NewEvent, Seq, TimestampMs,
    frame::{Open, StateChange},
};
use kith_sync::{
    ops::{EntryState, OutboxEntry, OutboxWhat},
    resend::Waiting,
};
use rusqlite::{OptionalExtension, Row, named_params, params};
use std::collections::HashSet;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OutboxRow {
    pub(super) item: i64,
    pub(super) cid: i64,
    pub(crate) kind: String,
    pub(crate) id: Option<EventId>,
    pub(super) content: String,
    pub(super) state: String,
    pub(super) code: Option<ErrorCode>,
    pub(super) retry_at: Option<TimestampMs>,
    pub(super) seq: Option<Seq>,
    pub(super) tries: u32,
    pub(super) written_at: TimestampMs,
}

impl OutboxRow {
    /// Whether the server cannot have it: not tried yet, or refused (O7).
    pub(super) fn is_ours_alone(&self) -> bool {
        match self.state.as_str() {
            // Asked about for its age only: an earlier try may have arrived.
            "parked" => self.is_untried() || !(self.code == Some(ErrorCode::TooOld) || self.is_resubmitted()),
            "sending" | "acked" => false,
            _ => self.is_untried(),
        }
    }

    /// The message that it is, or that a relation is about: relations wait for one that was refused for want of what it is
    /// about. A deletion does not wait, for it ends if there is nothing to delete.
    pub(super) fn waits_with(&self) -> Option<EventId> {
        if self.kind == "message" {
            return self.id;
        }
        let waits = matches!(self.kind.as_str(), "edit" | "reaction" | "pin");
        serde_json::from_str::<NewEvent>(&self.content).ok().filter(|_| waits)?.target
    }

    pub(super) fn is_for_want_of_target(&self) -> bool {
        self.state == "parked" && self.code == Some(ErrorCode::TargetMissing)
    }

    fn is_untried(&self) -> bool {
        self.tries == 0 && !self.is_resubmitted()
    }

    /// A rewind queued it again. Other devices may hold it (S7).
    fn is_resubmitted(&self) -> bool {
        let event = serde_json::from_str::<NewEvent>(&self.content);
        event.is_ok_and(|event| event.resubmitted == Some(true))
    }
}

pub(super) fn row(row: &Row<'_>) -> rusqlite::Result<OutboxRow> {
    Ok(OutboxRow {
        item: row.get("item")?,
        cid: row.get("cid")?,
        kind: row.get("kind")?,
        id: sql::event_opt(row, "id")?,
        content: row.get("content")?,
        state: row.get("state")?,
        code: sql::code_opt(row, "code")?,
        retry_at: row.get::<_, Option<i64>>("retry_at")?.map(TimestampMs::from_i64),
        seq: sql::seq_opt(row, "seq")?,
        tries: row.get("tries")?,
        written_at: sql::time(row, "written_at")?,
    })
}

pub(super) fn get(db: &Db<'_>, item: i64) -> Result<Option<OutboxRow>, ClientError> {
    let mut query = db.conn.prepare_cached(
        "SELECT item, cid, kind, id, content, state, code, retry_at, seq, tries, written_at FROM outbox WHERE item = ?1",
    )?;
    Ok(query.query_row([item], row).optional()?)
}

/// The row of an event.
pub(super) fn of_event(db: &Db<'_>, cid: i64, id: EventId) -> Result<Option<OutboxRow>, ClientError> {
    let mut query = db.conn.prepare_cached(
        "SELECT item, cid, kind, id, content, state, code, retry_at, seq, tries, written_at FROM outbox
         WHERE id = ?1 AND cid = ?2",
    )?;
    Ok(query.query_row(params![id.as_bytes(), cid], row).optional()?)
}

/// A conversation's rows of one kind, in order.
pub(super) fn of_kind(db: &Db<'_>, cid: i64, kind: &str) -> Result<Vec<OutboxRow>, ClientError> {
    let mut query = db.conn.prepare_cached(
        "SELECT item, cid, kind, id, content, state, code, retry_at, seq, tries, written_at FROM outbox
         WHERE cid = ?1 AND kind = ?2 ORDER BY item",
    )?;
    Ok(query.query_map(params![cid, kind], row)?.collect::<Result<_, _>>()?)
}

/// Whether anything waits in a conversation.
pub(super) fn has_some(db: &Db<'_>, cid: i64) -> Result<bool, ClientError> {
    let mut query = db.conn.prepare_cached("SELECT EXISTS (SELECT 1 FROM outbox WHERE cid = ?1)")?;
    Ok(query.query_row([cid], |row| row.get(0))?)
}

/// The conversations in which something waits.
pub(super) fn cids(db: &Db<'_>) -> Result<HashSet<i64>, ClientError> {
    let mut query = db.conn.prepare_cached("SELECT DISTINCT cid FROM outbox")?;
    Ok(query.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

/// All rows, in order.
pub(super) fn all(db: &Db<'_>) -> Result<Vec<OutboxRow>, ClientError> {
    let mut query = db.conn.prepare_cached(
        "SELECT item, cid, kind, id, content, state, code, retry_at, seq, tries, written_at FROM outbox ORDER BY item",
    )?;
    Ok(query.query_map([], row)?.collect::<Result<_, _>>()?)
}

/// Queues an event; a conversation that the server does not know is opened first.
pub(crate) fn push_event(
    tx: &mut Tx<'_>,
    cid: i64,
    id: EventId,
    content: &EventContent,
) -> Result<i64, ClientError> {
    open_if_local(tx, cid)?;
    let (kind, target, body) = content.to_wire();
    let event =
        NewEvent { id, kind: kind.to_owned(), target, body, written_at: Some(tx.now), resubmitted: None };
    apply::terms(tx)?.check(&event).map_err(ClientError::Refused)?;
    push(tx, cid, kind, Some(&event), &sql::write_json(&event)?)
}

/// Queues the opening of a conversation that was made here, once, before anything else of it.
pub(crate) fn open_if_local(tx: &mut Tx<'_>, cid: i64) -> Result<(), ClientError> {
    if conversations::is_local(tx, cid)? { push_open(tx, cid) } else { Ok(()) }
}

/// Queues the opening of a conversation, once.
pub(super) fn push_open(tx: &mut Tx<'_>, cid: i64) -> Result<(), ClientError> {
    if !of_kind(tx, cid, "open")?.is_empty() {
        return Ok(());
    }
    let mut query =
        tx.conn.prepare_cached("SELECT id, kind, title, context FROM conversations WHERE cid = ?1")?;
    let (conversation, kind, title, context) = query.query_row([cid], |row| {
        let (kind, title): (String, Option<String>) = (row.get("kind")?, row.get("title")?);
        Ok((sql::conversation(row, "id")?, kind, title, row.get::<_, Option<String>>("context")?))
    })?;
    drop(query);
    let context = context.map(|text| sql::read_json(&text)).transpose()?;
    let members =
        super::members::all(tx, cid)?.into_iter().map(|(user, _)| user).filter(|user| *user != tx.me);
    let kind = kith_protocol::frame::ConversationKind::parse(&kind).ok_or(ClientError::NotFound)?;
    let open = Open { conversation, kind, members: members.collect(), title, context, first: None };
    push(tx, cid, "open", None, &sql::write_json(&open)?)?;
    Ok(())
}

/// Queues a change of own state; what waits and is not on its way takes it in (one row each conversation).
pub(super) fn push_state(tx: &mut Tx<'_>, cid: i64, change: StateChange) -> Result<(), ClientError> {
    open_if_local(tx, cid)?;
    let Some((item, mut whole)) = waiting_state(tx, cid)? else {
        push(tx, cid, "state", None, &sql::write_json(&change)?)?;
        return Ok(());
    };
    put_over(&mut whole, change);
    set_content(tx, item, &sql::write_json(&whole)?)
}

/// Queues changes again that were on their way: what waits is newer than they are.
pub(super) fn push_states_again(
    tx: &mut Tx<'_>,
    cid: i64,
    changes: impl IntoIterator<Item = StateChange>,
) -> Result<(), ClientError> {
    let Some(mut whole) = changes.into_iter().reduce(|mut whole, later| {
        put_over(&mut whole, later);
        whole
    }) else {
        return Ok(());
    };
    let Some((item, newer)) = waiting_state(tx, cid)? else { return push_state(tx, cid, whole) };
    put_over(&mut whole, newer);
    set_content(tx, item, &sql::write_json(&whole)?)
}

fn waiting_state(db: &Db<'_>, cid: i64) -> Result<Option<(i64, StateChange)>, ClientError> {
    let newest = of_kind(db, cid, "state")?.into_iter().next_back().filter(|row| row.state == "queued");
    newest.map(|row| Ok((row.item, sql::read_json(&row.content)?))).transpose()
}

/// Puts a later change over an earlier one.
fn put_over(whole: &mut StateChange, change: StateChange) {
    whole.read = whole.read.max(change.read);
    whole.unread_flag = change.unread_flag.or(whole.unread_flag.filter(|_| change.read.is_none()));
    whole.mute = change.mute.or(whole.mute);
    whole.pin = change.pin.or(whole.pin);
    whole.archive = change.archive.or(whole.archive);
    whole.hidden = change.hidden.or(whole.hidden);
    whole.draft = change.draft.or(whole.draft.take());
}

fn push(
    tx: &mut Tx<'_>,
    cid: i64,
    kind: &str,
    event: Option<&NewEvent>,
    content: &str,
) -> Result<i64, ClientError> {
    tx.conn
        .prepare_cached(
            "INSERT INTO outbox (cid, kind, id, target, content, written_at)
             VALUES (:cid, :kind, :id, :target, :content, :now)",
        )?
        .execute(named_params! {
            ":cid": cid,
            ":kind": kind,
            ":id": event.map(|event| event.id.as_bytes()),
            ":target": event.and_then(|event| event.target.as_ref()).map(EventId::as_bytes),
            ":content": content,
            ":now": tx.now.as_i64(),
        })?;
    let item = tx.conn.last_insert_rowid();
    tell_changed(tx, item)?;
    Ok(item)
}

/// Puts an event back that the server has lost (S7).
pub(super) fn push_back(tx: &mut Tx<'_>, cid: i64, event: &NewEvent) -> Result<i64, ClientError> {
    push(tx, cid, &event.kind.clone(), Some(event), &sql::write_json(event)?)
}

/// The events of a conversation that wait, in order.
pub(super) fn waiting(db: &Db<'_>, cid: i64) -> Result<Vec<Waiting>, ClientError> {
    let mut query = db.conn.prepare_cached(
        "SELECT item, kind, id, target, state, code, seq FROM outbox
         WHERE cid = ?1 AND kind NOT IN ('open', 'state') ORDER BY item",
    )?;
    let rows = query.query_map([cid], |row| {
        let is_parked = row.get::<_, String>("state")? == "parked";
        Ok(Waiting {
            item: row.get("item")?,
            id: sql::event_opt(row, "id")?,
            acked: row.get::<_, Option<i64>>("seq")?.map(|seq| Seq(seq.unsigned_abs())),
            kind: row.get("kind")?,
            target: sql::event_opt(row, "target")?,
            parked: sql::code_opt(row, "code")?.filter(|_| is_parked),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Gives a row a new number behind all others; an answer that is on its way to it counts no more. `is_freed`: it is
/// parked no longer.
pub(super) fn move_to_end(tx: &mut Tx<'_>, item: i64, is_freed: bool) -> Result<(), ClientError> {
    let Some(row) = get(tx, item)? else { return Ok(()) };
    tx.conn
        .prepare_cached(
            "INSERT INTO outbox (cid, kind, target, content, state, code, seq, tries, written_at)
             SELECT cid, kind, target, content, CASE WHEN state IN ('acked', 'parked') THEN state ELSE 'queued' END,
                 code, seq, tries, written_at
             FROM outbox WHERE item = ?1",
        )?
        .execute([item])?;
    let moved = tx.conn.last_insert_rowid();
    tx.conn.prepare_cached("DELETE FROM outbox WHERE item = ?1")?.execute([item])?;
    tx.conn
        .prepare_cached("UPDATE outbox SET id = ?2 WHERE item = ?1")?
        .execute(params![moved, row.id.as_ref().map(EventId::as_bytes)])?;
    if let (Some(id), "message") = (row.id, row.kind.as_str()) {
        super::messages::set_local(tx, row.cid, id, moved)?;
    }
    if is_freed {
        transitions::set_state(tx, moved, "queued")?;
    }
    tx.changes.update.changed.retain(|entry| entry.item != item);
    tx.changes.ended.push(item);
    tell_changed(tx, moved)
}

/// The target of refused relations has come: they wait for their turn again.
pub(super) fn target_came(tx: &mut Tx<'_>, cid: i64, target: EventId) -> Result<(), ClientError> {
    let mut query = tx.conn.prepare_cached(
        "SELECT item FROM outbox WHERE cid = ?1 AND state = 'parked' AND code = 'target_missing'
           AND (target = ?2 OR content ->> '$.body.reply_to' = ?3)",
    )?;
    let bound = params![cid, target.as_bytes(), target.to_string()];
    let items = query.query_map(bound, |row| row.get(0))?.collect::<Result<Vec<i64>, _>>()?;
    drop(query);
    for item in items {
        transitions::set_state(tx, item, "queued")?;
        tell_changed(tx, item)?;
    }
    Ok(())
}

/// Changes what a row will send; it waits for its turn again.
pub(super) fn set_content(tx: &mut Tx<'_>, item: i64, content: &str) -> Result<(), ClientError> {
    tx.conn
        .prepare_cached(
            "UPDATE outbox SET content = ?2, state = 'queued', code = NULL, retry_at = NULL WHERE item = ?1",
        )?
        .execute(params![item, content])?;
    tell_changed(tx, item)
}

/// Makes a row wait for its turn again, by the user's word, which counts from now (O5).
pub(super) fn requeue(tx: &mut Tx<'_>, item: i64) -> Result<(), ClientError> {
    transitions::set_state(tx, item, "queued")?;
    tx.conn
        .prepare_cached("UPDATE outbox SET written_at = ?2 WHERE item = ?1")?
        .execute(params![item, tx.now.as_i64()])?;
    tell_changed(tx, item)
}

/// Drops a row that the user cancelled.
pub(super) fn drop_row(tx: &mut Tx<'_>, item: i64) -> Result<(), ClientError> {
    let row = get(tx, item)?;
    tx.conn.prepare_cached("DELETE FROM outbox WHERE item = ?1")?.execute([item])?;
    tx.changes.update.changed.retain(|entry| entry.item != item);
    tx.changes.update.removed.push(item);
    tell_place(tx, row.as_ref())
}

fn tell_changed(tx: &mut Tx<'_>, item: i64) -> Result<(), ClientError> {
    let row = get(tx, item)?;
    if let Some(row) = &row {
        let entry = entry(tx, row)?;
        tx.changes.update.changed.retain(|known| known.item != item);
        tx.changes.update.changed.push(entry);
    }
    tell_place(tx, row.as_ref())
}

/// Tells where a row is seen.
fn tell_place(tx: &mut Tx<'_>, row: Option<&OutboxRow>) -> Result<(), ClientError> {
    tx.changes.outbox_changed = true;
    if let Some(row) = row {
        let id = conversations::id_of(tx, row.cid)?;
        if row.kind == "state" { tx.changes.row(id) } else { tx.changes.timeline(id) }
    }
    Ok(())
}

/// The row without its content, as the machine keeps it.
pub(super) fn entry(db: &Db<'_>, row: &OutboxRow) -> Result<OutboxEntry, ClientError> {
    let what = match row.kind.as_str() {
        "open" => OutboxWhat::Open,
        "state" => OutboxWhat::State,
        "message" => OutboxWhat::Message,
        "edit" | "reaction" | "pin" | "delete" => OutboxWhat::Relation,
        _ => OutboxWhat::Group,
    };
    let state = match (row.state.as_str(), row.code, row.seq) {
        ("acked", _, Some(seq)) => EntryState::Acked(seq),
        ("parked", code, _) => EntryState::Parked(code.unwrap_or(ErrorCode::Invalid)),
        _ => EntryState::Queued,
    };
    Ok(OutboxEntry {
        item: row.item,
        conversation: conversations::id_of(db, row.cid)?,
        what,
        message: row.waits_with(),
        bytes: u32::try_from(row.content.len()).unwrap_or(u32::MAX),
        state,
        tries: row.tries,
        written_at: row.written_at,
    })
}

/// What the machine starts from; what was `sending` when the process ended is `queued` (O2).
pub(super) fn load(tx: &mut Tx<'_>) -> Result<Vec<OutboxEntry>, ClientError> {
    if !mutation::is(Mutation::SendingStays) {
        tx.conn.execute(
            "UPDATE outbox SET state = 'queued', retry_at = NULL WHERE state IN ('sending', 'retry')",
            [],
        )?;
    }
    all(tx)?.iter().map(|row| entry(tx, row)).collect()
}

/// Changes of own state that wait, in order; refused ones have no effect.
pub(super) fn pending_states(db: &Db<'_>, cid: i64) -> Result<Vec<StateChange>, ClientError> {
    let mut query = db.conn.prepare_cached(
        "SELECT content FROM outbox WHERE cid = ?1 AND kind = 'state' AND state <> 'parked' ORDER BY item",
    )?;
    Ok(query.query_map([cid], |row| sql::json(row, "content"))?.collect::<Result<_, _>>()?)
}

/// Whether a draft has left, and its answer has not come.
pub(super) fn is_draft_on_its_way(db: &Db<'_>, cid: i64) -> Result<bool, ClientError> {
    let mut is_on_its_way = false;
    for row in of_kind(db, cid, "state")?.into_iter().filter(|row| row.state == "sending") {
        is_on_its_way |= sql::read_json::<StateChange>(&row.content)?.draft.is_some();
    }
    Ok(is_on_its_way)
}

/// Whether a draft waits.
pub(super) fn has_pending_draft(db: &Db<'_>, cid: i64) -> Result<bool, ClientError> {
    Ok(pending_states(db, cid)?.iter().any(|change| change.draft.is_some()))
}

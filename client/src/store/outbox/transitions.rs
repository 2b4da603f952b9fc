//! What becomes of a row: it leaves, waits again, fails, is acknowledged, ends (O2, O3).

use super::{OutboxRow, get, of_event, of_kind, row, set_content, tell_changed, tell_place};
use crate::{
    ClientError,
    events::Problem,
    store::{Db, Tx, conversations, deletions, drafts, messages, project, sql, unsent},
};
use kith_protocol::{ErrorCode, EventId, NewEvent, Seq, TimestampMs, frame::StateChange};
use kith_sync::{
    ops::{OutboxItem, OutboxOp},
    resend,
};
use rusqlite::{named_params, params};

/// These rows leave now. Returns their content.
pub(in crate::store) fn sending(tx: &mut Tx<'_>, items: &[i64]) -> Result<(), ClientError> {
    for &item in items {
        let Some(row) = get(tx, item)?.filter(|row| row.state != "parked" && row.state != "acked") else {
            continue;
        };
        let op = match row.kind.as_str() {
            "open" => OutboxOp::Open(sql::read_json(&row.content)?),
            "state" => {
                let mut change: StateChange = sql::read_json(&row.content)?;
                change.draft =
                    change.draft.map(|draft| drafts::sending(tx, row.cid, draft)).transpose()?.flatten();
                OutboxOp::State(change)
            }
            _ => OutboxOp::Event(sql::read_json(&row.content)?),
        };
        tx.conn
            .prepare_cached(
                "UPDATE outbox SET state = 'sending', retry_at = NULL, tries = tries + 1 WHERE item = ?1",
            )?
            .execute([item])?;
        tell_place(tx, Some(&row))?;
        let conversation = conversations::id_of(tx, row.cid)?;
        tx.changes.sending.push(OutboxItem { item, conversation, op });
    }
    Ok(())
}

/// These rows were not answered, or were skipped.
pub(in crate::store) fn queued(tx: &mut Tx<'_>, items: &[i64]) -> Result<(), ClientError> {
    for &item in items {
        if let Some(row) = get(tx, item)?.filter(|row| matches!(row.state.as_str(), "sending" | "acked")) {
            if row.state == "acked" && end_if_deleted(tx, &row)? {
                continue;
            }
            set_state(tx, item, "queued")?;
            tell_place(tx, Some(&row))?;
        }
    }
    Ok(())
}

/// A message that the server has acknowledged and lost is not sent again if its author has deleted it meanwhile (S7);
/// what is about it ends with it.
fn end_if_deleted(tx: &mut Tx<'_>, row: &OutboxRow) -> Result<bool, ClientError> {
    let Some(id) = row.id.filter(|_| row.kind == "message") else { return Ok(false) };
    let about = super::waiting(tx, row.cid)?.into_iter().filter(|waiting| waiting.target == Some(id));
    let about: Vec<_> = about.collect();
    if about.iter().all(|waiting| waiting.kind != "delete") {
        return Ok(false);
    }
    messages::remove(tx, row.cid, id)?;
    deletions::keep(tx, row.cid, id)?;
    end(tx, row.item)?;
    about.into_iter().try_for_each(|waiting| end(tx, waiting.item))?;
    Ok(true)
}

pub(super) fn set_state(tx: &Tx<'_>, item: i64, state: &str) -> Result<(), ClientError> {
    tx.conn
        .prepare_cached(
            "UPDATE outbox SET state = ?2, code = NULL, retry_at = NULL, seq = NULL WHERE item = ?1",
        )?
        .execute(params![item, state])?;
    Ok(())
}

/// These rows met an error. With a time they are tried again; without one they wait for the user. The deletion of a
/// message that the server does not have ends: there is nothing to delete.
pub(in crate::store) fn failed(
    tx: &mut Tx<'_>,
    items: &[i64],
    code: ErrorCode,
    retry_at: Option<TimestampMs>,
) -> Result<(), ClientError> {
    for &item in items {
        let Some(row) = get(tx, item)?.filter(|row| row.state != "acked") else { continue };
        if code == ErrorCode::TargetMissing && retry_at.is_none() && has_target(tx, &row)? {
            set_state(tx, item, "queued")?;
            tell_changed(tx, item)?;
            continue;
        }
        if code == ErrorCode::TargetMissing
            && retry_at.is_none()
            && row.kind == "delete"
            && let Some(target) = target_of(&row)?
            && !is_stored(tx, row.cid, target)?
        {
            deletions::keep(tx, row.cid, target)?;
            end(tx, item)?;
            continue;
        }
        tx.conn
            .prepare_cached(
                "UPDATE outbox SET state = :state, code = :code, retry_at = :retry_at WHERE item = :item",
            )?
            .execute(named_params! {
                ":item": item,
                ":state": if retry_at.is_some() { "retry" } else { "parked" },
                ":code": code.as_str(),
                ":retry_at": retry_at.map(TimestampMs::as_i64),
            })?;
        tell_place(tx, Some(&row))?;
        if retry_at.is_none() && !is_settled(tx, item)? {
            let conversation = Some(conversations::id_of(tx, row.cid)?);
            tx.changes.problem(Problem::Parked { conversation, code });
        }
    }
    Ok(())
}

/// Settles what was refused and needs nobody's word: what it is about was deleted, or it is a message whose deletion waits.
fn is_settled(tx: &mut Tx<'_>, item: i64) -> Result<bool, ClientError> {
    let Some(row) = get(tx, item)?.filter(|row| !matches!(row.kind.as_str(), "open" | "state")) else {
        return Ok(false);
    };
    if row.kind == "message"
        && let Some(id) = row.id
        && is_deletion_waiting(tx, row.cid, id)?
    {
        unsent::cancel_row(tx, &row)?;
        return Ok(true);
    }
    let about = about(&row)?;
    let Some(target) = about.filter(|_| row.kind != "delete") else { return Ok(false) };
    if !project::is_deleted(tx, row.cid, target)? {
        return Ok(false);
    }
    end_relations(tx, row.cid, target)?;
    end_answers(tx, row.cid, target)?;
    Ok(get(tx, item)?.is_none_or(|row| row.state != "parked"))
}

fn is_deletion_waiting(db: &Db<'_>, cid: i64, message: EventId) -> Result<bool, ClientError> {
    let rows = of_kind(db, cid, "delete")?;
    Ok(rows.iter().any(|row| target_of(row).is_ok_and(|target| target == Some(message))))
}

/// What a row changes or answers.
fn about(row: &OutboxRow) -> Result<Option<EventId>, ClientError> {
    let event: NewEvent = sql::read_json(&row.content)?;
    Ok(event.target.or_else(|| project::reply_to(&event.body)))
}

/// Whether what a row changes or answers is stored, though it was refused with `target_missing`. The target may arrive
/// before the refusal does.
fn has_target(tx: &Tx<'_>, row: &OutboxRow) -> Result<bool, ClientError> {
    if row.kind == "state" || row.kind == "open" || row.tries >= resend::TARGET_TRIES_MAX {
        return Ok(false);
    }
    about(row)?.map_or(Ok(false), |target| is_stored(tx, row.cid, target))
}

/// Whether an event is stored and not deleted.
fn is_stored(tx: &Tx<'_>, cid: i64, id: EventId) -> Result<bool, ClientError> {
    let stored = project::stored_event(tx, cid, id)?;
    Ok(stored.is_some_and(|event| !event.redacted) && !project::is_deleted(tx, cid, id)?)
}

pub(super) fn target_of(row: &OutboxRow) -> Result<Option<EventId>, ClientError> {
    Ok(sql::read_json::<NewEvent>(&row.content)?.target)
}

/// The server has numbered the row's event.
pub(in crate::store) fn acked(
    tx: &mut Tx<'_>,
    item: i64,
    id: EventId,
    seq: Seq,
    ts: TimestampMs,
) -> Result<(), ClientError> {
    let Some(row) = get(tx, item)?.filter(|row| row.id == Some(id)) else { return Ok(()) };
    if project::stored_event(tx, row.cid, id)?.is_some() {
        return end_event(tx, row.cid, id);
    }
    tx.conn
        .prepare_cached(
            "UPDATE outbox SET state = 'acked', seq = ?2, code = NULL, retry_at = NULL WHERE item = ?1",
        )?
        .execute(params![item, seq.as_i64()])?;
    if row.kind == "message" {
        messages::set_server_time(tx, row.cid, id, ts)?;
    }
    tell_place(tx, Some(&row))
}

/// Ends the row of an event that is stored (O2).
pub(in crate::store) fn end_event(tx: &mut Tx<'_>, cid: i64, id: EventId) -> Result<(), ClientError> {
    match of_event(tx, cid, id)? {
        Some(row) => end(tx, row.item),
        None => Ok(()),
    }
}

/// Ends a row, though the user has not cancelled it.
pub(in crate::store) fn end(tx: &mut Tx<'_>, item: i64) -> Result<(), ClientError> {
    let Some(row) = get(tx, item)? else { return Ok(()) };
    tx.conn.prepare_cached("DELETE FROM outbox WHERE item = ?1")?.execute([item])?;
    tx.changes.update.changed.retain(|entry| entry.item != item);
    tx.changes.ended.push(item);
    tell_place(tx, Some(&row))
}

/// A message was deleted: edits of it end, with their text (W9), and so do reactions and pins.
pub(in crate::store) fn end_relations(tx: &mut Tx<'_>, cid: i64, target: EventId) -> Result<(), ClientError> {
    let mut query = tx.conn.prepare_cached(
        "SELECT item, cid, kind, id, content, state, code, retry_at, seq, tries, written_at FROM outbox
         WHERE cid = ?1 AND target = ?2 AND kind IN ('edit', 'reaction', 'pin') ORDER BY item",
    )?;
    let rows = query.query_map(params![cid, target.as_bytes()], row)?.collect::<Result<Vec<_>, _>>()?;
    drop(query);
    for row in rows.into_iter().filter(|row| row.is_ours_alone() || row.is_for_want_of_target()) {
        tx.has_erased |= row.kind == "edit";
        end(tx, row.item)?;
    }
    Ok(())
}

/// Answers to a message that was deleted become messages of their own: the server refuses an answer to what is not there.
pub(in crate::store) fn end_answers(tx: &mut Tx<'_>, cid: i64, target: EventId) -> Result<(), ClientError> {
    for row in of_kind(tx, cid, "message")? {
        let waits = row.state != "parked" && row.is_ours_alone();
        let mut event: NewEvent = sql::read_json(&row.content)?;
        if project::reply_to(&event.body) == Some(target) && (waits || row.is_for_want_of_target()) {
            event.body.as_object_mut().map(|body| body.remove("reply_to"));
            set_content(tx, row.item, &sql::write_json(&event)?)?;
            messages::end_answer(tx, cid, event.id)?;
        }
    }
    Ok(())
}

/// Ends rows of own state. Returns what else than a draft they changed.
pub(in crate::store) fn take_states(tx: &mut Tx<'_>, items: &[i64]) -> Result<Vec<StateChange>, ClientError> {
    let mut rest = Vec::new();
    for &item in items {
        let Some(row) = get(tx, item)?.filter(|row| row.kind == "state") else { continue };
        let change = StateChange { draft: None, ..sql::read_json(&row.content)? };
        if change != StateChange::of(change.conversation) {
            rest.push(change);
        }
    }
    done(tx, items)?;
    Ok(rest)
}

/// These rows got their answer and end: opens and own state.
pub(in crate::store) fn done(tx: &mut Tx<'_>, items: &[i64]) -> Result<(), ClientError> {
    for &item in items {
        let Some(row) = get(tx, item)? else { continue };
        tx.conn.prepare_cached("DELETE FROM outbox WHERE item = ?1")?.execute([item])?;
        tell_place(tx, Some(&row))?;
        match row.kind.as_str() {
            "open" => conversations::confirm(tx, row.cid)?,
            "state" => drafts::answered(tx, row.cid)?,
            _ => {}
        }
    }
    Ok(())
}

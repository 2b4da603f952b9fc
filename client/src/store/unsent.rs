//! The outbox as a place: what is unsent and why, and what a user can do about it (O5, O7).

use super::{Db, Tx, conversations, deletions, list, messages, outbox, outbox::OutboxRow, sql};
use crate::{
    ClientError,
    view::{OutboxItemView, OutboxKind, OutboxState},
};
use kith_protocol::{
    ErrorCode, EventContent, EventId, NewEvent,
    event::ReactionBody,
    frame::{Open, StateChange},
};
use std::collections::HashSet;

/// Everything that is unsent, in the order of writing. Read markers and drafts are shown only when they are refused.
pub(crate) fn list(db: &Db<'_>) -> Result<Vec<OutboxItemView>, ClientError> {
    let (mut views, mut held, mut missing) = (Vec::new(), HashSet::new(), HashSet::new());
    for row in outbox::all(db)? {
        let waits_with = row.waits_with().map(|message| (row.cid, message));
        let is_held = (held.contains(&row.cid) && row.kind != "state")
            || (row.kind != "message" && waits_with.is_some_and(|message| missing.contains(&message)));
        if row.is_for_want_of_target() {
            missing.extend(waits_with);
        } else if row.state == "parked" && matches!(row.kind.as_str(), "message" | "open") {
            held.insert(row.cid);
        }
        if row.state == "acked" || (row.kind == "state" && row.state != "parked") {
            continue;
        }
        views.push(view(db, &row, is_held)?);
    }
    Ok(views)
}

fn view(db: &Db<'_>, row: &OutboxRow, is_held: bool) -> Result<OutboxItemView, ClientError> {
    let conversation = conversations::id_of(db, row.cid)?;
    let state = match row.state.as_str() {
        "parked" => OutboxState::Parked { code: row.code.unwrap_or(ErrorCode::Invalid) },
        "sending" => OutboxState::Sending,
        _ if is_held => OutboxState::Held,
        "retry" => OutboxState::Retry {
            at: row.retry_at.unwrap_or(db.now),
            code: row.code.unwrap_or(ErrorCode::Unavailable),
        },
        _ => OutboxState::Queued,
    };
    Ok(OutboxItemView {
        item: row.item as f64,
        conversation: Some(conversation),
        conversation_title: list::title_of(db, conversation)?,
        what: kind(&row.kind),
        summary: summary(row)?,
        written_at: row.written_at,
        state,
        tries: row.tries,
    })
}

fn kind(kind: &str) -> OutboxKind {
    match kind {
        "open" => OutboxKind::Open,
        "state" => OutboxKind::State,
        "edit" => OutboxKind::Edit,
        "delete" => OutboxKind::Delete,
        "reaction" => OutboxKind::Reaction,
        "pin" => OutboxKind::Pin,
        "member" => OutboxKind::Member,
        "title" => OutboxKind::Title,
        "settings" => OutboxKind::Settings,
        _ => OutboxKind::Message,
    }
}

fn summary(row: &OutboxRow) -> Result<String, ClientError> {
    let text = match row.kind.as_str() {
        "open" => sql::read_json::<Open>(&row.content)?.title.unwrap_or_default(),
        "state" => {
            sql::read_json::<StateChange>(&row.content)?.draft.map(|draft| draft.text).unwrap_or_default()
        }
        _ => match content(row)? {
            Ok(EventContent::Message(message)) => message.text,
            Ok(EventContent::Edit { text, .. }) => text,
            Ok(EventContent::Reaction { reaction, .. }) => reaction.emoji,
            Ok(EventContent::Title(title)) => title.text,
            _ => String::new(),
        },
    };
    Ok(messages::one_line(&text))
}

fn content(row: &OutboxRow) -> Result<Result<EventContent, ErrorCode>, ClientError> {
    let event: NewEvent = sql::read_json(&row.content)?;
    Ok(EventContent::parse(&event.kind, event.target, &event.body))
}

fn find(tx: &Tx<'_>, item: f64) -> Result<OutboxRow, ClientError> {
    outbox::get(tx, item as i64)?.ok_or(ClientError::NotFound)
}

/// Tries an item again: with it, everything of its conversation that was parked for the same reason, and what holds it back
/// for want of the same message.
pub(crate) fn retry(tx: &mut Tx<'_>, item: f64) -> Result<(), ClientError> {
    let row = find(tx, item)?;
    let message = row.waits_with();
    for other in outbox::all(tx)?.into_iter().filter(|other| other.cid == row.cid) {
        let holds = message.is_some() && other.is_for_want_of_target() && other.waits_with() == message;
        let is_alike = other.state == "parked" && other.code == row.code;
        let is_meant = other.item == row.item || is_alike || holds;
        if is_meant && other.state != "acked" && other.state != "sending" {
            outbox::requeue(tx, other.item)?;
        }
    }
    Ok(())
}

/// Drops an item. A message that the server may have is deleted by an event behind it (O7).
pub(crate) fn cancel(tx: &mut Tx<'_>, item: f64) -> Result<(), ClientError> {
    let row = find(tx, item)?;
    cancel_row(tx, &row)
}

/// Drops a message and answers its text, for the composer.
pub(crate) fn take_back(tx: &mut Tx<'_>, item: f64) -> Result<String, ClientError> {
    let row = find(tx, item)?;
    let text = match content(&row) {
        Ok(Ok(EventContent::Message(message))) => message.text,
        Ok(Ok(EventContent::Edit { text, .. })) => text,
        _ => return Err(ClientError::NotFound),
    };
    cancel_row(tx, &row)?;
    Ok(text)
}

pub(super) fn cancel_row(tx: &mut Tx<'_>, row: &OutboxRow) -> Result<(), ClientError> {
    match (row.kind.as_str(), row.id) {
        // Somebody else has begun it: what was written into it stays, and goes there.
        ("open", _) if !conversations::is_local(tx, row.cid)? => outbox::drop_row(tx, row.item),
        ("open", _) => {
            for other in outbox::all(tx)?.iter().filter(|other| other.cid == row.cid) {
                outbox::drop_row(tx, other.item)?;
            }
            conversations::remove_local(tx, row.cid)
        }
        ("message", Some(id)) if row.is_ours_alone() => drop_message(tx, row, id),
        // An earlier try may have arrived. A refused row would hold the deletion back, so it goes.
        ("message", Some(id)) if row.state == "parked" => {
            drop_message(tx, row, id)?;
            deletions::keep(tx, row.cid, id)?;
            push_delete(tx, row.cid, id)
        }
        ("message", Some(id)) => push_delete(tx, row.cid, id),
        _ if row.state == "acked" => Err(ClientError::NotFound),
        _ => outbox::drop_row(tx, row.item),
    }
}

/// Drops a message, with everything that is about it. An answer to it becomes a message of its own: the server would refuse
/// the answer.
fn drop_message(tx: &mut Tx<'_>, row: &OutboxRow, id: EventId) -> Result<(), ClientError> {
    for other in outbox::all(tx)?.into_iter().filter(|other| other.cid == row.cid) {
        if matches!(other.kind.as_str(), "open" | "state") {
            continue;
        }
        let mut event: NewEvent = sql::read_json(&other.content)?;
        let answers = |id: EventId| event.body["reply_to"].as_str() == Some(&id.to_string());
        if event.target == Some(id) {
            outbox::drop_row(tx, other.item)?;
        } else if other.kind == "message" && answers(id) && other.is_ours_alone() {
            event.body.as_object_mut().map(|body| body.remove("reply_to"));
            outbox::set_content(tx, other.item, &sql::write_json(&event)?)?;
            messages::end_answer(tx, other.cid, event.id)?;
        }
    }
    messages::remove(tx, row.cid, id)?;
    outbox::drop_row(tx, row.item)
}

/// Writes a message: its row and its outbox row.
pub(crate) fn write_message(
    tx: &mut Tx<'_>,
    cid: i64,
    id: EventId,
    text: &str,
    reply_to: Option<EventId>,
) -> Result<(), ClientError> {
    let body = kith_protocol::event::MessageBody { text: text.to_owned(), reply_to, ..Default::default() };
    let item = outbox::push_event(tx, cid, id, &EventContent::Message(body))?;
    let now = tx.now;
    messages::put_unnumbered(tx, cid, id, item, text, reply_to, now)
}

/// Changes the text of an own message: in place if the server cannot have it, else by an event (O7).
pub(crate) fn edit(tx: &mut Tx<'_>, cid: i64, target: EventId, text: &str) -> Result<(), ClientError> {
    if undeleted(tx, cid, target)?.sender != tx.me {
        return Err(ClientError::Refused(ErrorCode::NotAllowed));
    }
    let unsent = outbox::of_event(tx, cid, target)?.filter(OutboxRow::is_ours_alone);
    if let Some(row) = unsent {
        // One from before a refusal would undo this.
        drop_waiting(tx, cid, target, |content| matches!(content, EventContent::Edit { .. }))?;
        let mut event: NewEvent = sql::read_json(&row.content)?;
        event.body["text"] = text.into();
        outbox::set_content(tx, row.item, &sql::write_json(&event)?)?;
        return messages::set_text(tx, cid, target, text);
    }
    drop_waiting(tx, cid, target, |content| matches!(content, EventContent::Edit { .. }))?;
    outbox::push_event(tx, cid, EventId::mint(), &EventContent::Edit { target, text: text.to_owned() })?;
    Ok(())
}

/// A message that nobody has deleted, nor has this user by an event that waits: the server would refuse what follows.
fn undeleted(tx: &mut Tx<'_>, cid: i64, id: EventId) -> Result<messages::Message, ClientError> {
    let mut waiting = outbox::waiting(tx, cid)?.into_iter();
    let is_leaving =
        waiting.any(|row| row.kind == "delete" && row.target == Some(id) && row.parked.is_none());
    let message = message(tx, cid, id)?;
    if message.is_deleted || is_leaving { Err(ClientError::NotFound) } else { Ok(message) }
}

fn message(tx: &Tx<'_>, cid: i64, id: EventId) -> Result<messages::Message, ClientError> {
    messages::get(tx, cid, id)?.ok_or(ClientError::NotFound)
}

/// Deletes a message: at once if the server cannot have it, else by an event (O7).
pub(crate) fn delete(tx: &mut Tx<'_>, cid: i64, target: EventId) -> Result<(), ClientError> {
    let role = super::members::own_role(tx, cid)?;
    if message(tx, cid, target)?.sender != tx.me && !role.is_some_and(|role| role.may_manage()) {
        return Err(ClientError::Refused(ErrorCode::NotAllowed));
    }
    match outbox::of_event(tx, cid, target)? {
        Some(row) if row.is_ours_alone() || row.state == "parked" => cancel_row(tx, &row),
        _ => push_delete(tx, cid, target),
    }
}

/// Queues a delete, once: what waits for the message goes without it.
pub(super) fn push_delete(tx: &mut Tx<'_>, cid: i64, target: EventId) -> Result<(), ClientError> {
    drop_waiting(tx, cid, target, |content| {
        !matches!(content, EventContent::Message(_) | EventContent::Delete { .. })
    })?;
    for row in outbox::of_kind(tx, cid, "delete")? {
        if sql::read_json::<NewEvent>(&row.content)?.target == Some(target) {
            return if row.state == "parked" { outbox::requeue(tx, row.item) } else { Ok(()) };
        }
    }
    outbox::push_event(tx, cid, EventId::mint(), &EventContent::Delete { target })?;
    Ok(())
}

/// Puts an emoji on a message or takes it back; what waits untried for the same emoji is replaced.
pub(crate) fn react(
    tx: &mut Tx<'_>,
    cid: i64,
    target: EventId,
    emoji: &str,
    on: bool,
) -> Result<(), ClientError> {
    let message = undeleted(tx, cid, target)?;
    let is_same = |content: &EventContent| matches!(content, EventContent::Reaction { reaction, .. } if reaction.emoji == emoji);
    let is_waiting_alone = drop_waiting(tx, cid, target, is_same)?;
    let me = tx.me;
    let is_on = message.reactions.iter().any(|known| known.emoji == emoji && known.users.contains(&me));
    if is_waiting_alone && is_on == on {
        return Ok(());
    }
    let reaction = ReactionBody { emoji: emoji.to_owned(), on };
    outbox::push_event(tx, cid, EventId::mint(), &EventContent::Reaction { target, reaction })?;
    Ok(())
}

/// Pins a message for everybody, or takes it down.
pub(crate) fn pin(tx: &mut Tx<'_>, cid: i64, target: EventId, on: bool) -> Result<(), ClientError> {
    let message = undeleted(tx, cid, target)?;
    let is_waiting_alone =
        drop_waiting(tx, cid, target, |content| matches!(content, EventContent::Pin { .. }))?;
    if is_waiting_alone && message.is_pinned == on {
        return Ok(());
    }
    outbox::push_event(tx, cid, EventId::mint(), &EventContent::Pin { target, on })?;
    Ok(())
}

/// Drops untried relations that a later one replaces. Returns whether none is left that the server may have or get.
fn drop_waiting(
    tx: &mut Tx<'_>,
    cid: i64,
    target: EventId,
    is_meant: impl Fn(&EventContent) -> bool,
) -> Result<bool, ClientError> {
    let mut is_alone = true;
    for row in outbox::all(tx)? {
        if row.cid != cid || matches!(row.kind.as_str(), "open" | "state" | "message") {
            continue;
        }
        let Ok(content) = content(&row)? else { continue };
        if content.target() != Some(target) || !is_meant(&content) {
            continue;
        }
        if row.is_ours_alone() {
            outbox::drop_row(tx, row.item)?;
        } else {
            is_alone = false;
        }
    }
    Ok(is_alone)
}

/// Tries everything at once; what is parked stays.
pub(crate) fn send_all(tx: &mut Tx<'_>) -> Result<(), ClientError> {
    for row in outbox::all(tx)? {
        if row.state == "retry" {
            outbox::requeue(tx, row.item)?;
        }
    }
    Ok(())
}

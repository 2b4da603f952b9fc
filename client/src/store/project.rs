//! Projections: a message row is a pure function of the raw log, the stored states and nothing else.
//!
//! Whenever anything about a message comes, in whatever order, its row is made again from what is stored. So a
//! relation that comes before its target waits by itself (C4), and a projection rebuilt is equal (I8).

use super::{Db, Tx, messages, schema, search, sql};
use crate::ClientError;
use kith_protocol::{
    Event, EventContent, EventId, Seq, TimestampMs, UserId, event::MessageBody, frame::MessageState,
};
use rusqlite::{Connection, OptionalExtension, Row, named_params, params};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Everybody with one emoji on one message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct EmojiUsers {
    pub(super) emoji: String,
    pub(super) count: u64,
    pub(super) users: Vec<UserId>,
}

/// What a message has become.
struct Outcome {
    text: String,
    edited: Seq,
    is_deleted: bool,
    is_pinned: bool,
    reactions: Vec<EmojiUsers>,
}

/// Keeps what a page says of a message, if it is newer than what is known; answers whether it was.
pub(super) fn put_state(
    tx: &Tx<'_>,
    cid: i64,
    id: EventId,
    as_of: Seq,
    state: &MessageState,
) -> Result<bool, ClientError> {
    let known = state_of(tx, cid, id)?;
    let is_plain =
        state.edited_seq.is_none() && !state.deleted && !state.pinned && state.reactions.is_empty();
    if known.as_ref().is_some_and(|(at, _)| *at >= as_of) {
        return Ok(false);
    }
    // Worth a row only where it takes back what a stored relation says.
    if known.is_none() && is_plain && !has_relation(tx, cid, id, as_of)? {
        return Ok(false);
    }
    // The text of a message that was never edited is in its event.
    let text = state.edited_seq.and(state.text.clone());
    let state = MessageState { text, ..state.clone() };
    tx.conn
        .prepare_cached(
            "INSERT INTO states (cid, id, as_of, state) VALUES (:cid, :id, :as_of, :state)
             ON CONFLICT (cid, id) DO UPDATE SET as_of = excluded.as_of, state = excluded.state",
        )?
        .execute(named_params! {
            ":cid": cid, ":id": id.as_bytes(), ":as_of": as_of.as_i64(), ":state": sql::write_json(&state)?,
        })?;
    Ok(true)
}

fn has_relation(db: &Db<'_>, cid: i64, target: EventId, up_to: Seq) -> Result<bool, ClientError> {
    let mut query = db.conn.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM events WHERE cid = ?1 AND target = ?2 AND seq <= ?3)",
    )?;
    Ok(query.query_row(params![cid, target.as_bytes(), up_to.as_i64()], |row| row.get(0))?)
}

fn state_of(db: &Db<'_>, cid: i64, id: EventId) -> Result<Option<(Seq, MessageState)>, ClientError> {
    let mut query = db.conn.prepare_cached("SELECT as_of, state FROM states WHERE cid = ?1 AND id = ?2")?;
    let read = |row: &Row<'_>| Ok((sql::seq(row, "as_of")?, sql::json(row, "state")?));
    Ok(query.query_row(params![cid, id.as_bytes()], read).optional()?)
}

/// Reads an event's row.
pub(super) fn event(row: &Row<'_>) -> rusqlite::Result<Event> {
    let body: Option<String> = row.get("body")?;
    Ok(Event {
        seq: sql::seq(row, "seq")?,
        id: sql::event(row, "id")?,
        kind: row.get("kind")?,
        sender: sql::user(row, "sender")?,
        ts: sql::time(row, "ts")?,
        written_at: row.get::<_, Option<i64>>("written_at")?.map(TimestampMs::from_i64),
        countable: sql::count(row, "countable")?,
        chain: sql::chain(row, "chain")?,
        target: sql::event_opt(row, "target")?,
        body: body.map(|text| sql::read_json(&text)).transpose()?,
        redacted: row.get("is_redacted")?,
    })
}

/// A stored event.
pub(super) fn stored_event(db: &Db<'_>, cid: i64, id: EventId) -> Result<Option<Event>, ClientError> {
    let mut query = db.conn.prepare_cached(
        "SELECT seq, id, kind, sender, ts, written_at, countable, chain, target, body, is_redacted
         FROM events WHERE id = ?1 AND cid = ?2",
    )?;
    Ok(query.query_row(params![id.as_bytes(), cid], event).optional()?)
}

/// Stored events above a seq, ascending.
pub(super) fn events_above(db: &Db<'_>, cid: i64, seq: Seq) -> Result<Vec<Event>, ClientError> {
    let mut query = db.conn.prepare_cached(
        "SELECT seq, id, kind, sender, ts, written_at, countable, chain, target, body, is_redacted
         FROM events WHERE cid = ?1 AND seq > ?2 ORDER BY seq",
    )?;
    Ok(query.query_map(params![cid, seq.as_i64()], event)?.collect::<Result<_, _>>()?)
}

fn relations(db: &Db<'_>, cid: i64, target: EventId) -> Result<Vec<Event>, ClientError> {
    let mut query = db.conn.prepare_cached(
        "SELECT seq, id, kind, sender, ts, written_at, countable, chain, target, body, is_redacted
         FROM events WHERE cid = ?1 AND target = ?2 ORDER BY seq",
    )?;
    Ok(query.query_map(params![cid, target.as_bytes()], event)?.collect::<Result<_, _>>()?)
}

/// Makes a message's row again. Nothing happens while its event is not here.
pub(super) fn message(tx: &mut Tx<'_>, cid: i64, id: EventId) -> Result<(), ClientError> {
    let Some(base) = stored_event(tx, cid, id)?.filter(|event| event.kind == "message") else {
        return Ok(());
    };
    // A body of a later version may have more fields than this one knows: its text is still shown.
    let body = base.body.clone().unwrap_or(Value::Null);
    let read = serde_json::from_value::<MessageBody>(body.clone()).ok();
    let text = body.get("text").and_then(Value::as_str).unwrap_or_default().to_owned();
    let outcome = outcome(&base, text, state_of(tx, cid, id)?, &relations(tx, cid, id)?);
    if outcome.is_deleted {
        erase(tx, cid, id)?;
    }
    let reactions =
        if outcome.reactions.is_empty() { None } else { Some(sql::write_json(&outcome.reactions)?) };
    let row = messages::Projected {
        id,
        seq: base.seq,
        sender: base.sender,
        ts: base.ts,
        text: &outcome.text,
        reply_to: read.and_then(|body| body.reply_to),
        edited: outcome.edited,
        is_deleted: outcome.is_deleted,
        is_pinned: outcome.is_pinned,
        reactions,
    };
    messages::put_projected(tx, cid, &row)
}

/// What was deleted leaves the file, not only the screen (W9): the message's body and those of its edits.
fn erase(tx: &Tx<'_>, cid: i64, id: EventId) -> Result<(), ClientError> {
    for sql in [
        "UPDATE events SET body = NULL, is_redacted = 1 WHERE cid = ?1 AND id = ?2 AND body IS NOT NULL",
        "UPDATE events SET body = NULL, is_redacted = 1
         WHERE cid = ?1 AND target = ?2 AND kind = 'edit' AND body IS NOT NULL",
    ] {
        tx.conn.prepare_cached(sql)?.execute(params![cid, id.as_bytes()])?;
    }
    tx.conn
        .prepare_cached("UPDATE states SET state = json_remove(state, '$.text') WHERE cid = ?1 AND id = ?2")?
        .execute(params![cid, id.as_bytes()])?;
    Ok(())
}

fn outcome(base: &Event, text: String, state: Option<(Seq, MessageState)>, relations: &[Event]) -> Outcome {
    let (as_of, state) = state.unwrap_or((Seq::ZERO, MessageState::default()));
    let mut outcome = Outcome {
        text: state.text.unwrap_or(text),
        edited: state.edited_seq.unwrap_or_default(),
        is_deleted: base.redacted || state.deleted,
        is_pinned: state.pinned,
        reactions: Vec::new(),
    };
    let mut users: BTreeMap<(String, UserId), bool> = BTreeMap::new();
    let mut first_use: BTreeMap<String, Seq> = BTreeMap::new();
    for (emoji, list) in &state.reactions {
        first_use.insert(emoji.clone(), as_of);
        users.extend(list.iter().map(|user| ((emoji.clone(), *user), true)));
    }
    let mut counts: BTreeMap<String, i64> = state
        .reaction_counts
        .iter()
        .map(|(emoji, count)| {
            (emoji.clone(), *count as i64 - state.reactions.get(emoji).map_or(0, Vec::len) as i64)
        })
        .collect();
    for relation in relations {
        let body = relation.body.clone().unwrap_or(Value::Null);
        match EventContent::parse(&relation.kind, relation.target, &body) {
            Ok(EventContent::Delete { .. }) => outcome.is_deleted = true,
            Ok(EventContent::Edit { text, .. })
                if relation.seq > outcome.edited && relation.sender == base.sender =>
            {
                (outcome.text, outcome.edited) = (text, relation.seq);
            }
            Ok(EventContent::Pin { on, .. }) if relation.seq > as_of => outcome.is_pinned = on,
            Ok(EventContent::Reaction { reaction, .. }) => {
                let first = first_use.entry(reaction.emoji.clone()).or_insert(relation.seq);
                *first = (*first).min(relation.seq);
                if relation.seq > as_of {
                    users.insert((reaction.emoji, relation.sender), reaction.on);
                }
            }
            _ => {}
        }
    }
    if outcome.is_deleted {
        return Outcome { text: String::new(), edited: Seq::ZERO, is_pinned: false, ..outcome };
    }
    let mut by_emoji: BTreeMap<String, Vec<UserId>> = BTreeMap::new();
    for ((emoji, user), _) in users.into_iter().filter(|(_, is_on)| *is_on) {
        by_emoji.entry(emoji).or_default().push(user);
    }
    outcome.reactions = by_emoji
        .into_iter()
        .map(|(emoji, users)| {
            let unnamed = counts.remove(&emoji).unwrap_or_default().max(0);
            EmojiUsers { count: users.len() as u64 + unnamed as u64, emoji, users }
        })
        .collect();
    outcome.reactions.sort_by_key(|reaction| first_use.get(&reaction.emoji).copied().unwrap_or_default());
    outcome
}

/// Makes all projections again if this version makes them differently from the one that wrote the file (C6).
pub(super) fn rebuild_if_outdated(conn: &mut Connection, me: UserId) -> Result<(), ClientError> {
    let stored: Option<String> =
        conn.query_row("SELECT value FROM meta WHERE key = 'projection'", [], |row| row.get(0)).optional()?;
    if stored.as_deref() == Some(&schema::PROJECTION.to_string()) {
        return Ok(());
    }
    let transaction = conn.transaction()?;
    let db = Db { conn: &transaction, me, now: super::now() };
    let mut tx = Tx { db, changes: super::Changes::default() };
    rebuild(&mut tx)?;
    transaction.execute(
        "INSERT INTO meta (key, value) VALUES ('projection', ?1) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        [schema::PROJECTION.to_string()],
    )?;
    Ok(transaction.commit()?)
}

/// Makes all projections again; what is not numbered stays as the outbox has it.
pub(super) fn rebuild(tx: &mut Tx<'_>) -> Result<(), ClientError> {
    search::clear(tx)?;
    tx.conn.execute("DELETE FROM messages WHERE seq IS NOT NULL", [])?;
    let mut query =
        tx.conn.prepare("SELECT cid, id FROM events WHERE kind = 'message' ORDER BY ts, cid, seq")?;
    let all = query
        .query_map([], |row| Ok((row.get::<_, i64>("cid")?, sql::event(row, "id")?)))?
        .collect::<Result<Vec<_>, _>>()?;
    drop(query);
    for (cid, id) in all {
        message(tx, cid, id)?;
    }
    messages::index_pending(tx)
}

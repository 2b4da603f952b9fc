//! Projections: a message row is a pure function of the raw log, the stored states and nothing else.
//!
//! Whenever anything about a message comes, in whatever order, its row is made again from what is stored. So a
//! relation that comes before its target waits by itself (C4), and a projection rebuilt is equal (I8).

use super::{Db, Tx, messages, outbox, sql};
use crate::{
    ClientError,
    mutation::{self, Mutation},
};
use kith_protocol::{Event, EventContent, EventId, Seq, TimestampMs, UserId, frame::MessageState};
use rusqlite::{OptionalExtension, Row, named_params, params};
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

impl Outcome {
    /// Whether it is not what its event says.
    fn is_changed(&self) -> bool {
        self.edited > Seq::ZERO || self.is_deleted || self.is_pinned || !self.reactions.is_empty()
    }
}

/// Keeps what a page says of a message, if it is newer than what is known. Returns whether it was.
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
    // The text of a message that was never edited is in its event; that of a deleted one is nowhere.
    let text = state.edited_seq.filter(|_| !state.deleted).and(state.text.clone());
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
        "SELECT EXISTS (SELECT 1 FROM events INDEXED BY events_target WHERE cid = ?1 AND target = ?2 AND seq <= ?3)",
    )?;
    Ok(query.query_row(params![cid, target.as_bytes(), up_to.as_i64()], |row| row.get(0))?)
}

fn state_of(db: &Db<'_>, cid: i64, id: EventId) -> Result<Option<(Seq, MessageState)>, ClientError> {
    let mut query = db.conn.prepare_cached("SELECT as_of, state FROM states WHERE cid = ?1 AND id = ?2")?;
    let read = |row: &Row<'_>| Ok((sql::seq(row, "as_of")?, sql::json(row, "state")?));
    Ok(query.query_row(params![cid, id.as_bytes()], read).optional()?)
}

/// Reads a row of `seq, id, kind, sender, ts, written_at, countable, chain, target, body, is_redacted`.
pub(super) fn event(row: &Row<'_>) -> rusqlite::Result<Event> {
    let body: Option<String> = row.get(9)?;
    Ok(Event {
        seq: sql::seq(row, 0)?,
        id: sql::event(row, 1)?,
        kind: row.get(2)?,
        sender: sql::user(row, 3)?,
        ts: sql::time(row, 4)?,
        written_at: row.get::<_, Option<i64>>(5)?.map(TimestampMs::from_i64),
        countable: sql::count(row, 6)?,
        chain: sql::chain(row, 7)?,
        target: sql::event_opt(row, 8)?,
        body: body.map(|text| sql::read_json(&text)).transpose()?,
        redacted: row.get(10)?,
    })
}

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

/// The queries by target name their index: without statistics, SQLite prefers to scan the whole conversation.
fn relations(db: &Db<'_>, cid: i64, target: EventId) -> Result<Vec<Event>, ClientError> {
    let mut query = db.conn.prepare_cached(
        "SELECT seq, id, kind, sender, ts, written_at, countable, chain, target, body, is_redacted
         FROM events INDEXED BY events_target WHERE cid = ?1 AND target = ?2 ORDER BY seq",
    )?;
    Ok(query.query_map(params![cid, target.as_bytes()], event)?.collect::<Result<_, _>>()?)
}

/// Makes a message's row again. While its event is not here, only what is known of a deleted one is erased.
pub(super) fn message(tx: &mut Tx<'_>, cid: i64, id: EventId) -> Result<(), ClientError> {
    let base = match stored_event(tx, cid, id)? {
        Some(base) if base.kind == "message" => base,
        Some(_) => return Ok(()),
        None => return if is_deleted_unseen(tx, cid, id)? { erase(tx, cid, id) } else { Ok(()) },
    };
    let (state, relations) = (state_of(tx, cid, id)?, relations(tx, cid, id)?);
    write(tx, cid, &base, state, &relations, messages::put_projected)?;
    Ok(())
}

/// What is known of a conversation before its new messages are projected.
pub(super) struct Surroundings {
    has_states: bool,
    has_relations: bool,
    has_unnumbered: bool,
}

impl Surroundings {
    pub(super) fn of(db: &Db<'_>, cid: i64) -> Result<Self, ClientError> {
        let mut query = db.conn.prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM states WHERE cid = ?1),
                 EXISTS (SELECT 1 FROM events INDEXED BY events_target WHERE cid = ?1 AND target IS NOT NULL)",
        )?;
        let (has_states, has_relations) = query.query_row([cid], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(Self { has_states, has_relations, has_unnumbered: messages::has_unnumbered(db, cid)? })
    }

    /// Makes the row of a message whose event has just been stored; `after` is the mid of the one before it. Answers
    /// its mid, and whether it had a row before.
    pub(super) fn put_new(
        &self,
        tx: &mut Tx<'_>,
        cid: i64,
        base: &Event,
        after: Option<i64>,
    ) -> Result<(i64, bool), ClientError> {
        let state = if self.has_states { state_of(tx, cid, base.id)? } else { None };
        let mut relations = if self.has_relations { relations(tx, cid, base.id)? } else { Vec::new() };
        if mutation::is(Mutation::RelationIsForgotten) {
            relations.clear();
        }
        if mutation::is(Mutation::DeleteIsForgotten) {
            relations.retain(|relation| relation.kind != "delete");
        }
        write(tx, cid, base, state, &relations, |tx, cid, row| {
            if self.has_unnumbered {
                messages::put_projected(tx, cid, row)
            } else {
                messages::put_new(tx, cid, row, after)
            }
        })
    }
}

impl Surroundings {
    /// Makes the row of a message again whose event was stored before.
    pub(super) fn put_again(&self, tx: &mut Tx<'_>, cid: i64, base: &Event) -> Result<(), ClientError> {
        let state = if self.has_states { state_of(tx, cid, base.id)? } else { None };
        let relations = if self.has_relations { relations(tx, cid, base.id)? } else { Vec::new() };
        write(tx, cid, base, state, &relations, messages::put_projected)?;
        Ok(())
    }
}

fn write(
    tx: &mut Tx<'_>,
    cid: i64,
    base: &Event,
    state: Option<(Seq, MessageState)>,
    relations: &[Event],
    put: impl FnOnce(&mut Tx<'_>, i64, &messages::Projected<'_>) -> Result<(i64, bool), ClientError>,
) -> Result<(i64, bool), ClientError> {
    let body = base.body.as_ref();
    let outcome = outcome(base, text_of(base).to_owned(), state, relations);
    if outcome.is_changed() {
        tx.conn
            .prepare_cached(
                "UPDATE events SET is_changed = 1 WHERE cid = ?1 AND seq = ?2 AND is_changed = 0",
            )?
            .execute(params![cid, base.seq.as_i64()])?;
    }
    if outcome.is_deleted {
        tx.changes.took_away = true;
        erase(tx, cid, base.id)?;
    }
    let reactions =
        if outcome.reactions.is_empty() { None } else { Some(sql::write_json(&outcome.reactions)?) };
    let row = messages::Projected {
        id: base.id,
        seq: base.seq,
        sender: base.sender,
        ts: base.ts,
        text: &outcome.text,
        reply_to: body.and_then(reply_to),
        edited: outcome.edited,
        is_deleted: outcome.is_deleted,
        is_pinned: outcome.is_pinned,
        reactions,
    };
    put(tx, cid, &row)
}

/// What a message's event says.
pub(super) fn text_of(event: &Event) -> &str {
    let text = event.body.as_ref().and_then(|body| body.get("text"));
    text.and_then(Value::as_str).unwrap_or_default()
}

/// The message that a message answers.
pub(super) fn reply_to(body: &Value) -> Option<EventId> {
    EventId::deserialize(body.get("reply_to")?).ok()
}

/// Whether a message was deleted, as far as it is known here.
pub(super) fn is_deleted(db: &Db<'_>, cid: i64, id: EventId) -> Result<bool, ClientError> {
    match messages::get(db, cid, id)? {
        Some(message) => Ok(message.is_deleted),
        None => is_deleted_unseen(db, cid, id),
    }
}

/// Whether a message whose event is not here was deleted.
fn is_deleted_unseen(db: &Db<'_>, cid: i64, id: EventId) -> Result<bool, ClientError> {
    let mut query = db.conn.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM events INDEXED BY events_target WHERE cid = ?1 AND target = ?2 AND kind = 'delete')
             OR EXISTS (SELECT 1 FROM states WHERE cid = ?1 AND id = ?2 AND json_extract(state, '$.deleted'))",
    )?;
    Ok(query.query_row(params![cid, id.as_bytes()], |row| row.get(0))?)
}

/// What was deleted leaves the file, not only the screen (W9): the message's body, those of its edits, and an edit that
/// has not gone out and now never can. The pages are cleared of it afterwards ([`scrub`](super::scrub)).
fn erase(tx: &mut Tx<'_>, cid: i64, id: EventId) -> Result<(), ClientError> {
    let mut was_whole = false;
    for sql in [
        "UPDATE events SET body = NULL, is_redacted = 1, is_uncounted = 1
         WHERE cid = ?1 AND id = ?2 AND is_redacted = 0",
        "UPDATE events INDEXED BY events_target SET body = NULL, is_redacted = 1
         WHERE cid = ?1 AND target = ?2 AND kind = 'edit' AND body IS NOT NULL",
    ] {
        let rows = tx.conn.prepare_cached(sql)?.execute(params![cid, id.as_bytes()])?;
        was_whole |= rows > 0;
    }
    tx.has_erased |= was_whole;
    let rows = tx
        .conn
        .prepare_cached(
            "UPDATE states SET state = json_remove(state, '$.text')
             WHERE cid = ?1 AND id = ?2 AND json_type(state, '$.text') IS NOT NULL",
        )?
        .execute(params![cid, id.as_bytes()])?;
    tx.has_erased |= rows > 0;
    outbox::end_relations(tx, cid, id)?;
    if was_whole { outbox::end_answers(tx, cid, id) } else { Ok(()) }
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
        match EventContent::parse_stored(&relation.kind, relation.target, &body) {
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
                    let was_on = users.insert((reaction.emoji.clone(), relation.sender), reaction.on);
                    if was_on.is_none()
                        && !reaction.on
                        && let Some(unnamed) = counts.get_mut(&reaction.emoji)
                    {
                        *unnamed -= 1; // it was one of those whom the page only counts
                    }
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

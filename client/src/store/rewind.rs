//! The server's log is of another lineage (S7): what both have in common stays, own events above it go out again.

use super::{
    Tx, conversations, deletions, log, members, messages, outbox, own_state, project, ranges, receipts, sql,
};
use crate::ClientError;
use kith_protocol::{
    Chain, ConversationId, EventContent, EventId, NewEvent, Seq, TimestampMs,
    event::{MessageBody, Role},
};
use kith_sync::{
    ranges::cut_intervals,
    resend::{self, Next, Resend},
};
use rusqlite::params;
use std::collections::{HashMap, HashSet};

/// Ends the stored log at the greatest seq up to which its chain is the server's.
pub(super) fn rewind(
    tx: &mut Tx<'_>,
    conversation: ConversationId,
    chains: &[(Seq, Chain)],
) -> Result<(), ClientError> {
    let Some(cid) = conversations::cid(tx, conversation)? else { return Ok(()) };
    let (keep, chain) = common(tx, cid, conversation, chains)?;
    let above = project::events_above(tx, cid, keep)?;
    // Heads of a large group tell the number of members alone, which may be the same as before. An event that is not
    // stored may have changed the members, too.
    let known = conversations::facts(tx, cid)?.as_of;
    let changes_members = above.iter().any(|event| event.kind == "member")
        || (above.len() as u64) < known.0.saturating_sub(keep.0);
    tx.conn
        .prepare_cached("DELETE FROM events WHERE cid = ?1 AND seq > ?2")?
        .execute(params![cid, keep.as_i64()])?;
    let changed = lower(tx, cid, keep)?;
    ranges::cut(tx, cid, keep, chain)?;
    tx.conn
        .prepare_cached(
            "UPDATE conversations SET stored = (SELECT count(*) FROM events e WHERE e.cid = ?1 AND e.kind = 'message')
             WHERE cid = ?1",
        )?
        .execute([cid])?;
    let plan = resend::plan(tx.me, &above, &outbox::waiting(tx, cid)?);
    messages::orphaned::keep(tx, cid, keep, &above)?;
    let own: HashSet<_> = above.iter().filter(|event| event.sender == tx.me).map(|event| event.id).collect();
    for id in messages::numbered_above(tx, cid, keep)? {
        // A damaged part may have given its events up and not its messages: their places are others' now.
        if !own.contains(&id) {
            messages::remove(tx, cid, id)?;
        }
    }
    plan.deleted.iter().try_for_each(|id| deletions::keep(tx, cid, *id))?;
    let times: HashMap<_, _> = above.iter().map(|event| (event.id, event.ts)).collect();
    for event in above {
        if event.kind == "message" && event.sender == tx.me {
            messages::remove(tx, cid, event.id)?;
        }
        if let Some(target) = event.target {
            project::message(tx, cid, target)?;
        }
    }
    changed.into_iter().try_for_each(|id| project::message(tx, cid, id))?;
    put_back(tx, cid, &plan, &times)?;
    let left = conversations::load_one(tx, cid)?;
    if changes_members {
        tx.changes.members_wanted.insert(conversation);
    }
    tx.changes.rewound.push(left);
    tx.changes.timeline(conversation);
    Ok(())
}

/// The server's log ends at `high`, below what was known of it: markers above it, and what messages had become, were
/// another log's. Returns which messages have to be projected again.
fn lower(tx: &Tx<'_>, cid: i64, high: Seq) -> Result<Vec<EventId>, ClientError> {
    receipts::lower(tx, cid, high)?;
    tx.conn
        .prepare_cached(
            "UPDATE conversations SET head = min(head, ?2), facts_as_of = min(facts_as_of, ?2),
                 members_as_of = min(members_as_of, ?2), announced = min(announced, ?2), read = min(read, ?2), delivered = min(delivered, ?2),
                 unread_head = min(unread_head, ?2)
             WHERE cid = ?1",
        )?
        .execute(params![cid, high.as_i64()])?;
    let mut visible = conversations::visible(tx, cid)?;
    cut_intervals(&mut visible, high);
    conversations::set_visible(tx, cid, &visible)?;
    let mut query =
        tx.conn.prepare_cached("DELETE FROM states WHERE cid = ?1 AND as_of > ?2 RETURNING id")?;
    let ids = query.query_map(params![cid, high.as_i64()], |row| sql::event(row, "id"))?;
    Ok(ids.collect::<Result<_, _>>()?)
}

/// The heads of a connection name an earlier end than was known. The stored log may still be part of it, so that nothing
/// is cut (S7).
pub(super) fn head_fell(tx: &mut Tx<'_>, cid: i64, high: Seq) -> Result<(), ClientError> {
    lower(tx, cid, high)?.into_iter().try_for_each(|id| project::message(tx, cid, id))
}

/// Makes room for a message at its place in the log. Another one is there only if its event was given up as damaged and
/// the server's log, which came instead, is another one: its place is not its own any more. One's own goes out again.
pub(super) fn make_room(tx: &mut Tx<'_>, cid: i64, seq: Seq, id: EventId) -> Result<(), ClientError> {
    let Some(stale) = messages::at(tx, cid, seq)?.filter(|message| message.id != id) else { return Ok(()) };
    messages::remove(tx, cid, stale.id)?;
    if project::stored_event(tx, cid, stale.id)?.is_some() {
        return project::message(tx, cid, stale.id);
    }
    let is_lost =
        stale.sender == tx.me && !stale.is_deleted && outbox::of_event(tx, cid, stale.id)?.is_none();
    if !is_lost {
        return Ok(());
    }
    let body = MessageBody { text: stale.text.clone(), reply_to: stale.reply_to, ..MessageBody::default() };
    let (kind, target, body) = EventContent::Message(body).to_wire();
    let again = NewEvent {
        id: stale.id,
        kind: kind.to_owned(),
        target,
        body,
        written_at: None,
        resubmitted: Some(true),
    };
    let item = outbox::push_back(tx, cid, &again)?;
    messages::put_unnumbered(tx, cid, stale.id, item, &stale.text, stale.reply_to, stale.ts)
}

/// Puts own events back into the outbox, among what waits there.
fn put_back(
    tx: &mut Tx<'_>,
    cid: i64,
    plan: &Resend,
    times: &HashMap<EventId, TimestampMs>,
) -> Result<(), ClientError> {
    for item in &plan.ended {
        outbox::end(tx, *item)?;
    }
    for next in &plan.order {
        let again = match next {
            Next::Again(again) => again,
            Next::Row { item, is_freed } => {
                outbox::move_to_end(tx, *item, *is_freed)?;
                continue;
            }
        };
        let item = outbox::push_back(tx, cid, again)?;
        if again.kind == "message" {
            let text = again.body.get("text").and_then(serde_json::Value::as_str).unwrap_or_default();
            let reply_to = again.body.get("reply_to").and_then(serde_json::Value::as_str);
            let reply_to = reply_to.and_then(|id| EventId::parse(id).ok());
            let ts = times.get(&again.id).copied().unwrap_or(tx.now);
            messages::put_unnumbered(tx, cid, again.id, item, text, reply_to, ts)?;
        }
    }
    Ok(())
}

/// The server has lost a conversation. What was known above the stored events is of the lost log; the next heads are not
/// overtaken by it. It is begun again if that is this user's to do: either of a direct one, the owner of a group. What a
/// former member keeps stays as it is.
pub(super) fn lost(tx: &mut Tx<'_>, conversation: ConversationId) -> Result<(), ClientError> {
    let Some(cid) = conversations::cid(tx, conversation)? else { return Ok(()) };
    let mut query = tx.conn.prepare_cached("SELECT kind = 'direct' FROM conversations WHERE cid = ?1")?;
    let is_direct: bool = query.query_row([cid], |row| row.get(0))?;
    drop(query);
    let high = ranges::all(tx, cid)?.last().map_or(Seq::ZERO, |range| range.high);
    head_fell(tx, cid, high)?;
    // What comes of it is of another lineage, in which the server counts anew (S4).
    own_state::lower_version(tx, cid, 0)?;
    match members::own_role(tx, cid)? {
        Some(role) if is_direct || role == Role::Owner => outbox::push_open(tx, cid),
        _ => Ok(()),
    }
}

fn common(
    tx: &Tx<'_>,
    cid: i64,
    conversation: ConversationId,
    chains: &[(Seq, Chain)],
) -> Result<(Seq, Chain), ClientError> {
    let mut ascending = chains.to_vec();
    ascending.sort_by_key(|(seq, _)| *seq);
    let ranges = ranges::all(tx, cid)?;
    let mut common = (Seq::ZERO, Chain::empty(conversation));
    for (seq, chain) in ascending {
        let before = ranges.iter().find(|range| range.low == seq.next()).map(|range| range.chain_before);
        match log::chain_at(tx, cid, seq)?.or(before) {
            Some(stored) if stored == chain => common = (seq, chain),
            // What is equal above was pulled from the server's log before it was known to be another.
            Some(_) => break,
            None => {}
        }
    }
    Ok(common)
}

//! Reading the log: pages with what their messages have become, and chain values for comparing (W9, R6, S7).

use crate::{
    db::{self, conversations::ConversationRow, events::RelationRow, items::ItemRow, reactions::ListedRow},
    error::ApiError,
};
use kith_protocol::{
    Chain, ConversationId, Event, EventId, Seq, UserId,
    frame::{Chains, Direction, MessageState, Page, Pull},
    limits,
};
use sqlx::PgConnection;
use std::collections::BTreeMap;
use uuid::Uuid;

/// A conversation as a reader sees it: which parts of it, and up to where.
pub struct Reader {
    pub user: UserId,
    /// The row with the head and the own state.
    pub item: ItemRow,
    /// Ascending, both ends inclusive; the last one ends at the head.
    pub visible: Vec<(i64, i64)>,
}

/// What a reader may see of a conversation.
///
/// # Errors
/// [`ApiError::NotMember`] for whoever never joined, and for an unknown conversation.
pub async fn reader(
    conn: &mut PgConnection,
    user: UserId,
    conversation: ConversationId,
) -> Result<Reader, ApiError> {
    let rows = db::items::of(conn, user, &[conversation.as_uuid()]).await?;
    let item = rows.into_iter().next().ok_or(ApiError::NotMember)?;
    let intervals = db::members::intervals_of(conn, user, &[item.key]).await?;
    let visible = intervals.into_iter().map(|row| (row.from_seq, row.to_seq.unwrap_or(item.head))).collect();
    Ok(Reader { user, item, visible })
}

/// The conversation, for an active member.
///
/// # Errors
/// [`ApiError::NotMember`] for anybody else.
pub async fn of_member(
    conn: &mut PgConnection,
    user: UserId,
    conversation: ConversationId,
) -> Result<ConversationRow, ApiError> {
    let active = db::members::active_among(conn, user, &[conversation.as_uuid()]).await?;
    if active.is_empty() {
        return Err(ApiError::NotMember);
    }
    db::conversations::find(conn, conversation).await?.ok_or(ApiError::NotMember)
}

/// Reads a page.
///
/// # Errors
/// [`ApiError::NotMember`]; `invalid` for `max` 0.
pub async fn page(conn: &mut PgConnection, user: UserId, pull: &Pull) -> Result<Page, ApiError> {
    if pull.max == 0 {
        return Err(ApiError::invalid("max is at least 1"));
    }
    let reader = reader(conn, user, pull.conversation).await?;
    let from = pull.from.map_or(reader.item.head, Seq::as_i64);
    let Some(&(low, high)) = reader.visible.iter().find(|(low, high)| (*low..=*high).contains(&from)) else {
        return empty_page(conn, &reader, pull, from, true).await;
    };
    let mut events = slice(conn, reader.item.key, pull, from, (low, high)).await?;
    let mut states = states(conn, &reader, &events).await?;
    trim(&mut events, &mut states);
    if pull.direction == Direction::Backward {
        events.reverse();
    }
    let (Some(first), Some(last)) = (events.first().map(|e| e.seq), events.last().map(|e| e.seq)) else {
        // `to` lies on the other side of `from`: nothing was asked for, least of all the edge.
        return empty_page(conn, &reader, pull, from, false).await;
    };
    let end = match pull.direction {
        Direction::Forward => last.as_i64() == high,
        Direction::Backward => first.as_i64() == low,
    };
    let chain_before = chain_at(conn, &reader, pull.conversation, first.previous()).await?;
    let head = Seq::from_i64(reader.item.head);
    Ok(Page {
        reply_to: None,
        conversation: pull.conversation,
        chain_before,
        low: first,
        high: last,
        head,
        events,
        states,
        as_of: head,
        end,
    })
}

/// A page of nothing; `end` where it lies beyond an interval.
async fn empty_page(
    conn: &mut PgConnection,
    reader: &Reader,
    pull: &Pull,
    from: i64,
    end: bool,
) -> Result<Page, ApiError> {
    let head = Seq::from_i64(reader.item.head);
    let low = Seq::from_i64(from.max(1));
    Ok(Page {
        reply_to: None,
        conversation: pull.conversation,
        chain_before: chain_at(conn, reader, pull.conversation, low.previous()).await?,
        low,
        high: low.previous(),
        head,
        events: Vec::new(),
        states: BTreeMap::new(),
        as_of: head,
        end,
    })
}

/// Leaves as many events, from the first, as fit into [`limits::PAGE_BYTES_MAX`] with their states, but at least one.
fn trim(events: &mut Vec<Event>, states: &mut BTreeMap<EventId, MessageState>) {
    let mut size = 0;
    let fits = |event: &Event| {
        size += Page::bytes_of(event, states.get(&event.id));
        size <= limits::PAGE_BYTES_MAX
    };
    let kept = events.iter().map(fits).take_while(|fits| *fits).count().max(1);
    for event in events.drain(kept.min(events.len())..) {
        states.remove(&event.id);
    }
}

/// The events of one page, in the direction of reading: at most `max` messages, [`limits::PAGE_EVENTS_MAX`] events and
/// [`limits::PAGE_BYTES_MAX`] bytes, but at least one.
async fn slice(
    conn: &mut PgConnection,
    key: i64,
    pull: &Pull,
    from: i64,
    (low, high): (i64, i64),
) -> Result<Vec<Event>, ApiError> {
    let limit = i64::try_from(limits::PAGE_EVENTS_MAX).unwrap_or(i64::MAX);
    let bytes = i64::try_from(limits::PAGE_BYTES_MAX).unwrap_or(i64::MAX);
    let rows = match pull.direction {
        Direction::Forward => {
            let high = pull.to.map_or(high, |to| high.min(to.as_i64()));
            db::events::forward(conn, key, from, high, limit, bytes).await?
        }
        Direction::Backward => {
            let low = pull.to.map_or(low, |to| low.max(to.as_i64()));
            db::events::backward(conn, key, low, from, limit, bytes).await?
        }
    };
    let max = pull.max.min(limits::PAGE_MESSAGES_MAX);
    let (mut messages, mut size) = (0, 0);
    let mut events = Vec::with_capacity(rows.len());
    for row in rows {
        let event = row.into_event(pull.conversation);
        messages += u32::from(event.kind == "message");
        size += serde_json::to_string(&event).map_or(0, |text| text.len() + 1);
        if messages > max || (size > limits::PAGE_BYTES_MAX && !events.is_empty()) {
            break;
        }
        events.push(event);
    }
    Ok(events)
}

/// The chain's value at `seq`, where the reader may see it or the event after it.
async fn chain_at(
    conn: &mut PgConnection,
    reader: &Reader,
    conversation: ConversationId,
    seq: Seq,
) -> Result<Chain, ApiError> {
    let at = seq.as_i64();
    let may_see = reader.visible.iter().any(|(low, high)| (*low..=high + 1).contains(&(at + 1)));
    let rows = if may_see { db::events::chains_at(conn, reader.item.key, &[at]).await? } else { Vec::new() };
    let chain = rows.first().and_then(|(_, chain)| Chain::from_slice(chain));
    Ok(chain.unwrap_or_else(|| Chain::empty(conversation)))
}

/// What the messages among `events` have become, also by relations outside them (W9).
async fn states(
    conn: &mut PgConnection,
    reader: &Reader,
    events: &[Event],
) -> Result<BTreeMap<EventId, MessageState>, ApiError> {
    let mut states: BTreeMap<EventId, MessageState> = BTreeMap::new();
    for event in events.iter().filter(|event| event.kind == "message") {
        let text = event.body.as_ref().and_then(|body| body.get("text")).and_then(|text| text.as_str());
        let state = MessageState {
            text: text.map(str::to_owned),
            deleted: event.redacted,
            ..MessageState::default()
        };
        states.insert(event.id, state);
    }
    let targets: Vec<Uuid> =
        states.iter().filter(|(_, state)| !state.deleted).map(|(id, _)| id.as_uuid()).collect();
    if targets.is_empty() {
        return Ok(states);
    }
    let (lows, highs): (Vec<i64>, Vec<i64>) = reader.visible.iter().copied().unzip();
    let key = reader.item.key;
    for relation in db::events::relations(conn, key, &targets, &lows, &highs).await? {
        if let Some(state) = states.get_mut(&EventId::from_uuid(relation.target)) {
            relate(state, &relation);
        }
    }
    for row in reactions(conn, reader, events, &targets).await? {
        let state = states.get_mut(&EventId::from_uuid(row.target)).filter(|state| !state.deleted);
        let Some(state) = state else { continue };
        let users = state.reactions.entry(row.emoji.clone()).or_default();
        users.push(UserId::from_uuid(row.sender));
        let all = row.users.unsigned_abs();
        if all > limits::REACTION_USERS_MAX as u64 {
            state.reaction_counts.insert(row.emoji, all);
        }
    }
    Ok(states)
}

/// The reactions of these messages. Those of the newest interval, which lasts, are the log's; for earlier ones the
/// reader's intervals decide.
async fn reactions(
    conn: &mut PgConnection,
    reader: &Reader,
    events: &[Event],
    targets: &[Uuid],
) -> Result<Vec<ListedRow>, sqlx::Error> {
    let open_from = reader.visible.last().filter(|_| reader.item.is_active).map(|(low, _)| *low);
    let is_current = |id: &Uuid| {
        let event = events.iter().find(|event| event.id.as_uuid() == *id);
        event.is_some_and(|event| open_from.is_some_and(|low| low <= event.seq.as_i64()))
    };
    let (current, past): (Vec<Uuid>, Vec<Uuid>) = targets.iter().copied().partition(is_current);
    let users_max = i64::try_from(limits::REACTION_USERS_MAX).unwrap_or(i64::MAX);
    let (key, user) = (reader.item.key, reader.user.as_uuid());
    let mut rows = Vec::new();
    if !current.is_empty() {
        rows = db::reactions::at_head(conn, key, &current, user, users_max).await?;
    }
    if !past.is_empty() {
        let (lows, highs): (Vec<i64>, Vec<i64>) = reader.visible.iter().copied().unzip();
        let events_max = i64::try_from(limits::PAST_REACTIONS_MAX).unwrap_or(i64::MAX);
        let intervals = (&lows[..], &highs[..]);
        let listed = db::reactions::within(conn, key, &past, user, intervals, events_max, users_max).await?;
        rows.extend(listed);
    }
    Ok(rows)
}

fn relate(state: &mut MessageState, relation: &RelationRow) {
    let body: Option<serde_json::Value> =
        relation.body.as_deref().and_then(|text| serde_json::from_str(text).ok());
    match relation.kind.as_str() {
        "edit" => {
            let text = body.as_ref().and_then(|body| body.get("text")).and_then(|text| text.as_str());
            if let Some(text) = text {
                state.text = Some(text.to_owned());
                state.edited_seq = Some(Seq::from_i64(relation.seq));
            }
        }
        "pin" => {
            let on = body.as_ref().and_then(|body| body.get("on")).and_then(|on| on.as_bool());
            state.pinned = on.unwrap_or_default();
        }
        "delete" => {
            *state = MessageState { deleted: true, ..MessageState::default() };
        }
        _ => {}
    }
}

/// Chain values at the asked seqs; what the reader may not see is left out (S7).
///
/// # Errors
/// [`ApiError::NotMember`]; `invalid` for too many seqs.
pub async fn chains(
    conn: &mut PgConnection,
    user: UserId,
    conversation: ConversationId,
    seqs: &[Seq],
) -> Result<Chains, ApiError> {
    if seqs.len() > limits::PROBE_SEQS_MAX {
        return Err(ApiError::invalid("a probe has at most 32 seqs"));
    }
    let reader = reader(conn, user, conversation).await?;
    let asked: Vec<i64> = seqs
        .iter()
        .map(|seq| seq.as_i64())
        .filter(|seq| reader.visible.iter().any(|(low, high)| (*low..=*high).contains(seq)))
        .collect();
    let mut chains: Vec<(Seq, Chain)> = Vec::with_capacity(asked.len() + 1);
    if seqs.contains(&Seq::ZERO) {
        chains.push((Seq::ZERO, Chain::empty(conversation)));
    }
    for (seq, chain) in db::events::chains_at(conn, reader.item.key, &asked).await? {
        if let Some(chain) = Chain::from_slice(&chain) {
            chains.push((Seq::from_i64(seq), chain));
        }
    }
    Ok(Chains { reply_to: None, conversation, head: Seq::from_i64(reader.item.head), chains })
}

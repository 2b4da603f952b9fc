//! `events`: the log as it came, and what follows from an event the moment it is stored.

use super::{
    Tx, apply, conversations, deletions, facts, kinds, members, messages, outbox, own_state, people, project,
    ranges, sql,
};
use crate::{
    ClientError,
    mutation::{self, Mutation},
};
use kith_protocol::{
    Chain, ConversationId, Event, EventId, Seq, UserId,
    frame::{Page, StateChange},
};
use kith_sync::{ops::LocalRange, ranges::Ranges};
use rusqlite::{OptionalExtension, named_params, params};
use std::collections::{BTreeSet, HashSet};

/// Stores a contiguous run of events (C3): rows, range, projections, the end of their outbox rows; or nothing of it,
/// when what is stored is of another log ([`Stored::forked`](kith_sync::ops::Stored::forked)).
pub(super) fn store_run(
    tx: &mut Tx<'_>,
    conversation: ConversationId,
    chain_before: Chain,
    events: &[Event],
) -> Result<(), ClientError> {
    let (Some(first), Some(last)) = (events.first(), events.last()) else { return Ok(()) };
    let Some(cid) = conversations::cid(tx, conversation)? else { return Ok(()) };
    let run = LocalRange { low: first.seq, high: last.seq, chain_before, chain_high: last.chain };
    let fresh = match insert_all(tx, cid, run, events)? {
        Inserted::Fresh(fresh) => fresh,
        Inserted::Contradicted(seq) => {
            let left = conversations::load_one(tx, cid)?;
            tx.changes.forked.push((left, seq));
            return Ok(());
        }
    };
    want_members(tx, conversation, cid, &fresh)?;
    ranges::merge(tx, cid, run)?;
    if !fresh.is_empty() {
        take(tx, conversation, cid, last, &fresh)?;
    }
    Ok(())
}

/// Requests the member list when a page brings a change that the heads already counted and the list does not include.
/// Heads of a large group carry title and count, but no list.
fn want_members(
    tx: &mut Tx<'_>,
    conversation: ConversationId,
    cid: i64,
    fresh: &[&Event],
) -> Result<(), ClientError> {
    let mut changes = fresh.iter().filter(|event| event.kind == "member").peekable();
    if changes.peek().is_none() {
        return Ok(());
    }
    let (list, as_of) = (members::as_of(tx, cid)?, conversations::facts(tx, cid)?.as_of);
    if changes.any(|event| list < event.seq && event.seq <= as_of) {
        tx.changes.members_wanted.insert(conversation);
    }
    Ok(())
}

/// What follows from events that were not here before; `last` is the run's.
fn take(
    tx: &mut Tx<'_>,
    conversation: ConversationId,
    cid: i64,
    last: &Event,
    fresh: &[&Event],
) -> Result<(), ClientError> {
    let facts = conversations::facts(tx, cid)?;
    let own = own_state::effective(tx, cid)?;
    let has_unsent = outbox::has_some(tx, cid)?;
    let has_unnumbered = messages::has_unnumbered(tx, cid)?;
    let has_deletions = deletions::has_some(tx, cid)?;
    let mut senders = BTreeSet::new();
    // Those of which a row was here are no news: what was lost came back (S7).
    let mut known = HashSet::new();
    let mut came_back = Vec::new();
    for event in fresh {
        if has_unnumbered {
            if messages::is_known(tx, cid, event.id)? {
                came_back.extend(messages::orphaned::place(tx, cid, event.id)?.map(|place| (*event, place)));
                known.insert(event.id);
            }
            if let (Some(target), "delete") = (event.target, event.kind.as_str()) {
                messages::orphaned::forget(tx, cid, target)?;
            }
        }
        if senders.insert(event.sender) {
            people::want_if_unknown(tx, event.sender)?;
        }
        if has_unsent {
            // Its text is in a row that ends, and nothing else of it is erased.
            tx.has_erased |= event.redacted && outbox::of_event(tx, cid, event.id)?.is_some();
            outbox::end_event(tx, cid, event.id)?;
            outbox::target_came(tx, cid, event.id)?;
        }
        if event.seq > facts.as_of {
            facts::apply(tx, cid, event.seq, &event.kind, event.body.as_ref())?;
        }
    }
    let count = fresh.iter().filter(|event| event.kind == "message").count();
    // Where a page of others' messages begins behind a gap, the gap is history. A page without any may lie above news.
    let leaps =
        facts.announced > Seq::ZERO && fresh.first().is_some_and(|first| first.seq > facts.announced.next());
    let has_news =
        fresh.iter().any(|event| event.kind == "message" && event.sender != tx.me && !event.redacted);
    advance(tx, cid, last, count as i64, !leaps || has_news)?;
    facts::catch_up(tx, cid, facts.as_of)?;
    tx.changes.timeline(conversation);
    // A relation speaks of a message that was here, or that comes with it.
    let surroundings = project::Surroundings::of(tx, cid)?;
    let mut targets: BTreeSet<_> = fresh.iter().filter_map(|event| event.target).collect();
    let settled = own_state::settled_in_archive(tx, cid)?;
    let (mut mid, mut comes_back) = (None, false);
    for event in fresh.iter().filter(|event| event.kind == "message") {
        targets.remove(&event.id);
        let (at, was_here) = surroundings.put_new(tx, cid, event, mid)?;
        mid = Some(at);
        let announced = if mutation::is(Mutation::HistoryIsAnnounced) { Seq::ZERO } else { facts.announced };
        let is_news = event.seq > announced && event.seq > own.read && event.sender != tx.me;
        let was_here = was_here || known.contains(&event.id);
        let was_deleted = has_deletions && deletions::is_kept(tx, cid, event.id)?;
        if is_news
            && !was_here
            && !was_deleted
            && !event.redacted
            && (own.mute <= tx.now || mutation::is(Mutation::MuteIsIgnored))
        {
            tx.changes.arrived(conversation, event.id);
            comes_back |= event.seq > settled;
        }
    }
    came_back
        .into_iter()
        .try_for_each(|(event, place)| messages::orphaned::came_back(tx, cid, event, place))?;
    if has_deletions {
        let messages = fresh.iter().filter(|event| event.kind == "message");
        messages.into_iter().try_for_each(|event| deletions::came(tx, cid, event))?;
    }
    if comes_back && own.archive {
        // Nobody looks for news in the archive. A muted conversation stays there.
        let back = StateChange { archive: Some(false), ..StateChange::of(conversation) };
        own_state::change(tx, cid, back)?;
    }
    targets.into_iter().try_for_each(|id| project::message(tx, cid, id))
}

enum Inserted<'e> {
    /// Those that were not here.
    Fresh(Vec<&'e Event>),
    /// None, for the place of a stored event that cannot be of the same log.
    Contradicted(Seq),
}

/// Inserts the events of a run, or none of them.
fn insert_all<'e>(
    tx: &Tx<'_>,
    cid: i64,
    run: LocalRange,
    events: &'e [Event],
) -> Result<Inserted<'e>, ClientError> {
    let mut fresh: Vec<&Event> = Vec::with_capacity(events.len());
    let mut contradicted = None;
    for event in events {
        if insert(tx, cid, event)? {
            fresh.push(event);
            continue;
        }
        let found = elsewhere(tx, cid, event)?;
        // An id that comes twice in one run is known from its first place on.
        contradicted = found.filter(|seq| fresh.iter().all(|known| known.seq != *seq));
        if contradicted.is_some() {
            break;
        }
    }
    if contradicted.is_none() && !fits(tx, cid, run, events)? {
        contradicted = Some(run.low);
    }
    let Some(seq) = contradicted else { return Ok(Inserted::Fresh(fresh)) };
    let mut undo = tx.conn.prepare_cached("DELETE FROM events WHERE cid = ?1 AND seq = ?2")?;
    for event in fresh {
        undo.execute(params![cid, event.seq.as_i64()])?;
    }
    Ok(Inserted::Contradicted(seq))
}

/// Where an event that could not be inserted is stored elsewhere, or another in its place.
fn elsewhere(tx: &Tx<'_>, cid: i64, event: &Event) -> Result<Option<Seq>, ClientError> {
    let mut query = tx.conn.prepare_cached(
        "SELECT seq FROM events WHERE cid = ?1 AND id = ?2 AND seq <> ?3
         UNION ALL SELECT seq FROM events WHERE cid = ?1 AND seq = ?3 AND id <> ?2 LIMIT 1",
    )?;
    let place = params![cid, event.id.as_bytes(), event.seq.as_i64()];
    Ok(query.query_row(place, |row| sql::seq(row, "seq")).optional()?)
}

/// Whether the run's chain fits what it touches.
fn fits(tx: &Tx<'_>, cid: i64, run: LocalRange, events: &[Event]) -> Result<bool, ClientError> {
    let mut stored = Ranges::new(ranges::all(tx, cid)?);
    let at = |seq: Seq| events.iter().find(|event| event.seq == seq).map(|event| event.chain);
    Ok(stored.merge(run, at).is_ok())
}

/// Stores a page of any place in the log, with what its messages have become (W9).
pub(super) fn store_page(tx: &mut Tx<'_>, page: &Page) -> Result<(), ClientError> {
    let Some(cid) = conversations::cid(tx, page.conversation)? else { return Ok(()) };
    store_run(tx, page.conversation, page.chain_before, &page.events)?;
    for (id, state) in &page.states {
        if project::put_state(tx, cid, *id, page.as_of, state)? {
            project::message(tx, cid, *id)?;
            tx.changes.timeline(page.conversation);
        }
    }
    Ok(())
}

/// What this version makes of an event's kind and sender, stored beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Marks {
    /// It has an entry of its own in the timeline.
    pub(super) is_shown: bool,
    /// A message that is never unread.
    pub(super) is_uncounted: bool,
}

impl Marks {
    pub(super) fn of(event: &Event, me: UserId) -> Self {
        Self {
            is_shown: kinds::has_entry(&event.kind),
            is_uncounted: event.kind == "message" && (event.sender == me || event.redacted),
        }
    }
}

fn insert(tx: &Tx<'_>, cid: i64, event: &Event) -> Result<bool, ClientError> {
    let marks = Marks::of(event, tx.me);
    let body = event.body.as_ref().map(sql::write_json).transpose()?;
    let rows = tx
        .conn
        .prepare_cached(
            "INSERT INTO events (cid, seq, id, kind, sender, ts, written_at, countable, chain, target, body,
                 is_redacted, is_shown, is_uncounted)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
             ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            cid,
            event.seq.as_i64(),
            event.id.as_bytes(),
            event.kind,
            event.sender.as_bytes(),
            event.ts.as_i64(),
            event.written_at.map(|at| at.as_i64()),
            i64::try_from(event.countable).unwrap_or(i64::MAX),
            event.chain.as_bytes(),
            event.target.as_ref().map(EventId::as_bytes),
            body,
            event.redacted,
            marks.is_shown,
            marks.is_uncounted,
        ])?;
    Ok(rows == 1)
}

/// Moves the conversation's head, its order in the list, and, if `is_announced`, what counts as announced.
fn advance(
    tx: &mut Tx<'_>,
    cid: i64,
    last: &Event,
    messages: i64,
    is_announced: bool,
) -> Result<(), ClientError> {
    tx.conn
        .prepare_cached(
            "UPDATE conversations SET
                 countable = CASE WHEN :seq >= head THEN :countable ELSE countable END,
                 head = max(head, :seq), last_ts = max(last_ts, :ts), announced = max(announced, :announced),
                 stored = stored + :messages, is_local = 0
             WHERE cid = :cid",
        )?
        .execute(named_params! {
            ":cid": cid,
            ":seq": last.seq.as_i64(),
            ":countable": i64::try_from(last.countable).unwrap_or(i64::MAX),
            ":announced": if is_announced { last.seq.as_i64() } else { 0 },
            ":ts": last.ts.as_i64(),
            ":messages": messages,
        })?;
    Ok(())
}

/// Marks, in a file of a version that did not, what is never unread and what is not as its event says.
pub(super) fn mark_if_unmarked(tx: &Tx<'_>) -> Result<(), ClientError> {
    const KEY: &str = "marks";
    if apply::meta(tx, KEY)?.is_none() {
        tx.conn.execute(
            "UPDATE events SET is_uncounted = 1 WHERE kind = 'message' AND (sender = ?1 OR is_redacted = 1)",
            [tx.me.as_bytes()],
        )?;
        tx.conn.execute(
            "UPDATE events SET is_changed = 1 FROM messages m
             WHERE m.cid = events.cid AND m.seq = events.seq
               AND (m.edited_seq > 0 OR m.is_deleted = 1 OR m.is_pinned = 1 OR m.reactions IS NOT NULL)",
            [],
        )?;
        apply::set_meta(tx, KEY, "1")?;
    }
    Ok(())
}

/// The chain's value at a stored seq.
pub(super) fn chain_at(tx: &Tx<'_>, cid: i64, seq: Seq) -> Result<Option<Chain>, ClientError> {
    let mut query = tx.conn.prepare_cached("SELECT chain FROM events WHERE cid = ?1 AND seq = ?2")?;
    Ok(query.query_row(params![cid, seq.as_i64()], |row| sql::chain(row, "chain")).optional()?)
}

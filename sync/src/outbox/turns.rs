//! Which rows of one conversation may leave now (O4–O6).

use super::{Lane, Phase, Row};
use crate::ops::OutboxWhat;
use kith_protocol::limits;
use std::collections::{BTreeMap, BTreeSet};

/// Collects the rows of one conversation that may leave; `most` is how many events and how many bytes of them, `None` if
/// no event may.
pub(super) fn turns_of(
    rows: &BTreeMap<i64, Row>,
    lane: &mut Lane,
    most: Option<(usize, usize)>,
    now: u64,
    turns: &mut Vec<i64>,
) {
    let of = |item: &i64| rows.get(item).map(|row| (*item, row));
    if let Some((item, open)) = lane.items.iter().filter_map(of).find(|(_, row)| row.what == OutboxWhat::Open)
    {
        if open.phase == Phase::Queued && open.retry_at <= now {
            turns.push(item);
        }
        return;
    }
    lane.awaits_acked &=
        lane.items.iter().filter_map(of).any(|(_, row)| matches!(row.phase, Phase::Acked(_)));
    let (mut bytes, mut count, before) = (0, 0, turns.len());
    let (mut events_open, (events_max, bytes_max)) = (most.is_some(), most.unwrap_or_default());
    // Own state leaves in its order: one that waits after a refusal would undo what was said after it.
    let (mut state_busy, mut states_wait) = (false, false);
    let (mut states, mut awaited) = (Vec::new(), BTreeSet::new());
    for (item, row) in lane.items.iter().filter_map(of) {
        if row.what == OutboxWhat::State {
            state_busy |= row.is_busy();
            states_wait |= row.phase == Phase::Queued && row.retry_at > now;
            if row.phase == Phase::Queued && !states_wait {
                states.push(item);
            }
            continue;
        }
        if row.is_busy() {
            // One send in flight: the answer comes first.
            turns.truncate(before);
            events_open = false;
        }
        if !events_open {
            continue;
        }
        match row.phase {
            Phase::Queued
                if row.what != OutboxWhat::Message
                    && row.message.is_some_and(|message| awaited.contains(&message)) => {}
            Phase::Queued => {
                let full = count == events_max || (count > 0 && bytes + row.bytes > bytes_max);
                if full || row.retry_at > now {
                    events_open = false;
                } else {
                    bytes += row.bytes;
                    count += 1;
                    turns.push(item);
                }
            }
            Phase::Parked => events_open = row.what != OutboxWhat::Message,
            Phase::AwaitsTarget => awaited.extend(row.message),
            Phase::Refused => events_open = false,
            Phase::Acked(_) => events_open = !lane.awaits_acked,
            Phase::Leaving | Phase::Sent => {}
        }
    }
    if !states.is_empty() && !state_busy && lane.state_after <= now {
        lane.state_after = now + limits::MARKER_EVERY.as_millis() as u64;
        turns.append(&mut states);
    }
}

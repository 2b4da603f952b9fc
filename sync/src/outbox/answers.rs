//! What the server answers to what has left (O4, O5).

use super::{Outbox, Phase};
use crate::{
    backoff::item_wait_ms,
    mutation::{self, Mutation},
    ops::{OutboxWhat, StoreOp},
};
use kith_protocol::{
    ErrorCode, EventId, TimestampMs,
    error::ErrorClass,
    frame::{AckResult, AckStatus},
    limits,
};

impl Outbox {
    /// Takes the answer to a `send`: a prefix is committed, the rest is parked, retried or skipped (O4, O5).
    pub(crate) fn answered(
        &mut self,
        sent: &[(i64, EventId)],
        results: &[AckResult],
        now: u64,
        wall: TimestampMs,
    ) -> Vec<StoreOp> {
        let mut ops = Vec::new();
        let mut skipped = Vec::new();
        for (index, (item, id)) in sent.iter().enumerate() {
            match results.get(index) {
                Some(result) if mutation::is(Mutation::AckEndsRow) && result.seq.is_some() => {
                    self.remove(*item);
                    ops.push(StoreOp::Done { items: vec![*item] });
                }
                Some(result) => match (result.status, result.seq) {
                    (AckStatus::Ok | AckStatus::Duplicate, Some(seq)) => {
                        if let Some(row) = self.rows.get_mut(item) {
                            row.phase = Phase::Acked(seq);
                        }
                        ops.push(StoreOp::Acked { item: *item, id: *id, seq, ts: result.ts.unwrap_or(wall) });
                    }
                    (AckStatus::Error, _) => {
                        let code = result.code.unwrap_or(ErrorCode::Unavailable);
                        ops.push(self.refused(*item, code, result.retry_after_ms, now, wall));
                    }
                    (AckStatus::Skipped | AckStatus::Ok | AckStatus::Duplicate, _) => skipped.push(*item),
                },
                None => skipped.push(*item),
            }
        }
        // What parking has reached is not queued again.
        skipped.retain(|item| self.requeue(*item));
        if !skipped.is_empty() {
            ops.push(StoreOp::Queued { items: skipped });
        }
        ops
    }

    pub(super) fn requeue(&mut self, item: i64) -> bool {
        match self.rows.get_mut(&item) {
            Some(row) if row.is_busy() => {
                row.phase = Phase::Queued;
                true
            }
            _ => false,
        }
    }

    /// A row was refused: a permanent code parks it (and, for some codes, its conversation's events), others wait.
    pub(crate) fn refused(
        &mut self,
        item: i64,
        code: ErrorCode,
        retry_after_ms: Option<u64>,
        now: u64,
        wall: TimestampMs,
    ) -> StoreOp {
        let Some(row) = self.rows.get_mut(&item) else { return StoreOp::Queued { items: Vec::new() } };
        if code.class() != ErrorClass::Permanent || mutation::is(Mutation::PermanentIsRetried) {
            let cap = limits::RECONNECT_MAX.as_millis() as u64;
            let wait = retry_after_ms.unwrap_or_else(|| item_wait_ms(row.tries)).min(cap);
            row.phase = Phase::Queued;
            row.retry_at = now + wait;
            return StoreOp::Retry { items: vec![item], at: TimestampMs(wall.0 + wait), code };
        }
        let (conversation, what) = (row.conversation, row.what);
        let whole = match code {
            ErrorCode::NotMember | ErrorCode::ConversationClosed => what != OutboxWhat::State,
            ErrorCode::NotAllowed => what == OutboxWhat::Message,
            _ => false,
        };
        let mut items = vec![item];
        if whole && let Some(lane) = self.lanes.get(&conversation) {
            items.extend(lane.items.iter().filter(|other| {
                **other > item
                    && self.rows.get(other).is_some_and(|row| {
                        row.what != OutboxWhat::State
                            && row.what != OutboxWhat::Open
                            && (row.phase == Phase::Queued || row.is_busy())
                    })
            }));
        }
        let phase = if code == ErrorCode::TargetMissing { Phase::Refused } else { Phase::Parked };
        for item in &items {
            if let Some(row) = self.rows.get_mut(item) {
                row.phase = phase;
            }
        }
        StoreOp::Parked { items, code }
    }
}

//! The cursor of the last heads (S5): with it a new connection's heads tell only what changed since.
//!
//! It is kept in memory alone, so a program that starts asks for full heads, and it is let go whenever something is open
//! that only full heads settle: a log that is being compared, a refused pull, a change that was missed.

use super::{Asked, Machine};
use crate::Now;

/// Full heads are asked for at least this often, ms.
const FULL_EVERY_MS: u64 = 24 * 3_600_000;

/// What the last heads of a connection left.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    text: Option<String>,
    /// When full heads came last.
    full_at: Option<Now>,
}

impl Cursor {
    /// The last heads of a connection have come.
    pub(super) fn keep(&mut self, text: Option<String>, is_full: bool, now: Now) {
        self.text = text;
        if is_full {
            self.full_at = Some(now);
        }
    }

    pub(super) fn let_go(&mut self) {
        self.text = None;
    }

    /// What `hello` shows. The wall clock counts too: the monotonic one may stand still for days.
    pub(super) fn shown(&self, now: Now) -> Option<String> {
        let full_at = self.full_at?;
        let is_recent = now.mono.saturating_sub(full_at.mono) < FULL_EVERY_MS
            && now.wall.0.abs_diff(full_at.wall.0) < FULL_EVERY_MS;
        self.text.clone().filter(|_| is_recent)
    }

    /// Within one connection: when full heads are due, monotonic ms.
    pub(super) fn full_due(&self) -> Option<u64> {
        self.full_at.map(|at| at.mono + FULL_EVERY_MS)
    }
}

impl Machine {
    /// Lets the cursor go if the next heads have to say more than what changed.
    pub(super) fn let_go_unless_settled(&mut self) {
        let is_asked = self.requests.values().any(|request| matches!(request.asked, Asked::Heads));
        let is_settled = self.missing_from_heads.is_empty()
            && self.heads_at.is_none()
            && !is_asked
            && self.logs.values().all(crate::log::Log::is_settled);
        if !is_settled {
            self.cursor.let_go();
        }
    }

    /// A connection that lasts asks for full heads once a day.
    pub(super) fn ask_full_if_due(&mut self) {
        if self.cursor.full_due().is_some_and(|at| at <= self.now.mono) {
            self.cursor.keep(None, true, self.now);
            self.heads_at.get_or_insert(self.now.mono);
        }
    }
}

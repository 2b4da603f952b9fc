//! When a part of the engine that failed is started again, and when it is given up.

use std::time::{Duration, Instant};

/// Restarts in a row, after which the next failure gives the part up.
const IN_A_ROW_MAX: u32 = 8;
/// A failure that comes so long after the one before begins a new row.
const ROW_ENDS_AFTER: Duration = Duration::from_secs(300);

/// The failures of one part.
pub(crate) struct Restarts {
    first_wait: Duration,
    longest_wait: Duration,
    in_a_row: u32,
    failed_at: Option<Instant>,
}

impl Restarts {
    /// The wait before a restart is `first_wait` and doubles with each further one in a row, up to `longest_wait`.
    pub(crate) fn new(first_wait: Duration, longest_wait: Duration) -> Self {
        Self { first_wait, longest_wait, in_a_row: 0, failed_at: None }
    }

    /// Notes a failure. Returns how long to wait before the restart, or `None` to give up.
    pub(crate) fn failed(&mut self, now: Instant) -> Option<Duration> {
        let is_in_a_row = self.failed_at.is_some_and(|before| now.duration_since(before) < ROW_ENDS_AFTER);
        self.in_a_row = if is_in_a_row { self.in_a_row + 1 } else { 1 };
        self.failed_at = Some(now);
        let wait = self.first_wait.saturating_mul(1 << (self.in_a_row - 1).min(16)).min(self.longest_wait);
        (self.in_a_row <= IN_A_ROW_MAX).then_some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn waits_double_up_to_the_longest_and_then_it_is_given_up() {
        let now = Instant::now();
        let mut restarts = Restarts::new(SECOND, 20 * SECOND);
        let waits: Vec<_> = (0..8).map(|_| restarts.failed(now).unwrap().as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 20, 20, 20]);
        assert_eq!(restarts.failed(now), None);
    }

    #[test]
    fn a_part_that_worked_for_long_begins_anew() {
        let mut now = Instant::now();
        let mut restarts = Restarts::new(SECOND, 20 * SECOND);
        for _ in 0..100 {
            assert_eq!(restarts.failed(now), Some(SECOND));
            now += ROW_ENDS_AFTER;
        }
    }
}

//! Whether a lane commits what it is given, for `/readyz`.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// A lane that was given nothing for this long after a failure is not called stalled any more: only new work can show
/// whether it is.
const FORGET_AFTER: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
struct State {
    /// Since when there is work and no commit.
    since: Option<Instant>,
    /// When the last batch failed; `None` while one is in flight.
    failed_at: Option<Instant>,
}

/// The pulse of one lane.
#[derive(Debug, Default)]
pub struct Pulse(Mutex<State>);

impl Pulse {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn begin(&self) {
        let mut state = self.state();
        state.since.get_or_insert_with(Instant::now);
        state.failed_at = None;
    }

    /// The database has taken or refused what it was given.
    pub fn succeed(&self) {
        *self.state() = State::default();
    }

    /// The database did not take it.
    pub fn fail(&self) {
        self.state().failed_at = Some(Instant::now());
    }

    /// For how long the lane has had work and committed nothing.
    pub fn stalled_for(&self, now: Instant) -> Duration {
        let state = self.state();
        let is_over = state.failed_at.is_some_and(|at| now.saturating_duration_since(at) > FORGET_AFTER);
        state.since.filter(|_| !is_over).map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_stalled_while_it_has_work_and_commits_nothing() {
        let (pulse, later) = (Pulse::default(), |seconds| Instant::now() + Duration::from_secs(seconds));
        assert_eq!(pulse.stalled_for(later(60)), Duration::ZERO, "no work");
        pulse.begin();
        assert!(pulse.stalled_for(later(60)) > Duration::from_secs(59), "hangs");
        pulse.fail();
        assert!(pulse.stalled_for(later(20)) > Duration::from_secs(19), "fails");
        assert_eq!(pulse.stalled_for(later(40)), Duration::ZERO, "nobody has asked for long");
        pulse.begin();
        assert!(pulse.stalled_for(later(60)) > Duration::from_secs(59), "and hangs again");
        pulse.succeed();
        assert_eq!(pulse.stalled_for(later(60)), Duration::ZERO);
    }
}

//! Waiting for a fact.

use std::{
    fmt::Debug,
    future::Future,
    time::{Duration, Instant},
};

/// How long a fact may take on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks `look` until `fact` holds, and returns what it saw then.
///
/// # Panics
/// After [`PATIENCE`], with what was seen last.
pub async fn until<T, F, Fut>(what: &str, mut look: F, fact: impl Fn(&T) -> bool) -> T
where
    T: Debug,
    F: FnMut() -> Fut,
    Fut: Future<Output = T>,
{
    let end = Instant::now() + PATIENCE;
    loop {
        let seen = look().await;
        if fact(&seen) {
            return seen;
        }
        assert!(Instant::now() < end, "{what}: {seen:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

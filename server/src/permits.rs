//! Admission permits for handshakes. A burst of thousands of clients waits here, and long waits are rejected.
//!
//! A client gives up after 20 s, so a later handshake wastes work and delays the next client. A wait therefore ends after a
//! few seconds, and the rejection names a retry time.

use crate::error::ApiError;
use prometheus_client::metrics::counter::Counter;
use rand::RngExt;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// Further ones are sent away at once.
const WAITING_MAX: usize = 8_192;
/// Retry time of a rejected client, ms. For each 100 waiting clients up to as much is added, at most [`BACK_MAX_MS`].
const BACK_MS: u64 = 2_000;
/// A client waits no longer, whatever a server says.
const BACK_MAX_MS: u64 = 60_000;

/// Permits for handshakes, first come first served; a handle that is cheap to clone.
#[derive(Debug, Clone)]
pub struct Permits {
    permits: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    within: Duration,
    /// Those who were sent away.
    shed: Counter,
}

/// Lowers the count however the wait ends.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Permits {
    /// So many permits, all of them free, each waited for at most this long. `shed` counts rejections.
    pub fn new(permits: usize, within: Duration, shed: Counter) -> Self {
        Self { permits: Arc::new(Semaphore::new(permits)), waiting: Arc::default(), within, shed }
    }

    /// Waits for a permit.
    ///
    /// # Errors
    /// [`ApiError::Overloaded`] after the longest wait, or at once where [`WAITING_MAX`] wait.
    pub async fn take(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        if before >= WAITING_MAX {
            return Err(self.send_away(before));
        }
        match timeout(self.within, Arc::clone(&self.permits).acquire_owned()).await {
            Ok(permit) => permit.map_err(|_| ApiError::Unavailable),
            Err(_) => Err(self.send_away(self.waiting.load(Ordering::Relaxed))),
        }
    }

    fn send_away(&self, waiting: usize) -> ApiError {
        self.shed.inc();
        let spread = BACK_MS + BACK_MS * (waiting as u64) / 100;
        let retry_after_ms = (BACK_MS + rand::rng().random_range(0..=spread)).min(BACK_MAX_MS);
        ApiError::Overloaded { retry_after_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    #[tokio::test]
    async fn s2_a_handshake_that_waits_too_long_is_sent_away_and_told_when_to_come_back() {
        let within = Duration::from_millis(50);
        let permits = Permits::new(2, within, Counter::default());
        let mut held = vec![permits.take().await.unwrap(), permits.take().await.unwrap()];
        let begun = Instant::now();
        let refused = permits.take().await.unwrap_err();
        assert!(begun.elapsed() >= within);
        let back = refused.retry_after_ms().unwrap();
        assert!((BACK_MS..=BACK_MAX_MS).contains(&back), "{back}");
        assert_eq!(refused.code(), kith_protocol::ErrorCode::Busy);
        assert_eq!((permits.shed.get(), permits.waiting.load(Ordering::Relaxed)), (1, 0));
        held.pop();
        assert!(permits.take().await.is_ok());
    }

    #[tokio::test]
    async fn s2_more_than_can_be_served_do_not_queue_up() {
        let permits = Permits::new(8, Duration::from_secs(8), Counter::default());
        permits.waiting.store(WAITING_MAX, Ordering::Relaxed);
        let begun = Instant::now();
        assert!(matches!(permits.take().await, Err(ApiError::Overloaded { .. })));
        assert!(begun.elapsed() < permits.within);
    }
}

//! What the database said last of whether this process can serve. Anybody may ask, so the answer is kept for a second.

use std::time::Duration;
use tokio::{sync::Mutex, time::Instant};

/// The database is asked at most this often, however many ask here.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// What the database said last, and when.
#[derive(Debug, Default)]
pub struct Readiness(Mutex<Option<(Instant, bool)>>);

impl Readiness {
    /// What it said last, or says now. Whoever asks meanwhile waits for the same answer.
    pub async fn or_ask(&self, ask: impl Future<Output = bool>) -> bool {
        let mut last = self.0.lock().await;
        if let Some((_, is_ready)) = last.filter(|(at, _)| at.elapsed() < ASK_EVERY) {
            return is_ready;
        }
        let is_ready = ask.await;
        *last = Some((Instant::now(), is_ready));
        is_ready
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::join_all;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test(start_paused = true)]
    async fn many_who_ask_at_once_take_one_connection() {
        let (readiness, asked) = (Readiness::default(), AtomicUsize::new(0));
        let ask = |is_ready: bool| {
            let asked = &asked;
            readiness.or_ask(async move {
                tokio::time::sleep(Duration::from_millis(300)).await;
                asked.fetch_add(1, Ordering::Relaxed);
                is_ready
            })
        };
        assert!(join_all((0..100).map(|_| ask(true))).await.into_iter().all(|is_ready| is_ready));
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        tokio::time::sleep(ASK_EVERY).await;
        assert!(!ask(false).await, "what was true is asked again");
        assert!(!ask(true).await);
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }
}

//! The driver's task is started again when it panics: it begins from what the store has, as after a start of the app.

use super::{DriverEvents, DriverOptions, Mailbox, SyncStore, TokenSource, nothing_earlier, run::Driver};
use crate::{restarts::Restarts, view::LinkView};
use futures_util::FutureExt as _;
use kith_failpoint::clock;
use kith_protocol::TimestampMs;
use kith_sync::ops::{Counter, StoreOp};
use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// The wait before the first restart. The next ones double it.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait before a restart.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What a driver is made of.
pub(super) struct Parts {
    pub(super) options: DriverOptions,
    pub(super) store: Arc<dyn SyncStore>,
    pub(super) tokens: Arc<dyn TokenSource>,
    pub(super) events: Arc<dyn DriverEvents>,
}

impl Parts {
    fn driver(&self, mailbox: Arc<Mailbox>) -> Driver {
        let Self { options, store, tokens, events } = self;
        Driver::new(options.clone(), store.clone(), tokens.clone(), events.clone(), mailbox)
    }

    /// Counts a restart. Where that fails, the log has it.
    async fn count(&self) {
        let count = StoreOp::Count { counter: Counter::DriverRestarts, by: 1 };
        if let Err(error) = self.store.apply(vec![count], nothing_earlier()).await {
            tracing::warn!(%error, "a restart was not counted");
        }
    }

    fn is_offline(&self, wait: Option<Duration>) {
        let now = clock::now_ms();
        let after = |wait: Duration| TimestampMs(now + u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        self.events.link(LinkView::Offline {
            since: TimestampMs(now),
            next_try: wait.map(after),
            bad_certificate: false,
        });
    }
}

/// Runs drivers, one after the other, until one ends by itself or they are stopped.
pub(super) async fn run(parts: Parts, mailbox: Arc<Mailbox>, stop: CancellationToken) {
    let mut restarts = Restarts::new(FIRST_WAIT, LONGEST_WAIT);
    loop {
        // A panic drops the driver and its partial work. Mailbox and store hold only complete values.
        let work = async { parts.driver(mailbox.clone()).run(stop.clone()).await };
        if AssertUnwindSafe(work).catch_unwind().await.is_ok() {
            return;
        }
        let wait = restarts.failed(Instant::now().into_std());
        tracing::error!(?wait, "the driver panicked");
        parts.is_offline(wait);
        parts.count().await;
        let Some(wait) = wait else { return parts.events.gave_up() };
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(wait) => {}
        }
    }
}

//! How much each user may have in the log.
//!
//! The lanes count what they commit, in memory; a task writes it to the database every few seconds, for all instances
//! together. So a user may exceed the limit by what they send in that time, and no commit waits for the count.

use super::batch::Stored;
use crate::db::{self, lanes::within};
use kith_protocol::UserId;
use quick_cache::unsync::Cache;
use sqlx::PgPool;
use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::{sleep, timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

/// How often what was counted is written.
const WRITE_EVERY: Duration = Duration::from_secs(5);
/// How long a send waits for an unknown figure. After that the send passes, and the figure is read beside it.
const SEND_WAITS: Duration = Duration::from_millis(200);
/// How long reading or writing a count may take.
const WITHIN: Duration = Duration::from_secs(5);
/// Users whose counts are remembered.
const KNOWN_MAX: usize = 65_536;

#[derive(Debug)]
struct State {
    /// As last written or read.
    known: Cache<UserId, i64>,
    pending: BTreeMap<UserId, i64>,
    /// Users whose figure is being read for the first time.
    reading: HashSet<UserId>,
}

/// The counts; cheap to clone.
#[derive(Debug, Clone)]
pub struct Quota {
    pool: PgPool,
    /// Bytes; `None` for no limit.
    limit: Option<u64>,
    state: Arc<Mutex<State>>,
    tasks: TaskTracker,
}

impl Quota {
    /// Writes what is counted until `shutdown`, and once more then.
    pub fn start(limit: Option<u64>, pool: PgPool, tasks: &TaskTracker, shutdown: CancellationToken) -> Self {
        let state = State { known: Cache::new(KNOWN_MAX), pending: BTreeMap::new(), reading: HashSet::new() };
        let quota = Self { pool, limit, state: Arc::new(Mutex::new(state)), tasks: tasks.clone() };
        if limit.is_some() {
            let writing = quota.clone();
            tasks.spawn(async move {
                loop {
                    let is_over = tokio::select! {
                        () = shutdown.cancelled() => true,
                        () = sleep(WRITE_EVERY) => false,
                    };
                    if let Err(error) = writing.write().await {
                        tracing::debug!(%error, "could not write what users have stored");
                    }
                    if is_over {
                        return;
                    }
                }
            });
        }
        quota
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether somebody has as much in the log as they may. Before anybody is refused the database is asked again: another
    /// instance may have counted what they deleted. Without its answer nobody is refused. A user whose figure is unknown
    /// waits at most [`SEND_WAITS`] for it, once: requests that take all connections of the pool delay no send.
    pub async fn is_used_up(&self, user: UserId) -> bool {
        match self.is_over(user) {
            Some(false) => false,
            Some(true) => self.read(user).await && self.is_over(user) == Some(true),
            None => {
                if !self.state().reading.insert(user) {
                    return false;
                }
                let quota = self.clone();
                let reading = self.tasks.spawn(async move {
                    quota.read(user).await;
                    quota.state().reading.remove(&user);
                });
                timeout(SEND_WAITS, reading).await.is_ok() && self.is_over(user) == Some(true)
            }
        }
    }

    /// Whether the known figure of a user is over the limit; `None` for an unknown one.
    fn is_over(&self, user: UserId) -> Option<bool> {
        let Some(limit) = self.limit else { return Some(false) };
        let state = self.state();
        let pending = state.pending.get(&user).copied().unwrap_or_default();
        let stored = state.known.get(&user)?;
        Some(u64::try_from(stored + pending).unwrap_or_default() >= limit)
    }

    /// Reads the figure of a user. False if the database does not answer in time.
    async fn read(&self, user: UserId) -> bool {
        let reading = async { db::storage::of(&mut *self.pool.acquire().await?, user).await };
        let Ok(stored) = within(WITHIN, reading).await else { return false };
        self.state().known.insert(user, stored.unwrap_or_default());
        true
    }

    /// Counts what a commit has stored and erased.
    pub fn count(&self, stored: Stored) {
        if self.limit.is_some() {
            let mut state = self.state();
            for (user, bytes) in stored {
                *state.pending.entry(user).or_default() += bytes;
            }
        }
    }

    /// Writes what was counted. What cannot be written is counted again with the next time.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn write(&self) -> Result<(), sqlx::Error> {
        let pending = std::mem::take(&mut self.state().pending);
        if pending.is_empty() {
            return Ok(());
        }
        let (users, bytes): (Vec<Uuid>, Vec<i64>) =
            pending.iter().map(|(user, bytes)| (user.as_uuid(), *bytes)).unzip();
        let writing = async {
            let mut conn = self.pool.acquire().await?;
            db::storage::add(&mut conn, &users, &bytes).await
        };
        match within(WITHIN, writing).await {
            Ok(rows) => {
                let mut state = self.state();
                for (user, bytes) in rows {
                    state.known.insert(UserId::from_uuid(user), bytes);
                }
                Ok(())
            }
            Err(error) => {
                self.count(pending);
                Err(error)
            }
        }
    }
}

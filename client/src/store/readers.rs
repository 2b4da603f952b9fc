//! A few read-only connections, so that reading never waits for a write.

use super::{health, schema, tidy};
use crate::ClientError;
use rusqlite::Connection;
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::Semaphore;

/// Reads at the same time; more wait.
const READERS: usize = 3;
/// Instructions of SQLite's machine between two looks whether a read is over: a fraction of a millisecond.
const ASKED_EVERY: i32 = 2_000;

/// A pool; clones are handles to the same one.
#[derive(Clone)]
pub(super) struct Readers(Arc<Pool>);

struct Pool {
    path: PathBuf,
    key: schema::Key,
    idle: Mutex<Vec<Connection>>,
    turns: Arc<Semaphore>,
}

impl Readers {
    pub(super) fn new(path: PathBuf, key: schema::Key) -> Self {
        let turns = Arc::new(Semaphore::new(READERS));
        Self(Arc::new(Pool { path, key, idle: Mutex::default(), turns }))
    }

    /// Carries out `work` on one state of the database.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, ClientError> + Send + 'static,
    ) -> Result<T, ClientError> {
        self.read_with(None, work).await
    }

    /// The same, and ends it with [`ClientError::Superseded`] once it `is_over`, which is asked often.
    pub(super) async fn read_until<T: Send + 'static>(
        &self,
        is_over: impl Fn() -> bool + Send + Sync + 'static,
        work: impl FnOnce(&Connection) -> Result<T, ClientError> + Send + 'static,
    ) -> Result<T, ClientError> {
        self.read_with(Some(Arc::new(is_over)), work).await
    }

    async fn read_with<T: Send + 'static>(
        &self,
        is_over: Option<Arc<dyn Fn() -> bool + Send + Sync>>,
        work: impl FnOnce(&Connection) -> Result<T, ClientError> + Send + 'static,
    ) -> Result<T, ClientError> {
        let turn = self.0.turns.clone().acquire_owned().await.map_err(|_| ClientError::Closed)?;
        let pool = self.0.clone();
        let task = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            if is_over.as_ref().is_some_and(|is_over| is_over()) {
                return Err(ClientError::Superseded);
            }
            let mut conn = pool.take()?;
            if let Some(is_over) = is_over {
                conn.progress_handler(ASKED_EVERY, Some(move || is_over()))?;
            }
            let snapshot = conn.transaction()?;
            let result = work(&snapshot).and_then(|value| Ok(snapshot.finish().map(|()| value)?));
            conn.progress_handler(0, None::<fn() -> bool>)?;
            match result {
                // A connection that met a damaged page answers nothing else from then on.
                Err(error @ ClientError::FileDamaged(_)) => Err(error),
                Err(error) => {
                    let error = health::explained(&conn, error);
                    pool.keep(conn);
                    Err(error)
                }
                Ok(value) => {
                    pool.keep(conn);
                    Ok(value)
                }
            }
        });
        // A panic took its connection with it; the next read opens another one.
        task.await.map_err(|end| if end.is_panic() { ClientError::Panicked } else { ClientError::Closed })?
    }

    /// Lets connections that nobody uses forget the pages that they have read.
    pub(super) async fn rest(&self) {
        let pool = self.0.clone();
        let resting = tokio::task::spawn_blocking(move || {
            pool.idle.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(tidy::rest);
        });
        // Only the closing of the runtime ends it, and then all memory.
        let _ = resting.await;
    }

    /// The file and what opens it.
    pub(super) fn place(&self) -> (&Path, &schema::Key) {
        (&self.0.path, &self.0.key)
    }

    /// Waits for running reads, then closes the connections.
    pub(super) async fn close(&self) {
        if let Ok(all) = self.0.turns.acquire_many(READERS as u32).await {
            self.0.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
            self.0.turns.close();
            drop(all);
        }
    }
}

impl Pool {
    fn keep(&self, conn: Connection) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(conn);
    }

    fn take(&self) -> Result<Connection, ClientError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.map_or_else(|| schema::open_reader(&self.path, &self.key), Ok)
    }
}

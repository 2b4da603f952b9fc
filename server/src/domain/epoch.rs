//! The lineage of the database (S6): another one means that what clients know of it may be from a future that is
//! no more. They reconnect and compare heads; nothing of theirs is dropped.

use crate::{db, error::ApiError, hub::Hub};
use kith_protocol::error::close;
use sqlx::PgPool;
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, time::sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How often the lineage is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The epoch that is known; cheap to clone.
#[derive(Debug, Clone)]
pub struct Epoch {
    pool: PgPool,
    known: Arc<watch::Sender<Option<Arc<str>>>>,
}

impl Epoch {
    /// Looks at the lineage until `shutdown`; a change closes every connection with 4010.
    pub fn watch(pool: PgPool, hub: Hub, tasks: &TaskTracker, shutdown: CancellationToken) -> Self {
        let epoch = Self { pool, known: Arc::new(watch::Sender::new(None)) };
        let looking = epoch.clone();
        tasks.spawn(async move {
            loop {
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = sleep(LOOK_EVERY) => {}
                }
                let before = looking.known.borrow().clone();
                match looking.look().await {
                    Ok(after) if before.as_ref().is_some_and(|before| *before != after) => {
                        tracing::warn!("the database has another lineage; clients compare anew");
                        hub.close_all(close::EPOCH);
                    }
                    Ok(_) => {}
                    Err(error) => tracing::debug!(%error, "could not look at the database's lineage"),
                }
            }
        });
        epoch
    }

    async fn look(&self) -> Result<Arc<str>, sqlx::Error> {
        let mut conn = self.pool.acquire().await?;
        let epoch: Arc<str> = db::epoch::read(&mut conn).await?.into();
        self.known.send_replace(Some(Arc::clone(&epoch)));
        Ok(epoch)
    }

    /// The epoch, as it stands in `welcome`.
    ///
    /// # Errors
    /// When it was never read and the database fails.
    pub async fn get(&self) -> Result<Arc<str>, ApiError> {
        let known = self.known.borrow().clone();
        match known {
            Some(epoch) => Ok(epoch),
            None => Ok(self.look().await?),
        }
    }
}

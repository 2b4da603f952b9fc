//! The lineage of the database (S6), and how often this process has seen it change.
//!
//! Another lineage, or another start of PostgreSQL, may mean that what is known of the database is from a future that is
//! no more: a failover to an older standby, a folder that was set back. Each such change begins another **incarnation**,
//! a number that only this process knows. Whatever is remembered of the database counts for one incarnation: the caches
//! of the lanes, the windows of the relay, the place up to which the bus was made good. The clients reconnect and compare
//! heads; nothing of theirs is dropped. Instances name the incarnation to each other by a word that is the same in all of
//! them, and do not take messages of another one.
//!
//! A change of incarnation breaks every connection to the database. So whoever keeps something of it in memory looks at
//! the lineage on each connection that it opens; the watch finds what hides behind a pooler.

use crate::{
    db::{
        self,
        epoch::LineageRow,
        lanes::{discard, within},
    },
    error::ApiError,
    hub::Hub,
};
use kith_protocol::error::close;
use sha2::{Digest, Sha256};
use sqlx::{PgConnection, PgPool};
use std::{
    collections::VecDeque,
    fmt::Write as _,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::sleep;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How often the lineage is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a look may take.
const LOOK_WITHIN: Duration = Duration::from_secs(5);

/// Earlier lineages that are remembered. A connection that leads to one of them is not used.
const PAST_MAX: usize = 32;

#[derive(Debug, Default)]
struct Known {
    epoch: Option<Arc<str>>,
    incarnation_id: Option<String>,
    /// Of the incarnation_id.
    word: Option<Arc<str>>,
    past: VecDeque<String>,
    incarnation: u64,
}

impl Known {
    /// Takes a look into account; whether it is another incarnation, or an error if it is one from before.
    fn take(&mut self, epoch: &Arc<str>, incarnation_id: String) -> Result<bool, sqlx::Error> {
        if self.incarnation_id.as_ref() == Some(&incarnation_id) {
            return Ok(false);
        }
        if self.past.contains(&incarnation_id) {
            // A server that was replaced still answers on some connection.
            return Err(sqlx::Error::Io(io::ErrorKind::ConnectionAborted.into()));
        }
        self.epoch = Some(Arc::clone(epoch));
        self.word = Some(word(&incarnation_id).into());
        let Some(before) = self.incarnation_id.replace(incarnation_id) else { return Ok(false) };
        if self.past.len() >= PAST_MAX {
            self.past.pop_front();
        }
        self.past.push_back(before);
        self.incarnation += 1;
        Ok(true)
    }
}

/// A word for a database's incarnation_id that says nothing about the database.
pub fn word(incarnation_id: &str) -> String {
    Sha256::digest(incarnation_id).iter().take(8).fold(String::new(), |mut word, byte| {
        // Writing into a text has no way to fail.
        let _ = write!(word, "{byte:02x}");
        word
    })
}

/// The epoch that is known; cheap to clone.
#[derive(Debug, Clone)]
pub struct Epoch {
    pool: PgPool,
    hub: Hub,
    known: Arc<Mutex<Known>>,
}

impl Epoch {
    /// Looks at the lineage until `shutdown`; a change closes every connection with 4010.
    pub fn watch(pool: PgPool, hub: Hub, tasks: &TaskTracker, shutdown: CancellationToken) -> Self {
        let epoch = Self { pool, hub, known: Arc::default() };
        let looking = epoch.clone();
        tasks.spawn(async move {
            loop {
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = sleep(LOOK_EVERY) => {}
                }
                if let Err(error) = within(LOOK_WITHIN, looking.look()).await {
                    tracing::debug!(%error, "could not look at the database's lineage");
                }
            }
        });
        epoch
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn look(&self) -> Result<Arc<str>, sqlx::Error> {
        let mut conn = self.pool.acquire().await?;
        let looked = self.look_at(&mut conn).await;
        if looked.is_err() {
            discard(conn);
        }
        looked
    }

    /// Looks at where a connection leads.
    ///
    /// # Errors
    /// When the database fails, and when it is an earlier one: the connection is not to be used then.
    pub async fn look_at(&self, conn: &mut PgConnection) -> Result<Arc<str>, sqlx::Error> {
        let LineageRow { epoch, incarnation_id } = db::epoch::read(conn).await?;
        let epoch: Arc<str> = epoch.into();
        let is_other = self.known().take(&epoch, incarnation_id)?;
        if is_other {
            tracing::warn!("the database has another lineage or was started again; clients compare anew");
            self.hub.begin_anew();
            self.hub.close_all(close::EPOCH);
        }
        Ok(epoch)
    }

    /// How often the database has turned out to be another one than before.
    pub fn incarnation(&self) -> u64 {
        self.known().incarnation
    }

    /// A word for the incarnation, the same for all instances of the database; `None` before the first look.
    pub fn word(&self) -> Option<Arc<str>> {
        self.known().word.clone()
    }

    /// The epoch, as it stands in `welcome`.
    ///
    /// # Errors
    /// When it was never read and the database fails.
    pub async fn get(&self) -> Result<Arc<str>, ApiError> {
        let known = self.known().epoch.clone();
        match known {
            Some(epoch) => Ok(epoch),
            None => Ok(self.look().await?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s6_each_other_incarnation_id_is_another_incarnation_and_an_earlier_one_is_not_gone_back_to() {
        let mut known = Known::default();
        let mut take = |epoch: &str, incarnation_id: &str| {
            known
                .take(&epoch.into(), incarnation_id.to_owned())
                .map(|is_other| (is_other, known.incarnation))
                .ok()
        };
        assert_eq!(take("a", "a-1"), Some((false, 0)), "the first look");
        assert_eq!(take("a", "a-1"), Some((false, 0)));
        assert_eq!(take("a", "a-2"), Some((true, 1)), "started again, perhaps with an older folder");
        assert_eq!(take("a", "a-1"), None, "a server that was replaced");
        assert_eq!(take("b", "b-3"), Some((true, 2)), "another lineage");
        assert_eq!(take("b", "b-3"), Some((false, 2)));
    }
}

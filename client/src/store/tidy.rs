//! What is done while nobody writes: the search index's segments are merged, what was erased leaves the file's pages
//! ([`scrub`]), the planner's statistics are renewed, what is in the log beside the file is brought into it, and the
//! memory of pages that were read is given back. In small steps, so that a write waits for one of them at most.

use super::{
    place,
    readers::Readers,
    scrub,
    writer::{Untidied, WeakWriter},
};
use rusqlite::Connection;
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

/// It is quiet when nothing was written for so long.
const QUIET: Duration = Duration::from_secs(3);
/// Pages of the index that one step writes, about: some milliseconds.
const STEP_PAGES: i64 = 64;
/// A pass over all pages of the file takes seconds where there are a million messages, so there is a rest after each.
const SCRUB_REST: Duration = Duration::from_secs(600);
/// Files that were set aside are looked at once in so long.
const EXPIRY_REST: Duration = Duration::from_secs(24 * 60 * 60);
/// Where a pass is not finished, it goes on after this, also if nothing was written.
const AGAIN: Duration = Duration::from_secs(30);
/// After a step that failed altogether.
const AFTER_FAILURE: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 60 });

/// What a writer's housekeeping remembers between its steps.
#[derive(Default)]
pub(super) struct Upkeep {
    scrub: Option<scrub::Pass>,
    scrubbed_at: Option<Instant>,
    /// Something was erased, and the next pass waits for the end of the rest.
    is_resting: bool,
    expired_at: Option<Instant>,
}

/// Tidies whenever it has become quiet after a write, until the writer is gone.
pub(super) async fn when_quiet(
    (writer, wrote): (WeakWriter, Wrote),
    readers: Readers,
    step: fn(Upkeep, &Connection) -> (bool, Upkeep),
) {
    let mut upkeep = Upkeep::default();
    loop {
        match upkeep.goes_on_in() {
            // Whether somebody wrote or not.
            Some(wait) => drop(timeout(wait, wrote.notified()).await),
            None => wrote.notified().await,
        }
        while timeout(QUIET, wrote.notified()).await.is_ok() {}
        loop {
            let Some(writer) = writer.upgraded() else { return };
            let is_more = match writer.tidy(move |conn| step(upkeep, conn)).await {
                Ok((is_more, left)) => {
                    upkeep = left;
                    is_more
                }
                Err(Untidied::Closed) => return,
                Err(Untidied::Failed) => {
                    tracing::error!("failed to tidy the database; it is tried again");
                    upkeep = Upkeep::default();
                    sleep(AFTER_FAILURE).await;
                    wrote.notify_one();
                    false
                }
            };
            if !is_more {
                break;
            }
            drop(writer);
            if timeout(Duration::ZERO, wrote.notified()).await.is_ok() {
                // Somebody writes: the rest waits until it is quiet again.
                wrote.notify_one();
                break;
            }
        }
        if writer.upgraded().is_none() {
            return;
        }
        readers.rest().await;
    }
}

impl Upkeep {
    /// One step. Returns whether there is more to do.
    pub(super) fn step(mut self, conn: &Connection) -> (bool, Self) {
        match merge(conn) {
            Ok(true) => return (true, self),
            Ok(false) => {}
            Err(error) => tracing::debug!(%error, "the search index was not merged"),
        }
        match self.scrub(conn) {
            Ok(true) => return (true, self),
            Ok(false) => {}
            Err(error) => {
                self.scrub = None;
                tracing::warn!(%error, "failed to scrub the database");
            }
        }
        if let Err(error) = conn.execute_batch("PRAGMA optimize; PRAGMA wal_checkpoint(PASSIVE);") {
            tracing::debug!(%error, "the database was not tidied");
        }
        self.expire(conn);
        rest(conn);
        (false, self)
    }

    /// Removes what was set aside long ago.
    fn expire(&mut self, conn: &Connection) {
        if self.expired_at.is_some_and(|at| at.elapsed() < EXPIRY_REST) {
            return;
        }
        self.expired_at = Some(Instant::now());
        let expired = conn.path().map(|path| place::expire(Path::new(path), super::now()));
        if let Some(Err(error)) = expired {
            tracing::warn!(%error, "failed to remove what was set aside");
        }
    }

    /// When there is something to do though nobody writes.
    fn goes_on_in(&self) -> Option<Duration> {
        if self.scrub.is_some() {
            return Some(AGAIN);
        }
        let since = self.scrubbed_at.filter(|_| self.is_resting)?.elapsed();
        Some(SCRUB_REST.saturating_sub(since).max(AGAIN))
    }

    /// A step of clearing what was erased. Returns whether there are more pages.
    fn scrub(&mut self, conn: &Connection) -> Result<bool, crate::ClientError> {
        if self.scrub.is_none() {
            let pass = scrub::Pass::begin(conn)?;
            self.is_resting = pass.is_some() && self.scrubbed_at.is_some_and(|at| at.elapsed() < SCRUB_REST);
            self.scrub = pass.filter(|_| !self.is_resting);
        }
        let Some(pass) = &mut self.scrub else { return Ok(false) };
        match pass.step(conn)? {
            scrub::Left::Pages => Ok(true),
            scrub::Left::Log => Ok(false),
            scrub::Left::Nothing => {
                (self.scrub, self.scrubbed_at) = (None, Some(Instant::now()));
                Ok(false)
            }
        }
    }
}

/// Gives back what a connection remembers of pages; they are decrypted anew when they are wanted.
pub(super) fn rest(conn: &Connection) {
    if let Err(error) = conn.execute_batch("PRAGMA shrink_memory") {
        tracing::debug!(%error, "memory was not given back");
    }
}

/// Merges some segments. Returns whether some were.
fn merge(conn: &Connection) -> rusqlite::Result<bool> {
    let before = conn.total_changes();
    conn.prepare_cached("INSERT INTO search (search, rank) VALUES ('merge', ?1)")?.execute([STEP_PAGES])?;
    // The statement itself counts as one change.
    Ok(conn.total_changes() - before > 1)
}

/// Rings when something was written.
pub(super) type Wrote = Arc<Notify>;

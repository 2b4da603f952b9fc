//! What is done while nobody writes: the search index's segments are merged, the planner's statistics renewed, and
//! what is in the log beside the file is brought into it, and the memory of pages that were read is given back. In small
//! steps, so that a write waits for one of them at most.

use super::{readers::Readers, writer::WeakWriter};
use rusqlite::Connection;
use std::{sync::Arc, time::Duration};
use tokio::{sync::Notify, time::timeout};

/// It is quiet when nothing was written for so long.
const QUIET: Duration = Duration::from_secs(3);
/// Pages of the index that one step writes, about: some milliseconds.
const STEP_PAGES: i64 = 64;

/// Tidies whenever it has become quiet after a write, until the writer is gone.
pub(super) async fn when_quiet((writer, wrote): (WeakWriter, Wrote), readers: Readers) {
    loop {
        wrote.notified().await;
        while timeout(QUIET, wrote.notified()).await.is_ok() {}
        loop {
            let Some(writer) = writer.upgraded() else { return };
            if !writer.tidy(step).await {
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

/// One step; answers whether there is more to do.
pub(super) fn step(conn: &Connection) -> bool {
    match merge(conn) {
        Ok(true) => return true,
        Ok(false) => {}
        Err(error) => tracing::debug!(%error, "the search index was not merged"),
    }
    if let Err(error) = conn.execute_batch("PRAGMA optimize; PRAGMA wal_checkpoint(PASSIVE);") {
        tracing::debug!(%error, "the database was not tidied");
    }
    rest(conn);
    false
}

/// Gives back what a connection remembers of pages; they are decrypted anew when they are wanted.
pub(super) fn rest(conn: &Connection) {
    if let Err(error) = conn.execute_batch("PRAGMA shrink_memory") {
        tracing::debug!(%error, "memory was not given back");
    }
}

/// Merges some segments; answers whether some were.
fn merge(conn: &Connection) -> rusqlite::Result<bool> {
    let before = conn.total_changes();
    conn.prepare_cached("INSERT INTO search (search, rank) VALUES ('merge', ?1)")?.execute([STEP_PAGES])?;
    // The statement itself counts as one change.
    Ok(conn.total_changes() - before > 1)
}

/// Rings when something was written.
pub(super) type Wrote = Arc<Notify>;

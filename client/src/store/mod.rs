//! The profile's database: the only place with SQL. One file per table; projections beside what they are made from.
//!
//! Every write is one transaction (C3): raw events, ranges, outbox rows and projections commit together, and listeners
//! are told after the commit. The store knows no network and no machine, only the plain data of the seam
//! ([`StoreOp`](crate::sync::ops::StoreOp)).

mod apply;
mod changes;
pub(crate) mod conversations;
pub(crate) mod drafts;
pub(crate) mod list;
mod log;
pub(crate) mod members;
pub(crate) mod messages;
pub(crate) mod outbox;
mod overlay;
pub(crate) mod own_state;
pub(crate) mod people;
mod project;
mod ranges;
mod readers;
pub(crate) mod receipts;
mod rewind;
mod schema;
pub(crate) mod search;
mod sql;
#[cfg(test)]
mod tests;
pub(crate) mod timeline;
pub(crate) mod unsent;
pub(crate) mod verify;
mod writer;

pub(crate) use changes::Changes;
pub(crate) use list::Numbers;
pub(crate) use schema::Key;

use crate::{ClientError, view::PersonView};
use kith_protocol::{TimestampMs, UserId};
use readers::Readers;
use rusqlite::Connection;
use std::{
    ops::Deref,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};
use writer::{Durability, Writer};

/// A handle to the database; clones are handles to the same one.
#[derive(Clone)]
pub(crate) struct Store {
    me: UserId,
    writer: Writer,
    readers: Readers,
}

/// One state of the database, to be read.
pub(crate) struct Db<'c> {
    conn: &'c Connection,
    /// Whose database it is.
    pub(crate) me: UserId,
    /// The local clock when the call began.
    pub(crate) now: TimestampMs,
}

/// A write in the making, and what it changes.
pub(crate) struct Tx<'c> {
    db: Db<'c>,
    /// Told after the commit.
    pub(crate) changes: Changes,
}

impl<'c> Deref for Tx<'c> {
    type Target = Db<'c>;

    fn deref(&self) -> &Db<'c> {
        &self.db
    }
}

impl Store {
    /// Opens the database of one user, or makes it.
    ///
    /// # Errors
    /// [`ClientError::KeyMissing`] if the key does not open the file, [`ClientError::NewerFile`],
    /// [`ClientError::Store`]. The file is left as it is.
    pub(crate) async fn open(path: &Path, key: &Key, me: UserId) -> Result<Self, ClientError> {
        let (path, key): (PathBuf, Key) = (path.to_owned(), key.clone());
        let opened = tokio::task::spawn_blocking(move || {
            let mut conn = schema::open_writer(&path, &key)?;
            project::rebuild_if_outdated(&mut conn, me)?;
            Ok::<_, ClientError>(Self { me, writer: Writer::start(conn)?, readers: Readers::new(path, key) })
        });
        opened.await.map_err(|_| ClientError::Closed)?
    }

    /// Finishes what is being read and written, checkpoints, and closes.
    pub(crate) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// Whose database it is.
    pub(crate) fn me(&self) -> UserId {
        self.me
    }

    /// Reads one state of the database.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Db<'_>) -> Result<T, ClientError> + Send + 'static,
    ) -> Result<T, ClientError> {
        let me = self.me;
        self.readers.read(move |conn| work(&Db { conn, me, now: now() }).map_err(named)).await
    }

    /// Writes what the user did: one transaction that survives a power cut (O1).
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Tx<'_>) -> Result<T, ClientError> + Send + 'static,
    ) -> Result<(T, Changes), ClientError> {
        self.write_then(work, |_| ()).await
    }

    /// The same; `after` is called in the order of the commits, before this returns. It must not block.
    pub(crate) async fn write_then<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Tx<'_>) -> Result<T, ClientError> + Send + 'static,
        after: impl FnOnce(&mut Changes) + Send + 'static,
    ) -> Result<(T, Changes), ClientError> {
        self.writer.write(self.me, Durability::Full, work, after).await
    }

    /// The numbers of the whole account.
    pub(crate) async fn numbers(&self) -> Result<Numbers, ClientError> {
        self.read(list::numbers).await
    }

    /// These people, as far as they are known, in this order.
    pub(crate) async fn people(&self, users: Vec<UserId>) -> Result<Vec<PersonView>, ClientError> {
        self.read(move |db| users.iter().map(|user| people::get(db, *user)).collect()).await
    }
}

/// The local clock.
pub(crate) fn now() -> TimestampMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    TimestampMs(u64::try_from(since.as_millis()).unwrap_or_default())
}

/// Gives a full disk its own name.
fn named(error: ClientError) -> ClientError {
    match error {
        ClientError::Store(rusqlite::Error::SqliteFailure(failure, _))
            if failure.code == rusqlite::ErrorCode::DiskFull =>
        {
            ClientError::DiskFull
        }
        other => other,
    }
}

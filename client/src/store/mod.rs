//! The profile's database: the only place with SQL. One file per table; projections beside what they are made from.
//!
//! Every write is one transaction (C3): raw events, ranges, outbox rows and projections commit together, and listeners
//! are told after the commit. The store knows no network and no machine, only the plain data of the seam
//! ([`StoreOp`](kith_sync::ops::StoreOp)).

mod apply;
mod changes;
pub(crate) mod conversations;
mod deletions;
pub(crate) mod drafts;
mod facts;
mod health;
mod kinds;
mod lines;
pub(crate) mod list;
mod log;
pub(crate) mod members;
pub(crate) mod messages;
pub(crate) mod outbox;
mod overlay;
pub(crate) mod own_state;
pub(crate) mod people;
mod place;
mod project;
mod ranges;
mod readers;
mod rebuild;
pub(crate) mod receipts;
mod recent;
mod rewind;
pub(crate) mod salvage;
mod schema;
mod scrub;
pub(crate) mod search;
mod sql;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::{below, disk};
mod tidy;
pub(crate) mod timeline;
mod tokens;
pub(crate) mod unsent;
pub(crate) mod verify;
mod writer;

pub(crate) use changes::Changes;
pub(crate) use list::Numbers;
pub(crate) use place::{rename_database, set_aside};
pub(crate) use rebuild::Progress;
pub(crate) use schema::Key;

use crate::{
    ClientError,
    view::{PersonView, SearchView},
};
use kith_protocol::{ConversationId, TimestampMs, UserId};
use readers::Readers;
use rusqlite::Connection;
use std::{
    collections::BTreeSet,
    ops::Deref,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use writer::{Durability, Writer};

/// A handle to the database; clones are handles to the same one.
#[derive(Clone)]
pub(crate) struct Store {
    me: UserId,
    writer: Writer,
    readers: Readers,
    watch: Arc<Watch>,
    /// How far projections have been made again after an update; `None` when they are.
    rebuilding: watch::Receiver<Option<Progress>>,
    /// The number of the newest search.
    searches: Arc<AtomicU64>,
}

/// What is suspected of the file, and who wants to know.
#[derive(Default)]
struct Watch {
    is_suspect: AtomicBool,
    alarm: OnceLock<Arc<Notify>>,
    is_closing: CancellationToken,
    /// The file has to be looked through, and was not to its end.
    is_unproven: AtomicBool,
    check: Mutex<Option<JoinHandle<()>>>,
}

impl Watch {
    fn raise(&self) {
        self.is_suspect.store(true, Ordering::Release);
        if let Some(alarm) = self.alarm.get() {
            alarm.notify_one();
        }
    }
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
    /// What the search index is to learn, at the end.
    words: search::Words,
    /// Conversations whose last line may be another one.
    lines: BTreeSet<i64>,
    /// A text was deleted: the file's pages are to be cleared of it.
    has_erased: bool,
}

impl<'c> Tx<'c> {
    fn begin(conn: &'c Connection, me: UserId) -> Self {
        let db = Db { conn, me, now: now() };
        let (words, lines) = (search::Words::default(), BTreeSet::new());
        Self { db, changes: Changes::default(), words, lines, has_erased: false }
    }

    /// Writes what is made once for a whole transaction; what is left is to commit.
    fn finish(mut self) -> Result<Changes, ClientError> {
        std::mem::take(&mut self.words).write(&self)?;
        for cid in std::mem::take(&mut self.lines) {
            lines::put(&self, cid)?;
        }
        if self.has_erased {
            scrub::note(&self)?;
        }
        Ok(self.changes)
    }
}

impl<'c> Deref for Tx<'c> {
    type Target = Db<'c>;

    fn deref(&self) -> &Db<'c> {
        &self.db
    }
}

impl Store {
    /// Opens the database of one user, or makes it. A damaged one is set aside, and what is unsent in it is brought
    /// into a new one ([`salvage`]).
    ///
    /// # Errors
    /// [`ClientError::KeyMissing`] if the key does not open the file, [`ClientError::NewerFile`],
    /// [`ClientError::DiskFull`], [`ClientError::ReadOnly`], [`ClientError::FileBusy`], [`ClientError::Store`]. The
    /// file is left as it is.
    pub(crate) async fn open(path: &Path, key: &Key, me: UserId) -> Result<Self, ClientError> {
        let (path, key): (PathBuf, Key) = (path.to_owned(), key.clone());
        let opened = tokio::task::spawn_blocking(move || {
            open_or_mend(&path, &key, me).map_err(|error| health::explained_at(&path, error))
        });
        let Opened { store, was_killed, rebuilding } = opened.await.map_err(|_| ClientError::Closed)??;
        if was_killed {
            store.check();
        }
        if rebuilding.borrow().is_some() {
            tokio::spawn(rebuild::run(store.writer.downgraded().0, me, store.watch.clone(), rebuilding));
        }
        let tidying = tidy::when_quiet(store.writer.downgraded(), store.readers.clone(), tidy::Upkeep::step);
        tokio::spawn(tidying);
        Ok(store)
    }

    /// How far projections have been made again after an update; `None` when they are.
    pub(crate) fn rebuilding(&self) -> watch::Receiver<Option<Progress>> {
        self.rebuilding.clone()
    }

    /// Marks the projections as another version's: the next opening begins to make them again.
    #[cfg(feature = "measure")]
    pub(crate) async fn outdate(&self) -> Result<(), ClientError> {
        self.write(|tx| rebuild::outdate(tx)).await.map(drop)
    }

    /// Searches messages, newest first. A search ends when the next one begins.
    ///
    /// # Errors
    /// [`ClientError::Superseded`] by a newer search, [`ClientError::NotFound`] for an unknown conversation.
    pub(crate) async fn search(
        &self,
        query: String,
        conversation: Option<ConversationId>,
        limit: usize,
    ) -> Result<SearchView, ClientError> {
        let (me, searches) = (self.me, self.searches.clone());
        let number = searches.fetch_add(1, Ordering::Relaxed) + 1;
        let is_over = move || searches.load(Ordering::Relaxed) != number;
        let work = move |conn: &Connection| {
            search::search(&Db { conn, me, now: now() }, &query, conversation, limit)
        };
        self.heeded(self.readers.read_until(is_over, work).await)
    }

    /// Looks through the whole file behind everything else: whatever ended the process may have harmed the file too.
    fn check(&self) {
        let (watch, readers) = (self.watch.clone(), self.readers.clone());
        watch.is_unproven.store(true, Ordering::Release);
        let check = tokio::task::spawn_blocking(move || {
            let (path, key) = readers.place();
            let is_closing = watch.is_closing.clone();
            if health::is_damaged(path, key, move || is_closing.is_cancelled()) {
                watch.raise();
            } else if !watch.is_closing.is_cancelled() {
                watch.is_unproven.store(false, Ordering::Release);
            }
        });
        *self.watch.check.lock().unwrap_or_else(PoisonError::into_inner) = Some(check);
    }

    /// Calls when the file seems to be damaged, from now on and if it seemed so before.
    pub(crate) fn alarm(&self, alarm: Arc<Notify>) {
        // Another session on the same file calls in the same place.
        let _ = self.watch.alarm.set(alarm);
        if self.watch.is_suspect.load(Ordering::Acquire) {
            self.watch.raise();
        }
    }

    /// Whether the file is damaged for certain.
    pub(crate) async fn is_damaged(&self) -> bool {
        let readers = self.readers.clone();
        let look = tokio::task::spawn_blocking(move || {
            let (path, key) = readers.place();
            health::is_damaged(path, key, || false)
        });
        look.await.unwrap_or(false)
    }

    /// Opens the same file again, after [`Store::close`]; a damaged one is set aside.
    pub(crate) async fn mended(&self) -> Result<Self, ClientError> {
        let (readers, me) = (self.readers.clone(), self.me);
        let mended = tokio::task::spawn_blocking(move || {
            let (path, key) = readers.place();
            salvage::mend(path, key, me).map_err(|error| health::explained_at(path, error))
        });
        mended.await.map_err(|_| ClientError::Closed)??;
        let (path, key) = self.readers.place();
        Self::open(path, key, me).await
    }

    /// Finishes what is being read and written, checkpoints, and closes. A file that was to be looked through, and was
    /// not or is damaged, stays as a killed process leaves it, so that the next start looks again.
    pub(crate) async fn close(&self) {
        self.watch.is_closing.cancel();
        let check = self.watch.check.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(check) = check {
            // What it would have found is found again.
            let _ = check.await;
        }
        self.readers.close().await;
        self.writer.close(!self.watch.is_unproven.load(Ordering::Acquire)).await;
    }

    /// What opens the file.
    pub(crate) fn key(&self) -> &Key {
        self.readers.place().1
    }

    /// Returns when the writer has failed again and again: nothing is written any more.
    pub(crate) async fn writer_gave_up(&self) {
        self.writer.gave_up().await;
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
        self.heeded(self.readers.read(move |conn| work(&Db { conn, me, now: now() })).await)
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
        self.write_with(Durability::Full, work, after).await
    }

    async fn write_with<T: Send + 'static>(
        &self,
        durability: Durability,
        work: impl FnOnce(&mut Tx<'_>) -> Result<T, ClientError> + Send + 'static,
        after: impl FnOnce(&mut Changes) + Send + 'static,
    ) -> Result<(T, Changes), ClientError> {
        self.heeded(self.writer.write(self.me, durability, work, after).await)
    }

    /// Whether something that was read or written looked damaged.
    pub(crate) fn is_suspect(&self) -> bool {
        self.watch.is_suspect.load(Ordering::Acquire)
    }

    fn heeded<T>(&self, result: Result<T, ClientError>) -> Result<T, ClientError> {
        if matches!(result, Err(ClientError::FileDamaged(_))) {
            self.watch.raise();
        }
        result
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

pub(crate) fn now() -> TimestampMs {
    #[cfg(test)]
    if let Some(set) = disk::clock() {
        return set;
    }
    TimestampMs(kith_failpoint::clock::now_ms())
}

/// An open store, and what is left to do for it.
struct Opened {
    store: Store,
    /// The process that had the file open before was ended by force.
    was_killed: bool,
    rebuilding: watch::Sender<Option<Progress>>,
}

fn open_or_mend(path: &Path, key: &Key, me: UserId) -> Result<Opened, ClientError> {
    place::finish_rescue(path)?;
    let was_killed = std::fs::metadata(place::beside(path, "-wal")).is_ok_and(|wal| wal.len() > 0);
    match open_sound(path, key, me) {
        Err(ClientError::FileDamaged(error)) => {
            tracing::error!(%error, "the database is damaged");
            salvage::mend(path, key, me)?;
            open_sound(path, key, me)
        }
        opened => Ok(Opened { was_killed, ..opened? }),
    }
}

fn open_sound(path: &Path, key: &Key, me: UserId) -> Result<Opened, ClientError> {
    let mut conn = schema::open_writer(path, key, schema::MIGRATIONS)?;
    let (sender, rebuilding) = watch::channel(rebuild::begin(&mut conn, me)?);
    let readers = Readers::new(path.to_owned(), key.clone());
    let (path, key) = (path.to_owned(), key.clone());
    let reopen = move || schema::reopen_writer(&path, &key);
    let (writer, watch) = (Writer::start(conn, Box::new(reopen))?, Arc::default());
    let store = Store { me, writer, readers, watch, rebuilding, searches: Arc::default() };
    Ok(Opened { store, was_killed: false, rebuilding: sender })
}

//! The one thread that owns the one write connection. A panic in a write ends that write and the connection: the thread
//! opens another one and goes on with what waits.

use super::{Changes, Db, Tx, health, now, tidy::Wrote, verify};
use crate::{ClientError, restarts::Restarts};
use kith_failpoint::places;
use kith_protocol::UserId;
use kith_sync::ops::Counter;
use rusqlite::{Connection, TransactionBehavior, config::DbConfig};
use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Arc, Weak},
    thread::JoinHandle,
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Writes that wait. When full, the caller waits.
const WAITING_WRITES_MAX: usize = 64;
/// The wait before the connection is opened again for the first time. The next ones double it.
const FIRST_WAIT: Duration = Duration::from_millis(10);
/// The longest wait before the connection is opened again: people wait for what they write.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Opens the file again, after a panic.
pub(super) type Reopen = Box<dyn Fn() -> Result<Connection, ClientError> + Send>;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

enum Order {
    Do(Job),
    Close { is_tidied: bool, closed: oneshot::Sender<()> },
}

/// Why nothing was tidied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Untidied {
    /// The file is closed.
    Closed,
    Failed,
}

/// Whether a power cut may take the transaction back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Durability {
    /// It may: the server has what it holds.
    Normal,
    /// It may not: the user was told that it is kept (O1).
    Full,
}

/// A handle to the thread; clones are handles to the same one.
#[derive(Clone)]
pub(super) struct Writer(Arc<Thread>);

struct Thread {
    orders: Option<mpsc::Sender<Order>>,
    wrote: Wrote,
    gave_up: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

/// A handle that does not keep the thread.
pub(super) struct WeakWriter(Weak<Thread>);

impl WeakWriter {
    pub(super) fn upgraded(&self) -> Option<Writer> {
        self.0.upgrade().map(Writer)
    }
}

impl Drop for Thread {
    /// Waits until the file is closed. A process that ends while its thread still encrypts pages would pull the
    /// cipher away under it.
    fn drop(&mut self) {
        self.orders = None;
        self.wrote.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic in the thread was told when it happened.
            let _ = thread.join();
        }
    }
}

impl Writer {
    pub(super) fn start(conn: Connection, reopen: Reopen) -> Result<Self, ClientError> {
        let (orders, waiting) = mpsc::channel(WAITING_WRITES_MAX);
        let gave_up = CancellationToken::new();
        let serving = Serving { waiting, reopen, gave_up: gave_up.clone() };
        let thread = std::thread::Builder::new().name("store-writer".to_owned());
        let thread = thread.spawn(move || serving.serve(conn))?;
        let wrote = Wrote::default();
        Ok(Self(Arc::new(Thread { orders: Some(orders), wrote, gave_up, thread: Some(thread) })))
    }

    /// Returns when it has failed again and again, and writes nothing any more.
    pub(super) async fn gave_up(&self) {
        let gave_up = self.0.gave_up.clone();
        gave_up.cancelled().await;
    }

    /// Lets it end, and hears of what is written.
    pub(super) fn downgraded(&self) -> (WeakWriter, Wrote) {
        (WeakWriter(Arc::downgrade(&self.0)), self.0.wrote.clone())
    }

    /// Carries out a step of tidying behind what waits.
    ///
    /// # Errors
    /// [`Untidied`] where it was not, or not to its end.
    pub(super) async fn tidy<T: Send + 'static>(
        &self,
        step: impl FnOnce(&Connection) -> T + Send + 'static,
    ) -> Result<T, Untidied> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |conn| {
            let _ = answer.send(step(conn));
        });
        self.send(Order::Do(job)).await.map_err(|_| Untidied::Closed)?;
        answered.await.map_err(|_| Untidied::Failed)
    }

    /// Carries out `work` in one transaction; answers after the commit. `after` is called right behind the commit, on
    /// this thread, so that calls come in the order of the commits. It must not block.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        me: UserId,
        durability: Durability,
        work: impl FnOnce(&mut Tx<'_>) -> Result<T, ClientError> + Send + 'static,
        after: impl FnOnce(&mut Changes) + Send + 'static,
    ) -> Result<(T, Changes), ClientError> {
        let (answer, answered) = oneshot::channel();
        let wrote = self.0.wrote.clone();
        let job: Job = Box::new(move |conn| {
            wrote.notify_one();
            let written = catch_unwind(AssertUnwindSafe(|| {
                let mut result = transact(conn, me, durability, work);
                if let Ok((_, changes)) = &mut result {
                    after(changes);
                }
                result
            }));
            // Whoever asked may have gone; the transaction stands all the same.
            match written {
                Ok(result) => drop(answer.send(result)),
                Err(panic) => {
                    let _ = answer.send(Err(ClientError::Panicked));
                    resume_unwind(panic);
                }
            }
        });
        self.send(Order::Do(job)).await?;
        answered.await.map_err(|_| ClientError::Closed)?
    }

    async fn send(&self, order: Order) -> Result<(), ClientError> {
        let orders = self.0.orders.as_ref().ok_or(ClientError::Closed)?;
        orders.send(order).await.map_err(|_| ClientError::Closed)
    }

    /// Finishes what waits and closes the file; if it `is_tidied`, everything is brought into it before.
    pub(super) async fn close(&self, is_tidied: bool) {
        let (closed, done) = oneshot::channel();
        if self.send(Order::Close { is_tidied, closed }).await.is_ok() {
            let _ = done.await;
        }
    }
}

/// What the thread works with.
struct Serving {
    waiting: mpsc::Receiver<Order>,
    reopen: Reopen,
    gave_up: CancellationToken,
}

impl Serving {
    fn serve(mut self, conn: Connection) {
        let mut restarts = Restarts::new(FIRST_WAIT, LONGEST_WAIT);
        let (mut conn, mut is_tidied, mut done) = (Some(conn), true, None);
        while let Some(open) = &mut conn {
            match self.waiting.blocking_recv() {
                Some(Order::Do(job)) => {
                    if catch_unwind(AssertUnwindSafe(|| job(open))).is_err() {
                        // An unfinished transaction was rolled back; settings of the connection may be left over.
                        drop(conn.take());
                        conn = self.reopened(&mut restarts);
                    }
                }
                Some(Order::Close { is_tidied: is_wanted, closed }) => {
                    (is_tidied, done) = (is_wanted, Some(closed));
                    break;
                }
                None => break,
            }
        }
        self.waiting.close();
        match conn {
            Some(conn) => close(conn, is_tidied),
            None => self.gave_up.cancel(),
        }
        if let Some(done) = done {
            let _ = done.send(());
        }
    }

    /// Opens the file again, and counts that. `None` when it has failed too often in a row.
    fn reopened(&self, restarts: &mut Restarts) -> Option<Connection> {
        loop {
            let Some(wait) = restarts.failed(Instant::now()) else {
                tracing::error!("the store's writer was given up");
                return None;
            };
            std::thread::sleep(wait);
            let opened = (self.reopen)().and_then(|conn| count_restart(&conn).map(|()| conn));
            match opened {
                Ok(conn) => {
                    tracing::error!(?wait, "the store's writer panicked and was started again");
                    return Some(conn);
                }
                Err(error) => tracing::error!(%error, "the store's writer could not be started again"),
            }
        }
    }
}

fn count_restart(conn: &Connection) -> Result<(), ClientError> {
    // Whose database it is plays no part in a count.
    let tx = Tx::begin(conn, kith_protocol::UserId::from_uuid(uuid::Uuid::nil()));
    verify::count(&tx, Counter::WriterRestarts, 1)
}

fn close(conn: Connection, is_tidied: bool) {
    let tidied = if is_tidied {
        conn.execute_batch("PRAGMA optimize; PRAGMA wal_checkpoint(TRUNCATE);")
    } else {
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map(drop)
    };
    if let Err(error) = tidied {
        tracing::warn!(%error, "the database was closed without a checkpoint");
    }
}

pub(super) fn transact<T>(
    conn: &mut Connection,
    me: UserId,
    durability: Durability,
    work: impl FnOnce(&mut Tx<'_>) -> Result<T, ClientError>,
) -> Result<(T, Changes), ClientError> {
    if durability == Durability::Full {
        conn.pragma_update(None, "synchronous", "FULL")?;
    }
    let result = (|| {
        let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut tx = Tx::begin(&transaction, me);
        let value = work(&mut tx)?;
        let mut changes = tx.finish()?;
        changes.complete(&Db { conn: &transaction, me, now: now() })?;
        kith_failpoint::pass(places::STORE_BEFORE_COMMIT);
        transaction.commit()?;
        kith_failpoint::pass(places::STORE_AFTER_COMMIT);
        Ok((value, changes))
    })();
    if durability == Durability::Full {
        conn.pragma_update(None, "synchronous", "NORMAL")?;
    }
    result.map_err(|error| health::explained(conn, error))
}

//! The one thread that owns the one write connection.

use super::{Changes, Db, Tx, health, now, tidy::Wrote};
use crate::ClientError;
use kith_failpoint::places;
use kith_protocol::UserId;
use rusqlite::{Connection, TransactionBehavior, config::DbConfig};
use std::{
    sync::{Arc, Weak},
    thread::JoinHandle,
};
use tokio::sync::{mpsc, oneshot};

/// Writes that wait. When full, the caller waits.
const WAITING_WRITES_MAX: usize = 64;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

enum Order {
    Do(Job),
    Close { is_tidied: bool, closed: oneshot::Sender<()> },
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
    pub(super) fn start(conn: Connection) -> Result<Self, ClientError> {
        let (orders, waiting) = mpsc::channel(WAITING_WRITES_MAX);
        let thread = std::thread::Builder::new().name("store-writer".to_owned());
        let thread = thread.spawn(move || serve(conn, waiting))?;
        let wrote = Wrote::default();
        Ok(Self(Arc::new(Thread { orders: Some(orders), wrote, thread: Some(thread) })))
    }

    /// Lets it end, and hears of what is written.
    pub(super) fn downgraded(&self) -> (WeakWriter, Wrote) {
        (WeakWriter(Arc::downgrade(&self.0)), self.0.wrote.clone())
    }

    /// Carries out a step of tidying behind what waits; `None` once the file is closed.
    pub(super) async fn tidy<T: Send + 'static>(
        &self,
        step: impl FnOnce(&Connection) -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |conn| {
            let _ = answer.send(step(conn));
        });
        self.send(Order::Do(job)).await.ok()?;
        answered.await.ok()
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
            // Whoever asked may have gone; the transaction stands all the same.
            let mut result = transact(conn, me, durability, work);
            if let Ok((_, changes)) = &mut result {
                after(changes);
            }
            let _ = answer.send(result);
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

fn serve(mut conn: Connection, mut waiting: mpsc::Receiver<Order>) {
    let (mut is_tidied, mut done) = (true, None);
    while let Some(order) = waiting.blocking_recv() {
        match order {
            Order::Do(job) => job(&mut conn),
            Order::Close { is_tidied: is_wanted, closed } => {
                (is_tidied, done) = (is_wanted, Some(closed));
                break;
            }
        }
    }
    waiting.close();
    let tidied = if is_tidied {
        conn.execute_batch("PRAGMA optimize; PRAGMA wal_checkpoint(TRUNCATE);")
    } else {
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map(drop)
    };
    if let Err(error) = tidied {
        tracing::warn!(%error, "the database was closed without a checkpoint");
    }
    drop(conn);
    if let Some(done) = done {
        let _ = done.send(());
    }
}

fn transact<T>(
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

//! The one thread that owns the one write connection.

use super::{Changes, Db, Tx, now};
use crate::ClientError;
use kith_protocol::UserId;
use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

/// Writes that wait. When full, the caller waits.
const WAITING_WRITES_MAX: usize = 64;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

enum Order {
    Do(Job),
    Close(oneshot::Sender<()>),
}

/// Whether a power cut may take the transaction back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Durability {
    /// It may: the server has what it holds.
    Normal,
    /// It may not: the user was told that it is kept (O1).
    Full,
}

/// A handle to the thread.
#[derive(Clone)]
pub(super) struct Writer {
    orders: mpsc::Sender<Order>,
}

impl Writer {
    pub(super) fn start(conn: Connection) -> Result<Self, ClientError> {
        let (orders, waiting) = mpsc::channel(WAITING_WRITES_MAX);
        std::thread::Builder::new().name("store-writer".to_owned()).spawn(move || serve(conn, waiting))?;
        Ok(Self { orders })
    }

    /// Carries out `work` in one transaction; answers after the commit.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        me: UserId,
        durability: Durability,
        work: impl FnOnce(&mut Tx<'_>) -> Result<T, ClientError> + Send + 'static,
    ) -> Result<(T, Changes), ClientError> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |conn| {
            // Whoever asked may have gone; the transaction stands all the same.
            let _ = answer.send(transact(conn, me, durability, work));
        });
        self.orders.send(Order::Do(job)).await.map_err(|_| ClientError::Closed)?;
        answered.await.map_err(|_| ClientError::Closed)?
    }

    /// Finishes what waits, checkpoints and closes the file.
    pub(super) async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.orders.send(Order::Close(done)).await.is_ok() {
            let _ = closed.await;
        }
    }
}

fn serve(mut conn: Connection, mut waiting: mpsc::Receiver<Order>) {
    let mut done = None;
    while let Some(order) = waiting.blocking_recv() {
        match order {
            Order::Do(job) => job(&mut conn),
            Order::Close(answer) => {
                done = Some(answer);
                break;
            }
        }
    }
    waiting.close();
    let tidied = conn.execute_batch("PRAGMA optimize; PRAGMA wal_checkpoint(TRUNCATE);");
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
        let mut tx = Tx { db: Db { conn: &transaction, me, now: now() }, changes: Changes::default() };
        let value = work(&mut tx)?;
        let mut changes = tx.changes;
        changes.complete(&Db { conn: &transaction, me, now: now() })?;
        transaction.commit()?;
        Ok((value, changes))
    })();
    if durability == Durability::Full {
        conn.pragma_update(None, "synchronous", "NORMAL")?;
    }
    result.map_err(super::named)
}

//! Connections of those who write the log. They have a pool of their own, so that no number of other requests keeps a
//! lane waiting, and a deadline on this side of the network for whatever they do.

use sqlx::{
    Connection as _, PgPool, Postgres,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use std::{
    io,
    time::{Duration, Instant},
};
use tokio::time::timeout;

/// A connection that was not used for this long is asked whether it lives, within [`ASK_WITHIN`].
const ASK_AFTER: Duration = Duration::from_millis(500);
/// Then another one is opened.
const ASK_WITHIN: Duration = Duration::from_secs(2);

/// Opens connections to the database of `pool`, at most `connections`.
///
/// The server gives up a statement before `within` has passed on this side, and frees the locks of a connection that was
/// left in a transaction.
pub fn pool(pool: &PgPool, connections: u32, within: Duration) -> PgPool {
    let statement_ms = within.mul_f64(0.8).as_millis().to_string();
    let transaction_ms = within.as_millis().to_string();
    let options =
        PgConnectOptions::clone(&pool.connect_options()).application_name("kith-server lane").options([
            ("statement_timeout", statement_ms),
            ("idle_in_transaction_session_timeout", transaction_ms),
        ]);
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(within)
        .test_before_acquire(false)
        .idle_timeout(None)
        .connect_lazy_with(options)
}

/// Waits for the database at most `limit`.
///
/// # Errors
/// Those of the work, or an I/O error that says that the time is over. What was done by then is unknown, and the
/// connection is of no more use.
pub async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    timeout(limit, work).await.unwrap_or_else(|_| Err(sqlx::Error::Io(io::ErrorKind::TimedOut.into())))
}

/// A connection that its owner keeps between batches.
#[derive(Debug)]
pub struct LaneConnection {
    pool: PgPool,
    within: Duration,
    kept: Option<(PoolConnection<Postgres>, Instant)>,
}

/// A connection for one batch.
pub struct Taken {
    pub conn: PoolConnection<Postgres>,
    /// Whether nothing was done on it before: it may lead to another database than the last one.
    pub is_new: bool,
}

impl LaneConnection {
    /// None yet; it is opened when it is needed.
    pub fn new(pool: PgPool, within: Duration) -> Self {
        Self { pool, within, kept: None }
    }

    /// The longest that anything on the connection may take.
    pub fn within(&self) -> Duration {
        self.within
    }

    /// The connection that was kept, or another one.
    ///
    /// # Errors
    /// When none can be opened in time.
    pub async fn take(&mut self) -> Result<Taken, sqlx::Error> {
        if let Some((mut conn, used)) = self.kept.take() {
            if used.elapsed() < ASK_AFTER || within(ASK_WITHIN, conn.ping()).await.is_ok() {
                return Ok(Taken { conn, is_new: false });
            }
            discard(conn);
        }
        Ok(Taken { conn: self.pool.acquire().await?, is_new: true })
    }

    /// Keeps a connection on which everything went well.
    pub fn keep(&mut self, conn: PoolConnection<Postgres>) {
        self.kept = Some((conn, Instant::now()));
    }
}

/// Closes a connection that is not trusted again.
pub fn discard(conn: PoolConnection<Postgres>) {
    drop(conn.detach());
}

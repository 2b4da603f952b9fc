//! The only place with SQL, a file per table. Functions take a connection; `domain` opens the transaction.

pub mod announced;
pub mod append;
pub mod blocks;
pub mod cleaning;
pub mod contacts;
pub mod conversations;
pub mod credentials;
pub mod cursor;
pub mod devices;
pub mod epoch;
pub mod events;
pub mod fault;
pub mod generations;
pub mod heads;
pub mod health;
pub mod invites;
pub mod items;
pub mod keys;
pub mod lanes;
pub mod members;
pub mod missed;
pub mod notifications;
pub mod pins;
#[cfg(test)]
mod plans;
pub mod reactions;
pub mod receipts;
pub mod refresh_tokens;
pub mod storage;
pub mod unread;
pub mod users;

use sqlx::{
    Connection as _, PgConnection, PgPool, Postgres, Transaction,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use std::{str::FromStr, time::Duration};

/// Advisory lock of a process that changes the schema or makes the first keys.
pub const ADVISORY_LOCK: i64 = 0x6b69_7468_0000_0001;

/// Begins reads that all see the same moment.
const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// A connection that nobody used for this long is asked whether it lives before it is handed out.
const ASKED_AFTER: Duration = Duration::from_millis(500);
/// Then another one is taken: after a failover all that were open may be silent.
const ASKED_WITHIN: Duration = Duration::from_secs(1);

/// How long a connection that comes back may take to become ready. Whoever hung up may have left a statement on it.
const READY_WITHIN: Duration = Duration::from_secs(5);

/// Connects to the database that `url` names.
///
/// `lock_timeout` is 2 s (W1); PostgreSQL notices within 20 s that this side of a TCP connection is gone, and frees its
/// locks; `synchronous_commit` stays on whatever the database's default is (W10).
///
/// # Errors
/// When the URL is not one or nobody answers in 10 s.
pub async fn connect(url: &str, connections: u32) -> Result<PgPool, sqlx::Error> {
    let options = PgConnectOptions::from_str(url)?;
    // No statement returns a float, and PgBouncer refuses a connection that asks for their digits.
    let options = options.extra_float_digits(None).application_name("kith-server").options([
        ("lock_timeout", "2s"),
        ("statement_timeout", "30s"),
        ("idle_in_transaction_session_timeout", "30s"),
        ("tcp_keepalives_idle", "10"),
        ("tcp_keepalives_interval", "5"),
        ("tcp_keepalives_count", "2"),
        ("synchronous_commit", "on"),
        // A plan for each run of a statement costs more than most runs do, and one that was made while a table was small
        // would scan all of it later: each is planned once, by its indexes.
        ("plan_cache_mode", "force_generic_plan"),
        ("enable_seqscan", "off"),
        ("enable_hashjoin", "off"),
        ("enable_mergejoin", "off"),
        ("jit", "off"),
    ]);
    let crosses_network = options.get_socket().is_none() && !options.get_host().starts_with('/');
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(10))
        // sqlx asks a connection that comes back whether it is ready, and waits for the answer for as long as the system
        // believes in the network. A socket of this machine loses nothing and is spared the question.
        .after_release(move |conn, _| {
            Box::pin(async move {
                if crosses_network {
                    lanes::within(READY_WITHIN, conn.ping()).await?;
                }
                Ok(true)
            })
        })
        // A connection that has just served needs no question whether it lives; under load that would be a third of all.
        .test_before_acquire(false)
        .before_acquire(|conn, about| {
            Box::pin(async move {
                if about.idle_for > ASKED_AFTER {
                    lanes::within(ASKED_WITHIN, conn.ping()).await?;
                }
                Ok(true)
            })
        })
        .connect_with(options)
        .await
}

/// Begins a transaction, also for whoever may hang up at any moment.
///
/// A `begin` that is given up half-way leaves its connection in the pool with the transaction open: what others do on it
/// then is not committed. So it is done by a task that always comes to its end; a transaction that nobody takes is
/// rolled back.
///
/// # Errors
/// When the database fails.
pub async fn begin(pool: &PgPool) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    let pool = pool.clone();
    #[expect(clippy::disallowed_methods, reason = "this is the place that may")]
    let begun = tokio::spawn(async move { pool.begin().await });
    begun.await.unwrap_or(Err(sqlx::Error::WorkerCrashed))
}

/// As [`begin`]: reads that all see the same moment.
///
/// # Errors
/// When the database fails.
pub async fn begin_snapshot(pool: &PgPool) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    let pool = pool.clone();
    #[expect(clippy::disallowed_methods, reason = "this is the place that may")]
    let begun = tokio::spawn(async move { pool.begin_with(SNAPSHOT).await });
    begun.await.unwrap_or(Err(sqlx::Error::WorkerCrashed))
}

/// A connection for several steps, also for whoever may hang up at any moment: one that was given up half-way goes back
/// to no pool, whatever was open on it.
pub struct Steps(Option<PoolConnection<Postgres>>);

impl Steps {
    /// Takes a connection of the pool.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn begin(pool: &PgPool) -> Result<Self, sqlx::Error> {
        Ok(Self(Some(pool.acquire().await?)))
    }

    /// The connection.
    ///
    /// # Errors
    /// Never: it is there until the end.
    pub fn conn(&mut self) -> Result<&mut PgConnection, sqlx::Error> {
        self.0.as_deref_mut().ok_or(sqlx::Error::WorkerCrashed)
    }

    /// As [`begin_snapshot`].
    ///
    /// # Errors
    /// When the database fails.
    pub async fn snapshot(&mut self) -> Result<Transaction<'_, Postgres>, sqlx::Error> {
        self.conn()?.begin_with(SNAPSHOT).await
    }

    /// All steps are done.
    pub fn end(mut self) {
        self.0 = None;
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        if let Some(conn) = self.0.take() {
            drop(conn.detach());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{future::poll_fn, pin::pin, task::Poll};

    /// Whoever asks hangs up after so many steps, each of which something was waited for.
    async fn given_up_after(steps: usize, asking: impl Future) {
        let (mut asking, mut taken) = (pin!(asking), 0);
        poll_fn(|cx| {
            taken += 1;
            if taken > steps { Poll::Ready(()) } else { asking.as_mut().poll(cx).map(|_| ()) }
        })
        .await;
    }

    async fn several_steps(pool: &PgPool) -> Result<(), sqlx::Error> {
        let mut all = Steps::begin(pool).await?;
        let mut tx = all.snapshot().await?;
        sqlx::query("SELECT 1").execute(&mut *tx).await?;
        tx.commit().await?;
        all.end();
        Ok(())
    }

    #[tokio::test]
    async fn w10_whoever_hangs_up_at_a_begin_leaves_no_open_transaction_to_others() {
        let database = crate::testing::database().await.unwrap();
        let other = connect(database.url(), 1).await.unwrap();
        for steps in 1..6 {
            for way in 0..3 {
                let pool = connect(database.url(), 1).await.unwrap();
                match way {
                    0 => given_up_after(steps, begin(&pool)).await,
                    1 => given_up_after(steps, begin_snapshot(&pool)).await,
                    _ => given_up_after(steps, several_steps(&pool)).await,
                }
                let id = uuid::Uuid::now_v7();
                sqlx::query("INSERT INTO invites (hash, expires_at) VALUES ($1, now())")
                    .bind(id.as_bytes().as_slice())
                    .execute(&pool)
                    .await
                    .unwrap();
                let seen: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM invites WHERE hash = $1)")
                    .bind(id.as_bytes().as_slice())
                    .fetch_one(&other)
                    .await
                    .unwrap();
                assert!(seen, "committed, though somebody hung up after {steps} steps before");
            }
        }
    }
}

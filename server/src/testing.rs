//! A server in the process of a test.

use crate::{Config, connect, migrate, schema_fingerprint, serve};
use kith_pgbox::testing::{TestDb, fresh_database};
use sqlx::PgPool;
use std::{error::Error, net::SocketAddr, time::Duration};
use tokio::{net::TcpListener, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

type BoxError = Box<dyn Error + Send + Sync>;

/// A running server with a database of its own. Ends when dropped; the database goes with it.
pub struct TestServer {
    pub address: SocketAddr,
    /// Its database, for looking at what is stored.
    pub pool: PgPool,
    shutdown: CancellationToken,
    serving: JoinHandle<Result<(), crate::ServeError>>,
    url: String,
    /// Dropped with the server.
    _database: Option<TestDb>,
}

/// Lets whatever this process logs be looked through for secrets, where `KITH_TEST_LOGS` names a folder.
pub fn record_logs() {
    crate::telemetry::init_for_tests();
}

/// A log of all that can be made to be logged, as JSON, whatever the settings.
pub fn most_detailed_log<W, M>(writer: M) -> impl tracing::Subscriber + Send + Sync
where
    W: std::io::Write,
    M: Fn() -> W + Send + Sync + 'static,
{
    crate::telemetry::most_detailed(writer)
}

/// A fresh, migrated database.
///
/// # Errors
/// When PostgreSQL does not start or a migration fails.
pub async fn database() -> Result<TestDb, BoxError> {
    let database = fresh_database(&schema_fingerprint(), |url| async move {
        let pool = connect(&url, 2).await?;
        migrate(&pool).await?;
        pool.close().await;
        Ok(())
    })
    .await?;
    Ok(database)
}

impl TestServer {
    /// Starts a server with [`Config::for_tests`].
    ///
    /// # Errors
    /// When PostgreSQL or the server does not start.
    pub async fn start() -> Result<Self, BoxError> {
        Self::start_with(Config::for_tests()).await
    }

    /// Starts a server with these settings on a free port.
    ///
    /// # Errors
    /// When PostgreSQL or the server does not start.
    pub async fn start_with(config: Config) -> Result<Self, BoxError> {
        let database = database().await?;
        let url = database.url().to_owned();
        Self::start_on(&url, &url, Some(database), config).await
    }

    /// Starts a server on a migrated database that it reaches by `way`, a proxy for instance; the test itself goes by
    /// `url`.
    ///
    /// # Errors
    /// When the server does not start.
    pub async fn start_on(
        url: &str,
        way: &str,
        database: Option<TestDb>,
        config: Config,
    ) -> Result<Self, BoxError> {
        record_logs();
        let own = connect(way, config.database_connections).await?;
        let pool = if url == way { own.clone() } else { connect(url, 4).await? };
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, config, own, shutdown.clone()));
        Ok(Self { address, pool, shutdown, serving, url: url.to_owned(), _database: database })
    }

    /// `http://…` with a path that begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// `ws://…/v1/socket`
    pub fn socket_url(&self) -> String {
        format!("ws://{}/v1/socket", self.address)
    }

    /// The database's address, for a second server or process on it.
    pub fn database_url(&self) -> &str {
        &self.url
    }

    /// Ends the server in order and waits for it.
    ///
    /// # Errors
    /// When the server failed or does not end.
    pub async fn stop(mut self) -> Result<(), BoxError> {
        self.shutdown.cancel();
        timeout(Duration::from_secs(20), &mut self.serving).await???;
        Ok(())
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.shutdown.cancel();
        self.serving.abort();
    }
}

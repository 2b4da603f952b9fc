//! What every handler can reach.

use crate::{
    auth::Tokens,
    config::Config,
    departures::Departures,
    devices::Allowances,
    domain::{passwords::Passwords, publish::Publisher, receipts::Receipts, sign_in_limits::SignInLimits},
    error::ApiError,
    hub::Hub,
    metrics::Metrics,
    permits::Permits,
    presence::Presence,
    readiness::Readiness,
    shares::Shares,
};
use sqlx::PgPool;
use std::{ops::Deref, sync::Arc, time::Duration};
use tokio::time::timeout;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The longest that work for a request may take; longer than PostgreSQL lets a statement run.
const WORK_WITHIN: Duration = Duration::from_secs(40);

/// The server's shared parts; cheap to clone.
#[derive(Clone)]
pub struct AppState(Arc<Inner>);

/// What [`AppState`] holds.
pub struct Inner {
    pub config: Config,
    pub pool: PgPool,
    /// Signs and verifies access tokens, derives refresh tokens.
    pub tokens: Tokens,
    /// Hashes and verifies passwords.
    pub passwords: Passwords,
    /// Tries to sign in, per account and per address.
    pub sign_in_limits: SignInLimits,
    /// What each device may still ask for.
    pub allowances: Allowances,
    /// What each user may do at the same time.
    pub shares: Shares,
    pub metrics: Metrics,
    pub hub: Hub,
    pub presence: Presence,
    /// Who was there until just now.
    pub departures: Departures,
    /// What the database said to whoever watches the server.
    pub readiness: Readiness,
    /// Sockets and polls that perform a handshake: a connected client does not wait behind them.
    pub permits: Permits,
    pub publisher: Publisher,
    pub receipts: Receipts,
    /// Whoever watches is told that the server is about to end.
    pub draining: CancellationToken,
    pub shutdown: CancellationToken,
    /// Owns every task that is not a request.
    pub tasks: TaskTracker,
}

/// How a server ends.
#[derive(Debug, Clone, Default)]
pub struct Ending {
    /// Somebody wants it to: it is not ready any more, and serves on.
    pub asked: CancellationToken,
    pub begun: CancellationToken,
}

impl AppState {
    /// Puts the parts together and starts the lanes.
    pub fn new(config: Config, pool: PgPool, tokens: Tokens, ending: Ending) -> Self {
        let Ending { asked: draining, begun: shutdown } = ending;
        let tasks = TaskTracker::new();
        let hub = Hub::default();
        let metrics = Metrics::default();
        let publisher =
            Publisher::start(&config, pool.clone(), hub.clone(), metrics.clone(), &tasks, shutdown.clone());
        let receipts = Receipts::start(&pool, config.database_within, &hub, &tasks, &shutdown);
        Self(Arc::new(Inner {
            passwords: Passwords::new(config.password_cost),
            sign_in_limits: SignInLimits::default(),
            allowances: Allowances::default(),
            shares: Shares::default(),
            presence: Presence::new(hub.clone()),
            departures: Departures::default(),
            readiness: Readiness::default(),
            permits: Permits::new(config.permits, config.permit_within, metrics.shed.clone()),
            config,
            pool,
            tokens,
            metrics,
            hub,
            publisher,
            receipts,
            draining,
            shutdown,
            tasks,
        }))
    }
}

impl AppState {
    /// Does work that must not stop half-way when whoever asked hangs up: what is committed is also told. It stops after
    /// [`WORK_WITHIN`] alone: the database is silent then.
    ///
    /// # Errors
    /// Those of the work; `unavailable` if it panicked.
    pub async fn to_the_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, ApiError>> + Send + 'static,
    ) -> Result<T, ApiError> {
        let work = async move { timeout(WORK_WITHIN, work).await.unwrap_or(Err(ApiError::Unavailable)) };
        self.tasks.spawn(work).await.unwrap_or(Err(ApiError::Unavailable))
    }
}

impl Deref for AppState {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

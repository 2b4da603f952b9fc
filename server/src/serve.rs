//! Accepting connections, and ending in order.

use crate::{
    auth::{KEYS_READ_EVERY, Tokens},
    bus, clock,
    config::{Config, ConfigError},
    connections::{Connections, Entered, Stall},
    domain,
    error::ApiError,
    http::peer,
    metrics,
    router::router,
    state::{AppState, Ending},
    tls::Tls,
};
use axum::{Router, extract::ConnectInfo, http::Request};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use kith_protocol::error::close;
use sqlx::PgPool;
use std::{future::Future, net::SocketAddr, pin::pin, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpSocket, TcpStream},
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

/// A request's headers arrive within this time, and a kept connection idles no longer. Well under the 10 s between two
/// polls of a client (S12), so that a poll never meets a connection that is just being closed.
const HEADERS_WITHIN: Duration = Duration::from_secs(8);
/// The bytes of a request's headers.
const HEADER_BYTES_MAX: usize = 16 * 1024;
/// How often devices that another process signed out are looked for; their sockets close within 5 s.
const REVOCATION_EVERY: Duration = Duration::from_secs(3);
/// How often all connected devices are asked about.
const DEAD_EVERY: Duration = Duration::from_secs(60);
/// How often old counters are dropped.
const TIDY_EVERY: Duration = Duration::from_secs(60);
/// How often a step is taken in removing what nobody can use any more.
const CLEAN_EVERY: Duration = Duration::from_secs(60);
/// Connections that wait to be accepted; the system has a limit of its own.
const BACKLOG: u32 = 4_096;
/// How often those are looked at who have left a conversation.
const LEAVERS_EVERY: Duration = Duration::from_secs(1);
/// How often it is noted who has left.
const DEPARTURES_EVERY: Duration = Duration::from_millis(250);
/// After an accept that failed for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why the server could not run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A setting is out of its bounds.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The database failed at the start.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
}

pub struct Listeners {
    pub clients: TcpListener,
    /// Ends TLS for the clients; without it they speak plain HTTP.
    pub tls: Option<Arc<Tls>>,
    /// For whoever watches the server, if anybody does.
    pub metrics: Option<TcpListener>,
}

impl From<TcpListener> for Listeners {
    fn from(clients: TcpListener) -> Self {
        Self { clients, tls: None, metrics: None }
    }
}

/// Listens for clients; so many may have connected and not been accepted yet, since after a restart all come at once.
///
/// # Errors
/// When the address is not this machine's or in use.
pub fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves until `shutdown`, then ends in order: `/readyz` fails for [`Config::drain`], then no new connections, a `bye`
/// to every socket, the lanes drained, the pool closed; after [`Config::shutdown_within`] whatever is left is dropped.
///
/// The database must be migrated.
///
/// # Errors
/// [`ServeError`] for bad settings and when the database fails at the start.
pub async fn serve(
    listeners: impl Into<Listeners>,
    config: Config,
    pool: PgPool,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    config.check()?;
    let Listeners { clients: listener, tls, metrics } = listeners.into();
    let (drain, shutdown_within, database_within) =
        (config.drain, config.shutdown_within, config.database_within);
    let tokens = Tokens::load(&pool, config.access_token, config.secret_key.clone()).await?;
    clock::compare(&mut *pool.acquire().await?).await?;
    let ending = Ending { asked: shutdown, begun: CancellationToken::new() };
    let state = AppState::new(config, pool.clone(), tokens, ending.clone());
    state.tasks.spawn(watch_revocations(state.clone()));
    state.tasks.spawn(watch_dead(state.clone()));
    state.tasks.spawn(watch_keys(state.clone()));
    state.tasks.spawn(tidy(state.clone(), tls.clone()));
    state.tasks.spawn(clean(state.clone()));
    state.tasks.spawn(note_departures(state.clone()));
    state.tasks.spawn(end_watches(state.clone()));
    state.tasks.spawn(warm_up(state.clone()));
    state.tasks.spawn(begin_the_end(ending.clone(), drain));
    bus::start(&state);
    if let Some(metrics) = metrics {
        state.tasks.spawn(metrics::serve(metrics, state.clone()));
    }
    let counts = Connections::new(&state.config);
    let acceptor =
        Acceptor { router: router(state.clone()), tls, counts, state: state.clone(), shutdown: ending.begun };
    let connections = TaskTracker::new();
    accept(listener, &acceptor, &connections).await;
    state.hub.close_all(close::RESTART);
    connections.close();
    state.tasks.close();
    let ended = async {
        connections.wait().await;
        state.tasks.wait().await;
        state.departures.note(&pool, database_within).await;
        pool.close().await;
    };
    if timeout(shutdown_within.saturating_sub(drain), ended).await.is_err() {
        tracing::warn!("the shutdown took too long; dropping what is left");
    }
    Ok(())
}

/// Lets those who watch `/readyz` look away before the end begins.
async fn begin_the_end(ending: Ending, drain: Duration) {
    ending.asked.cancelled().await;
    sleep(drain).await;
    ending.begun.cancel();
}

/// What every accepted connection goes through.
#[derive(Clone)]
struct Acceptor {
    router: Router,
    tls: Option<Arc<Tls>>,
    counts: Connections,
    state: AppState,
    shutdown: CancellationToken,
}

async fn accept(listener: TcpListener, acceptor: &Acceptor, connections: &TaskTracker) {
    loop {
        let accepted = tokio::select! {
            () = acceptor.shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, from)) => {
                let Some(entered) = acceptor.counts.enter(peer::counted(from.ip(), &acceptor.state.config))
                else {
                    acceptor.state.metrics.turned_away.inc();
                    continue;
                };
                connections.spawn(enter(stream, from, acceptor.clone(), entered));
            }
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn enter(stream: TcpStream, peer: SocketAddr, acceptor: Acceptor, entered: Entered) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "no TCP_NODELAY");
    }
    let Some(tls) = acceptor.tls.clone() else {
        return connection(Stall::new(stream, entered), peer, acceptor.router, acceptor.shutdown).await;
    };
    let shaken = tokio::select! {
        shaken = timeout(HEADERS_WITHIN, tls.accept(stream)) => shaken,
        () = acceptor.shutdown.cancelled() => return,
    };
    match shaken {
        Ok(Ok(stream)) => {
            connection(Stall::new(stream, entered), peer, acceptor.router, acceptor.shutdown).await;
        }
        Ok(Err(error)) => tracing::debug!(%error, "no TLS"),
        Err(_) => tracing::debug!("a TLS handshake took too long"),
    }
}

async fn connection<S>(stream: Stall<S>, peer: SocketAddr, router: Router, shutdown: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let unstalled = stream.lifted();
    let service = router.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        request.extensions_mut().insert(unstalled.clone());
        request.map(axum::body::Body::new)
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS_WITHIN)
            .max_buf_size(HEADER_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
            .with_upgrades()
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
}

async fn watch_dead(state: AppState) {
    every(DEAD_EVERY, &state, || async {
        if let Err(error) = in_time(&state, domain::sessions::close_dead(&state)).await {
            tracing::warn!(%error, "could not look for dead devices");
        }
    })
    .await;
}

async fn watch_revocations(state: AppState) {
    every(REVOCATION_EVERY, &state, || async {
        if let Err(error) = in_time(&state, domain::sessions::close_revoked(&state)).await {
            tracing::warn!(%error, "could not look for revoked devices");
        }
    })
    .await;
}

async fn tidy(state: AppState, tls: Option<Arc<Tls>>) {
    every(TIDY_EVERY, &state, || async {
        match tls.as_ref().map(|tls| tls.reload()) {
            Some(Ok(true)) => tracing::info!("a new certificate serves"),
            Some(Err(error)) => {
                tracing::error!(%error, "the certificate that is there cannot serve; the earlier one does")
            }
            Some(Ok(false)) | None => {}
        }
        let compared = async { Ok(clock::compare(&mut *state.pool.acquire().await?).await?) };
        if let Err(error) = in_time(&state, compared).await {
            tracing::debug!(%error, "could not compare the clocks");
        }
        state.sign_in_limits.tidy();
        state.allowances.tidy();
    })
    .await;
}

/// Removes what nobody can use any more, a step at a time.
async fn clean(state: AppState) {
    let mut next = domain::cleaning::Place::default();
    loop {
        tokio::select! {
            () = state.shutdown.cancelled() => return,
            () = sleep(CLEAN_EVERY) => match domain::cleaning::step(&state.pool, &next).await {
                Ok(after) => next = after,
                Err(error) => tracing::warn!(%error, "could not remove what is over"),
            },
        }
    }
}

async fn note_departures(state: AppState) {
    every(DEPARTURES_EVERY, &state, || state.departures.note(&state.pool, state.config.database_within))
        .await;
}

async fn end_watches(state: AppState) {
    every(LEAVERS_EVERY, &state, || domain::watches::end(&state)).await;
}

async fn watch_keys(state: AppState) {
    every(KEYS_READ_EVERY, &state, || async {
        let reloaded = async { Ok(state.tokens.reload(&state.pool).await?) };
        if let Err(error) = in_time(&state, reloaded).await {
            tracing::warn!(%error, "could not read the keys");
        }
    })
    .await;
}

/// Makes the hash that unknown users are compared with before the first of them asks.
async fn warm_up(state: AppState) {
    if let Err(error) = state.passwords.verify(String::new(), None).await {
        tracing::warn!(%error, "cannot hash passwords");
    }
}

/// Gives up work that the database leaves unanswered; the next time finds another connection.
async fn in_time(state: &AppState, work: impl Future<Output = Result<(), ApiError>>) -> Result<(), ApiError> {
    timeout(state.config.request_within(), work).await.unwrap_or(Err(ApiError::Unavailable))
}

/// Does some work again and again. The work itself has to give up what the database leaves unanswered, see [`in_time`].
async fn every<F: Future<Output = ()>>(period: Duration, state: &AppState, work: impl Fn() -> F) {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        tokio::select! {
            () = state.shutdown.cancelled() => return,
            _ = ticks.tick() => work().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    #[tokio::test(start_paused = true)]
    async fn sec_037_whoever_does_not_read_the_answer_is_let_go() {
        let router = Router::new().route("/", axum::routing::get(async || "long ".repeat(1_000)));
        let (mut client, served) = duplex(64);
        let entered = Connections::new(&Config::for_tests()).enter(None).unwrap();
        let serving = tokio::spawn(connection(
            Stall::new(served, entered),
            SocketAddr::from(([127, 0, 0, 1], 1)),
            router,
            CancellationToken::new(),
        ));
        client.write_all(b"GET / HTTP/1.1\r\nhost: kith\r\n\r\n").await.unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(60), serving).await;
        ended.expect("the connection ends although its answer is not read").unwrap();
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        assert!(rest.starts_with(b"HTTP/1.1 200"));
    }
}

//! `kith-server serve`

use crate::{
    Listeners,
    config::{Config, Signup},
};
use anyhow::Context;
use clap::{ArgAction, Args};
use kith_pgbox::{Cluster, Options};
use std::{net::SocketAddr, path::PathBuf, time::Duration};
use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

const EMBEDDED_DATABASE: &str = "kith";

#[derive(Args)]
pub(super) struct ServeArgs {
    /// The database (postgres://user:password@host/database).
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
    /// Runs a private PostgreSQL in --data-dir instead.
    #[arg(long, requires = "data_dir", env = "KITH_EMBEDDED_DB", action = ArgAction::SetTrue)]
    embedded_db: bool,
    /// The folder of the private PostgreSQL.
    #[arg(long, env = "KITH_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Where to listen; port 0 takes a free one.
    #[arg(long, env = "KITH_LISTEN", default_value = "127.0.0.1:7480")]
    listen: SocketAddr,
    /// Where to listen for Prometheus (GET /metrics), e.g. 127.0.0.1:7481; off without it. Whoever reaches it can read it.
    #[arg(long, env = "KITH_METRICS_LISTEN")]
    metrics_listen: Option<SocketAddr>,
    /// Who may make an account: open, invite or closed.
    #[arg(long, env = "KITH_SIGNUP", default_value = "closed")]
    signup: Signup,
    /// Whether WebSockets are served (on or off); without them clients poll.
    #[arg(long, env = "KITH_SOCKETS", default_value = "on", value_parser = parse_switch, action = ArgAction::Set)]
    sockets: bool,
    /// How long an access token lives, seconds up to 600.
    #[arg(long, env = "KITH_ACCESS_TOKEN_SECONDS", default_value_t = 600)]
    access_token_seconds: u64,
    /// Origins of web pages that may open a socket, separated by commas. Native clients need none.
    #[arg(long, env = "KITH_ALLOWED_ORIGINS", value_delimiter = ',')]
    allowed_origins: Vec<String>,
    /// Connections to the database.
    #[arg(long, env = "KITH_DATABASE_CONNECTIONS", default_value_t = 20)]
    database_connections: u32,
}

fn parse_switch(text: &str) -> Result<bool, String> {
    match text {
        "on" | "true" | "1" => Ok(true),
        "off" | "false" | "0" => Ok(false),
        _ => Err("on or off".to_owned()),
    }
}

impl ServeArgs {
    fn config(&self) -> Config {
        Config {
            signup: self.signup,
            sockets: self.sockets,
            access_token: Duration::from_secs(self.access_token_seconds),
            allowed_origins: self.allowed_origins.clone(),
            database_connections: self.database_connections,
            ..Config::default()
        }
    }
}

pub(super) async fn run(args: ServeArgs) -> anyhow::Result<()> {
    let config = args.config();
    config.check()?;
    let shutdown = CancellationToken::new();
    tokio::spawn(cancel_on_signal(shutdown.clone())?);
    let (cluster, url) = database(&args).await?;
    let pool =
        crate::connect(&url, config.database_connections).await.context("cannot reach the database")?;
    crate::migrate(&pool).await?;
    let listener =
        TcpListener::bind(args.listen).await.with_context(|| format!("cannot listen on {}", args.listen))?;
    let address = listener.local_addr()?;
    let metrics = metrics(args.metrics_listen).await?;
    if !address.ip().is_loopback() {
        tracing::warn!(%address, "this server speaks plain HTTP beyond this machine: put a proxy with TLS before it");
    }
    // The one line on standard output, for whoever started the server with port 0.
    println!("listening on http://{address}");
    crate::serve(Listeners { clients: listener, metrics }, config, pool, shutdown).await?;
    if let Some(cluster) = cluster {
        cluster.stop().await?;
    }
    Ok(())
}

async fn metrics(address: Option<SocketAddr>) -> anyhow::Result<Option<TcpListener>> {
    let Some(address) = address else { return Ok(None) };
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    let address = listener.local_addr()?;
    tracing::info!(%address, "metrics at /metrics");
    Ok(Some(listener))
}

async fn database(args: &ServeArgs) -> anyhow::Result<(Option<Cluster>, String)> {
    if let (true, Some(dir)) = (args.embedded_db, &args.data_dir) {
        let cluster = Cluster::start(Options::new(dir)).await?;
        cluster.ensure_database(EMBEDDED_DATABASE).await?;
        let url = cluster.url(EMBEDDED_DATABASE);
        return Ok((Some(cluster), url));
    }
    let url = args.database_url.clone().context(
        "no database: set DATABASE_URL (postgres://user:password@host/database), \
         or let the server run its own with --embedded-db --data-dir DIR",
    )?;
    Ok((None, url))
}

#[cfg(unix)]
fn cancel_on_signal(shutdown: CancellationToken) -> std::io::Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("ending");
        shutdown.cancel();
    })
}

#[cfg(not(unix))]
fn cancel_on_signal(shutdown: CancellationToken) -> std::io::Result<impl Future<Output = ()>> {
    Ok(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            tracing::info!("ending");
            shutdown.cancel();
        }
    })
}

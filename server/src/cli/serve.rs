//! `kith-server serve`

use super::database::{self, Database};
use crate::{Config, Listeners, config::Signup, domain::accounts, settings::Settings, tls::Tls};
use anyhow::Context;
use std::{net::SocketAddr, sync::Arc};
use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

pub(super) async fn run(settings: &Settings) -> anyhow::Result<()> {
    let config = Config { bus: settings.bus()?, secret_key: settings.secret_key()?, ..settings.config()? };
    raise_open_files();
    let tls = match (&settings.tls_cert, &settings.tls_key) {
        (Some(certificate), Some(key)) => Some(Arc::new(Tls::load(certificate, key)?)),
        _ => None,
    };
    let shutdown = CancellationToken::new();
    tokio::spawn(cancel_on_signal(shutdown.clone())?);
    let database = tokio::select! {
        opened = database::open_alone(settings, config.database_connections) => opened?,
        // A PostgreSQL in the making ends with this process.
        () = shutdown.cancelled() => return Ok(()),
    };
    crate::migrate(&database.pool).await?;
    if config.signup == Signup::Invite
        && let Some(code) = accounts::first_invite(&database.pool).await?
    {
        say!("the first invitation, shown this once: {code}");
    }
    let listen = settings.listen();
    let clients = crate::serve::listen(listen).with_context(|| format!("cannot listen on {listen}"))?;
    let address = clients.local_addr()?;
    let metrics = metrics(settings.metrics_listen).await?;
    warn(settings, address, tls.is_some());
    // For whoever started the server with port 0.
    say!("listening on {}://{address}", if tls.is_some() { "https" } else { "http" });
    let Database { pool, .. } = &database;
    crate::serve(Listeners { clients, tls, metrics }, config, pool.clone(), shutdown).await?;
    database.close().await
}

/// As many open files as the system allows this user: each client is one, and what is allowed at first is for programs
/// that have few.
fn raise_open_files() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
            tracing::debug!(%error, "the limit of open files stays as it is");
        }
    }
}

/// Says what an operator may not have meant.
fn warn(settings: &Settings, address: SocketAddr, has_tls: bool) {
    let has_proxy = settings.trusted_proxies.as_ref().is_some_and(|proxies| !proxies.is_empty());
    if !address.ip().is_loopback() && !has_tls && !has_proxy {
        tracing::warn!(%address, "this server speaks plain HTTP beyond this machine: passwords can be read on the way");
    }
    if settings.bus().ok().flatten().is_some_and(|bus| bus.url.is_plain()) {
        tracing::warn!("what goes over the bus can be read on the way: tls:// in its address demands TLS");
    }
    if settings.secret_key_file.is_none() {
        tracing::warn!("a copy of the database holds keys that work: docs/operate/install.md, Secret key");
    }
    if settings.metrics_listen.is_some_and(|address| !address.ip().is_loopback()) {
        tracing::warn!("the metrics can be read from beyond this machine");
    }
}

async fn metrics(address: Option<SocketAddr>) -> anyhow::Result<Option<TcpListener>> {
    let Some(address) = address else { return Ok(None) };
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    let address = listener.local_addr()?;
    tracing::info!(%address, "metrics at /metrics");
    Ok(Some(listener))
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

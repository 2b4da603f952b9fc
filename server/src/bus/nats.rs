//! The connection to NATS.

use super::Shared;
use crate::config::{BusConfig, BusCredentials};
use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event};
use std::time::Duration;
use tokio::time::sleep;

/// A connection that does not come about in this time is tried again.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// Between two tries at most; what is lost meanwhile is read from the database.
const AGAIN_WITHIN: Duration = Duration::from_millis(500);
/// A connection on which nothing comes is asked so often, and given up after two questions.
const PING_EVERY: Duration = Duration::from_secs(5);
/// Messages that came and were not looked at. Further ones are lost, which the next one shows.
const INWARD_MAX: usize = 4_096;
/// Messages that wait for the network.
const WAITING_MAX: usize = 256;

fn options(config: &BusConfig) -> ConnectOptions {
    let url = &config.url;
    let mut options = ConnectOptions::new()
        .name("kith-server")
        .no_echo()
        .connection_timeout(CONNECT_WITHIN)
        .require_tls(url.address().starts_with("tls:"));
    if let Some(file) = &config.ca_file {
        options = options.add_root_certificates(file.clone());
    }
    match url.credentials() {
        BusCredentials::Nothing => options,
        BusCredentials::Token(token) => options.token(token),
        BusCredentials::Password(user, password) => options.user_and_password(user, password),
    }
}

/// Connects, however long it takes; `None` at the shutdown. What happens to the connection afterwards is in the metrics.
pub(super) async fn connect(shared: &Shared, config: &BusConfig) -> Option<Client> {
    let (here, metrics) = (shared.clone(), shared.state.metrics.clone());
    let options = options(config)
        .retry_on_initial_connect()
        .max_reconnects(None)
        .ping_interval(PING_EVERY)
        .subscription_capacity(INWARD_MAX)
        .client_capacity(WAITING_MAX)
        .reconnect_delay_callback(|tries| {
            if tries <= 1 { Duration::ZERO } else { AGAIN_WITHIN.mul_f64(0.5 + rand::random::<f64>() / 2.0) }
        })
        .event_callback(move |event| {
            match event {
                Event::Connected => {
                    metrics.bus.connected.set(1);
                    tracing::info!("the bus is connected");
                    here.due.notify_one();
                }
                Event::Disconnected | Event::Closed => {
                    metrics.bus.connected.set(0);
                    tracing::warn!("the bus is away; what other instances commit is read from the database");
                }
                Event::SlowConsumer(_) => here.due.notify_one(),
                // What the server says may quote a subject, and nothing that is secret.
                other => tracing::debug!(event = %other, "the bus"),
            }
            async {}
        });
    let address = config.url.address();
    loop {
        let connecting = options_again(&options, &address);
        tokio::select! {
            () = shared.state.shutdown.cancelled() => return None,
            connected = connecting => match connected {
                Ok(client) => return Some(client),
                Err(kind) => tracing::warn!(%kind, bus = %config.url.shown(), "no bus; trying again"),
            },
        }
        sleep(AGAIN_WITHIN).await;
    }
}

async fn options_again(options: &ConnectOptions, address: &str) -> Result<Client, ConnectErrorKind> {
    options.clone().connect(address).await.map_err(|error| error.kind())
}

/// Whether the bus lets this server in, for `kith-server doctor`: `Err` with what is wrong, which holds no secret.
///
/// # Errors
/// What the connection failed at.
pub async fn reach(config: &BusConfig) -> Result<(), String> {
    let address = config.url.address();
    let client = options_again(&options(config), &address).await.map_err(|kind| kind.to_string())?;
    client.flush().await.map_err(|_| "it does not answer".to_owned())
}

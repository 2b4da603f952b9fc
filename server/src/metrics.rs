//! What an operator watches, in Prometheus's text form, on a listener of its own (off unless asked for).
//!
//! Numbers only: no name, no id, no text. Counters begin at 0 with each start of the server.

use crate::state::AppState;
use axum::{Router, extract::State, http::header::CONTENT_TYPE, response::IntoResponse, routing::get};
use kith_protocol::frame::{AckResult, AckStatus};
use prometheus_client::{
    encoding::text::encode,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};
use std::{ops::Deref, sync::Arc, time::Instant};
use tokio::net::TcpListener;

const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Labels = [(&'static str, &'static str); 1];

/// The numbers; cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Inner>);

/// What [`Metrics`] holds.
#[derive(Debug)]
pub struct Inner {
    registry: Registry,
    sockets: Gauge,
    pool: Family<Labels, Gauge>,
    stalled: Gauge,
    events: Family<Labels, Counter>,
    heads: Family<Labels, Counter>,
    dropped: Family<Labels, Counter>,
    /// Polls of clients without a socket.
    pub exchanges: Counter,
    /// Pages that were asked for.
    pub pulls: Counter,
    /// Comparisons of logs: one after a fork, and those of a sample.
    pub probes: Counter,
    /// Handshakes that waited too long and were rejected.
    pub shed: Counter,
    /// Connections that were closed at once: too many in total, or of their address.
    pub turned_away: Counter,
    /// Devices that turned out to be copies of a profile (S8).
    pub device_forks: Counter,
    batch: Histogram,
    publish: Histogram,
    delivery: Histogram,
    /// What goes over the bus, and what does not (L4).
    pub bus: Bus,
}

#[derive(Debug, Default)]
pub struct Bus {
    /// 1 while it is connected.
    pub connected: Gauge,
    /// Other instances that are heard.
    pub instances: Gauge,
    messages: Family<Labels, Counter>,
    /// Messages of others that did not come.
    pub lost: Counter,
    /// Events that were read from the database, for the bus had not brought them.
    pub repaired: Counter,
}

impl Bus {
    fn register(&self, r: &mut Registry) {
        r.register("bus_connected", "Whether the bus is connected", self.connected.clone());
        r.register("bus_instances", "Other instances that are heard over the bus", self.instances.clone());
        r.register(
            "bus_messages",
            "Messages over the bus, by what became of them: out, unsent (the bus was away), in, refused",
            self.messages.clone(),
        );
        r.register("bus_lost", "Messages of other instances that did not come", self.lost.clone());
        let help = "Events that the bus did not bring and that were read from the database";
        r.register("bus_repaired", help, self.repaired.clone());
    }

    /// A message went, or came.
    pub fn message(&self, outcome: &'static str) {
        self.messages.get_or_create(&[("outcome", outcome)]).inc();
    }
}

/// What became of something that waited for a slow connection (L2).
#[derive(Debug, Clone, Copy)]
pub enum Dropped {
    /// Typing or presence: gone.
    Ephemeral,
    /// An event: its conversation is hinted at instead.
    Event,
    /// The connection, for it took nothing.
    Connection,
}

impl Default for Metrics {
    fn default() -> Self {
        // 0.1 ms to 13 s.
        let seconds = || Histogram::new(exponential_buckets(0.0001, 2.0, 18));
        let mut inner = Inner {
            registry: Registry::with_prefix("kith"),
            sockets: Gauge::default(),
            pool: Family::default(),
            stalled: Gauge::default(),
            events: Family::default(),
            heads: Family::default(),
            dropped: Family::default(),
            exchanges: Counter::default(),
            pulls: Counter::default(),
            probes: Counter::default(),
            shed: Counter::default(),
            turned_away: Counter::default(),
            device_forks: Counter::default(),
            batch: Histogram::new(exponential_buckets(1.0, 2.0, 12)),
            publish: seconds(),
            delivery: seconds(),
            bus: Bus::default(),
        };
        inner.register();
        Self(Arc::new(inner))
    }
}

impl Inner {
    fn register(&mut self) {
        let r = &mut self.registry;
        r.register("sockets", "Open sockets", self.sockets.clone());
        r.register("exchanges", "Polls of clients without a socket", self.exchanges.clone());
        r.register("database_connections", "Connections to the database, by state", self.pool.clone());
        let help = "For how long a lane has had work and committed nothing, at most";
        r.register("lane_stalled_seconds", help, self.stalled.clone());
        r.register(
            "events",
            "Events that clients handed in, by outcome: stored, resubmitted (stored again after a restore), duplicate, \
             refused, skipped",
            self.events.clone(),
        );
        r.register("batch_events", "Events of one commit", self.batch.clone());
        r.register("publish_seconds", "From an event's arrival to its acknowledgement", self.publish.clone());
        r.register(
            "delivery_seconds",
            "From an event's commit to its writing into a socket",
            self.delivery.clone(),
        );
        r.register(
            "dropped",
            "What a slow connection cost, by what: ephemeral, event (became a hint), connection",
            self.dropped.clone(),
        );
        r.register(
            "heads",
            "Heads told, by form: full, delta (since a cursor), refused (full, the cursor was none to go by)",
            self.heads.clone(),
        );
        r.register("pulls", "Pages asked for", self.pulls.clone());
        r.register("probes", "Comparisons of logs", self.probes.clone());
        r.register("shed", "Handshakes that waited too long and were rejected", self.shed.clone());
        let help = "Connections closed at once: too many in total, or of their address";
        r.register("turned_away", help, self.turned_away.clone());
        r.register("device_forks", "Copied profiles that were noticed", self.device_forks.clone());
        self.bus.register(r);
    }

    /// A batch was committed.
    pub fn committed(&self, events: usize) {
        self.batch.observe(events as f64);
    }

    /// A job was answered; `resubmitted` says of each item whether its client brought it back.
    pub fn answered(&self, since: Instant, resubmitted: impl Iterator<Item = bool>, results: &[AckResult]) {
        self.publish.observe(since.elapsed().as_secs_f64());
        for (resubmitted, result) in resubmitted.zip(results) {
            let outcome = match result.status {
                AckStatus::Ok if resubmitted => "resubmitted",
                AckStatus::Ok => "stored",
                AckStatus::Duplicate => "duplicate",
                AckStatus::Error => "refused",
                AckStatus::Skipped => "skipped",
            };
            self.events.get_or_create(&[("outcome", outcome)]).inc();
        }
    }

    /// Events that were committed at `since` are in a socket.
    pub fn delivered(&self, since: Instant) {
        self.delivery.observe(since.elapsed().as_secs_f64());
    }

    /// Heads were told to somebody who showed a cursor or not.
    pub fn heads(&self, is_full: bool, had_cursor: bool) {
        let form = match (is_full, had_cursor) {
            (false, _) => "delta",
            (true, false) => "full",
            (true, true) => "refused",
        };
        self.heads.get_or_create(&[("form", form)]).inc();
    }

    /// A slow connection cost something.
    pub fn dropped(&self, what: Dropped) {
        let what = match what {
            Dropped::Ephemeral => "ephemeral",
            Dropped::Event => "event",
            Dropped::Connection => "connection",
        };
        self.dropped.get_or_create(&[("what", what)]).inc();
    }
}

impl Deref for Metrics {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// Serves `GET /metrics` until the server's shutdown.
pub(crate) async fn serve(listener: TcpListener, state: AppState) {
    let shutdown = state.shutdown.clone();
    let router = Router::new().route("/metrics", get(text)).with_state(state);
    let serving = axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned());
    if let Err(error) = serving.await {
        tracing::warn!(%error, "the metrics' listener failed");
    }
}

async fn text(State(state): State<AppState>) -> impl IntoResponse {
    let metrics = &state.metrics;
    metrics.sockets.set(i64::try_from(state.hub.sockets()).unwrap_or(i64::MAX));
    let (size, idle) = (i64::from(state.pool.size()), i64::try_from(state.pool.num_idle()).unwrap_or(0));
    metrics.pool.get_or_create(&[("state", "idle")]).set(idle);
    metrics.pool.get_or_create(&[("state", "used")]).set(size.saturating_sub(idle));
    metrics.stalled.set(i64::try_from(state.publisher.stalled_for().as_secs()).unwrap_or(i64::MAX));
    let mut text = String::new();
    // Writing into a text has no way to fail.
    let _ = encode(&mut text, &metrics.registry);
    ([(CONTENT_TYPE, TEXT)], text)
}

//! The time that a request may take: a handler never waits longer for the database, whatever the network does.

use crate::{error::ApiError, shares::RequestPlace, state::AppState};
use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use kith_protocol::limits;
use std::{
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, timeout_at};

/// When a request's body arrived. While it is on its way, time is the client's; the body has a deadline of its own.
#[derive(Debug, Clone, Default)]
pub struct BodyArrival(Arc<Mutex<Arrival>>);

#[derive(Debug, Clone, Copy, Default)]
enum Arrival {
    /// The handler has not asked for it.
    #[default]
    NotAsked,
    Waiting,
    At(Instant),
}

impl BodyArrival {
    /// The handler waits for the body from here on.
    pub fn begin(&self) {
        self.set(Arrival::Waiting);
    }

    /// The body is there, or will not come.
    pub fn end(&self) {
        self.set(Arrival::At(Instant::now()));
    }

    fn set(&self, arrival: Arrival) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = arrival;
    }

    /// The latest moment that counts as the beginning of the server's own work.
    fn since(&self) -> Option<Instant> {
        match *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Arrival::NotAsked => None,
            Arrival::Waiting => Some(Instant::now()),
            Arrival::At(at) => Some(at),
        }
    }
}

/// Keeps the request's [`RequestPlace`] until it is answered. Answers `unavailable` when a handler has not answered in [`Config::request_within`](crate::Config::request_within). A poll may
/// wait for news besides. What must not stop half-way goes on: [`AppState::to_the_end`].
pub async fn answer_in_time(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    let is_poll = request.uri().path() == "/v1/exchange";
    let waits = if is_poll { limits::EXCHANGE_WAIT_MAX } else { Duration::ZERO };
    let within = state.config.request_within() + waits;
    let arrival = BodyArrival::default();
    request.extensions_mut().insert(arrival.clone());
    // Kept here, because the handler's extensions are gone once its arguments are read.
    let place = RequestPlace::default();
    request.extensions_mut().insert(place.clone());
    let mut serving = pin!(next.run(request));
    let mut until = Instant::now() + within;
    loop {
        if let Ok(response) = timeout_at(until, &mut serving).await {
            return response;
        }
        match arrival.since().map(|since| since + within) {
            Some(later) if later > until => until = later,
            _ => break,
        }
    }
    tracing::warn!(within_ms = within.as_millis(), "gave up a request");
    ApiError::Unavailable.into_response()
}

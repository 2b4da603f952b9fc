//! `POST /v1/exchange`: a socket that closes after each answer (S12).

use crate::{
    auth::Authed,
    error::ApiError,
    http::extract::JsonBody,
    hub::Outbox,
    state::AppState,
    ws::{
        dispatch::Session,
        hello::{self, Greeted},
    },
};
use axum::{Json, extract::State};
use kith_protocol::{
    ClientFrame, TimestampMs,
    api::{ExchangeAnswer, ExchangeRequest},
    limits,
};
use serde_json::Value;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::timeout;

/// `POST /v1/exchange`
pub async fn exchange(
    State(state): State<AppState>,
    authed: Authed,
    JsonBody(request): JsonBody<ExchangeRequest>,
) -> Result<Json<ExchangeAnswer>, ApiError> {
    let texts: Vec<String> = request.frames.iter().map(Value::to_string).collect();
    if texts.iter().any(|text| text.len() > limits::INBOUND_FRAME_BYTES_MAX) {
        return Err(ApiError::TooLarge);
    }
    let first = texts.first().ok_or_else(|| ApiError::invalid("hello comes first"))?;
    let received = ClientFrame::decode(first).map_err(|error| ApiError::from(error.code))?;
    let ClientFrame::Hello(hello) = received.frame else {
        return Err(ApiError::invalid("hello comes first"));
    };
    let wait = Duration::from_millis(request.wait_ms.unwrap_or_default()).min(limits::EXCHANGE_WAIT_MAX);
    let outbox = Arc::new(Outbox::new(false));
    let greeted = hello::greet(&state, &authed, &hello, received.request, outbox).await?;
    let connected = Connected { state: &state, greeted: &greeted };
    let mut frames: Vec<Value> = Vec::new();
    for frame in &greeted.frames {
        frames.push(parse(&frame.encode())?);
    }
    for text in answers(&state, &authed, &greeted, &texts[1..], wait).await {
        frames.push(parse(&text)?);
    }
    drop(connected);
    Ok(Json(ExchangeAnswer { frames }))
}

fn parse(text: &str) -> Result<Value, ApiError> {
    serde_json::from_str(text).map_err(|_| ApiError::Internal)
}

/// Handles the frames in order, then waits for something to happen, unless it has happened already.
async fn answers(
    state: &AppState,
    authed: &Authed,
    greeted: &Greeted,
    texts: &[String],
    wait: Duration,
) -> Vec<Arc<str>> {
    let mut session = Session::new(state.clone(), greeted.connection.clone(), authed.expires_at);
    for text in texts {
        if session.receive(text, Instant::now()).await.is_err() {
            break;
        }
    }
    let mut answered = session.answered;
    for sending in std::mem::take(&mut session.sending) {
        answered += usize::from(sending.await.unwrap_or_default());
    }
    let outbox = &greeted.connection.outbox;
    let mut frames = outbox.take_all();
    // More than answers: something live is there already.
    if frames.len() <= answered && !wait.is_zero() && timeout(wait, outbox.ready()).await.is_ok() {
        frames.extend(outbox.take_all());
    }
    frames
}

/// Leaves the hub however the request ends.
struct Connected<'a> {
    state: &'a AppState,
    greeted: &'a Greeted,
}

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        let connection = &self.greeted.connection;
        self.state.hub.disconnect(connection);
        let now = TimestampMs::from_i64(crate::domain::batch::now_ms());
        self.state.presence.leave(connection, now);
    }
}

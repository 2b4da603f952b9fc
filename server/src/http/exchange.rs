//! `POST /v1/exchange`: a socket that closes after each answer (S12).

use crate::{
    auth::Signed,
    error::ApiError,
    http::extract::{JsonBody, LargeBody},
    hub::{Connection, Outbox},
    shares::Sharer,
    state::AppState,
    ws::{
        self,
        dispatch::Session,
        hello::{self, Handshake},
    },
};
use axum::{
    Json, RequestPartsExt,
    extract::{FromRequestParts, State},
    http::request::Parts,
};
use kith_protocol::{
    ClientFrame,
    api::{ExchangeAnswer, ExchangeRequest},
    error::close,
    limits,
};
use serde_json::Value;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::OwnedSemaphorePermit,
    task::yield_now,
    time::{sleep, timeout},
};

/// Whoever polls is present for this long after an exchange: two polls and a slow network.
const PRESENT_FOR: Duration = Duration::from_secs(25);

/// The places of an exchange, taken before its body is read.
pub struct Places {
    /// One of the device's, for the whole exchange.
    _exchange: OwnedSemaphorePermit,
    /// One of the user's for large bodies, until the frames are handled.
    body: LargeBody,
}

impl FromRequestParts<AppState> for Places {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let Signed(authed) = parts.extract_with_state::<Signed, _>(state).await?;
        let exchange = state.allowances.of(authed.device).begin_exchange()?;
        Ok(Self { _exchange: exchange, body: parts.extract_with_state::<LargeBody, _>(state).await? })
    }
}

/// `POST /v1/exchange`
pub async fn exchange(
    State(state): State<AppState>,
    places: Places,
    JsonBody(request): JsonBody<ExchangeRequest>,
) -> Result<Json<ExchangeAnswer>, ApiError> {
    if request.frames.len() > limits::EXCHANGE_FRAMES_MAX {
        return Err(ApiError::TooLarge);
    }
    // Parsed JSON may take a hundred times the room of its text. Nothing of the request is kept while it waits.
    let texts: Vec<String> = request.frames.into_iter().map(|frame| frame.to_string()).collect();
    if texts.iter().any(|text| text.len() > limits::INBOUND_FRAME_BYTES_MAX) {
        return Err(ApiError::TooLarge);
    }
    let mut texts = texts.into_iter();
    let first = texts.next().ok_or_else(|| ApiError::invalid("hello comes first"))?;
    let received = ClientFrame::decode(&first).map_err(|error| ApiError::from(error.code))?;
    let ClientFrame::Hello(hello) = received.frame else {
        return Err(ApiError::invalid("hello comes first"));
    };
    state.metrics.exchanges.inc();
    let Places { _exchange, body } = places;
    let authed = body.authed;
    let wait = Duration::from_millis(request.wait_ms.unwrap_or_default()).min(limits::EXCHANGE_WAIT_MAX);
    let outbox = Arc::new(Outbox::new(false, state.metrics.clone()));
    let place = state.shares.work(Sharer::User(authed.user)).await?;
    let permit = state.permits.take().await?;
    let handshake = hello::handshake(&state, &authed, &hello, received.request, outbox).await?;
    drop((permit, place));
    let present = Present { state: &state, connection: handshake.connection.clone() };
    state.presence.enter(&handshake.connection, handshake.hides_presence);
    let mut frames: Vec<Value> = Vec::new();
    for frame in &handshake.frames {
        frames.push(parse(&frame.encode()).await?);
    }
    for text in answers(&state, body, &handshake, texts, wait).await {
        frames.push(parse(&text).await?);
    }
    if handshake.connection.outbox.closing() == Some(close::REVOKED) {
        return Err(ApiError::DeviceRevoked);
    }
    drop(present);
    Ok(Json(ExchangeAnswer { frames }))
}

/// Reads an answer; others get a turn between two of them.
async fn parse(text: &str) -> Result<Value, ApiError> {
    yield_now().await;
    serde_json::from_str(text).map_err(|_| ApiError::Internal)
}

/// Handles the frames in order, then waits for something to happen, unless it has happened already. Once the answers
/// are as long as what may wait for a socket (L2), the frames that are left are `busy`.
async fn answers(
    state: &AppState,
    body: LargeBody,
    handshake: &Handshake,
    texts: impl Iterator<Item = String>,
    wait: Duration,
) -> Vec<Arc<str>> {
    let mut session = Session::new(
        state.clone(),
        handshake.connection.clone(),
        handshake.abilities.clone(),
        body.authed.expires_at,
    );
    let outbox = &handshake.connection.outbox;
    let mut frames: Vec<Arc<str>> = Vec::new();
    let mut bytes = 0;
    for text in texts {
        // A frame that is refused waits for nothing, so others get a turn here.
        yield_now().await;
        if bytes > limits::OUTBOUND_BYTES_MAX {
            session.refuse(&text, &ApiError::Busy);
        } else if outbox.closing().is_some() || session.receive(&text, Instant::now()).await.is_err() {
            break;
        }
        let some = outbox.take_all();
        bytes += some.iter().map(|frame| frame.len()).sum::<usize>();
        frames.extend(some);
    }
    // What is left of the request waits for commits and news, without its body.
    drop(body);
    let mut answered = session.answered;
    for sending in std::mem::take(&mut session.sending) {
        answered += usize::from(sending.await.unwrap_or_default());
    }
    frames.extend(outbox.take_all());
    // More than answers: something live is there already.
    if frames.len() <= answered && !wait.is_zero() && timeout(wait, outbox.ready()).await.is_ok() {
        frames.extend(outbox.take_all());
    }
    frames
}

/// Whoever polls stays present, however the request ends, until the next poll is overdue.
struct Present<'a> {
    state: &'a AppState,
    connection: Connection,
}

impl Drop for Present<'_> {
    fn drop(&mut self) {
        let (state, connection) = (self.state.clone(), self.connection.clone());
        state.presence.unwatch(&connection);
        self.state.tasks.spawn(async move {
            tokio::select! {
                () = state.shutdown.cancelled() => {}
                () = sleep(PRESENT_FOR) => {}
            }
            ws::connection::leave(&state, &connection);
        });
    }
}

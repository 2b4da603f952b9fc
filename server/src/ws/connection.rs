//! One socket: the reading half, the token's time, and the end.

use super::{
    dispatch::Session,
    hello::{self, Handshake},
    writer,
};
use crate::{
    auth::Authed,
    domain::batch::now_ms,
    error::ApiError,
    hub::{Admitted, Connection, Outbox},
    rates::Refused,
    shares::Sharer,
    state::AppState,
};
use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures_util::{FutureExt, Stream, StreamExt, stream::SplitStream};
use kith_protocol::{
    ClientFrame, ErrorCode, ServerFrame, TimestampMs,
    error::close,
    frame::{AuthExpiring, Hello},
    limits,
};
use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use tokio::time::{sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// After our close frame the other side gets this long to answer it, so that it is not lost by a reset.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// Serves a socket until it ends.
pub async fn run(state: AppState, authed: Authed, admitted: Admitted, mut socket: WebSocket) {
    let shutdown = state.shutdown.clone();
    let first = tokio::select! {
        () = shutdown.cancelled() => Err((None, close::RESTART)),
        first = first_frame(&mut socket) => first,
    };
    let (hello, request) = match first {
        Ok(first) => first,
        Err((error, code)) => return Box::pin(refuse(socket, error, code)).await,
    };
    let outbox = Arc::new(Outbox::new(true, state.metrics.clone()));
    // Handshakes and frames are boxed: an idle connection keeps no room for what they need.
    let handshake = match Box::pin(handshake_with_permit(&state, &authed, &hello, request, outbox)).await {
        Ok(handshake) => handshake,
        Err(error) => {
            let code = match error.code() {
                ErrorCode::DeviceRevoked => close::REVOKED,
                ErrorCode::Unavailable | ErrorCode::Busy => close::TRY_LATER,
                _ => close::PROTOCOL,
            };
            return Box::pin(refuse(socket, Some(error.frame(request)), code)).await;
        }
    };
    drop(admitted);
    serve(state, authed, socket, handshake).await;
}

/// Performs the handshake once there is a place of the user and a permit for it.
async fn handshake_with_permit(
    state: &AppState,
    authed: &Authed,
    hello: &Hello,
    request: Option<u64>,
    outbox: Arc<Outbox>,
) -> Result<Handshake, ApiError> {
    let _place = state.shares.work(Sharer::User(authed.user)).await?;
    let _permit = state.permits.take().await?;
    hello::handshake(state, authed, hello, request, outbox).await
}

/// Waits for `hello`.
async fn first_frame(socket: &mut WebSocket) -> Result<(Hello, Option<u64>), (Option<ServerFrame>, u16)> {
    let waiting = async {
        loop {
            match socket.recv().await {
                Some(Ok(Message::Text(text))) => return Ok(text),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Binary(_))) => return Err(close::PROTOCOL),
                Some(Ok(Message::Close(_))) | None => return Err(close::NORMAL),
                Some(Err(error)) => return Err(code_of(&error)),
            }
        }
    };
    let text = match timeout(limits::HELLO_WITHIN, waiting).await {
        Ok(Ok(text)) => text,
        Ok(Err(code)) => return Err((None, code)),
        Err(_) => return Err((None, close::PROTOCOL)),
    };
    match ClientFrame::decode(&text) {
        Ok(received) => match received.frame {
            ClientFrame::Hello(hello) => Ok((hello, received.request)),
            _ => {
                let error = ApiError::invalid("hello comes first");
                Err((Some(error.frame(received.request)), close::PROTOCOL))
            }
        },
        Err(error) => Err((Some(ApiError::from(error.code).frame(error.reply_to)), close::PROTOCOL)),
    }
}

async fn refuse(mut socket: WebSocket, error: Option<ServerFrame>, code: u16) {
    let farewell = async {
        if let Some(error) = error {
            socket.send(Message::Text(error.encode().into())).await?;
        }
        socket.send(Message::Close(Some(CloseFrame { code, reason: "".into() }))).await?;
        // Until the other side has answered the close, or gone.
        while let Some(Ok(_)) = socket.recv().await {}
        Ok::<(), axum::Error>(())
    };
    if timeout(CLOSE_WITHIN, farewell).await.is_err() {
        tracing::debug!(code, "a refused socket did not close");
    }
}

/// The close code that tells what was wrong with the bytes.
fn code_of(error: &axum::Error) -> u16 {
    use tungstenite::Error;
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<Error>());
    match source {
        Some(Error::Capacity(_)) => close::TOO_LARGE,
        Some(Error::Utf8(_)) => close::INVALID_UTF8,
        _ => close::PROTOCOL,
    }
}

#[tracing::instrument(skip_all, fields(connection.id = handshake.connection.id, user.id = %authed.user))]
async fn serve(state: AppState, authed: Authed, socket: WebSocket, handshake: Handshake) {
    let Handshake { connection, frames, hides_presence, abilities } = handshake;
    state.presence.enter(&connection, hides_presence);
    let (sink, mut stream) = socket.split();
    let outbox = Arc::clone(&connection.outbox);
    let mut writing = state.tasks.spawn(writer::run(sink, outbox, frames, state.config.write_within));
    let mut session = Session::new(state.clone(), connection.clone(), abilities, authed.expires_at);
    tokio::select! {
        code = read(&mut session, &mut stream, &state.shutdown) => {
            connection.outbox.close(code);
            let _ = timeout(limits::DEAD_AFTER, &mut writing).await;
        }
        _ = &mut writing => {}
    }
    let left = connection.clone();
    drop(connection);
    leave(&state, &left);
    let closed = async { while let Some(Ok(_)) = stream.next().await {} };
    if timeout(CLOSE_WITHIN, closed).await.is_err() {
        tracing::debug!("the other side did not close");
    }
}

/// Takes a connection out of presence; after a user's last one the time is noted.
pub fn leave(state: &AppState, connection: &Connection) {
    let now = now_ms();
    if state.presence.leave(connection, TimestampMs::from_i64(now)) {
        state.departures.add(connection.user, now);
    }
}

/// Reads until the socket ends. Returns the code to close with.
async fn read(
    session: &mut Session,
    stream: &mut SplitStream<WebSocket>,
    shutdown: &CancellationToken,
) -> u16 {
    let outbox = Arc::clone(&session.connection.outbox);
    let mut watch = Watch { outbox: &outbox, shutdown, warned_for: None, dead_after: limits::DEAD_AFTER };
    loop {
        outbox.has_room().await;
        let message = match watch.next(stream, session.expires_at).await {
            Ok(message) => message,
            Err(code) => return code,
        };
        let text = match message {
            Message::Text(text) => text,
            Message::Ping(_) | Message::Pong(_) => {
                if session.take_rate("").is_err_and(|refused| refused == Refused::Flood) {
                    return close::FLOOD;
                }
                continue;
            }
            Message::Binary(_) => return close::PROTOCOL,
            Message::Close(_) => return close::NORMAL,
        };
        if let Err(code) = Box::pin(session.receive(&text, Instant::now())).await {
            return code;
        }
    }
}

/// What may end a connection while its next message is waited for.
struct Watch<'a> {
    outbox: &'a Outbox,
    shutdown: &'a CancellationToken,
    /// The end of the token that was warned of.
    warned_for: Option<SystemTime>,
    /// Silence of this length.
    dead_after: Duration,
}

impl Watch<'_> {
    /// The next message, as long as the connection is not closed, its token good and the other side alive.
    ///
    /// Silence is counted from the call on, and what has come goes before it: the time that a frame took, or that was
    /// waited for room, is not the other side's.
    ///
    /// # Errors
    /// The code to close with.
    async fn next(
        &mut self,
        stream: &mut (impl Stream<Item = Result<Message, axum::Error>> + Unpin),
        expires_at: SystemTime,
    ) -> Result<Message, u16> {
        let begun = tokio::time::Instant::now();
        let (warn_in, end_in) = token_times(expires_at);
        loop {
            if let Some(code) = self.outbox.closing() {
                return Err(code);
            }
            if end_in.is_zero() {
                return Err(close::TOKEN_EXPIRED);
            }
            if self.shutdown.is_cancelled() {
                return Err(close::RESTART);
            }
            let is_warning_due = warn_in.is_zero() && self.warned_for != Some(expires_at);
            // What has come already is taken without setting timers for the wait.
            if !is_warning_due && let Some(message) = stream.next().now_or_never() {
                return message.unwrap_or(Ok(Message::Close(None))).map_err(|error| code_of(&error));
            }
            tokio::select! {
                biased;
                () = self.outbox.closed() => {}
                () = self.shutdown.cancelled() => return Err(close::RESTART),
                () = sleep_until(begun + end_in) => return Err(close::TOKEN_EXPIRED),
                () = sleep_until(begun + warn_in), if self.warned_for != Some(expires_at) => {
                    self.warned_for = Some(expires_at);
                    let left = expires_at.duration_since(SystemTime::now()).unwrap_or_default();
                    let ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
                    self.outbox.answer(&ServerFrame::AuthExpiring(AuthExpiring { ms }));
                }
                message = stream.next() => {
                    return message.unwrap_or(Ok(Message::Close(None))).map_err(|error| code_of(&error));
                }
                () = sleep_until(begun + self.dead_after) => return Err(close::PROTOCOL),
            }
        }
    }
}

/// Until the warning (S11) and until the end of the token.
fn token_times(expires_at: SystemTime) -> (Duration, Duration) {
    let now = SystemTime::now();
    let warn_at = expires_at - limits::AUTH_EXPIRING_BEFORE;
    let end_at = expires_at + limits::TOKEN_LEEWAY;
    let until = |at: SystemTime| at.duration_since(now).unwrap_or_default();
    (until(warn_at), until(end_at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;
    use futures_util::stream;

    const HOUR: Duration = Duration::from_secs(3_600);

    /// What comes next on a connection whose other side counts as dead at once.
    async fn next(
        messages: &mut (impl Stream<Item = Result<Message, axum::Error>> + Unpin),
        outbox: &Outbox,
        expires_at: SystemTime,
    ) -> Result<Message, u16> {
        let shutdown = CancellationToken::new();
        let mut watch = Watch { outbox, shutdown: &shutdown, warned_for: None, dead_after: Duration::ZERO };
        watch.next(messages, expires_at).await
    }

    fn endless() -> impl Stream<Item = Result<Message, axum::Error>> + Unpin {
        stream::repeat_with(|| Ok(Message::Text("{}".into())))
    }

    #[tokio::test]
    async fn sec_038_s10_silence_ends_a_connection_and_bytes_that_have_come_are_no_silence() {
        let (outbox, expires_at) = (Outbox::new(true, Metrics::default()), SystemTime::now() + HOUR);
        assert_eq!(next(&mut stream::pending(), &outbox, expires_at).await, Err(close::PROTOCOL));
        for _ in 0..100 {
            assert!(next(&mut endless(), &outbox, expires_at).await.is_ok());
        }
    }

    #[tokio::test]
    async fn s11_a_warning_is_no_sign_of_life() {
        let (outbox, expires_at) =
            (Outbox::new(true, Metrics::default()), SystemTime::now() + limits::AUTH_EXPIRING_BEFORE);
        assert_eq!(next(&mut stream::pending(), &outbox, expires_at).await, Err(close::PROTOCOL));
        assert_eq!(outbox.take_all().len(), 1, "auth_expiring");
    }

    #[tokio::test]
    async fn sec_032_s11_bytes_without_end_outlive_neither_the_token_nor_a_close() {
        let outbox = Outbox::new(true, Metrics::default());
        let ended = next(&mut endless(), &outbox, SystemTime::now() - HOUR).await;
        assert_eq!(ended, Err(close::TOKEN_EXPIRED));
        outbox.close(close::REVOKED);
        let ended = next(&mut endless(), &outbox, SystemTime::now() + HOUR).await;
        assert_eq!(ended, Err(close::REVOKED));
    }
}

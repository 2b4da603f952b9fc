//! One socket: the reading half, the token's time, and the end.

use super::{
    dispatch::Session,
    hello::{self, Greeted},
    rates::Refused,
    writer,
};
use crate::{
    auth::Authed,
    db,
    domain::batch::now_ms,
    error::ApiError,
    hub::{Admitted, Connection, Outbox},
    state::AppState,
};
use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures_util::{StreamExt, stream::SplitStream};
use kith_protocol::{
    ClientFrame, ErrorCode, ServerFrame, TimestampMs,
    ephemeral::PresenceState,
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
        Err((error, code)) => return refuse(socket, error, code).await,
    };
    let outbox = Arc::new(Outbox::new(true));
    let greeted = match hello::greet(&state, &authed, &hello, request, outbox).await {
        Ok(greeted) => greeted,
        Err(error) => {
            let code = match error.code() {
                ErrorCode::DeviceRevoked => close::REVOKED,
                ErrorCode::Unavailable | ErrorCode::Busy => close::TRY_LATER,
                _ => close::PROTOCOL,
            };
            return refuse(socket, Some(error.frame(request)), code).await;
        }
    };
    drop(admitted);
    serve(state, authed, socket, greeted).await;
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

#[tracing::instrument(skip_all, fields(connection.id = greeted.connection.id, user.id = %authed.user))]
async fn serve(state: AppState, authed: Authed, socket: WebSocket, greeted: Greeted) {
    let Greeted { connection, frames } = greeted;
    state.presence.set(&connection, PresenceState::Online);
    let (sink, mut stream) = socket.split();
    let mut writing = state.tasks.spawn(writer::run(sink, Arc::clone(&connection.outbox), frames));
    let mut session = Session::new(state.clone(), connection.clone(), authed.expires_at);
    tokio::select! {
        code = read(&mut session, &mut stream, &state.shutdown) => {
            connection.outbox.close(code);
            let _ = timeout(limits::DEAD_AFTER, &mut writing).await;
        }
        _ = &mut writing => {}
    }
    let left = connection.clone();
    drop(connection);
    leave(&state, &left).await;
    let closed = async { while let Some(Ok(_)) = stream.next().await {} };
    if timeout(CLOSE_WITHIN, closed).await.is_err() {
        tracing::debug!("the other side did not close");
    }
}

/// Takes a connection out of presence; after a user's last one the time is noted.
pub async fn leave(state: &AppState, connection: &Connection) {
    if !state.presence.leave(connection, TimestampMs::from_i64(now_ms())) {
        return;
    }
    let noting =
        async { db::contacts::touch_last_seen(&mut *state.pool.acquire().await?, connection.user).await };
    if let Err(error) = noting.await {
        tracing::debug!(%error, "could not note when a user was last seen");
    }
}

/// Reads until the socket ends; answers the code to close with.
async fn read(
    session: &mut Session,
    stream: &mut SplitStream<WebSocket>,
    shutdown: &CancellationToken,
) -> u16 {
    let mut heard = tokio::time::Instant::now();
    let mut warned_for = None;
    loop {
        let outbox = &session.connection.outbox;
        outbox.has_room().await;
        if let Some(code) = outbox.closing() {
            return code;
        }
        let (warn_in, end_in) = token_times(session.expires_at);
        let now = tokio::time::Instant::now();
        let message = tokio::select! {
            message = stream.next() => message,
            () = outbox.closed() => continue,
            () = shutdown.cancelled() => return close::RESTART,
            () = sleep_until(heard + limits::DEAD_AFTER) => return close::PROTOCOL,
            () = sleep_until(now + warn_in), if warned_for != Some(session.expires_at) => {
                warned_for = Some(session.expires_at);
                let left = session.expires_at.duration_since(SystemTime::now()).unwrap_or_default();
                let ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
                session.connection.outbox.answer(&ServerFrame::AuthExpiring(AuthExpiring { ms }));
                continue;
            }
            () = sleep_until(now + end_in) => return close::TOKEN_EXPIRED,
        };
        heard = tokio::time::Instant::now();
        let text = match message {
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {
                if session.take_rate("").is_err_and(|refused| refused == Refused::Flood) {
                    return close::FLOOD;
                }
                continue;
            }
            Some(Ok(Message::Binary(_))) => return close::PROTOCOL,
            Some(Ok(Message::Close(_))) | None => return close::NORMAL,
            Some(Err(error)) => return code_of(&error),
        };
        if let Err(code) = session.receive(&text, Instant::now()).await {
            return code;
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

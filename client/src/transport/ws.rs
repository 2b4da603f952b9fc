//! The socket: bytes to frames and back, nothing else.
//!
//! Buffers hold a page (a client has one connection, a server thousands with small ones: L5); a connection without a byte for 30 s is
//! dead (S10). Certificates are checked by [`Trust`].

use super::{
    INBOUND_BYTES_MAX,
    tls::{Trust, is_about_certificate},
};
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use kith_protocol::{ClientFrame, ErrorCode, SUBPROTOCOL, ServerFrame, limits};
use kith_sync::{ConnectError, delays};
use std::time::Duration;
use tokio::{
    net::TcpStream,
    time::{Instant, sleep_until, timeout},
};
use tokio_tungstenite::{
    Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config,
    tungstenite::{
        Error, Message,
        client::IntoClientRequest as _,
        http::{HeaderValue, StatusCode, header},
        protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode},
    },
};

/// A connection that does not come about within this is given up.
const CONNECT_WITHIN: Duration = Duration::from_secs(20);
/// A write that does not go through within this has met a dead peer.
const WRITE_WITHIN: Duration = limits::DEAD_AFTER;
/// After a check is asked for, a byte must come within this.
const CHECK_WITHIN: Duration = Duration::from_secs(5);
/// Frames that are handed on together: what waits is stored in one transaction.
const FRAMES_TOGETHER: usize = 256;
/// No further frame is taken to those that are handed on together once they have so many bytes.
const BYTES_TOGETHER: usize = 1024 * 1024;

pub(crate) struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    dead_at: Instant,
    /// The end, which came together with frames.
    ended: Option<Received>,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Received {
    /// Frames, at least one.
    Frames(Vec<ServerFrame>),
    /// The end, with the server's close code if it gave one.
    Closed(Option<u16>),
}

impl Socket {
    /// Opens a socket; `address` is that of `/v1/socket`.
    pub(crate) async fn connect(
        address: &url::Url,
        token: &str,
        trust: &Trust,
    ) -> Result<Self, ConnectError> {
        let mut request =
            address.as_str().into_client_request().map_err(|_| ConnectError::Refused(ErrorCode::Invalid))?;
        let mut bearer = HeaderValue::try_from(format!("Bearer {token}"))
            .map_err(|_| ConnectError::Unauthorized(ErrorCode::TokenInvalid))?;
        bearer.set_sensitive(true);
        request.headers_mut().insert(header::AUTHORIZATION, bearer);
        request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
        let tls = Connector::Rustls(trust.config());
        let connecting = connect_async_tls_with_config(request, Some(config()), true, Some(tls));
        match timeout(CONNECT_WITHIN, connecting).await {
            Ok(Ok((stream, _))) => {
                Ok(Self { stream, dead_at: Instant::now() + limits::DEAD_AFTER, ended: None })
            }
            Ok(Err(error)) => Err(failure(&error)),
            Err(_) => Err(ConnectError::Unreachable),
        }
    }

    /// Waits for frames. Safe to cancel: nothing that was read is lost.
    pub(crate) async fn receive(&mut self) -> Received {
        if let Some(ended) = self.ended.take() {
            return ended;
        }
        let (mut frames, mut bytes) = (Vec::new(), 0);
        loop {
            let next = tokio::select! {
                next = self.stream.next() => next,
                () = sleep_until(self.dead_at) => return Received::Closed(None),
            };
            if let Some(closed) = self.take(next, &mut frames, &mut bytes) {
                return closed;
            }
            while frames.len() < FRAMES_TOGETHER
                && bytes < BYTES_TOGETHER
                && let Some(next) = self.stream.next().now_or_never()
            {
                if let Some(closed) = self.take(next, &mut frames, &mut bytes) {
                    // What came before the end counts; a server's `bye` comes right before its close code.
                    if frames.is_empty() {
                        return closed;
                    }
                    self.ended = Some(closed);
                    return Received::Frames(frames);
                }
            }
            if !frames.is_empty() {
                return Received::Frames(frames);
            }
        }
    }

    /// Reads one message. Returns the end if it is that. `bytes` grows by the length of each text.
    fn take(
        &mut self,
        next: Option<Result<Message, Error>>,
        frames: &mut Vec<ServerFrame>,
        bytes: &mut usize,
    ) -> Option<Received> {
        match next {
            Some(Ok(message)) => {
                self.dead_at = Instant::now() + limits::DEAD_AFTER;
                match message {
                    Message::Text(text) => {
                        *bytes += text.len();
                        match ServerFrame::decode(&text) {
                            Ok(received) => frames.push(received.frame),
                            // A type of a later version is no reason to end (section 8).
                            Err(error) => tracing::debug!(%error.code, "a frame that cannot be read"),
                        }
                    }
                    Message::Close(close) => {
                        return Some(Received::Closed(close.map(|close| close.code.into())));
                    }
                    Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
                }
                None
            }
            Some(Err(_)) | None => Some(Received::Closed(None)),
        }
    }

    /// Writes a frame into the buffer.
    pub(crate) async fn feed(&mut self, frame: &ClientFrame, request: Option<u64>) -> Result<(), Closed> {
        self.write(Message::text(frame.encode(request))).await
    }

    /// Asks for a byte: a connection that gives none soon is dead.
    pub(crate) async fn check(&mut self) -> Result<(), Closed> {
        self.dead_at = self.dead_at.min(Instant::now() + CHECK_WITHIN);
        self.write(Message::Ping(Vec::new().into())).await?;
        self.flush().await
    }

    async fn write(&mut self, message: Message) -> Result<(), Closed> {
        match timeout(WRITE_WITHIN, self.stream.feed(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Closed),
        }
    }

    /// Sends what was written.
    pub(crate) async fn flush(&mut self) -> Result<(), Closed> {
        match timeout(WRITE_WITHIN, self.stream.flush()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Closed),
        }
    }

    /// Says good-bye and lets go; it does not wait for an answer.
    pub(crate) async fn close(mut self) {
        let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        let _ = timeout(Duration::from_secs(1), self.stream.close(Some(frame))).await;
    }
}

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(32 * 1024)
        .write_buffer_size(8 * 1024)
        .max_write_buffer_size(4 * 1024 * 1024)
        .max_message_size(Some(INBOUND_BYTES_MAX))
        .max_frame_size(Some(INBOUND_BYTES_MAX))
}

/// The socket has gone.
#[derive(Debug)]
pub(crate) struct Closed;

fn failure(error: &Error) -> ConnectError {
    let Error::Http(response) = error else { return not_http(error) };
    let body = response.body().as_deref().unwrap_or_default();
    let body = serde_json::from_slice::<kith_protocol::api::ErrorBody>(body).ok();
    let named = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
    refusal(response.status().as_u16(), body.as_ref(), named)
}

fn not_http(error: &Error) -> ConnectError {
    match error {
        error if is_about_certificate(error) => ConnectError::BadCertificate,
        Error::Io(_) | Error::Tls(_) | Error::ConnectionClosed | Error::AlreadyClosed => {
            ConnectError::Unreachable
        }
        // Something answered, but did not speak WebSocket.
        _ => ConnectError::NoSocket { off: false },
    }
}

/// What an HTTP status other than success means for the link; `named` is its `Retry-After`, for a proxy has no body of
/// ours.
pub(crate) fn refusal(
    status: u16,
    body: Option<&kith_protocol::api::ErrorBody>,
    named: Option<&str>,
) -> ConnectError {
    let code = body.map(|body| body.code);
    let retry_after_ms = body.and_then(|body| body.retry_after_ms).or(delays::retry_after_ms(named));
    match (StatusCode::from_u16(status).ok(), code) {
        (_, Some(ErrorCode::UpgradeRequired)) => ConnectError::Refused(ErrorCode::UpgradeRequired),
        (_, Some(ErrorCode::DeviceForked)) => ConnectError::Forked,
        (_, Some(ErrorCode::DeviceRevoked)) => ConnectError::Unauthorized(ErrorCode::DeviceRevoked),
        (Some(StatusCode::UNAUTHORIZED), code) => {
            ConnectError::Unauthorized(code.unwrap_or(ErrorCode::TokenInvalid))
        }
        (_, Some(ErrorCode::Unsupported)) => ConnectError::NoSocket { off: true },
        (Some(StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE), _) => {
            ConnectError::Later { retry_after_ms }
        }
        (
            Some(StatusCode::INTERNAL_SERVER_ERROR | StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT),
            _,
        ) => ConnectError::Unreachable,
        _ => ConnectError::NoSocket { off: false },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kith_protocol::api::ErrorBody;
    use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

    #[test]
    fn s12_a_server_without_sockets_is_told_from_one_that_is_away() {
        let body = |code| ErrorBody { code, message: String::new(), retry_after_ms: Some(7) };
        assert_eq!(
            refusal(404, Some(&body(ErrorCode::Unsupported)), None),
            ConnectError::NoSocket { off: true }
        );
        assert_eq!(refusal(404, None, None), ConnectError::NoSocket { off: false });
        assert_eq!(refusal(409, Some(&body(ErrorCode::DeviceForked)), None), ConnectError::Forked);
        assert_eq!(refusal(502, None, None), ConnectError::Unreachable);
        assert_eq!(
            refusal(503, Some(&body(ErrorCode::Unavailable)), Some("9")),
            ConnectError::Later { retry_after_ms: Some(7) }
        );
        assert_eq!(refusal(503, None, Some("9")), ConnectError::Later { retry_after_ms: Some(9_000) });
    }

    #[test]
    fn s11_a_refused_token_is_told_from_a_revoked_device() {
        let body = |code| ErrorBody { code, message: String::new(), retry_after_ms: None };
        assert_eq!(
            refusal(401, Some(&body(ErrorCode::TokenExpired)), None),
            ConnectError::Unauthorized(ErrorCode::TokenExpired)
        );
        assert_eq!(
            refusal(401, Some(&body(ErrorCode::DeviceRevoked)), None),
            ConnectError::Unauthorized(ErrorCode::DeviceRevoked)
        );
        assert_eq!(refusal(401, None, None), ConnectError::Unauthorized(ErrorCode::TokenInvalid));
    }

    /// A server that says what it is given, and waits for the end. Returns the client's socket.
    #[expect(clippy::result_large_err, reason = "the callback's type is the library's")]
    async fn told(messages: Vec<Message>) -> Socket {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = url::Url::parse(&format!("ws://{}", listener.local_addr().unwrap())).unwrap();
        tokio::spawn(async move {
            let (tcp, _) = listener.accept().await.unwrap();
            let protocol = |_: &Request, mut answer: Response| {
                let name = HeaderValue::from_static(SUBPROTOCOL);
                answer.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, name);
                Ok(answer)
            };
            let mut stream = tokio_tungstenite::accept_hdr_async(tcp, protocol).await.unwrap();
            for message in messages {
                if stream.send(message).await.is_err() {
                    return; // it was given up
                }
            }
            let _ = stream.next().await;
        });
        Socket::connect(&address, "token", &Trust::load(None).unwrap()).await.unwrap()
    }

    /// A frame that can be read, with so many bytes.
    fn frame_of(bytes: usize) -> Message {
        use kith_protocol::frame::Bye;
        let mut text = ServerFrame::Bye(Bye { code: 4200, after_ms: 1 }).encode();
        text.push_str(&" ".repeat(bytes - text.len()));
        Message::text(text)
    }

    #[tokio::test]
    async fn a_message_above_the_limit_ends_the_connection() {
        let mut socket = told(vec![frame_of(INBOUND_BYTES_MAX)]).await;
        assert!(matches!(socket.receive().await, Received::Frames(frames) if frames.len() == 1));
        let mut socket = told(vec![frame_of(INBOUND_BYTES_MAX + 1)]).await;
        assert_eq!(socket.receive().await, Received::Closed(None));
    }

    #[tokio::test]
    async fn what_is_handed_on_together_is_bounded_in_bytes() {
        const LARGE: usize = 600 * 1024;
        let mut socket = told((0..12).map(|_| frame_of(LARGE)).collect()).await;
        let mut left = 12;
        while left > 0 {
            let Received::Frames(frames) = socket.receive().await else { panic!("frames") };
            assert!((frames.len() - 1) * LARGE < BYTES_TOGETHER, "{} together", frames.len());
            left -= frames.len();
        }
    }

    #[tokio::test]
    async fn s10_a_close_code_that_comes_with_other_frames_counts() {
        use kith_protocol::frame::Bye;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (said, heard) = tokio::sync::oneshot::channel();
        let server = tokio::spawn(async move {
            let (tcp, _) = listener.accept().await.unwrap();
            let mut stream = tokio_tungstenite::accept_async(tcp).await.unwrap();
            let bye = ServerFrame::Bye(Bye { code: 4200, after_ms: 1 });
            stream.feed(Message::text(bye.encode())).await.unwrap();
            let close = CloseFrame { code: 4200.into(), reason: "".into() };
            stream.send(Message::Close(Some(close))).await.unwrap();
            said.send(()).unwrap();
            let _ = stream.next().await;
        });
        let (stream, _) = tokio_tungstenite::connect_async(format!("ws://{address}")).await.unwrap();
        let mut socket = Socket { stream, dead_at: Instant::now() + limits::DEAD_AFTER, ended: None };
        heard.await.unwrap();
        let first = socket.receive().await;
        assert!(matches!(&first, Received::Frames(frames) if frames.len() == 1), "{first:?}");
        assert_eq!(socket.receive().await, Received::Closed(Some(4200)));
        drop(socket);
        server.await.unwrap();
    }
}

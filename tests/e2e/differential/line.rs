//! One raw connection to the real server.

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use kith_protocol::SUBPROTOCOL;
use serde_json::Value;
use std::time::Duration;
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, client::IntoClientRequest},
};

/// Everything that is waited for comes within this time.
const SOON: Duration = Duration::from_secs(20);

pub(super) struct Line {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

pub(super) enum Incoming {
    Frame(Value),
    Closed(u16),
}

impl Line {
    pub async fn dial(http_url: &str, token: &str) -> Result<Self> {
        let url = format!("{}/v1/socket", http_url.replacen("http", "ws", 1));
        let mut request = url.into_client_request()?;
        let headers = request.headers_mut();
        headers.insert("sec-websocket-protocol", SUBPROTOCOL.parse()?);
        headers.insert("authorization", format!("Bearer {token}").parse()?);
        let (socket, _) = connect_async(request).await?;
        Ok(Self { socket })
    }

    pub async fn write(&mut self, frame: &Value) -> Result<()> {
        Ok(self.socket.send(Message::text(frame.to_string())).await?)
    }

    pub async fn read(&mut self) -> Result<Incoming> {
        loop {
            let message = timeout(SOON, self.socket.next()).await.context("nothing comes")?;
            match message {
                Some(Ok(Message::Text(text))) => return Ok(Incoming::Frame(serde_json::from_str(&text)?)),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(Some(frame)))) => return Ok(Incoming::Closed(frame.code.into())),
                other => bail!("no frame: {other:?}"),
            }
        }
    }

    /// Reads up to the answer to `request`. Returns what came before it, and it.
    pub async fn until_answer(&mut self, request: u64) -> Result<(Vec<Value>, Value)> {
        let mut before = Vec::new();
        loop {
            match self.read().await? {
                Incoming::Frame(frame) if frame["reply_to"] == request => return Ok((before, frame)),
                Incoming::Frame(frame) => before.push(frame),
                Incoming::Closed(code) => bail!("closed with {code} before the answer to {request}"),
            }
        }
    }

    /// Reads up to the close. Returns its code.
    pub async fn closed(&mut self) -> Result<u16> {
        loop {
            if let Incoming::Closed(code) = self.read().await? {
                return Ok(code);
            }
        }
    }
}

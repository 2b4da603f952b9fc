//! A crowd: thousands of people, each signed in and each from an address of their own.

mod adding;
pub mod crash;
pub mod group;
pub mod idle;
pub mod storm;
mod talk;

use crate::{people::Person, server::Running};
use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt, TryStreamExt, stream};
use kith_protocol::{
    ClientFrame, ConversationId, DeviceId, SUBPROTOCOL, ServerFrame, UserId,
    frame::{ConversationKind, Hello, Open},
};
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message, Utf8Bytes, client::IntoClientRequest, http::HeaderValue, protocol::WebSocketConfig,
    },
};

/// The library's default of 128 KiB for each connection is for few of them.
const BUFFER: usize = 4 * 1024;
/// Conversations that are opened at the same time while a crowd is prepared.
const OPENINGS: usize = 32;

/// A connection after its handshake.
pub struct Live(WebSocketStream<TcpStream>);

/// What a device knows from its last connection, as a client does.
#[derive(Debug, Clone, Default)]
struct Known {
    generation: u64,
    epoch: Option<String>,
    cursor: Option<String>,
    user_seq: u64,
}

/// Somebody with a session.
pub struct Member {
    pub user: UserId,
    device: DeviceId,
    token: String,
    /// Where their connections come from.
    from: Ipv4Addr,
    known: Mutex<Known>,
}

/// Makes so many accounts with sessions.
pub async fn gather(running: &Running, count: usize) -> Result<Vec<Arc<Member>>> {
    let sessions = running.import((0..count).map(|number| format!("crowd{number}"))).await?;
    anyhow::ensure!(sessions.len() == count, "{} sessions", sessions.len());
    let member = |(number, session): (usize, kith_protocol::api::Session)| {
        let [_, high, middle, low] = (number as u32).to_be_bytes();
        Arc::new(Member {
            user: session.user.id,
            device: session.device.id,
            token: session.access_token,
            // 127.8.0.0 and on.
            from: Ipv4Addr::new(127, 8 + high, middle, low),
            known: Mutex::default(),
        })
    };
    Ok(sessions.into_iter().enumerate().map(member).collect())
}

/// Opens a conversation between each two neighbours, so that everybody's heads have something in them.
pub async fn befriend(running: &Running, people: &[Arc<Member>]) -> Result<()> {
    let address = running.address()?;
    stream::iter(people.chunks_exact(2))
        .map(|two| async move {
            let mut live = two[0].connect(address).await?;
            let conversation = ConversationId::direct(two[0].user, two[1].user);
            live.open(conversation, ConversationKind::Direct, vec![two[1].user]).await
        })
        .buffer_unordered(OPENINGS)
        .try_collect()
        .await
}

impl Member {
    /// Connects from one's own address, says hello with what is known, and reads up to the last heads.
    pub async fn connect(&self, server: SocketAddr) -> Result<Live> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind((self.from, 0).into())?;
        let stream = socket.connect(server).await?;
        stream.set_nodelay(true)?;
        let mut request = format!("ws://{server}/v1/socket").into_client_request()?;
        let headers = request.headers_mut();
        headers.insert("authorization", HeaderValue::from_str(&format!("Bearer {}", self.token))?);
        headers.insert("sec-websocket-protocol", HeaderValue::from_static(SUBPROTOCOL));
        // Behind a proxy, as it were: the address counts, though it is this machine's.
        let [_, a, b, c] = self.from.octets();
        headers.insert("x-forwarded-for", HeaderValue::from_str(&format!("10.{a}.{b}.{c}"))?);
        let config = WebSocketConfig::default().read_buffer_size(BUFFER).write_buffer_size(BUFFER);
        let (socket, _) = tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await?;
        let mut live = Live(socket);
        let known = self.known().clone();
        let hello = Hello {
            protocol: 1,
            device: self.device,
            generation: known.generation,
            epoch: known.epoch,
            cursor: known.cursor,
            user_seq: known.user_seq,
            full: None,
            app: "bench/1".to_owned(),
            capabilities: Vec::new(),
        };
        live.send(ClientFrame::Hello(hello), Some(1)).await?;
        loop {
            match ServerFrame::decode(live.text().await?.as_str())?.frame {
                ServerFrame::Welcome(welcome) => {
                    let mut known = self.known();
                    (known.generation, known.epoch) = (welcome.generation, Some(welcome.epoch));
                }
                ServerFrame::Heads(heads) if !heads.more => {
                    let mut known = self.known();
                    (known.cursor, known.user_seq) = (heads.cursor, heads.user_seq);
                    return Ok(live);
                }
                ServerFrame::Error(error) => bail!("refused: {}", error.code),
                _ => {}
            }
        }
    }

    /// The same person for connections that remember nothing.
    pub fn signed_in(&self) -> Person {
        Person::known(self.user, self.device, self.token.clone())
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Live {
    pub async fn send(&mut self, frame: ClientFrame, request: Option<u64>) -> Result<()> {
        Ok(self.0.send(Message::text(frame.encode(request))).await?)
    }

    /// The next frame, as it came.
    pub async fn text(&mut self) -> Result<Utf8Bytes> {
        loop {
            match self.0.next().await.context("the server closed")?? {
                Message::Text(text) => return Ok(text),
                Message::Close(frame) => bail!("the server closed: {frame:?}"),
                Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }

    pub async fn frame(&mut self) -> Result<ServerFrame> {
        Ok(ServerFrame::decode(self.text().await?.as_str())?.frame)
    }

    /// Opens a conversation and waits until it is there.
    pub async fn open(
        &mut self,
        conversation: ConversationId,
        kind: ConversationKind,
        members: Vec<UserId>,
    ) -> Result<()> {
        let open = Open { conversation, kind, members, title: None, context: None, first: None };
        self.send(ClientFrame::Open(open), Some(2)).await?;
        loop {
            match self.frame().await? {
                ServerFrame::Error(error) => bail!("refused: {}", error.code),
                frame if frame.reply_to() == Some(2) => return Ok(()),
                _ => {}
            }
        }
    }
}

/// Lets this process, and those that it starts, hold as many sockets as the system allows at all.
pub fn raise_open_files(wanted: usize) -> Result<()> {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
        let most = maximum.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
        anyhow::ensure!(
            wanted <= most,
            "{wanted} sockets and {most} open files at most: raise the limit or ask for fewer"
        );
    }
    #[cfg(not(unix))]
    let _ = wanted;
    Ok(())
}

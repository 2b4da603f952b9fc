//! The load: pairs of sockets, closed loops, an open loop, idle connections.

mod open;
mod receipts;

pub use open::open_loop;
use receipts::Receipts;

use crate::{
    people::Person,
    rivals::socketio::{self, Packet},
    server::Running,
};
use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt, TryStreamExt, stream};
use kith_protocol::{
    ClientFrame, ConversationId, EventId, NewEvent, SUBPROTOCOL, ServerFrame,
    frame::{AckStatus, ConversationKind, Hello, Open, Send},
};
use serde_json::json;
use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{net::TcpStream, sync::Mutex};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{Message, Utf8Bytes, client::IntoClientRequest, http::HeaderValue},
};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// How a server is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    Kith,
    SocketIo,
}

/// A signed-in connection.
pub struct Connection {
    socket: Socket,
    wire: Wire,
}

impl Connection {
    /// Connects and performs the handshake.
    async fn handshake(server: &str, wire: Wire, person: &Person) -> Result<Self> {
        match wire {
            Wire::Kith => Self::open(server, person).await,
            Wire::SocketIo => {
                let user = person.user;
                let query = format!("/socket.io/?EIO=4&transport=websocket&user={user}");
                let address = format!("{}{query}", server.replacen("http", "ws", 1));
                let (socket, _) = tokio_tungstenite::connect_async(address).await.context("no socket")?;
                let mut connection = Self { socket, wire };
                anyhow::ensure!(connection.text().await?.starts_with(socketio::HANDSHAKE), "no handshake");
                connection.socket.send(Message::text(socketio::CONNECT)).await?;
                anyhow::ensure!(connection.text().await?.starts_with(socketio::CONNECT), "not let in");
                Ok(connection)
            }
        }
    }

    /// Connects to Kith, says hello, and reads up to the last heads.
    pub async fn open(server: &str, person: &Person) -> Result<Self> {
        let mut request = format!("{}/v1/socket", server.replacen("http", "ws", 1)).into_client_request()?;
        let headers = request.headers_mut();
        headers.insert("authorization", HeaderValue::from_str(&format!("Bearer {}", person.token))?);
        headers.insert("sec-websocket-protocol", HeaderValue::from_static(SUBPROTOCOL));
        let (socket, _) = tokio_tungstenite::connect_async(request).await.context("no socket")?;
        let mut connection = Self { socket, wire: Wire::Kith };
        let hello = Hello {
            protocol: 1,
            device: person.device,
            generation: 0,
            epoch: None,
            cursor: None,
            user_seq: 0,
            full: None,
            app: "bench/1".to_owned(),
            capabilities: Vec::new(),
        };
        connection.send(ClientFrame::Hello(hello), Some(1)).await?;
        loop {
            if let ServerFrame::Heads(heads) = connection.next().await?
                && !heads.more
            {
                return Ok(connection);
            }
        }
    }

    pub async fn send(&mut self, frame: ClientFrame, request: Option<u64>) -> Result<()> {
        let text = match self.wire {
            Wire::Kith => frame.encode(request),
            Wire::SocketIo => match socketio::encode(&frame, request) {
                Some(text) => text,
                None => return Ok(()),
            },
        };
        Ok(self.socket.send(Message::text(text)).await?)
    }

    pub async fn next(&mut self) -> Result<ServerFrame> {
        loop {
            let text = self.text().await?;
            if self.wire == Wire::Kith {
                return Ok(ServerFrame::decode(text.as_str())?.frame);
            }
            match socketio::decode(text.as_str())? {
                Packet::Frame(frame) => return Ok(frame),
                Packet::Answer(answer) => self.socket.send(Message::text(answer)).await?,
                Packet::Nothing => {}
            }
        }
    }

    async fn text(&mut self) -> Result<Utf8Bytes> {
        loop {
            match self.socket.next().await.context("the server closed")?? {
                Message::Text(text) => return Ok(text),
                Message::Close(frame) => bail!("the server closed: {frame:?}"),
                Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }
}

/// Two people with a conversation; the first writes, the second reads.
pub struct Pair {
    conversation: ConversationId,
    writer: Mutex<Connection>,
    reader: Mutex<Connection>,
    /// Whether the reader tells what was delivered and read.
    has_receipts: bool,
    /// Numbers are without holes within a conversation.
    is_dense: bool,
}

/// Connects each two neighbours and opens their conversation.
pub async fn connect_pairs(server: &str, wire: Wire, people: &[Person]) -> Result<Vec<Arc<Pair>>> {
    connect_pairs_between([server, server], wire, people).await
}

/// As [`connect_pairs`], the readers telling what was delivered and read.
pub async fn connect_pairs_with_receipts(server: &str, people: &[Person]) -> Result<Vec<Arc<Pair>>> {
    let pairs = connect_pairs(server, Wire::Kith, people).await?;
    let with = |pair: Arc<Pair>| {
        let pair = Arc::into_inner(pair).context("a pair is in use")?;
        anyhow::Ok(Arc::new(Pair { has_receipts: true, ..pair }))
    };
    pairs.into_iter().map(with).collect()
}

/// As [`connect_pairs`], the writers at the first server and the readers at the second.
pub async fn connect_pairs_between(
    [first, second]: [&str; 2],
    wire: Wire,
    people: &[Person],
) -> Result<Vec<Arc<Pair>>> {
    stream::iter(people.chunks_exact(2))
        .map(|two| async move {
            let mut writer = Connection::handshake(first, wire, &two[0]).await?;
            let mut reader = Connection::handshake(second, wire, &two[1]).await?;
            let conversation = ConversationId::direct(two[0].user, two[1].user);
            let open = Open {
                conversation,
                kind: ConversationKind::Direct,
                members: vec![two[1].user],
                title: None,
                context: None,
                first: None,
            };
            writer.send(ClientFrame::Open(open.clone()), Some(2)).await?;
            while writer.next().await?.reply_to() != Some(2) {}
            if wire == Wire::SocketIo {
                // There everybody enters a room by themselves.
                reader.send(ClientFrame::Open(open), Some(2)).await?;
                while reader.next().await?.reply_to() != Some(2) {}
            }
            let is_dense = wire == Wire::Kith;
            anyhow::Ok(Arc::new(Pair {
                conversation,
                has_receipts: false,
                writer: writer.into(),
                reader: reader.into(),
                is_dense,
            }))
        })
        .buffered(8)
        .try_collect()
        .await
}

pub fn event(text: String) -> NewEvent {
    NewEvent {
        id: EventId::mint(),
        kind: "message".to_owned(),
        target: None,
        body: json!({ "text": text }),
        written_at: None,
        resubmitted: None,
    }
}

fn message(conversation: ConversationId, text: String) -> ClientFrame {
    ClientFrame::Send(Send { conversation, events: vec![json!(event(text))] })
}

pub fn filler(number: u64) -> String {
    format!(
        "{number} {}",
        "words of an ordinary length in an ordinary message ".repeat(2 + number as usize % 2)
    )
}

/// After the last message: the readers' markers come at most every 500 ms.
const HEARD_WITHIN: Duration = Duration::from_secs(5);

/// What a closed loop counted.
#[derive(Default)]
pub struct Closed {
    pub acknowledged: u64,
    /// Pairs whose reader told what was read, and whose writer did not hear of it.
    pub without_markers: u64,
    pub seconds: f64,
    pub lost: u64,
    pub doubled: u64,
    pub disordered: u64,
}

/// Each writer keeps `depth` messages under way; the readers check that each arrives once and in order.
pub async fn closed_loop(pairs: &[Arc<Pair>], depth: usize, length: Duration) -> Result<Closed> {
    let started = Instant::now();
    let tasks: Vec<_> = pairs
        .iter()
        .map(|pair| {
            let (one, other) = (pair.clone(), pair.clone());
            let (done, stop) = tokio::sync::watch::channel(None);
            let writer = tokio::spawn(async move { write_closed(&one, depth, length, done).await });
            let reader = tokio::spawn(async move { read_closed(&other, stop).await });
            (writer, reader)
        })
        .collect();
    let mut sum = Closed::default();
    for (writer, reader) in tasks {
        let (sent, is_heard) = writer.await??;
        sum.without_markers += u64::from(!is_heard);
        let (received, doubled, disordered) = reader.await??;
        sum.acknowledged += sent.len() as u64;
        sum.lost += sent.iter().filter(|id| !received.contains(id)).count() as u64;
        sum.doubled += doubled;
        sum.disordered += disordered;
    }
    sum.seconds = started.elapsed().as_secs_f64();
    Ok(sum)
}

type Acknowledged = Option<usize>;

async fn write_closed(
    pair: &Pair,
    depth: usize,
    length: Duration,
    done: tokio::sync::watch::Sender<Acknowledged>,
) -> Result<(Vec<EventId>, bool)> {
    let mut writer = pair.writer.lock().await;
    let (started, mut number, mut waiting, mut acknowledged) = (Instant::now(), 0_u64, 0, Vec::new());
    let mut is_heard = !pair.has_receipts;
    loop {
        while waiting < depth && started.elapsed() < length {
            number += 1;
            let frame = message(pair.conversation, filler(number));
            writer.send(frame, Some(number + 10)).await?;
            waiting += 1;
        }
        if waiting == 0 {
            let heard = async {
                while !is_heard {
                    is_heard = is_heard || matches!(writer.next().await?, ServerFrame::Markers(_));
                }
                anyhow::Ok(())
            };
            if let Ok(heard) = tokio::time::timeout(HEARD_WITHIN, heard).await {
                heard?;
            }
            done.send_replace(Some(acknowledged.len()));
            return Ok((acknowledged, is_heard));
        }
        match writer.next().await? {
            ServerFrame::Markers(_) => is_heard = true,
            ServerFrame::Ack(ack) => {
                waiting -= 1;
                for result in ack.results {
                    match (result.status, result.id) {
                        (AckStatus::Ok, Some(id)) => acknowledged.push(id),
                        _ => bail!("refused: {:?}", result.code),
                    }
                }
            }
            ServerFrame::Error(error) => bail!("refused: {}", error.code),
            _ => {}
        }
    }
}

async fn read_closed(
    pair: &Pair,
    mut done: tokio::sync::watch::Receiver<Acknowledged>,
) -> Result<(HashSet<EventId>, u64, u64)> {
    let mut reader = pair.reader.lock().await;
    let (mut seen, mut doubled, mut disordered, mut last) = (HashSet::new(), 0, 0, 0);
    let mut receipts = Receipts::of(pair);
    loop {
        if done.borrow().is_some_and(|count| seen.len() >= count) {
            return Ok((seen, doubled, disordered));
        }
        tokio::select! {
            frame = reader.next() => {
                let ServerFrame::Events(events) = frame? else { continue };
                for event in events.events {
                    doubled += u64::from(!seen.insert(event.id));
                    let fits = if pair.is_dense { event.seq.0 == last + 1 } else { event.seq.0 > last };
                    disordered += u64::from(last != 0 && !fits);
                    last = event.seq.0;
                    receipts.note(event.seq);
                }
            }
            () = receipts.due() => receipts.tell(&mut reader).await?,
            _ = done.changed() => {}
            () = tokio::time::sleep(Duration::from_secs(10)) => return Ok((seen, doubled, disordered)),
        }
    }
}

/// Both of each pair write in turns, each as soon as the other's message is there: a talk. Returns messages a second.
pub async fn talk(pairs: &[Arc<Pair>], length: Duration) -> Result<f64> {
    let started = Instant::now();
    let tasks: Vec<_> = pairs
        .iter()
        .map(|pair| {
            let pair = pair.clone();
            tokio::spawn(async move {
                let (mut one, mut other) = (pair.writer.lock().await, pair.reader.lock().await);
                let mut messages = 0_u64;
                while started.elapsed() < length {
                    turn(pair.conversation, &mut one, &mut other, messages).await?;
                    turn(pair.conversation, &mut other, &mut one, messages + 1).await?;
                    messages += 2;
                }
                anyhow::Ok(messages)
            })
        })
        .collect();
    let mut messages = 0;
    for task in tasks {
        messages += task.await??;
    }
    Ok(messages as f64 / started.elapsed().as_secs_f64())
}

/// A message, until the other one has it.
async fn turn(
    conversation: ConversationId,
    from: &mut Connection,
    to: &mut Connection,
    number: u64,
) -> Result<()> {
    let new = event(filler(number));
    let send = Send { conversation, events: vec![json!(new)] };
    from.send(ClientFrame::Send(send), Some(number + 10)).await?;
    loop {
        match from.next().await? {
            ServerFrame::Ack(ack) if ack.reply_to == Some(number + 10) => {
                let is_ok = ack.results.iter().all(|result| result.status == AckStatus::Ok);
                anyhow::ensure!(is_ok, "refused: {:?}", ack.results);
                break;
            }
            ServerFrame::Error(error) => bail!("refused: {}", error.code),
            _ => {}
        }
    }
    loop {
        if let ServerFrame::Events(events) = to.next().await?
            && events.events.iter().any(|event| event.id == new.id)
        {
            return Ok(());
        }
    }
}

/// KB of the server's resident memory for each of `count` idle connections.
pub async fn idle(running: &Running, people: &[Person], count: usize) -> Result<f64> {
    let devices: Vec<Person> = stream::iter(0..count)
        .map(|index| async move { people[index % people.len()].another_device(&running.url, index).await })
        .buffered(4)
        .try_collect()
        .await?;
    let before = running.resident_kb()?;
    let connections: Vec<Connection> = stream::iter(&devices)
        .map(|device| Connection::open(&running.url, device))
        .buffered(16)
        .try_collect()
        .await?;
    let after = running.resident_kb()?;
    Ok(after.saturating_sub(before) as f64 / connections.len() as f64)
}

/// Writes `messages` to `reader`, spread over conversations with each of `writers`, many events a frame.
pub async fn fill(server: &str, writers: &[Person], reader: &Person, messages: usize) -> Result<()> {
    let each = messages / writers.len();
    let tasks = writers.iter().map(|writer| async move {
        let mut connection = Connection::open(server, writer).await?;
        let conversation = ConversationId::direct(writer.user, reader.user);
        let open = Open {
            conversation,
            kind: ConversationKind::Direct,
            members: vec![reader.user],
            title: None,
            context: None,
            first: None,
        };
        connection.send(ClientFrame::Open(open), Some(2)).await?;
        while connection.next().await?.reply_to() != Some(2) {}
        let mut request = 10;
        for start in (0..each).step_by(FILL_EVENTS) {
            let numbers = start..each.min(start + FILL_EVENTS);
            let events = numbers.map(|number| json!(event(filler(number as u64)))).collect();
            request += 1;
            connection.send(ClientFrame::Send(Send { conversation, events }), Some(request)).await?;
            loop {
                match connection.next().await? {
                    ServerFrame::Ack(ack) if ack.reply_to == Some(request) => break,
                    ServerFrame::Error(error) => bail!("refused: {}", error.code),
                    _ => {}
                }
            }
        }
        anyhow::Ok(())
    });
    futures_util::future::try_join_all(tasks).await.map(drop)
}

/// Events of one frame while filling; their bodies stay below a frame's limit.
const FILL_EVENTS: usize = 200;

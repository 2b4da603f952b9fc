//! A relay over WebSockets: numbers a message, tells its sender and the other member, and nothing else.

use super::{lean::Table, until_asked_to_end};
use anyhow::{Context, Result};
use futures_util::{SinkExt, StreamExt};
use kith_protocol::{
    ClientFrame, ConversationId, Event, NewEvent, SUBPROTOCOL, Seq, ServerFrame, TimestampMs, UserId,
    frame::{Ack, AckResult, AckStatus, Events, Heads},
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};
use tokio_tungstenite::tungstenite::{
    Message, Utf8Bytes,
    handshake::server::{ErrorResponse, Request, Response},
    http::HeaderValue,
    protocol::WebSocketConfig,
};

/// Frames that are written with one flush.
const BATCH: usize = 64;
/// The library's default of 128 KiB for each connection is for few of them.
const BUFFER: usize = 4 * 1024;

type Outbox = UnboundedSender<Utf8Bytes>;

struct Conversation {
    members: Vec<UserId>,
    head: u64,
}

/// Everybody who is connected, and every conversation's newest number.
#[derive(Default)]
struct Hub {
    people: Mutex<HashMap<UserId, Vec<Outbox>>>,
    conversations: Mutex<HashMap<ConversationId, Conversation>>,
}

/// A message with its number, and who is to be told.
pub(super) struct Numbered {
    pub(super) conversation: ConversationId,
    pub(super) seq: u64,
    pub(super) sender: UserId,
    pub(super) event: NewEvent,
    request: Option<u64>,
    back: Outbox,
    others: Vec<Outbox>,
}

impl Numbered {
    /// Tells the sender and the others.
    pub(super) fn tell(self) {
        let Self { conversation, seq, sender, event, request, back, others } = self;
        let result = AckResult {
            id: Some(event.id),
            status: AckStatus::Ok,
            seq: Some(Seq(seq)),
            ts: Some(TimestampMs(0)),
            countable: Some(seq),
            chain: None,
            code: None,
            retry_after_ms: None,
        };
        // Whoever has gone hears nothing.
        let _ = back.send(ServerFrame::Ack(Ack { reply_to: request, results: vec![result] }).encode().into());
        let events = Events { conversation, events: vec![placed(event, seq, sender, conversation)] };
        let frame: Utf8Bytes = ServerFrame::Events(events).encode().into();
        for other in others {
            let _ = other.send(frame.clone());
        }
    }
}

fn placed(event: NewEvent, seq: u64, sender: UserId, conversation: ConversationId) -> Event {
    Event {
        seq: Seq(seq),
        id: event.id,
        kind: event.kind,
        sender,
        ts: TimestampMs(0),
        written_at: None,
        countable: seq,
        chain: kith_protocol::Chain::empty(conversation),
        target: None,
        body: Some(event.body),
        redacted: false,
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves on a free port until it is asked to end.
pub(super) async fn serve(table: Option<Table>) -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("http://{}", listener.local_addr()?);
    let (hub, table) = (Arc::new(Hub::default()), table.map(Arc::new));
    let accepting = async {
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let (hub, table) = (hub.clone(), table.clone());
            tokio::spawn(async move {
                if let Err(error) = connection(stream, &hub, table.as_deref()).await {
                    eprintln!("{error:#}");
                }
            });
        }
    };
    tokio::select! {
        ended = until_asked_to_end() => ended,
        failed = accepting => failed,
    }
}

/// Who asks: the load names the user where Kith has a token.
#[expect(clippy::result_large_err, reason = "the library's type")]
async fn connection(stream: TcpStream, hub: &Hub, table: Option<&Table>) -> Result<()> {
    let mut who = None;
    let handshake = |request: &Request, mut answer: Response| -> Result<Response, ErrorResponse> {
        let token = request.headers().get("authorization").and_then(|value| value.to_str().ok());
        who = token.and_then(|token| token.strip_prefix("Bearer ")?.parse::<UserId>().ok());
        answer.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(SUBPROTOCOL));
        Ok(answer)
    };
    let config = WebSocketConfig::default().read_buffer_size(BUFFER).write_buffer_size(BUFFER);
    let socket = tokio_tungstenite::accept_hdr_async_with_config(stream, handshake, Some(config)).await?;
    let user = who.context("nobody asks")?;
    let (sink, mut stream) = socket.split();
    let (back, queue) = unbounded_channel();
    locked(&hub.people).entry(user).or_default().push(back.clone());
    tokio::spawn(write(sink, queue));
    let mut done = Ok(());
    // A connection that breaks is one that has ended.
    while let Some(Ok(message)) = stream.next().await {
        match message {
            Message::Text(text) => done = hub.take(user, text.as_str(), &back, table),
            Message::Close(_) => break,
            _ => {}
        }
        if done.is_err() {
            break;
        }
    }
    if let Some(outboxes) = locked(&hub.people).get_mut(&user) {
        outboxes.retain(|outbox| !outbox.same_channel(&back));
    }
    done
}

async fn write<S>(mut sink: S, mut queue: UnboundedReceiver<Utf8Bytes>)
where
    S: SinkExt<Message> + Unpin,
{
    let mut batch = Vec::with_capacity(BATCH);
    while queue.recv_many(&mut batch, BATCH).await > 0 {
        for text in batch.drain(..) {
            if sink.feed(Message::Text(text)).await.is_err() {
                return;
            }
        }
        if sink.flush().await.is_err() {
            return;
        }
    }
}

impl Hub {
    fn take(&self, user: UserId, text: &str, back: &Outbox, table: Option<&Table>) -> Result<()> {
        let received = ClientFrame::decode(text)?;
        match received.frame {
            ClientFrame::Hello(_) => {
                let heads = Heads {
                    reply_to: None,
                    full: true,
                    more: false,
                    user_seq: 0,
                    cursor: None,
                    items: Vec::new(),
                    gone: Vec::new(),
                };
                back.send(ServerFrame::Heads(heads).encode().into())?;
            }
            ClientFrame::Open(open) => {
                let members = open.members.into_iter().chain([user]).collect();
                let conversation = Conversation { members, head: 0 };
                locked(&self.conversations).entry(open.conversation).or_insert(conversation);
                let ack = Ack { reply_to: received.request, results: Vec::new() };
                back.send(ServerFrame::Ack(ack).encode().into())?;
            }
            ClientFrame::Send(send) => {
                for event in send.events {
                    let event: NewEvent = serde_json::from_value(event)?;
                    let numbered = self.number(user, send.conversation, event, (received.request, back))?;
                    match table {
                        Some(table) => table.store(numbered)?,
                        None => numbered.tell(),
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn number(
        &self,
        sender: UserId,
        id: ConversationId,
        event: NewEvent,
        (request, back): (Option<u64>, &Outbox),
    ) -> Result<Numbered> {
        let (seq, others) = {
            let mut conversations = locked(&self.conversations);
            let conversation = conversations.get_mut(&id).context("no such conversation")?;
            conversation.head += 1;
            let others: Vec<UserId> =
                conversation.members.iter().copied().filter(|user| *user != sender).collect();
            (conversation.head, others)
        };
        let people = locked(&self.people);
        let others = others.iter().filter_map(|user| people.get(user)).flatten().cloned().collect();
        Ok(Numbered { conversation: id, seq, sender, event, request, back: back.clone(), others })
    }
}

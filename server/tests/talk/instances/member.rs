//! Somebody who writes and reads, at whatever instance serves: sends what was not acknowledged again with the same id,
//! and asks only after a reconnect. So whatever is not pushed meanwhile is missing in the end.

use futures_util::{SinkExt, StreamExt};
use kith_protocol::{ConversationId, DeviceId, SUBPROTOCOL, UserId};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};
use tokio::time::{Interval, interval, sleep, timeout};
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Message, client::IntoClientRequest},
};

use crate::support::{Socket, message};

/// Between two messages of one person.
const WRITES_EVERY: Duration = Duration::from_millis(50);
/// A connection that does not come about in this time is tried elsewhere.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

#[derive(Default)]
pub struct Seen {
    /// By conversation: the ids by seq.
    pub logs: HashMap<ConversationId, BTreeMap<u64, String>>,
    /// When each event was pushed.
    pub pushed: HashMap<String, Instant>,
    /// When one's own were acknowledged.
    pub acknowledged: HashMap<String, Instant>,
    /// Those of the present phase.
    pub acknowledged_anew: Vec<(String, Instant)>,
    /// Pushed twice on one connection.
    pub doubled: u64,
    /// Pushed behind a later one.
    pub disordered: u64,
    /// Fetched after a reconnect.
    pub fetched: u64,
    pub reconnects: u64,
}

#[derive(Clone)]
pub struct Member {
    pub user: UserId,
    pub device: DeviceId,
    pub token: String,
    pub seen: Arc<Mutex<Seen>>,
    /// What is to be written.
    pub outbox: Arc<Mutex<VecDeque<(ConversationId, Value)>>>,
}

impl Member {
    pub fn new(user: UserId, device: DeviceId, token: String) -> Self {
        Self { user, device, token, seen: Arc::default(), outbox: Arc::default() }
    }

    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    pub fn write(&self, conversation: ConversationId, text: &str) {
        self.outbox.lock().unwrap().push_back((conversation, message(text)));
    }

    pub fn is_done(&self) -> bool {
        self.outbox.lock().unwrap().is_empty()
    }

    async fn dial(&self, address: SocketAddr) -> Option<Socket> {
        let mut request = format!("ws://{address}/v1/socket").into_client_request().unwrap();
        let headers = request.headers_mut();
        headers.insert("sec-websocket-protocol", SUBPROTOCOL.parse().unwrap());
        headers.insert("authorization", format!("Bearer {}", self.token).parse().unwrap());
        Some(timeout(CONNECT_WITHIN, connect_async(request)).await.ok()?.ok()?.0)
    }

    /// Writes and reads until it is dropped; another instance takes over when one ends.
    pub async fn run(self, instances: Vec<SocketAddr>, first: usize) {
        let (mut at, mut generation) = (first, 0);
        loop {
            if let Some(socket) = self.dial(instances[at % instances.len()]).await {
                let ticks = interval(WRITES_EVERY);
                let mut line = Line {
                    member: &self,
                    socket,
                    ticks,
                    on_its_way: false,
                    pushed: HashSet::new(),
                    generation,
                };
                line.serve().await;
                generation = line.generation;
                self.seen().reconnects += 1;
            }
            at += 1;
            sleep(Duration::from_millis(20)).await;
        }
    }
}

struct Line<'a> {
    member: &'a Member,
    socket: Socket,
    ticks: Interval,
    on_its_way: bool,
    pushed: HashSet<(ConversationId, u64)>,
    generation: u64,
}

impl Line<'_> {
    async fn say(&mut self, frame: Value) -> Option<()> {
        self.socket.send(Message::text(frame.to_string())).await.ok()
    }

    async fn serve(&mut self) -> Option<()> {
        let hello = json!({"type": "hello", "request": 1, "protocol": 1, "device": self.member.device,
                           "generation": self.generation, "user_seq": 0, "app": "test/0"});
        self.say(hello).await?;
        loop {
            tokio::select! {
                message = self.socket.next() => match message?.ok()? {
                    Message::Text(text) => self.hear(&serde_json::from_str(&text).unwrap()).await?,
                    Message::Close(_) => return None,
                    _ => {}
                },
                _ = self.ticks.tick(), if !self.on_its_way && self.generation > 0 => self.write().await?,
            }
        }
    }

    async fn write(&mut self) -> Option<()> {
        let next = self.member.outbox.lock().unwrap().front().cloned();
        let Some((conversation, event)) = next else { return Some(()) };
        self.on_its_way = true;
        self.say(json!({"type": "send", "request": 2, "conversation": conversation, "events": [event]})).await
    }

    async fn hear(&mut self, frame: &Value) -> Option<()> {
        match frame["type"].as_str().unwrap() {
            "welcome" => self.generation = frame["generation"].as_u64().unwrap(),
            "heads" => {
                for item in frame["items"].as_array().unwrap() {
                    self.catch_up(item["conversation"].as_str().unwrap(), item["head"].as_u64().unwrap())
                        .await?;
                }
            }
            "page" => self.page(frame).await?,
            "events" => self.events(frame),
            "ack" if frame["reply_to"] == 2 => self.acknowledged(&frame["results"][0]),
            "error" if frame["reply_to"] == 2 => self.on_its_way = false,
            "hint" | "error" => panic!("{frame}"),
            _ => {}
        }
        Some(())
    }

    fn acknowledged(&mut self, result: &Value) {
        self.on_its_way = false;
        let status = result["status"].as_str().unwrap();
        if matches!(status, "ok" | "duplicate") {
            self.member.outbox.lock().unwrap().pop_front();
            let id = result["id"].as_str().unwrap().to_owned();
            let (mut seen, now) = (self.member.seen(), Instant::now());
            if seen.acknowledged.insert(id.clone(), now).is_none() {
                seen.acknowledged_anew.push((id, now));
            }
        }
    }

    /// Asks for what came while it was away. While it is connected it asks for nothing.
    async fn catch_up(&mut self, conversation: &str, head: u64) -> Option<()> {
        let id = ConversationId::parse(conversation).unwrap();
        let high = dense(self.member.seen().logs.entry(id).or_default());
        if high >= head {
            return Some(());
        }
        self.say(json!({"type": "pull", "request": 3, "conversation": id, "from": high + 1, "to": head,
                        "direction": "forward", "max": 50}))
            .await
    }

    async fn page(&mut self, page: &Value) -> Option<()> {
        let conversation = page["conversation"].as_str().unwrap();
        for event in page["events"].as_array().unwrap() {
            self.member.seen().fetched += 1;
            self.note(ConversationId::parse(conversation).unwrap(), event);
        }
        if page["end"] == false && page["high"].as_u64() < page["head"].as_u64() {
            self.catch_up(conversation, page["head"].as_u64().unwrap()).await?;
        }
        Some(())
    }

    fn events(&mut self, frame: &Value) {
        let conversation = ConversationId::parse(frame["conversation"].as_str().unwrap()).unwrap();
        for event in frame["events"].as_array().unwrap() {
            let seq = event["seq"].as_u64().unwrap();
            let is_late = self.pushed.contains(&(conversation, seq + 1));
            let is_twice = !self.pushed.insert((conversation, seq));
            {
                let mut seen = self.member.seen();
                seen.doubled += u64::from(is_twice);
                seen.disordered += u64::from(is_late && !is_twice);
                let id = event["id"].as_str().unwrap().to_owned();
                seen.pushed.entry(id).or_insert_with(Instant::now);
            }
            self.note(conversation, event);
        }
    }

    fn note(&self, conversation: ConversationId, event: &Value) {
        let (seq, id) = (event["seq"].as_u64().unwrap(), event["id"].as_str().unwrap().to_owned());
        let mut seen = self.member.seen();
        let old = seen.logs.entry(conversation).or_default().insert(seq, id.clone());
        assert!(old.is_none_or(|old| old == id), "two events at {seq}");
    }
}

/// Up to where there is no hole.
fn dense(log: &BTreeMap<u64, String>) -> u64 {
    (1..).zip(log.keys()).take_while(|(at, seq)| at == *seq).last().map_or(0, |(at, _)| at)
}

//! People who talk to a server by sockets and HTTP.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::{SinkExt, StreamExt};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use kith_protocol::{ConversationId, DeviceId, EventId, SUBPROTOCOL, UserId, api::Session};
use kith_server::{Config, auth::Tokens, testing::TestServer};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest},
};

/// Everything that is waited for comes within this time.
pub const SOON: Duration = Duration::from_secs(20);

pub type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A server and a way to ask it.
pub struct World {
    pub server: TestServer,
    pub http: Client,
}

impl World {
    pub async fn start() -> Self {
        Self::start_with(Config::for_tests()).await
    }

    pub async fn start_with(config: Config) -> Self {
        Self { server: TestServer::start_with(config).await.unwrap(), http: Client::new() }
    }

    /// Accounts with a session each.
    pub async fn people<const N: usize>(&self, names: [&str; N]) -> [Person; N] {
        let mut people = Vec::new();
        for name in names {
            people.push(self.person(name).await);
        }
        people.try_into().unwrap_or_else(|_| unreachable!())
    }

    pub async fn person(&self, name: &str) -> Person {
        let name = &format!("{name}.test");
        let body = json!({"username": name, "password": "correct horse battery", "display_name": name});
        let (status, answer) = self.ask(Method::POST, "/v1/accounts", None, Some(body)).await;
        assert_eq!(status, 201, "{answer}");
        self.sign_in(name).await
    }

    pub async fn sign_in(&self, name: &str) -> Person {
        let name = if name.ends_with(".test") { name.to_owned() } else { format!("{name}.test") };
        let body =
            json!({"username": name, "password": "correct horse battery", "device": {"name": "a test"}});
        let (status, answer) = self.ask(Method::POST, "/v1/sessions", None, Some(body)).await;
        assert_eq!(status, 200, "{answer}");
        let session: Session = serde_json::from_value(answer).unwrap();
        Person {
            user: session.user.id,
            device: session.device.id,
            token: session.access_token.clone(),
            session,
            http: self.http.clone(),
            base: self.server.url(""),
            socket_url: self.server.socket_url(),
        }
    }

    /// Another device of a person, signed in without a password.
    pub async fn device_of(&self, person: &Person) -> Person {
        let device = DeviceId::mint();
        sqlx::query("INSERT INTO devices (id, user_id, name) VALUES ($1, $2, 'another test')")
            .bind(device.as_uuid())
            .bind(person.user.as_uuid())
            .execute(&self.server.pool)
            .await
            .unwrap();
        let tokens = Tokens::load(&self.server.pool, Duration::from_secs(600), None).await.unwrap();
        person.with(device, tokens.sign(person.user, device).unwrap())
    }

    /// The person with a token as it would be, had it ended so many seconds ago.
    pub async fn ended(&self, person: &Person, seconds: u64) -> Person {
        let key = sqlx::query_as("SELECT kid, secret FROM server_keys WHERE purpose = 'access'");
        let (kid, secret): (String, Vec<u8>) = key.fetch_one(&self.server.pool).await.unwrap();
        let payload = URL_SAFE_NO_PAD.decode(person.token.split('.').nth(1).unwrap()).unwrap();
        let mut claims: Value = serde_json::from_slice(&payload).unwrap();
        claims["exp"] = json!(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() - seconds);
        let mut header = Header::new(Algorithm::HS256);
        (header.typ, header.kid) = (Some("at+jwt".to_owned()), Some(kid));
        let token = jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(&secret)).unwrap();
        person.with(person.device, token)
    }

    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<Value>,
    ) -> (u16, Value) {
        ask(&self.http, method, self.server.url(path), token, body).await
    }
}

async fn ask(
    http: &Client,
    method: Method,
    url: String,
    token: Option<&str>,
    body: Option<Value>,
) -> (u16, Value) {
    let mut request = http.request(method, url);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    if let Some(body) = body {
        request = request.json(&body);
    }
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_str(&response.text().await.unwrap()).unwrap_or(Value::Null))
}

/// Somebody with a session.
pub struct Person {
    pub user: UserId,
    pub device: DeviceId,
    pub token: String,
    pub session: Session,
    http: Client,
    base: String,
    socket_url: String,
}

impl Person {
    /// The same person on another device, or with another token.
    pub fn with(&self, device: DeviceId, token: String) -> Self {
        Self {
            user: self.user,
            device,
            token,
            session: self.session.clone(),
            http: self.http.clone(),
            base: self.base.clone(),
            socket_url: self.socket_url.clone(),
        }
    }

    /// The same person on the same device, at another instance.
    pub fn at(&self, address: SocketAddr) -> Self {
        let (base, socket_url) = (format!("http://{address}"), format!("ws://{address}/v1/socket"));
        Self { base, socket_url, ..self.with(self.device, self.token.clone()) }
    }

    pub async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        ask(&self.http, method, format!("{}{path}", self.base), Some(&self.token), body).await
    }

    pub async fn get(&self, path: &str) -> Value {
        let (status, answer) = self.ask(Method::GET, path, None).await;
        assert_eq!(status, 200, "{path} {answer}");
        answer
    }

    pub fn hello(&self, generation: u64) -> Value {
        json!({"type": "hello", "request": 1, "protocol": 1, "device": self.device, "generation": generation,
               "user_seq": 0, "app": "test/0"})
    }

    /// An upgraded socket that has said nothing.
    pub async fn dial(&self) -> Socket {
        let mut request = self.socket_url.as_str().into_client_request().unwrap();
        let headers = request.headers_mut();
        headers.insert("sec-websocket-protocol", SUBPROTOCOL.parse().unwrap());
        headers.insert("authorization", format!("Bearer {}", self.token).parse().unwrap());
        connect_async(request).await.unwrap().0
    }

    /// A connection that has said hello.
    pub async fn connect_as(&self, generation: u64) -> Line {
        self.connect_raw(&self.hello(generation)).await
    }

    /// A connection that has said this.
    pub async fn connect_raw(&self, first: &Value) -> Line {
        let mut line = self.dialled().await;
        line.write(first).await;
        line
    }

    /// A socket that has not said hello.
    pub async fn dialled(&self) -> Line {
        Line { socket: self.dial().await, unread: Vec::new(), request: 1, user: self.user }
    }

    /// After the handshake, with `welcome` and `heads` read.
    pub async fn online(&self) -> Line {
        self.online_as(0).await
    }

    pub async fn online_as(&self, generation: u64) -> Line {
        let mut line = self.connect_as(generation).await;
        let welcome = line.next_frame().await;
        assert_eq!(welcome["type"], "welcome", "{welcome}");
        let heads = line.next_frame().await;
        assert_eq!(heads["type"], "heads", "{heads}");
        line
    }
}

pub struct Line {
    pub socket: Socket,
    /// Frames that nobody has asked for yet.
    pub unread: Vec<Value>,
    request: u64,
    pub user: UserId,
}

impl Line {
    pub async fn write(&mut self, frame: &Value) {
        self.socket.send(Message::text(frame.to_string())).await.unwrap();
    }

    /// The next frame, in order of arrival.
    pub async fn next_frame(&mut self) -> Value {
        if self.unread.is_empty() { self.read().await } else { self.unread.remove(0) }
    }

    async fn read(&mut self) -> Value {
        loop {
            let message = timeout(SOON, self.socket.next()).await.expect("nothing came");
            match message {
                Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).unwrap(),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("no frame: {other:?}"),
            }
        }
    }

    /// Sends a frame with a request number and waits for its answer.
    pub async fn call(&mut self, mut frame: Value) -> Value {
        let request = self.start(&mut frame).await;
        self.until(|frame| frame["reply_to"] == request).await
    }

    /// Sends a frame with a request number.
    pub async fn start(&mut self, frame: &mut Value) -> u64 {
        self.request += 1;
        frame["request"] = self.request.into();
        self.write(frame).await;
        self.request
    }

    /// Waits for a frame; what came before it stays unread.
    pub async fn until(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        if let Some(index) = self.unread.iter().position(&fits) {
            return self.unread.remove(index);
        }
        loop {
            let frame = self.read().await;
            if fits(&frame) {
                return frame;
            }
            self.unread.push(frame);
        }
    }

    pub async fn until_type(&mut self, kind: &str) -> Value {
        self.until(|frame| frame["type"] == kind).await
    }

    /// Reads until the log of a conversation has been seen up to `seq`; answers all events of it, unread ones first.
    pub async fn events_to(&mut self, conversation: ConversationId, seq: u64) -> Vec<Value> {
        let mut events: Vec<Value> = Vec::new();
        while events.last().is_none_or(|event| event["seq"].as_u64().unwrap() < seq) {
            let is_it = |frame: &Value| {
                frame["type"] == "events" && frame["conversation"] == conversation.to_string()
            };
            let frame = self.until(is_it).await;
            events.extend(frame["events"].as_array().unwrap().iter().cloned());
        }
        events
    }

    /// All frames that the server has sent so far: whatever it decided to send before this call is in it.
    pub async fn everything(&mut self) -> Vec<Value> {
        self.call(json!({"type": "profiles", "users": []})).await;
        std::mem::take(&mut self.unread)
    }

    /// Reads until the close. Returns its code.
    pub async fn closed(&mut self) -> u16 {
        closed(&mut self.socket).await
    }

    /// A direct conversation with its first message.
    pub async fn start_chat(&mut self, other: UserId, text: &str) -> ConversationId {
        let id = ConversationId::direct(self.user, other);
        let heads = self
            .call(json!({"type": "open", "conversation": id, "kind": "direct", "members": [other],
                         "first": message(text)}))
            .await;
        assert_eq!(heads["items"][0]["conversation"], id.to_string(), "{heads}");
        id
    }

    /// A group without events.
    pub async fn start_group(&mut self, members: &[UserId]) -> ConversationId {
        let id = ConversationId::mint();
        let heads = self
            .call(json!({"type": "open", "conversation": id, "kind": "group", "members": members,
                         "title": "a group"}))
            .await;
        assert_eq!(heads["items"][0]["head"], 0, "{heads}");
        id
    }

    /// Sends events. Returns the results. Comes back when the server says so, as every client does.
    pub async fn send(&mut self, conversation: ConversationId, events: &[Value]) -> Vec<Value> {
        let frame = json!({"type": "send", "conversation": conversation, "events": events});
        let mut answer = self.call(frame.clone()).await;
        for _ in 0..20 {
            let Some(wait) = answer["retry_after_ms"].as_u64().filter(|_| answer["code"] == "rate_limited")
            else {
                break;
            };
            tokio::time::sleep(std::time::Duration::from_millis(wait)).await;
            answer = self.call(frame.clone()).await;
        }
        assert_eq!(answer["type"], "ack", "{answer}");
        answer["results"].as_array().unwrap().clone()
    }

    /// Sends one event that is accepted. Returns its seq.
    pub async fn ok(&mut self, conversation: ConversationId, event: Value) -> u64 {
        let results = self.send(conversation, &[event]).await;
        assert_eq!(results[0]["status"], "ok", "{results:?}");
        results[0]["seq"].as_u64().unwrap()
    }

    /// Sends one event that is refused. Returns the code.
    pub async fn refused(&mut self, conversation: ConversationId, event: Value) -> String {
        let results = self.send(conversation, &[event]).await;
        assert_eq!(results[0]["status"], "error", "{results:?}");
        results[0]["code"].as_str().unwrap().to_owned()
    }

    /// The code of an `error` frame that answers this frame.
    pub async fn error(&mut self, frame: Value) -> String {
        let answer = self.call(frame).await;
        assert_eq!(answer["type"], "error", "{answer}");
        answer["code"].as_str().unwrap().to_owned()
    }

    pub async fn pull(&mut self, conversation: ConversationId, rest: Value) -> Value {
        let mut frame =
            json!({"type": "pull", "conversation": conversation, "direction": "backward", "max": 50});
        for (key, value) in rest.as_object().unwrap() {
            frame[key] = value.clone();
        }
        self.call(frame).await
    }

    /// The item of a conversation in full heads.
    pub async fn item(&mut self, conversation: ConversationId) -> Value {
        let heads = self.call(json!({"type": "heads"})).await;
        let items = heads["items"].as_array().unwrap();
        items
            .iter()
            .find(|item| item["conversation"] == conversation.to_string())
            .cloned()
            .unwrap_or(Value::Null)
    }
}

pub async fn closed(socket: &mut Socket) -> u16 {
    loop {
        match timeout(SOON, socket.next()).await.expect("still open") {
            Some(Ok(Message::Close(Some(frame)))) => return frame.code.into(),
            Some(Ok(_)) => {}
            Some(Err(Error::Protocol(_))) | None => panic!("ended without a code"),
            other => panic!("{other:?}"),
        }
    }
}

pub fn event(kind: &str, body: Value) -> Value {
    json!({"id": EventId::mint(), "kind": kind, "body": body})
}

pub fn about(kind: &str, target: &Value, body: Value) -> Value {
    json!({"id": EventId::mint(), "kind": kind, "target": target, "body": body})
}

pub fn message(text: &str) -> Value {
    event("message", json!({"text": text}))
}

pub fn member(user: UserId, change: &str) -> Value {
    event("member", json!({"user": user, "change": change}))
}

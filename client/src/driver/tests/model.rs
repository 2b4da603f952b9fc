//! The reference server behind a listener.

use futures_util::{SinkExt as _, StreamExt as _};
use kith_model::Server;
use kith_protocol::{ClientFrame, DeviceId, SUBPROTOCOL, UserId};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, mpsc},
    task::JoinSet,
};
use tokio_tungstenite::tungstenite::{
    Message,
    handshake::server::{ErrorResponse, Request, Response},
    http::{HeaderValue, StatusCode, header},
};

/// The reference server behind a listener.
pub(super) struct Model {
    pub address: SocketAddr,
    people: Arc<Mutex<BTreeMap<String, (UserId, DeviceId)>>>,
    pub token: Arc<AtomicU32>,
    pub refuse: Arc<AtomicU32>,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct Shared {
    server: Mutex<Server>,
    outs: Mutex<BTreeMap<u64, mpsc::UnboundedSender<String>>>,
    cut: Notify,
    connections: AtomicU64,
}

impl Model {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut model = Self {
            address: listener.local_addr().unwrap(),
            people: Arc::default(),
            token: Arc::default(),
            refuse: Arc::default(),
            shared: Arc::default(),
            _tasks: JoinSet::new(),
        };
        let (people, token) = (model.people.clone(), model.token.clone());
        let (refuse, shared) = (model.refuse.clone(), model.shared.clone());
        model._tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                if refuse.load(Ordering::Relaxed) == 0 {
                    connections.spawn(connection(stream, people.clone(), token.clone(), shared.clone()));
                }
            }
        });
        model
    }

    /// Somebody makes an account; the token is the name.
    pub fn sign_up(&self, name: String, user: UserId, device: DeviceId) {
        self.people.lock().unwrap().insert(name, (user, device));
        self.shared.server.lock().unwrap().sign_up(user);
    }

    /// Drops every connection without a word.
    pub async fn cut(&self) {
        self.shared.cut.notify_waiters();
        tokio::task::yield_now().await;
    }
}

#[expect(clippy::result_large_err, reason = "the library fixes the closure's type")]
async fn connection(
    stream: TcpStream,
    people: Arc<Mutex<BTreeMap<String, (UserId, DeviceId)>>>,
    token: Arc<AtomicU32>,
    shared: Arc<Shared>,
) {
    let mut who = None;
    let check = |request: &Request, mut response: Response| {
        let text = request.headers()[header::AUTHORIZATION].to_str().unwrap();
        let (name, version) = text.strip_prefix("Bearer ").and_then(|rest| rest.split_once(' ')).unwrap();
        if version != token.load(Ordering::Relaxed).to_string() {
            let body = serde_json::json!({ "code": "token_expired", "message": "" }).to_string();
            let mut refused = ErrorResponse::new(Some(body));
            *refused.status_mut() = StatusCode::UNAUTHORIZED;
            return Err(refused);
        }
        who = people.lock().unwrap().get(name).copied();
        response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
        Ok(response)
    };
    let Ok(socket) = tokio_tungstenite::accept_hdr_async(stream, check).await else { return };
    let (user, device) = who.expect("a known person");
    let number = shared.connections.fetch_add(1, Ordering::Relaxed) + 1;
    let (out, mut outgoing) = mpsc::unbounded_channel();
    shared.outs.lock().unwrap().insert(number, out);
    shared.server.lock().unwrap().connect(number, user, device);
    let (mut sink, mut source) = socket.split();
    loop {
        tokio::select! {
            () = shared.cut.notified() => break,
            Some(text) = outgoing.recv() => if sink.send(Message::text(text)).await.is_err() { break },
            message = source.next() => match message {
                Some(Ok(Message::Text(text))) => {
                    let received = ClientFrame::decode(&text).expect("a good frame");
                    let mut server = shared.server.lock().unwrap();
                    server.handle(number, received.frame, received.request);
                    let outs = shared.outs.lock().unwrap();
                    for (to, frame) in server.out.drain(..) {
                        if let Some(out) = outs.get(&to) {
                            let _ = out.send(frame.encode());
                        }
                    }
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Close(_)) | Err(_)) | None => break,
            },
        }
    }
    shared.server.lock().unwrap().disconnect(number);
    shared.outs.lock().unwrap().remove(&number);
}

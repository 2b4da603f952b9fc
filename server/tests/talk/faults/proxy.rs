//! The network between a server and its database: a proxy that passes bytes on, falls silent, or swallows one answer.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
    sync::watch,
    task::JoinHandle,
};
use url::Url;

/// PostgreSQL's word that it is ready, outside of a transaction.
const READY: &[u8] = b"Z\0\0\0\x05I";

struct Shared {
    socket: PathBuf,
    /// Whether nothing is passed on, and the number of the first connection that ever is.
    silent: watch::Sender<(bool, u64)>,
    connections: AtomicU64,
    /// The answer to what holds these bytes goes no further, and its connection is cut.
    swallow: Mutex<Option<Vec<u8>>>,
    swallowed: AtomicU64,
}

/// A proxy in front of a PostgreSQL that listens on a socket in a folder.
pub struct Proxy {
    /// The database's address by way of the proxy.
    pub url: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Proxy {
    pub async fn start(database: &str) -> Self {
        let url = Url::parse(database).unwrap();
        let folder = url.query_pairs().find(|(name, _)| name == "host").unwrap().1.into_owned();
        let socket = PathBuf::from(folder).join(format!(".s.PGSQL.{}", url.port().unwrap_or(5432)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let way = format!("postgres://{}@127.0.0.1:{port}{}?sslmode=disable", url.username(), url.path());
        let shared = Arc::new(Shared {
            socket,
            silent: watch::Sender::new((false, 0)),
            connections: AtomicU64::new(0),
            swallow: Mutex::default(),
            swallowed: AtomicU64::new(0),
        });
        let task = tokio::spawn(accept(listener, shared.clone()));
        Self { url: way, shared, task }
    }

    /// Drops nothing, passes nothing on: as a network that loses every packet.
    pub fn set_silent(&self, is_silent: bool) {
        self.shared.silent.send_modify(|silent| silent.0 = is_silent);
    }

    /// Simulates a failover: open connections stay silent for ever, new connections work.
    pub fn fail_over(&self) {
        let next = self.shared.connections.load(Ordering::Relaxed);
        self.shared.silent.send_modify(|silent| silent.1 = next);
    }

    /// Passes on the next request that holds these bytes, and not its answer.
    pub fn swallow_answer_to(&self, bytes: &str) {
        *self.shared.swallow.lock().unwrap() = Some(bytes.as_bytes().to_vec());
    }

    /// Returns that went no further.
    pub fn swallowed(&self) -> u64 {
        self.shared.swallowed.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((inside, _)) = listener.accept().await {
        let shared = shared.clone();
        tokio::spawn(async move {
            // The end of a connection, in whatever way.
            let number = shared.connections.fetch_add(1, Ordering::Relaxed);
            let _ = pass(inside, number, &shared).await;
        });
    }
}

fn holds(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|some| some == wanted)
}

impl Shared {
    async fn wait_while_silent(&self, number: u64) {
        let mut silent = self.silent.subscribe();
        let _ = silent.wait_for(|(is_silent, first)| !is_silent && *first <= number).await;
    }

    fn is_to_swallow(&self, asked: &[u8]) -> bool {
        let mut swallow = self.swallow.lock().unwrap();
        let is_it = swallow.as_ref().is_some_and(|wanted| holds(asked, wanted));
        if is_it {
            *swallow = None;
        }
        is_it
    }
}

async fn pass(mut inside: TcpStream, number: u64, shared: &Shared) -> std::io::Result<()> {
    let mut outside = UnixStream::connect(&shared.socket).await?;
    let (mut asks, mut answers) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    loop {
        tokio::select! {
            read = inside.read(&mut asks) => {
                let count = read?;
                shared.wait_while_silent(number).await;
                if count == 0 {
                    return Ok(());
                }
                let is_last = shared.is_to_swallow(&asks[..count]);
                outside.write_all(&asks[..count]).await?;
                if is_last {
                    let mut answer = Vec::new();
                    while !holds(&answer, READY) {
                        let count = outside.read(&mut answers).await?;
                        assert!(count > 0, "the database ended the connection");
                        answer.extend_from_slice(&answers[..count]);
                    }
                    shared.swallowed.fetch_add(1, Ordering::Relaxed);
                    return Ok(());
                }
            }
            read = outside.read(&mut answers) => {
                let count = read?;
                shared.wait_while_silent(number).await;
                if count == 0 {
                    return Ok(());
                }
                inside.write_all(&answers[..count]).await?;
            }
        }
    }
}

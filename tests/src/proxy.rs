//! A TCP proxy on loopback that a test can cut, stall and heal: the network between an engine and its server.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

/// What the network does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    Up,
    /// Bytes pass slowly: so many a second in each direction of each connection.
    Slow(u32),
    /// Nothing passes, nothing is cut: bytes wait until the network changes.
    Stalled,
    /// Connections are refused and open ones are cut.
    Down,
}

const NO_FUSE: i64 = i64::MAX;

/// What all connections of a proxy share.
struct Shared {
    network: watch::Receiver<Network>,
    cut: std::sync::Mutex<CancellationToken>,
    /// Ends passing, not the connections: they stay open and deaf.
    deafen: std::sync::Mutex<CancellationToken>,
    target: std::sync::Mutex<SocketAddr>,
    accepted: AtomicU64,
    /// Bytes until everything is cut.
    fuse: AtomicI64,
    /// What is written over in answers, and by what of the same length.
    replace: std::sync::Mutex<Option<(String, String)>>,
    replaced: AtomicU64,
}

/// A proxy in front of one address.
pub struct Proxy {
    address: SocketAddr,
    network: watch::Sender<Network>,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a free loopback port and passes everything on to `target`.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(target: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (network, state) = watch::channel(Network::Up);
        let shared = Arc::new(Shared {
            network: state,
            cut: std::sync::Mutex::default(),
            deafen: std::sync::Mutex::default(),
            target: std::sync::Mutex::new(target),
            accepted: AtomicU64::new(0),
            fuse: AtomicI64::new(NO_FUSE),
            replace: std::sync::Mutex::default(),
            replaced: AtomicU64::new(0),
        });
        let task = tokio::spawn(accept(listener, shared.clone()));
        Ok(Self { address, network, shared, task })
    }

    /// Where an engine connects.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Passes connections on to another address from here on (a restarted server).
    pub fn retarget(&self, target: SocketAddr) {
        *lock(&self.shared.target) = target;
    }

    /// Cuts every open connection; new ones pass.
    pub fn cut(&self) {
        self.shared.cut();
    }

    /// Cuts every open connection once so many more bytes have passed: in the middle of whatever passes then.
    pub fn cut_after(&self, bytes: u32) {
        self.shared.fuse.store(i64::from(bytes), Ordering::Relaxed);
    }

    /// Makes every open connection deaf: it stays open at both ends, and nothing passes ever again (a NAT that forgot it,
    /// a sleeping peer). New connections pass. Only a cut or an end's own patience ends it.
    pub fn half_open(&self) {
        std::mem::take(&mut *lock(&self.shared.deafen)).cancel();
    }

    /// Lets nothing pass, on open connections and new ones, until [`Self::up`].
    pub fn stall(&self) {
        self.network.send_replace(Network::Stalled);
    }

    /// Takes the network away: cuts what is open, refuses what comes.
    pub fn down(&self) {
        self.network.send_replace(Network::Down);
        self.cut();
    }

    /// Gives the network back.
    pub fn up(&self) {
        self.network.send_replace(Network::Up);
    }

    /// Lets only so many bytes a second pass, on open connections too.
    pub fn slow(&self, bytes_per_s: u32) {
        self.network.send_replace(Network::Slow(bytes_per_s));
    }

    /// Writes over a text in all that the target answers from here on, unless it is divided between two reads.
    ///
    /// # Panics
    /// For texts of different lengths: frames keep their length.
    pub fn replace(&self, text: &str, by: &str) {
        assert_eq!(text.len(), by.len());
        *lock(&self.shared.replace) = Some((text.to_owned(), by.to_owned()));
    }

    /// How often something was written over.
    pub fn replaced(&self) -> u64 {
        self.shared.replaced.load(Ordering::Relaxed)
    }

    /// Connections that have been passed on.
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.cut();
    }
}

fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Shared {
    fn cut(&self) {
        self.fuse.store(NO_FUSE, Ordering::Relaxed);
        std::mem::take(&mut *lock(&self.cut)).cancel();
    }

    /// How many of `count` bytes may pass before everything is cut; `None` while no fuse burns.
    fn burn(&self, count: usize) -> Option<usize> {
        if self.fuse.load(Ordering::Relaxed) == NO_FUSE {
            return None;
        }
        let count = i64::try_from(count).unwrap_or(NO_FUSE);
        let left = self.fuse.fetch_sub(count, Ordering::Relaxed);
        (left <= count).then(|| usize::try_from(left).unwrap_or_default())
    }

    fn write_over(&self, bytes: &mut [u8]) {
        let Some((text, by)) = lock(&self.replace).clone() else { return };
        let mut at = 0;
        while let Some(found) = bytes[at..].windows(text.len()).position(|some| some == text.as_bytes()) {
            let begin = at + found;
            at = begin + text.len();
            bytes[begin..at].copy_from_slice(by.as_bytes());
            self.replaced.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn wait_while_stalled(&self) {
        // The sender lives as long as the proxy.
        let _ = self.network.clone().wait_for(|network| *network != Network::Stalled).await;
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((inside, _)) = listener.accept().await {
        if *shared.network.borrow() == Network::Down {
            continue; // dropped at once: the engine sees a closed connection
        }
        shared.accepted.fetch_add(1, Ordering::Relaxed);
        let cut = lock(&shared.cut).clone();
        let shared = shared.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = connection(inside, &shared) => {}
                () = cut.cancelled() => {}
            }
        });
    }
}

async fn connection(mut inside: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let (target, deaf) = (*lock(&shared.target), lock(&shared.deafen).clone());
    shared.wait_while_stalled().await;
    let mut outside = TcpStream::connect(target).await?;
    outside.set_nodelay(true)?;
    inside.set_nodelay(true)?;
    {
        let ((from_inside, to_inside), (from_outside, to_outside)) = (inside.split(), outside.split());
        // The end of one direction is the end of the connection.
        tokio::select! {
            done = copy(from_inside, to_outside, shared, false) => return done,
            done = copy(from_outside, to_inside, shared, true) => return done,
            () = deaf.cancelled() => {}
        }
    }
    // An end that closes its half is not heard by the other one either.
    let mut nothing = tokio::io::sink();
    tokio::io::copy(&mut inside, &mut nothing).await?;
    std::future::pending().await
}

/// Passes bytes on until their end, as fast as the network is at that moment.
async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    shared: &Shared,
    is_answer: bool,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let state = *shared.network.borrow();
        let most = if let Network::Slow(_) = state { 512 } else { buffer.len() };
        let count = from.read(&mut buffer[..most]).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        shared.wait_while_stalled().await;
        if is_answer {
            shared.write_over(&mut buffer[..count]);
        }
        let state = *shared.network.borrow();
        if let Network::Slow(bytes_per_s) = state {
            tokio::time::sleep(Duration::from_secs_f64(count as f64 / f64::from(bytes_per_s))).await;
        }
        if let Some(last) = shared.burn(count) {
            to.write_all(&buffer[..last.min(count)]).await?;
            shared.cut();
            return Err(std::io::ErrorKind::ConnectionReset.into());
        }
        to.write_all(&buffer[..count]).await?;
    }
}

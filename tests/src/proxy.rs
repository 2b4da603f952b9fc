//! A TCP proxy on loopback that a test can cut, stall and heal: the network between an engine and its server.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
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
    /// Bytes pass.
    Up,
    /// Bytes pass slowly: so many a second in each direction of each connection.
    Slow(u32),
    /// Connections are refused and open ones are cut.
    Down,
}

/// A proxy in front of one address.
pub struct Proxy {
    address: SocketAddr,
    network: watch::Sender<Network>,
    cut: Arc<std::sync::Mutex<CancellationToken>>,
    target: Arc<std::sync::Mutex<SocketAddr>>,
    accepted: Arc<AtomicU64>,
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
        let cut = Arc::new(std::sync::Mutex::new(CancellationToken::new()));
        let target = Arc::new(std::sync::Mutex::new(target));
        let accepted = Arc::new(AtomicU64::new(0));
        let task = tokio::spawn(accept(listener, state, cut.clone(), target.clone(), accepted.clone()));
        Ok(Self { address, network, cut, target, accepted, task })
    }

    /// Where an engine connects.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Passes connections on to another address from here on (a restarted server).
    pub fn retarget(&self, target: SocketAddr) {
        *lock(&self.target) = target;
    }

    /// Cuts every open connection; new ones pass.
    pub fn cut(&self) {
        std::mem::replace(&mut *lock(&self.cut), CancellationToken::new()).cancel();
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

    /// Connections that have been passed on.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
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

async fn accept(
    listener: TcpListener,
    network: watch::Receiver<Network>,
    cut: Arc<std::sync::Mutex<CancellationToken>>,
    target: Arc<std::sync::Mutex<SocketAddr>>,
    accepted: Arc<AtomicU64>,
) {
    while let Ok((mut inside, _)) = listener.accept().await {
        if *network.borrow() == Network::Down {
            continue; // dropped at once: the engine sees a closed connection
        }
        accepted.fetch_add(1, Ordering::Relaxed);
        let (cut, target, network) = (lock(&cut).clone(), *lock(&target), network.clone());
        tokio::spawn(async move {
            let pass = async {
                let mut outside = TcpStream::connect(target).await?;
                outside.set_nodelay(true)?;
                inside.set_nodelay(true)?;
                let ((from_inside, to_inside), (from_outside, to_outside)) =
                    (inside.split(), outside.split());
                // The end of one direction is the end of the connection.
                tokio::select! {
                    done = copy(from_inside, to_outside, &network) => done,
                    done = copy(from_outside, to_inside, &network) => done,
                }
            };
            tokio::select! {
                _ = pass => {}
                () = cut.cancelled() => {}
            }
        });
    }
}

/// Passes bytes on until their end, as fast as the network is at that moment.
async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    network: &watch::Receiver<Network>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let state = *network.borrow();
        let most = if let Network::Slow(_) = state { 512 } else { buffer.len() };
        let count = from.read(&mut buffer[..most]).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        let state = *network.borrow();
        if let Network::Slow(bytes_per_s) = state {
            tokio::time::sleep(Duration::from_secs_f64(count as f64 / f64::from(bytes_per_s))).await;
        }
        to.write_all(&buffer[..count]).await?;
    }
}

//! Several instances of one database (L4): real processes, and a real NATS between them.

mod incarnations;
mod load;
mod member;
mod operations;
mod tls;

use kith_server::{Config, config::BusConfig};
use std::{
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::Stdio,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
    time::{sleep, timeout},
};

/// A process that does not start in this time does not start at all.
const STARTED_WITHIN: Duration = Duration::from_secs(40);

/// Where NATS is; `None` where it is missing and `KITH_TEST_WITHOUT_NATS` is set, as `cargo xtask test` sets it then.
///
/// # Panics
/// If it is missing and nobody said so: a test that checks nothing must not pass.
fn program() -> Option<PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/usr/local/bin", "/opt/homebrew/bin"].map(PathBuf::from);
    let found = std::env::split_paths(&paths)
        .chain(usual)
        .map(|dir| dir.join("nats-server"))
        .find(|path| path.is_file());
    if found.is_none() {
        let is_expected = std::env::var_os("KITH_TEST_WITHOUT_NATS").is_some();
        assert!(is_expected, "nats-server is not installed: install it, or set KITH_TEST_WITHOUT_NATS=1");
        println!("SKIPPED: nats-server is not installed, so nothing was tried between several instances");
        eprintln!("SKIPPED: nats-server is not installed, so nothing was tried between several instances");
    }
    found
}

/// An address on which nobody listens.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

async fn until_listening(address: SocketAddr) {
    let listening = async {
        while TcpStream::connect(address).await.is_err() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(STARTED_WITHIN, listening).await.expect("nobody listens");
}

/// NATS, killed with this value.
struct Nats {
    program: PathBuf,
    address: SocketAddr,
    child: Option<Child>,
}

impl Nats {
    /// Starts it on a free port, with a user.
    async fn start() -> Option<Self> {
        let mut nats = Self { program: program()?, address: free(), child: None };
        nats.up().await;
        Some(nats)
    }

    async fn up(&mut self) {
        let mut command = Command::new(&self.program);
        command.args(["--addr", "127.0.0.1", "--port", &self.address.port().to_string()]);
        command.args(["--user", "kith", "--pass", "sesame+open"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        self.child = Some(command.spawn().unwrap());
        until_listening(self.address).await;
    }

    async fn kill(&mut self) {
        self.child.take().unwrap().kill().await.unwrap();
    }

    fn url(&self) -> String {
        format!("nats://kith:sesame%2Bopen@{}", self.address)
    }

    /// Settings of a server in this process.
    fn config(&self) -> Config {
        let bus =
            BusConfig { url: self.url().parse().unwrap(), prefix: "kith-test".to_owned(), ca_file: None };
        Config { bus: Some(bus), ..Config::for_tests() }
    }
}

/// An instance: a process, killed with this value.
struct Instance {
    database: String,
    bus: String,
    pub address: SocketAddr,
    metrics: SocketAddr,
    child: Child,
}

impl Instance {
    async fn start(database: &str, nats: &Nats) -> Self {
        let (address, metrics) = (free(), free());
        let child = Self::spawn(database, &nats.url(), address, metrics).await;
        Self { database: database.to_owned(), bus: nats.url(), address, metrics, child }
    }

    async fn spawn(database: &str, bus: &str, address: SocketAddr, metrics: SocketAddr) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kith-server"));
        command.arg("serve").env("DATABASE_URL", database).env("KITH_BUS", bus);
        command.env("KITH_BUS_PREFIX", "kith-test").env("KITH_DATABASE_CONNECTIONS", "10");
        command.env("KITH_LISTEN", address.to_string()).env("KITH_METRICS_LISTEN", metrics.to_string());
        command.env("KITH_LOG", std::env::var("KITH_TEST_LOG").unwrap_or_else(|_| "error".to_owned()));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = timeout(STARTED_WITHIN, lines.next_line()).await.unwrap().unwrap();
        assert!(line.is_some_and(|line| line.contains("listening on")), "it ended before it listened");
        child
    }

    /// Ends it as an operator would, waits, and starts it again at the same addresses.
    async fn restart(&mut self) {
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
        assert!(timeout(STARTED_WITHIN, self.child.wait()).await.unwrap().unwrap().success());
        self.child = Self::spawn(&self.database, &self.bus, self.address, self.metrics).await;
    }

    /// A number that it counts.
    async fn metric(&self, name: &str) -> u64 {
        let text =
            reqwest::get(format!("http://{}/metrics", self.metrics)).await.unwrap().text().await.unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        // What never happened has no line.
        line.map_or(0, |number| number.parse().unwrap())
    }
}

/// Waits until each hears the others.
async fn until_together(instances: &[Instance]) {
    for instance in instances {
        until(&format!("{} hears the others", instance.address), async || {
            instance.metric("kith_bus_instances").await == instances.len() as u64 - 1
        })
        .await;
    }
}

/// Waits for a fact.
async fn until(what: &str, mut fact: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !fact().await {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(30), waiting).await.unwrap_or_else(|_| panic!("{what}: not in time"));
}

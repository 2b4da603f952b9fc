//! What several instances cost: the same load on one server without a bus, and on two with NATS between them, where each
//! writer is at one and its reader at the other.

use crate::{
    load::{self, Wire},
    people,
    server::{Running, cpu_of},
    verdict::{Judgement, Target, conclude},
};
use anyhow::{Context, Result};
use serde::Serialize;
use std::{
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::Stdio,
    time::Duration,
};
use tokio::{
    net::TcpStream,
    process::{Child, Command},
    time::{sleep, timeout},
};

/// Messages a second of the open loop.
const OPEN_RATE: u64 = 500;
/// Of the rate of talks at one instance.
const ACROSS_LEAST: f64 = 0.7;
const NATS_WITHIN: Duration = Duration::from_secs(10);

/// A NATS server of one's own.
struct Nats {
    child: Child,
    address: SocketAddr,
}

impl Nats {
    async fn start() -> Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let installed = PathBuf::from("/usr/sbin/nats-server");
        let program = if installed.is_file() { installed } else { PathBuf::from("nats-server") };
        let child = Command::new(program)
            .args(["--addr", "127.0.0.1", "--port", &address.port().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("nats-server does not start; on Debian: apt-get install nats-server")?;
        let listening = async {
            while TcpStream::connect(address).await.is_err() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(NATS_WITHIN, listening).await.context("nats-server does not listen")?;
        Ok(Self { child, address })
    }

    fn cpu_seconds(&self) -> Result<f64> {
        cpu_of(self.child.id().context("nats-server has ended")?)
    }
}

/// What `bench bus` takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The server's binary.
    #[arg(long, env = "KITH_SERVER")]
    server: PathBuf,
    /// Pairs of people, writer and reader at different instances.
    #[arg(long, default_value_t = 200)]
    pairs: usize,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    #[command(flatten)]
    judgement: Judgement,
}

/// What one of the two showed.
#[derive(Debug, Serialize)]
struct Figures {
    /// Messages a second where both write in turns.
    talk: f64,
    /// Lost, doubled, out of order.
    faults: u64,
}

/// `bench bus`
pub async fn run(arguments: &Arguments) -> Result<()> {
    let (server, pairs) = (arguments.server.as_path(), arguments.pairs);
    let during = Duration::from_secs(arguments.seconds);
    println!("{:<28}{:>10}{:>10}  CPU-s per 10,000, depth 1 / 16 / 500 a second", "", "depth 1", "depth 16");
    let alone = Running::start(server).await?;
    let one = measure("one instance", [&alone, &alone], None, pairs, during).await?;
    alone.stop().await?;
    let nats = Nats::start().await?;
    let bus = format!("nats://{}", nats.address);
    let first = Running::start_on_bus(server, &bus).await?;
    let second = first.another_on_bus(server, &bus).await?;
    let two = measure("two instances", [&first, &second], Some(&nats), pairs, during).await?;
    second.stop().await?;
    first.stop().await?;
    let across = two.talk / one.talk;
    let targets = [
        Target::at_least("talks across instances, × those at one", across, ACROSS_LEAST),
        Target::at_most("lost, doubled, out of order", (one.faults + two.faults) as f64, 0.0),
    ];
    conclude(&arguments.judgement, &[one, two], &targets)
}

async fn measure(
    name: &str,
    [at, to]: [&Running; 2],
    nats: Option<&Nats>,
    pairs: usize,
    during: Duration,
) -> Result<Figures> {
    let people = people::sign_up(&at.url, pairs * 2).await?;
    let pairs = load::connect_pairs_between([&at.url, &to.url], Wire::Kith, &people).await?;
    let cpu = || -> Result<(f64, f64)> {
        let other = if at.url == to.url { 0.0 } else { to.cpu_seconds()? };
        let bus = nats.map_or(Ok(0.0), Nats::cpu_seconds)?;
        Ok((at.cpu_seconds()? + other + bus, bus))
    };
    let (mut rates, mut costs, mut of_bus, mut wrong) = (Vec::new(), Vec::new(), Vec::new(), (0, 0, 0));
    for depth in [1, 16] {
        let before = cpu()?;
        let closed = load::closed_loop(&pairs, depth, during).await?;
        let after = cpu()?;
        let ten_thousands = closed.acknowledged as f64 / 10_000.0;
        rates.push(closed.acknowledged as f64 / closed.seconds);
        costs.push((after.0 - before.0) / ten_thousands);
        of_bus.push((after.1 - before.1) / ten_thousands);
        wrong = (wrong.0 + closed.lost, wrong.1 + closed.doubled, wrong.2 + closed.disordered);
    }
    let before = cpu()?;
    let delivery = load::open_loop(&pairs, OPEN_RATE, during).await?;
    let after = cpu()?;
    let ten_thousands = OPEN_RATE as f64 * during.as_secs_f64() / 10_000.0;
    costs.push((after.0 - before.0) / ten_thousands);
    of_bus.push((after.1 - before.1) / ten_thousands);
    println!(
        "{name:<28}{:>10.0}{:>10.0}  {:.2} / {:.2} / {:.2} (NATS {:.2} / {:.2} / {:.2})",
        rates[0], rates[1], costs[0], costs[1], costs[2], of_bus[0], of_bus[1], of_bus[2]
    );
    let talk = load::talk(&pairs, during).await?;
    println!("{:<28}both write, in turns: {talk:.0} messages/s", "");
    println!("{:<28}delivery at {OPEN_RATE}/s: p50 / p99 / p99.9, ms: {}", "", delivery.percentiles());
    println!("{:<28}lost / doubled / out of order: {} / {} / {}", "", wrong.0, wrong.1, wrong.2);
    Ok(Figures { talk, faults: wrong.0 + wrong.1 + wrong.2 })
}

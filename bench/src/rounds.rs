//! Rounds: everybody is measured in each, in turns, and only figures of one round are compared. A machine that is slow in
//! one round is slow for all of them.

mod judge;

use crate::{
    fill::fill,
    load::{self, Closed, Wire},
    people::{self, Person},
    rivals::{self, Rival},
    server::Running,
    verdict::{Judgement, conclude},
};
use anyhow::{Context, Result, bail, ensure};
use kith_protocol::{DeviceId, UserId};
use serde::Serialize;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// What `bench server` takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Kith's binary.
    #[arg(long, env = "KITH_SERVER")]
    server: PathBuf,
    /// Pairs of people who write to each other: so many that none of them meets the limit of a device's rate.
    #[arg(long, default_value_t = 400)]
    pairs: usize,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Kith once more, with readers who tell what was delivered and read, markers at most every 500 ms.
    #[arg(long)]
    receipts: bool,
    /// An earlier build of Kith's server, measured in the same rounds: none of its figures may be 5 % better. It needs
    /// `--rows 0`, for its schema may be another one.
    #[arg(long, value_name = "FILE")]
    before: Option<PathBuf>,
    /// Undisturbed rounds.
    #[arg(long, default_value_t = 8)]
    rounds: usize,
    /// Messages of others that are in each database before the first round.
    #[arg(long, default_value_t = 10_000_000)]
    rows: u64,
    /// The repository, for the Node server in bench/socketio; left out if its packages are not installed.
    #[arg(long, default_value = ".")]
    root: PathBuf,
    #[command(flatten)]
    judgement: Judgement,
}

const KITH: &str = "Kith";
/// Kith whose readers confirm.
const WITH_RECEIPTS: &str = "Kith, receipts";
/// An earlier build of Kith.
const BEFORE: &str = "Kith before";
/// Disturbed rounds that are thrown away before it is given up.
const DISTURBED_MAX: usize = 6;
/// Messages a second of the open loops.
const OPEN_RATES: [u64; 2] = [500, 2_000];
/// Foreign and stolen CPU time above this share of the machine disturbs a measurement.
const DISTURBED_SHARE: f64 = 0.10;

/// Somebody under measurement.
struct Runner {
    name: &'static str,
    rival: Option<Rival>,
    running: Running,
    people: Vec<Person>,
}

impl Runner {
    async fn of_kith(name: &'static str, binary: &Path, count: usize) -> Result<Self> {
        let running = Running::start(binary).await?;
        let people = people::sign_up(&running.url, count).await?;
        Ok(Self { name, rival: None, running, people })
    }
}

/// What one of them showed in one round.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    pub name: String,
    /// Durable messages a second at a depth of 1 and of 16.
    pub rate: [f64; 2],
    /// CPU-seconds of server and database for 10,000 messages: depth 1, depth 16, 500 and 2,000 a second.
    pub cpu: [f64; 4],
    /// Delivery at 500 a second, ms: p50, p99, p99.9.
    pub delivery: [f64; 3],
    /// The same at 2,000 a second.
    pub busy: [f64; 3],
    /// p99 of the last quarter of it as a multiple of that of the first: more where a queue grows.
    pub growth: f64,
    pub lost: u64,
    pub doubled: u64,
    pub disordered: u64,
    /// Pairs of which no marker came to the writer.
    pub without_markers: u64,
    /// The share of the machine that others took while it ran, at most.
    pub foreign: f64,
}

/// `bench server`
pub async fn run(arguments: &Arguments) -> Result<()> {
    ensure!(arguments.before.is_none() || arguments.rows == 0, "--before needs --rows 0");
    let mut runners = start(arguments).await?;
    let played = play(arguments, &mut runners).await;
    // However it went: what was started is ended, and what that started too.
    for runner in runners {
        runner.running.stop().await?;
    }
    let (rounds, disturbed) = played?;
    judge::table(&rounds, disturbed);
    conclude(&arguments.judgement, &rounds, &judge::targets(&rounds))
}

/// The undisturbed rounds, and how many others there were.
async fn play(arguments: &Arguments, runners: &mut [Runner]) -> Result<(Vec<Vec<Figures>>, usize)> {
    for runner in &*runners {
        fill(&runner.running, runner.rival, arguments.rows).await?;
    }
    let (mut rounds, mut disturbed) = (Vec::new(), 0);
    while rounds.len() < arguments.rounds {
        let mut round = Vec::new();
        for runner in &mut *runners {
            if runner.rival.is_none() {
                runner.people = people::renew(&runner.running.url, &runner.people).await?;
            }
            let figures = measure(runner, Duration::from_secs(arguments.seconds)).await?;
            println!("{}", line(&figures));
            round.push(figures);
        }
        // Who is first in one round is last in the next.
        runners.rotate_left(1);
        let most = round.iter().map(|figures| figures.foreign).fold(0.0, f64::max);
        if most > DISTURBED_SHARE && !arguments.judgement.is_short() {
            disturbed += 1;
            println!("thrown away: others took {:.0} % of the machine", most * 100.0);
            if disturbed > DISTURBED_MAX {
                bail!("the machine is not quiet");
            }
            continue;
        }
        rounds.push(round);
    }
    Ok((rounds, disturbed))
}

async fn start(arguments: &Arguments) -> Result<Vec<Runner>> {
    let count = arguments.pairs * 2;
    let mut builds = vec![(KITH, &arguments.server)];
    builds.extend(arguments.receipts.then_some((WITH_RECEIPTS, &arguments.server)));
    builds.extend(arguments.before.as_ref().map(|binary| (BEFORE, binary)));
    let mut runners = Vec::new();
    for (name, binary) in builds {
        runners.push(Runner::of_kith(name, binary, count).await?);
    }
    let socketio = rivals::installed_socketio(&arguments.root);
    if socketio.is_none() {
        println!("SKIPPED: Socket.IO is not installed (npm ci in bench/socketio)");
    }
    let strangers: Vec<Person> = (0..count).map(|_| stranger()).collect();
    for rival in [Rival::Raw, Rival::Lean, Rival::Socketio] {
        if rival == Rival::Socketio && socketio.is_none() {
            continue;
        }
        let running = Running::start_rival(rival, socketio.as_deref()).await?;
        runners.push(Runner { name: rival.name(), rival: Some(rival), running, people: strangers.clone() });
    }
    Ok(runners)
}

/// Somebody whom a rival lets in under their own word.
fn stranger() -> Person {
    let user = UserId::mint();
    Person::known(user, DeviceId::mint(), user.to_string())
}

async fn measure(runner: &Runner, during: Duration) -> Result<Figures> {
    // Anew each time: whoever waits for its turn reads nothing, and is closed for it.
    let wire = if runner.rival == Some(Rival::Socketio) { Wire::SocketIo } else { Wire::Kith };
    let pairs = if runner.name == WITH_RECEIPTS {
        load::connect_pairs_with_receipts(&runner.running.url, &runner.people).await?
    } else {
        load::connect_pairs(&runner.running.url, wire, &runner.people).await?
    };
    let mut figures = Figures {
        name: runner.name.to_owned(),
        rate: [0.0; 2],
        cpu: [0.0; 4],
        delivery: [0.0; 3],
        busy: [0.0; 3],
        growth: 0.0,
        lost: 0,
        doubled: 0,
        disordered: 0,
        without_markers: 0,
        foreign: 0.0,
    };
    for (at, depth) in [1, 16].into_iter().enumerate() {
        let watch = Watch::start(&runner.running)?;
        let Closed { acknowledged, without_markers, seconds, lost, doubled, disordered } =
            load::closed_loop(&pairs, depth, during).await?;
        let (cpu, foreign) = watch.end(&runner.running)?;
        figures.rate[at] = acknowledged as f64 / seconds;
        figures.cpu[at] = cpu / acknowledged as f64 * 10_000.0;
        figures.foreign = figures.foreign.max(foreign);
        figures.lost += lost;
        figures.doubled += doubled;
        figures.disordered += disordered;
        figures.without_markers += without_markers;
    }
    for (at, rate) in OPEN_RATES.into_iter().enumerate() {
        let watch = Watch::start(&runner.running)?;
        let delivery = load::open_loop(&pairs, rate, during).await?;
        let (cpu, foreign) = watch.end(&runner.running)?;
        figures.cpu[2 + at] = cpu / (rate as f64 * during.as_secs_f64()) * 10_000.0;
        let quantiles = [0.5, 0.99, 0.999].map(|quantile| delivery.at(quantile));
        *[&mut figures.delivery, &mut figures.busy][at] = quantiles;
        figures.growth = delivery.growth();
        figures.foreign = figures.foreign.max(foreign);
    }
    Ok(figures)
}

fn line(figures: &Figures) -> String {
    let Figures {
        name,
        rate,
        cpu,
        delivery,
        busy,
        growth,
        lost,
        doubled,
        disordered,
        without_markers,
        foreign,
    } = figures;
    let cpu: String = cpu.iter().map(|one| format!("{one:>6.2}")).collect();
    let three = |of: &[f64; 3]| format!("{:>6.2}{:>7.2}{:>7.2}", of[0], of[1], of[2]);
    format!(
        "{name:<16}{:>9.0}{:>9.0} /s  CPU {cpu}  500/s {} ms  2,000/s {} ms, growing {growth:.1}  lost {lost} doubled {doubled} disordered {disordered} without markers {without_markers}  others {:.0} %",
        rate[0],
        rate[1],
        three(delivery),
        three(busy),
        foreign * 100.0
    )
}

/// What the machine did while somebody was measured.
pub struct Watch {
    machine: Machine,
    server: f64,
    own: f64,
}

impl Watch {
    pub fn start(running: &Running) -> Result<Self> {
        Ok(Self { machine: Machine::now()?, server: running.cpu_seconds()?, own: own_seconds()? })
    }

    /// CPU-seconds of the server, and the share of the machine that others took.
    pub fn end(self, running: &Running) -> Result<(f64, f64)> {
        let (machine, server) = (Machine::now()?, running.cpu_seconds()? - self.server);
        let (busy, all) = (machine.busy - self.machine.busy, machine.all - self.machine.all);
        let known = server + own_seconds()? - self.own;
        Ok((server, ((busy - known) / all).max(0.0)))
    }
}

/// CPU-seconds since the machine started, all cores together: in use or stolen, and in all.
struct Machine {
    busy: f64,
    all: f64,
}

impl Machine {
    fn now() -> Result<Self> {
        let stat = std::fs::read_to_string("/proc/stat")?;
        let line = stat.lines().next().context("no first line")?;
        // proc(5): user nice system idle iowait irq softirq steal.
        let ticks: Vec<f64> = line.split_whitespace().skip(1).take(8).flat_map(str::parse).collect();
        let all: f64 = ticks.iter().sum::<f64>() / 100.0;
        let idle = ticks.iter().skip(3).take(2).sum::<f64>() / 100.0;
        Ok(Self { busy: all - idle, all })
    }
}

/// CPU-seconds of the load itself.
fn own_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, rest) = stat.rsplit_once(')').context("no name")?;
    let ticks = rest.split_whitespace().skip(11).take(2).flat_map(str::parse::<f64>);
    Ok(ticks.sum::<f64>() / 100.0)
}

//! A reconnect storm: everybody is cut off at once and comes back as clients do, while a few others talk.

use super::{Member, befriend, gather, raise_open_files, talk::Talk};
use crate::{
    rounds::Watch,
    server::{End, Running},
    verdict::{Judgement, Target, conclude},
};
use anyhow::{Context, Result};
use kith_protocol::{ServerFrame, limits};
use rand::RngExt;
use serde::Serialize;
use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::timeout,
};

/// P6: seconds until everybody has heads again.
const SERVED_WITHIN: f64 = 30.0;
/// P6: p99 of a client's wait for its heads, seconds.
const HEADS_MAX: f64 = 5.0;
/// P6: p99 of everybody else's delivery meanwhile, ms.
const OTHERS_MAX: f64 = 100.0;
/// Pairs that talk meanwhile.
const TALKERS: usize = 5;
/// How long they talk before anything happens: what they wait then is for comparison.
const CALM: Duration = Duration::from_secs(5);
/// Between two first connections.
const STEP: Duration = Duration::from_millis(2);
/// Whoever is not back by then does not come back.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(180);

/// What `bench storm` takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Kith's binary.
    #[arg(long, env = "KITH_SERVER")]
    server: PathBuf,
    /// Connections that are cut.
    #[arg(long, default_value_t = 10_000)]
    count: usize,
    #[command(flatten)]
    judgement: Judgement,
}

/// How everybody came back.
#[derive(Debug, Serialize)]
struct Return {
    /// From the cut until the last one had heads, seconds.
    served_s: f64,
    /// From a client's first try until its heads, seconds: p50, p99, the longest.
    heads_s: [f64; 3],
    /// Tries that failed and were made again.
    failed_tries: u32,
    /// CPU-seconds of server and database for 1,000 of them.
    cpu: f64,
    /// The share of the machine that others took.
    foreign: f64,
}

#[derive(Debug, Serialize)]
struct Figures {
    connections: usize,
    /// Delivery between the others, ms: p50, p99, the longest; before, and from the cut until all were back.
    others_before: [f64; 3],
    others_meanwhile: [f64; 3],
    cut: Return,
    restarted: Return,
}

/// `bench storm`
pub async fn run(arguments: &Arguments) -> Result<()> {
    raise_open_files(arguments.count + 500)?;
    let mut running = Running::start(&arguments.server).await?;
    let measured = measure(&mut running, arguments.count).await;
    running.stop().await?;
    let figures = measured?;
    let three = |of: &[f64; 3]| format!("{:.2} / {:.2} / {:.2}", of[0], of[1], of[2]);
    for (what, back) in [("sockets cut", &figures.cut), ("server restarted", &figures.restarted)] {
        let Return { served_s, heads_s, failed_tries, cpu, foreign } = back;
        println!(
            "{} {what}: all back after {served_s:.1} s; heads p50 / p99 / max {} s; {failed_tries} failed tries; {cpu:.2} CPU-s per 1,000; others took {:.0} %",
            figures.connections,
            three(heads_s),
            foreign * 100.0
        );
    }
    println!(
        "delivery between {TALKERS} other pairs p50 / p99 / max, ms: {} before, {} from the cut until all were back",
        three(&figures.others_before),
        three(&figures.others_meanwhile)
    );
    let Figures { cut, restarted, .. } = &figures;
    let targets = [
        Target::at_most("P6 sockets cut: all served within, s", cut.served_s, SERVED_WITHIN),
        Target::at_most("P6 sockets cut: p99 of heads, s", cut.heads_s[1], HEADS_MAX),
        Target::at_most(
            "P6 sockets cut: p99 of others' delivery, ms",
            figures.others_meanwhile[1],
            OTHERS_MAX,
        ),
        Target::at_most("P6 server restarted: all served within, s", restarted.served_s, SERVED_WITHIN),
        Target::at_most("P6 server restarted: p99 of heads, s", restarted.heads_s[1], HEADS_MAX),
    ];
    conclude(&arguments.judgement, &figures, &targets)
}

async fn measure(running: &mut Running, count: usize) -> Result<Figures> {
    let all = gather(running, count + 2 * TALKERS).await?;
    befriend(running, &all).await?;
    let (talkers, people) = all.split_at(2 * TALKERS);
    let address = running.address()?;
    let mut crowd = Crowd::enter(people, address, (0..).map(|number| STEP * number)).await?;

    let talk = Talk::start(address, talkers).await?;
    tokio::time::sleep(CALM).await;
    let others_before = talk.waits();
    let (watch, began) = (Watch::start(running)?, Instant::now());
    // Whoever is cut off just goes: nobody closes in order.
    crowd.cut().await?;
    crowd = Crowd::enter(people, address, std::iter::repeat_with(first_wait)).await?;
    let others_meanwhile = talk.waits();
    let cut = crowd.told(began, watch.end(running)?)?;
    talk.end().await?;

    let began = Instant::now();
    running.end(End::InOrder).await?;
    let waits = crowd.farewells().await?;
    // What the server said counts from when it said it.
    let passed = began.elapsed();
    running.start_again().await?;
    let watch = Watch::start(running)?;
    let waits = waits.into_iter().map(move |wait| wait.saturating_sub(passed));
    let crowd = Crowd::enter(people, address, waits).await?;
    let restarted = crowd.told(began, watch.end(running)?)?;
    Ok(Figures { connections: count, others_before, others_meanwhile, cut, restarted })
}

/// How long a client waits before its first try.
fn first_wait() -> Duration {
    limits::RECONNECT_FIRST_MAX.mul_f64(rand::rng().random())
}

/// And before the next one, after so many failed.
fn next_wait(failed: u32) -> Duration {
    let base = Duration::from_secs(1 << failed.saturating_sub(1).min(6)).min(limits::RECONNECT_MAX);
    base / 2 + (base / 2).mul_f64(rand::rng().random())
}

/// Everybody who is connected.
struct Crowd {
    people: JoinSet<Duration>,
    /// Nobody reads any more once this is true.
    cut: watch::Sender<bool>,
    arrivals: Vec<Arrival>,
    last: Instant,
}

struct Arrival {
    waited: Duration,
    failed: u32,
}

impl Crowd {
    /// Everybody connects after a wait of their own, and again until it works.
    async fn enter(
        people: &[Arc<Member>],
        address: SocketAddr,
        waits: impl Iterator<Item = Duration>,
    ) -> Result<Self> {
        let (cut, is_cut) = watch::channel(false);
        let (arrived, mut arriving) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        for (one, wait) in people.iter().zip(waits) {
            tasks.spawn(stay(Arc::clone(one), address, wait, arrived.clone(), is_cut.clone()));
        }
        drop(arrived);
        let mut arrivals = Vec::with_capacity(people.len());
        let all = async {
            while arrivals.len() < people.len() {
                arrivals.push(arriving.recv().await.context("somebody went away")?);
            }
            anyhow::Ok(())
        };
        timeout(GIVEN_UP_AFTER, all).await.context("somebody did not come")??;
        Ok(Self { people: tasks, cut, arrivals, last: Instant::now() })
    }

    /// All sockets go at once.
    async fn cut(mut self) -> Result<()> {
        self.cut.send_replace(true);
        while let Some(done) = self.people.join_next().await {
            done?;
        }
        Ok(())
    }

    /// Waits until the server has sent everybody away. Returns after how long each is to come back.
    async fn farewells(mut self) -> Result<Vec<Duration>> {
        let mut waits = Vec::new();
        while let Some(wait) = self.people.join_next().await {
            waits.push(wait?);
        }
        Ok(waits)
    }

    fn told(&self, began: Instant, (cpu, foreign): (f64, f64)) -> Result<Return> {
        let mut waits: Vec<f64> = self.arrivals.iter().map(|one| one.waited.as_secs_f64()).collect();
        waits.sort_by(f64::total_cmp);
        let count = waits.len();
        let last = waits.last().copied().context("nobody came")?;
        Ok(Return {
            served_s: self.last.duration_since(began).as_secs_f64(),
            heads_s: [waits[count / 2], waits[count * 99 / 100], last],
            failed_tries: self.arrivals.iter().map(|one| one.failed).sum(),
            cpu: cpu / count as f64 * 1_000.0,
            foreign,
        })
    }
}

/// Connects, and stays until the connection ends. Returns how long the server wants to be left alone.
async fn stay(
    one: Arc<Member>,
    address: SocketAddr,
    wait: Duration,
    arrived: mpsc::UnboundedSender<Arrival>,
    mut cut: watch::Receiver<bool>,
) -> Duration {
    tokio::time::sleep(wait).await;
    let (first, mut failed) = (Instant::now(), 0);
    let mut live = loop {
        match one.connect(address).await {
            Ok(live) => break live,
            Err(_) => {
                failed += 1;
                tokio::time::sleep(next_wait(failed)).await;
            }
        }
    };
    // Nobody listens any more when it was given up.
    let _ = arrived.send(Arrival { waited: first.elapsed(), failed });
    drop(arrived);
    let mut wait = None;
    loop {
        tokio::select! {
            _ = cut.wait_for(|cut| *cut) => return Duration::ZERO,
            frame = live.frame() => match frame {
                Ok(ServerFrame::Bye(bye)) => wait = Some(Duration::from_millis(bye.after_ms)),
                Ok(_) => {}
                Err(_) => return wait.unwrap_or_else(first_wait),
            }
        }
    }
}

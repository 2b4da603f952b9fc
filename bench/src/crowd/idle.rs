//! Idle connections: what each costs, and how fast they come.

use super::{Live, Member, befriend, gather, raise_open_files};
use crate::{
    rounds::Watch,
    server::{End, Running},
    verdict::{Judgement, Target, conclude},
};
use anyhow::Result;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;

/// P6: KB of resident memory.
const KB_MAX: f64 = 13.0;
/// P6: connections a second, with hello and heads.
const RATE_MIN: f64 = 1_500.0;
/// Connections before anything is measured: what the process needs once and not for each.
const WARM: usize = 100;
/// After that long nothing of the handshake is under way any more.
const SETTLED_AFTER: Duration = Duration::from_secs(3);

/// What `bench idle` takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Kith's binary.
    #[arg(long, env = "KITH_SERVER")]
    server: PathBuf,
    /// Connections.
    #[arg(long, default_value_t = 10_000)]
    count: usize,
    /// How many connect at the same time.
    #[arg(long, default_value_t = 64)]
    at_once: usize,
    #[command(flatten)]
    judgement: Judgement,
}

#[derive(Debug, Serialize)]
struct Figures {
    connections: usize,
    /// Connections with hello and heads a second.
    per_second: f64,
    /// CPU-seconds of server and database for 1,000 of them.
    cpu: f64,
    /// Resident memory of the server for each, KB.
    kb_each: f64,
    /// Resident memory of the server before, KB.
    kb_before: u64,
    /// CPU-seconds a second of server and database while nothing happens.
    idle_cpu: f64,
    /// The share of the machine that others took.
    foreign: f64,
}

/// `bench idle`
pub async fn run(arguments: &Arguments) -> Result<()> {
    raise_open_files(arguments.count + 500)?;
    let mut running = Running::start(&arguments.server).await?;
    let measured = measure(&mut running, arguments).await;
    running.stop().await?;
    let figures = measured?;
    println!(
        "{} connections, {} at a time: {:.0}/s with hello and heads, {:.2} CPU-s of server and database per 1,000",
        figures.connections, arguments.at_once, figures.per_second, figures.cpu
    );
    println!(
        "{:.1} KB resident each, {} KB before; {:.3} CPU-s a second while idle; others took {:.0} %",
        figures.kb_each,
        figures.kb_before,
        figures.idle_cpu,
        figures.foreign * 100.0
    );
    let targets = [
        Target::at_most("P6 KB of resident memory for each idle connection", figures.kb_each, KB_MAX),
        Target::at_least("P6 connect, hello and heads a second", figures.per_second, RATE_MIN),
    ];
    conclude(&arguments.judgement, &figures, &targets)
}

async fn measure(running: &mut Running, arguments: &Arguments) -> Result<Figures> {
    let people = gather(running, arguments.count + WARM).await?;
    befriend(running, &people).await?;
    // A process that has not done anything else yet.
    running.end(End::InOrder).await?;
    running.start_again().await?;
    let (warm, people) = people.split_at(WARM);
    drop(connect(running, warm, arguments.at_once).await?);
    let kb_before = running.resident_kb()?;
    let (watch, began) = (Watch::start(running)?, Instant::now());
    let address = running.address()?;
    // Whoever is there reads: the server closes those who are silent.
    let reading: Vec<JoinHandle<()>> = stream::iter(people)
        .map(|one| {
            let one = Arc::clone(one);
            tokio::spawn(async move {
                let mut live = one.connect(address).await?;
                anyhow::Ok(tokio::spawn(async move { while live.text().await.is_ok() {} }))
            })
        })
        .buffer_unordered(arguments.at_once)
        .map(|joined| joined?)
        .try_collect()
        .await?;
    let seconds = began.elapsed().as_secs_f64();
    let (cpu, foreign) = watch.end(running)?;
    tokio::time::sleep(SETTLED_AFTER).await;
    let grown = running.resident_kb()?.saturating_sub(kb_before);
    let watch = Watch::start(running)?;
    tokio::time::sleep(SETTLED_AFTER).await;
    let (idle_cpu, _) = watch.end(running)?;
    let gone = reading.iter().filter(|task| task.is_finished()).count();
    anyhow::ensure!(gone == 0, "{gone} connections did not stay");
    reading.iter().for_each(JoinHandle::abort);
    let count = people.len() as f64;
    Ok(Figures {
        connections: people.len(),
        per_second: count / seconds,
        cpu: cpu / count * 1_000.0,
        kb_each: grown as f64 / count,
        kb_before,
        idle_cpu: idle_cpu / SETTLED_AFTER.as_secs_f64(),
        foreign,
    })
}

/// Connects everybody, so many at the same time.
pub async fn connect(running: &Running, people: &[Arc<Member>], at_once: usize) -> Result<Vec<Live>> {
    let address = running.address()?;
    stream::iter(people)
        .map(|one| {
            let one = Arc::clone(one);
            async move { tokio::spawn(async move { one.connect(address).await }).await? }
        })
        .buffer_unordered(at_once)
        .try_collect()
        .await
}

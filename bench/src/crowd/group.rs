//! A large group: everybody in it is connected and reads what a few write.

use super::{
    Live,
    adding::{self, ADDED},
    gather,
    idle::connect,
    raise_open_files,
};
use crate::{
    load::{event, filler},
    rounds::Watch,
    server::Running,
    verdict::{Judgement, Target, conclude},
};
use anyhow::{Context, Result, bail};
use kith_protocol::{
    ClientFrame, ConversationId, ServerFrame,
    frame::{AckStatus, ConversationKind, Send},
};
use serde::Serialize;
use serde_json::json;
use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, Instant},
};
use tokio::{
    task::JoinSet,
    time::{sleep, sleep_until, timeout},
};

/// P8: p99 of delivery, ms.
const DELIVERY_MAX: f64 = 250.0;
/// p99 of an acknowledgement elsewhere while members are added, ms.
const ELSEWHERE_MAX: f64 = 50.0;
/// Members who write.
const WRITERS: u32 = 10;
/// After the last message everybody has all of them by then, or never.
const LAST_WITHIN: Duration = Duration::from_secs(20);

/// What `bench group` takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Kith's binary.
    #[arg(long, env = "KITH_SERVER")]
    server: PathBuf,
    /// Members, all of them connected.
    #[arg(long, default_value_t = 1_000)]
    members: usize,
    /// Messages a second.
    #[arg(long, default_value_t = 100)]
    per_second: u32,
    /// For so many seconds.
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    #[command(flatten)]
    judgement: Judgement,
}

#[derive(Debug, Default, Serialize)]
struct Figures {
    members: usize,
    messages: u64,
    deliveries: u64,
    /// From when a message was due until a member had it, ms: p50, p99, p99.9, the longest.
    delivery_ms: [f64; 4],
    /// p99 of the messages that were due in each second, ms.
    seconds_ms: Vec<f64>,
    lost: u64,
    doubled: u64,
    disordered: u64,
    /// Connections that the server had to send hints instead of events.
    hinted: u64,
    /// From when a message elsewhere was due until its acknowledgement, while members are added by the hundred, ms: p50,
    /// p99, the longest.
    elsewhere_ms: [f64; 3],
    /// CPU-seconds of server and database for 100,000 deliveries.
    cpu: f64,
    foreign: f64,
}

/// `bench group`
pub async fn run(arguments: &Arguments) -> Result<()> {
    raise_open_files(arguments.members + 500)?;
    let running = Running::start(&arguments.server).await?;
    let measured = measure(&running, arguments).await;
    running.stop().await?;
    let figures = measured?;
    let [p50, p99, p999, max] = figures.delivery_ms;
    println!(
        "{} messages to {} members, {} a second: delivery p50 / p99 / p99.9 / max {p50:.1} / {p99:.1} / {p999:.1} / {max:.1} ms",
        figures.messages, figures.members, arguments.per_second
    );
    let seconds: Vec<_> = figures.seconds_ms.iter().map(|p99| format!("{p99:.0}")).collect();
    println!("p99 of each second, ms: {}", seconds.join(" "));
    println!(
        "lost {} doubled {} out of order {} hinted {}; {:.2} CPU-s of server and database per 100,000 deliveries; others took {:.0} %",
        figures.lost,
        figures.doubled,
        figures.disordered,
        figures.hinted,
        figures.cpu,
        figures.foreign * 100.0
    );
    let faults = figures.lost + figures.doubled + figures.disordered;
    let [p50, p99_elsewhere, max] = figures.elsewhere_ms;
    println!(
        "while {ADDED} members at a time are added: acknowledged elsewhere p50 / p99 / max {p50:.1} / {p99_elsewhere:.1} / {max:.1} ms"
    );
    let targets = [
        Target::at_most("p99 elsewhere while members are added, ms", p99_elsewhere, ELSEWHERE_MAX),
        Target::at_most("P8 p99 of delivery to everybody, ms", p99, DELIVERY_MAX),
        Target::at_most("P7 lost, doubled, out of order", faults as f64, 0.0),
    ];
    conclude(&arguments.judgement, &figures, &targets)
}

async fn measure(running: &Running, arguments: &Arguments) -> Result<Figures> {
    let everybody = gather(running, arguments.members.max(adding::PEOPLE)).await?;
    let people = &everybody[..arguments.members];
    let conversation = ConversationId::mint();
    let mut founder = people[0].connect(running.address()?).await?;
    let others = people[1..].iter().map(|one| one.user).collect();
    founder.open(conversation, ConversationKind::Group, others).await?;
    drop(founder);
    let live = connect(running, people, 64).await?;
    let pause = Duration::from_secs(1) * WRITERS / arguments.per_second;
    let each = arguments.per_second * arguments.seconds / WRITERS;
    let (watch, began) = (Watch::start(running)?, Instant::now() + Duration::from_millis(500));
    let messages = u64::from(each * WRITERS);
    let mut members = JoinSet::new();
    for (number, live) in live.into_iter().enumerate() {
        let writes = (number < WRITERS as usize).then(|| Writing {
            conversation,
            first: began + pause * number as u32 / WRITERS,
            pause,
            count: each,
        });
        members.spawn(member(live, began, writes, messages));
    }
    let length = pause * each + LAST_WITHIN + Duration::from_millis(500);
    let mut figures = Figures { members: arguments.members, messages, ..Figures::default() };
    let mut waits: Vec<u32> = Vec::new();
    let mut seconds: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    let gathering = async {
        while let Some(read) = members.join_next().await {
            let Read { waited, doubled, disordered, hinted } = read??;
            figures.lost += messages.saturating_sub(waited.len() as u64);
            figures.doubled += doubled;
            figures.disordered += disordered;
            figures.hinted += u64::from(hinted);
            for (due, us) in waited {
                waits.push(us);
                seconds.entry(due / 1_000_000).or_default().push(us);
            }
        }
        anyhow::Ok(())
    };
    timeout(length + LAST_WITHIN, gathering).await.context("it did not end")??;
    let (cpu, foreign) = watch.end(running)?;
    waits.sort_unstable();
    figures.delivery_ms = [0.5, 0.99, 0.999, 1.0].map(|share| at(&waits, share));
    for mut all in seconds.into_values() {
        all.sort_unstable();
        figures.seconds_ms.push(at(&all, 0.99));
    }
    figures.deliveries = waits.len() as u64;
    figures.elsewhere_ms = adding::measure(running, &everybody).await?;
    figures.cpu = cpu / waits.len() as f64 * 100_000.0;
    figures.foreign = foreign;
    Ok(figures)
}

/// The share of sorted microseconds that is not above, ms.
pub(super) fn at(sorted: &[u32], share: f64) -> f64 {
    let place = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(place).map_or(f64::NAN, |us| f64::from(*us) / 1_000.0)
}

struct Writing {
    conversation: ConversationId,
    first: Instant,
    pause: Duration,
    count: u32,
}

/// What a member saw.
#[derive(Default)]
struct Read {
    /// When it was due, and how long it took from then, microseconds, of each message once.
    waited: Vec<(u32, u32)>,
    doubled: u64,
    disordered: u64,
    hinted: bool,
}

/// Reads, and writes if it is one who does, until all messages are there.
async fn member(mut live: Live, began: Instant, writing: Option<Writing>, wanted: u64) -> Result<Read> {
    let (mut read, mut last, mut sent, mut acknowledged) = (Read::default(), 0, 0, 0);
    let count = writing.as_ref().map_or(0, |writing| writing.count);
    loop {
        if read.waited.len() as u64 >= wanted && acknowledged == count {
            return Ok(read);
        }
        let due = writing.as_ref().filter(|one| sent < one.count).map(|one| one.first + one.pause * sent);
        tokio::select! {
            () = sleep_until(due.unwrap_or(began).into()), if due.is_some() => {
                let (Some(due), Some(writing)) = (due, &writing) else { continue };
                let text = format!("{} {}", due.duration_since(began).as_micros(), filler(u64::from(sent)));
                let send = Send { conversation: writing.conversation, events: vec![json!(event(text))] };
                live.send(ClientFrame::Send(send), Some(u64::from(sent) + 10)).await?;
                sent += 1;
            }
            text = live.text() => {
                let text = text?;
                if text.starts_with(r#"{"type":"events""#) {
                    read.events(text.as_str(), began, &mut last)?;
                    continue;
                }
                match ServerFrame::decode(text.as_str())?.frame {
                    ServerFrame::Ack(ack) => {
                        let is_ok = ack.results.iter().all(|result| result.status == AckStatus::Ok);
                        anyhow::ensure!(is_ok, "refused: {:?}", ack.results);
                        acknowledged += 1;
                    }
                    ServerFrame::Hint(_) => read.hinted = true,
                    ServerFrame::Error(error) => bail!("refused: {}", error.code),
                    _ => {}
                }
            }
            () = sleep(LAST_WITHIN), if due.is_none() => return Ok(read),
        }
    }
}

impl Read {
    /// Takes what is needed out of an `events` frame without reading all of it: the load is to cost less than what it
    /// measures.
    fn events(&mut self, frame: &str, began: Instant, last: &mut u64) -> Result<()> {
        for event in frame.split(r#""seq":"#).skip(1) {
            let seq: u64 = leading(event).context("a seq")?;
            let Some((_, text)) = event.split_once(r#""text":""#) else { continue };
            let due: u64 = leading(text).context("a time")?;
            if seq <= *last {
                self.doubled += 1;
                continue;
            }
            self.disordered += u64::from(*last != 0 && seq != *last + 1);
            *last = seq;
            let waited = (began + Duration::from_micros(due)).elapsed().as_micros();
            let us = |us: u128| u32::try_from(us).unwrap_or(u32::MAX);
            self.waited.push((us(due.into()), us(waited)));
        }
        Ok(())
    }
}

/// The number at the beginning.
fn leading(text: &str) -> Option<u64> {
    let end = text.find(|one: char| !one.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}

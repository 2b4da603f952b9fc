//! What strangers cost: sign-ins that fail, and a connection that reads nothing.

use crate::{
    load::{Connection, event, filler},
    people::{self, PASSWORD, Person, try_sign_in},
    server::Running,
    verdict::{Judgement, Target, conclude},
};
use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use kith_protocol::{
    ClientFrame, ConversationId, ServerFrame,
    frame::{ConversationKind, Open, Send},
};
use serde::Serialize;
use serde_json::json;
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

/// Enough that none of them meets a limit.
const WRITERS: usize = 40;

/// What `bench abuse` takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The server's binary.
    #[arg(long, env = "KITH_SERVER")]
    server: PathBuf,
    /// Failing sign-ins of each kind.
    #[arg(long, default_value_t = 100)]
    tries: usize,
    /// Events that flow past it.
    #[arg(long, default_value_t = 10_000)]
    events: u64,
    /// In so many seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    #[command(flatten)]
    judgement: Judgement,
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
struct Figures {
    /// Milliseconds: nobody of that name, a wrong password, a disabled account.
    sign_in_ms: [f64; 3],
    nobody_stalls: Flow,
    one_reads_nothing: Flow,
}

/// `bench abuse`
pub async fn run(arguments: &Arguments) -> Result<()> {
    let running = Running::start(&arguments.server).await?;
    let people = people::sign_up(&running.url, arguments.tries * 2 + WRITERS + 1).await?;
    let (guests, people) = people.split_at(arguments.tries * 2);
    let sign_in_ms = failing_sign_ins(&running, guests).await?;
    let [unknown, wrong, disabled] = sign_in_ms;
    println!("{:<44}{:>14}", "failing sign-ins of each kind", arguments.tries);
    println!("{:<44}{:>14.2}", "  nobody of that name, median ms", unknown);
    println!("{:<44}{:>14.2}", "  a wrong password, median ms", wrong);
    println!("{:<44}{:>14.2}", "  a disabled account, median ms", disabled);
    let (reader, writers) = people.split_last().context("somebody")?;
    let device = reader.another_device(&running.url, 0).await?;
    let flow = async |what: &str, stalled| {
        let during = Duration::from_secs(arguments.seconds);
        let flow = flow(&running, writers, reader, (arguments.events, during, stalled)).await?;
        println!("{:<44}{:>14}", format!("events in {} s, {what}", arguments.seconds), flow.events);
        println!("{:<44}{:>14}", "  the server's memory at most, KB", flow.peak_kb);
        let line = format!("{:.2} / {:.2} / {:.2}", flow.p50_ms, flow.p99_ms, flow.p999_ms);
        println!("{:<44}{:>14}", "  delivery beside it: p50 / p99 / p99.9, ms", line);
        anyhow::Ok(flow)
    };
    // The first run warms what any run needs.
    flow("warming up", None).await?;
    let nobody_stalls = flow("nobody stalls", None).await?;
    let one_reads_nothing = flow("one reads nothing", Some(&device)).await?;
    running.stop().await?;
    let figures = Figures { sign_in_ms, nobody_stalls, one_reads_nothing };
    conclude(&arguments.judgement, &figures, &figures.targets())
}

impl Figures {
    fn targets(&self) -> [Target; 3] {
        let Self { sign_in_ms: ms, nobody_stalls, one_reads_nothing } = self;
        let (least, most) =
            ms.iter().fold((f64::MAX, 0.0_f64), |(least, most), &ms| (least.min(ms), most.max(ms)));
        let cost_mib = (one_reads_nothing.peak_kb as f64 - nobody_stalls.peak_kb as f64) / 1024.0;
        let slower = one_reads_nothing.p99_ms / nobody_stalls.p99_ms;
        [
            Target::at_most("sec 005: failing sign-ins apart, share", most / least - 1.0, 0.05),
            Target::at_most("who reads nothing costs, MiB at the peak", cost_mib, 2.0),
            Target::at_most("delivery p99 beside it, times of without", slower, 1.5),
        ]
    }
}

/// Medians in milliseconds of sign-ins that fail: nobody of that name, a wrong password, a disabled account with the
/// right one. One try for each account and address, in turns, so that no limit is met.
async fn failing_sign_ins(running: &Running, people: &[Person]) -> Result<[f64; 3]> {
    let (disabled, wrong) = people.split_at(people.len() / 2);
    for person in disabled {
        running.disable(&person.username).await?;
    }
    let mut times: [Vec<f64>; 3] = Default::default();
    for (at, (disabled, wrong)) in disabled.iter().zip(wrong).enumerate() {
        let unknown = format!("nobody{at}");
        let tries = [(unknown.as_str(), "wrong"), (&wrong.username, "wrong"), (&disabled.username, PASSWORD)];
        // Whoever is always first would pay for what the others find warm.
        for turn in 0..3 {
            let case = (turn + at) % 3;
            let (username, password) = tries[case];
            let began = Instant::now();
            let is_in = try_sign_in(&running.url, username, password, at * 3 + turn).await?;
            anyhow::ensure!(!is_in, "{username} got in");
            times[case].push(began.elapsed().as_secs_f64() * 1000.0);
        }
    }
    Ok(times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    }))
}

/// What a run with or without a connection that reads nothing showed.
#[derive(Debug, Serialize)]
struct Flow {
    events: u64,
    /// The most of the server's memory that was resident meanwhile. What is resident at one moment says little: an
    /// allocator gives memory back when it pleases.
    peak_kb: u64,
    /// How long the connection beside it waited for events.
    p50_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
}

/// Lets `events` flow to one person within `during`, who reads them on one device and, if `stalled`, not on another.
async fn flow(
    running: &Running,
    writers: &[Person],
    reader: &Person,
    (events, during, stalled): (u64, Duration, Option<&Person>),
) -> Result<Flow> {
    let mut connection = Connection::open(&running.url, reader).await?;
    let silent = match stalled {
        Some(device) => Some(Connection::open(&running.url, device).await?),
        None => None,
    };
    running.forget_peak()?;
    let (each, began) = (events / writers.len() as u64, Instant::now());
    let pause = during / u32::try_from(each)?;
    let mut writing = Vec::new();
    for (at, writer) in writers.iter().enumerate() {
        let first = began + pause * at as u32 / writers.len() as u32;
        let people = (writer.clone(), reader.clone());
        writing.push(tokio::spawn(write(running.url.clone(), people, began, (first, pause, each))));
    }
    let (mut delivery, mut seen) = (Histogram::<u64>::new(3)?, 0);
    while seen < each * writers.len() as u64 {
        let ServerFrame::Events(events) = connection.next().await? else { continue };
        for event in events.events {
            let text = event.body.as_ref().and_then(|body| body["text"].as_str()).unwrap_or_default();
            let Some((due, _)) = text.split_once(' ') else { continue };
            let due = began + Duration::from_micros(due.parse()?);
            delivery.record(due.elapsed().as_micros() as u64)?;
            seen += 1;
        }
    }
    let peak_kb = running.peak_kb()?;
    for writing in writing {
        writing.await??;
    }
    drop(silent);
    let ms = |quantile| delivery.value_at_quantile(quantile) as f64 / 1000.0;
    Ok(Flow { events: seen, peak_kb, p50_ms: ms(0.5), p99_ms: ms(0.99), p999_ms: ms(0.999) })
}

async fn write(
    server: String,
    (writer, reader): (Person, Person),
    began: Instant,
    (first, pause, count): (Instant, Duration, u64),
) -> Result<()> {
    let mut connection = Connection::open(&server, &writer).await?;
    let conversation = ConversationId::direct(writer.user, reader.user);
    let (kind, members) = (ConversationKind::Direct, vec![reader.user]);
    let open = Open { conversation, kind, members, title: None, context: None, first: None };
    connection.send(ClientFrame::Open(open), Some(2)).await?;
    while connection.next().await?.reply_to() != Some(2) {}
    for number in 0..count {
        let due = first + pause * u32::try_from(number).context("a smaller count")?;
        tokio::time::sleep_until(due.into()).await;
        let text = format!("{} {}", due.duration_since(began).as_micros(), filler(number));
        let events = vec![json!(event(text))];
        connection.send(ClientFrame::Send(Send { conversation, events }), Some(number + 10)).await?;
        while !matches!(connection.next().await?, ServerFrame::Ack(_)) {}
    }
    Ok(())
}

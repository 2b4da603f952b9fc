//! What guests at the door cost: sign-ins that fail, and a connection that reads nothing.

use crate::{
    load::{Connection, event, filler},
    people::{PASSWORD, Person, try_sign_in},
    server::Running,
};
use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use kith_protocol::{
    ClientFrame, ConversationId, ServerFrame,
    frame::{ConversationKind, Open, Send},
};
use serde_json::json;
use std::time::{Duration, Instant};

/// Medians in milliseconds of sign-ins that fail: nobody of that name, a wrong password, a disabled account with the
/// right one. One try for each account and address, in turns, so that no limit is met.
pub async fn failing_sign_ins(running: &Running, people: &[Person]) -> Result<[f64; 3]> {
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
pub struct Flow {
    pub events: u64,
    /// By how much the server's resident memory grew, KB.
    pub grown_kb: u64,
    /// How long the connection beside it waited for events.
    pub delivery: Histogram<u64>,
}

/// Lets `events` flow to one person within `during`, who reads them on one device and, if `stalled`, not on another.
pub async fn flow(
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
    let before = running.resident_kb()?;
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
    let grown_kb = running.resident_kb()?.saturating_sub(before);
    for writing in writing {
        writing.await??;
    }
    drop(silent);
    Ok(Flow { events: seen, grown_kb, delivery })
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

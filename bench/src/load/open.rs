//! An open loop: so many messages a second, whatever becomes of them.

use super::{Pair, filler, message, receipts::Receipts};
use anyhow::Result;
use hdrhistogram::Histogram;
use kith_protocol::ServerFrame;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// What an open loop measured.
pub struct Delivery {
    all: Histogram<u64>,
    /// Of the messages that were due in the first and in the last quarter.
    first: Histogram<u64>,
    last: Histogram<u64>,
}

impl Delivery {
    /// Milliseconds.
    pub fn at(&self, quantile: f64) -> f64 {
        self.all.value_at_quantile(quantile) as f64 / 1000.0
    }

    /// p99 of the last quarter as a multiple of the first's: more than about one where a queue grows.
    pub fn growth(&self) -> f64 {
        let p99 = |of: &Histogram<u64>| of.value_at_quantile(0.99).max(1) as f64;
        p99(&self.last) / p99(&self.first)
    }

    fn new() -> Result<Self> {
        Ok(Self { all: Histogram::new(3)?, first: Histogram::new(3)?, last: Histogram::new(3)? })
    }

    /// Counts the message of this number, of so many.
    fn record(&mut self, (number, count): (u32, u32), waited: Duration) -> Result<()> {
        let waited = waited.as_micros() as u64;
        self.all.record(waited)?;
        if number < count / 4 {
            self.first.record(waited)?;
        } else if number >= count - count / 4 {
            self.last.record(waited)?;
        }
        Ok(())
    }

    fn add(&mut self, other: &Self) -> Result<()> {
        self.all.add(&other.all)?;
        self.first.add(&other.first)?;
        Ok(self.last.add(&other.last)?)
    }

    /// p50 / p99 / p99.9 in milliseconds.
    pub fn percentiles(&self) -> String {
        format!("{:.2} / {:.2} / {:.2}", self.at(0.5), self.at(0.99), self.at(0.999))
    }
}

/// Sends at a fixed rate whatever happens; times count from when a message was due, not from when it went.
pub async fn open_loop(pairs: &[Arc<Pair>], per_second: u64, length: Duration) -> Result<Delivery> {
    let (each, started) = (Duration::from_secs(1) * pairs.len() as u32 / per_second as u32, Instant::now());
    let count = (length.as_nanos() / each.as_nanos()).max(1) as u32;
    let mut tasks = Vec::new();
    for (index, pair) in pairs.iter().enumerate() {
        let first = started + each * index as u32 / pairs.len() as u32;
        let (one, other) = (pair.clone(), pair.clone());
        let writer = tokio::spawn(async move {
            let mut writer = one.writer.lock().await;
            for number in 0..count {
                tokio::time::sleep_until((first + each * number).into()).await;
                let frame = message(one.conversation, format!("{number} {}", filler(u64::from(number))));
                writer.send(frame, Some(u64::from(number) + 10)).await?;
            }
            for _ in 0..count {
                while !matches!(writer.next().await?, ServerFrame::Ack(_)) {}
            }
            anyhow::Ok(())
        });
        let reader = tokio::spawn(async move {
            let mut reader = other.reader.lock().await;
            let (mut times, mut received) = (Delivery::new()?, 0);
            let mut receipts = Receipts::of(&other);
            while received < count {
                let frame = tokio::select! {
                    frame = reader.next() => frame?,
                    () = receipts.due() => {
                        receipts.tell(&mut reader).await?;
                        continue;
                    }
                };
                if let ServerFrame::Events(events) = frame {
                    for event in events.events {
                        let text = event.body.as_ref().and_then(|b| b["text"].as_str()).unwrap_or_default();
                        let number: u32 = text.split(' ').next().unwrap_or_default().parse()?;
                        times.record((number, count), (first + each * number).elapsed())?;
                        receipts.note(event.seq);
                        received += 1;
                    }
                }
            }
            anyhow::Ok(times)
        });
        tasks.push((writer, reader));
    }
    let mut sum = Delivery::new()?;
    for (writer, reader) in tasks {
        writer.await??;
        sum.add(&reader.await??)?;
    }
    Ok(sum)
}

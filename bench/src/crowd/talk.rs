//! A few pairs that talk while something else happens.

use super::{Live, Member};
use crate::load::{event, filler};
use anyhow::Result;
use kith_protocol::{ClientFrame, ConversationId, ServerFrame, UserId, frame::Send};
use serde_json::json;
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    task::JoinSet,
    time::{Interval, MissedTickBehavior, interval},
};

/// Between two messages of one of them.
const PAUSE: Duration = Duration::from_millis(50);

/// Pairs that talk until it is ended.
pub struct Talk {
    tasks: JoinSet<Result<()>>,
    /// How long messages took from when they were due, ms.
    waits: Arc<Mutex<Vec<f64>>>,
}

impl Talk {
    /// Each two neighbours, who have a conversation, write to each other.
    pub async fn start(address: SocketAddr, people: &[Arc<Member>]) -> Result<Self> {
        let waits = Arc::new(Mutex::new(Vec::new()));
        let (mut tasks, began) = (JoinSet::new(), Instant::now());
        for two in people.chunks_exact(2) {
            for (one, other) in [(&two[0], &two[1]), (&two[1], &two[0])] {
                let live = one.connect(address).await?;
                let conversation = ConversationId::direct(one.user, other.user);
                tasks.spawn(talk(live, (one.user, conversation), began, Arc::clone(&waits)));
            }
        }
        Ok(Self { tasks, waits })
    }

    /// p50, p99 and the longest of what was waited since somebody last asked, ms. What is still under way counts when
    /// it comes.
    pub fn waits(&self) -> [f64; 3] {
        let mut waits = std::mem::take(&mut *self.waits.lock().unwrap_or_else(PoisonError::into_inner));
        waits.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let place = (waits.len() as f64 * share) as usize;
            waits.get(place.min(waits.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
        };
        [at(0.5), at(0.99), at(1.0)]
    }

    /// Ends it; fails if somebody's connection had ended before.
    pub async fn end(mut self) -> Result<()> {
        while let Some(ended) = self.tasks.try_join_next() {
            ended??;
        }
        self.tasks.shutdown().await;
        Ok(())
    }
}

async fn talk(
    mut live: Live,
    (own, conversation): (UserId, ConversationId),
    began: Instant,
    waits: Arc<Mutex<Vec<f64>>>,
) -> Result<()> {
    let mut due: Interval = interval(PAUSE);
    // What is late goes at once: times count from when it was due.
    due.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut number = 0;
    loop {
        tokio::select! {
            at = due.tick() => {
                number += 1;
                let at = at.into_std().saturating_duration_since(began).as_micros();
                let events = vec![json!(event(format!("{at} {}", filler(number))))];
                live.send(ClientFrame::Send(Send { conversation, events }), Some(number + 10)).await?;
            }
            frame = live.frame() => match frame? {
                ServerFrame::Events(events) => {
                    for event in events.events.iter().filter(|event| event.sender != own) {
                        let text = event.body.as_ref().and_then(|body| body["text"].as_str()).unwrap_or_default();
                        let due: u64 = text.split(' ').next().unwrap_or_default().parse()?;
                        let wait = (began + Duration::from_micros(due)).elapsed().as_secs_f64() * 1_000.0;
                        waits.lock().unwrap_or_else(PoisonError::into_inner).push(wait);
                    }
                }
                ServerFrame::Error(error) => anyhow::bail!("refused: {}", error.code),
                _ => {}
            }
        }
    }
}

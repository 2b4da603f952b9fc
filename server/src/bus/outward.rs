//! What this instance tells: gathered from the hub's queue, as much as is there in one message.

use super::{
    Shared,
    peers::ALIVE_EVERY,
    wire::{self, Item, MESSAGE_BYTES, Message},
};
use crate::{domain::batch::now_ms, hub::Outward};
use async_nats::{Client, connection::State};
use std::{sync::atomic::Ordering, time::Duration};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, timeout},
};

/// A message that the network does not take in this time is lost.
const SENT_WITHIN: Duration = Duration::from_millis(500);
/// After the shutdown has begun, lanes go on committing for a while; this is how long they may be silent.
const LAST_WORDS_WITHIN: Duration = Duration::from_millis(500);
/// People of one message about who is there.
const EVERYBODY_PART: usize = 2_000;

struct Speaker {
    shared: Shared,
    client: Client,
    number: u64,
}

/// Tells the others until the shutdown, and what is committed after it.
pub(super) async fn run(shared: Shared, client: Client, mut outward: mpsc::Receiver<Outward>) {
    let shutdown = shared.state.shutdown.clone();
    let mut speaker = Speaker { shared, client, number: 0 };
    let mut alive = interval(ALIVE_EVERY);
    alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            first = outward.recv() => match first {
                Some(first) => speaker.tell(first, &mut outward).await,
                None => break,
            },
            _ = alive.tick() => speaker.alive().await,
            () = shutdown.cancelled() => break,
        }
    }
    while let Ok(Some(first)) = timeout(LAST_WORDS_WITHIN, outward.recv()).await {
        speaker.tell(first, &mut outward).await;
    }
    if timeout(SENT_WITHIN, speaker.client.flush()).await.is_err() {
        tracing::debug!("the last words went unheard");
    }
}

impl Speaker {
    /// Tells something and whatever else is in the queue.
    async fn tell(&mut self, first: Outward, outward: &mut mpsc::Receiver<Outward>) {
        let (mut items, mut bytes, mut next) = (Vec::new(), 0, Some(first));
        while let Some(one) = next {
            for (item, length) in wire::items(one) {
                if bytes > 0 && bytes + length > MESSAGE_BYTES {
                    self.say(std::mem::take(&mut items)).await;
                    bytes = 0;
                }
                bytes += length;
                items.push(item);
            }
            next = outward.try_recv().ok();
        }
        self.say(items).await;
    }

    /// Says that this instance lives, and who is there if somebody wants to know.
    async fn alive(&mut self) {
        if self.shared.tells.swap(false, Ordering::Relaxed) {
            self.everybody().await;
        }
        let asks = self.shared.asks.swap(false, Ordering::Relaxed);
        self.say(if asks { vec![Item::WhoIsThere] } else { Vec::new() }).await;
    }

    async fn everybody(&mut self) {
        let all = self.shared.state.presence.everybody_here();
        let mut parts: Vec<_> =
            all.chunks(EVERYBODY_PART).map(|part| part.iter().copied().collect()).collect();
        if parts.is_empty() {
            parts.push(Default::default());
        }
        for (at, users) in parts.into_iter().enumerate() {
            self.say(vec![Item::Everybody { is_first: at == 0, users }]).await;
        }
    }

    /// Sends a message, or counts it as lost.
    async fn say(&mut self, items: Vec<Item>) {
        let overflowed = self.shared.state.hub.relay().map_or(0, |relay| relay.take_overflowed());
        self.number += 1 + overflowed;
        let bus = &self.shared.state.metrics.bus;
        if self.client.connection_state() != State::Connected {
            bus.message("unsent");
            return;
        }
        let message = Message { from: self.shared.me, number: self.number, at: now_ms(), items };
        let bytes = wire::encode(&self.shared.state.tokens, &message);
        let sending = self.client.publish(self.shared.subject.clone(), bytes.into());
        let is_sent = matches!(timeout(SENT_WITHIN, sending).await, Ok(Ok(())));
        bus.message(if is_sent { "out" } else { "unsent" });
    }
}

//! What this instance tells: gathered from the hub's queue, as much as is there in one message.

use super::{
    Shared,
    peers::ALIVE_EVERY,
    wire::{self, Item, MESSAGE_BYTES, Message},
};
use crate::{
    domain::batch::now_ms,
    hub::{OUTWARD_MAX, Outward, Topic},
    presence::Presence,
};
use async_nats::{Client, connection::State};
use kith_protocol::DeviceId;
use std::{
    collections::{HashMap, VecDeque},
    sync::atomic::Ordering,
    time::{Duration, Instant},
};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, timeout},
};
use uuid::Uuid;

/// A message that the network does not take in this time is lost.
const SENT_WITHIN: Duration = Duration::from_millis(500);
/// After the shutdown has begun, lanes go on committing for a while; this is how long they may be silent.
const LAST_WORDS_WITHIN: Duration = Duration::from_millis(500);
/// People of one message about who is there.
const EVERYBODY_PART: usize = 2_000;
/// Such messages between two signs of life: a list of any length leaves room for what happens meanwhile.
const PARTS_AT_ONCE: usize = 8;
/// Whoever is asked who is there answers after a time up to this, so that not all do at the same moment.
const TELL_WITHIN: Duration = Duration::from_millis(750);
/// And not again before this.
const TELL_PAUSE: Duration = Duration::from_secs(5);
/// An instance that has not said who is there is asked again after this.
const ASK_EVERY: Duration = Duration::from_secs(8);

/// What is told again after something was lost: markers, own state, profiles, sign-outs, newer sockets. When there is more,
/// the oldest go; clients see those facts with their next heads.
const FACTS_MAX: usize = 8_192;
/// What was said longer ago was heard, or its loss noticed.
const HEARD_AFTER: Duration = Duration::from_secs(60);

/// What a fact is about; only the newest is told again.
#[derive(Debug, PartialEq, Eq, Hash)]
enum About {
    Topic(Topic),
    Device(DeviceId),
}

/// Facts that only a message carries: the database does not tell that they are new.
#[derive(Debug, Default)]
struct Facts(HashMap<About, (Instant, Outward)>);

impl Facts {
    fn keep(&mut self, outward: &Outward, now: Instant) {
        let about = match outward {
            Outward::Frame { topic: Some(topic), .. } => About::Topic(*topic),
            Outward::Closed { device, .. } | Outward::Replaced { device, .. } => About::Device(*device),
            Outward::Frame { .. } | Outward::Log { .. } | Outward::Presence { .. } => return,
        };
        if self.0.len() >= FACTS_MAX {
            let mut times: Vec<Instant> = self.0.values().map(|(at, _)| *at).collect();
            let (_, middle, _) = times.select_nth_unstable(FACTS_MAX / 2);
            let middle = *middle;
            self.0.retain(|_, (at, _)| *at > middle);
        }
        self.0.insert(about, (now, outward.clone()));
    }

    fn forget_heard(&mut self, now: Instant) {
        self.0.retain(|_, (at, _)| now.saturating_duration_since(*at) < HEARD_AFTER);
    }

    fn all(&self) -> Vec<Outward> {
        self.0.values().map(|(_, outward)| outward.clone()).collect()
    }
}

struct Speaker {
    shared: Shared,
    client: Client,
    number: u64,
    facts: Facts,
    /// When to say who is there.
    tell_at: Option<Instant>,
    told_at: Option<Instant>,
    /// What is left of saying it.
    parts: VecDeque<Item>,
}

/// Tells the others until the shutdown, and what is committed after it.
pub(super) async fn run(shared: Shared, client: Client, mut outward: mpsc::Receiver<Outward>) {
    let shutdown = shared.state.shutdown.clone();
    let (facts, parts) = (Facts::default(), VecDeque::new());
    let mut speaker = Speaker { shared, client, number: 0, facts, tell_at: None, told_at: None, parts };
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
        let mut next = Some(first);
        let rest = std::iter::from_fn(|| next.take().or_else(|| outward.try_recv().ok()));
        let mut all: Vec<Outward> = Vec::new();
        for one in rest.take(OUTWARD_MAX) {
            self.facts.keep(&one, Instant::now());
            all.push(one);
        }
        self.say_all(all).await;
    }

    /// In as few messages as may be.
    async fn say_all(&mut self, all: Vec<Outward>) {
        let (mut items, mut bytes) = (Vec::new(), 0);
        for one in all {
            for (item, length) in wire::items(one) {
                if bytes > 0 && bytes + length > MESSAGE_BYTES {
                    self.say(std::mem::take(&mut items)).await;
                    bytes = 0;
                }
                bytes += length;
                items.push(item);
            }
        }
        if !items.is_empty() {
            self.say(items).await;
        }
    }

    /// Says that this instance lives, and who is there if somebody wants to know.
    async fn alive(&mut self) {
        let (is_connected, now) = (self.client.connection_state() == State::Connected, Instant::now());
        if self.shared.tells.swap(false, Ordering::Relaxed) && self.tell_at.is_none() {
            let soon = now + TELL_WITHIN.mul_f64(rand::random());
            self.tell_at = Some(self.told_at.map_or(soon, |told| soon.max(told + TELL_PAUSE)));
        }
        if is_connected && self.tell_at.is_some_and(|at| at <= now) {
            (self.tell_at, self.told_at) = (None, Some(now));
            self.parts = everybody(&self.shared.state.presence);
            self.say_all(self.facts.all()).await;
        }
        for part in self.parts.drain(..self.parts.len().min(PARTS_AT_ONCE)).collect::<Vec<_>>() {
            self.say(vec![part]).await;
        }
        if is_connected {
            self.facts.forget_heard(now);
        }
        let of = self.asked(now);
        self.say(if of.is_empty() { Vec::new() } else { vec![Item::WhoIsThere { of }] }).await;
    }

    /// The instances that are to be asked who is there.
    fn asked(&self, now: Instant) -> Vec<Uuid> {
        let mut asks = self.shared.asks();
        let is_due = |at: &Option<Instant>| at.is_none_or(|at| now.saturating_duration_since(at) > ASK_EVERY);
        let due = asks.iter_mut().filter(|(_, at)| is_due(at)).map(|(id, at)| {
            *at = Some(now);
            *id
        });
        due.collect()
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

/// Everybody who is connected here, in parts.
fn everybody(presence: &Presence) -> VecDeque<Item> {
    let (version, all) = presence.everybody_here();
    let mut parts: Vec<_> = all.chunks(EVERYBODY_PART).map(|part| part.iter().copied().collect()).collect();
    if parts.is_empty() {
        parts.push(Default::default());
    }
    let count = u32::try_from(parts.len()).unwrap_or(u32::MAX);
    (0..).zip(parts).map(|(part, users)| Item::Everybody { version, part, parts: count, users }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kith_protocol::{ConversationId, UserId};

    fn own(user: UserId, conversation: ConversationId, json: &str) -> Outward {
        Outward::Frame { topic: Some(Topic::Own(conversation, user)), users: vec![user], json: json.into() }
    }

    #[test]
    fn l4_of_each_fact_the_newest_is_told_again_and_what_expires_by_itself_is_not() {
        let (mut facts, now) = (Facts::default(), Instant::now());
        let (user, conversation) = (UserId::mint(), ConversationId::mint());
        facts.keep(&own(user, conversation, "1"), now);
        facts.keep(&own(user, conversation, "2"), now);
        facts.keep(&Outward::Frame { topic: None, users: vec![user], json: "typing".into() }, now);
        facts.keep(&Outward::Log { announce: Vec::new(), events: Vec::new() }, now);
        let all = facts.all();
        assert!(matches!(&all[..], [Outward::Frame { json, .. }] if &**json == "2"), "{all:?}");
        facts.forget_heard(now + HEARD_AFTER);
        assert!(facts.all().is_empty());
    }

    #[test]
    fn l4_of_too_many_facts_the_older_half_goes() {
        let (mut facts, now) = (Facts::default(), Instant::now());
        let user = UserId::mint();
        for at in 0..=FACTS_MAX as u64 {
            facts.keep(&own(user, ConversationId::mint(), ""), now + Duration::from_millis(at));
            assert!(facts.0.len() <= FACTS_MAX);
        }
        let oldest = facts.0.values().map(|(at, _)| *at).min().unwrap();
        assert!(oldest > now + Duration::from_millis(FACTS_MAX as u64 / 2));
    }
}

//! What the other instances tell: checked, then handed to the connections here, in the order in which it came.

use super::{
    Shared,
    peers::{ALIVE_EVERY, Heard, Peers, Sequence},
    repair::Repair,
    wire::{self, Item, LogEvent, Message, Refused, Told},
};
use crate::{domain::batch::now_ms, hub::Published};
use async_nats::{Client, Subscriber};
use futures_util::{
    StreamExt,
    stream::{Select, select},
};
use kith_protocol::{ConversationId, UserId, error::close};
use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, sleep},
};

/// After a subscription that failed.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

struct Listener {
    shared: Shared,
    repair: Repair,
    peers: Peers,
}

/// Hears the others until the shutdown.
pub(super) async fn run(
    shared: Shared,
    client: Client,
    repair: Repair,
    mut held: mpsc::Receiver<Vec<Published>>,
) {
    let shutdown = shared.state.shutdown.clone();
    let mut listener = Listener { shared, repair, peers: Peers::default() };
    let mut ticks = interval(ALIVE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let Some(mut messages) = listener.subscribe(&client).await else { return };
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            message = messages.next() => match message {
                Some(message) => listener.hear(&message.payload).await,
                None => match listener.subscribe(&client).await {
                    Some(again) => messages = again,
                    None => return,
                },
            },
            Some(run) = held.recv() => listener.repair.bridge(&run).await,
            _ = ticks.tick() => listener.forget_silent(),
        }
    }
}

impl Listener {
    /// Subscribes to what is sent to all instances and to this one alone.
    async fn subscribe(&self, client: &Client) -> Option<Select<Subscriber, Subscriber>> {
        let (all, own) = (&self.shared.subject, self.shared.subject_of(self.shared.me));
        loop {
            let subscribing = async {
                let all = client.subscribe(all.clone()).await?;
                Ok::<_, async_nats::SubscribeError>(select(all, client.subscribe(own.clone()).await?))
            };
            tokio::select! {
                () = self.shared.state.shutdown.cancelled() => return None,
                subscribed = subscribing => match subscribed {
                    Ok(both) => return Some(both),
                    Err(error) => tracing::warn!(%error, "cannot listen on the bus"),
                },
            }
            sleep(AGAIN_AFTER).await;
        }
    }

    fn forget_silent(&mut self) {
        for gone in self.peers.take_silent(Instant::now()) {
            self.shared.state.presence.gone(gone);
            self.shared.asks().remove(&gone);
            self.shared.due.notify_one();
        }
        let count = i64::try_from(self.peers.count()).unwrap_or(i64::MAX);
        self.shared.state.metrics.bus.instances.set(count);
    }

    async fn hear(&mut self, bytes: &[u8]) {
        let bus = &self.shared.state.metrics.bus;
        let message = match wire::decode(&self.shared.state.tokens, bytes, now_ms()) {
            Ok(message) => message,
            Err(why) => {
                bus.message("refused");
                if why == Refused::OutOfTime {
                    tracing::warn!("another instance's clock differs by more than a minute: it is not heard");
                }
                return;
            }
        };
        if message.from == self.shared.me {
            return;
        }
        let sequence = match message.to {
            None => Sequence::All,
            Some(to) if to == self.shared.me => Sequence::Own,
            Some(_) => {
                bus.message("refused");
                return;
            }
        };
        bus.message(if sequence == Sequence::Own { "in_own" } else { "in" });
        let (from, mut lost) = (message.from, 0);
        match self.peers.hear(from, sequence, message.number, Instant::now()) {
            Heard::Before => return,
            Heard::Next => {}
            Heard::First if sequence == Sequence::Own => {}
            Heard::First => self.shared.begin_anew(from),
            Heard::After(missing) => lost = missing,
        }
        if let Some(number) = message.sent.get(&self.shared.me) {
            lost += self.peers.announced(from, *number);
        }
        if lost > 0 {
            bus.lost.inc_by(lost);
            self.shared.begin_anew(from);
        }
        if message.is_of_another(self.shared.state.publisher.epoch.word().as_deref()) {
            bus.message("other_database");
            self.shared.end(from);
            return;
        }
        self.take(message).await;
    }

    async fn take(&self, message: Message) {
        let state = &self.shared.state;
        for item in message.items {
            match item {
                Item::Log { announce, audiences, events } => {
                    self.announce(&announce).await;
                    for run in self.log(audiences, &events) {
                        self.repair.bridge(&run).await;
                    }
                }
                Item::Frame { users, frame } => self.frame(&users, wire::told(&frame)),
                Item::Closed { device, code: code @ (close::REVOKED | close::RESTART) } => {
                    state.hub.close_device_here(device, code);
                }
                Item::Closed { .. } => state.metrics.bus.message("refused"),
                Item::Replaced { user, device, generation } => {
                    state.hub.close_replaced(user, device, generation);
                }
                Item::Parted { pair } => state.presence.part(pair),
                Item::Presence { user, state: presence, last_seen, version } => {
                    if state.presence.elsewhere(message.from, user, (presence, last_seen), version) {
                        self.shared.has_come(user, message.from);
                    }
                }
                Item::Everybody { version, part, parts, users } => {
                    let whole = state.presence.part_elsewhere(message.from, version, (part, parts), users);
                    if let Some(new) = whole {
                        self.shared.asks().remove(&message.from);
                        new.into_iter().for_each(|user| self.shared.has_come(user, message.from));
                    }
                }
                Item::WhoIsThere { of } => {
                    if of.contains(&self.shared.me) {
                        self.shared.tells.store(true, Ordering::Relaxed);
                    }
                }
            }
        }
    }

    async fn announce(&self, announce: &[(UserId, ConversationId)]) {
        if !announce.iter().any(|(user, _)| self.shared.state.hub.is_connected(*user)) {
            return;
        }
        if let Err(error) = self.repair.announce_all(announce).await {
            tracing::warn!(%error, "could not announce a conversation");
        }
    }

    /// Hands events on. Returns those before which something is missing.
    fn log(&self, audiences: Vec<Vec<UserId>>, events: &[LogEvent]) -> Vec<Vec<Published>> {
        let hub = &self.shared.state.hub;
        let audiences: Vec<(Arc<[UserId]>, bool)> = audiences
            .into_iter()
            .map(|users| {
                let is_here = users.iter().any(|user| hub.is_connected(*user));
                (users.into(), is_here)
            })
            .collect();
        let mut published = Vec::with_capacity(events.len());
        for event in events {
            let conversation = event.0;
            match audiences.get(event.1) {
                Some((audience, true)) => {
                    let Some(read) = event.read() else {
                        self.shared.state.metrics.bus.message("refused");
                        continue;
                    };
                    self.shared.state.publisher.hints.heard(conversation, &read);
                    let json = serde_json::to_string(&read).unwrap_or_default().into();
                    let audience = Arc::clone(audience);
                    published.push(Published { conversation, seq: read.seq, json, audience });
                }
                Some((_, false)) => {
                    if let Some(relay) = hub.relay() {
                        relay.forget(conversation);
                    }
                }
                None => self.shared.state.metrics.bus.message("refused"),
            }
        }
        hub.hand_on(&published, false)
    }

    fn frame(&self, users: &[UserId], told: Option<Told>) {
        let hub = &self.shared.state.hub;
        match told {
            Some(Told::Own(json)) => users.iter().for_each(|user| hub.send(*user, &json, None)),
            Some(Told::Latest(fact)) => users.iter().for_each(|user| hub.send_latest(*user, &fact)),
            Some(Told::Ephemeral(json)) => hub.send_ephemeral(users, &json),
            None => self.shared.state.metrics.bus.message("refused"),
        }
    }
}

//! What waits for one connection, and whoever waits for it: its writer, its reader, its end.

use super::{Published, outgoing::Outgoing, queue::Queue};
use crate::metrics::{Dropped, Metrics};
use kith_protocol::{ConversationId, Seq, ServerFrame, error::close};
use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// When a client is to come back after an orderly end, if nothing else is said.
const BACK_AFTER_MS: u64 = 1_000;

/// The queue of one connection.
#[derive(Debug)]
pub struct Outbox {
    state: Mutex<Queue>,
    wake: Notify,
    drained: Notify,
    closed: CancellationToken,
    is_socket: bool,
    back_after_ms: AtomicU64,
    metrics: Metrics,
}

impl Outbox {
    /// An empty queue; `is_socket` is false for an exchange.
    pub fn new(is_socket: bool, metrics: Metrics) -> Self {
        Self {
            state: Mutex::default(),
            wake: Notify::new(),
            drained: Notify::new(),
            closed: CancellationToken::new(),
            is_socket,
            back_after_ms: AtomicU64::new(BACK_AFTER_MS),
            metrics,
        }
    }

    /// Whether a socket is behind it.
    pub fn is_socket(&self) -> bool {
        self.is_socket
    }

    fn state(&self) -> MutexGuard<'_, Queue> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn push(&self, outgoing: Outgoing) {
        self.put([outgoing]);
    }

    /// Puts an answer in.
    pub fn answer(&self, frame: &ServerFrame) {
        self.push(Outgoing::Frame(frame.encode().into()));
    }

    /// Puts events in, in order.
    pub fn push_events(&self, events: &[Published]) {
        let since = Instant::now();
        self.put(events.iter().map(|event| Outgoing::Event {
            conversation: event.conversation,
            seq: event.seq,
            json: Arc::clone(&event.json),
            since,
        }));
    }

    fn put(&self, all: impl IntoIterator<Item = Outgoing>) {
        let mut state = self.state();
        let is_kept = all.into_iter().all(|outgoing| state.put(outgoing));
        let (ephemerals, events) = std::mem::take(&mut state.dropped);
        drop(state);
        (0..ephemerals).for_each(|_| self.metrics.dropped(Dropped::Ephemeral));
        (0..events).for_each(|_| self.metrics.dropped(Dropped::Event));
        if !is_kept {
            self.metrics.dropped(Dropped::Connection);
            self.close(close::SLOW);
        }
        self.wake.notify_one();
    }

    /// Ends the connection with `code`: nothing more is read from it, and no write is waited for. The first code stays.
    pub fn close(&self, code: u16) {
        self.state().closing.get_or_insert(code);
        self.closed.cancel();
        self.wake.notify_one();
        self.drained.notify_one();
    }

    /// Says in the farewell when the client is to come back, so that many do not come at once (S10).
    pub fn come_back_after(&self, least: Duration) {
        let ms = u64::try_from(least.as_millis()).unwrap_or(u64::MAX);
        self.back_after_ms.store(BACK_AFTER_MS.saturating_add(ms), Ordering::Relaxed);
    }

    /// When the client is to come back.
    pub fn back_after_ms(&self) -> u64 {
        self.back_after_ms.load(Ordering::Relaxed)
    }

    /// It took nothing for too long.
    pub fn given_up(&self) {
        self.metrics.dropped(Dropped::Connection);
    }

    /// Waits until the connection is to be closed.
    pub async fn closed(&self) {
        self.closed.cancelled().await;
    }

    /// The code that the connection is to be closed with.
    pub fn closing(&self) -> Option<u16> {
        self.state().closing
    }

    /// What is on screen: its events stay longest (L3). Returns what was before.
    pub(super) fn set_focus(&self, conversations: HashSet<ConversationId>) -> HashSet<ConversationId> {
        std::mem::replace(&mut self.state().focus, conversations)
    }

    /// Whether a conversation is on screen.
    pub(super) fn is_focused(&self, conversation: ConversationId) -> bool {
        self.state().focus.contains(&conversation)
    }

    /// From here on no event goes out that the heads just sent include (S2).
    pub fn set_floors(&self, floors: HashMap<ConversationId, Seq>) {
        self.state().set_floors(floors);
    }

    /// Forgets the floors: whatever was committed before the heads has been offered by now.
    pub fn forget_floors(&self) {
        self.state().floors = HashMap::new();
    }

    /// Waits until there is something to write or the connection is to be closed.
    pub async fn ready(&self) {
        loop {
            {
                let state = self.state();
                if state.closing.is_some() || !state.is_empty() {
                    return;
                }
            }
            self.wake.notified().await;
        }
    }

    /// How many bytes wait.
    pub fn waiting_bytes(&self) -> usize {
        self.state().waiting_bytes()
    }

    /// Waits until there is room for another answer, or the connection is to be closed.
    pub async fn has_room(&self) {
        loop {
            {
                let state = self.state();
                if state.closing.is_some() || !state.is_over() {
                    return;
                }
            }
            self.drained.notified().await;
        }
    }

    /// Takes the next frames to write: some of what waits, events of one conversation together (L3).
    pub fn take(&self) -> Vec<Arc<str>> {
        let frames = self.state().take();
        self.drained.notify_one();
        frames
    }

    /// What was taken so far has been written.
    pub fn written(&self) {
        if let Some(since) = self.state().taken_since.take() {
            self.metrics.delivered(since);
        }
    }

    /// Takes everything that waits.
    pub fn take_all(&self) -> Vec<Arc<str>> {
        let mut all = Vec::new();
        loop {
            let some = self.take();
            if some.is_empty() {
                return all;
            }
            all.extend(some);
        }
    }
}

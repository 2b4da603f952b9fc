//! What waits for one connection, within bounds (L2).
//!
//! Over the bound, ephemeral frames are dropped first, then events become hints, those of conversations on screen
//! last. Answers, heads and own state always stay: the client asked for them, or cannot find out that they are
//! missing; the inbound rates bound them, and a connection that takes none of them for too long is closed.

use super::{Published, frames::Frames};
use kith_protocol::{ConversationId, Seq, ServerFrame, frame::Hint, limits};
use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Notify;

/// Bytes that the writer takes at once. The rest stays where it can still become hints.
const TAKE_BYTES: usize = 64 * 1024;
/// Answers and own state may fill this much before the connection is given up: it asks and does not read.
const FRAMES_BYTES_MAX: usize = 16 * limits::OUTBOUND_BYTES_MAX;

/// Something for a connection.
#[derive(Debug, Clone)]
pub enum Outgoing {
    /// An answer, heads or own state: never dropped.
    Frame(Arc<str>),
    /// Typing or presence: the first to go.
    Ephemeral(Arc<str>),
    /// An event: becomes a hint when there is too much.
    Event {
        /// Where.
        conversation: ConversationId,
        /// Its place.
        seq: Seq,
        /// As JSON.
        json: Arc<str>,
    },
}

impl Outgoing {
    fn len(&self) -> usize {
        match self {
            Self::Frame(text) | Self::Ephemeral(text) | Self::Event { json: text, .. } => text.len(),
        }
    }
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Outgoing>,
    bytes: usize,
    /// Events that are not in the queue any more.
    hints: BTreeMap<ConversationId, Seq>,
    focus: HashSet<ConversationId>,
    /// Events up to these are in the heads that were sent (S2).
    floors: HashMap<ConversationId, Seq>,
    closing: Option<u16>,
}

/// The queue of one connection.
#[derive(Debug)]
pub struct Outbox {
    state: Mutex<State>,
    wake: Notify,
    drained: Notify,
    is_socket: bool,
}

impl Outbox {
    /// An empty queue; `is_socket` is false for an exchange.
    pub fn new(is_socket: bool) -> Self {
        Self { state: Mutex::default(), wake: Notify::new(), drained: Notify::new(), is_socket }
    }

    /// Whether a socket is behind it.
    pub fn is_socket(&self) -> bool {
        self.is_socket
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts something in.
    pub fn push(&self, outgoing: Outgoing) {
        let mut state = self.state();
        state.put(outgoing);
        state.shrink();
        drop(state);
        self.wake.notify_one();
    }

    /// Puts an answer in.
    pub fn answer(&self, frame: &ServerFrame) {
        self.push(Outgoing::Frame(frame.encode().into()));
    }

    /// Puts events in, in order.
    pub fn push_events(&self, events: &[Published]) {
        let mut state = self.state();
        for event in events {
            state.put(Outgoing::Event {
                conversation: event.conversation,
                seq: event.seq,
                json: Arc::clone(&event.json),
            });
        }
        state.shrink();
        drop(state);
        self.wake.notify_one();
    }

    /// Hints at a head.
    pub fn push_hint(&self, conversation: ConversationId, head: Seq) {
        let mut state = self.state();
        let hinted = state.hints.entry(conversation).or_insert(head);
        *hinted = (*hinted).max(head);
        drop(state);
        self.wake.notify_one();
    }

    /// Ends the connection with `code` once the writer sees it. The first code stays.
    pub fn close(&self, code: u16) {
        self.state().closing.get_or_insert(code);
        self.wake.notify_one();
        self.drained.notify_one();
    }

    /// The code that the connection is to be closed with.
    pub fn closing(&self) -> Option<u16> {
        self.state().closing
    }

    /// What is on screen: its events stay longest (L3).
    pub fn set_focus(&self, conversations: Vec<ConversationId>) {
        self.state().focus = conversations.into_iter().collect();
    }

    /// From here on no event goes out that the heads just sent include (S2).
    pub fn set_floors(&self, floors: HashMap<ConversationId, Seq>) {
        let mut state = self.state();
        state.floors = floors;
        let queue = std::mem::take(&mut state.queue);
        state.bytes = 0;
        for outgoing in queue {
            state.put(outgoing);
        }
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
                if state.closing.is_some() || !state.queue.is_empty() || !state.hints.is_empty() {
                    return;
                }
            }
            self.wake.notified().await;
        }
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
        let mut state = self.state();
        let mut frames = Frames::default();
        let mut taken = 0;
        while taken < TAKE_BYTES {
            let Some(outgoing) = state.queue.pop_front() else { break };
            taken += outgoing.len();
            state.bytes -= outgoing.len();
            frames.add(outgoing);
        }
        if !state.hints.is_empty() {
            let heads = std::mem::take(&mut state.hints).into_iter().collect();
            frames.add(Outgoing::Frame(ServerFrame::Hint(Hint { heads }).encode().into()));
        }
        drop(state);
        self.drained.notify_one();
        frames.finish()
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

impl State {
    fn put(&mut self, outgoing: Outgoing) {
        if let Outgoing::Event { conversation, seq, .. } = &outgoing {
            if self.floors.get(conversation).is_some_and(|floor| seq <= floor) {
                return;
            }
            // Behind a hint only hints may follow: the client pulls up to the last one.
            if let Some(hinted) = self.hints.get_mut(conversation) {
                *hinted = (*hinted).max(*seq);
                return;
            }
        }
        self.bytes += outgoing.len();
        self.queue.push_back(outgoing);
    }

    fn is_over(&self) -> bool {
        self.bytes > limits::OUTBOUND_BYTES_MAX || self.queue.len() > limits::OUTBOUND_FRAMES_MAX
    }

    fn shrink(&mut self) {
        if !self.is_over() {
            return;
        }
        self.keep(|_, outgoing| !matches!(outgoing, Outgoing::Ephemeral(_)));
        if self.is_over() {
            self.keep(|state, outgoing| match outgoing {
                Outgoing::Event { conversation, .. } => state.focus.contains(conversation),
                _ => true,
            });
        }
        if self.is_over() {
            self.keep(|_, outgoing| !matches!(outgoing, Outgoing::Event { .. }));
        }
        if self.bytes > FRAMES_BYTES_MAX {
            self.closing.get_or_insert(kith_protocol::error::close::SLOW);
            self.queue.clear();
            self.bytes = 0;
        }
    }

    /// Keeps what `keeps` says; events that go leave a hint.
    fn keep(&mut self, keeps: impl Fn(&Self, &Outgoing) -> bool) {
        let queue = std::mem::take(&mut self.queue);
        self.bytes = 0;
        for outgoing in queue {
            if keeps(self, &outgoing) {
                self.bytes += outgoing.len();
                self.queue.push_back(outgoing);
            } else if let Outgoing::Event { conversation, seq, .. } = outgoing {
                let hinted = self.hints.entry(conversation).or_insert(seq);
                *hinted = (*hinted).max(seq);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(conversation: ConversationId, seq: u64, bytes: usize) -> Outgoing {
        Outgoing::Event { conversation, seq: Seq(seq), json: "1".repeat(bytes).into() }
    }

    fn read(frames: &[Arc<str>]) -> Vec<serde_json::Value> {
        frames.iter().map(|text| serde_json::from_str(text).unwrap()).collect()
    }

    #[test]
    fn l3_events_of_one_conversation_leave_in_one_frame() {
        let outbox = Outbox::new(true);
        let (a, b) = (ConversationId::mint(), ConversationId::mint());
        for seq in 1..=3 {
            outbox.push(event(a, seq, 1));
            outbox.push(event(b, seq, 1));
        }
        let frames = read(&outbox.take());
        assert_eq!(frames.len(), 2);
        assert_eq!(frames[0]["events"].as_array().unwrap().len(), 3);
        assert_eq!(frames[1]["conversation"], b.to_string());
    }

    #[test]
    fn l2_a_slow_reader_costs_ephemerals_then_events_and_focus_goes_last() {
        let outbox = Outbox::new(true);
        let (seen, unseen) = (ConversationId::mint(), ConversationId::mint());
        outbox.set_focus(vec![seen]);
        outbox.push(Outgoing::Ephemeral(r#"{"type":"ephemeral"}"#.into()));
        for seq in 1..=600 {
            outbox.push(event(seen, seq, 1));
            outbox.push(event(unseen, seq, 1));
        }
        let frames = read(&outbox.take_all());
        assert!(frames.iter().all(|frame| frame["type"] != "ephemeral"));
        let kept: usize = frames
            .iter()
            .filter(|frame| frame["conversation"] == seen.to_string())
            .map(|frame| frame["events"].as_array().unwrap().len())
            .sum();
        assert_eq!(kept, 600);
        let hint = frames.iter().find(|frame| frame["type"] == "hint").unwrap();
        assert_eq!(hint["heads"], serde_json::json!([[unseen, 600]]));
    }

    #[test]
    fn l2_l5_memory_stays_bounded_while_nobody_reads() {
        let outbox = Outbox::new(true);
        let conversation = ConversationId::mint();
        outbox.set_focus(vec![conversation]);
        for seq in 1..=5_000 {
            outbox.push(event(conversation, seq, 2_000));
        }
        assert!(outbox.state().bytes <= limits::OUTBOUND_BYTES_MAX);
        let frames = read(&outbox.take_all());
        assert_eq!(frames.last().unwrap()["heads"], serde_json::json!([[conversation, 5_000]]));
    }

    #[test]
    fn s2_events_below_the_heads_sent_do_not_go_out() {
        let outbox = Outbox::new(true);
        let conversation = ConversationId::mint();
        outbox.push(event(conversation, 4, 1));
        outbox.push(event(conversation, 5, 1));
        outbox.set_floors([(conversation, Seq(4))].into());
        outbox.push(event(conversation, 3, 1));
        let frames = read(&outbox.take());
        assert_eq!(frames[0]["events"].as_array().unwrap().len(), 1);
    }
}

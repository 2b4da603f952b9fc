//! What waits, in order and within bounds (L2).
//!
//! Over the bound, ephemeral frames are dropped first, then events become hints, those of conversations on screen
//! last. Of markers and profiles the newest alone waits. Answers, heads and own state always stay: the client asked for
//! them, or cannot find out that they are missing; the inbound rates bound them, and a connection that takes none of
//! them for too long is closed.

use super::{
    frames::Frames,
    outgoing::{Outgoing, Topic},
};
use kith_protocol::{ConversationId, Seq, ServerFrame, frame::Hint, limits};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Instant,
};

/// Bytes that the writer takes at once. The rest stays where it can still become hints.
const TAKE_BYTES: usize = 64 * 1024;
/// What always stays may fill this much before the connection is given up: it asks and does not read. An
/// exchange gathers all parts of an answer before any is taken.
const KEPT_BYTES_MAX: usize = 16 * limits::OUTBOUND_BYTES_MAX;
/// And be this many.
const KEPT_FRAMES_MAX: usize = 16 * limits::OUTBOUND_FRAMES_MAX;

/// What waits for one connection. Over its bound it holds nothing that may go.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// By place, in order.
    waiting: BTreeMap<u64, Outgoing>,
    next_place: u64,
    bytes: usize,
    /// How many of those that wait may go.
    droppable: usize,
    /// Versions and places of the facts that wait.
    latest: HashMap<Topic, ((u64, u64), u64)>,
    /// Events that do not wait any more.
    hints: BTreeMap<ConversationId, Seq>,
    /// What is on screen.
    pub(super) focus: HashSet<ConversationId>,
    /// Events up to these are in the heads that were sent (S2).
    pub(super) floors: HashMap<ConversationId, Seq>,
    /// Ephemeral frames and events that went since somebody last looked.
    pub(super) dropped: (usize, usize),
    /// When the oldest of the events was committed that were taken since somebody last looked.
    pub(super) taken_since: Option<Instant>,
    /// The code that the connection is to be closed with.
    pub(super) closing: Option<u16>,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.hints.is_empty()
    }

    pub(super) fn waiting_bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_over(&self) -> bool {
        self.bytes > limits::OUTBOUND_BYTES_MAX || self.waiting.len() > limits::OUTBOUND_FRAMES_MAX
    }

    pub(super) fn hint(&mut self, conversation: ConversationId, head: Seq) {
        let hinted = self.hints.entry(conversation).or_insert(head);
        *hinted = (*hinted).max(head);
    }

    pub(super) fn set_floors(&mut self, floors: HashMap<ConversationId, Seq>) {
        self.floors = floors;
        for outgoing in self.empty() {
            self.append(outgoing);
        }
    }

    /// Puts something in. False when too much waits that has to stay: the connection is to be closed.
    pub(super) fn put(&mut self, outgoing: Outgoing) -> bool {
        self.append(outgoing);
        if self.is_over() && self.droppable > 0 {
            self.shrink();
        }
        let is_kept = self.bytes <= KEPT_BYTES_MAX && self.waiting.len() <= KEPT_FRAMES_MAX;
        if !is_kept {
            self.empty();
        }
        is_kept
    }

    fn append(&mut self, outgoing: Outgoing) {
        match &outgoing {
            Outgoing::Frame(_) => {}
            Outgoing::Ephemeral(_) if self.is_over() => {
                self.dropped.0 += 1;
                return;
            }
            Outgoing::Ephemeral(_) => {}
            Outgoing::Event { conversation, seq, .. } => {
                if self.floors.get(conversation).is_some_and(|floor| seq <= floor) {
                    return;
                }
                // Behind a hint only hints may follow: the client pulls up to the last one.
                if self.hints.contains_key(conversation) || self.is_over() {
                    self.dropped.1 += 1;
                    return self.hint(*conversation, *seq);
                }
            }
            Outgoing::Latest(fact) => {
                if let Some((version, place)) = self.latest.get(&fact.topic) {
                    if *version >= fact.version {
                        return;
                    }
                    let older = self.waiting.remove(place);
                    self.bytes -= older.map_or(0, |older| older.len());
                }
                self.latest.insert(fact.topic, (fact.version, self.next_place));
            }
        }
        self.bytes += outgoing.len();
        self.droppable += usize::from(outgoing.may_go());
        self.waiting.insert(self.next_place, outgoing);
        self.next_place += 1;
    }

    fn pop(&mut self) -> Option<Outgoing> {
        let (_, outgoing) = self.waiting.pop_first()?;
        self.bytes -= outgoing.len();
        self.droppable -= usize::from(outgoing.may_go());
        if let Outgoing::Latest(fact) = &outgoing {
            self.latest.remove(&fact.topic);
        }
        Some(outgoing)
    }

    /// Takes out all that waits; the hints stay.
    fn empty(&mut self) -> Vec<Outgoing> {
        let all = std::mem::take(&mut self.waiting);
        self.latest.clear();
        (self.bytes, self.droppable) = (0, 0);
        all.into_values().collect()
    }

    /// Takes the next frames to write: some of what waits, events of one conversation together (L3).
    pub(super) fn take(&mut self) -> Vec<Arc<str>> {
        let mut frames = Frames::default();
        let mut taken = 0;
        while taken < TAKE_BYTES {
            let Some(outgoing) = self.pop() else { break };
            taken += outgoing.len();
            if let Outgoing::Event { since, .. } = &outgoing {
                self.taken_since.get_or_insert(*since);
            }
            frames.add(outgoing);
        }
        if !self.hints.is_empty() {
            let heads = std::mem::take(&mut self.hints).into_iter().collect();
            frames.add(Outgoing::Frame(ServerFrame::Hint(Hint { heads }).encode().into()));
        }
        frames.finish()
    }

    /// Drops what may go, the least missed first, until the rest is within the bound.
    fn shrink(&mut self) {
        self.keep(|_, outgoing| !matches!(outgoing, Outgoing::Ephemeral(_)));
        if self.is_over() {
            self.keep(|queue, outgoing| match outgoing {
                Outgoing::Event { conversation, .. } => queue.focus.contains(conversation),
                _ => true,
            });
        }
        if self.is_over() {
            self.keep(|_, outgoing| !outgoing.may_go());
        }
    }

    /// Keeps what `keeps` says; events that go leave a hint.
    fn keep(&mut self, keeps: impl Fn(&Self, &Outgoing) -> bool) {
        for (place, outgoing) in std::mem::take(&mut self.waiting) {
            if keeps(self, &outgoing) {
                self.waiting.insert(place, outgoing);
                continue;
            }
            self.bytes -= outgoing.len();
            self.droppable -= usize::from(outgoing.may_go());
            match outgoing {
                Outgoing::Event { conversation, seq, .. } => {
                    self.dropped.1 += 1;
                    self.hint(conversation, seq);
                }
                _ => self.dropped.0 += 1,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::outgoing::Latest, *};
    use kith_protocol::UserId;

    fn event(conversation: ConversationId, seq: u64, bytes: usize) -> Outgoing {
        Outgoing::Event { conversation, seq: Seq(seq), json: "1".repeat(bytes).into(), since: Instant::now() }
    }

    fn frame(text: &str) -> Outgoing {
        Outgoing::Frame(text.into())
    }

    fn markers(topic: Topic, delivered: u64, read: u64) -> Outgoing {
        let json = format!("[{delivered},{read}]").into();
        Outgoing::Latest(Latest { topic, version: (delivered, read), json })
    }

    fn read(frames: &[Arc<str>]) -> Vec<serde_json::Value> {
        frames.iter().map(|text| serde_json::from_str(text).unwrap()).collect()
    }

    fn read_all(queue: &mut Queue) -> Vec<serde_json::Value> {
        let mut all = Vec::new();
        while !queue.is_empty() {
            all.extend(read(&queue.take()));
        }
        all
    }

    #[test]
    fn l3_events_of_one_conversation_leave_in_one_frame() {
        let mut queue = Queue::default();
        let (a, b) = (ConversationId::mint(), ConversationId::mint());
        for seq in 1..=3 {
            queue.put(event(a, seq, 1));
            queue.put(event(b, seq, 1));
        }
        let frames = read(&queue.take());
        assert_eq!(frames.len(), 2);
        assert_eq!(frames[0]["events"].as_array().unwrap().len(), 3);
        assert_eq!(frames[1]["conversation"], b.to_string());
    }

    #[test]
    fn l2_a_slow_reader_costs_ephemerals_then_events_and_focus_goes_last() {
        let mut queue = Queue::default();
        let (seen, unseen) = (ConversationId::mint(), ConversationId::mint());
        queue.focus = [seen].into();
        queue.put(Outgoing::Ephemeral(r#"{"type":"ephemeral"}"#.into()));
        for seq in 1..=600 {
            queue.put(event(seen, seq, 1));
            queue.put(event(unseen, seq, 1));
        }
        let frames = read_all(&mut queue);
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
    fn sec_031_l2_l5_memory_stays_bounded_while_nobody_reads() {
        let mut queue = Queue::default();
        let conversation = ConversationId::mint();
        queue.focus = [conversation].into();
        for seq in 1..=5_000 {
            queue.put(event(conversation, seq, 2_000));
            assert!(queue.bytes <= limits::OUTBOUND_BYTES_MAX);
        }
        let frames = read_all(&mut queue);
        assert_eq!(frames.last().unwrap()["heads"], serde_json::json!([[conversation, 5_000]]));
    }

    #[test]
    fn l2_of_each_members_markers_the_newest_alone_waits() {
        let mut queue = Queue::default();
        let conversation = ConversationId::mint();
        let topics = [(); 3].map(|()| Topic::Markers(conversation, UserId::mint()));
        for seq in 1..=50_000 {
            for topic in topics {
                assert!(queue.put(markers(topic, seq, 0)));
            }
        }
        queue.put(frame("0"));
        queue.put(markers(topics[0], 50_000, 7));
        queue.put(markers(topics[0], 49_999, 0));
        let frames = read_all(&mut queue);
        assert_eq!(frames, read(&["[50000,0]", "[50000,0]", "0", "[50000,7]"].map(Arc::from)));
        assert!(queue.put(markers(topics[0], 1, 0)), "whatever was written is forgotten");
        assert_eq!((queue.take().len(), queue.bytes), (1, 0));
    }

    #[test]
    fn l2_behind_too_many_answers_events_are_hints_from_the_start() {
        let mut queue = Queue::default();
        let conversation = ConversationId::mint();
        for _ in 0..=limits::OUTBOUND_FRAMES_MAX {
            queue.put(frame("0"));
        }
        queue.put(event(conversation, 1, 1));
        queue.put(Outgoing::Ephemeral("1".into()));
        assert_eq!(queue.droppable, 0, "nothing that would be looked for again with each further one");
        let frames = read_all(&mut queue);
        assert_eq!(frames.len(), limits::OUTBOUND_FRAMES_MAX + 2);
        assert_eq!(frames.last().unwrap()["heads"], serde_json::json!([[conversation, 1]]));
    }

    #[test]
    fn l2_answers_that_nobody_takes_are_bounded_in_bytes_and_in_number() {
        let mut queue = Queue::default();
        let few = (0..).take_while(|_| queue.put(frame("0"))).count();
        assert_eq!(few, KEPT_FRAMES_MAX);
        let long = "0".repeat(limits::OUTBOUND_BYTES_MAX);
        assert_eq!((0..).take_while(|_| queue.put(frame(&long))).count(), 16);
        assert!(queue.is_empty());
    }

    #[test]
    fn s2_events_below_the_heads_sent_do_not_go_out() {
        let mut queue = Queue::default();
        let conversation = ConversationId::mint();
        queue.put(event(conversation, 4, 1));
        queue.put(event(conversation, 5, 1));
        queue.set_floors([(conversation, Seq(4))].into());
        queue.put(event(conversation, 3, 1));
        let frames = read(&queue.take());
        assert_eq!(frames[0]["events"].as_array().unwrap().len(), 1);
    }
}

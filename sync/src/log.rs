//! One conversation's log as the machine sees it: what is stored, what the server has, what is missing.

mod lineage;
mod pulls;

use super::{
    ops::{LocalConversation, LocalRange},
    ranges::{Mismatch, Ranges, run_of},
};
use kith_protocol::{
    Chain, ConversationId, Event, Seq, TimestampMs,
    frame::{Direction, HeadsItem, Page},
    limits,
};
use std::collections::{BTreeMap, VecDeque};

/// Up to this many events of a conversation are fetched without anybody asking; what is older comes on demand.
const HISTORY_MAX: u64 = 5_000;

/// So often in a row a probe may find nothing wrong; then the conversation is fetched anew.
const CONTRADICTIONS_MAX: u32 = 3;

/// A pull that somebody asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RangeRequest {
    pub from: Seq,
    pub to: Option<Seq>,
    pub direction: Direction,
}

/// Events that continue what is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Continued {
    pub chain_before: Chain,
    pub events: Vec<Event>,
}

#[derive(Debug)]
pub struct Log {
    conversation: ConversationId,
    pub ranges: Ranges,
    /// The newest stored seq when the connection began: heads below it are of another log (S7).
    pub high_at_hello: Seq,
    /// The server's log is known to continue what is stored (S7): nothing of the conversation is sent before.
    pub is_confirmed: bool,
    /// Monotonic ms; whether it does is not asked before. `None` while no answer is awaited or due.
    pub confirm_after: Option<u64>,
    /// The newest seq that the server is known to have.
    pub head: Seq,
    /// The head when the connection began.
    handshake_head: Seq,
    /// The head of the heads item that membership and floor are of.
    told_at: Seq,
    /// The chain's value at a head that heads have told.
    head_chain: Option<(Seq, Chain)>,
    floor: Seq,
    pub visible: Vec<(Seq, Option<Seq>)>,
    pub last_ts: TimestampMs,
    /// Events above a hole (C1).
    buffer: BTreeMap<Seq, Event>,
    /// Monotonic ms until which a hole may close by itself (C1).
    pub wait_until: Option<u64>,
    pub pull: Option<u64>,
    /// The head when it was asked for.
    pub head_at_pull: Seq,
    /// Monotonic ms; a refused pull is not repeated before.
    pub pull_after: u64,
    /// Pulls in a row that brought nothing.
    fruitless: u32,
    /// Refused for good, until heads say otherwise.
    pub denied: bool,
    pub requests: VecDeque<RangeRequest>,
    /// The one that the pull in flight is for.
    request_in_flight: Option<RangeRequest>,
    /// What the server has said, and what was sent in this connection.
    pub delivered: Seq,
    pub delivered_sent: Seq,
    /// The newest stored event of somebody else.
    pub others_high: Seq,
    /// The log was cut, and no heads item has arrived since. Title and members may come from removed events. A hidden
    /// conversation gets an item only after the event that unhides it.
    pub awaits_item: bool,
    /// A fork is being resolved (S7): nothing is applied.
    pub probing: bool,
    /// The stored seq that showed a fork, and how often in a row one did.
    suspect: Option<Seq>,
    contradictions: u32,
    /// The probe was refused; it is repeated then, monotonic ms.
    pub probe_after: Option<u64>,
}

impl Log {
    pub fn stored(local: LocalConversation) -> Self {
        let ranges = Ranges::new(local.ranges);
        Self {
            conversation: local.conversation,
            head: local.head.max(ranges.high()),
            others_high: ranges.high(),
            high_at_hello: ranges.high(),
            is_confirmed: ranges.all().is_empty(),
            confirm_after: None,
            ranges,
            handshake_head: Seq::ZERO,
            told_at: Seq::ZERO,
            head_chain: None,
            floor: Seq(1),
            visible: local.visible,
            last_ts: local.last_ts,
            buffer: BTreeMap::new(),
            wait_until: None,
            pull: None,
            head_at_pull: Seq::ZERO,
            pull_after: 0,
            fruitless: 0,
            denied: false,
            requests: VecDeque::new(),
            request_in_flight: None,
            delivered: local.delivered,
            delivered_sent: Seq::ZERO,
            awaits_item: false,
            probing: false,
            suspect: None,
            contradictions: 0,
            probe_after: None,
        }
    }

    pub fn announced(conversation: ConversationId) -> Self {
        Self::stored(LocalConversation {
            conversation,
            ranges: Vec::new(),
            head: Seq::ZERO,
            visible: Vec::new(),
            last_ts: TimestampMs(0),
            delivered: Seq::ZERO,
        })
    }

    /// Takes a heads item; `fresh` if it is of the heads that begin a connection (S2).
    ///
    /// # Errors
    /// [`Mismatch`] if the server's log is not a continuation of the stored one (S7).
    pub fn heads(&mut self, item: &HeadsItem, fresh: bool) -> Result<(), Mismatch> {
        // A snapshot that a newer one has overtaken undoes nothing; only the word that begins a connection holds whatever
        // was known.
        if fresh || item.head >= self.told_at {
            self.told_at = item.head;
            self.visible.clone_from(&item.visible);
            self.floor = item.floor.max(Seq(1));
        }
        (self.denied, self.awaits_item) = (false, false);
        self.last_ts = self.last_ts.max(item.last_ts);
        self.delivered = if fresh { item.own.delivered } else { self.delivered.max(item.own.delivered) };
        if item.head >= self.head || fresh {
            self.head = item.head.max(self.ranges.high());
            self.head_chain = Some((item.head, item.chain));
            self.wait_until = None;
        }
        if fresh {
            self.handshake_head = item.head;
            self.is_confirmed = self.ranges.is_continued_by(item.head, item.chain);
            self.confirm_after = None;
        }
        let differs = self
            .ranges
            .newest()
            .is_some_and(|range| range.high == item.head && range.chain_high != item.chain);
        if differs || (fresh && (self.high_at_hello > item.head || self.first_unseen().is_some())) {
            return Err(Mismatch);
        }
        Ok(())
    }

    /// The server has at least this; if it does not come by itself within [`limits::GAP_WAIT`], it is pulled.
    pub fn expects(&mut self, seq: Seq, now: u64) {
        if seq > self.head {
            self.head = seq;
        }
        if self.head > self.ranges.high() && self.wait_until.is_none() {
            self.wait_until = Some(now + limits::GAP_WAIT.as_millis() as u64);
        }
    }

    /// The server has at least this, and will not send it by itself.
    pub fn hinted(&mut self, seq: Seq) {
        self.head = self.head.max(seq);
        self.wait_until = None;
    }

    /// Takes live events (C1): what continues the newest range is answered, what lies above a hole waits.
    ///
    /// # Errors
    /// [`Mismatch`] if the chain does not continue, or if the log was not compared and an event takes a stored one's place.
    pub fn live(&mut self, events: Vec<Event>, now: u64) -> Result<Option<Continued>, Mismatch> {
        let mut taken = None;
        for event in events {
            self.last_ts = self.last_ts.max(event.ts);
            self.head = self.head.max(event.seq);
            if !self.is_confirmed && event.seq <= self.ranges.high() {
                taken = Some(event.seq);
            }
            if event.seq > self.ranges.high() && !self.ranges.contains(event.seq) {
                self.buffer.insert(event.seq, event);
            }
        }
        while self.buffer.len() > limits::GAP_BUFFER_EVENTS_MAX && self.buffer.pop_last().is_some() {}
        if taken.is_some() && !self.probing {
            self.suspect = taken;
            return Err(Mismatch);
        }
        let continued = self.drain()?;
        if self.head > self.ranges.high() {
            self.wait_until.get_or_insert(now + limits::GAP_WAIT.as_millis() as u64);
        }
        Ok(continued)
    }

    /// Takes from the buffer what continues the newest range.
    fn drain(&mut self) -> Result<Option<Continued>, Mismatch> {
        if self.probing {
            return Ok(None);
        }
        let high = self.ranges.high();
        self.buffer.retain(|seq, _| *seq > high);
        let Some(first) = self.buffer.keys().next().copied() else { return Ok(None) };
        let before = match self.ranges.newest() {
            Some(range) if range.high.next() == first => range.chain_high,
            Some(_) => return Ok(None),
            None if first == Seq(1) => Chain::empty(self.conversation),
            None => match self.head_chain {
                Some((seq, chain)) if seq.next() == first => chain,
                _ => return Ok(None),
            },
        };
        let mut events: Vec<Event> = Vec::new();
        while let Some(entry) = self.buffer.first_entry() {
            if events.last().is_some_and(|last| last.seq.next() != *entry.key()) {
                break;
            }
            events.push(entry.remove());
        }
        let run = run_of(self.conversation, before, &events)?;
        self.ranges.merge(run, |_| None)?;
        self.confirm_if_continued();
        self.settle();
        Ok(Some(Continued { chain_before: before, events }))
    }

    /// Takes a page. Returns whether it holds anything, and what of the buffer continues it.
    ///
    /// # Errors
    /// [`Mismatch`] if it does not fit what is stored.
    pub fn page(&mut self, page: &Page) -> Result<(bool, Option<Continued>), Mismatch> {
        self.head = self.head.max(page.head);
        if page.events.is_empty() {
            // Nothing there that may be seen: what the head promised is out of reach. A head that became known after the
            // pull left says nothing of that.
            let is_current = self.head == self.head_at_pull;
            if page.end && is_current && self.requests.is_empty() && page.head <= self.ranges.high() {
                self.head = self.ranges.high();
            }
            return Ok((false, None));
        }
        let run: LocalRange = run_of(self.conversation, page.chain_before, &page.events)?;
        let at = |seq: Seq| {
            let index = seq.0.checked_sub(run.low.0)?;
            page.events.get(usize::try_from(index).ok()?).map(|event| event.chain)
        };
        let before = self.ranges.clone();
        self.ranges.merge(run, at)?;
        // If the events in the buffer are of another log, nothing of the page is stored.
        let continued = self.drain().inspect_err(|_| self.ranges = before)?;
        self.confirm_if_continued();
        self.fruitless = 0;
        self.settle();
        Ok((true, continued))
    }

    /// The answer to a pull names the head. One below what was known when the pull left is right: what was known is of
    /// another log (S7), and would be asked for without end.
    pub fn head_told(&mut self, head: Seq) {
        if head < self.head_at_pull && self.head == self.head_at_pull {
            let buffered = self.buffer.keys().next_back().copied().unwrap_or(Seq::ZERO);
            self.head = head.max(self.ranges.high()).max(buffered);
            self.settle();
        }
    }

    /// The pull in flight was not answered: what somebody asked for is asked for again.
    pub fn pull_failed(&mut self) {
        self.pull = None;
        if let Some(request) = self.request_in_flight.take() {
            self.requests.push_front(request);
        }
    }

    /// The pull in flight was answered. What somebody asked for and the page does not reach any more is asked for next.
    pub fn pull_answered(&mut self, page: &Page) {
        self.pull = None;
        let Some(request) = self.request_in_flight.take() else { return };
        let rest = RangeRequest { from: page.high.next(), ..request };
        let is_part =
            request.direction == Direction::Forward && !page.events.is_empty() && page.high >= request.from;
        if is_part && request.to.is_some_and(|to| rest.from <= to) {
            self.requests.push_front(rest);
        }
    }

    /// Asks for one event, together with the one before it if that is asked for, too.
    pub fn want(&mut self, seq: Seq) {
        if self.requests.iter().any(|request| request.from <= seq && request.to.is_some_and(|to| seq <= to)) {
            return;
        }
        match self.requests.back_mut() {
            Some(last) if last.direction == Direction::Forward && last.to == Some(seq.previous()) => {
                last.to = Some(seq);
            }
            _ => self.requests.push_back(RangeRequest {
                from: seq,
                to: Some(seq),
                direction: Direction::Forward,
            }),
        }
    }

    /// A pull was refused, or brought nothing: the next one waits.
    pub fn back_off_pull(&mut self, now: u64, least_ms: u64) {
        self.pull_after = now + super::backoff::item_wait_ms(self.fruitless + 2).max(least_ms);
        self.fruitless = (self.fruitless + 1).min(16);
    }

    /// Nothing more is to be had, until heads say otherwise.
    pub fn deny(&mut self) {
        self.denied = true;
        self.requests.clear();
    }

    fn settle(&mut self) {
        if self.ranges.high() >= self.head {
            self.wait_until = None;
        }
    }

    pub fn disconnected(&mut self) {
        self.pull_failed();
        self.pull_after = 0;
        self.fruitless = 0;
        self.delivered_sent = Seq::ZERO;
        self.wait_until = None;
        self.buffer.clear();
        (self.probing, self.probe_after) = (false, None);
        self.confirm_after = None;
    }

    /// Whether nothing is open that only heads settle.
    pub fn is_settled(&self) -> bool {
        !self.probing && self.probe_after.is_none() && !self.denied
    }

    pub fn is_behind(&self) -> bool {
        !self.denied && !self.visible.is_empty() && self.head > self.ranges.high() && self.head >= self.floor
    }

    /// Whether something is missing of what was there when the connection began.
    pub fn is_behind_handshake(&self) -> bool {
        self.is_behind() && self.ranges.high() < self.handshake_head
    }

    /// Whether anything is to be pulled, now or later.
    pub fn has_work(&self) -> bool {
        let old = !self.denied && (self.gap().is_some() || self.history().is_some());
        self.is_behind() || !self.requests.is_empty() || old || self.probe_after.is_some()
    }
}

//! One client: its store, its machine and its clocks.

use super::{Happening, World};
use crate::{
    driver::Applied,
    sim::operations::{SimStore, announced},
};
use kith_protocol::{
    ClientFrame, ConversationId, DeviceId, ErrorCode, EventId, Seq, TimestampMs, UserId,
    frame::{Auth, OwnState},
};
use kith_sync::{
    Action, Input, Machine, MachineOptions, Now, Pace,
    ops::{OutboxOp, OutboxUpdate, StoreOp},
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How long a slow store takes at most, ms.
const SLOW_WRITE_MS: u64 = 3_000;
/// The wall clock at the beginning, ms.
const BEGAN: i64 = 1_750_000_000_000;

pub(crate) struct Client {
    pub user: UserId,
    pub device: DeviceId,
    pub store: SimStore,
    pub machine: Option<Machine>,
    /// Rises with every start of the machine: what was under way for an earlier one is void.
    pub incarnation: u32,
    pub connection: Option<u64>,
    pub opening: bool,
    /// When the last answer to a renewal arrives.
    pub renewed_at: u64,
    /// Until then the token is good.
    pub token_until: u64,
    pub asleep_until: u64,
    /// How long the monotonic clock stood still.
    pub slept: u64,
    /// How far the wall clock is set wrong, ms.
    pub wall_is_off: i64,
    /// Events in the order in which they were written (I5).
    pub written: Vec<(ConversationId, EventId)>,
    /// What the user took back; whether it had been tried, and may have arrived (O7).
    pub cancelled: BTreeMap<EventId, bool>,
    pub retried: BTreeSet<EventId>,
    /// What the server refused and what is no message. A frame that the network repeats may be taken after all.
    pub refused: BTreeSet<EventId>,
    /// When the profile took its device, ms.
    pub device_since: u64,
    /// Every transaction, where somebody wants to play it again.
    pub record: Option<Vec<Vec<StoreOp>>>,
    pub read: BTreeMap<ConversationId, Seq>,
    /// What the user said last of pin and mute; the archive is left by itself.
    pub said: BTreeMap<ConversationId, Said>,
    /// Every acknowledgement ever (I1).
    pub acked: Vec<(ConversationId, EventId, Seq)>,
    /// What the machine has decided and the store is still busy with.
    writing: Option<Decided>,
    waiting: VecDeque<Input>,
    /// How far each conversation was when this device was first in sync: nothing up to there is news.
    pub known_from: BTreeMap<ConversationId, Seq>,
    /// Whether the first sync has ended.
    pub is_synced: bool,
    /// Messages that were announced.
    pub announced: BTreeMap<ConversationId, u64>,
    pub power_cuts: u64,
}

/// What one turn of the machine wants.
#[derive(Debug)]
struct Decided {
    ops: Vec<StoreOp>,
    rest: Vec<Action>,
}

/// The last word of a user on own state.
#[derive(Debug, Clone, Default)]
pub(crate) struct Said {
    pub pin: Option<bool>,
    pub mute: Option<TimestampMs>,
}

impl Client {
    pub(crate) fn new(user: UserId, device: DeviceId, is_on_disk: bool) -> Self {
        let store = if is_on_disk { SimStore::disk(user) } else { SimStore::memory(user) };
        Self::with(store, user, device)
    }

    /// What the user did while the store was busy: it was written before.
    fn take_updates(&mut self) -> Vec<OutboxUpdate> {
        let (updates, others): (VecDeque<_>, _) =
            self.waiting.drain(..).partition(|input| matches!(input, Input::Outbox(_)));
        self.waiting = others;
        let update = |input| match input {
            Input::Outbox(update) => Some(update),
            _ => None,
        };
        updates.into_iter().filter_map(update).collect()
    }

    fn with(store: SimStore, user: UserId, device: DeviceId) -> Self {
        Self {
            user,
            device,
            store,
            machine: None,
            incarnation: 0,
            connection: None,
            opening: false,
            renewed_at: 0,
            token_until: 30_000,
            asleep_until: 0,
            slept: 0,
            wall_is_off: 0,
            written: Vec::new(),
            cancelled: BTreeMap::new(),
            retried: BTreeSet::new(),
            refused: BTreeSet::new(),
            device_since: 0,
            record: None,
            read: BTreeMap::new(),
            said: BTreeMap::new(),
            acked: Vec::new(),
            writing: None,
            waiting: VecDeque::new(),
            known_from: BTreeMap::new(),
            is_synced: false,
            announced: BTreeMap::new(),
            power_cuts: 0,
        }
    }

    /// The same profile once more (S8).
    pub(crate) fn copied(&self) -> Self {
        Self {
            token_until: self.token_until,
            wall_is_off: self.wall_is_off,
            written: self.written.clone(),
            cancelled: self.cancelled.clone(),
            retried: self.retried.clone(),
            refused: self.refused.clone(),
            device_since: self.device_since,
            read: self.read.clone(),
            said: self.said.clone(),
            acked: self.acked.clone(),
            known_from: self.known_from.clone(),
            is_synced: self.is_synced,
            announced: self.announced.clone(),
            power_cuts: self.power_cuts,
            ..Self::with(self.store.copied(), self.user, self.device)
        }
    }

    pub(crate) fn wall(&self, now: u64) -> TimestampMs {
        TimestampMs((BEGAN + now as i64 + self.wall_is_off) as u64)
    }
}

impl World {
    pub(crate) fn start(&mut self, client: usize) {
        let seed = self.rng.number();
        let one = &mut self.clients[client];
        one.incarnation += 1;
        let (user, device, pace) = (one.user, one.device, Pace::OF_TESTS);
        let options = MachineOptions { user, device, app: "sim/1".to_owned(), seed, pace };
        let wall = one.wall(self.now);
        (one.writing, one.waiting) = (None, VecDeque::new());
        one.machine = Some(Machine::new(options, one.store.load(wall)));
        self.check_started(client);
        self.feed(client, Input::Start);
    }

    pub(crate) fn crash(&mut self, client: usize) {
        self.counts.crashes += 1;
        self.drop_connection(client);
        let one = &mut self.clients[client];
        (one.machine, one.opening, one.writing) = (None, false, None);
        one.waiting.clear();
    }

    /// Feeds a machine one input.
    pub(crate) fn feed(&mut self, client: usize, input: Input) {
        self.feed_many(client, vec![input]);
    }

    /// Feeds a machine as the driver does: what the inputs ask to be written is one transaction, then the rest. While
    /// the store is busy, what comes waits.
    pub(super) fn feed_many(&mut self, client: usize, first: Vec<Input>) {
        let one = &mut self.clients[client];
        if one.machine.is_none() {
            return;
        }
        one.waiting.extend(first);
        if one.writing.is_none() {
            self.turn(client);
        }
    }

    fn now_of(&self, client: usize) -> Now {
        let one = &self.clients[client];
        Now { mono: self.now.max(one.asleep_until) - one.slept, wall: one.wall(self.now) }
    }

    /// Lets the machine decide until nothing is left to decide on, or the store takes its time.
    fn turn(&mut self, client: usize) {
        let now = self.now_of(client);
        loop {
            let one = &mut self.clients[client];
            let inputs = std::mem::take(&mut one.waiting);
            if inputs.is_empty() {
                break;
            }
            let Some(machine) = &mut one.machine else { return };
            let (mut ops, mut rest) = (Vec::new(), Vec::new());
            for action in inputs.into_iter().flat_map(|input| machine.handle(input, now)) {
                if let Action::Store(op) = action { ops.push(op) } else { rest.push(action) }
            }
            if self.faults && self.rng.up_to(400) == 0 {
                return self.crash(client);
            }
            let decided = Decided { ops, rest };
            if self.faults && !decided.ops.is_empty() && self.rng.up_to(60) == 0 {
                return self.write_slowly(client, decided);
            }
            if !self.carry_out_all(client, decided) {
                return;
            }
        }
        let machine = self.clients[client].machine.as_ref();
        if let Some(at) = machine.and_then(Machine::deadline) {
            assert!(at >= now.mono, "seed {}: a deadline in the past", self.seed);
            let at = at + self.clients[client].slept;
            self.at(at.max(self.now + 1), Happening::Timer { client });
        }
    }

    /// The disk is busy, and the user goes on.
    fn write_slowly(&mut self, client: usize, decided: Decided) {
        self.counts.slow_writes += 1;
        let one = &mut self.clients[client];
        one.writing = Some(decided);
        let incarnation = one.incarnation;
        let at = self.now + 1 + self.rng.up_to(SLOW_WRITE_MS);
        self.at(at, Happening::Written { client, incarnation });
        self.act_meanwhile(client, at);
    }

    pub(super) fn written(&mut self, client: usize, incarnation: u32) {
        let one = &mut self.clients[client];
        if one.incarnation != incarnation {
            return;
        }
        if let Some(decided) = one.writing.take()
            && self.carry_out_all(client, decided)
        {
            self.turn(client);
        }
    }

    /// Writes, then acts; `false` if the client crashed meanwhile.
    fn carry_out_all(&mut self, client: usize, Decided { ops, mut rest }: Decided) -> bool {
        let mut answers = Vec::new();
        if !ops.is_empty() {
            let mut answer = self.write(client, ops);
            match &mut answer {
                Input::StoreFailed => {
                    rest.retain(|a| !matches!(a, Action::Send(..) | Action::Exchange(_)));
                }
                Input::Stored(stored) => stored.earlier = self.clients[client].take_updates(),
                _ => {}
            }
            answers.push(answer);
        }
        if self.faults && self.rng.up_to(400) == 0 {
            self.crash(client);
            return false;
        }
        for action in rest {
            answers.extend(self.carry_out(client, action));
        }
        // What the store answers comes before what waited meanwhile.
        let waiting = &mut self.clients[client].waiting;
        answers.extend(waiting.drain(..));
        waiting.extend(answers);
        true
    }

    fn write(&mut self, client: usize, ops: Vec<StoreOp>) -> Input {
        if self.faults && self.rng.up_to(300) == 0 {
            self.counts.failed_writes += 1;
            return Input::StoreFailed;
        }
        let again = self.rng.up_to(7) == 0;
        let wall = self.clients[client].wall(self.now);
        if let Some(record) = &mut self.clients[client].record {
            record.push(ops.clone());
        }
        for op in &ops {
            self.note(client, op);
        }
        let (overtaken, marks) = (self.overtaken(client, &ops), self.own_marks(client, &ops));
        let store = &mut self.clients[client].store;
        let muted = |store: &SimStore, id| store.as_disk().is_some_and(|disk| disk.is_muted(id, wall));
        // Several changes may be written at once, and one between them may end the muting.
        let unmutes = |id: ConversationId| {
            let is_it = |own: &OwnState| own.conversation == id && own.mute <= wall;
            ops.iter().any(|op| match op {
                StoreOp::OwnState { items, .. } => items.iter().any(is_it),
                StoreOp::Heads { items, .. } => items.iter().any(|item| is_it(&item.own)),
                _ => false,
            })
        };
        let before: Vec<_> = self
            .conversations
            .iter()
            .map(|(id, ..)| *id)
            .filter(|id| muted(store, *id) && !unmutes(*id))
            .collect();
        // Own state of a conversation that is announced later is dropped; behind the announcement it is not.
        let is_unknown = |own: &OwnState| store.ranges(own.conversation).is_none();
        let drops = ops
            .iter()
            .any(|op| matches!(op, StoreOp::OwnState { items, .. } if items.iter().any(is_unknown)));
        let Applied { stored, notices } = store.apply(ops.clone(), wall);
        for (conversation, count) in notices.iter().filter_map(announced) {
            let one = &mut self.clients[client];
            *one.announced.entry(conversation).or_default() += count;
            let is_muted = before.contains(&conversation) && muted(&one.store, conversation);
            assert!(!is_muted, "seed {}: announced, client {client}, although muted", self.seed);
        }
        self.trace(|| format!("client {client} writes {ops:?}: {stored:?}"));
        self.check_own_marks(client, marks);
        for (id, facts) in overtaken {
            let now = self.clients[client].store.facts(id);
            let (seed, known) = (self.seed, Some(facts));
            assert_eq!(now, known, "seed {seed}: S3, client {client}, old heads undo what is known of {id}");
        }
        let repeatable = |op: &StoreOp| {
            !matches!(
                op,
                StoreOp::Sending { .. }
                    | StoreOp::Queued { .. }
                    | StoreOp::Acked { .. }
                    | StoreOp::Rewind { .. }
                    | StoreOp::Retry { .. }
                    | StoreOp::Parked { .. }
                    | StoreOp::DraftConflict { .. }
                    | StoreOp::Count { .. }
            )
        };
        // A handshake is never repeated behind what came after it.
        let handshakes =
            ops.len() > 1 && ops.iter().any(|op| matches!(op, StoreOp::Heads { handshake: true, .. }));
        // A list of members that the same write found to be old is requested again. Written twice, it is mended earlier.
        let lists =
            !stored.members_wanted.is_empty() && ops.iter().any(|op| matches!(op, StoreOp::Members { .. }));
        if again && !handshakes && !drops && !lists && ops.iter().all(repeatable) {
            let store = &mut self.clients[client].store;
            let before = store.image();
            let again = store.apply(ops, wall);
            let after = store.image();
            assert_eq!(after, before, "seed {}: I8, the same again changes nothing", self.seed);
            let twice = again.notices.iter().find_map(announced);
            assert_eq!(twice, None, "seed {}: I8, announced twice", self.seed);
        }
        Input::Stored(stored)
    }

    /// Keeps what the judge compares with later.
    fn note(&mut self, client: usize, op: &StoreOp) {
        let one = &mut self.clients[client];
        match op {
            StoreOp::Acked { item, id, seq, .. } => {
                if let Some(conversation) = one.store.conversation_of(*item) {
                    one.acked.push((conversation, *id, *seq));
                }
            }
            StoreOp::Parked { items, code } if *code != ErrorCode::TargetMissing => {
                for (_, row) in one.store.outbox().into_iter().filter(|(item, _)| items.contains(item)) {
                    if let OutboxOp::Event(event) = row.op
                        && event.kind != "message"
                    {
                        one.refused.insert(event.id);
                    }
                }
            }
            StoreOp::Device { .. } => one.device_since = self.now,
            StoreOp::Heads { last, items, .. } => {
                for item in items {
                    let from = if one.is_synced { Seq::ZERO } else { item.head };
                    one.known_from.entry(item.own.conversation).or_insert(from);
                }
                one.is_synced |= *last;
            }
            _ => {}
        }
    }

    fn carry_out(&mut self, client: usize, action: Action) -> Option<Input> {
        let incarnation = self.clients[client].incarnation;
        let at = self.now + self.latency();
        match action {
            Action::Connect => {
                self.clients[client].opening = true;
                self.at(at, Happening::Connected { client, incarnation });
            }
            Action::Send(frame, request) => {
                self.check_leaving(client, &frame);
                self.send_up(client, &frame, request);
            }
            Action::SendToken(request) => {
                let frame = ClientFrame::Auth(Auth { token: "fresh".to_owned() });
                self.send_up(client, &frame, Some(request));
            }
            Action::Close => {
                self.clients[client].opening = false;
                self.drop_connection(client);
            }
            Action::Exchange(frames) => {
                frames.iter().for_each(|(frame, _)| self.check_leaving(client, frame));
                self.at(at, Happening::Exchange { client, incarnation, frames });
            }
            Action::RenewToken { new_device } => {
                self.at(at, Happening::Renewal { client, incarnation, new_device });
            }
            Action::Reload => {
                let one = &mut self.clients[client];
                let wall = one.wall(self.now);
                drop(one.take_updates());
                return Some(Input::Reloaded(one.store.load(wall)));
            }
            Action::Check => {
                if let Some(connection) = self.clients[client].connection
                    && self.half_open.contains(&connection)
                {
                    let at = self.now + 1 + self.rng.up_to(5_000);
                    self.at(at, Happening::Broken { client, connection });
                }
            }
            Action::Stopped(code) => panic!("seed {}: stopped by {code}", self.seed),
            Action::Store(_) => panic!("writes were taken out"),
            Action::Link(_) | Action::Typing(..) | Action::Presence(_) => {}
        }
        None
    }

    fn send_up(&mut self, client: usize, frame: &ClientFrame, request: Option<u64>) {
        let Some(connection) = self.clients[client].connection else { return };
        for _ in 0..self.copies() {
            let mut at = self.arrival(connection, true, false);
            if matches!(frame, ClientFrame::State(_)) {
                // The last word counts, and a socket keeps the order of words.
                let last = self.last_arrival.entry((connection, true)).or_default();
                *last = at.max(*last);
                at = *last;
            }
            self.at(at, Happening::Up { connection, frame: Box::new(frame.clone()), request });
        }
    }
}

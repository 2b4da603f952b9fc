//! One client: its store, its machine and its clocks.

use super::{Happening, World};
use crate::sync::{Action, Input, Machine, MachineOptions, Now, ops::StoreOp, sim::store::MemoryStore};
use kith_protocol::{ClientFrame, ConversationId, DeviceId, EventId, Seq, TimestampMs, UserId, frame::Auth};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The wall clock at the beginning, ms.
const BEGAN: i64 = 1_750_000_000_000;

pub(crate) struct Client {
    pub user: UserId,
    pub device: DeviceId,
    pub store: MemoryStore,
    pub machine: Option<Machine>,
    /// Rises with every start of the machine: what was under way for an earlier one is void.
    pub life: u32,
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
    /// The newest message that this client wrote in each, for reactions.
    pub messages: BTreeMap<ConversationId, EventId>,
    /// What the user took back; whether it had been tried, and may have arrived (O7).
    pub cancelled: BTreeMap<EventId, bool>,
    pub retried: BTreeSet<EventId>,
    /// Every transaction, where somebody wants to play it again.
    pub record: Option<Vec<Vec<StoreOp>>>,
    pub read: BTreeMap<ConversationId, Seq>,
}

impl Client {
    pub(crate) fn new(user: UserId, device: DeviceId) -> Self {
        Self {
            user,
            device,
            store: MemoryStore { me: Some(user), ..MemoryStore::default() },
            machine: None,
            life: 0,
            connection: None,
            opening: false,
            renewed_at: 0,
            token_until: 30_000,
            asleep_until: 0,
            slept: 0,
            wall_is_off: 0,
            written: Vec::new(),
            messages: BTreeMap::new(),
            cancelled: BTreeMap::new(),
            retried: BTreeSet::new(),
            record: None,
            read: BTreeMap::new(),
        }
    }

    /// The same profile once more (S8).
    pub(crate) fn copied(&self) -> Self {
        Self {
            store: self.store.clone(),
            token_until: self.token_until,
            wall_is_off: self.wall_is_off,
            written: self.written.clone(),
            messages: self.messages.clone(),
            cancelled: self.cancelled.clone(),
            read: self.read.clone(),
            ..Self::new(self.user, self.device)
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
        one.life += 1;
        let options = MachineOptions { user: one.user, device: one.device, app: "sim/1".to_owned(), seed };
        one.machine = Some(Machine::new(options, one.store.load()));
        self.feed(client, Input::Start);
    }

    pub(crate) fn crash(&mut self, client: usize) {
        self.counts.crashes += 1;
        self.drop_connection(client);
        self.clients[client].machine = None;
        self.clients[client].opening = false;
    }

    /// Feeds a machine one input.
    pub(crate) fn feed(&mut self, client: usize, input: Input) {
        self.feed_many(client, vec![input]);
    }

    /// Feeds a machine as the driver does: what the inputs ask to be written is one transaction, then the rest.
    pub(super) fn feed_many(&mut self, client: usize, first: Vec<Input>) {
        let mut inputs = VecDeque::from(first);
        let one = &self.clients[client];
        let now = Now { mono: self.now.max(one.asleep_until) - one.slept, wall: one.wall(self.now) };
        while !inputs.is_empty() {
            let Some(machine) = &mut self.clients[client].machine else { return };
            let (mut ops, mut rest) = (Vec::new(), Vec::new());
            for action in inputs.drain(..).flat_map(|input| machine.handle(input, now)) {
                if let Action::Store(op) = action { ops.push(op) } else { rest.push(action) }
            }
            if self.faults && self.rng.up_to(400) == 0 {
                return self.crash(client);
            }
            if !ops.is_empty() {
                let answer = self.write(client, ops);
                if answer == Input::StoreFailed {
                    rest.retain(|a| !matches!(a, Action::Send(..) | Action::Exchange(_)));
                }
                inputs.push_back(answer);
            }
            if self.faults && self.rng.up_to(400) == 0 {
                return self.crash(client);
            }
            for action in rest {
                inputs.extend(self.carry_out(client, action));
            }
        }
        let machine = self.clients[client].machine.as_ref();
        if let Some(at) = machine.and_then(Machine::deadline) {
            assert!(at >= now.mono, "seed {}: a deadline in the past", self.seed);
            let at = at + self.clients[client].slept;
            self.at(at.max(self.now + 1), Happening::Timer { client });
        }
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
        let store = &mut self.clients[client].store;
        store.wall = Some(wall);
        let stored = store.apply(ops.clone());
        self.trace(|| format!("client {client} writes {ops:?}: {stored:?}"));
        let store = &mut self.clients[client].store;
        let repeatable = |op: &StoreOp| {
            !matches!(
                op,
                StoreOp::Sending { .. }
                    | StoreOp::Queued { .. }
                    | StoreOp::Acked { .. }
                    | StoreOp::Rewind { .. }
                    | StoreOp::Retry { .. }
                    | StoreOp::Parked { .. }
            )
        };
        // A greeting is never repeated behind what came after it.
        let greets =
            ops.len() > 1 && ops.iter().any(|op| matches!(op, StoreOp::Heads { greeting: true, .. }));
        if again && !greets && ops.iter().all(repeatable) {
            let before = store.clone();
            store.apply(ops);
            assert_eq!(*store, before, "seed {}: I8, the same again changes nothing", self.seed);
        }
        Input::Stored(stored)
    }

    fn carry_out(&mut self, client: usize, action: Action) -> Option<Input> {
        let life = self.clients[client].life;
        let at = self.now + self.latency();
        match action {
            Action::Connect => {
                self.clients[client].opening = true;
                self.at(at, Happening::Connected { client, life });
            }
            Action::Send(frame, request) => self.send_up(client, &frame, request),
            Action::SendToken(request) => {
                let frame = ClientFrame::Auth(Auth { token: "fresh".to_owned() });
                self.send_up(client, &frame, Some(request));
            }
            Action::Close => {
                self.clients[client].opening = false;
                self.drop_connection(client);
            }
            Action::Exchange(frames) => self.at(at, Happening::Exchange { client, life, frames }),
            Action::RenewToken { new_device } => {
                self.at(at, Happening::Renewal { client, life, new_device });
            }
            Action::Reload => {
                let one = &mut self.clients[client];
                return Some(Input::Reloaded(one.store.load()));
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
            let at = self.arrival(connection, true, false);
            self.at(at, Happening::Up { connection, frame: Box::new(frame.clone()), request });
        }
    }

    /// R1: what is told as delivered is stored.
    pub(crate) fn check_delivered(&self, connection: u64, frame: &ClientFrame) {
        let ClientFrame::Delivered(delivered) = frame else { return };
        let Some(client) = self.clients.iter().find(|one| one.connection == Some(connection)) else { return };
        for (conversation, seq) in &delivered.markers {
            let kept = client.store.conversations.get(conversation);
            // A marker on its way when its log was rewound names what was stored.
            let stored = kept.is_some_and(|kept| kept.ranges.contains(*seq) || self.counts.restores > 0);
            assert!(stored, "seed {}: R1, {seq} is not stored", self.seed);
        }
    }
}

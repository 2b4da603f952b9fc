//! Clients, a server, and the network between them, in simulated time.

use super::{
    server::Server,
    store::{MemoryStore, RowState},
};
use crate::sync::{Action, Input, Machine, MachineOptions, Now, backoff::Jitter, ops::StoreOp};
use kith_protocol::{
    ClientFrame, ConversationId, DeviceId, EventId, Seq, ServerFrame, TimestampMs, UserId,
    frame::ConversationKind,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use uuid::Uuid;

/// How long the bad time lasts, ms.
const CHAOS_MS: u64 = 60_000;

#[derive(Debug)]
pub(super) enum Happening {
    Up { connection: u64, frame: Box<ClientFrame>, request: Option<u64> },
    Down { client: usize, connection: u64, frame: Box<ServerFrame> },
    Connected { client: usize, life: u32 },
    Exchange { client: usize, life: u32, frames: Vec<(ClientFrame, Option<u64>)> },
    Answer { client: usize, life: u32, input: Box<Input> },
    Timer { client: usize },
    User { client: usize },
    Fault,
}

pub(super) struct Client {
    pub user: UserId,
    pub device: DeviceId,
    pub store: MemoryStore,
    pub machine: Option<Machine>,
    /// Rises with every start of the machine: what was under way for an earlier one is void.
    pub life: u32,
    pub connection: Option<u64>,
    pub opening: bool,
    /// Messages in the order in which they were written (I5).
    pub written: Vec<(ConversationId, EventId)>,
    pub cancelled: BTreeSet<EventId>,
    pub read: BTreeMap<ConversationId, Seq>,
}

pub(super) struct World {
    pub seed: u64,
    pub rng: Jitter,
    pub now: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    ticket: u64,
    pub server: Server,
    pub server_is_up: bool,
    pub clients: Vec<Client>,
    pub conversations: Vec<(ConversationId, ConversationKind, Vec<UserId>)>,
    pub last_connection: u64,
    /// For the order on each connection: upwards, downwards.
    pub last_arrival: BTreeMap<(u64, bool), u64>,
    pub faults: bool,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = Jitter::new(seed);
        let users: Vec<UserId> = (0..3).map(|n| UserId::from_uuid(Uuid::from_u128(0x10 + n))).collect();
        let clients = 2 + rng.up_to(2) as usize;
        let group = ConversationId::from_uuid(Uuid::from_u128(0x77));
        let mut world = Self {
            seed,
            rng,
            now: 1,
            queue: BTreeMap::new(),
            ticket: 0,
            server: Server::default(),
            server_is_up: true,
            clients: Vec::new(),
            conversations: vec![
                (
                    ConversationId::direct(users[0], users[1]),
                    ConversationKind::Direct,
                    vec![users[0], users[1]],
                ),
                (group, ConversationKind::Group, users.clone()),
            ],
            last_connection: 0,
            last_arrival: BTreeMap::new(),
            faults: true,
        };
        world.server.chaos = true;
        // The fourth client is the first user's second device.
        for n in 0..clients {
            let client = Client {
                user: users[n % 3],
                device: DeviceId::from_uuid(Uuid::from_u128(0x20 + n as u128)),
                store: MemoryStore::default(),
                machine: None,
                life: 0,
                connection: None,
                opening: false,
                written: Vec::new(),
                cancelled: BTreeSet::new(),
                read: BTreeMap::new(),
            };
            world.clients.push(client);
            world.start(n);
        }
        world
    }

    /// The bad time.
    pub(super) fn chaos(&mut self) {
        for client in 0..self.clients.len() {
            for _ in 0..8 + self.rng.up_to(12) {
                let at = self.rng.up_to(CHAOS_MS);
                self.at(at, Happening::User { client });
            }
        }
        for _ in 0..self.rng.up_to(14) {
            let at = self.rng.up_to(CHAOS_MS);
            self.at(at, Happening::Fault);
        }
        self.run_until(CHAOS_MS);
    }

    /// The network is good again, and the user settles some of what was refused.
    pub(super) fn heal(&mut self) {
        self.faults = false;
        self.server.chaos = false;
        self.server_is_up = true;
        for client in 0..self.clients.len() {
            self.cut(client);
            if self.clients[client].machine.is_none() {
                self.start(client);
            }
            let parked: Vec<i64> = self.clients[client]
                .store
                .outbox
                .iter()
                .filter(|(_, row)| matches!(row.state, RowState::Parked(_)))
                .map(|(item, _)| *item)
                .collect();
            for item in parked {
                if self.rng.up_to(2) > 0 {
                    self.cancel(client, item);
                }
            }
            self.feed(client, Input::SendNow);
            self.feed(client, Input::NetworkChanged);
        }
        // I6 gives five seconds from being online; a renewal or a poll under way ends first.
        self.run_until(self.now + 30_000);
    }

    /// How a client's machine stands, for the message of a failure.
    pub(super) fn state_of(&self, client: usize) -> String {
        let one = &self.clients[client];
        format!("{:?}, connection {:?}", one.machine.as_ref().map(Machine::link), one.connection)
    }

    // --- time ---

    pub(super) fn at(&mut self, time: u64, happening: Happening) {
        self.ticket += 1;
        self.queue.insert((time.max(self.now), self.ticket), happening);
    }

    fn run_until(&mut self, end: u64) {
        while let Some(entry) = self.queue.first_entry() {
            let (time, _) = *entry.key();
            if time > end {
                break;
            }
            let happening = entry.remove();
            self.now = time;
            self.server.now = time;
            self.happen(happening);
            self.carry_down();
        }
        self.now = end;
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Up { connection, frame, request } => {
                if self.server_is_up {
                    self.check_delivered(connection, &frame);
                    self.server.handle(connection, *frame, request, &mut self.rng);
                }
            }
            Happening::Down { client, connection, frame } => {
                if self.clients[client].connection == Some(connection) {
                    let batch = self.frames_together(client, connection, *frame);
                    self.feed_many(client, batch);
                }
            }
            Happening::Connected { client, life } => self.connected(client, life),
            Happening::Exchange { client, life, frames } => self.exchange(client, life, frames),
            Happening::Answer { client, life, input } => {
                if self.clients[client].life == life {
                    self.feed(client, *input);
                }
            }
            Happening::Timer { client } => self.feed(client, Input::Timer),
            Happening::User { client } => self.act(client),
            Happening::Fault => self.fault(),
        }
    }

    // --- clients ---

    pub(super) fn start(&mut self, client: usize) {
        let seed = self.rng.number();
        let one = &mut self.clients[client];
        one.life += 1;
        let options = MachineOptions { user: one.user, device: one.device, app: "sim/1".to_owned(), seed };
        one.machine = Some(Machine::new(options, one.store.load()));
        self.feed(client, Input::Start);
    }

    fn crash(&mut self, client: usize) {
        self.drop_connection(client);
        self.clients[client].machine = None;
        self.clients[client].opening = false;
    }

    /// A frame, and what may have come behind it before anybody looked.
    fn frames_together(&mut self, client: usize, connection: u64, frame: ServerFrame) -> Vec<Input> {
        let mut batch = vec![Input::Frame(frame)];
        let until = self.now + self.rng.up_to(400);
        let is_same = |happening: &Happening| {
            matches!(happening, Happening::Down { client: to, connection: by, .. }
                if *to == client && *by == connection)
        };
        let due = self.queue.iter().take_while(|((at, _), _)| *at <= until);
        let keys: Vec<_> = due.filter(|(_, happening)| is_same(happening)).map(|(key, _)| *key).collect();
        for key in keys {
            if let Some(Happening::Down { frame, .. }) = self.queue.remove(&key) {
                batch.push(Input::Frame(*frame));
            }
        }
        batch
    }

    /// Feeds a machine one input.
    pub(super) fn feed(&mut self, client: usize, input: Input) {
        self.feed_many(client, vec![input]);
    }

    /// Feeds a machine as the driver does: what the inputs ask to be written is one transaction, then the rest.
    fn feed_many(&mut self, client: usize, first: Vec<Input>) {
        let mut inputs = VecDeque::from(first);
        while !inputs.is_empty() {
            let now = Now { mono: self.now, wall: TimestampMs(self.now) };
            let Some(machine) = &mut self.clients[client].machine else { return };
            let actions: Vec<_> = inputs.drain(..).flat_map(|input| machine.handle(input, now)).collect();
            let (ops, mut rest): (Vec<_>, Vec<_>) =
                actions.into_iter().partition(|action| matches!(action, Action::Store(_)));
            let ops: Vec<StoreOp> = ops
                .into_iter()
                .filter_map(|a| if let Action::Store(op) = a { Some(op) } else { None })
                .collect();
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
            assert!(at >= self.now, "seed {}: a deadline in the past", self.seed);
            self.at(at.max(self.now + 1), Happening::Timer { client });
        }
    }

    fn write(&mut self, client: usize, ops: Vec<StoreOp>) -> Input {
        if self.faults && self.rng.up_to(300) == 0 {
            return Input::StoreFailed;
        }
        let again = self.rng.up_to(7) == 0;
        let store = &mut self.clients[client].store;
        let stored = store.apply(ops.clone());
        let repeatable = |op: &StoreOp| {
            !matches!(
                op,
                StoreOp::Sending { .. }
                    | StoreOp::Queued { .. }
                    | StoreOp::Acked { .. }
                    | StoreOp::Rewind { .. }
            ) && !matches!(op, StoreOp::Retry { .. } | StoreOp::Parked { .. })
        };
        if again && ops.iter().all(repeatable) {
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
            Action::Send(frame, request) => {
                let connection = self.clients[client].connection?;
                for _ in 0..self.copies() {
                    let at = self.arrival(connection, true);
                    self.at(at, Happening::Up { connection, frame: Box::new(frame.clone()), request });
                }
            }
            Action::Close => {
                self.clients[client].opening = false;
                self.drop_connection(client);
            }
            Action::Exchange(frames) => self.at(at, Happening::Exchange { client, life, frames }),
            Action::RenewToken { new_device } => {
                assert!(!new_device, "seed {}: nobody forks here", self.seed);
                let input = Box::new(Input::TokenRenewed(self.clients[client].device));
                self.at(at, Happening::Answer { client, life, input });
            }
            Action::Reload => {
                let one = &mut self.clients[client];
                return Some(Input::Reloaded(one.store.load()));
            }
            Action::Stopped(code) => panic!("seed {}: stopped by {code}", self.seed),
            Action::Store(_) => panic!("writes were taken out"),
            Action::SendToken(_)
            | Action::Check
            | Action::Link(_)
            | Action::Typing(..)
            | Action::Presence(_) => {}
        }
        None
    }

    fn fault(&mut self) {
        let client = self.rng.up_to(self.clients.len() as u64 - 1) as usize;
        match self.rng.up_to(4) {
            0 | 1 => self.cut(client),
            2 => {
                self.server_is_up = !self.server_is_up;
                for client in 0..self.clients.len() {
                    self.cut(client);
                }
            }
            3 => self.crash(client),
            _ if self.clients[client].machine.is_none() => self.start(client),
            _ => self.feed(client, Input::NetworkChanged),
        }
    }

    /// R1: what is told as delivered is stored.
    pub(super) fn check_delivered(&self, connection: u64, frame: &ClientFrame) {
        let ClientFrame::Delivered(delivered) = frame else { return };
        let Some(client) = self.clients.iter().find(|one| one.connection == Some(connection)) else { return };
        for (conversation, seq) in &delivered.markers {
            let stored =
                client.store.conversations.get(conversation).is_some_and(|kept| kept.ranges.contains(*seq));
            assert!(stored, "seed {}: R1, {seq} is not stored", self.seed);
        }
    }
}

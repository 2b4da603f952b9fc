//! Clients, a server, and the network between them, in simulated time.

mod checks;
mod clients;
mod faults;
mod rest;

pub(super) use clients::Client;

use super::counts::Counts;
use kith_model::{Backup, Random, Server};
use kith_protocol::{
    ClientFrame, ConversationId, DeviceId, EventId, Seq, ServerFrame, UserId,
    error::close,
    frame::{ConversationKind, Open},
};
use kith_sync::{Input, Link, Machine, backoff::Jitter};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use uuid::{Builder, Uuid, Version};

/// How long the bad time lasts, ms.
const CHAOS_MS: u64 = 60_000;
/// Small pages, so that a short log has many.
const PAGE_EVENTS: usize = 4;
/// One seed in so many plays on the real store.
const DISK_ONE_IN: u64 = 10;
/// Clients at most, copies included.
pub(super) const CLIENTS_MAX: usize = 6;

#[derive(Debug)]
pub(super) enum Happening {
    Up {
        connection: u64,
        frame: Box<ClientFrame>,
        request: Option<u64>,
    },
    Down {
        client: usize,
        connection: u64,
        frame: Box<ServerFrame>,
    },
    Connected {
        client: usize,
        incarnation: u32,
    },
    Exchange {
        client: usize,
        incarnation: u32,
        frames: Vec<(ClientFrame, Option<u64>)>,
    },
    Answer {
        client: usize,
        incarnation: u32,
        input: Box<Input>,
    },
    Renewal {
        client: usize,
        incarnation: u32,
        new_device: bool,
    },
    /// A connection that nothing goes through is found out.
    Broken {
        client: usize,
        connection: u64,
    },
    /// The token of a connection is about to end, or has ended.
    TokenEnds {
        client: usize,
        connection: u64,
        now: bool,
    },
    Timer {
        client: usize,
    },
    PowerCut {
        client: usize,
    },
    Cut {
        client: usize,
    },
    User {
        client: usize,
    },
    /// The store has carried out what the machine had decided.
    Written {
        client: usize,
        incarnation: u32,
    },
    Fault,
}

impl Happening {
    /// Whom it happens to, if it is a client that may be asleep.
    const fn client(&self) -> Option<usize> {
        match self {
            Self::Down { client, .. }
            | Self::Connected { client, .. }
            | Self::Answer { client, .. }
            | Self::Broken { client, .. }
            | Self::Timer { client }
            | Self::Written { client, .. }
            | Self::User { client } => Some(*client),
            Self::Up { .. }
            | Self::Exchange { .. }
            | Self::Renewal { .. }
            | Self::TokenEnds { .. }
            | Self::PowerCut { .. }
            | Self::Cut { .. }
            | Self::Fault => None,
        }
    }
}

/// What restores have taken from the server.
#[derive(Debug, Default)]
pub(super) struct Lost {
    /// Events, whether or not they came back.
    pub events: BTreeSet<EventId>,
    /// The lowest seq from which a log was another one.
    pub from: BTreeMap<ConversationId, Seq>,
    /// Messages whose deletion was lost, and who had deleted them: whoever had seen it keeps to it.
    pub undeleted: BTreeMap<EventId, BTreeSet<UserId>>,
    /// Conversations that did not exist at the moment of the backup.
    pub whole: BTreeSet<ConversationId>,
    /// Own states that had changed since the backup.
    pub states: BTreeSet<(UserId, ConversationId)>,
}

pub(super) struct World {
    pub seed: u64,
    pub rng: Jitter,
    pub now: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    ticket: u64,
    pub server: Server,
    pub server_is_up: bool,
    pub sockets_are_off: bool,
    pub backup: Option<Backup>,
    pub clients: Vec<Client>,
    pub conversations: Vec<(ConversationId, ConversationKind, Vec<UserId>)>,
    pub users: Vec<UserId>,
    /// People without a client, for groups with more members than heads list.
    pub crowd: Vec<UserId>,
    /// What restores have taken from the server.
    pub lost: Lost,
    /// Users of whom a profile was copied.
    pub copied: BTreeSet<UserId>,
    /// What each relation of a user is about, and its kind.
    pub targets: BTreeMap<EventId, (EventId, String)>,
    /// Which message was written as an answer to which.
    pub answers: BTreeMap<EventId, EventId>,
    /// Messages that some user has deleted, whether or not the server knows.
    pub deleted: BTreeSet<EventId>,
    pub last_connection: u64,
    /// Whose frame the server handled last.
    pub last_sender: u64,
    last_device: u128,
    /// Connections through which nothing goes any more, without either side knowing.
    pub half_open: BTreeSet<u64>,
    /// For the order on each connection: upwards, downwards.
    pub last_arrival: BTreeMap<(u64, bool), u64>,
    pub faults: bool,
    /// How often heads were asked for within a connection.
    pub heads_asked: u64,
    pub counts: Counts,
    is_traced: bool,
}

impl World {
    /// A world; `is_on_disk` says whether its clients have the real store, else the seed does.
    pub(super) fn new(seed: u64, is_on_disk: Option<bool>) -> Self {
        let mut rng = Jitter::new(seed);
        let people = 2 + u128::from(rng.up_to(2));
        let users: Vec<UserId> = (0..people).map(|n| UserId::from_uuid(Uuid::from_u128(0x10 + n))).collect();
        let clients = 2 + rng.up_to(3) as usize;
        let group =
            ConversationId::from_uuid(Builder::from_u128(0x77).with_version(Version::SortRand).into_uuid());
        let pair = vec![users[0], users[1]];
        // Some groups have more members than heads list.
        let silent = if rng.up_to(15) == 0 { 6 + rng.up_to(30) } else { 0 };
        let crowd: Vec<UserId> =
            (0..u128::from(silent)).map(|n| UserId::from_uuid(Uuid::from_u128(0x100 + n))).collect();
        let everybody = users.iter().chain(&crowd).copied().collect();
        let is_on_disk = is_on_disk.unwrap_or(seed.is_multiple_of(DISK_ONE_IN));
        let direct = ConversationId::direct(users[0], users[1]);
        let mut world = Self {
            seed,
            rng,
            now: 1,
            queue: BTreeMap::new(),
            ticket: 0,
            server: Server::default(),
            server_is_up: true,
            sockets_are_off: false,
            backup: None,
            clients: Vec::new(),
            conversations: vec![
                (direct, ConversationKind::Direct, pair),
                (group, ConversationKind::Group, everybody),
            ],
            users,
            crowd,
            lost: Lost::default(),
            copied: BTreeSet::new(),
            targets: BTreeMap::new(),
            answers: BTreeMap::new(),
            deleted: BTreeSet::new(),
            last_connection: 0,
            last_sender: 0,
            last_device: 0x20,
            half_open: BTreeSet::new(),
            last_arrival: BTreeMap::new(),
            faults: true,
            heads_asked: 0,
            counts: Counts::default(),
            is_traced: std::env::var_os("KITH_SIM_TRACE").is_some(),
        };
        world.server.page_events = PAGE_EVENTS;
        world.server.heads_items = 1 + world.rng.up_to(2) as usize;
        world.users.iter().chain(&world.crowd).for_each(|user| world.server.sign_up(*user));
        if world.rng.up_to(2) > 0 {
            world.open_all();
        }
        world.server.chaos = Some(Random::new(world.rng.number()));
        for n in 0..clients {
            let user = world.users[n % world.users.len()];
            let device = world.next_device();
            world.clients.push(Client::new(user, device, is_on_disk));
            world.start(n);
        }
        world
    }

    /// Conversations that are older than the simulation: a backup has them.
    fn open_all(&mut self) {
        for (conversation, kind, members) in self.conversations.clone() {
            let user = members[0];
            // A direct one that has not begun is its creator's alone.
            let first = json!({"id": self.mint(), "kind": "message", "body": {"text": "hello"}});
            let first = Some(first).filter(|_| kind == ConversationKind::Direct);
            let open = Open { conversation, kind, members, title: None, context: None, first };
            self.server.open_as(user, &open).expect("nobody forbids it");
        }
        self.backup = Some(self.server.backup());
    }

    pub(super) fn next_device(&mut self) -> DeviceId {
        self.last_device += 1;
        DeviceId::from_uuid(Uuid::from_u128(self.last_device))
    }

    pub(super) fn chaos(&mut self) {
        for client in 0..self.clients.len() {
            for _ in 0..8 + self.rng.up_to(12) {
                let at = self.rng.up_to(CHAOS_MS);
                self.at(at, Happening::User { client });
            }
        }
        for _ in 0..self.rng.up_to(20) {
            let at = self.rng.up_to(CHAOS_MS);
            self.at(at, Happening::Fault);
        }
        self.run_until(CHAOS_MS);
    }

    /// How a client's machine stands, for the message of a failure.
    pub(super) fn state_of(&self, client: usize) -> String {
        let one = &self.clients[client];
        format!("{:?}, connection {:?}", one.machine.as_ref().map(Machine::link), one.connection)
    }

    /// Whether the user has to sign in.
    pub(super) fn is_signed_out(&self, client: usize) -> bool {
        self.clients[client].machine.as_ref().is_some_and(|machine| machine.link() == Link::SignIn)
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
            let asleep = happening.client().map_or(0, |client| self.clients[client].asleep_until);
            if asleep > time {
                self.at(asleep, happening);
                continue;
            }
            self.happen(happening);
            self.carry_down();
        }
        self.now = end;
    }

    /// Prints a line of the run, where somebody follows it.
    pub(super) fn trace(&self, line: impl FnOnce() -> String) {
        if self.is_traced {
            eprintln!("{} {}", self.now, line());
        }
    }

    fn happen(&mut self, happening: Happening) {
        self.trace(|| format!("{happening:?}"));
        match happening {
            Happening::Up { connection, frame, request } => self.arrived(connection, *frame, request),
            Happening::Down { client, connection, frame } => {
                let is_dead = self.half_open.contains(&connection);
                if self.clients[client].connection == Some(connection) && !is_dead {
                    let batch = self.frames_together(client, connection, *frame);
                    self.feed_many(client, batch);
                }
            }
            Happening::Connected { client, incarnation } => self.connected(client, incarnation),
            Happening::Exchange { client, incarnation, frames } => self.exchange(client, incarnation, frames),
            Happening::Answer { client, incarnation, input } => {
                if self.clients[client].incarnation == incarnation {
                    self.feed(client, *input);
                }
            }
            Happening::Renewal { client, incarnation, new_device } => {
                self.renewal(client, incarnation, new_device)
            }
            Happening::Broken { client, connection } => {
                if self.clients[client].connection == Some(connection) {
                    self.cut(client, None);
                }
            }
            Happening::TokenEnds { client, connection, now } => self.token_ends(client, connection, now),
            Happening::Timer { client } => self.feed(client, Input::Timer),
            Happening::User { client } => self.act(client),
            Happening::Written { client, incarnation } => self.written(client, incarnation),
            Happening::PowerCut { client } if self.faults => self.cut_power(client),
            Happening::Cut { client } if self.faults => self.cut(client, None),
            Happening::PowerCut { .. } | Happening::Cut { .. } => {}
            Happening::Fault => self.fault(),
        }
    }

    /// A frame reaches the server, which may fall over before it or behind it.
    fn arrived(&mut self, connection: u64, frame: ClientFrame, request: Option<u64>) {
        if !self.server_is_up || self.half_open.contains(&connection) {
            return;
        }
        let falls = if self.faults { self.rng.up_to(999) } else { 9 };
        if falls == 0 {
            return self.restart_server(Some(close::GOING_AWAY));
        }
        self.check_delivered(connection, &frame);
        self.heads_asked += u64::from(matches!(frame, ClientFrame::Heads(_)));
        self.last_sender = connection;
        self.server.handle(connection, frame, request);
        if falls == 1 {
            // Committed and not answered.
            self.restart_server(None);
        }
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
}

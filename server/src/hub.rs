//! Live connections, keyed by user (L1). In memory only.
//!
//! The hub knows nothing of what it carries: `domain` offers frames and events after commit, each serialised once,
//! and every connection's [`Outbox`] decides what becomes of them when its reader is slow (L2). With other instances
//! beside this one, what it tells also goes into the [`Relay`]'s queue (L4); it does not know who empties it.

mod frames;
mod leavers;
mod outbox;
mod outgoing;
mod queue;
mod relay;

pub use outbox::Outbox;
pub use outgoing::{Latest, Outgoing, Topic};
pub use relay::{OUTWARD_MAX, Outward, Relay};

use crate::networks::{self, Span};
use kith_protocol::{
    ConversationId, DeviceId, Seq, TimestampMs, UserId, ephemeral::PresenceState, error::close,
};
use leavers::Leavers;
use relay::{Verdict, runs};
use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    ops::Deref,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Sockets of one user, and of one address, that have not said hello, at the same time. Further ones are refused.
const STRANGERS_MAX: usize = 20;
/// By how much each socket lengthens the time over which all come back after a restart.
const BACK_PER_SOCKET: Duration = Duration::from_millis(1);

/// Whom a socket counts for while it has not said hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Stranger {
    User(UserId),
    Address(Span),
}

impl Stranger {
    /// Sockets that it may have at the same time.
    fn most(self) -> usize {
        match self {
            Self::User(_) => STRANGERS_MAX,
            Self::Address(span) => span.allowance(STRANGERS_MAX),
        }
    }
}

/// A numbered event on its way to those who may see it.
#[derive(Debug, Clone)]
pub struct Published {
    pub conversation: ConversationId,
    pub seq: Seq,
    /// The event as JSON, shared by all connections.
    pub json: Arc<str>,
    /// Who was a member at this event.
    pub audience: Arc<[UserId]>,
}

#[derive(Debug, Clone)]
pub struct Connection {
    /// Tells connections of a device apart.
    pub id: u64,
    pub user: UserId,
    pub device: DeviceId,
    /// Of which generation, if it is a socket (S8).
    pub generation: Option<u64>,
    /// What waits for it.
    pub outbox: Arc<Outbox>,
}

#[derive(Debug, Default)]
struct Inner {
    users: RwLock<HashMap<UserId, Vec<Connection>>>,
    /// Sockets that have not said hello.
    strangers: Mutex<HashMap<Stranger, usize>>,
    /// How many connections look at which conversations.
    focused: Mutex<HashMap<ConversationId, usize>>,
    next_id: AtomicU64,
    /// Who has left a conversation.
    leavers: Leavers,
    /// Where there are other instances.
    relay: OnceLock<Relay>,
}

/// The place of a socket that has not said hello.
#[derive(Debug)]
pub struct Admitted {
    hub: Hub,
    counts: Vec<Stranger>,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut strangers = self.hub.0.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        for one in &self.counts {
            if let Some(count) = strangers.get_mut(one) {
                *count -= 1;
                if *count == 0 {
                    strangers.remove(one);
                }
            }
        }
    }
}

/// A connection's place in the hub: it is gone when the value is dropped, however its request or socket ends.
#[derive(Debug)]
pub struct Connected {
    hub: Hub,
    connection: Connection,
}

impl Deref for Connected {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.hub.focus(&self.connection, HashSet::new());
        let mut users = self.hub.write();
        if let Some(connections) = users.get_mut(&self.connection.user) {
            connections.retain(|other| other.id != self.connection.id);
            if connections.is_empty() {
                users.remove(&self.connection.user);
            }
        }
    }
}

/// The live connections of this process; a handle that is cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Hub(Arc<Inner>);

impl Hub {
    fn read(&self) -> RwLockReadGuard<'_, HashMap<UserId, Vec<Connection>>> {
        self.0.users.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<UserId, Vec<Connection>>> {
        self.0.users.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a connection. A socket has a generation: older sockets of the same device are closed with 4001, on the other
    /// instances as well.
    pub fn connect(
        &self,
        user: UserId,
        device: DeviceId,
        outbox: Arc<Outbox>,
        generation: Option<u64>,
    ) -> Connected {
        let id = self.0.next_id.fetch_add(1, Ordering::Relaxed) + 1;
        let connection = Connection { id, user, device, generation, outbox };
        if let Some(generation) = generation {
            self.tell(|| Outward::Replaced { user, device, generation });
        }
        let mut users = self.write();
        let connections = users.entry(user).or_default();
        if generation.is_some() {
            for older in connections.iter().filter(|older| older.device == device && older.outbox.is_socket())
            {
                older.outbox.close(close::REPLACED);
            }
        }
        connections.push(connection.clone());
        drop(users);
        Connected { hub: self.clone(), connection }
    }

    /// How many sockets are open.
    pub fn sockets(&self) -> usize {
        self.read().values().flatten().filter(|connection| connection.outbox.is_socket()).count()
    }

    /// Whether the user has a connection here.
    pub fn is_connected(&self, user: UserId) -> bool {
        self.read().contains_key(&user)
    }

    /// Lets a socket in that has not said hello; `None` when too many of this user or this address have not. The
    /// place is free again when the value is dropped.
    pub fn admit(&self, user: UserId, address: Option<IpAddr>) -> Option<Admitted> {
        let addresses = address.into_iter().flat_map(networks::spans).map(Stranger::Address);
        let counts: Vec<_> = [Stranger::User(user)].into_iter().chain(addresses).collect();
        let mut strangers = self.0.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.iter().any(|one| strangers.get(one).is_some_and(|count| *count >= one.most())) {
            return None;
        }
        for one in &counts {
            *strangers.entry(*one).or_default() += 1;
        }
        drop(strangers);
        Some(Admitted { hub: self.clone(), counts })
    }

    /// Offers a fact of which only the newest counts to all connections of a user; markers in a group to those that look at
    /// it (R2).
    pub fn send_latest(&self, user: UserId, fact: &Latest) {
        let group = match fact.topic {
            Topic::Markers(conversation, _) if conversation.is_group() => Some(conversation),
            _ => None,
        };
        for connection in self.read().get(&user).into_iter().flatten() {
            if group.is_none_or(|group| connection.outbox.is_focused(group)) {
                connection.outbox.push(Outgoing::Latest(fact.clone()));
            }
        }
    }

    /// From here on the connection looks at these conversations, and at no others.
    pub fn focus(&self, connection: &Connection, conversations: HashSet<ConversationId>) {
        let mut focused = self.0.focused.lock().unwrap_or_else(PoisonError::into_inner);
        for conversation in &conversations {
            *focused.entry(*conversation).or_default() += 1;
        }
        for conversation in connection.outbox.set_focus(conversations) {
            if let Some(count) = focused.get_mut(&conversation) {
                *count -= 1;
                if *count == 0 {
                    focused.remove(&conversation);
                }
            }
        }
    }

    /// Whether somebody may look at a conversation: a connection here does, or there are other instances.
    pub fn may_be_focused(&self, conversation: ConversationId) -> bool {
        let focused = self.0.focused.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.relay.get().is_some() || focused.contains_key(&conversation)
    }

    /// Offers committed events, in order, to the connections of each one's audience, on all instances; on the others
    /// those in `announce` get heads first.
    pub fn publish(&self, announce: &[(UserId, ConversationId)], events: &[Published]) {
        if self.0.relay.get().is_none() {
            self.deliver(events);
            return;
        }
        self.tell(|| Outward::Log { announce: announce.to_vec(), events: events.to_vec() });
        for run in self.hand_on(events, false) {
            self.hold(run);
        }
    }

    /// Hands events on to the connections here, each once. Returns the runs before which something is missing; with
    /// `is_read` there are none: they were read from the database.
    pub fn hand_on(&self, events: &[Published], is_read: bool) -> Vec<Vec<Published>> {
        let Some(relay) = self.0.relay.get() else { return Vec::new() };
        let mut held = Vec::new();
        for run in runs(events) {
            let conversation = run[0].conversation;
            // Held until they are in the queues, so that nobody overtakes.
            let mut windows = relay.windows(conversation);
            match windows.claim(run, is_read) {
                Verdict::From(at) => {
                    let new = &run[at..];
                    if self.deliver(new) {
                        windows.begin(run);
                    } else if !new.is_empty() {
                        windows.forget(conversation);
                    }
                }
                Verdict::Gap if run[0].audience.iter().any(|user| self.is_connected(*user)) => {
                    held.push(run.to_vec());
                }
                Verdict::Gap => windows.forget(conversation),
            }
        }
        held
    }

    /// Offers events to the connections of their audiences; whether anybody is here.
    fn deliver(&self, events: &[Published]) -> bool {
        events.iter().for_each(|event| self.0.leavers.note(&event.json));
        let users = self.read();
        let (mut begin, mut anybody) = (0, false);
        while begin < events.len() {
            // Neighbours with the same audience go to each connection in one go.
            let audience = &events[begin].audience;
            let run =
                events[begin..].iter().take_while(|event| Arc::ptr_eq(&event.audience, audience)).count();
            let run = &events[begin..begin + run];
            for connection in audience.iter().filter_map(|user| users.get(user)).flatten() {
                connection.outbox.push_events(run);
                anybody = true;
            }
            begin += run.len();
        }
        anybody
    }

    /// Those who have left a conversation since this was asked.
    pub fn take_leavers(&self) -> HashSet<UserId> {
        self.0.leavers.take()
    }

    /// Has these asked about once more.
    pub fn keep_leavers(&self, users: HashSet<UserId>) {
        self.0.leavers.add(users);
    }

    /// Leaves a run to whoever reads what is missing before it.
    pub fn hold(&self, run: Vec<Published>) {
        if let Some(relay) = self.0.relay.get() {
            relay.hold(run);
        }
    }

    /// What was handed on came from another incarnation of the database: its places say nothing of those to come.
    pub fn begin_anew(&self) {
        if let Some(relay) = self.0.relay.get() {
            relay.begin_anew();
        }
    }

    fn tell(&self, outward: impl FnOnce() -> Outward) {
        if let Some(relay) = self.0.relay.get() {
            relay.tell(outward());
        }
    }

    /// From here on the other instances are told.
    pub fn connect_relay(&self, relay: Relay) -> &Relay {
        self.0.relay.get_or_init(|| relay)
    }

    /// The way to the other instances, if there are any.
    pub fn relay(&self) -> Option<&Relay> {
        self.0.relay.get()
    }

    /// Has the other instances offer a frame to these users' connections there. With a topic it is told again after
    /// something was lost.
    pub fn tell_others(&self, topic: Option<Topic>, users: impl FnOnce() -> Vec<UserId>, json: &Arc<str>) {
        self.tell(|| Outward::Frame { topic, users: users(), json: Arc::clone(json) });
    }

    /// Has the other instances send heads of a conversation to these users' connections there.
    pub fn announce_to_others(&self, users: impl Iterator<Item = UserId>, conversation: ConversationId) {
        let announce = || users.map(|user| (user, conversation)).collect();
        self.tell(|| Outward::Log { announce: announce(), events: Vec::new() });
    }

    /// Tells the other instances how present somebody is here, `None` if they are not connected: the change of this number.
    pub fn tell_presence(
        &self,
        user: UserId,
        state: Option<PresenceState>,
        last_seen: Option<TimestampMs>,
        version: u64,
    ) {
        self.tell(|| Outward::Presence { user, state, last_seen, version });
    }

    /// Offers a frame to all connections of a user but `except`.
    pub fn send(&self, user: UserId, frame: &Arc<str>, except: Option<u64>) {
        for connection in self.read().get(&user).into_iter().flatten() {
            if Some(connection.id) != except {
                connection.outbox.push(Outgoing::Frame(Arc::clone(frame)));
            }
        }
    }

    /// Offers a frame that may be dropped (typing, presence) to all connections of these users.
    pub fn send_ephemeral<'a>(&self, users: impl IntoIterator<Item = &'a UserId>, frame: &Arc<str>) {
        let connected = self.read();
        for connection in users.into_iter().filter_map(|user| connected.get(user)).flatten() {
            connection.outbox.push(Outgoing::Ephemeral(Arc::clone(frame)));
        }
    }

    /// Closes a device's connections with `code`, after a `bye`, wherever they are.
    pub fn close_device(&self, device: DeviceId, code: u16) {
        self.tell(|| Outward::Closed { device, code });
        self.close_device_here(device, code);
    }

    /// Has a device connect again whose connections are on other instances.
    pub fn restart_elsewhere(&self, device: DeviceId) {
        self.tell(|| Outward::Closed { device, code: close::RESTART });
    }

    /// Ends presence between two people on the other instances, after a block.
    pub fn part_elsewhere(&self, pair: [UserId; 2]) {
        self.tell(|| Outward::Parted { pair });
    }

    /// Closes the sockets of a device that are older than this generation, wherever they are.
    pub fn replace_device(&self, user: UserId, device: DeviceId, generation: u64) {
        self.tell(|| Outward::Replaced { user, device, generation });
        self.close_replaced(user, device, generation);
    }

    /// Closes the sockets of a device here that are older than this generation.
    pub fn close_replaced(&self, user: UserId, device: DeviceId, generation: u64) {
        let is_older = |one: &&Connection| {
            one.device == device && one.generation.is_some_and(|older| older < generation)
        };
        for connection in self.read().get(&user).into_iter().flatten().filter(is_older) {
            connection.outbox.close(close::REPLACED);
        }
    }

    /// Closes these devices' connections to this instance.
    pub fn close_devices_here(&self, devices: &HashSet<DeviceId>, code: u16) {
        for connection in self.read().values().flatten().filter(|one| devices.contains(&one.device)) {
            connection.outbox.close(code);
        }
    }

    /// Closes a device's connections to this instance.
    pub fn close_device_here(&self, device: DeviceId, code: u16) {
        for connection in self.read().values().flatten().filter(|one| one.device == device) {
            connection.outbox.close(code);
        }
    }

    /// Closes every connection with `code` (shutdown, another epoch). The clients come back spread over a time that grows
    /// with their number (S10).
    pub fn close_all(&self, code: u16) {
        let spread = BACK_PER_SOCKET * u32::try_from(self.sockets()).unwrap_or(u32::MAX);
        for connection in self.read().values().flatten() {
            connection.outbox.come_back_after(spread.mul_f64(rand::random()));
            connection.outbox.close(code);
        }
    }

    /// The devices that are connected, for the check of what was revoked elsewhere.
    pub fn connected_devices(&self) -> Vec<DeviceId> {
        let devices: HashSet<DeviceId> = self.read().values().flatten().map(|one| one.device).collect();
        devices.into_iter().collect()
    }
}

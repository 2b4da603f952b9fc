//! Live connections, keyed by user (L1). In memory only.
//!
//! The hub knows nothing of what it carries: `domain` offers frames and events after commit, each serialised once,
//! and every connection's [`Outbox`] decides what becomes of them when its reader is slow (L2).

mod frames;
mod outbox;
mod queue;

pub use outbox::Outbox;
pub use queue::{Latest, Outgoing, Topic};

use kith_protocol::{ConversationId, DeviceId, Seq, UserId, error::close};
use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    ops::Deref,
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
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
    Address(IpAddr),
}

/// A numbered event on its way to those who may see it.
#[derive(Debug, Clone)]
pub struct Published {
    /// Where.
    pub conversation: ConversationId,
    /// Its place.
    pub seq: Seq,
    /// The event as JSON, shared by all connections.
    pub json: Arc<str>,
    /// Who was a member at this event.
    pub audience: Arc<[UserId]>,
}

/// One live connection.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Tells connections of a device apart.
    pub id: u64,
    /// Whose.
    pub user: UserId,
    /// On which device.
    pub device: DeviceId,
    /// What waits for it.
    pub outbox: Arc<Outbox>,
}

#[derive(Debug, Default)]
struct Inner {
    users: RwLock<HashMap<UserId, Vec<Connection>>>,
    /// Sockets that have not said hello.
    strangers: Mutex<HashMap<Stranger, usize>>,
    next_id: AtomicU64,
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

    /// Adds a connection. With `replaces`, older ones of the same device are closed with 4001.
    pub fn connect(&self, user: UserId, device: DeviceId, outbox: Arc<Outbox>, replaces: bool) -> Connected {
        let id = self.0.next_id.fetch_add(1, Ordering::Relaxed) + 1;
        let connection = Connection { id, user, device, outbox };
        let mut users = self.write();
        let connections = users.entry(user).or_default();
        if replaces {
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
        let counts: Vec<_> =
            [Stranger::User(user)].into_iter().chain(address.map(Stranger::Address)).collect();
        let mut strangers = self.0.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.iter().any(|one| strangers.get(one).is_some_and(|count| *count >= STRANGERS_MAX)) {
            return None;
        }
        for one in &counts {
            *strangers.entry(*one).or_default() += 1;
        }
        drop(strangers);
        Some(Admitted { hub: self.clone(), counts })
    }

    /// Offers a fact of which only the newest counts to all connections of a user.
    pub fn send_latest(&self, user: UserId, fact: &Latest) {
        for connection in self.read().get(&user).into_iter().flatten() {
            connection.outbox.push(Outgoing::Latest(fact.clone()));
        }
    }

    /// Offers events, in order, to the connections of each one's audience.
    pub fn publish(&self, events: &[Published]) {
        let users = self.read();
        let mut begin = 0;
        while begin < events.len() {
            // Neighbours with the same audience go to each connection in one go.
            let audience = &events[begin].audience;
            let run =
                events[begin..].iter().take_while(|event| Arc::ptr_eq(&event.audience, audience)).count();
            let run = &events[begin..begin + run];
            for connection in audience.iter().filter_map(|user| users.get(user)).flatten() {
                connection.outbox.push_events(run);
            }
            begin += run.len();
        }
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

    /// Closes a device's connection with `code`, after a `bye`.
    pub fn close_device(&self, device: DeviceId, code: u16) {
        for connection in self.read().values().flatten().filter(|one| one.device == device) {
            connection.outbox.close(code);
        }
    }

    /// Closes all connections of a user with `code`.
    pub fn close_user(&self, user: UserId, code: u16) {
        for connection in self.read().get(&user).into_iter().flatten() {
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

//! Who is online, away or busy (R5). In memory only; who watches whom is known here and nowhere else. What other
//! instances say of their connections counts like one's own until they say otherwise or fall silent (L4).

use crate::hub::{Connection, Hub, Outbox, Outgoing};
use kith_protocol::{
    ServerFrame, TimestampMs, UserId,
    ephemeral::{Presence as PresenceItem, PresenceState},
    frame::Ephemeral,
};
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use uuid::Uuid;

/// What an instance says of its connections.
type Elsewhere = HashMap<UserId, PresenceState>;

#[derive(Debug)]
struct Watcher {
    outbox: Arc<Outbox>,
    watches: HashSet<UserId>,
}

#[derive(Debug, Default)]
struct State {
    /// Each connection's own state.
    states: HashMap<UserId, HashMap<u64, PresenceState>>,
    /// What the other instances say.
    elsewhere: HashMap<Uuid, Elsewhere>,
    /// Connections that watch, by number.
    watchers: HashMap<u64, Watcher>,
    /// Who is watched by which connections.
    watched: HashMap<UserId, HashSet<u64>>,
}

/// Everybody's presence; a handle that is cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Presence {
    state: Arc<Mutex<State>>,
    /// Tells the other instances.
    hub: Hub,
}

impl Presence {
    /// Nobody is there yet. What changes here is told to the other instances by the hub.
    pub fn new(hub: Hub) -> Self {
        Self { state: Arc::default(), hub }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How present a user is: the most telling of the connections' states.
    pub fn of(&self, user: UserId) -> PresenceState {
        self.state().of(user)
    }

    /// A connection came, or its person's state changed.
    pub fn set(&self, connection: &Connection, presence: PresenceState) {
        let mut state = self.state();
        let (before, here) = (state.of(connection.user), state.here(connection.user));
        state.states.entry(connection.user).or_default().insert(connection.id, presence);
        state.tell(connection.user, before, None);
        self.tell_others(&state, connection.user, here, None);
    }

    /// Under the lock, so that the others hear of changes in their order.
    fn tell_others(&self, state: &State, user: UserId, before: PresenceState, now: Option<TimestampMs>) {
        let after = state.here(user);
        if after != before {
            self.hub.tell_presence(user, after, now.filter(|_| after == PresenceState::Offline));
        }
    }

    /// Everybody who is connected to this instance.
    pub fn everybody_here(&self) -> Vec<(UserId, PresenceState)> {
        let state = self.state();
        state.states.keys().map(|user| (*user, state.here(*user))).collect()
    }

    /// Another instance says how present somebody is there.
    pub fn elsewhere(
        &self,
        instance: Uuid,
        user: UserId,
        presence: PresenceState,
        last_seen: Option<TimestampMs>,
    ) {
        let mut state = self.state();
        let before = state.of(user);
        let there = state.elsewhere.entry(instance).or_default();
        if presence == PresenceState::Offline {
            there.remove(&user);
        } else {
            there.insert(user, presence);
        }
        state.tell(user, before, last_seen);
    }

    /// Another instance says who is connected to it; nobody else is. Nobody at all when it has gone.
    pub fn all_elsewhere(&self, instance: Uuid, all: Elsewhere) {
        let mut state = self.state();
        let old = state.elsewhere.get(&instance).cloned().unwrap_or_default();
        let changed: HashSet<UserId> = old.keys().chain(all.keys()).copied().collect();
        let before: Vec<_> = changed.into_iter().map(|user| (user, state.of(user))).collect();
        if all.is_empty() {
            state.elsewhere.remove(&instance);
        } else {
            state.elsewhere.insert(instance, all);
        }
        for (user, before) in before {
            state.tell(user, before, None);
        }
    }

    /// A connection went. True if it was the user's last one.
    pub fn leave(&self, connection: &Connection, now: TimestampMs) -> bool {
        let mut state = self.state();
        state.watch(connection, HashSet::new());
        let (before, here) = (state.of(connection.user), state.here(connection.user));
        let Some(own) = state.states.get_mut(&connection.user) else { return false };
        own.remove(&connection.id);
        let is_last = own.is_empty();
        if is_last {
            state.states.remove(&connection.user);
        }
        state.tell(connection.user, before, Some(now));
        self.tell_others(&state, connection.user, here, Some(now));
        is_last
    }

    /// From here on the connection is told of these users; replaces what it watched before. Answers their states.
    pub fn watch(&self, connection: &Connection, users: HashSet<UserId>) -> Vec<(UserId, PresenceState)> {
        let mut state = self.state();
        let states = users.iter().map(|user| (*user, state.of(*user))).collect();
        state.watch(connection, users);
        states
    }
}

impl State {
    fn of(&self, user: UserId) -> PresenceState {
        let elsewhere = self.elsewhere.values().filter_map(|all| all.get(&user)).copied();
        most_telling(elsewhere.chain([self.here(user)]))
    }

    /// By the connections to this instance alone.
    fn here(&self, user: UserId) -> PresenceState {
        most_telling(self.states.get(&user).into_iter().flat_map(HashMap::values).copied())
    }

    fn watch(&mut self, connection: &Connection, users: HashSet<UserId>) {
        if let Some(old) = self.watchers.remove(&connection.id) {
            for user in old.watches {
                if let Some(by) = self.watched.get_mut(&user) {
                    by.remove(&connection.id);
                    if by.is_empty() {
                        self.watched.remove(&user);
                    }
                }
            }
        }
        if users.is_empty() {
            return;
        }
        for user in &users {
            self.watched.entry(*user).or_default().insert(connection.id);
        }
        let watcher = Watcher { outbox: Arc::clone(&connection.outbox), watches: users };
        self.watchers.insert(connection.id, watcher);
    }

    fn tell(&self, user: UserId, before: PresenceState, last_seen: Option<TimestampMs>) {
        let after = self.of(user);
        if after == before {
            return;
        }
        let last_seen = last_seen.filter(|_| after == PresenceState::Offline);
        let item = PresenceItem { user, state: after, last_seen };
        let frame: Arc<str> =
            ServerFrame::Ephemeral(Ephemeral { presence: vec![item], ..Default::default() }).encode().into();
        for watcher in self.watched.get(&user).into_iter().flatten().filter_map(|id| self.watchers.get(id)) {
            watcher.outbox.push(Outgoing::Ephemeral(Arc::clone(&frame)));
        }
    }
}

fn most_telling(states: impl Iterator<Item = PresenceState>) -> PresenceState {
    let rank = |state: &PresenceState| match state {
        PresenceState::Busy => 3,
        PresenceState::Online => 2,
        PresenceState::Away => 1,
        PresenceState::Offline => 0,
    };
    states.max_by_key(rank).unwrap_or(PresenceState::Offline)
}

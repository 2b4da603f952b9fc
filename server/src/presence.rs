//! Who is online, away or busy (R5). In memory only; who watches whom is known here and nowhere else.

use crate::hub::{Connection, Outbox, Outgoing};
use kith_protocol::{
    ServerFrame, TimestampMs, UserId,
    ephemeral::{Presence as PresenceItem, PresenceState},
    frame::Ephemeral,
};
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

#[derive(Debug)]
struct Watcher {
    outbox: Arc<Outbox>,
    watches: HashSet<UserId>,
}

#[derive(Debug, Default)]
struct State {
    /// Each connection's own state.
    states: HashMap<UserId, HashMap<u64, PresenceState>>,
    /// Connections that watch, by number.
    watchers: HashMap<u64, Watcher>,
    /// Who is watched by which connections.
    watched: HashMap<UserId, HashSet<u64>>,
}

/// Everybody's presence; a handle that is cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Presence(Arc<Mutex<State>>);

impl Presence {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How present a user is: the most telling of the connections' states.
    pub fn of(&self, user: UserId) -> PresenceState {
        self.state().of(user)
    }

    /// A connection came, or its person's state changed.
    pub fn set(&self, connection: &Connection, presence: PresenceState) {
        let mut state = self.state();
        let before = state.of(connection.user);
        state.states.entry(connection.user).or_default().insert(connection.id, presence);
        state.tell(connection.user, before, None);
    }

    /// A connection went. True if it was the user's last one.
    pub fn leave(&self, connection: &Connection, now: TimestampMs) -> bool {
        let mut state = self.state();
        state.watch(connection, HashSet::new());
        let before = state.of(connection.user);
        let Some(own) = state.states.get_mut(&connection.user) else { return false };
        own.remove(&connection.id);
        let is_last = own.is_empty();
        if is_last {
            state.states.remove(&connection.user);
        }
        state.tell(connection.user, before, Some(now));
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
        let Some(own) = self.states.get(&user) else { return PresenceState::Offline };
        [PresenceState::Busy, PresenceState::Online, PresenceState::Away]
            .into_iter()
            .find(|state| own.values().any(|one| one == state))
            .unwrap_or(PresenceState::Offline)
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

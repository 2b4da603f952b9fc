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

/// Parts of a list of those who are connected to an instance; a longer one is not taken.
const PARTS_MAX: u32 = 1_000;

/// What another instance says of its connections.
#[derive(Debug, Default)]
struct Elsewhere {
    /// Everybody who is connected there. Who hides their presence counts as offline here.
    states: HashMap<UserId, PresenceState>,
    /// The last change that its whole list included. Earlier ones come too late.
    version: u64,
    /// A list of which parts are missing.
    gathering: Option<Gathering>,
}

#[derive(Debug)]
struct Gathering {
    version: u64,
    next: u32,
    parts: u32,
    states: HashMap<UserId, PresenceState>,
    /// Changes after the list.
    later: HashMap<UserId, Option<PresenceState>>,
}

#[derive(Debug)]
struct Watcher {
    user: UserId,
    outbox: Arc<Outbox>,
    watches: HashSet<UserId>,
}

#[derive(Debug, Default)]
struct State {
    /// Each connection's own state.
    states: HashMap<UserId, HashMap<u64, PresenceState>>,
    /// Changes here that the other instances were told.
    version: u64,
    /// Those of them who do not show their presence: they count as offline and watch nobody.
    hidden: HashSet<UserId>,
    /// What the other instances say.
    elsewhere: HashMap<Uuid, Elsewhere>,
    /// Connections that watch, by number.
    watchers: HashMap<u64, Watcher>,
    /// Who is watched by which connections.
    watched: HashMap<UserId, HashSet<u64>>,
    /// Number of blocks so far. A watch list read before a block is outdated after it.
    partings: u64,
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

    pub fn enter(&self, connection: &Connection, hides_presence: bool) {
        self.hide(connection.user, hides_presence);
        self.set(connection, PresenceState::Online);
    }

    /// From here on a user's presence is hidden, or shown again. Who hides it watches nobody (R5).
    pub fn hide(&self, user: UserId, hides_presence: bool) {
        let mut state = self.state();
        let (before, here) = (state.of(user), state.here(user));
        if hides_presence {
            state.hidden.insert(user);
            let own: Vec<u64> =
                state.states.get(&user).into_iter().flat_map(HashMap::keys).copied().collect();
            own.into_iter().for_each(|connection| state.unwatch(connection));
        } else {
            state.hidden.remove(&user);
        }
        state.tell(user, before, None);
        self.tell_others(&mut state, user, here, None);
    }

    /// Those whom a user watches from here, and those here who watch the user.
    pub fn met(&self, user: UserId) -> HashSet<UserId> {
        let state = self.state();
        let own = state.states.get(&user).into_iter().flat_map(HashMap::keys);
        let watched = own.filter_map(|id| state.watchers.get(id)).flat_map(|own| own.watches.iter().copied());
        let by = state.watched.get(&user).into_iter().flatten().filter_map(|id| state.watchers.get(id));
        let mut met: HashSet<UserId> = watched.chain(by.map(|watcher| watcher.user)).collect();
        met.remove(&user);
        met
    }

    /// Ends presence between two people: each sees the other go offline.
    pub fn part(&self, pair: [UserId; 2]) {
        let mut state = self.state();
        state.partings += 1;
        let [one, other] = pair;
        for (watcher, watched) in [(one, other), (other, one)] {
            let own: Vec<u64> =
                state.states.get(&watcher).into_iter().flat_map(HashMap::keys).copied().collect();
            let frame = presence_frame(PresenceItem {
                user: watched,
                state: PresenceState::Offline,
                last_seen: None,
            });
            for connection in own {
                if let Some(outbox) = state.unwatch_one(connection, watched) {
                    outbox.push(Outgoing::Ephemeral(Arc::clone(&frame)));
                }
            }
        }
    }

    /// A person's state on a connection changed.
    pub fn set(&self, connection: &Connection, presence: PresenceState) {
        let mut state = self.state();
        let (before, here) = (state.of(connection.user), state.here(connection.user));
        state.states.entry(connection.user).or_default().insert(connection.id, presence);
        state.tell(connection.user, before, None);
        self.tell_others(&mut state, connection.user, here, None);
    }

    /// Under the lock, so that the others hear of changes in their order.
    fn tell_others(
        &self,
        state: &mut State,
        user: UserId,
        before: Option<PresenceState>,
        now: Option<TimestampMs>,
    ) {
        let after = state.here(user);
        if after != before {
            state.version += 1;
            // Who hides their presence was not seen to go.
            let last_seen = now.filter(|_| after.is_none() && before != Some(PresenceState::Offline));
            self.hub.tell_presence(user, after, last_seen, state.version);
        }
    }

    /// Everybody who is connected to this instance, after which change.
    pub fn everybody_here(&self) -> (u64, Vec<(UserId, PresenceState)>) {
        let state = self.state();
        let all = state.states.keys().filter_map(|user| Some((*user, state.here(*user)?)));
        (state.version, all.collect())
    }

    /// Whether an instance has reported anybody, or that nobody is connected to it.
    pub fn knows(&self, instance: Uuid) -> bool {
        self.state().elsewhere.contains_key(&instance)
    }

    /// The other instances that have reported one of these users as connected to them.
    pub fn instances_of(&self, users: &[UserId]) -> Vec<Uuid> {
        let state = self.state();
        let holds =
            |(_, there): &(&Uuid, &Elsewhere)| users.iter().any(|user| there.states.contains_key(user));
        state.elsewhere.iter().filter(holds).map(|(instance, _)| *instance).collect()
    }

    /// Another instance reports how present somebody is there; `None` if they are not connected to it. Returns whether they
    /// have just come.
    pub fn elsewhere(
        &self,
        instance: Uuid,
        user: UserId,
        (presence, last_seen): (Option<PresenceState>, Option<TimestampMs>),
        version: u64,
    ) -> bool {
        let mut state = self.state();
        let before = state.of(user);
        let there = state.elsewhere.entry(instance).or_default();
        if version <= there.version {
            return false;
        }
        if let Some(gathering) = there.gathering.as_mut().filter(|gathering| version > gathering.version) {
            gathering.later.insert(user, presence);
        }
        let is_new = note(&mut there.states, user, presence);
        state.tell(user, before, last_seen);
        is_new
    }

    /// Another instance reports who is connected to it, a part of several. When all parts are there, nobody else is: returns
    /// those who were not known to be, and `None` before. Parts of another list, or out of order, end what was gathered.
    pub fn part_elsewhere(
        &self,
        instance: Uuid,
        version: u64,
        (part, parts): (u32, u32),
        users: impl IntoIterator<Item = (UserId, PresenceState)>,
    ) -> Option<Vec<UserId>> {
        let mut state = self.state();
        let there = state.elsewhere.entry(instance).or_default();
        if part == 0 && version >= there.version && (1..=PARTS_MAX).contains(&parts) {
            let (states, later) = (HashMap::new(), HashMap::new());
            there.gathering = Some(Gathering { version, next: 0, parts, states, later });
        }
        let fits = |gathering: &Gathering| {
            (gathering.version, gathering.next, gathering.parts) == (version, part, parts)
        };
        let mut gathering = there.gathering.take().filter(fits)?;
        gathering.states.extend(users);
        gathering.next += 1;
        if gathering.next < parts {
            there.gathering = Some(gathering);
            return None;
        }
        for (user, presence) in gathering.later {
            note(&mut gathering.states, user, presence);
        }
        let is_new = |user: &&UserId| !there.states.contains_key(user);
        let new = gathering.states.keys().filter(is_new).copied().collect();
        state.replace(instance, Some(Elsewhere { states: gathering.states, version, gathering: None }));
        Some(new)
    }

    /// Another instance has gone, and everybody who was connected to it alone.
    pub fn gone(&self, instance: Uuid) {
        self.state().replace(instance, None);
    }

    /// A connection went. True if it was the last one of a user who shows their presence.
    pub fn leave(&self, connection: &Connection, now: TimestampMs) -> bool {
        let mut state = self.state();
        state.unwatch(connection.id);
        let (before, here) = (state.of(connection.user), state.here(connection.user));
        let Some(own) = state.states.get_mut(&connection.user) else { return false };
        own.remove(&connection.id);
        let is_last = own.is_empty();
        if is_last {
            state.states.remove(&connection.user);
        }
        state.tell(connection.user, before, Some(now));
        self.tell_others(&mut state, connection.user, here, Some(now));
        is_last && !state.hidden.remove(&connection.user)
    }

    /// Ends all watching of a connection.
    pub fn unwatch(&self, connection: &Connection) {
        self.state().unwatch(connection.id);
    }

    /// Number of blocks so far, for [`Self::watch`].
    pub fn partings(&self) -> u64 {
        self.state().partings
    }

    /// Sets whom a connection watches, and returns their states. `None`, without a change, if a block was made since
    /// `partings` was read: `users` may be outdated.
    pub fn watch(
        &self,
        connection: &Connection,
        users: HashSet<UserId>,
        partings: u64,
    ) -> Option<Vec<(UserId, PresenceState)>> {
        let mut state = self.state();
        if state.partings != partings {
            return None;
        }
        let users = if state.hidden.contains(&connection.user) { HashSet::new() } else { users };
        let states = users.iter().map(|user| (*user, state.of(*user))).collect();
        state.watch(connection, users);
        Some(states)
    }
}

impl State {
    fn of(&self, user: UserId) -> PresenceState {
        let elsewhere = self.elsewhere.values().filter_map(|all| all.states.get(&user)).copied();
        most_telling(elsewhere.chain(self.here(user)))
    }

    /// Puts what is known of an instance in place of what was, and tells of those whose presence differs.
    fn replace(&mut self, instance: Uuid, all: Option<Elsewhere>) {
        let old = self.elsewhere.get(&instance).map(|old| &old.states);
        let users = old.into_iter().chain(all.as_ref().map(|new| &new.states)).flat_map(HashMap::keys);
        let changed: HashSet<UserId> = users.copied().collect();
        let before: Vec<_> = changed.into_iter().map(|user| (user, self.of(user))).collect();
        match all {
            Some(all) => drop(self.elsewhere.insert(instance, all)),
            None => drop(self.elsewhere.remove(&instance)),
        }
        for (user, before) in before {
            self.tell(user, before, None);
        }
    }

    /// By the connections to this instance alone; `None` without any.
    fn here(&self, user: UserId) -> Option<PresenceState> {
        let own = self.states.get(&user)?;
        let is_hidden = self.hidden.contains(&user);
        Some(if is_hidden { PresenceState::Offline } else { most_telling(own.values().copied()) })
    }

    fn unwatch(&mut self, connection: u64) {
        for user in self.watchers.remove(&connection).into_iter().flat_map(|old| old.watches) {
            if let Some(by) = self.watched.get_mut(&user) {
                by.remove(&connection);
                if by.is_empty() {
                    self.watched.remove(&user);
                }
            }
        }
    }

    /// Stops watching one person. Returns the connection's outbox if it watched them.
    fn unwatch_one(&mut self, connection: u64, user: UserId) -> Option<Arc<Outbox>> {
        let watcher = self.watchers.get_mut(&connection)?;
        if !watcher.watches.remove(&user) {
            return None;
        }
        let outbox = Arc::clone(&watcher.outbox);
        if let Some(by) = self.watched.get_mut(&user) {
            by.remove(&connection);
            if by.is_empty() {
                self.watched.remove(&user);
            }
        }
        Some(outbox)
    }

    fn watch(&mut self, connection: &Connection, users: HashSet<UserId>) {
        self.unwatch(connection.id);
        if users.is_empty() {
            return;
        }
        for user in &users {
            self.watched.entry(*user).or_default().insert(connection.id);
        }
        let watcher =
            Watcher { user: connection.user, outbox: Arc::clone(&connection.outbox), watches: users };
        self.watchers.insert(connection.id, watcher);
    }

    fn tell(&self, user: UserId, before: PresenceState, last_seen: Option<TimestampMs>) {
        let after = self.of(user);
        if after == before {
            return;
        }
        let last_seen = last_seen.filter(|_| after == PresenceState::Offline).map(to_the_minute);
        let frame = presence_frame(PresenceItem { user, state: after, last_seen });
        for watcher in self.watched.get(&user).into_iter().flatten().filter_map(|id| self.watchers.get(id)) {
            watcher.outbox.push(Outgoing::Ephemeral(Arc::clone(&frame)));
        }
    }
}

fn presence_frame(item: PresenceItem) -> Arc<str> {
    ServerFrame::Ephemeral(Ephemeral { presence: vec![item], ..Default::default() }).encode().into()
}

/// Notes how present somebody is; returns whether they were not connected before.
fn note(states: &mut HashMap<UserId, PresenceState>, user: UserId, presence: Option<PresenceState>) -> bool {
    match presence {
        Some(presence) => states.insert(user, presence).is_none(),
        None => {
            states.remove(&user);
            false
        }
    }
}

/// Coarse enough not to follow a person by.
fn to_the_minute(at: TimestampMs) -> TimestampMs {
    const MINUTE_MS: u64 = 60_000;
    TimestampMs(at.0 - at.0 % MINUTE_MS)
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

#[cfg(test)]
mod tests;

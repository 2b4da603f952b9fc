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
    /// How often two people were parted: whom somebody may watch is read before it is put here.
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

    /// A connection came.
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

    /// From here on neither of two people is told of the other here: each sees the other go.
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

    /// From here on the connection is told of nobody.
    pub fn unwatch(&self, connection: &Connection) {
        self.state().unwatch(connection.id);
    }

    /// How often two people were parted so far.
    pub fn partings(&self) -> u64 {
        self.state().partings
    }

    /// From here on the connection is told of these users; replaces what it watched before. Answers their states; `None`,
    /// and nothing is changed, if two people were parted since `partings`, when it was not known yet who may be watched.
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

    /// Ends the watching of one person; answers where the connection is told of it, if it watched them.
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
        let watcher = Watcher { outbox: Arc::clone(&connection.outbox), watches: users };
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
mod tests {
    use super::*;
    use crate::hub::Outward;
    use PresenceState::{Away, Offline, Online};

    const ALL: [(u32, u32); 3] = [(0, 3), (1, 3), (2, 3)];

    #[test]
    fn l4_a_list_in_parts_counts_when_it_is_whole_so_that_nobody_seems_to_go() {
        let (presence, there) = (Presence::default(), Uuid::new_v4());
        let people: Vec<UserId> = (0..3).map(|_| UserId::mint()).collect();
        let part = |version, at: usize, part| {
            presence.part_elsewhere(there, version, part, [(people[at], Online)]).is_some()
        };
        assert_eq!([part(5, 0, ALL[0]), part(5, 1, ALL[1]), part(5, 2, ALL[2])], [false, false, true]);
        // The next one: until its last part all three are there as they were.
        assert!(!part(9, 0, ALL[0]));
        assert!(people.iter().all(|user| presence.of(*user) == Online));
        assert!(!part(9, 0, (1, 2)), "a part of it came, of another division");
        assert!(!part(9, 1, ALL[2]), "and one without those before it");
        assert!(people.iter().all(|user| presence.of(*user) == Online));
        assert!(!part(9, 0, (0, 2)));
        assert!(part(9, 1, (1, 2)));
        assert_eq!(presence.of(people[2]), Offline, "whoever is not in the whole list has gone");
        presence.gone(there);
        assert!(people.iter().all(|user| presence.of(*user) == Offline));
    }

    #[test]
    fn l4_a_change_counts_once_whether_it_comes_before_or_during_the_list() {
        let (presence, there) = (Presence::default(), Uuid::new_v4());
        let [ada, bo] = [UserId::mint(), UserId::mint()];
        assert!(presence.part_elsewhere(there, 5, (0, 2), [(ada, Online)]).is_none());
        presence.elsewhere(there, bo, (None, None), 6);
        presence.elsewhere(there, ada, (Some(Away), None), 7);
        assert!(presence.part_elsewhere(there, 5, (1, 2), [(bo, Online)]).is_some());
        assert_eq!(
            (presence.of(ada), presence.of(bo)),
            (Away, Offline),
            "what happened after the list stays"
        );
        presence.elsewhere(there, bo, (Some(Online), None), 4);
        assert_eq!(presence.of(bo), Offline, "what the list included comes late");
        assert!(presence.part_elsewhere(there, 3, (0, 1), [(bo, Online)]).is_none(), "an older list");
    }

    #[test]
    fn l4_an_instance_holds_whom_it_reported_also_those_who_hide_their_presence() {
        let (presence, one, two) = (Presence::default(), Uuid::new_v4(), Uuid::new_v4());
        let [ada, bo, cy] = [UserId::mint(), UserId::mint(), UserId::mint()];
        assert!(presence.elsewhere(one, ada, (Some(Online), None), 1), "she has come");
        assert!(!presence.elsewhere(one, ada, (Some(Away), None), 2), "she was there");
        assert!(presence.elsewhere(two, bo, (Some(Offline), None), 1), "he hides his presence");
        assert_eq!(presence.of(bo), Offline);
        assert_eq!((presence.instances_of(&[ada]), presence.instances_of(&[bo])), (vec![one], vec![two]));
        assert_eq!(presence.instances_of(&[ada, bo, cy]).len(), 2);
        assert!(presence.instances_of(&[cy]).is_empty());
        presence.elsewhere(one, ada, (None, None), 3);
        assert!(presence.instances_of(&[ada]).is_empty());
        assert!(presence.part_elsewhere(two, 5, (0, 2), [(cy, Online)]).is_none());
        assert_eq!(presence.part_elsewhere(two, 5, (1, 2), [(bo, Online)]), Some(vec![cy]), "the new ones");
        assert_eq!(presence.instances_of(&[cy]), [two]);
        presence.gone(two);
        assert_eq!((presence.instances_of(&[bo, cy]), presence.knows(two)), (Vec::new(), false));
    }

    #[test]
    fn sec_048_who_was_parted_while_it_was_read_whom_they_may_watch_watches_nobody() {
        let hub = Hub::default();
        let presence = Presence::new(hub.clone());
        let [ada, bo] = [UserId::mint(), UserId::mint()];
        let outbox = Arc::new(Outbox::new(true, crate::metrics::Metrics::default()));
        let connection = hub.connect(ada, kith_protocol::DeviceId::mint(), outbox, None);
        presence.enter(&connection, false);
        let before = presence.partings();
        presence.part([bo, ada]);
        assert_eq!(presence.watch(&connection, HashSet::from([bo]), before), None);
        let states = presence.watch(&connection, HashSet::from([bo]), presence.partings());
        assert_eq!(states, Some(vec![(bo, Offline)]));
    }

    #[test]
    fn l4_other_instances_learn_of_a_connection_whose_user_hides_their_presence() {
        let hub = Hub::default();
        let (relay, mut outward, _held) = crate::hub::Relay::new();
        hub.connect_relay(relay);
        let presence = Presence::new(hub.clone());
        let outbox = Arc::new(Outbox::new(true, crate::metrics::Metrics::default()));
        let connected = hub.connect(UserId::mint(), kith_protocol::DeviceId::mint(), outbox, None);
        presence.enter(&connected, true);
        presence.leave(&connected, TimestampMs(1));
        let mut told = || match outward.try_recv() {
            Ok(Outward::Presence { state, last_seen, version, .. }) => Some((state, last_seen, version)),
            other => panic!("{other:?}"),
        };
        assert_eq!(told(), Some((Some(Offline), None, 1)));
        assert_eq!(told(), Some((None, None, 2)), "and no word of when they went");
    }
}

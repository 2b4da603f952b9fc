//! Presence without sockets.

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
    assert_eq!((presence.of(ada), presence.of(bo)), (Away, Offline), "what happened after the list stays");
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

//! Which instances are sent what: those that hold somebody whom it concerns. Where there are many people, all.
//!
//! Who is connected where is hearsay, and so are addresses that follow from it. What an instance was not sent and should
//! have been, it reads from the database, as it reads what was lost.

use crate::hub::{Outward, Published};
use kith_protocol::{ConversationId, UserId};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use uuid::Uuid;

/// An instance; `None` stands for all of them.
pub(super) type Receiver = Option<Uuid>;

/// What concerns more people than this is sent to all instances: most of them hold somebody, and one message is enough.
const ADDRESSED_USERS_MAX: usize = 64;

/// Groups messages by receiver and keeps their order. `unknown` instances are sent everything; `instances_of` names
/// those that hold one of some people.
pub(super) fn divide(
    all: Vec<Outward>,
    unknown: &[Uuid],
    instances_of: impl Fn(&[UserId]) -> Vec<Uuid>,
) -> BTreeMap<Receiver, Vec<Outward>> {
    let receivers = |users: &[UserId]| -> BTreeSet<Receiver> {
        if users.len() > ADDRESSED_USERS_MAX {
            return BTreeSet::from([None]);
        }
        instances_of(users).into_iter().chain(unknown.iter().copied()).map(Some).collect()
    };
    let mut divided: BTreeMap<Receiver, Vec<Outward>> = BTreeMap::new();
    for one in all {
        match one {
            Outward::Log { announce, events } => {
                for (to, (announce, events)) in divide_log(announce, events, receivers) {
                    divided.entry(to).or_default().push(Outward::Log { announce, events });
                }
            }
            Outward::Frame { ref users, .. } => {
                for to in receivers(users) {
                    divided.entry(to).or_default().push(one.clone());
                }
            }
            // Everybody is to know who is connected where, and whose connections have ended.
            Outward::Closed { .. }
            | Outward::Replaced { .. }
            | Outward::Parted { .. }
            | Outward::Presence { .. } => {
                divided.entry(None).or_default().push(one);
            }
        }
    }
    divided
}

/// People who get heads, and events.
type Log = (Vec<(UserId, ConversationId)>, Vec<Published>);

/// Divides a commit by conversation: its heads and events go the same way, so that none overtakes the others.
fn divide_log(
    announce: Vec<(UserId, ConversationId)>,
    events: Vec<Published>,
    receivers: impl Fn(&[UserId]) -> BTreeSet<Receiver>,
) -> BTreeMap<Receiver, Log> {
    let mut conversations: BTreeMap<ConversationId, (BTreeSet<UserId>, Log)> = BTreeMap::new();
    for (user, id) in announce {
        let (users, (announce, _)) = conversations.entry(id).or_default();
        users.insert(user);
        announce.push((user, id));
    }
    for event in events {
        let (users, (_, events)) = conversations.entry(event.conversation).or_default();
        let is_known = |last: &Published| Arc::ptr_eq(&last.audience, &event.audience);
        if !events.last().is_some_and(is_known) {
            users.extend(event.audience.iter().copied());
        }
        events.push(event);
    }
    let mut divided: BTreeMap<Receiver, Log> = BTreeMap::new();
    for (users, (announce, events)) in conversations.into_values() {
        let users: Vec<UserId> = users.into_iter().collect();
        for to in receivers(&users) {
            let (all_announce, all_events) = divided.entry(to).or_default();
            all_announce.extend_from_slice(&announce);
            all_events.extend_from_slice(&events);
        }
    }
    divided
}

#[cfg(test)]
mod tests {
    use super::*;
    use kith_protocol::{DeviceId, Seq};
    use std::collections::HashMap;

    /// Three people, each at an instance of their own.
    struct Stage {
        people: [UserId; 3],
        instances: [Uuid; 3],
    }

    impl Stage {
        fn new() -> Self {
            let people = [UserId::mint(), UserId::mint(), UserId::mint()];
            Self { people, instances: [Uuid::from_u128(1), Uuid::from_u128(2), Uuid::from_u128(3)] }
        }

        fn divide(&self, all: Vec<Outward>, unknown: &[Uuid]) -> BTreeMap<Receiver, Vec<Outward>> {
            let at: HashMap<_, _> = self.people.iter().zip(self.instances).collect();
            divide(all, unknown, |users| users.iter().filter_map(|user| at.get(user).copied()).collect())
        }
    }

    fn events(conversation: ConversationId, audience: &[UserId], seqs: &[u64]) -> Vec<Published> {
        let audience: Arc<[UserId]> = audience.into();
        let event = |seq: &u64| Published {
            conversation,
            seq: Seq(*seq),
            json: "{}".into(),
            audience: Arc::clone(&audience),
        };
        seqs.iter().map(event).collect()
    }

    fn seqs(all: &[Outward]) -> Vec<u64> {
        let events = all.iter().flat_map(|one| match one {
            Outward::Log { events, .. } => events.clone(),
            other => panic!("{other:?}"),
        });
        events.map(|event| event.seq.0).collect()
    }

    #[test]
    fn l4_events_go_to_the_instances_that_hold_a_member_and_to_those_that_are_not_known() {
        let stage = Stage::new();
        let ([ada, bo, cy], [one, two, three]) = (stage.people, stage.instances);
        let (chat, other) = (ConversationId::mint(), ConversationId::mint());
        let mixed = [events(chat, &[ada, bo], &[1, 2]), events(other, &[cy], &[7])].concat();
        let log = |events| vec![Outward::Log { announce: Vec::new(), events }];
        let divided = stage.divide(log(mixed.clone()), &[]);
        assert_eq!(divided.keys().flatten().collect::<Vec<_>>(), [&one, &two, &three]);
        assert_eq!((seqs(&divided[&Some(one)]), seqs(&divided[&Some(two)])), (vec![1, 2], vec![1, 2]));
        assert_eq!(seqs(&divided[&Some(three)]), [7]);
        let divided = stage.divide(log(mixed), &[three]);
        let mut all = seqs(&divided[&Some(three)]);
        all.sort_unstable();
        assert_eq!(all, [1, 2, 7], "who is there is not known");
        assert!(stage.divide(log(events(chat, &[UserId::mint()], &[1])), &[]).is_empty(), "nobody is there");
    }

    #[test]
    fn l4_heads_go_the_way_of_the_events_behind_them() {
        let stage = Stage::new();
        let ([ada, bo, _], [one, two, _]) = (stage.people, stage.instances);
        let chat = ConversationId::mint();
        let announce = vec![(bo, chat)];
        let divided = stage.divide(vec![Outward::Log { announce, events: events(chat, &[ada], &[1]) }], &[]);
        for instance in [one, two] {
            let [Outward::Log { announce, events }] = &divided[&Some(instance)][..] else { panic!() };
            assert_eq!((announce.len(), events.len()), (1, 1));
        }
    }

    #[test]
    fn l4_what_concerns_many_and_who_is_where_goes_to_all() {
        let stage = Stage::new();
        let crowd: Vec<UserId> = (0..=ADDRESSED_USERS_MAX).map(|_| UserId::mint()).collect();
        let frame = |users: &[UserId]| Outward::Frame { topic: None, users: users.to_vec(), json: "".into() };
        let divided = stage.divide(
            vec![
                Outward::Log { announce: Vec::new(), events: events(ConversationId::mint(), &crowd, &[1]) },
                frame(&crowd),
                Outward::Closed { device: DeviceId::mint(), code: 4_200 },
            ],
            &stage.instances,
        );
        assert_eq!((divided.len(), divided[&None].len()), (1, 3));
        assert_eq!(stage.divide(vec![frame(&stage.people[..1])], &[]).keys().count(), 1);
    }
}

//! The other instances, as far as they are heard.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};
use uuid::Uuid;

/// How often each says that it lives.
pub(super) const ALIVE_EVERY: Duration = Duration::from_millis(500);
/// One that says nothing for this long has gone.
const SILENT_FOR: Duration = Duration::from_secs(4);
/// Instances of one database. Further ones are heard, and what they lose is noticed by the next look into the database.
const PEERS_MAX: usize = 1_000;

#[derive(Debug)]
struct Peer {
    number: u64,
    heard: Instant,
}

/// What a message's number says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It is the first of this instance.
    First,
    /// The next one.
    Next,
    /// So many before it did not come.
    After(u64),
    /// It was heard before.
    Before,
}

/// Who is there.
#[derive(Debug, Default)]
pub(super) struct Peers(HashMap<Uuid, Peer>);

impl Peers {
    /// Notes a message of an instance.
    pub fn hear(&mut self, from: Uuid, number: u64, now: Instant) -> Heard {
        let Some(peer) = self.0.get_mut(&from) else {
            if self.0.len() < PEERS_MAX {
                self.0.insert(from, Peer { number, heard: now });
            }
            return Heard::First;
        };
        if number <= peer.number {
            return Heard::Before;
        }
        let missing = number - peer.number - 1;
        *peer = Peer { number, heard: now };
        if missing == 0 { Heard::Next } else { Heard::After(missing) }
    }

    /// Those who have gone; they are forgotten.
    pub fn take_silent(&mut self, now: Instant) -> Vec<Uuid> {
        let is_silent = |peer: &Peer| now.saturating_duration_since(peer.heard) > SILENT_FOR;
        let silent: Vec<Uuid> =
            self.0.iter().filter(|(_, peer)| is_silent(peer)).map(|(id, _)| *id).collect();
        self.0.retain(|_, peer| !is_silent(peer));
        silent
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l4_what_an_instance_said_and_nobody_heard_is_noticed() {
        let (mut peers, one, now) = (Peers::default(), Uuid::new_v4(), Instant::now());
        assert_eq!(peers.hear(one, 7, now), Heard::First);
        assert_eq!(peers.hear(one, 8, now), Heard::Next);
        assert_eq!(peers.hear(one, 11, now), Heard::After(2));
        assert_eq!(peers.hear(one, 11, now), Heard::Before, "somebody says it again");
        assert_eq!(peers.hear(Uuid::new_v4(), 1, now), Heard::First);
    }

    #[test]
    fn l4_an_instance_that_says_nothing_has_gone() {
        let (mut peers, one, now) = (Peers::default(), Uuid::new_v4(), Instant::now());
        peers.hear(one, 1, now);
        assert!(peers.take_silent(now + SILENT_FOR).is_empty());
        assert_eq!(peers.take_silent(now + SILENT_FOR * 2), [one]);
        assert_eq!((peers.count(), peers.hear(one, 2, now)), (0, Heard::First));
    }
}

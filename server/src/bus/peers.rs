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

/// The messages of an instance are numbered in two sequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sequence {
    All,
    /// To this instance alone.
    Own,
}

#[derive(Debug)]
struct Peer {
    /// The last number of each sequence, as far as one came.
    all: Option<u64>,
    own: Option<u64>,
    /// How many messages to this instance alone there were at the last sign of life but none later.
    announced: u64,
    heard: Instant,
}

/// What a message's number says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It is the first of this instance.
    First,
    Next,
    /// So many before it did not come.
    After(u64),
    /// It was heard before.
    Before,
}

#[derive(Debug, Default)]
pub(super) struct Peers(HashMap<Uuid, Peer>);

impl Peers {
    /// Notes a message of an instance.
    pub fn hear(&mut self, from: Uuid, sequence: Sequence, number: u64, now: Instant) -> Heard {
        if !self.0.contains_key(&from) && self.0.len() >= PEERS_MAX {
            return Heard::First;
        }
        let new = || Peer { all: None, own: None, announced: 0, heard: now };
        let peer = self.0.entry(from).or_insert_with(new);
        peer.heard = now;
        let last = match sequence {
            Sequence::All => &mut peer.all,
            Sequence::Own => &mut peer.own,
        };
        match *last {
            None => {
                *last = Some(number);
                Heard::First
            }
            Some(last) if number <= last => Heard::Before,
            Some(before) => {
                *last = Some(number);
                let missing = number - before - 1;
                if missing == 0 { Heard::Next } else { Heard::After(missing) }
            }
        }
    }

    /// Takes what a sign of life announces: the number of the last message to this instance alone. Returns how many of those
    /// that the sign of life before announced have not come. The two sequences may overtake each other by less than that.
    pub fn announced(&mut self, from: Uuid, number: u64) -> u64 {
        let Some(peer) = self.0.get_mut(&from) else { return 0 };
        let due = std::mem::replace(&mut peer.announced, number);
        let missing = match peer.own {
            Some(last) => due.saturating_sub(last),
            None => u64::from(due > 0),
        };
        if missing > 0 {
            peer.own = Some(due);
        }
        missing
    }

    /// Those who have gone; they are forgotten.
    pub fn take_silent(&mut self, now: Instant) -> Vec<Uuid> {
        let is_silent = |peer: &Peer| now.saturating_duration_since(peer.heard) > SILENT_FOR;
        let silent: Vec<Uuid> =
            self.0.iter().filter(|(_, peer)| is_silent(peer)).map(|(id, _)| *id).collect();
        self.0.retain(|_, peer| !is_silent(peer));
        silent
    }

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
        let mut hear = |from, number| peers.hear(from, Sequence::All, number, now);
        assert_eq!(hear(one, 7), Heard::First);
        assert_eq!(hear(one, 8), Heard::Next);
        assert_eq!(hear(one, 11), Heard::After(2));
        assert_eq!(hear(one, 11), Heard::Before, "somebody says it again");
        assert_eq!(hear(Uuid::new_v4(), 1), Heard::First);
        assert_eq!(peers.hear(one, Sequence::Own, 3, now), Heard::First, "a sequence of its own");
        assert_eq!(peers.hear(one, Sequence::Own, 4, now), Heard::Next);
        assert_eq!(peers.hear(one, Sequence::All, 12, now), Heard::Next);
    }

    #[test]
    fn l4_the_last_message_to_this_instance_alone_is_missed_by_the_second_sign_of_life() {
        let (mut peers, one, now) = (Peers::default(), Uuid::new_v4(), Instant::now());
        peers.hear(one, Sequence::All, 1, now);
        assert_eq!(peers.announced(one, 0), 0);
        assert_eq!(peers.announced(one, 8), 0, "it may still come");
        assert_eq!(peers.announced(one, 8), 1, "none came at all");
        assert_eq!(peers.hear(one, Sequence::Own, 8, now), Heard::Before, "too late");
        assert_eq!(peers.hear(one, Sequence::Own, 9, now), Heard::Next);
        assert_eq!((peers.announced(one, 12), peers.announced(one, 12)), (0, 3));
        assert_eq!(peers.announced(one, 12), 0, "each is missed once");
        assert_eq!(peers.announced(Uuid::new_v4(), 5), 0);
    }

    #[test]
    fn l4_an_instance_that_says_nothing_has_gone() {
        let (mut peers, one, now) = (Peers::default(), Uuid::new_v4(), Instant::now());
        peers.hear(one, Sequence::All, 1, now);
        assert!(peers.take_silent(now + SILENT_FOR).is_empty());
        assert_eq!(peers.take_silent(now + SILENT_FOR * 2), [one]);
        assert_eq!((peers.count(), peers.hear(one, Sequence::All, 2, now)), (0, Heard::First));
    }
}

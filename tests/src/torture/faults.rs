//! What is done to whom, and when: all of it follows from the seed.

use kith_failpoint::places;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::time::Duration;

/// How long an engine stays away so that its access token has ended when it is back: the token's lifetime and the leeway.
const ABSENCE: Duration = Duration::from_secs(3 + super::server::TOKEN_SECONDS + 30);

/// How wrong a clock gets, days. Two such clocks differ by less than the 30 days after which the user is asked (O5).
const WRONG_BY_DAYS: i64 = 14;
const DAY_MS: i64 = 24 * 3_600_000;

/// Something that happens at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The engine's process is killed and comes back after a while.
    KillAgent {
        agent: usize,
        back_after: Duration,
    },
    /// The server's process is killed and comes back after a while.
    KillServer {
        back_after: Duration,
    },
    /// PostgreSQL ends as in a crash and starts again.
    RestartDatabase,
    /// Nothing passes for a while, nothing is cut.
    Stall {
        agent: usize,
        during: Duration,
    },
    /// Open connections stay open and deaf.
    HalfOpen {
        agent: usize,
    },
    /// Bytes pass slowly for a while.
    Slow {
        agent: usize,
        bytes_per_s: u32,
        during: Duration,
    },
    /// Nobody reaches the server for a while.
    AllDown {
        during: Duration,
    },
    /// There is no space on an engine's disk for a while.
    FullDisk {
        agent: usize,
        during: Duration,
    },
    /// The engine's process is killed, pages of its file are corrupted, and it comes back. It may send what it has before.
    Damage {
        agent: usize,
        after_sending: bool,
        back_after: Duration,
    },
    BackUp,
    /// Restores the newest copy. The server starts again after a while.
    Restore {
        back_after: Duration,
    },
    /// An engine's clock jumps: so wrong it is from then on, over all its incarnations.
    Clock {
        agent: usize,
        wrong_by_ms: i64,
    },
}

impl Fault {
    /// Whether it belongs to runs with restores only.
    pub const fn is_of_restore(&self) -> bool {
        matches!(self, Self::BackUp | Self::Restore { .. })
    }
}

/// Whether an agent has a small disk of its own.
pub const fn has_disk(agent: usize) -> bool {
    agent % 2 == 1
}

/// Kinds of faults, and how many of each a minute has.
const A_MINUTE: &[(Kind, u32)] = &[
    (Kind::KillAgent, 14),
    (Kind::KillServer, 4),
    (Kind::RestartDatabase, 2),
    (Kind::Stall, 8),
    (Kind::HalfOpen, 4),
    (Kind::Slow, 4),
    (Kind::AllDown, 1),
    (Kind::Absence, 1),
    (Kind::FullDisk, 2),
    (Kind::Damage, 1),
    (Kind::Clock, 3),
    (Kind::BackUp, 1),
    (Kind::Restore, 1),
];

#[derive(Debug, Clone, Copy)]
enum Kind {
    KillAgent,
    KillServer,
    RestartDatabase,
    Stall,
    HalfOpen,
    Slow,
    AllDown,
    Absence,
    FullDisk,
    Damage,
    Clock,
    BackUp,
    Restore,
}

/// How a connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    Now,
    /// In the middle of what passes after so many bytes.
    After(u32),
}

/// The seed's decisions. Each kind has a source of its own, so that how often one is asked changes no other.
pub struct Decisions {
    cuts: StdRng,
    arming: StdRng,
    /// Which pages of which file are corrupted.
    pub damage: StdRng,
    agents: usize,
}

impl Decisions {
    pub fn new(seed: u64, agents: usize) -> Self {
        Self { cuts: source(seed, 1), arming: source(seed, 2), damage: source(seed, 3), agents }
    }

    /// After how many messages the next cut comes (one in twenty on average), whose and how.
    pub fn next_cut(&mut self) -> (u64, usize, Cut) {
        let after = self.cuts.random_range(5..=35);
        let agent = self.cuts.random_range(0..self.agents);
        let cut =
            if self.cuts.random_bool(0.5) { Cut::Now } else { Cut::After(self.cuts.random_range(1..4_000)) };
        (after, agent, cut)
    }

    /// The fail point with which the server starts next, if any.
    pub fn server_fail_point(&mut self) -> Option<String> {
        let most = |place| match place {
            places::REFRESH_AFTER_COMMIT => 12,
            places::STATE_AFTER_COMMIT => 60,
            _ => 300,
        };
        self.fail_point(places::SERVER, 0.8, most)
    }

    /// The fail point with which an engine starts next, if any.
    pub fn agent_fail_point(&mut self) -> Option<String> {
        let most = |place| if place == places::RENEWAL_BEFORE_KEPT { 5 } else { 300 };
        self.fail_point(places::ENGINE, 0.7, most)
    }

    fn fail_point(
        &mut self,
        places: &[&'static str],
        armed: f64,
        most: impl Fn(&'static str) -> u32,
    ) -> Option<String> {
        let place = places[self.arming.random_range(0..places.len())];
        let pass = self.arming.random_range(1..=most(place));
        self.arming.random_bool(armed).then(|| format!("{place}={pass}"))
    }
}

fn source(seed: u64, number: u64) -> StdRng {
    StdRng::seed_from_u64(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(number))
}

/// All faults of a run with their times, in order.
pub fn schedule(seed: u64, agents: usize, during: Duration) -> Vec<(Duration, Fault)> {
    let mut random = source(seed, 0);
    let mut faults = Vec::new();
    for (kind, a_minute) in A_MINUTE {
        let count = (f64::from(*a_minute) * during.as_secs_f64() / 60.0).ceil() as u32;
        for _ in 0..count {
            let at = during.mul_f64(random.random_range(0.02..0.98));
            faults.push((at, fault(*kind, agents, &mut random)));
        }
    }
    faults.sort_by_key(|(at, _)| *at);
    faults
}

fn fault(kind: Kind, agents: usize, random: &mut StdRng) -> Fault {
    let agent = random.random_range(0..agents);
    let mut ms = |range: std::ops::Range<u64>| Duration::from_millis(random.random_range(range));
    match kind {
        Kind::KillAgent => Fault::KillAgent { agent, back_after: ms(0..2_500) },
        Kind::KillServer => Fault::KillServer { back_after: ms(0..2_500) },
        Kind::RestartDatabase => Fault::RestartDatabase,
        Kind::Stall => Fault::Stall { agent, during: ms(500..9_000) },
        Kind::HalfOpen => Fault::HalfOpen { agent },
        Kind::Slow => {
            Fault::Slow { agent, during: ms(1_000..6_000), bytes_per_s: random.random_range(2_000..40_000) }
        }
        Kind::AllDown => Fault::AllDown { during: ms(500..4_000) },
        Kind::Absence => Fault::KillAgent { agent, back_after: ABSENCE },
        Kind::FullDisk => {
            let with_disks: Vec<usize> = (0..agents).filter(|agent| has_disk(*agent)).collect();
            let during = ms(2_000..8_000);
            Fault::FullDisk { agent: with_disks[random.random_range(0..with_disks.len())], during }
        }
        Kind::Damage => {
            let back_after = ms(0..1_500);
            Fault::Damage { agent, after_sending: random.random_bool(0.5), back_after }
        }
        Kind::BackUp => Fault::BackUp,
        Kind::Restore => Fault::Restore { back_after: ms(0..2_500) },
        Kind::Clock => {
            let most = WRONG_BY_DAYS * DAY_MS;
            Fault::Clock { agent, wrong_by_ms: random.random_range(-most..most) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_schedule() {
        let of = |seed| schedule(seed, 6, Duration::from_secs(90));
        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
        assert!(of(7).iter().any(|(_, fault)| *fault == Fault::RestartDatabase));
        let is_full = |fault: &Fault| matches!(fault, Fault::FullDisk { agent, .. } if has_disk(*agent));
        assert_eq!(of(7).iter().filter(|(_, fault)| is_full(fault)).count(), 3);
        assert!(of(7).iter().any(|(_, fault)| matches!(fault, Fault::Damage { .. })));
        assert!(of(7).iter().any(|(_, fault)| matches!(fault, Fault::Clock { .. })));
        let cuts = |seed| {
            let mut decisions = Decisions::new(seed, 6);
            std::iter::repeat_with(move || decisions.next_cut()).take(50).collect::<Vec<_>>()
        };
        assert_eq!(cuts(7), cuts(7));
    }
}

//! How long to wait before the next try (S10, O6). Randomness comes from a seed, so a run can be repeated.

use crate::mutation::{self, Mutation};
use kith_protocol::limits;

/// A small generator (SplitMix64): jitter needs spread, not secrecy.
#[derive(Debug, Clone)]
pub struct Jitter(u64);

impl Jitter {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Milliseconds from 0 to `max`, both inclusive.
    pub fn up_to(&mut self, max: u64) -> u64 {
        self.number() % (max + 1)
    }
}

/// The connection's backoff: full jitter over 0–2 s first, then 1 s doubled up to 60 s, for ever.
#[derive(Debug, Clone)]
pub struct Backoff {
    attempt: u32,
    jitter: Jitter,
}

impl Backoff {
    pub const fn new(seed: u64) -> Self {
        Self { attempt: 0, jitter: Jitter::new(seed) }
    }

    /// How many tries failed in a row.
    pub const fn failed(&self) -> u32 {
        self.attempt
    }

    /// The next try is a first one again.
    pub fn reset(&mut self) {
        if !mutation::is(Mutation::BackoffIsNeverReset) {
            self.attempt = 0;
        }
    }

    /// Counts a failure and answers how many milliseconds to wait.
    pub fn next_ms(&mut self) -> u64 {
        let first = limits::RECONNECT_FIRST_MAX.as_millis() as u64;
        let wait = match self.attempt {
            0 => self.jitter.up_to(first),
            n => {
                let base = doubled(1_000, n - 1);
                base / 2 + self.jitter.up_to(base / 2)
            }
        };
        self.attempt = self.attempt.saturating_add(1);
        wait
    }
}

/// How many milliseconds an outbox item waits after its `tries`-th try: 1 s doubled up to 60 s.
pub fn item_wait_ms(tries: u32) -> u64 {
    doubled(1_000, tries.saturating_sub(1))
}

fn doubled(first: u64, times: u32) -> u64 {
    let max = limits::RECONNECT_MAX.as_millis() as u64;
    first.checked_shl(times.min(16)).unwrap_or(max).min(max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s10_backoff_grows_to_a_minute_and_stays() {
        let mut backoff = Backoff::new(7);
        assert!(backoff.next_ms() <= 2_000);
        let waits: Vec<_> = (0..12).map(|_| backoff.next_ms()).collect();
        for (n, wait) in waits.iter().enumerate() {
            let base = (1_000_u64 << n).min(60_000);
            assert!((base / 2..=base).contains(wait), "try {n}: {wait}");
        }
        backoff.reset();
        assert!(backoff.next_ms() <= 2_000);
    }

    #[test]
    fn o6_an_item_waits_at_most_a_minute() {
        assert_eq!(item_wait_ms(0), 1_000);
        assert_eq!(item_wait_ms(3), 4_000);
        assert_eq!(item_wait_ms(u32::MAX), 60_000);
    }
}

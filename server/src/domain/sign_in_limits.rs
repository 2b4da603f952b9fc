//! Limits on trying to sign in and on renewing: per account with a growing wait, per address and device with a bucket.

use crate::{
    error::ApiError,
    networks::{self, MULTIPLES},
};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter, clock::Clock};
use kith_protocol::{DeviceId, limits};
use std::{
    collections::HashMap,
    hash::Hash,
    net::IpAddr,
    num::NonZeroU32,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};
use uuid::Uuid;

/// Wrong passwords that cost nothing.
const FREE_ATTEMPTS: u32 = 10;
/// The same for one account from strangers of all networks together.
const FREE_ATTEMPTS_OF_STRANGERS: u32 = 100;
/// The longest wait between two attempts.
const WAIT_MAX: Duration = Duration::from_secs(300);
/// Attempts are forgotten after this long without one.
const FORGET_AFTER: Duration = Duration::from_secs(900);
/// Keys held at most; above, the forgotten ones are dropped, and if none is, all.
const KEYS_MAX: usize = 100_000;
/// Devices with a network that are remembered; above, those that were not seen for long are forgotten.
const HOMES_MAX: usize = 100_000;
/// Requests of one address to the routes that hash passwords: a burst, then one a second.
const ADDRESS_BURST: NonZeroU32 = NonZeroU32::new(60).unwrap();
/// Refresh tokens that one address exchanges: a house full of people may come back at once.
const REFRESHES_PER_S: NonZeroU32 = NonZeroU32::new(20).unwrap();
const REFRESHES_BURST: NonZeroU32 = NonZeroU32::new(600).unwrap();
/// Refresh tokens that one device may exchange at once. It needs one in about ten minutes.
const DEVICE_REFRESHES_BURST: NonZeroU32 = NonZeroU32::new(60).unwrap();
/// After the burst: one in ten seconds.
const DEVICE_REFRESHES_PER_HOUR: NonZeroU32 = NonZeroU32::new(360).unwrap();

struct Attempts {
    count: u32,
    last: Instant,
}

impl Attempts {
    /// Whether another attempt may be made.
    fn may_follow(&mut self, free: u32, now: Instant) -> Result<(), ApiError> {
        let since = now.saturating_duration_since(self.last);
        if since >= FORGET_AFTER {
            self.count = 0;
        }
        let Some(over) = self.count.checked_sub(free) else { return Ok(()) };
        let wait = Duration::from_secs(1_u64 << over.min(16)).min(WAIT_MAX);
        if since >= wait {
            return Ok(());
        }
        let retry_after_ms = u64::try_from((wait - since).as_millis()).unwrap_or(u64::MAX);
        Err(ApiError::RateLimited { retry_after_ms })
    }
}

/// Who says a password. Each kind counts for itself, so that nobody's guesses slow an owner down on another device.
#[derive(Debug, Clone, Copy)]
pub enum Guesser<'a> {
    /// A device that the account knows signs in from this network, also one that was signed out. Anybody may name a
    /// device, so that where it was not seen before, guesses of all such networks count together. Copies count as one.
    Known { family: Uuid, network: Option<IpAddr>, is_home: bool },
    /// A device that is signed in, or a copy of it, says the password again.
    Again(Uuid),
    /// Anybody else who names the account, from this network; `None` for this machine.
    Stranger(&'a str, Option<IpAddr>),
}

impl Guesser<'_> {
    /// What is counted, and how many attempts cost nothing.
    fn keys(self) -> Vec<(String, u32)> {
        match self {
            Self::Known { family, network, is_home } => {
                let mut keys = vec![(format!("family {family} {}", named(network)), FREE_ATTEMPTS)];
                if !is_home {
                    keys.push((format!("family {family}"), FREE_ATTEMPTS_OF_STRANGERS));
                }
                keys
            }
            Self::Again(family) => vec![(format!("again {family}"), FREE_ATTEMPTS)],
            Self::Stranger(name, network) => {
                let name: String = name.chars().take(limits::USERNAME_CHARS_MAX + 1).collect();
                vec![
                    (format!("network {} {name}", named(network)), FREE_ATTEMPTS),
                    (format!("account {name}"), FREE_ATTEMPTS_OF_STRANGERS),
                ]
            }
        }
    }
}

fn named(network: Option<IpAddr>) -> String {
    network.map_or_else(|| "here".to_owned(), |network| network.to_string())
}

/// Who has tried how often. In memory: another instance counts for itself.
pub struct SignInLimits {
    attempts: Mutex<HashMap<String, Attempts>>,
    /// Families of devices and the networks in which they showed a password or a refresh token that was right.
    homes: quick_cache::sync::Cache<(Uuid, Option<IpAddr>), ()>,
    addresses: ByNetwork,
    refreshes: ByNetwork,
    device_refreshes: DefaultKeyedRateLimiter<DeviceId>,
}

impl Default for SignInLimits {
    fn default() -> Self {
        let each_device = Quota::per_hour(DEVICE_REFRESHES_PER_HOUR).allow_burst(DEVICE_REFRESHES_BURST);
        Self {
            attempts: Mutex::default(),
            homes: quick_cache::sync::Cache::new(HOMES_MAX),
            addresses: ByNetwork::new(NonZeroU32::MIN, ADDRESS_BURST),
            refreshes: ByNetwork::new(REFRESHES_PER_S, REFRESHES_BURST),
            device_refreshes: RateLimiter::keyed(each_device),
        }
    }
}

impl SignInLimits {
    /// Counts an attempt before it is made, so that many at once do not all pass.
    ///
    /// # Errors
    /// [`ApiError::RateLimited`] when the last one is too recent.
    pub fn attempt(&self, who: Guesser<'_>) -> Result<(), ApiError> {
        self.attempt_at(who, Instant::now())
    }

    fn attempt_at(&self, who: Guesser<'_>, now: Instant) -> Result<(), ApiError> {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        if attempts.len() >= KEYS_MAX {
            forget(&mut attempts, now);
        }
        let keys = who.keys();
        // All are looked at before any is counted: a refused attempt was none.
        for (key, free) in &keys {
            if let Some(entry) = attempts.get_mut(key) {
                entry.may_follow(*free, now)?;
            }
        }
        for (key, _) in keys {
            let entry = attempts.entry(key).or_insert(Attempts { count: 0, last: now });
            entry.count = entry.count.saturating_add(1);
            entry.last = now;
        }
        Ok(())
    }

    /// Forgets the attempts after a right password; those of other strangers stay.
    pub fn succeeded(&self, who: Guesser<'_>) {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, _) in who.keys().into_iter().filter(|(_, free)| *free == FREE_ATTEMPTS) {
            attempts.remove(&key);
        }
    }

    /// A device of this family signs in from a network.
    pub fn known(&self, family: Uuid, network: Option<IpAddr>) -> Guesser<'static> {
        Guesser::Known { family, network, is_home: self.homes.get(&(family, network)).is_some() }
    }

    /// A device of this family has shown in a network that it is itself.
    pub fn was_right(&self, family: Uuid, network: Option<IpAddr>) {
        self.homes.insert((family, network), ());
    }

    /// Counts a request of an address to a route that hashes passwords; `None` is not counted.
    ///
    /// # Errors
    /// [`ApiError::RateLimited`] when the bucket is empty.
    pub fn address(&self, counted: Option<IpAddr>) -> Result<(), ApiError> {
        counted.map_or(Ok(()), |address| self.addresses.take(address))
    }

    /// Counts an exchange of a refresh token for an address; `None` is not counted.
    ///
    /// # Errors
    /// [`ApiError::RateLimited`] when the bucket is empty.
    pub fn refresh_by(&self, counted: Option<IpAddr>) -> Result<(), ApiError> {
        counted.map_or(Ok(()), |address| self.refreshes.take(address))
    }

    /// Counts an exchange of a refresh token for the device that the token names. Only for tokens with this server's
    /// mark: a made-up one names nobody.
    ///
    /// # Errors
    /// [`ApiError::RateLimited`] when the bucket is empty.
    pub fn refresh_of(&self, device: DeviceId) -> Result<(), ApiError> {
        take(&self.device_refreshes, &device)
    }

    /// Drops what no longer counts.
    pub fn tidy(&self) {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        attempts.retain(|_, entry| entry.last.elapsed() < FORGET_AFTER);
        drop(attempts);
        self.addresses.retain_recent();
        self.refreshes.retain_recent();
        self.device_refreshes.retain_recent();
    }
}

/// A bucket for each network of an address, by [`networks::spans`].
struct ByNetwork([DefaultKeyedRateLimiter<IpAddr>; MULTIPLES.len()]);

impl ByNetwork {
    /// Buckets with the rate and the burst of one address; those of wider networks are larger.
    fn new(per_s: NonZeroU32, burst: NonZeroU32) -> Self {
        Self(MULTIPLES.map(|multiple| {
            let raised =
                |number: NonZeroU32| NonZeroU32::new(number.get().saturating_mul(multiple)).unwrap_or(number);
            RateLimiter::keyed(Quota::per_second(raised(per_s)).allow_burst(raised(burst)))
        }))
    }

    /// Takes one from each network, the narrowest first: what its bucket refuses takes nothing from its neighbours.
    fn take(&self, address: IpAddr) -> Result<(), ApiError> {
        networks::spans(address).zip(&self.0).try_for_each(|(span, buckets)| {
            if buckets.len() >= KEYS_MAX {
                buckets.retain_recent();
            }
            take(buckets, &span.network)
        })
    }

    fn retain_recent(&self) {
        for buckets in &self.0 {
            buckets.retain_recent();
        }
    }
}

fn take<K: Hash + Eq + Clone>(limiter: &DefaultKeyedRateLimiter<K>, key: &K) -> Result<(), ApiError> {
    limiter.check_key(key).map_err(|refused| {
        let wait = refused.wait_time_from(limiter.clock().now());
        let retry_after_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
        ApiError::RateLimited { retry_after_ms }
    })
}

fn forget(attempts: &mut HashMap<String, Attempts>, now: Instant) {
    attempts.retain(|_, entry| now.saturating_duration_since(entry.last) < FORGET_AFTER);
    if attempts.len() >= KEYS_MAX {
        attempts.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(result: Result<(), ApiError>) -> Option<u64> {
        match result {
            Ok(()) => None,
            Err(ApiError::RateLimited { retry_after_ms }) => Some(retry_after_ms),
            Err(other) => panic!("{other}"),
        }
    }

    fn stranger(name: &str, network: u8) -> Guesser<'_> {
        Guesser::Stranger(name, Some(IpAddr::from([192, 0, 2, network])))
    }

    #[test]
    fn sec_007_the_eleventh_wrong_password_waits_and_each_further_one_longer() {
        let (limits, start) = (SignInLimits::default(), Instant::now());
        let ada = stranger("ada", 1);
        for _ in 0..10 {
            assert_eq!(wait(limits.attempt_at(ada, start)), None);
        }
        assert_eq!(wait(limits.attempt_at(ada, start)), Some(1_000));
        assert_eq!(wait(limits.attempt_at(stranger("bo", 1), start)), None, "each account for itself");
        assert_eq!(wait(limits.attempt_at(stranger("ada", 2), start)), None, "each network for itself");
        let later = start + Duration::from_secs(1);
        assert_eq!(wait(limits.attempt_at(ada, later)), None);
        assert_eq!(wait(limits.attempt_at(ada, later)), Some(2_000));
        assert_eq!(wait(limits.attempt_at(ada, later + FORGET_AFTER)), None);
        limits.succeeded(ada);
        assert_eq!(wait(limits.attempt_at(ada, later)), None);
    }

    #[test]
    fn sec_007_many_networks_together_are_slowed_down_and_devices_of_the_account_are_not() {
        let (limits, start) = (SignInLimits::default(), Instant::now());
        for network in 0..100 {
            assert_eq!(wait(limits.attempt_at(stranger("ada", network), start)), None);
        }
        assert_eq!(wait(limits.attempt_at(stranger("ada", 200), start)), Some(1_000));
        limits.succeeded(stranger("ada", 1));
        assert_eq!(wait(limits.attempt_at(stranger("ada", 200), start)), Some(1_000));
        let (thief, own) = (Uuid::new_v4(), Uuid::new_v4());
        assert_eq!(wait(limits.attempt_at(limits.known(own, None), start)), None);
        for _ in 0..10 {
            assert_eq!(wait(limits.attempt_at(Guesser::Again(thief), start)), None);
        }
        assert_eq!(wait(limits.attempt_at(Guesser::Again(thief), start)), Some(1_000));
        assert_eq!(wait(limits.attempt_at(Guesser::Again(own), start)), None);
        assert_eq!(wait(limits.attempt_at(limits.known(thief, None), start)), None);
    }

    #[test]
    fn sec_007_whoever_names_a_device_slows_down_neither_its_network_nor_gets_more_tries_than_strangers() {
        let (limits, start, device) = (SignInLimits::default(), Instant::now(), Uuid::new_v4());
        let network = |number: u8| Some(IpAddr::from([198, 51, 100, number]));
        limits.was_right(device, network(250));
        let tried = |number| limits.attempt_at(limits.known(device, network(number)), start);
        let free: usize = (0..50).map(|number| (0..50).take_while(|_| tried(number).is_ok()).count()).sum();
        assert_eq!(free, 100, "of all networks in which it was not seen");
        assert_eq!((0..50).take_while(|_| tried(250).is_ok()).count(), 10, "where it was seen");
    }

    #[test]
    fn sec_008_an_address_that_tries_many_accounts_is_slowed_down() {
        let limits = SignInLimits::default();
        let address = Some("192.0.2.7".parse().unwrap());
        let refused = (0..1_000).filter(|_| limits.address(address).is_err()).count();
        assert!(refused >= 900, "{refused}");
        assert!(limits.address(Some("192.0.2.8".parse().unwrap())).is_ok());
        assert!(limits.address(None).is_ok());
    }

    #[test]
    fn sec_008_an_ipv6_host_with_many_networks_has_16_times_the_allowance_of_one() {
        let network =
            |prefix: u16, subnet: u16| Some(IpAddr::from([0x2001, 0xdb8, prefix, subnet, 0, 0, 0, 0]));
        let (limits, burst) = (SignInLimits::default(), ADDRESS_BURST.get() as usize);
        let passed = |limits: &SignInLimits, prefix: u16, subnets: std::ops::Range<u16>| {
            subnets.cycle().take(5_000).filter(|n| limits.address(network(prefix, *n)).is_ok()).count()
        };
        // A slow machine refills some.
        let of_56 = passed(&limits, 1, 0..256);
        assert!((4 * burst..5 * burst).contains(&of_56), "{of_56} of a /56");
        let of_48 = passed(&limits, 2, 0..5_000);
        assert!((16 * burst..20 * burst).contains(&of_48), "{of_48} of a /48");
        let of_64 = passed(&limits, 3, 7..8);
        assert!((burst..2 * burst).contains(&of_64), "{of_64} of a /64");
        assert!(limits.address(network(3, 300)).is_ok(), "a full /64 leaves its /48 room");
        let refreshed = (0..50_000).filter(|n| limits.refresh_by(network(4, *n)).is_ok()).count();
        assert!(refreshed < 20 * REFRESHES_BURST.get() as usize, "{refreshed}");
    }
}

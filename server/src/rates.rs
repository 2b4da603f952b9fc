//! How fast one device (for the search of people: one user) may send each type of frame and ask each kind of route (L2): a
//! token bucket per type. Types that read from the database have a second bucket, of the user.
//!
//! Pure: the time comes in. A refused frame costs nothing further, and whoever goes on far above the limits for
//! [`FLOOD_AFTER`] is told apart from whoever was refused once.

use crate::error::ApiError;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Type, per second, burst. What is not listed (unknown types, frames that cannot be read) shares the first row.
const RATES: &[(&str, u32, u32)] = &[
    ("", 10, 50),
    ("auth", 1, 10),
    // Billed per event and byte: an event, or 4 KiB of the frame, costs one.
    ("send", 500, 2_000),
    ("open", 20, 100),
    ("pull", 200, 400),
    ("probe", 50, 200),
    ("state", 50, 200),
    ("delivered", 50, 200),
    ("heads", 2, 10),
    ("members", 50, 200),
    ("profiles", 50, 200),
    ("markers", 50, 200),
    ("focus", 20, 100),
    ("typing", 20, 50),
    ("presence.watch", 10, 50),
    ("presence.set", 5, 20),
    ("notification.ack", 20, 100),
];
/// The rate of the search of people, which is a user's and not a device's.
pub const USERS: &str = "users";
/// The rate of routes about the account.
pub const ACCOUNT: &str = "account";
/// The rate of upgrades to a socket.
pub const CONNECT: &str = "connect";
pub const EXCHANGE: &str = "exchange";
/// The same for routes that do what no frame does; the others share the rate of their frame.
const ROUTE_RATES: &[(&str, u32, u32)] =
    &[(ACCOUNT, 5, 50), (USERS, 5, 30), (CONNECT, 10, 100), (EXCHANGE, 10, 100)];

/// Types that read from the database. They count for the user as well, with [`USER_MULTIPLE`] times the rate of a device.
const READING: &[&str] = &["pull", "probe", "heads", "members", "profiles", "markers"];
const USER_MULTIPLE: u32 = 3;

/// Whether frames and routes of this name count for the user as well as for the device.
pub fn is_reading(name: &str) -> bool {
    READING.contains(&name)
}

/// Continued excess of this length ends the connection (4009).
const FLOOD_AFTER: Duration = Duration::from_secs(10);
/// Excess is continued while no more than this lies between two refusals.
const FLOOD_PAUSE: Duration = Duration::from_secs(1);

struct Bucket {
    /// Frames that may come at once.
    level: f64,
    filled_at: Instant,
}

/// Bytes of a send that cost as much as an event.
const BYTES_PER_EVENT: usize = 4 * 1_024;

/// What a send costs of its rate, whichever way it comes: each event, and each 4 KiB.
pub fn send_cost(events: usize, bytes: usize) -> u32 {
    u32::try_from(events + bytes / BYTES_PER_EVENT).unwrap_or(u32::MAX).max(1)
}

/// The rate that a signed-in route counts for, among the request's extensions.
#[derive(Debug, Clone, Copy)]
pub struct Rate(pub &'static str);

/// What one device, or all devices of a user together, have left.
pub struct Rates {
    buckets: Vec<Bucket>,
    /// By how much the rates of the types that read are raised.
    multiple: u32,
    excess: Option<Excess>,
}

struct Excess {
    since: Instant,
    last: Instant,
}

/// Why a frame is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Answered `rate_limited`; the connection stays.
    Wait {
        /// Until there is room for one.
        retry_after_ms: u64,
    },
    /// The connection is closed with 4009.
    Flood,
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        let retry_after_ms = match refused {
            Refused::Wait { retry_after_ms } => retry_after_ms,
            Refused::Flood => 1_000,
        };
        Self::RateLimited { retry_after_ms }
    }
}

impl Rates {
    pub fn new(now: Instant) -> Self {
        Self::full(now, 1)
    }

    /// The rates of all devices of a user together.
    pub fn of_user(now: Instant) -> Self {
        Self::full(now, USER_MULTIPLE)
    }

    fn full(now: Instant, multiple: u32) -> Self {
        let full = |&(name, _, burst): &(&str, u32, u32)| Bucket {
            level: f64::from(burst * if is_reading(name) { multiple } else { 1 }),
            filled_at: now,
        };
        Self { buckets: RATES.iter().chain(ROUTE_RATES).map(full).collect(), multiple, excess: None }
    }

    /// Takes one of this type; an empty name for a frame that could not be read.
    ///
    /// # Errors
    /// [`Refused`] when its bucket is empty.
    pub fn take(&mut self, name: &str, now: Instant) -> Result<(), Refused> {
        self.take_many(name, 1, now)
    }

    /// As [`Self::take`], for something that costs as much as `cost` of this type. It passes while anything is left; what
    /// it costs beyond that is paid before the next one.
    ///
    /// # Errors
    /// [`Refused`] when its bucket is empty.
    pub fn take_many(&mut self, name: &str, cost: u32, now: Instant) -> Result<(), Refused> {
        let rows = RATES.iter().chain(ROUTE_RATES).zip(&mut self.buckets);
        let is_row = |(row, _): &(&(&str, u32, u32), &mut Bucket)| row.0 == name;
        let Some((&(_, per_s, burst), bucket)) = rows.into_iter().find(is_row) else {
            return self.take_many("", cost, now);
        };
        let multiple = if is_reading(name) { self.multiple } else { 1 };
        let (per_s, burst) = (per_s * multiple, burst * multiple);
        let gained = now.saturating_duration_since(bucket.filled_at).as_secs_f64() * f64::from(per_s);
        bucket.level = (bucket.level + gained).min(f64::from(burst));
        bucket.filled_at = now;
        if bucket.level >= 1.0 {
            bucket.level -= f64::from(cost);
            return Ok(());
        }
        let wait = Duration::from_secs_f64((1.0 - bucket.level) / f64::from(per_s));
        let excess = self.excess.get_or_insert(Excess { since: now, last: now });
        if now.saturating_duration_since(excess.last) > FLOOD_PAUSE {
            excess.since = now;
        }
        excess.last = now;
        if now.saturating_duration_since(excess.since) >= FLOOD_AFTER {
            return Err(Refused::Flood);
        }
        Err(Refused::Wait { retry_after_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1) })
    }

    /// The table for `welcome.limits.rates`: `{type: [per second, burst]}`.
    pub fn table() -> BTreeMap<String, (u32, u32)> {
        RATES.iter().skip(1).map(|&(name, per_s, burst)| (name.to_owned(), (per_s, burst))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kith_protocol::ClientFrame;

    #[test]
    fn l2_many_events_at_once_are_paid_before_the_next() {
        let now = Instant::now();
        let mut rates = Rates::new(now);
        let (per_s, burst) = Rates::table()["send"];
        for _ in 0..burst.div_ceil(256) {
            assert_eq!(rates.take_many("send", 256, now), Ok(()));
        }
        let Err(Refused::Wait { retry_after_ms }) = rates.take_many("send", 1, now) else { panic!("unpaid") };
        let debt = burst.div_ceil(256) * 256 - burst + 1;
        assert_eq!(retry_after_ms, u64::from(debt * 1_000 / per_s));
        let later = now + Duration::from_millis(retry_after_ms + 1);
        assert_eq!(rates.take_many("send", 256, later), Ok(()));
    }

    #[test]
    fn l2_a_send_costs_its_events_and_each_4_kib() {
        assert_eq!([send_cost(1, 100), send_cost(3, 100), send_cost(1, 62_000)], [1, 3, 16]);
    }

    #[test]
    fn l2_all_devices_of_a_user_read_three_times_as_fast_as_one() {
        let start = Instant::now();
        let (per_s, burst) = Rates::table()["pull"];
        let mut user = Rates::of_user(start);
        assert!((0..3 * burst).all(|_| user.take("pull", start).is_ok()));
        assert!(user.take("pull", start).is_err());
        let second = start + Duration::from_secs(1);
        assert!((0..3 * per_s).all(|_| user.take("pull", second).is_ok()));
        assert!(user.take("pull", second).is_err());
        assert!((0..30).all(|_| user.take(USERS, start).is_ok()));
        assert!(user.take(USERS, start).is_err(), "the search of people counts once");
    }

    #[test]
    fn every_frame_type_but_hello_has_a_rate() {
        for name in ClientFrame::TYPES.iter().filter(|name| **name != "hello") {
            assert!(Rates::table().contains_key(*name), "{name}");
        }
    }

    #[test]
    fn l2_a_burst_passes_then_the_bucket_refills_by_its_rate() {
        let start = Instant::now();
        let mut rates = Rates::new(start);
        assert!((0..50).all(|_| rates.take("typing", start).is_ok()));
        assert_eq!(rates.take("typing", start), Err(Refused::Wait { retry_after_ms: 50 }));
        assert!(rates.take("send", start).is_ok(), "each type for itself");
        assert!(rates.take("typing", start + Duration::from_millis(50)).is_ok());
        assert!(rates.take("typing", start + Duration::from_millis(50)).is_err());
    }

    #[test]
    fn sec_030_l2_ten_seconds_of_continued_excess_are_a_flood_but_single_refusals_are_not() {
        let start = Instant::now();
        let mut rates = Rates::new(start);
        let floods = |rates: &mut Rates, from_s: u64| {
            (from_s * 1_000..(from_s + 12) * 1_000)
                .find(|ms| rates.take("nonsense", start + Duration::from_millis(*ms)) == Err(Refused::Flood))
        };
        let at = floods(&mut rates, 0).expect("a thousand a second");
        assert!((10_000..10_200).contains(&at), "{at}");
        let mut patient = Rates::new(start);
        for s in 0..60 {
            // A burst that is refused at its end, then quiet: never a flood.
            let now = start + Duration::from_secs(s * 10);
            assert!((0..200).all(|_| patient.take("", now) != Err(Refused::Flood)));
        }
    }
}

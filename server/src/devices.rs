//! What each device, and for reading and the search of people each user, may still ask for, whichever way it comes: sockets, exchanges and routes share it, and a new
//! connection starts where the last one ended (L2, S13). In memory: another instance counts for itself.

use crate::{
    error::ApiError,
    rates::{Rates, Refused},
};
use kith_protocol::{DeviceId, UserId};
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

/// Full heads that one device may ask for in [`FULL_HEADS_WINDOW`] (S13).
const FULL_HEADS_MAX: usize = 2;
const FULL_HEADS_WINDOW: Duration = Duration::from_secs(60);
/// Exchanges of one device at the same time.
const EXCHANGES_MAX: usize = 4;
/// By then every bucket is full again and no full heads count.
const FORGET_AFTER: Duration = Duration::from_secs(120);

struct Left {
    rates: Rates,
    full_heads: VecDeque<Instant>,
    used_at: Instant,
}

/// What one device has left.
pub struct Allowance {
    left: Mutex<Left>,
    exchanges: Arc<Semaphore>,
}

impl Allowance {
    fn new(rates: Rates, now: Instant) -> Self {
        let left = Left { rates, full_heads: VecDeque::new(), used_at: now };
        Self { left: Mutex::new(left), exchanges: Arc::new(Semaphore::new(EXCHANGES_MAX)) }
    }

    fn left(&self) -> MutexGuard<'_, Left> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a frame of this type or a route of this rate.
    ///
    /// # Errors
    /// [`Refused`] when there are too many.
    pub fn take(&self, name: &str, now: Instant) -> Result<(), Refused> {
        self.take_many(name, 1, now)
    }

    /// Counts a frame that costs as much as `cost` of its type.
    ///
    /// # Errors
    /// [`Refused`] when there are too many.
    pub fn take_many(&self, name: &str, cost: u32, now: Instant) -> Result<(), Refused> {
        let mut left = self.left();
        left.used_at = now;
        left.rates.take_many(name, cost, now)
    }

    /// Counts full heads that were asked for.
    ///
    /// # Errors
    /// [`ApiError::RateLimited`] when there are too many (S13).
    pub fn take_full_heads(&self, now: Instant) -> Result<(), ApiError> {
        let mut left = self.left();
        let asked = &mut left.full_heads;
        asked.retain(|at| now.saturating_duration_since(*at) < FULL_HEADS_WINDOW);
        if let Some(oldest) = asked.front().filter(|_| asked.len() >= FULL_HEADS_MAX) {
            let wait = FULL_HEADS_WINDOW.saturating_sub(now.saturating_duration_since(*oldest));
            let retry_after_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
            return Err(ApiError::RateLimited { retry_after_ms });
        }
        asked.push_back(now);
        Ok(())
    }

    /// A place for an exchange, until the value is dropped.
    ///
    /// # Errors
    /// [`ApiError::Busy`] when too many of the device are on their way.
    pub fn begin_exchange(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        Arc::clone(&self.exchanges).try_acquire_owned().map_err(|_| ApiError::Busy)
    }
}

/// What every device that came lately has left, and every user who read or searched for people; by id.
#[derive(Default)]
pub struct Allowances(Mutex<HashMap<Uuid, Arc<Allowance>>>);

impl Allowances {
    fn all(&self) -> MutexGuard<'_, HashMap<Uuid, Arc<Allowance>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What this device has left. Only devices with a good token are asked for.
    pub fn of(&self, device: DeviceId) -> Arc<Allowance> {
        self.of_id(device.as_uuid(), Rates::new)
    }

    /// What all devices of a user together have left, where more devices are not to ask for more.
    pub fn of_user(&self, user: UserId) -> Arc<Allowance> {
        self.of_id(user.as_uuid(), Rates::of_user)
    }

    fn of_id(&self, id: Uuid, rates: fn(Instant) -> Rates) -> Arc<Allowance> {
        let fresh = || {
            let now = Instant::now();
            Arc::new(Allowance::new(rates(now), now))
        };
        Arc::clone(self.all().entry(id).or_insert_with(fresh))
    }

    /// Forgets devices that are not connected and have been quiet for long.
    pub fn tidy(&self) {
        self.tidy_at(Instant::now());
    }

    fn tidy_at(&self, now: Instant) {
        self.all().retain(|_, one| {
            let is_quiet = now.saturating_duration_since(one.left().used_at) >= FORGET_AFTER;
            !is_quiet || Arc::strong_count(one) > 1
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l2_a_device_is_forgotten_once_it_is_quiet_and_gone() {
        let (all, device) = (Allowances::default(), DeviceId::mint());
        let connected = all.of(device);
        let later = Instant::now() + FORGET_AFTER;
        all.tidy_at(later);
        assert!(Arc::ptr_eq(&connected, &all.of(device)));
        drop(connected);
        all.tidy_at(Instant::now());
        assert_eq!(all.all().len(), 1, "its buckets may not be full yet");
        all.tidy_at(later);
        assert_eq!(all.all().len(), 0);
    }
}

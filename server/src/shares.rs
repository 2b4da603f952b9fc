//! What one user may do at the same time, over all devices: work on the main pool, and large bodies. Without it, the devices
//! of one user could take every connection of the pool.

use crate::error::ApiError;
use kith_protocol::{DeviceId, UserId};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// Requests, frames and handshakes of one user that use the main pool at the same time.
const WORK_MAX: usize = 4;
/// Requests about the account, of one device. They have a place of their own: a stolen device must not keep the user from
/// signing it out from another one.
const ACCOUNT_WORK_MAX: usize = 1;
/// Large bodies of one user in memory at the same time.
const BODIES_MAX: usize = 4;
/// The longest wait for a place. Then the answer is `busy`.
const WITHIN: Duration = Duration::from_secs(5);

/// Whose places they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sharer {
    User(UserId),
    /// A device that asks about its account.
    Account(DeviceId),
}

#[derive(Debug)]
struct Share {
    work: Arc<Semaphore>,
    bodies: Arc<Semaphore>,
}

impl Share {
    fn of(sharer: Sharer) -> Self {
        let work = match sharer {
            Sharer::User(_) => WORK_MAX,
            Sharer::Account(_) => ACCOUNT_WORK_MAX,
        };
        Self { work: Arc::new(Semaphore::new(work)), bodies: Arc::new(Semaphore::new(BODIES_MAX)) }
    }
}

type All = Mutex<HashMap<Sharer, Arc<Share>>>;

fn lock(all: &All) -> MutexGuard<'_, HashMap<Sharer, Arc<Share>>> {
    all.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The shares in use; a handle that is cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Shares(Arc<All>);

/// A share that is in use. Dropping the last one of a sharer removes the share.
#[derive(Debug)]
struct InUse {
    all: Arc<All>,
    sharer: Sharer,
    share: Arc<Share>,
}

impl Drop for InUse {
    fn drop(&mut self) {
        let mut all = lock(&self.all);
        // This value and the map hold it.
        if Arc::strong_count(&self.share) == 2 {
            all.remove(&self.sharer);
        }
    }
}

/// A place. Dropping it makes room.
#[derive(Debug)]
pub struct Place {
    _permit: OwnedSemaphorePermit,
    _in_use: InUse,
}

impl Shares {
    fn enter(&self, sharer: Sharer) -> InUse {
        let share = Arc::clone(lock(&self.0).entry(sharer).or_insert_with(|| Arc::new(Share::of(sharer))));
        InUse { all: Arc::clone(&self.0), sharer, share }
    }

    /// A place to work on the main pool.
    ///
    /// # Errors
    /// [`ApiError::Busy`] after [`WITHIN`].
    pub async fn work(&self, sharer: Sharer) -> Result<Place, ApiError> {
        let in_use = self.enter(sharer);
        let work = Arc::clone(&in_use.share.work);
        place(in_use, work).await
    }

    /// A place for a large body of this user, to be taken before the body is read.
    ///
    /// # Errors
    /// [`ApiError::Busy`] after [`WITHIN`].
    pub async fn body(&self, user: UserId) -> Result<Place, ApiError> {
        let in_use = self.enter(Sharer::User(user));
        let bodies = Arc::clone(&in_use.share.bodies);
        place(in_use, bodies).await
    }
}

async fn place(in_use: InUse, places: Arc<Semaphore>) -> Result<Place, ApiError> {
    match timeout(WITHIN, places.acquire_owned()).await {
        Ok(Ok(permit)) => Ok(Place { _permit: permit, _in_use: in_use }),
        Ok(Err(_)) => Err(ApiError::Unavailable),
        Err(_) => Err(ApiError::Busy),
    }
}

/// The place of a request, among its extensions. The request keeps it until it is answered, except while its body arrives.
#[derive(Debug, Clone, Default)]
pub struct RequestPlace(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    sharer: Option<Sharer>,
    place: Option<Place>,
}

impl RequestPlace {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the place of a request.
    pub fn keep(&self, sharer: Sharer, place: Place) {
        *self.kept() = Kept { sharer: Some(sharer), place: Some(place) };
    }

    /// Makes room while the request waits for its client.
    pub fn release(&self) {
        drop(self.kept().place.take());
    }

    /// Takes a place again, if the request had one.
    ///
    /// # Errors
    /// As [`Shares::work`].
    pub async fn resume(&self, shares: &Shares) -> Result<(), ApiError> {
        let sharer = self.kept().sharer;
        if let Some(sharer) = sharer {
            let place = shares.work(sharer).await?;
            self.kept().place = Some(place);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn l2_a_share_is_limited_and_forgotten_after_its_last_place() {
        let (shares, user) = (Shares::default(), UserId::mint());
        let mut held = Vec::new();
        for _ in 0..WORK_MAX {
            held.push(shares.work(Sharer::User(user)).await.unwrap());
        }
        assert!(matches!(shares.work(Sharer::User(user)).await, Err(ApiError::Busy)));
        assert!(shares.work(Sharer::User(UserId::mint())).await.is_ok(), "each user for themselves");
        assert!(shares.work(Sharer::Account(DeviceId::mint())).await.is_ok());
        held.push(shares.body(user).await.unwrap());
        held.remove(0);
        held.push(shares.work(Sharer::User(user)).await.unwrap());
        assert_eq!(lock(&shares.0).len(), 1);
        drop(held);
        assert_eq!(lock(&shares.0).len(), 0);
    }
}

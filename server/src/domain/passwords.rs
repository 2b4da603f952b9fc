//! Password hashes: argon2id, off the runtime's threads and never many at once.

use super::password_rules;
use crate::{config::PasswordCost, error::ApiError};
use argon2::{
    Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version, password_hash::phc::PasswordHash,
};
use std::{
    future::pending,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Semaphore, time::timeout};

/// Hashes computed at the same time; each takes a core and its memory.
const CONCURRENT_HASHES: usize = 4;
/// Of these, hashes that only signed-in people compute: strangers cannot keep a user from signing a thief out.
const RESERVED_HASHES: usize = 1;
/// Who waits longer is told `busy`.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// Hashes and verifies passwords. Cheap to clone.
#[derive(Clone)]
pub struct Passwords {
    cost: PasswordCost,
    permits: Arc<Semaphore>,
    /// For [`Passwords::for_signed_in`].
    reserved: Arc<Semaphore>,
    is_for_signed_in: bool,
    /// Verified where there is no such user, so that both answers take the same time.
    dummy: Arc<OnceLock<String>>,
    work: Arc<Work>,
}

/// What hashing has taken so far.
#[derive(Default)]
struct Work {
    hashes: AtomicU64,
    /// KiB of memory, times passes.
    kib_passes: AtomicU64,
}

impl Work {
    fn count(&self, memory_kib: u32, passes: u32) {
        self.hashes.fetch_add(1, Ordering::Relaxed);
        self.kib_passes.fetch_add(u64::from(memory_kib) * u64::from(passes), Ordering::Relaxed);
    }
}

/// What a verification found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    pub fits: bool,
    /// The stored hash is weaker than the settings demand.
    pub is_weak: bool,
}

impl Passwords {
    /// Makes one for a cost that [`crate::config::Config::check`] accepted.
    pub fn new(cost: PasswordCost) -> Self {
        Self {
            cost,
            permits: Arc::new(Semaphore::new(CONCURRENT_HASHES - RESERVED_HASHES)),
            reserved: Arc::new(Semaphore::new(RESERVED_HASHES)),
            is_for_signed_in: false,
            dummy: Arc::default(),
            work: Arc::default(),
        }
    }

    /// The same, for a signed-in person who says the password again: with the reserved permits besides the others.
    pub fn for_signed_in(&self) -> Self {
        Self { is_for_signed_in: true, ..self.clone() }
    }

    /// How many hashes were computed so far, for whatever reason.
    pub fn computed(&self) -> u64 {
        self.work.hashes.load(Ordering::Relaxed)
    }

    /// What those hashes took, in KiB of memory times passes: the time that they need is in proportion to it.
    pub fn spent_kib_passes(&self) -> u64 {
        self.work.kib_passes.load(Ordering::Relaxed)
    }

    /// Hashes a password that somebody chose, unless the rules refuse it; `names` is what the user is called.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] with the rule that is not kept, [`ApiError::Busy`] when too many wait.
    pub async fn hash_chosen(&self, password: String, names: Vec<String>) -> Result<String, ApiError> {
        password_rules::check_length(&password)?;
        let (cost, work) = (self.cost, Arc::clone(&self.work));
        self.blocking(move || {
            password_rules::check_guesses(&names, &password)?;
            work.count(cost.memory_kib, cost.passes);
            hash(cost, &password)
        })
        .await?
    }

    /// Hashes a password that is in use already to a PHC string.
    ///
    /// # Errors
    /// [`ApiError::Busy`] when too many wait.
    pub async fn hash(&self, password: String) -> Result<String, ApiError> {
        let (cost, work) = (self.cost, Arc::clone(&self.work));
        self.blocking(move || {
            work.count(cost.memory_kib, cost.passes);
            hash(cost, &password)
        })
        .await?
    }

    /// Compares a password with a stored hash, or with a made-up one for an unknown user.
    ///
    /// # Errors
    /// [`ApiError::Busy`] when too many wait, [`ApiError::Internal`] for a stored hash that is none.
    pub async fn verify(&self, password: String, stored: Option<String>) -> Result<Verified, ApiError> {
        let (cost, dummy, work) = (self.cost, Arc::clone(&self.dummy), Arc::clone(&self.work));
        self.blocking(move || match stored {
            Some(stored) => verify(cost, &password, &stored, &work),
            None => {
                let stored = dummy.get_or_init(|| hash(cost, "nobody's password").unwrap_or_default());
                verify(cost, &password, stored, &work)?;
                Ok(Verified { fits: false, is_weak: false })
            }
        })
        .await?
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let reserved = async {
            match self.is_for_signed_in {
                true => Arc::clone(&self.reserved).acquire_owned().await,
                false => pending().await,
            }
        };
        let permit = async {
            tokio::select! {
                permit = Arc::clone(&self.permits).acquire_owned() => permit,
                permit = reserved => permit,
            }
        };
        let permit =
            timeout(WAIT_MAX, permit).await.map_err(|_| ApiError::Busy)?.map_err(|_| ApiError::Internal)?;
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        })
        .await
        .map_err(|_| ApiError::Internal)
    }
}

fn argon2(cost: PasswordCost) -> Result<Argon2<'static>, ApiError> {
    let params = Params::new(cost.memory_kib, cost.passes, 1, None).map_err(|_| ApiError::Internal)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash(cost: PasswordCost, password: &str) -> Result<String, ApiError> {
    let hash = argon2(cost)?.hash_password(password.as_bytes()).map_err(|_| ApiError::Internal)?;
    Ok(hash.to_string())
}

fn verify(cost: PasswordCost, password: &str, stored: &str, work: &Work) -> Result<Verified, ApiError> {
    let hash = PasswordHash::new(stored).map_err(|_| ApiError::Internal)?;
    let params = Params::try_from(&hash).map_err(|_| ApiError::Internal)?;
    work.count(params.m_cost(), params.t_cost());
    // The parameters of the stored hash are used, not the configured ones.
    let fits = argon2(cost)?.verify_password(password.as_bytes(), &hash).is_ok();
    let is_weak = params.m_cost() < cost.memory_kib || params.t_cost() < cost.passes;
    Ok(Verified { fits, is_weak })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;
    use futures_util::FutureExt;
    use std::pin::pin;

    #[tokio::test]
    async fn sec_003_a_hash_is_argon2id_at_the_promised_cost_and_fits_its_password_alone() {
        let passwords = Passwords::new(PasswordCost::default());
        let stored = passwords.hash("correct horse".into()).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        let fits = passwords.verify("correct horse".into(), Some(stored.clone())).await.unwrap();
        assert_eq!(fits, Verified { fits: true, is_weak: false });
        assert!(!passwords.verify("battery staple".into(), Some(stored)).await.unwrap().fits);
        assert!(!passwords.verify("nobody's password".into(), None).await.unwrap().fits);
    }

    #[tokio::test]
    async fn sec_005_strangers_cannot_make_the_hashes_of_signed_in_people_wait() {
        let passwords = Passwords::new(Config::for_tests().password_cost);
        let stored = passwords.hash("correct horse".into()).await.unwrap();
        // Strangers compute as many hashes as they may, and many of them wait.
        let free = u32::try_from(passwords.permits.available_permits()).unwrap();
        let strangers = Arc::clone(&passwords.permits).acquire_many_owned(free).await.unwrap();
        let mut waiting = pin!(passwords.verify("correct horse".into(), Some(stored.clone())));
        assert!(waiting.as_mut().now_or_never().is_none());
        let signed_in = passwords.for_signed_in();
        let asked_again = signed_in.verify("correct horse".into(), Some(stored));
        assert!(timeout(WAIT_MAX / 2, asked_again).await.expect("it waits").unwrap().fits);
        assert!(waiting.as_mut().now_or_never().is_none(), "strangers do not get the reserved one");
        drop(strangers);
        assert!(waiting.await.unwrap().fits);
    }

    #[tokio::test]
    async fn sec_003_a_weaker_stored_hash_is_told() {
        let weak = hash(PasswordCost { memory_kib: 8_192, passes: 1 }, "correct horse").unwrap();
        let passwords = Passwords::new(PasswordCost::default());
        let found = passwords.verify("correct horse".into(), Some(weak)).await.unwrap();
        assert_eq!(found, Verified { fits: true, is_weak: true });
    }
}

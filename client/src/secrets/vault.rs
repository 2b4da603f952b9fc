//! The secrets of one profile: the place where they are kept behind a time limit, memory where it cannot be used. The
//! place is the system's secret store, or the profile's file under a passphrase if there is one.

use super::{
    Hidden, PassphraseFile, Secret, SecretError, SecretName, SecretStore, write_behind::WriteBehind,
};
use crate::store::Key;
use kith_protocol::UserId;
use serde::{Serialize, de::DeserializeOwned};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// A store that does not answer within this counts as unusable.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// How long a look at the store counts.
const USABLE_FOR: Duration = Duration::from_secs(30);

/// Reads and writes the secrets of one profile. Clones are the same vault.
#[derive(Clone)]
pub(crate) struct Vault {
    owner: String,
    system: Arc<dyn SecretStore>,
    place: Arc<Mutex<Place>>,
    looked: Arc<Mutex<Option<(Instant, Look)>>>,
    /// [`ANSWER_WITHIN`]; tests of stores that hang take less.
    answer_within: Duration,
}

/// Where the secrets are, and what it does not have yet.
#[derive(Clone, Default)]
struct Place {
    /// The profile's file; without one it is the system's store.
    file: Option<Arc<PassphraseFile>>,
    write_behind: Arc<WriteBehind>,
}

/// What the system's store did when it was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Takes,
    Refuses,
    /// It did not answer in time.
    Hangs,
}

/// Where a secret ended up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    InStore,
    InMemory,
}

/// Service names begin with this. On macOS an unsigned build has its own: the Keychain asks for every other program
/// that wants an entry.
fn product(os: &str, is_debug: bool) -> &'static str {
    if os == "macos" && is_debug { "kith-dev" } else { "kith" }
}

/// Calls a store on a thread of its own; gives up after `answer_within` (the call itself cannot be ended).
async fn call<T: Send + 'static>(
    store: Arc<dyn SecretStore>,
    answer_within: Duration,
    work: impl FnOnce(&dyn SecretStore) -> Result<T, SecretError> + Send + 'static,
) -> Option<Result<T, SecretError>> {
    let (answer, answered) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        // Nobody listens any more when it took too long.
        let _ = answer.send(work(store.as_ref()));
    });
    tokio::time::timeout(answer_within, answered).await.ok()?.ok()
}

impl Vault {
    /// `owner` names the profile in this folder: no two may share an entry.
    pub(crate) fn new(owner: String, system: Arc<dyn SecretStore>) -> Self {
        Self { owner, system, place: Arc::default(), looked: Arc::default(), answer_within: ANSWER_WITHIN }
    }

    fn service(&self, server: &str) -> String {
        let product = product(std::env::consts::OS, cfg!(debug_assertions));
        format!("{product}/{}/{server}", self.owner)
    }

    pub(crate) fn session_name(&self, server: &str) -> SecretName {
        SecretName { service: self.service(server), user: "session".to_owned() }
    }

    pub(crate) fn key_name(&self, server: &str, user: UserId) -> SecretName {
        SecretName { service: self.service(server), user: format!("key {user}") }
    }

    fn place(&self) -> Place {
        self.place.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The profile's file of secrets, if they are in one.
    pub(crate) fn file(&self) -> Option<Arc<PassphraseFile>> {
        self.place().file
    }

    /// What people call the system's store.
    pub(crate) fn system_name(&self) -> &'static str {
        self.system.name()
    }

    /// From here on secrets are read from and written to this file, or the system's store. What the place before was
    /// still to get it does not get any more.
    pub(crate) fn switch(&self, file: Option<Arc<PassphraseFile>>) {
        let next = Place { file, write_behind: Arc::default() };
        let before = std::mem::replace(&mut *self.place.lock().unwrap_or_else(PoisonError::into_inner), next);
        for name in before.write_behind.names() {
            before.write_behind.forget(&name);
        }
    }

    /// Calls the place where the secrets are.
    async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn SecretStore) -> Result<T, SecretError> + Send + 'static,
    ) -> Result<T, SecretError> {
        let store: Arc<dyn SecretStore> = match self.file() {
            Some(file) => file,
            None => self.system.clone(),
        };
        call(store, self.answer_within, work).await.unwrap_or(Err(SecretError::Unusable))
    }

    /// Whether what is written will be kept.
    pub(crate) async fn is_usable(&self) -> bool {
        match self.file() {
            Some(file) => file.is_open(),
            None => self.is_system_usable().await,
        }
    }

    /// Whether the system's store can be used, as found out within the last [`USABLE_FOR`]: each look may open a
    /// prompt.
    pub(crate) async fn is_system_usable(&self) -> bool {
        let look = match self.last_look() {
            Some(look) => look,
            None => {
                let look = self.probe().await;
                *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), look));
                look
            }
        };
        look == Look::Takes
    }

    fn last_look(&self) -> Option<Look> {
        let looked = *self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        looked.filter(|(at, _)| at.elapsed() < USABLE_FOR).map(|(_, look)| look)
    }

    /// Forgets what was found out.
    pub(crate) fn look_again(&self) {
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether asking is known to fail: the system's store has just not answered.
    pub(crate) fn hangs(&self) -> bool {
        self.file().is_none() && self.last_look() == Some(Look::Hangs)
    }

    /// Whether the system's store is known to be unlocked, without any prompt.
    pub(crate) async fn is_system_unlocked(&self) -> bool {
        let answer = call(self.system.clone(), self.answer_within, |store| Ok(store.is_unlocked())).await;
        matches!(answer, Some(Ok(true)))
    }

    /// Finds out by writing, because a locked store answers a read with "nothing there".
    async fn probe(&self) -> Look {
        let name = SecretName { service: self.service("probe"), user: "probe".to_owned() };
        let probe = move |store: &dyn SecretStore| {
            store.set(&name, b"probe")?;
            store.delete(&name)
        };
        match call(self.system.clone(), self.answer_within, probe).await {
            Some(Ok(())) => Look::Takes,
            Some(Err(_)) => Look::Refuses,
            None => Look::Hangs,
        }
    }

    async fn get(&self, name: SecretName) -> Result<Option<Secret>, SecretError> {
        if let Some(wanted) = self.place().write_behind.queued(&name) {
            return Ok(wanted);
        }
        self.call(move |store| store.get(&name)).await
    }

    async fn flush(&self, name: SecretName) -> Result<(), SecretError> {
        let write_behind = self.place().write_behind;
        self.call(move |store| write_behind.flush(store, &name)).await
    }

    /// Writes to the store; what it does not take stays in memory.
    async fn set(&self, name: SecretName, secret: Secret) -> Result<(), SecretError> {
        self.place().write_behind.enqueue(&name, Some(secret));
        self.bring(name).await
    }

    /// Brings to the store what an entry should hold.
    async fn bring(&self, name: SecretName) -> Result<(), SecretError> {
        if self.hangs() {
            // It gets what it should hold when it answers again; nobody waits for that.
            let vault = self.clone();
            tokio::spawn(async move { vault.flush(name).await });
            return Err(SecretError::Unusable);
        }
        self.flush(name).await
    }

    async fn delete(&self, name: SecretName) -> Result<(), SecretError> {
        self.place().write_behind.enqueue(&name, None);
        self.flush(name).await
    }

    /// Tries once more to bring to the store what it has not taken.
    pub(crate) async fn settle(&self) {
        let write_behind = self.place().write_behind;
        let names = write_behind.names();
        if names.is_empty() {
            return;
        }
        let settle =
            move |store: &dyn SecretStore| names.iter().try_for_each(|name| write_behind.flush(store, name));
        if self.call(settle).await.is_err() {
            tracing::info!("the secret store is behind what it should hold");
        }
    }

    /// Reads the session of a server; `None` if there is none.
    pub(crate) async fn session<T: DeserializeOwned>(&self, server: &str) -> Result<Option<T>, SecretError> {
        let secret = self.get(self.session_name(server)).await?;
        Ok(secret.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// Keeps the session of a server.
    pub(crate) async fn set_session<T: Serialize>(&self, server: &str, session: &T) -> Kept {
        self.begin_session(server, session).await
    }

    /// The same in two steps: the order among writes of the entry is that of the calls, not of the waits.
    pub(crate) fn begin_session<T: Serialize>(
        &self,
        server: &str,
        session: &T,
    ) -> impl Future<Output = Kept> + Send + use<'_, T> {
        kith_failpoint::pass(kith_failpoint::places::RENEWAL_BEFORE_KEPT);
        let name = self.session_name(server);
        self.place().write_behind.enqueue(&name, Some(session_bytes(session)));
        async move {
            match self.bring(name).await {
                Ok(()) => Kept::InStore,
                Err(error) => {
                    tracing::warn!(%error, "the sign-in is kept in memory only");
                    Kept::InMemory
                }
            }
        }
    }

    /// Forgets the session of a server.
    pub(crate) async fn delete_session(&self, server: &str) -> Result<(), SecretError> {
        self.delete(self.session_name(server)).await
    }

    /// Reads a database's key; one of another length counts as missing. One that was left in the system's store when
    /// the others went into the file is found there.
    pub(crate) async fn key(&self, server: &str, user: UserId) -> Result<Option<Key>, SecretError> {
        let name = self.key_name(server, user);
        let found = self.get(name.clone()).await?;
        if found.is_some() || self.file().is_none() {
            return Ok(found.and_then(|bytes| as_key(&bytes)));
        }
        let key = self.system_key(server, user).await;
        if let Some(key) = &key {
            self.set(name, Hidden::new(key.to_vec())).await?;
        }
        Ok(key)
    }

    /// Reads a database's key from the system's store, wherever the secrets are.
    pub(crate) async fn system_key(&self, server: &str, user: UserId) -> Option<Key> {
        let name = self.key_name(server, user);
        let found = call(self.system.clone(), self.answer_within, move |store| store.get(&name)).await;
        found?.ok()?.and_then(|bytes| as_key(&bytes))
    }

    /// Keeps a database's key: in the store or not at all, for a file that outlives the process needs it there.
    pub(crate) async fn set_key(&self, server: &str, user: UserId, key: &Key) -> Result<(), SecretError> {
        let name = self.key_name(server, user);
        let kept = self.set(name.clone(), Hidden::new(key.to_vec())).await;
        if kept.is_err() {
            self.place().write_behind.forget(&name);
        }
        kept
    }

    /// Forgets a database's key: what it encrypted cannot be read any more.
    pub(crate) async fn delete_key(&self, server: &str, user: UserId) -> Result<(), SecretError> {
        self.delete(self.key_name(server, user)).await
    }

    /// Writes secrets into the system's store and reads them back; all of them or it is an error.
    pub(crate) async fn write_to_system(
        &self,
        entries: HashMap<SecretName, Secret>,
    ) -> Result<(), SecretError> {
        let write = move |store: &dyn SecretStore| {
            entries.iter().try_for_each(|(name, secret)| {
                store.set(name, secret)?;
                match store.get(name)? {
                    Some(found) if found == *secret => Ok(()),
                    _ => Err(SecretError::Unusable),
                }
            })
        };
        call(self.system.clone(), self.answer_within, write).await.unwrap_or(Err(SecretError::Unusable))
    }

    /// Removes secrets from the system's store that have been moved elsewhere; those that stay do no harm.
    pub(crate) async fn remove_from_system(&self, names: Vec<SecretName>) {
        let remove = move |store: &dyn SecretStore| names.iter().try_for_each(|name| store.delete(name));
        if !matches!(call(self.system.clone(), self.answer_within, remove).await, Some(Ok(()))) {
            tracing::warn!("secrets that were moved are in the secret store too");
        }
    }
}

/// A session as its entry holds it.
pub(crate) fn session_bytes<T: Serialize>(session: &T) -> Secret {
    // With room for all of it from the start: nothing is copied while it grows.
    let mut bytes = Hidden::new(Vec::with_capacity(2 * super::SECRET_MAX));
    // Plain strings: serialisation has no way to fail.
    let _ = serde_json::to_writer(&mut *bytes, session);
    bytes
}

fn as_key(bytes: &[u8]) -> Option<Key> {
    Some(Key::new(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests;

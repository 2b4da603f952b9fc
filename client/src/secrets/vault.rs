//! The secrets of one profile: the secret store behind a time limit, memory where it cannot be used.

use super::{SecretError, SecretName, SecretStore, ahead::Ahead};
use crate::store::Key;
use kith_protocol::UserId;
use serde::{Serialize, de::DeserializeOwned};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;
use zeroize::Zeroizing;

/// A store that does not answer within this counts as unusable.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// How long a look at the store counts.
const USABLE_FOR: Duration = Duration::from_secs(30);

/// Reads and writes the secrets of one profile.
#[derive(Clone)]
pub(crate) struct Vault {
    /// Profile and folder.
    owner: String,
    store: Arc<dyn SecretStore>,
    ahead: Arc<Ahead>,
    looked: Arc<Mutex<Option<(Instant, bool)>>>,
}

/// Where a secret ended up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    InStore,
    InMemory,
}

impl Vault {
    /// `owner` names the profile in this folder: no two may share an entry.
    pub(crate) fn new(owner: String, store: Arc<dyn SecretStore>) -> Self {
        Self { owner, store, ahead: Arc::default(), looked: Arc::default() }
    }

    fn service(&self, server: &str) -> String {
        format!("kith/{}/{server}", self.owner)
    }

    fn session_name(&self, server: &str) -> SecretName {
        SecretName { service: self.service(server), user: "session".to_owned() }
    }

    fn key_name(&self, server: &str, user: UserId) -> SecretName {
        SecretName { service: self.service(server), user: format!("key {user}") }
    }

    /// Calls the store on a thread of its own; gives up after [`ANSWER_WITHIN`] (the call itself cannot be ended).
    async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn SecretStore) -> Result<T, SecretError> + Send + 'static,
    ) -> Result<T, SecretError> {
        let store = self.store.clone();
        let (answer, answered) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            // Nobody listens any more when it took too long.
            let _ = answer.send(work(store.as_ref()));
        });
        match tokio::time::timeout(ANSWER_WITHIN, answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) | Err(_) => Err(SecretError),
        }
    }

    /// Whether the store can be used, as found out within the last [`USABLE_FOR`]: each look may open a prompt.
    pub(crate) async fn is_usable(&self) -> bool {
        let known = *self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, is_usable)) = known
            && at.elapsed() < USABLE_FOR
        {
            return is_usable;
        }
        let is_usable = self.probe().await;
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), is_usable));
        is_usable
    }

    /// Forgets what was found out.
    pub(crate) fn look_again(&self) {
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Finds out by writing, because a locked store answers a read with "nothing there".
    async fn probe(&self) -> bool {
        let name = SecretName { service: self.service("probe"), user: "probe".to_owned() };
        let probe = move |store: &dyn SecretStore| {
            store.set(&name, b"probe")?;
            store.delete(&name)
        };
        self.call(probe).await.is_ok()
    }

    async fn get(&self, name: SecretName) -> Result<Option<Zeroizing<Vec<u8>>>, SecretError> {
        if let Some(wanted) = self.ahead.wanted(&name) {
            return Ok(wanted);
        }
        self.call(move |store| store.get(&name)).await
    }

    async fn carry_out(&self, name: SecretName) -> Result<(), SecretError> {
        let ahead = self.ahead.clone();
        self.call(move |store| ahead.carry_out(store, &name)).await
    }

    /// Writes to the store; what it does not take stays in memory.
    async fn set(&self, name: SecretName, secret: Zeroizing<Vec<u8>>) -> Result<(), SecretError> {
        self.ahead.want(&name, Some(secret));
        self.carry_out(name).await
    }

    async fn delete(&self, name: SecretName) -> Result<(), SecretError> {
        self.ahead.want(&name, None);
        self.carry_out(name).await
    }

    /// Tries once more to bring to the store what it has not taken.
    pub(crate) async fn settle(&self) {
        let names = self.ahead.names();
        if names.is_empty() {
            return;
        }
        let ahead = self.ahead.clone();
        let settle =
            move |store: &dyn SecretStore| names.iter().try_for_each(|name| ahead.carry_out(store, name));
        if let Err(SecretError) = self.call(settle).await {
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
        kith_failpoint::pass(kith_failpoint::places::RENEWAL_BEFORE_KEPT);
        // Plain strings: serialisation has no way to fail.
        let bytes = Zeroizing::new(serde_json::to_vec(session).unwrap_or_default());
        match self.set(self.session_name(server), bytes).await {
            Ok(()) => Kept::InStore,
            Err(SecretError) => Kept::InMemory,
        }
    }

    /// Forgets the session of a server.
    pub(crate) async fn delete_session(&self, server: &str) -> Result<(), SecretError> {
        self.delete(self.session_name(server)).await
    }

    /// Reads a database's key; one of another length counts as missing.
    pub(crate) async fn key(&self, server: &str, user: UserId) -> Result<Option<Key>, SecretError> {
        let secret = self.get(self.key_name(server, user)).await?;
        Ok(secret.and_then(|bytes| Some(Zeroizing::new(<[u8; 32]>::try_from(bytes.as_slice()).ok()?))))
    }

    /// Keeps a database's key: in the store or not at all, for a file that outlives the process needs it there.
    pub(crate) async fn set_key(&self, server: &str, user: UserId, key: &Key) -> Result<(), SecretError> {
        let name = self.key_name(server, user);
        let kept = self.set(name.clone(), Zeroizing::new(key.to_vec())).await;
        if kept.is_err() {
            self.ahead.forget(&name);
        }
        kept
    }

    /// Forgets a database's key: what it encrypted cannot be read any more.
    pub(crate) async fn delete_key(&self, server: &str, user: UserId) -> Result<(), SecretError> {
        self.delete(self.key_name(server, user)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::MemorySecrets;
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// A store whose every write waits for a prompt to be answered.
    struct Prompting {
        asked: Sender<Sender<()>>,
        inner: Arc<MemorySecrets>,
    }

    impl Prompting {
        fn new() -> (Self, Receiver<Sender<()>>, Arc<MemorySecrets>) {
            let (asked, prompts) = channel();
            let inner = Arc::<MemorySecrets>::default();
            (Self { asked, inner: inner.clone() }, prompts, inner)
        }

        fn wait(&self) {
            let (answer, answered) = channel();
            self.asked.send(answer).unwrap();
            let _ = answered.recv();
        }
    }

    impl SecretStore for Prompting {
        fn get(&self, name: &SecretName) -> Result<Option<Zeroizing<Vec<u8>>>, SecretError> {
            self.inner.get(name)
        }
        fn set(&self, name: &SecretName, secret: &[u8]) -> Result<(), SecretError> {
            self.wait();
            self.inner.set(name, secret)
        }
        fn delete(&self, name: &SecretName) -> Result<(), SecretError> {
            self.wait();
            self.inner.delete(name)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn of_writes_that_hang_the_newest_is_stored_last() {
        let (store, prompts, inner) = Prompting::new();
        let vault = Vault::new("default".to_owned(), Arc::new(store));
        let mut hanging = Vec::new();
        for session in ["first", "second"] {
            assert_eq!(vault.set_session("https://x", &session).await, Kept::InMemory);
            hanging.extend(prompts.try_recv());
        }
        // Answered in the worst order, and each one that comes of it.
        hanging.into_iter().rev().for_each(drop);
        let name = vault.session_name("https://x");
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while vault.ahead.wanted(&name).is_some() {
            assert!(std::time::Instant::now() < deadline, "the newest is stored");
            drop(prompts.recv_timeout(Duration::from_millis(50)));
        }
        let stored = inner.get(&name).unwrap().unwrap();
        assert_eq!(stored.as_slice(), br#""second""#);
    }

    /// A store that refuses, hangs, or answers reads with nothing while refusing writes (a locked one).
    enum Broken {
        Refuses,
        Hangs,
        Locked,
    }

    impl Broken {
        fn answer<T>(&self) -> Result<T, SecretError> {
            if matches!(self, Self::Hangs) {
                std::thread::park();
            }
            Err(SecretError)
        }
    }

    impl SecretStore for Broken {
        fn get(&self, _: &SecretName) -> Result<Option<Zeroizing<Vec<u8>>>, SecretError> {
            if matches!(self, Self::Locked) { Ok(None) } else { self.answer() }
        }
        fn set(&self, _: &SecretName, _: &[u8]) -> Result<(), SecretError> {
            self.answer()
        }
        fn delete(&self, _: &SecretName) -> Result<(), SecretError> {
            self.answer()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a30_a_store_that_hangs_or_is_locked_is_found_out_and_memory_serves() {
        for broken in [Broken::Refuses, Broken::Hangs, Broken::Locked] {
            let vault = Vault::new("default".to_owned(), Arc::new(broken));
            assert!(!vault.is_usable().await);
            assert_eq!(vault.set_session("https://x", &"session").await, Kept::InMemory);
            assert_eq!(vault.session::<String>("https://x").await.unwrap().as_deref(), Some("session"));
            assert!(vault.set_key("https://x", UserId::mint(), &Zeroizing::new([7; 32])).await.is_err());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_at_the_store_counts_for_a_while() {
        let (store, prompts, _) = Prompting::new();
        let vault = Vault::new("default".to_owned(), Arc::new(store));
        assert!(!vault.is_usable().await && !vault.is_usable().await);
        let prompt = prompts.recv().unwrap();
        assert!(prompts.try_recv().is_err(), "one prompt for both");
        vault.look_again();
        assert!(!vault.is_usable().await);
        drop((prompt, prompts.recv().unwrap()));
    }

    #[tokio::test]
    async fn secrets_of_servers_and_users_stay_apart() {
        let vault = Vault::new("default".to_owned(), Arc::new(MemorySecrets::default()));
        assert!(vault.is_usable().await);
        let (one, other) = (UserId::mint(), UserId::mint());
        assert_eq!(vault.set_key("https://x", one, &Zeroizing::new([1; 32])).await.ok(), Some(()));
        assert!(vault.key("https://x", other).await.unwrap().is_none());
        assert!(vault.key("https://y", one).await.unwrap().is_none());
        vault.set_session("https://x", &"session").await;
        vault.delete_session("https://x").await.unwrap();
        assert_eq!(vault.session::<String>("https://x").await.unwrap(), None);
        assert!(vault.key("https://x", one).await.unwrap().is_some(), "signing out keeps the key");
    }
}

//! Stores that hang, refuse, are locked, or take too little.

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
    fn get(&self, name: &SecretName) -> Result<Option<Hidden<Vec<u8>>>, SecretError> {
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

/// A vault that gives up soon. The clock is the real one: a paused clock runs past every limit while a store's thread
/// works, so that each store looks like one that hangs.
fn impatient(store: impl SecretStore + 'static) -> Vault {
    Vault { answer_within: Duration::from_millis(200), ..Vault::new("default".to_owned(), Arc::new(store)) }
}

#[tokio::test]
async fn of_writes_that_hang_the_newest_is_stored_last() {
    let (store, prompts, inner) = Prompting::new();
    let vault = impatient(store);
    let mut hanging = Vec::new();
    for session in ["first", "second"] {
        assert_eq!(vault.set_session("https://x", &session).await, Kept::InMemory);
        hanging.extend(prompts.try_recv());
    }
    // Answered in the worst order, and each one that comes of it.
    hanging.into_iter().rev().for_each(drop);
    let name = vault.session_name("https://x");
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while vault.place().write_behind.queued(&name).is_some() {
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
        Err(SecretError::Unusable)
    }
}

impl SecretStore for Broken {
    fn get(&self, _: &SecretName) -> Result<Option<Hidden<Vec<u8>>>, SecretError> {
        if matches!(self, Self::Locked) { Ok(None) } else { self.answer() }
    }
    fn set(&self, _: &SecretName, _: &[u8]) -> Result<(), SecretError> {
        self.answer()
    }
    fn delete(&self, _: &SecretName) -> Result<(), SecretError> {
        self.answer()
    }
}

#[tokio::test]
async fn sec_085_f_a30_a_store_that_hangs_or_is_locked_is_found_out_and_memory_serves() {
    for (broken, look) in
        [(Broken::Refuses, Look::Refuses), (Broken::Hangs, Look::Hangs), (Broken::Locked, Look::Refuses)]
    {
        // A store that answers is waited for, however slow this machine is.
        let vault = match look {
            Look::Hangs => impatient(broken),
            Look::Refuses | Look::Takes => Vault::new("default".to_owned(), Arc::new(broken)),
        };
        assert!(!vault.is_usable().await);
        assert_eq!(vault.last_look(), Some(look));
        assert_eq!(vault.hangs(), look == Look::Hangs);
        assert_eq!(vault.set_session("https://x", &"session").await, Kept::InMemory);
        assert_eq!(vault.session::<String>("https://x").await.unwrap().as_deref(), Some("session"));
        assert!(vault.set_key("https://x", UserId::mint(), &Key::new([7; 32])).await.is_err());
    }
}

#[tokio::test]
async fn a_look_at_the_store_counts_for_a_while() {
    let (store, prompts, _) = Prompting::new();
    let vault = impatient(store);
    assert!(!vault.is_usable().await && !vault.is_usable().await);
    assert_eq!(vault.last_look(), Some(Look::Hangs));
    let prompt = prompts.recv().unwrap();
    assert!(prompts.try_recv().is_err(), "one prompt for both");
    vault.look_again();
    assert_eq!(vault.last_look(), None);
    assert!(!vault.is_usable().await);
    drop((prompt, prompts.recv().unwrap()));
}

#[tokio::test]
async fn a_store_that_answers_is_used_and_not_asked_again() {
    let vault = Vault::new("default".to_owned(), Arc::new(MemorySecrets::default()));
    assert!(vault.is_usable().await);
    assert_eq!(vault.last_look(), Some(Look::Takes));
    assert!(!vault.hangs());
}

#[tokio::test]
async fn sec_085_g_secrets_of_servers_and_users_stay_apart() {
    let vault = Vault::new("default".to_owned(), Arc::new(MemorySecrets::default()));
    assert!(vault.is_usable().await);
    let (one, other) = (UserId::mint(), UserId::mint());
    assert_eq!(vault.set_key("https://x", one, &Key::new([1; 32])).await.ok(), Some(()));
    assert!(vault.key("https://x", other).await.unwrap().is_none());
    assert!(vault.key("https://y", one).await.unwrap().is_none());
    vault.set_session("https://x", &"session").await;
    vault.delete_session("https://x").await.unwrap();
    assert_eq!(vault.session::<String>("https://x").await.unwrap(), None);
    assert!(vault.key("https://x", one).await.unwrap().is_some(), "signing out keeps the key");
}

/// A store that takes no more than this many bytes.
struct Narrow(usize, MemorySecrets);

impl SecretStore for Narrow {
    fn get(&self, name: &SecretName) -> Result<Option<Hidden<Vec<u8>>>, SecretError> {
        self.1.get(name)
    }
    fn set(&self, name: &SecretName, secret: &[u8]) -> Result<(), SecretError> {
        if secret.len() > self.0 {
            return Err(SecretError::TooLarge { bytes: secret.len() });
        }
        self.1.set(name, secret)
    }
    fn delete(&self, name: &SecretName) -> Result<(), SecretError> {
        self.1.delete(name)
    }
}

#[tokio::test]
async fn sec_085_d_a_secret_that_is_too_large_leaves_no_older_one_in_its_place() {
    let system = Arc::new(Narrow(20, MemorySecrets::default()));
    let vault = Vault::new("default".to_owned(), system.clone());
    assert_eq!(vault.set_session("https://x", &"short").await, Kept::InStore);
    let long = "long".repeat(20);
    assert_eq!(vault.set_session("https://x", &long).await, Kept::InMemory);
    assert_eq!(vault.session::<String>("https://x").await.unwrap(), Some(long), "served from memory");
    assert!(
        system.get(&vault.session_name("https://x")).unwrap().is_none(),
        "a restart finds none, not an old one"
    );
}

#[test]
fn sec_085_d_the_limit_is_that_of_windows_on_every_system() {
    let store = crate::secrets::KeyringSecrets::default();
    let name = SecretName { service: "kith/sizes".to_owned(), user: "session".to_owned() };
    let refused = store.set(&name, &[0; crate::secrets::SECRET_MAX + 1]);
    assert_eq!(refused, Err(SecretError::TooLarge { bytes: 2_561 }));
}

#[test]
fn sec_085_c_a_development_build_has_entries_of_its_own_where_the_system_tells_programs_apart() {
    assert_eq!(product("macos", true), "kith-dev");
    for (os, is_debug) in [("macos", false), ("linux", true), ("windows", true)] {
        assert_eq!(product(os, is_debug), "kith");
    }
}

#[tokio::test]
async fn a_key_that_was_left_in_the_secret_store_is_found_from_the_file() {
    let system = Arc::<MemorySecrets>::default();
    let vault = Vault::new("default".to_owned(), system);
    let user = UserId::mint();
    vault.set_key("https://x", user, &Key::new([7; 32])).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file =
        PassphraseFile::create(&folder.path().join("secrets"), "correct horse", HashMap::new()).unwrap();
    let file = Arc::new(file);
    vault.switch(Some(file.clone()));
    assert_eq!(*vault.key("https://x", user).await.unwrap().unwrap(), [7; 32]);
    assert!(
        file.get(&vault.key_name("https://x", user)).unwrap().is_some(),
        "it is in the file from then on"
    );
}

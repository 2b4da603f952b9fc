//! Keys that never lock anybody out: no secret store, one that is locked, hangs or lost the key, a passphrase, a
//! forgotten one.

use super::*;
use crate::view::{KeyOffer, KeyOfferReason};
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use std::{fs, sync::atomic::AtomicU32};
use tokio::time::Instant;

const PASSPHRASE: &str = "correct horse battery";
const WAIT: Duration = Duration::from_secs(20);

fn code<T>(result: Result<T, ClientError>) -> &'static str {
    result.map_or_else(|error| error.code(), |_| "done")
}

async fn offer(engine: &Engine) -> Option<KeyOffer> {
    match engine.app_state().await {
        AppState::SignedIn { offer, .. } => offer,
        other => panic!("not signed in: {other:?}"),
    }
}

async fn key_store(engine: &Engine) -> KeyStore {
    match engine.app_state().await {
        AppState::SignedIn { account, .. } => account.key_store,
        other => panic!("not signed in: {other:?}"),
    }
}

async fn is_locked(engine: &Engine) -> bool {
    matches!(engine.app_state().await, AppState::Locked { .. })
}

async fn until_signed_in(engine: &Engine) {
    let deadline = Instant::now() + WAIT;
    while !matches!(engine.app_state().await, AppState::SignedIn { .. }) {
        assert!(Instant::now() < deadline, "{:?}", engine.app_state().await);
        tokio::task::yield_now().await;
    }
}

impl Computer {
    fn folder(&self) -> PathBuf {
        self.dir.path().join("ada")
    }

    fn files(&self, part: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.folder()).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.file_name().unwrap().to_string_lossy().contains(part)).collect()
    }

    async fn quit(&self, engine: Engine) {
        engine.shutdown().await;
    }

    /// Takes the key of the profile's database away.
    fn lose_key(&self) {
        let names = self.secrets.inner.names();
        for name in names.iter().filter(|name| name.user.starts_with("key")) {
            self.secrets.inner.delete(name).unwrap();
        }
    }

    /// Signed in with a passphrase, with two items unsent, and quit.
    async fn with_passphrase() -> Self {
        let computer = Self::new().await;
        computer.secrets.set_locked(true);
        let engine = computer.signed_in().await;
        engine.start_direct(UserId::mint(), "unsent".into()).await.unwrap();
        engine.set_passphrase(PASSPHRASE.into()).await.unwrap();
        computer.quit(engine).await;
        computer
    }
}

#[tokio::test]
async fn a30_without_a_store_the_sign_in_is_not_lost_and_a_passphrase_keeps_it() {
    let computer = Computer::new().await;
    computer.secrets.set_locked(true);
    let engine = computer.signed_in().await;
    let offered = offer(&engine).await.unwrap();
    assert_eq!(offered.reason, KeyOfferReason::NoStore);
    assert!(!offered.has_history && !offered.secret_store_usable);
    let talk = engine.start_direct(UserId::mint(), "unsent".into()).await.unwrap();
    assert_eq!(code(engine.set_passphrase("short".into()).await), "passphrase_unfit");
    assert!(offer(&engine).await.is_some() && unsent(&engine).await == 2);
    engine.set_passphrase(PASSPHRASE.into()).await.unwrap();
    assert_eq!((offer(&engine).await, key_store(&engine).await), (None, KeyStore::Passphrase));
    assert_eq!(unsent(&engine).await, 2, "what was written meanwhile goes on");
    engine.send_message(talk, "goes on".into(), None).await.unwrap();
    assert!(computer.files("until-quit").is_empty());
    computer.quit(engine).await;

    let engine = computer.open().await;
    assert!(is_locked(&engine).await, "before anything else is shown");
    assert_eq!(code(engine.unlock("not the passphrase".into()).await), "passphrase_wrong");
    assert!(is_locked(&engine).await);
    engine.unlock(PASSPHRASE.into()).await.unwrap();
    assert_eq!((unsent(&engine).await, key_store(&engine).await), (3, KeyStore::Passphrase));
    computer.quit(engine).await;
}

/// Locked while it is used: nothing is left open, what was unsent waits, and wrong passphrases are slowed down.
#[tokio::test]
async fn sec_086_a_locked_app_has_let_go_of_the_key_and_asks_for_the_passphrase() {
    let computer = Computer::with_passphrase().await;
    let engine = computer.open().await;
    engine.unlock(PASSPHRASE.into()).await.unwrap();
    engine.start_direct(UserId::mint(), "unsent".into()).await.unwrap();
    let before = unsent(&engine).await;
    let session = Arc::downgrade(&engine.session().unwrap());
    engine.lock().await.unwrap();
    assert!(is_locked(&engine).await);
    let let_go = || session.upgrade().is_none();
    let end = Instant::now() + Duration::from_secs(10);
    while !let_go() && Instant::now() < end {
        tokio::task::yield_now().await;
    }
    assert!(let_go(), "the session, and the key with it, is kept by somebody");
    assert_eq!(code(engine.conversations().await), "signed_out");
    assert_eq!(code(engine.lock().await), "not_allowed");
    for _ in 0..5 {
        assert_eq!(code(engine.unlock("not the passphrase".into()).await), "passphrase_wrong");
    }
    assert_eq!(code(engine.unlock(PASSPHRASE.into()).await), "passphrase_wait");
    computer.quit(engine).await;
    let engine = computer.open().await;
    engine.unlock(PASSPHRASE.into()).await.unwrap();
    assert_eq!(unsent(&engine).await, before);
    computer.quit(engine).await;
}

#[tokio::test]
async fn sec_086_what_no_passphrase_keeps_is_not_locked() {
    let computer = Computer::new().await;
    let engine = computer.signed_in().await;
    assert_eq!(code(engine.lock().await), "not_allowed");
    assert!(engine.session().is_ok());
    computer.quit(engine).await;
}

#[tokio::test]
async fn sec_085_a_no_secret_is_written_in_plain_text() {
    let computer = Computer::with_passphrase().await;
    let engine = computer.open().await;
    engine.unlock(PASSPHRASE.into()).await.unwrap();
    let key = engine.session().unwrap().store.key().to_vec();
    let held = serde_json::to_value(engine.session().unwrap().tokens.secret().await).unwrap();
    assert_eq!(held["refresh_token"], REFRESH_TOKEN, "it is what is held");
    let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let texts = [REFRESH_TOKEN, PASSPHRASE, &hex, &hex.to_uppercase(), &STANDARD_NO_PAD.encode(&key)];
    let mut secrets: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    secrets.extend(texts.iter().map(|text| STANDARD_NO_PAD.encode(text).into_bytes()));
    secrets.push(key);
    let (mut folders, mut files) = (vec![computer.dir.path().to_owned()], 0);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            files += 1;
            let bytes = fs::read(&path).unwrap();
            for secret in &secrets {
                let is_there = bytes.windows(secret.len()).any(|window| window == secret);
                assert!(!is_there, "{}", path.display());
            }
        }
    }
    assert!(files > 3, "{files}");
    assert!(computer.secrets.inner.names().is_empty());
    computer.quit(engine).await;
}

#[tokio::test]
async fn sec_085_a_only_until_quit_is_asked_once_and_leaves_nothing() {
    let computer = Computer::new().await;
    computer.secrets.set_locked(true);
    let engine = computer.signed_in().await;
    engine.keep_until_quit().await.unwrap();
    assert_eq!((offer(&engine).await, key_store(&engine).await), (None, KeyStore::SessionOnly));
    computer.quit(engine).await;
    assert!(computer.files(".db").is_empty() && computer.files("sealed").is_empty());
    let engine = computer.signed_in().await;
    assert_eq!(offer(&engine).await, None, "the choice is kept");
    // Another choice can be made at any time.
    engine.set_passphrase(PASSPHRASE.into()).await.unwrap();
    assert_eq!(key_store(&engine).await, KeyStore::Passphrase);
    computer.quit(engine).await;
}

/// A store that never answers; counts who asked.
#[derive(Default)]
struct Hanging(AtomicU32);

impl SecretStore for Hanging {
    fn get(&self, _: &SecretName) -> Result<Option<Hidden<Vec<u8>>>, SecretError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        loop {
            std::thread::park();
        }
    }
    fn set(&self, name: &SecretName, _: &[u8]) -> Result<(), SecretError> {
        self.get(name).map(drop)
    }
    fn delete(&self, name: &SecretName) -> Result<(), SecretError> {
        self.get(name).map(drop)
    }
}

#[tokio::test]
async fn a30_a_store_that_hangs_is_waited_for_once() {
    let computer = Computer::new().await;
    let hanging = Arc::<Hanging>::default();
    let options = EngineOptions { secrets: hanging.clone(), ..computer.options() };
    let engine = Engine::open(options).await.unwrap();
    computer.sign_in(&engine).await;
    // One look while the server answered, and one that stores the session whenever it can; nobody waits for that.
    assert!(hanging.0.load(Ordering::Relaxed) <= 2);
    assert_eq!(offer(&engine).await.unwrap().reason, KeyOfferReason::NoStore);
    engine.set_passphrase(PASSPHRASE.into()).await.unwrap();
    assert_eq!(key_store(&engine).await, KeyStore::Passphrase);
    computer.quit(engine).await;
}

#[tokio::test]
async fn a32_a_store_that_is_unlocked_later_opens_the_history_by_itself() {
    let computer = Computer::new().await;
    let engine = computer.signed_in().await;
    engine.start_direct(UserId::mint(), "unsent".into()).await.unwrap();
    computer.quit(engine).await;
    for says_nothing in [true, false] {
        computer.secrets.says_nothing.store(says_nothing, Ordering::Relaxed);
        computer.secrets.set_locked(true);
        let engine = computer.open().await;
        let state = engine.app_state().await;
        assert!(
            matches!(state, AppState::SignedOut { reason: Some(SignedOutReason::KeyMissing), .. }),
            "{state:?}"
        );
        computer.secrets.set_locked(false);
        until_signed_in(&engine).await;
        assert_eq!(unsent(&engine).await, 2);
        computer.quit(engine).await;
    }
}

#[tokio::test]
async fn sec_085_b_a_store_that_is_unlocked_after_the_sign_in_gives_the_history_back() {
    let computer = Computer::new().await;
    let engine = computer.signed_in().await;
    engine.start_direct(UserId::mint(), "history".into()).await.unwrap();
    computer.quit(engine).await;
    computer.secrets.set_locked(true);
    let engine = computer.open().await;
    computer.sign_in(&engine).await;
    assert_eq!(unsent(&engine).await, 0, "another database serves meanwhile");
    let offered = offer(&engine).await.unwrap();
    assert_eq!((offered.reason, offered.has_history), (KeyOfferReason::KeyMissing, true));
    assert_eq!(code(engine.use_secret_store().await), "no_secret_store");
    computer.secrets.set_locked(false);
    let talk = engine.start_direct(UserId::mint(), "would be lost".into()).await.unwrap();
    assert_eq!(code(engine.use_secret_store().await), "unsent_first");
    for item in engine.outbox().await.unwrap().into_iter().rev() {
        engine.cancel(item.item).await.unwrap();
    }
    let _ = talk;
    assert_eq!(unsent(&engine).await, 0);
    engine.use_secret_store().await.unwrap();
    assert_eq!((unsent(&engine).await, key_store(&engine).await), (2, KeyStore::SecretStore));
    assert!(computer.files("keyless").is_empty());
    computer.quit(engine).await;
}

#[tokio::test]
async fn sec_085_e_a_lost_key_ends_in_a_new_beginning_and_the_old_file_is_kept() {
    for goal in [KeyStore::SecretStore, KeyStore::Passphrase] {
        let computer = Computer::new().await;
        let engine = computer.signed_in().await;
        engine.start_direct(UserId::mint(), "unsent".into()).await.unwrap();
        computer.quit(engine).await;
        let old = fs::read(computer.database()).unwrap();
        computer.lose_key();
        let engine = computer.open().await;
        let state = engine.app_state().await;
        assert!(
            matches!(state, AppState::SignedOut { reason: Some(SignedOutReason::KeyMissing), .. }),
            "{state:?}"
        );
        computer.sign_in(&engine).await;
        assert_eq!(
            fs::read(computer.database()).unwrap(),
            old,
            "nothing happens before the user has decided"
        );
        let offered = offer(&engine).await.unwrap();
        assert_eq!((offered.reason, offered.has_history), (KeyOfferReason::KeyMissing, true));
        assert_eq!(offered.unsent, Some(2), "what had not been sent is said");
        match goal {
            KeyStore::SecretStore => engine.use_secret_store().await.unwrap(),
            _ => engine.set_passphrase(PASSPHRASE.into()).await.unwrap(),
        }
        assert_eq!((offer(&engine).await, key_store(&engine).await), (None, goal));
        engine.start_direct(UserId::mint(), "new".into()).await.unwrap();
        computer.quit(engine).await;
        let kept = computer.files(".keyless-");
        assert_eq!(kept.len(), 1, "{kept:?}");
        assert_eq!(fs::read(&kept[0]).unwrap(), old, "renamed, neither deleted nor re-keyed");
        let engine = computer.open().await;
        if goal == KeyStore::Passphrase {
            engine.unlock(PASSPHRASE.into()).await.unwrap();
        }
        assert_eq!(unsent(&engine).await, 2);
        computer.quit(engine).await;
    }
}

#[tokio::test]
async fn a_forgotten_passphrase_is_answered_by_a_new_sign_in_and_its_file_is_kept() {
    let computer = Computer::with_passphrase().await;
    let sealed = fs::read(computer.folder().join("secrets.sealed")).unwrap();
    let engine = computer.open().await;
    computer.sign_in(&engine).await;
    let offered = offer(&engine).await.unwrap();
    assert_eq!((offered.reason, offered.has_history), (KeyOfferReason::PassphraseForgotten, true));
    // Until the user has decided, the passphrase still opens everything at the next start.
    computer.quit(engine).await;
    let engine = computer.open().await;
    assert!(is_locked(&engine).await);
    computer.sign_in(&engine).await;
    engine.set_passphrase("another passphrase".into()).await.unwrap();
    computer.quit(engine).await;
    let aside = computer.files("secrets.sealed.aside-");
    assert_eq!(aside.len(), 1);
    assert_eq!(fs::read(&aside[0]).unwrap(), sealed);
    assert_eq!(computer.files(".keyless-").len(), 1);
    let engine = computer.open().await;
    assert_eq!(code(engine.unlock(PASSPHRASE.into()).await), "passphrase_wrong");
    engine.unlock("another passphrase".into()).await.unwrap();
    assert_eq!(unsent(&engine).await, 0);
    computer.quit(engine).await;
}

#[tokio::test]
async fn secrets_move_between_passphrase_and_store_and_back() {
    let computer = Computer::with_passphrase().await;
    let engine = computer.open().await;
    engine.unlock(PASSPHRASE.into()).await.unwrap();
    assert_eq!(code(engine.use_secret_store().await), "no_secret_store");
    assert_eq!(key_store(&engine).await, KeyStore::Passphrase, "it goes on as it was");
    computer.secrets.set_locked(false);
    engine.use_secret_store().await.unwrap();
    assert_eq!((key_store(&engine).await, unsent(&engine).await), (KeyStore::SecretStore, 2));
    assert!(computer.files("sealed").is_empty());
    computer.quit(engine).await;
    let engine = computer.open().await;
    assert_eq!(unsent(&engine).await, 2, "no passphrase is asked for");

    engine.set_passphrase("another passphrase".into()).await.unwrap();
    assert_eq!(code(engine.set_passphrase(PASSPHRASE.into()).await), "not_allowed");
    assert!(computer.secrets.inner.names().is_empty(), "the store has them no more");
    assert_eq!(
        code(engine.change_passphrase(PASSPHRASE.into(), "a third passphrase".into()).await),
        "passphrase_wrong"
    );
    engine.change_passphrase("another passphrase".into(), "a third passphrase".into()).await.unwrap();
    engine.start_direct(UserId::mint(), "goes on".into()).await.unwrap();
    computer.quit(engine).await;
    let engine = computer.open().await;
    engine.unlock("a third passphrase".into()).await.unwrap();
    assert_eq!(unsent(&engine).await, 4);
    computer.quit(engine).await;
}

#[tokio::test]
async fn a_move_that_fails_leaves_everything_as_it_was() {
    let computer = Computer::new().await;
    let engine = computer.signed_in().await;
    engine.start_direct(UserId::mint(), "unsent".into()).await.unwrap();
    computer.quit(engine).await;
    let old = fs::read(computer.database()).unwrap();
    computer.lose_key();
    let engine = computer.open().await;
    computer.sign_in(&engine).await;
    engine.start_direct(UserId::mint(), "written until now".into()).await.unwrap();
    let in_the_way = computer.folder().join("secrets.sealed.part");
    fs::create_dir(&in_the_way).unwrap();
    assert_ne!(code(engine.set_passphrase(PASSPHRASE.into()).await), "done");
    assert_eq!((key_store(&engine).await, unsent(&engine).await), (KeyStore::SessionOnly, 2));
    assert_eq!(fs::read(computer.database()).unwrap(), old);
    assert!(computer.files("keyless").is_empty());
    fs::remove_dir(in_the_way).unwrap();
    engine.set_passphrase(PASSPHRASE.into()).await.unwrap();
    assert_eq!((key_store(&engine).await, unsent(&engine).await), (KeyStore::Passphrase, 2));
    computer.quit(engine).await;
}

#[tokio::test]
async fn signing_out_with_a_wipe_ends_the_passphrase_and_without_it_stays() {
    let computer = Computer::with_passphrase().await;
    let engine = computer.open().await;
    engine.unlock(PASSPHRASE.into()).await.unwrap();
    engine.sign_out(false).await.unwrap();
    computer.quit(engine).await;
    let engine = computer.open().await;
    engine.unlock(PASSPHRASE.into()).await.unwrap();
    let state = engine.app_state().await;
    assert!(
        matches!(state, AppState::SignedOut { reason: None, secret_store_usable: true, .. }),
        "{state:?}"
    );
    computer.sign_in(&engine).await;
    assert_eq!((key_store(&engine).await, unsent(&engine).await), (KeyStore::Passphrase, 2));
    engine.sign_out(true).await.unwrap();
    computer.quit(engine).await;
    assert!(computer.files("sealed").is_empty() && computer.files(".db").is_empty());
    assert!(!is_locked(&computer.open().await).await);
}

#[tokio::test]
async fn a_damaged_file_of_secrets_is_said_and_kept_and_a_new_sign_in_goes_on() {
    let computer = Computer::with_passphrase().await;
    let path = computer.folder().join("secrets.sealed");
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 40;
    bytes[last] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let engine = computer.open().await;
    let state = engine.app_state().await;
    let damaged = Some(crate::view::LockedTrouble::Damaged);
    assert!(matches!(&state, AppState::Locked { trouble, .. } if *trouble == damaged), "{state:?}");
    assert_eq!(code(engine.unlock(PASSPHRASE.into()).await), "secrets_damaged");
    assert_eq!(fs::read(&path).unwrap(), bytes);
    // Put right from a copy, it is read at the next try.
    bytes[last] ^= 1;
    fs::write(&path, &bytes).unwrap();
    engine.try_again().await;
    engine.unlock(PASSPHRASE.into()).await.unwrap();
    assert_eq!(unsent(&engine).await, 2);
    computer.quit(engine).await;
}

//! Where the profile's secrets are kept, and moving them: the system's secret store, a file under a passphrase, or
//! memory until the app quits.
//!
//! A move first writes the secrets to where they go, and takes them away from where they were last. A database that
//! cannot be opened is set aside for the one that takes its place, never deleted and never re-keyed.

use super::{Open, Profile, Session, database::Opened};
use crate::{
    ClientError,
    events::EngineEvent,
    secrets::{Hidden, PassphraseError, PassphraseFile, Secret, SecretName, fitting, session_bytes},
    store::{self, Store},
    tokens::SessionSecret,
    view::{KeyOfferReason, KeyStore, SignedOutReason},
};
use kith_protocol::ErrorCode;
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, atomic::Ordering},
};

/// Where the secrets are to go.
enum Goal {
    File(Hidden<String>),
    SecretStore,
}

/// Making a key of a passphrase takes a while: never on a thread that others wait for.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PassphraseError> + Send + 'static,
) -> Result<T, ClientError> {
    Ok(tokio::task::spawn_blocking(work).await.map_err(|_| ClientError::Closed)??)
}

/// A profile that is locked before its file of secrets is closed. Closes the file when it goes.
struct Locking<'a> {
    profile: &'a Profile,
    file: Arc<PassphraseFile>,
}

impl<'a> Locking<'a> {
    fn begin(profile: &'a Profile, file: Arc<PassphraseFile>) -> Self {
        profile.is_locking.store(true, Ordering::Release);
        Self { profile, file }
    }
}

impl Drop for Locking<'_> {
    fn drop(&mut self) {
        self.file.lock();
        self.profile.is_locking.store(false, Ordering::Release);
    }
}

impl Profile {
    /// Opens the file of secrets, and with it what was signed in.
    pub(crate) async fn unlock(&self, passphrase: Hidden<String>) -> Result<(), ClientError> {
        let _changing = self.changing.lock().await;
        let Some(file) = self.vault.file().filter(|file| !file.is_open()) else { return Ok(()) };
        if self.session().is_ok() {
            // Somebody went on without it.
            return Err(ClientError::Refused(ErrorCode::NotAllowed));
        }
        aside(move || file.unlock(&passphrase)).await?;
        self.open_whoever_was_last().await;
        self.hub.tell(EngineEvent::AppChanged);
        Ok(())
    }

    /// Closes what is open and forgets its key: the passphrase is asked for again. The window is locked at once; the
    /// file of secrets stays open until a renewal of the sign-in that is under way has been stored in it, at most
    /// about 35 s.
    pub(crate) async fn lock(&self) -> Result<(), ClientError> {
        let _changing = self.changing.lock().await;
        let file = self.vault.file().filter(|file| file.is_open());
        // What is kept without a passphrase could not be opened again by its user alone.
        let file = file.ok_or(ClientError::Refused(ErrorCode::NotAllowed))?;
        let session = self.session()?;
        if session.is_temporary {
            return Err(ClientError::Refused(ErrorCode::NotAllowed));
        }
        session.stop_store().await;
        let locking = Locking::begin(self, file);
        self.set(Open::Nobody { server: Some(session.account.server.clone()), reason: None });
        self.hub.tell(EngineEvent::AppChanged);
        session.tokens.close().await;
        drop(locking);
        Ok(())
    }

    /// Moves the secrets into a file under a passphrase. A file that nobody opened is set aside.
    pub(crate) async fn set_passphrase(&self, passphrase: Hidden<String>) -> Result<(), ClientError> {
        let _changing = self.changing.lock().await;
        fitting(&passphrase)?;
        if self.vault.file().is_some_and(|file| file.is_open()) {
            // It is changed with the current one.
            return Err(ClientError::Refused(ErrorCode::NotAllowed));
        }
        let session = self.session()?;
        self.relocate(&session, Goal::File(passphrase)).await
    }

    /// Puts the file of secrets under another passphrase.
    pub(crate) async fn change_passphrase(
        &self,
        current: Hidden<String>,
        new: Hidden<String>,
    ) -> Result<(), ClientError> {
        let _changing = self.changing.lock().await;
        let file = self.vault.file().filter(|file| file.is_open()).ok_or(ClientError::NotFound)?;
        aside(move || file.change(&current, &new)).await
    }

    /// Moves the secrets into the system's store. If that has the key of a history that could not be opened, the
    /// history is opened.
    pub(crate) async fn use_secret_store(&self) -> Result<(), ClientError> {
        let _changing = self.changing.lock().await;
        let session = self.session()?;
        self.vault.look_again();
        if !self.vault.is_system_usable().await {
            return Err(ClientError::SecretStore);
        }
        if session.is_temporary && self.go_back(&session).await? {
            return Ok(());
        }
        self.relocate(&session, Goal::SecretStore).await
    }

    /// Remembers that this sign-in is to last until the app quits, and does not ask again.
    pub(crate) async fn keep_until_quit(&self) -> Result<(), ClientError> {
        let _changing = self.changing.lock().await;
        let session = self.session()?;
        if let Some(reason) = self.offered(&session) {
            self.folder.choose_until_quit(reason)?;
        }
        self.hub.tell(EngineEvent::AppChanged);
        Ok(())
    }

    /// Whether a store that could not be used has been unlocked, without any prompt; then what waits for it goes on.
    pub(crate) async fn look_for_store(&self) {
        let waits = match self.session() {
            Ok(session) => session.is_temporary && self.offered(&session).is_some(),
            Err(_) => self.reason() == Some(SignedOutReason::KeyMissing) && !self.is_locked(),
        };
        let is_unlocked = if waits { Some(self.vault.is_system_unlocked().await) } else { None };
        let before = {
            let mut was_unlocked = self.was_unlocked.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *was_unlocked, is_unlocked)
        };
        if is_unlocked != Some(true) || before == Some(true) {
            return;
        }
        if self.session().is_ok() {
            self.vault.look_again();
            self.hub.tell(EngineEvent::AppChanged);
        } else {
            self.try_again().await;
        }
    }

    /// Opens the history whose key the system's store has after all; `false` if it has not.
    async fn go_back(&self, session: &Session) -> Result<bool, ClientError> {
        let (server, user) = (session.account.server.clone(), session.account.me.id);
        let file = self.folder.database(&server, user);
        let key = if file.exists() { self.vault.system_key(&server, user).await } else { None };
        let Some(key) = key else { return Ok(false) };
        let store = match Store::open(&file, &key, user).await {
            Err(ClientError::KeyMissing) => return Ok(false),
            opened => opened?,
        };
        if session.store.numbers().await?.unsent > 0 {
            store.close().await;
            return Err(ClientError::UnsentFirst);
        }
        let account = session.last_account();
        session.close().await;
        let secret = session.tokens.secret().await;
        if self.is_locked() {
            self.set_file_aside()?;
        }
        self.vault.switch(None);
        self.vault.set_session(&server, &secret).await;
        self.folder.forget_choice();
        let opened = Opened { store, file, key_store: KeyStore::SecretStore, is_temporary: false };
        self.start(account, secret, opened, None)?;
        Ok(true)
    }

    /// Moves the secrets of the open account, and what of others can be moved. If that fails, the session goes on as
    /// it was.
    async fn relocate(&self, session: &Session, goal: Goal) -> Result<(), ClientError> {
        if session.is_temporary {
            session.stop().await;
        } else {
            session.driver.stop().await;
            session.tokens.close().await;
        }
        let secret = session.tokens.secret().await;
        let moved = self.moved(session, &secret, goal).await;
        let (file, key_store) = match &moved {
            Ok(()) => (self.folder.database(&session.account.server, session.account.me.id), self.kept_in()),
            Err(_) => (session.file.clone(), session.account.key_store),
        };
        let is_temporary = session.is_temporary && moved.is_err();
        let account = session.last_account();
        if session.is_temporary {
            let store = Store::open(&file, session.store.key(), account.user).await?;
            self.start(account, secret, Opened { store, file, key_store, is_temporary }, None)?;
        } else {
            let opened = Opened { store: session.store.clone(), file, key_store, is_temporary };
            self.start(account, secret, opened, Some(session))?;
        }
        moved
    }

    /// Writes the secrets to where they go, and puts a temporary database in its lasting place.
    async fn moved(&self, session: &Session, secret: &SessionSecret, goal: Goal) -> Result<(), ClientError> {
        let (server, user) = (&session.account.server, session.account.me.id);
        let place = self.folder.database(server, user);
        let aside =
            if session.is_temporary && place.exists() { Some(store::set_aside(&place)?) } else { None };
        let own = HashMap::from([
            (self.vault.session_name(server), session_bytes(secret)),
            (self.vault.key_name(server, user), Hidden::new(session.store.key().to_vec())),
        ]);
        let names: Vec<_> = own.keys().cloned().collect();
        let kept = self.kept(own, goal).await.and_then(|file| {
            if session.is_temporary {
                store::rename_database(&session.file, &place)?;
            }
            Ok(file)
        });
        let file = match (kept, aside) {
            (Ok(file), _) => file,
            (Err(error), aside) => {
                if let Some(aside) = aside {
                    store::rename_database(&aside, &place)?;
                }
                return Err(error);
            }
        };
        let is_in_file = file.is_some();
        self.vault.switch(file);
        self.folder.forget_choice();
        if is_in_file {
            self.vault.remove_from_system(names).await;
        }
        if session.is_temporary {
            self.note(&crate::profile::LastAccount { unsent: None, ..session.last_account() });
        }
        Ok(())
    }

    /// Writes the secrets to where they go: the file that holds them, or none for the system's store.
    async fn kept(
        &self,
        mut own: HashMap<SecretName, Secret>,
        goal: Goal,
    ) -> Result<Option<Arc<PassphraseFile>>, ClientError> {
        let path = self.folder.secrets_file();
        let before = self.vault.file();
        match goal {
            Goal::File(passphrase) => {
                let old = if before.is_some() { self.set_file_aside()? } else { None };
                let at = path.clone();
                let created = aside(move || PassphraseFile::create(&at, &passphrase, own)).await;
                if let (Err(_), Some(old)) = (&created, old) {
                    std::fs::rename(old, &path)?;
                }
                Ok(Some(Arc::new(created?)))
            }
            Goal::SecretStore => {
                for (name, secret) in before.as_ref().map(|file| file.entries()).unwrap_or_default() {
                    own.entry(name).or_insert(secret);
                }
                self.vault.write_to_system(own).await?;
                match before {
                    // Everything that was in it has been read back from the store.
                    Some(file) if file.is_open() => file.remove()?,
                    Some(_) => drop(self.set_file_aside()?),
                    None => {}
                }
                Ok(None)
            }
        }
    }

    /// Puts a file of secrets out of the way, under another name.
    fn set_file_aside(&self) -> Result<Option<PathBuf>, ClientError> {
        let path = self.folder.secrets_file();
        if !path.exists() {
            return Ok(None);
        }
        let aside = free_name(&path);
        std::fs::rename(&path, &aside)?;
        tracing::warn!("a file of secrets that could not be opened was set aside");
        Ok(Some(aside))
    }

    /// What may be offered to a session until quit; `None` if the user chose already.
    pub(super) fn offered(&self, session: &Session) -> Option<KeyOfferReason> {
        if !session.is_temporary {
            return None;
        }
        let reason = match (self.has_history(session), self.is_locked()) {
            (_, true) => KeyOfferReason::PassphraseForgotten,
            (true, false) => KeyOfferReason::KeyMissing,
            (false, false) => KeyOfferReason::NoStore,
        };
        Some(reason).filter(|reason| self.folder.until_quit_chosen() != Some(*reason))
    }

    /// Whether there is a history of the session's user that it could not open.
    pub(super) fn has_history(&self, session: &Session) -> bool {
        session.is_temporary && self.folder.database(&session.account.server, session.account.me.id).exists()
    }
}

/// A name beside a file that nothing has yet.
fn free_name(path: &Path) -> PathBuf {
    let mut number = 1_u32;
    loop {
        let aside = path.with_added_extension(format!("aside-{number}"));
        if !aside.exists() {
            return aside;
        }
        number += 1;
    }
}

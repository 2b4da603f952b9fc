//! A profile and the account that is open in it: which server, user, key and file belong together, and what is
//! started and ended with them.

mod database;
mod keys;
mod leaving;
#[cfg(feature = "measure")]
mod measured;
mod mending;
mod state;
#[cfg(test)]
mod tests;

use self::database::Opened;
use crate::{
    ClientError,
    driver::{DriverHandle, DriverOptions},
    events::{EngineEvent, Problem},
    live::Live,
    notices::NoticeHub,
    options::EngineOptions,
    profile::{Folder, LastAccount},
    secrets::{Kept, PassphraseFile, SecretError, Vault},
    store::Store,
    tokens::{SessionSecret, Tokens},
    transport::{
        api::{Api, parse_server, server_text},
        tls::Trust,
    },
    view::{AccountView, KeyStore, PersonView, SignedOutReason},
};
use kith_protocol::api;
use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool},
};
use tokio::sync::Notify;

pub(crate) struct Session {
    pub(crate) account: AccountView,
    pub(crate) store: Store,
    pub(crate) driver: DriverHandle,
    pub(crate) live: Arc<Live>,
    pub(crate) tokens: Tokens,
    file: PathBuf,
    /// The file goes when the session ends: its key is in memory only.
    pub(crate) is_temporary: bool,
    /// Unsent items of a history that this session could not open, if their number is known.
    unsent_behind: Option<u32>,
}

impl Session {
    /// Ends everything; returns when nothing more will be written ([`Tokens::close`] may take long).
    async fn stop(&self) {
        self.stop_store().await;
        self.tokens.close().await;
    }

    async fn stop_store(&self) {
        self.driver.stop().await;
        self.live.stop();
        self.store.close().await;
    }

    fn is_of(&self, account: &LastAccount) -> bool {
        self.account.server == account.server && self.account.me.id == account.user
    }

    /// What is noted of the account for the next start.
    fn last_account(&self) -> LastAccount {
        let me = self.account.me.clone();
        LastAccount {
            server: self.account.server.clone(),
            user: me.id,
            device: self.account.device,
            username: me.username,
            display_name: me.display_name,
            role: me.role,
            avatar: me.avatar,
            is_signed_out: false,
            unsent: self.unsent_behind,
        }
    }

    /// The account as it stands.
    fn view(&self) -> AccountView {
        let mut account = self.account.clone();
        if self.tokens.is_in_memory() {
            account.key_store = KeyStore::SessionOnly;
        }
        account
    }

    /// Size of the database, with what is not yet checkpointed.
    pub(crate) fn file_bytes(&self) -> f64 {
        let with = |suffix: &str| {
            let mut name = self.file.clone().into_os_string();
            name.push(suffix);
            std::fs::metadata(name).map_or(0, |file| file.len())
        };
        (with("") + with("-wal")) as f64
    }

    async fn close(&self) {
        self.stop().await;
        if self.is_temporary
            && let Err(error) = Folder::remove_database(&self.file)
        {
            tracing::warn!(%error, "a temporary database could not be removed");
        }
    }
}

/// A profile's folder, locked by this process, and what is open in it.
pub(crate) struct Profile {
    pub(crate) options: EngineOptions,
    pub(crate) hub: Arc<NoticeHub>,
    folder: Folder,
    vault: Vault,
    trust: Trust,
    open: Mutex<Open>,
    /// One sign-in, sign-out or close at a time.
    changing: tokio::sync::Mutex<()>,
    /// Rings when the open database seems to be damaged.
    pub(crate) alarm: Arc<Notify>,
    /// Whether the secret store was unlocked at the last look, while it is waited for.
    was_unlocked: Mutex<Option<bool>>,
    /// The window is locked already; the file of secrets is closed once a renewal has been stored in it.
    is_locking: AtomicBool,
}

enum Open {
    Nobody { server: Option<String>, reason: Option<SignedOutReason> },
    Account(Arc<Session>),
}

impl Profile {
    /// Locks the folder and opens what was signed in.
    pub(crate) async fn open(options: EngineOptions, hub: Arc<NoticeHub>) -> Result<Self, ClientError> {
        let trust = Trust::load(options.ca_file.as_deref())?;
        let folder = Folder::open(&options.data_dir, &options.profile)?;
        let owner = match folder.id() {
            Some(id) => format!("{}.{id}", options.profile),
            None => options.profile.clone(),
        };
        let vault = Vault::new(owner, options.secrets.clone());
        vault.switch(PassphraseFile::find(&folder.secrets_file()).map(Arc::new));
        let nobody = Open::Nobody { server: None, reason: None };
        // What a crash left of a session until quit cannot be read by anybody.
        Folder::remove_database(&folder.temporary_database())?;
        let profile = Self {
            options,
            hub,
            folder,
            vault,
            trust,
            open: Mutex::new(nobody),
            changing: Default::default(),
            alarm: Arc::default(),
            was_unlocked: Mutex::default(),
            is_locking: AtomicBool::default(),
        };
        profile.open_whoever_was_last().await;
        Ok(profile)
    }

    async fn open_whoever_was_last(&self) {
        let Some(last) = self.folder.last_account() else { return };
        let server = last.server.clone();
        let is_closed = last.is_signed_out || self.is_locked();
        let opened = if is_closed { Err(None) } else { self.open_last(last).await };
        if let Err(reason) = opened {
            self.set(Open::Nobody { server: Some(server), reason });
        }
    }

    /// Opens what was signed in, if it could not be opened before: the secret store may have been unlocked since.
    pub(crate) async fn try_again(&self) {
        let _changing = self.changing.lock().await;
        if self.session().is_err() {
            self.vault.look_again();
            if self.is_locked() {
                // It may have been unreadable, and put right meanwhile.
                self.vault.switch(PassphraseFile::find(&self.folder.secrets_file()).map(Arc::new));
            }
            self.open_whoever_was_last().await;
            self.hub.tell(EngineEvent::AppChanged);
        }
    }

    /// The way to ask a server before anybody is signed in.
    pub(crate) fn api(&self, server: &str) -> Result<Api, ClientError> {
        Ok(Api::new(parse_server(server)?, &self.trust))
    }

    fn set(&self, open: Open) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = open;
    }

    /// Opens the account that signed in last, without a network. The error says why it stays closed.
    async fn open_last(&self, last: LastAccount) -> Result<(), Option<SignedOutReason>> {
        let missing = |_: SecretError| Some(SignedOutReason::KeyMissing);
        let secret: Option<SessionSecret> = self.vault.session(&last.server).await.map_err(missing)?;
        let file = self.folder.database(&last.server, last.user);
        // A locked store may answer as if nothing were there; the file says that something was. Without one (a
        // session until quit) nothing is missed.
        let nothing_there = || file.exists().then_some(SignedOutReason::KeyMissing);
        let secret = secret.filter(|secret| secret.user == last.user).ok_or_else(nothing_there)?;
        let key = self.vault.key(&last.server, last.user).await.map_err(missing)?;
        let key = key.ok_or_else(nothing_there)?;
        let store = Store::open(&file, &key, last.user).await.map_err(|error| Some(reason_of(&error)))?;
        let opened = Opened { store, file, key_store: self.kept_in(), is_temporary: false };
        if last.unsent.is_some() {
            // From here on the number changes.
            self.note(&LastAccount { unsent: None, ..last.clone() });
        }
        self.start(last, secret, opened, None).map_err(|_| None)
    }

    /// Starts what belongs to an open database, or goes on in the place of a session on the same one.
    fn start(
        &self,
        mut account: LastAccount,
        secret: SessionSecret,
        opened: Opened,
        before: Option<&Session>,
    ) -> Result<(), ClientError> {
        if account.device != secret.device {
            // A copy of the profile has become a device of its own (S8).
            account.device = secret.device;
            self.note(&account);
        }
        let server = parse_server(&account.server)?;
        let options = DriverOptions {
            server: server.clone(),
            user: account.user,
            app: self.options.app.clone(),
            trust: self.trust.clone(),
        };
        let device = secret.device;
        opened.store.alarm(self.alarm.clone());
        let live = before.map_or_else(
            || Live::start(opened.store.clone(), self.hub.clone()),
            |before| before.live.clone(),
        );
        let tokens = Tokens::new(Api::new(server, &self.trust), self.vault.clone(), self.hub.clone(), secret);
        let store = Arc::new(opened.store.clone());
        let driver = match before {
            Some(before) => before.driver.succeed(options, store, Arc::new(tokens.clone()), live.clone()),
            None => DriverHandle::start(options, store, Arc::new(tokens.clone()), live.clone()),
        };
        let me = PersonView {
            id: account.user,
            username: account.username,
            display_name: account.display_name,
            role: account.role,
            avatar: account.avatar,
        };
        let unsent_behind = account.unsent.filter(|_| opened.is_temporary);
        let account = AccountView {
            server: account.server,
            me,
            device,
            key_store: opened.key_store,
            secret_store: self.vault.system_name().to_owned(),
        };
        let session = Session {
            account,
            store: opened.store,
            driver,
            live,
            tokens,
            file: opened.file,
            is_temporary: opened.is_temporary,
            unsent_behind,
        };
        self.set(Open::Account(Arc::new(session)));
        self.hub.tell(EngineEvent::AppChanged);
        Ok(())
    }

    pub(crate) fn session(&self) -> Result<Arc<Session>, ClientError> {
        match &*self.open.lock().unwrap_or_else(PoisonError::into_inner) {
            Open::Account(session) => Ok(session.clone()),
            Open::Nobody { .. } => Err(ClientError::SignedOut),
        }
    }

    /// Signs in and opens the user's database: the one that is open, the one that was there, or a new one.
    pub(crate) async fn sign_in(
        &self,
        server: &str,
        username: &str,
        password: &str,
    ) -> Result<(), ClientError> {
        let _changing = self.changing.lock().await;
        let api = self.api(server)?;
        let server = server_text(api.server());
        if let Ok(open) = self.session() {
            self.note_device(&open);
        }
        let last = self.folder.last_account();
        let known = last.filter(|last| last.server == server && last.username == username);
        let device = api::DeviceRequest {
            id: known.as_ref().map(|known| known.device),
            name: self.options.device_name.clone(),
        };
        let body = api::SignIn { username: username.to_owned(), password: password.to_owned(), device };
        // While the server answers it is found out where the answer can be kept.
        self.vault.look_again();
        let (answer, _) =
            tokio::join!(api.post::<api::Session>("/v1/sessions", &body), self.vault.is_usable());
        let answer = answer?;
        let mut account = LastAccount::new(server.clone(), answer.device.id, answer.user.clone());
        account.unsent = known.filter(|known| known.user == account.user).and_then(|known| known.unsent);
        let secret = SessionSecret::from(answer);
        if let Ok(open) = self.session()
            && open.is_of(&account)
        {
            return self.go_on(&open, account, secret).await;
        }
        self.end().await;
        let begun = self.begin(account, secret).await;
        if let Err(error) = &begun {
            // Whoever was signed in before is not any more.
            self.set(Open::Nobody { server: Some(server), reason: Some(reason_of(error)) });
            self.hub.tell(EngineEvent::AppChanged);
        }
        begun
    }

    /// Goes on with the open database: whoever is signed in did so again. A temporary one is the only place of what
    /// is unsent.
    async fn go_on(
        &self,
        open: &Session,
        account: LastAccount,
        secret: SessionSecret,
    ) -> Result<(), ClientError> {
        open.driver.stop().await;
        open.tokens.close().await;
        let opened = Opened {
            store: open.store.clone(),
            file: open.file.clone(),
            key_store: if open.is_temporary { KeyStore::SessionOnly } else { self.kept_in() },
            is_temporary: open.is_temporary,
        };
        self.keep(account, secret, opened, Some(open)).await
    }

    /// Opens the database of who just signed in, keeps the session, and starts.
    async fn begin(&self, account: LastAccount, secret: SessionSecret) -> Result<(), ClientError> {
        let opened = self.open_database(&account.server, account.user).await?;
        self.keep(account, secret, opened, None).await
    }

    async fn keep(
        &self,
        account: LastAccount,
        secret: SessionSecret,
        mut opened: Opened,
        before: Option<&Session>,
    ) -> Result<(), ClientError> {
        if self.vault.set_session(&account.server, &secret).await == Kept::InMemory {
            opened.key_store = KeyStore::SessionOnly;
        }
        let noted = LastAccount { unsent: account.unsent.filter(|_| opened.is_temporary), ..account.clone() };
        match self.folder.set_last_account(&noted) {
            // The file names the same user already.
            Err(error) if before.is_some() => tracing::warn!(%error, "profile.json could not be written"),
            written => written?,
        }
        let is_kept = opened.key_store != KeyStore::SessionOnly;
        self.start(account, secret, opened, before)?;
        if !is_kept {
            self.hub.tell(EngineEvent::Problem { problem: Problem::NoSecretStore });
        }
        Ok(())
    }

    async fn end(&self) {
        if let Ok(session) = self.session() {
            self.note_unsent(&session).await;
            session.close().await;
            self.set(Open::Nobody { server: Some(session.account.server.clone()), reason: None });
        }
    }

    /// Ends what is open.
    pub(crate) async fn close(&self) {
        let _changing = self.changing.lock().await;
        self.end().await;
        self.vault.settle().await;
    }
}

fn reason_of(error: &ClientError) -> SignedOutReason {
    match error {
        ClientError::KeyMissing => SignedOutReason::KeyMissing,
        ClientError::NewerFile { .. } => SignedOutReason::NewerFile,
        ClientError::DiskFull => SignedOutReason::DiskFull,
        ClientError::ReadOnly => SignedOutReason::ReadOnly,
        ClientError::FileBusy => SignedOutReason::FileBusy,
        ClientError::FileDamaged(_) => SignedOutReason::FileDamaged,
        _ => SignedOutReason::StoreFailed,
    }
}

//! A profile and the account that is open in it: which server, user, key and file belong together, and what is
//! started and ended with them.

mod database;
mod mending;
#[cfg(test)]
mod tests;

use self::database::Opened;
use crate::{
    ClientError, EngineOptions,
    driver::{DriverHandle, DriverOptions},
    engine::{Live, NoticeHub},
    events::{EngineEvent, Problem},
    profile::{Folder, LastAccount},
    secrets::{Kept, SecretError, Vault},
    store::{Store, salvage},
    tokens::{SessionSecret, Tokens},
    transport::{
        api::{Api, parse_server, server_text},
        tls::Trust,
    },
    view::{AccountView, AppState, KeyStore, PersonView, SignedOutReason},
};
use kith_protocol::api;
use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::Notify;

/// How long a sign-out waits for the server.
const SERVER_HEARS_WITHIN: Duration = Duration::from_secs(5);

/// An open account.
pub(crate) struct Session {
    pub(crate) account: AccountView,
    pub(crate) store: Store,
    pub(crate) driver: DriverHandle,
    pub(crate) live: Arc<Live>,
    pub(crate) tokens: Tokens,
    file: PathBuf,
    /// The file goes when the session ends: its key is in memory only.
    pub(crate) is_temporary: bool,
}

impl Session {
    async fn stop(&self) {
        self.driver.stop().await;
        self.live.stop();
        self.store.close().await;
        self.tokens.close().await;
    }

    fn is_of(&self, account: &LastAccount) -> bool {
        self.account.server == account.server && self.account.me.id == account.user
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
        };
        profile.open_whoever_was_last().await;
        Ok(profile)
    }

    async fn open_whoever_was_last(&self) {
        let Some(last) = self.folder.last_account() else { return };
        let server = last.server.clone();
        let opened = if last.is_signed_out { Err(None) } else { self.open_last(last).await };
        if let Err(reason) = opened {
            self.set(Open::Nobody { server: Some(server), reason });
        }
    }

    /// Opens what was signed in, if it could not be opened before: the secret store may have been unlocked since.
    pub(crate) async fn try_again(&self) {
        let _changing = self.changing.lock().await;
        if self.session().is_err() {
            self.vault.look_again();
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
        let missing = |SecretError| Some(SignedOutReason::KeyMissing);
        let secret: Option<SessionSecret> = self.vault.session(&last.server).await.map_err(missing)?;
        let file = self.folder.database(&last.server, last.user);
        // A locked store may answer as if nothing were there; the file says that something was. Without one (a
        // session until quit) nothing is missed.
        let nothing_there = || file.exists().then_some(SignedOutReason::KeyMissing);
        let secret = secret.filter(|secret| secret.user == last.user).ok_or_else(nothing_there)?;
        let key = self.vault.key(&last.server, last.user).await.map_err(missing)?;
        let key = key.ok_or_else(nothing_there)?;
        let store = Store::open(&file, &key, last.user).await.map_err(|error| Some(reason_of(&error)))?;
        let opened = Opened { store, file, key_store: KeyStore::SecretStore, is_temporary: false };
        self.start(last, secret, opened, None).map_err(|_| None)
    }

    /// Starts what belongs to an open database, or goes on in the place of a session on the same one.
    fn start(
        &self,
        account: LastAccount,
        secret: SessionSecret,
        opened: Opened,
        before: Option<&Session>,
    ) -> Result<(), ClientError> {
        let server = parse_server(&account.server)?;
        let options = DriverOptions {
            server: server.clone(),
            user: account.user,
            device: secret.device,
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
        let account = AccountView { server: account.server, me, device, key_store: opened.key_store };
        let session = Session {
            account,
            store: opened.store,
            driver,
            live,
            tokens,
            file: opened.file,
            is_temporary: opened.is_temporary,
        };
        self.set(Open::Account(Arc::new(session)));
        self.hub.tell(EngineEvent::AppChanged);
        Ok(())
    }

    /// The open account.
    pub(crate) fn session(&self) -> Result<Arc<Session>, ClientError> {
        match &*self.open.lock().unwrap_or_else(PoisonError::into_inner) {
            Open::Account(session) => Ok(session.clone()),
            Open::Nobody { .. } => Err(ClientError::SignedOut),
        }
    }

    /// What the interface shows first.
    pub(crate) async fn app_state(&self) -> AppState {
        if let Ok(session) = self.session() {
            // A database that cannot be read at the moment says nothing; the next look does.
            let mended = session.store.read(salvage::mended).await.unwrap_or(None);
            return AppState::SignedIn { account: session.view(), mended };
        }
        let (server, reason) = match &*self.open.lock().unwrap_or_else(PoisonError::into_inner) {
            Open::Account(session) => (Some(session.account.server.clone()), None),
            Open::Nobody { server, reason } => (server.clone(), *reason),
        };
        let secret_store_usable = self.vault.is_usable().await;
        AppState::SignedOut { server, reason, secret_store_usable }
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
        let last = self.folder.last_account();
        let known = last.filter(|last| last.server == server && last.username == username);
        let device = api::DeviceRequest {
            id: known.map(|known| known.device),
            name: self.options.device_name.clone(),
        };
        let body = api::SignIn { username: username.to_owned(), password: password.to_owned(), device };
        let answer: api::Session = api.post("/v1/sessions", &body).await?;
        let account = LastAccount::new(server.clone(), answer.device.id, answer.user.clone());
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
            key_store: if open.is_temporary { KeyStore::SessionOnly } else { KeyStore::SecretStore },
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
        match self.folder.set_last_account(&account) {
            // The file names the same user already.
            Err(error) if before.is_some() => tracing::warn!(%error, "profile.json could not be written"),
            written => written?,
        }
        if opened.key_store == KeyStore::SessionOnly {
            self.hub.tell(EngineEvent::Problem { problem: Problem::NoSecretStore });
        }
        self.start(account, secret, opened, before)
    }

    /// Signs out: the session's entry goes, and with `wipe` key and database too.
    pub(crate) async fn sign_out(&self, wipe: bool) -> Result<(), ClientError> {
        let _changing = self.changing.lock().await;
        let session = self.session()?;
        let server = session.account.server.clone();
        self.tell_server(&session).await;
        // First of all, and without the secret store: the next start is not signed in, whatever fails below.
        let noted = self.folder.note_signed_out();
        self.end().await;
        let forgotten = match self.vault.delete_session(&server).await {
            // It was never in the store.
            Err(SecretError) if session.account.key_store == KeyStore::SessionOnly => Ok(()),
            other => other.map_err(|SecretError| ClientError::SecretStore),
        };
        // A temporary database went with its session; the one that is closed for want of its key is never touched.
        let wiped = if wipe && !session.is_temporary { self.wipe(&session).await } else { Ok(()) };
        self.set(Open::Nobody { server: Some(server), reason: None });
        self.hub.tell(EngineEvent::AppChanged);
        noted.and(wiped).and(forgotten)
    }

    /// The server forgets the device if it can be reached; if not, the session ends there by itself.
    async fn tell_server(&self, session: &Session) {
        let tokens = &session.tokens;
        let forget = tokens.authorised(|token| async move {
            tokens.api().change(reqwest::Method::DELETE, "/v1/sessions/current", None::<&()>, &token).await
        });
        let told = tokio::time::timeout(SERVER_HEARS_WITHIN, forget).await;
        if let Err(error) = told.unwrap_or(Err(ClientError::Offline)) {
            tracing::info!(code = error.code(), "the server was not told of the sign-out");
        }
    }

    /// Removes key and database. The key goes first: without it a file that cannot be removed is worth nothing.
    async fn wipe(&self, session: &Session) -> Result<(), ClientError> {
        let account = &session.account;
        let key = self.vault.delete_key(&account.server, account.me.id).await;
        let file = Folder::remove_database(&session.file);
        key.map_err(|SecretError| ClientError::SecretStore).and(file)
    }

    async fn end(&self) {
        if let Ok(session) = self.session() {
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

    /// Remembers one's own new name, for a start without a network.
    pub(crate) fn renamed(&self, name: &str) -> Result<(), ClientError> {
        match self.folder.last_account() {
            Some(last) => {
                self.folder.set_last_account(&LastAccount { display_name: name.to_owned(), ..last })
            }
            None => Ok(()),
        }
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

//! Signing in and out of a profile, with a server that only answers sign-ins and a secret store that can be locked.

mod disk;
mod keys;
mod renewals;

use super::*;
use crate::{
    Engine,
    secrets::{Hidden, MemorySecrets, SecretName, SecretStore},
    view::AppState,
};
use kith_protocol::{DeviceId, UserId};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// A secret store that can be locked, as the system's own can.
#[derive(Default)]
struct Lockable {
    locked: AtomicBool,
    /// Locked, it answers a read as if nothing were there.
    says_nothing: AtomicBool,
    inner: MemorySecrets,
}

impl Lockable {
    fn set_locked(&self, locked: bool) {
        self.locked.store(locked, Ordering::Relaxed);
    }

    fn unlocked(&self) -> Result<&MemorySecrets, SecretError> {
        if self.locked.load(Ordering::Relaxed) { Err(SecretError::Unusable) } else { Ok(&self.inner) }
    }
}

impl SecretStore for Lockable {
    fn get(&self, name: &SecretName) -> Result<Option<Hidden<Vec<u8>>>, SecretError> {
        match self.unlocked() {
            Err(SecretError::Unusable) if self.says_nothing.load(Ordering::Relaxed) => Ok(None),
            unlocked => unlocked?.get(name),
        }
    }
    fn set(&self, name: &SecretName, secret: &[u8]) -> Result<(), SecretError> {
        self.unlocked()?.set(name, secret)
    }
    fn delete(&self, name: &SecretName) -> Result<(), SecretError> {
        self.unlocked()?.delete(name)
    }
    fn is_unlocked(&self) -> bool {
        !self.locked.load(Ordering::Relaxed)
    }
}

async fn read_request(tcp: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).to_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return Some(head.to_owned());
            }
        }
        if tcp.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// What the server below gives out.
const REFRESH_TOKEN: &str = "unmistakable refresh token";

/// A server on which `ada` can sign in, with a token that has ended at once, and out; it is too busy for everything
/// else. Notes the sign-out.
async fn server(signed_out: Arc<AtomicBool>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let user = UserId::mint();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tokio::spawn(answer(tcp, user, signed_out.clone()));
        }
    });
    format!("http://{address}")
}

async fn answer(mut tcp: TcpStream, user: UserId, signed_out: Arc<AtomicBool>) -> Option<()> {
    let request = read_request(&mut tcp).await?;
    let (status, body) = if request.starts_with("delete /v1/sessions/current ") {
        if request.contains("bearer ended") {
            ("401 Unauthorized", r#"{"code":"token_expired","message":""}"#.to_owned())
        } else {
            signed_out.store(true, Ordering::Relaxed);
            ("200 OK", String::new())
        }
    } else if request.starts_with("post /v1/sessions") {
        let is_sign_in = request.starts_with("post /v1/sessions ");
        let user = api::Profile {
            id: user,
            username: "ada".into(),
            display_name: "Ada".into(),
            role: None,
            avatar: None,
            email: None,
            show_presence: None,
            version: 1,
        };
        let session = api::Session {
            access_token: if is_sign_in { "ended" } else { "renewed" }.into(),
            access_expires_in_s: 600,
            refresh_token: REFRESH_TOKEN.into(),
            user,
            device: api::DeviceRef { id: DeviceId::mint(), name: "a computer".into() },
        };
        ("200 OK", serde_json::to_string(&session).ok()?)
    } else {
        ("503 Service Unavailable", r#"{"code":"unavailable","message":""}"#.to_owned())
    };
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\n");
    let text = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    tcp.write_all(text.as_bytes()).await.ok()
}

/// One installation: its folder, its secret store, and the server that it knows.
struct Computer {
    dir: tempfile::TempDir,
    secrets: Arc<Lockable>,
    server: String,
    signed_out: Arc<AtomicBool>,
}

impl Computer {
    async fn new() -> Self {
        let signed_out = Arc::<AtomicBool>::default();
        let server = server(signed_out.clone()).await;
        Self { dir: tempfile::tempdir().unwrap(), secrets: Arc::default(), server, signed_out }
    }

    /// The only database of the profile.
    fn database(&self) -> PathBuf {
        let files =
            std::fs::read_dir(self.dir.path().join("ada")).unwrap().map(|entry| entry.unwrap().path());
        // The one that lasts; a folder has no order in which the other would always come second.
        let lasts = |path: &PathBuf| path.file_name().is_some_and(|name| name != "until-quit.db");
        files
            .into_iter()
            .find(|path| path.extension().is_some_and(|ending| ending == "db") && lasts(path))
            .unwrap()
    }

    /// The same computer with another data folder.
    fn elsewhere(&self) -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            secrets: self.secrets.clone(),
            server: self.server.clone(),
            signed_out: self.signed_out.clone(),
        }
    }

    async fn open(&self) -> Engine {
        self.try_open().await.unwrap()
    }

    fn options(&self) -> EngineOptions {
        EngineOptions {
            profile: "ada".into(),
            data_dir: self.dir.path().to_owned(),
            app: "test/1".into(),
            device_name: "a computer".into(),
            ca_file: None,
            secrets: self.secrets.clone(),
        }
    }

    async fn try_open(&self) -> Result<Engine, ClientError> {
        Engine::open(self.options()).await
    }

    async fn sign_in(&self, engine: &Engine) {
        engine.sign_in(self.server.clone(), "ada".into(), "password".into()).await.unwrap();
    }

    /// A profile that is signed in.
    async fn signed_in(&self) -> Engine {
        let engine = self.open().await;
        self.sign_in(&engine).await;
        engine
    }
}

async fn unsent(engine: &Engine) -> u32 {
    engine.sign_out_preview().await.unwrap().unsent
}

#[tokio::test]
async fn signing_in_again_keeps_what_is_unsent() {
    for locked in [true, false] {
        let computer = Computer::new().await;
        computer.secrets.set_locked(locked);
        let engine = computer.signed_in().await;
        let talk = engine.start_direct(UserId::mint(), "unsent".into()).await.unwrap();
        assert_eq!(unsent(&engine).await, 2, "the conversation and the message");
        computer.sign_in(&engine).await;
        assert_eq!(unsent(&engine).await, 2, "locked: {locked}");
        engine.send_message(talk, "goes on".into(), None).await.unwrap();
        assert_eq!(unsent(&engine).await, 3);
    }
}

#[tokio::test]
async fn what_a_sign_out_loses_is_said_before() {
    let computer = Computer::new().await;
    let engine = computer.signed_in().await;
    assert!(!engine.sign_out_preview().await.unwrap().is_temporary);
    engine.start_direct(UserId::mint(), "unsent".into()).await.unwrap();
    engine.sign_out(false).await.unwrap();
    computer.sign_in(&engine).await;
    assert_eq!(unsent(&engine).await, 2, "kept");

    let computer = Computer::new().await;
    computer.secrets.set_locked(true);
    let engine = computer.signed_in().await;
    assert!(engine.sign_out_preview().await.unwrap().is_temporary);
}

#[tokio::test]
async fn a_sign_out_with_an_ended_token_reaches_the_server() {
    let computer = Computer::new().await;
    let engine = computer.signed_in().await;
    engine.sign_out(false).await.unwrap();
    assert!(computer.signed_out.load(Ordering::Relaxed));
}

#[tokio::test]
async fn signing_out_of_a_session_until_quit_is_no_error() {
    let computer = Computer::new().await;
    computer.secrets.set_locked(true);
    let engine = computer.signed_in().await;
    assert_eq!(engine.sign_out(false).await.map_err(|error| error.code()), Ok(()));
}

#[tokio::test]
async fn a_sign_out_that_fails_is_one_all_the_same() {
    for wipe in [true, false] {
        let computer = Computer::new().await;
        let engine = computer.signed_in().await;
        computer.secrets.set_locked(true);
        let mut events = engine.subscribe();
        let failed = engine.sign_out(wipe).await.map_err(|error| error.code());
        assert_eq!(failed, Err("no_secret_store"));
        engine.shutdown().await;
        let mut is_told = false;
        while let Some(event) = events.next().await {
            is_told |= event == EngineEvent::AppChanged;
        }
        assert!(is_told, "wipe: {wipe}");
        drop(engine);
        computer.secrets.set_locked(false);
        let state = computer.open().await.app_state().await;
        assert!(matches!(state, AppState::SignedOut { reason: None, .. }), "{state:?}");
    }
}

#[tokio::test]
async fn a_wipe_in_another_folder_leaves_this_ones_key_alone() {
    let here = Computer::new().await;
    here.signed_in().await.shutdown().await;
    let there = here.elsewhere();
    let engine = there.signed_in().await;
    engine.sign_out(true).await.unwrap();
    let AppState::SignedIn { account, .. } = here.open().await.app_state().await else {
        panic!("the account cannot be opened any more")
    };
    assert_eq!(account.key_store, KeyStore::SecretStore);
}

#[tokio::test]
async fn a_store_that_is_locked_at_the_start_can_be_unlocked_later() {
    for says_nothing in [true, false] {
        let computer = Computer::new().await;
        computer.signed_in().await.shutdown().await;
        computer.secrets.says_nothing.store(says_nothing, Ordering::Relaxed);
        computer.secrets.set_locked(true);
        let engine = computer.open().await;
        for _ in 0..2 {
            let AppState::SignedOut { reason, secret_store_usable, .. } = engine.app_state().await else {
                panic!("opened without its key")
            };
            assert_eq!((reason, secret_store_usable), (Some(SignedOutReason::KeyMissing), false));
            engine.try_again().await;
        }
        computer.secrets.set_locked(false);
        engine.try_again().await;
        assert!(matches!(engine.app_state().await, AppState::SignedIn { .. }));
    }
}

#[tokio::test]
async fn nothing_is_missed_after_a_session_until_quit() {
    let computer = Computer::new().await;
    computer.secrets.set_locked(true);
    let engine = computer.signed_in().await;
    computer.secrets.set_locked(false);
    engine.shutdown().await;
    drop(engine);
    let state = computer.open().await.app_state().await;
    assert!(matches!(state, AppState::SignedOut { reason: None, .. }), "{state:?}");
}

//! Renewals that end badly: while the app quits, after a sign-out, with a secret store that cannot be used.

use super::*;
use crate::{
    secrets::{MemorySecrets, SecretError, SecretName, SecretStore},
    transport::api::parse_server,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

struct Locked;

impl SecretStore for Locked {
    fn get(&self, _: &SecretName) -> Result<Option<Hidden<Vec<u8>>>, SecretError> {
        Err(SecretError::Unusable)
    }
    fn set(&self, _: &SecretName, _: &[u8]) -> Result<(), SecretError> {
        Err(SecretError::Unusable)
    }
    fn delete(&self, _: &SecretName) -> Result<(), SecretError> {
        Err(SecretError::Unusable)
    }
}

/// Tokens, the vault behind them, and the server that they are renewed at.
struct Bench {
    tokens: Tokens,
    vault: Vault,
    hub: Arc<NoticeHub>,
    listener: TcpListener,
    user: UserId,
}

impl Bench {
    async fn new(store: Arc<dyn SecretStore>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = parse_server(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let (vault, hub, user) =
            (Vault::new("default".to_owned(), store), Arc::new(NoticeHub::default()), UserId::mint());
        let secret = SessionSecret {
            user,
            device: DeviceId::mint(),
            access_token: "a0".to_owned().into(),
            refresh_token: "r0".to_owned().into(),
        };
        let tokens = Tokens::new(
            Api::new(server, &crate::transport::tls::Trust::load(None).unwrap()),
            vault.clone(),
            hub.clone(),
            secret,
        );
        Self { tokens, vault, hub, listener, user }
    }

    /// A renewal whose request has come to the server, and whose caller has gone.
    async fn abandoned_renewal(&self) -> TcpStream {
        let tokens = self.tokens.clone();
        let caller = tokio::spawn(async move { tokens.renew().await });
        let request = self.request().await;
        caller.abort();
        request
    }

    async fn request(&self) -> TcpStream {
        let (mut tcp, _) = self.listener.accept().await.unwrap();
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"}") {
            assert_ne!(tcp.read_buf(&mut bytes).await.unwrap(), 0);
        }
        tcp
    }

    async fn answer(&self, mut tcp: TcpStream) {
        let body = serde_json::json!({
            "access_token": "a1", "access_expires_in_s": 600, "refresh_token": "r1",
            "user": { "id": self.user, "username": "ada", "display_name": "Ada", "version": 1 },
            "device": { "id": DeviceId::mint(), "name": "a computer" },
        })
        .to_string();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
        let text = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
        tcp.write_all(text.as_bytes()).await.unwrap();
    }

    async fn stored(&self) -> Option<String> {
        let server = server_text(self.tokens.api().server());
        let secret: Option<SessionSecret> = self.vault.session(&server).await.unwrap();
        secret.map(|secret| secret.refresh_token.to_string())
    }
}

#[tokio::test]
async fn s11_a_renewal_is_stored_though_its_caller_has_gone() {
    let bench = Bench::new(Arc::new(MemorySecrets::default())).await;
    let request = bench.abandoned_renewal().await;
    tokio::join!(bench.answer(request), bench.tokens.close());
    assert_eq!(bench.stored().await.as_deref(), Some("r1"));
}

/// Lets time pass for timers. What waits for a network goes on waiting.
async fn later(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn s11_a_renewal_that_outlasts_the_patience_of_quitting_is_stored() {
    let bench = Bench::new(Arc::new(MemorySecrets::default())).await;
    let request = bench.abandoned_renewal().await;
    let tokens = bench.tokens.clone();
    let quitting = tokio::spawn(async move { tokens.close().await });
    later(Duration::from_secs(20)).await;
    assert!(!quitting.is_finished(), "the process would end and lose the successor");
    bench.answer(request).await;
    quitting.await.unwrap();
    assert_eq!(bench.stored().await.as_deref(), Some("r1"));
    assert_eq!(bench.tokens.secret().await.refresh_token.as_str(), "r1", "who goes on has it too");
    assert!(matches!(bench.tokens.renew().await, Err(ClientError::Closed)));
}

#[tokio::test]
async fn a_renewal_that_outlasts_a_sign_out_writes_nothing() {
    let bench = Bench::new(Arc::new(MemorySecrets::default())).await;
    let request = bench.abandoned_renewal().await;
    bench.tokens.sign_out().await;
    bench.answer(request).await;
    // Refused, and only once the renewal under way has ended.
    assert!(matches!(bench.tokens.renew().await, Err(ClientError::Closed)));
    assert_eq!(bench.stored().await, None);
}

#[tokio::test]
async fn s11_a_renewal_that_waits_its_turn_does_not_begin_once_the_app_quits() {
    let bench = Bench::new(Arc::new(MemorySecrets::default())).await;
    let request = bench.abandoned_renewal().await;
    let tokens = bench.tokens.clone();
    let second = tokio::spawn(async move { tokens.renew_as_new_device().await });
    let closing = bench.tokens.clone();
    let quitting = tokio::spawn(async move { closing.close().await });
    bench.answer(request).await;
    quitting.await.unwrap();
    assert_eq!(bench.stored().await.as_deref(), Some("r1"));
    assert!(second.await.unwrap().is_err());
}

#[tokio::test]
async fn a_renewal_that_cannot_be_stored_is_told_once() {
    let bench = Bench::new(Arc::new(Locked)).await;
    let mut events = bench.hub.subscribe();
    for _ in 0..2 {
        let serve = async { bench.answer(bench.request().await).await };
        let (renewed, ()) = tokio::join!(bench.tokens.renew(), serve);
        renewed.unwrap();
    }
    bench.hub.close();
    assert!(bench.tokens.is_in_memory());
    let problem = EngineEvent::Problem { problem: Problem::NoSecretStore };
    assert_eq!(events.next().await, Some(problem));
    assert_eq!(events.next().await, Some(EngineEvent::AppChanged));
    assert_eq!(events.next().await, None);
}

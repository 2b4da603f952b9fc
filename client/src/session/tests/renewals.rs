//! A renewal of the sign-in is under way while the app quits, is locked or signs out (S11).

use super::*;
use tokio::sync::{Notify, Semaphore};

const PASSPHRASE: &str = "correct horse battery";

/// A server that answers a renewal only when it is told to.
struct SlowServer {
    user: UserId,
    asked: Notify,
    may_answer: Semaphore,
}

impl SlowServer {
    async fn start() -> (Arc<Self>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let server =
            Arc::new(Self { user: UserId::mint(), asked: Notify::new(), may_answer: Semaphore::new(0) });
        let serving = server.clone();
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                tokio::spawn(serving.clone().answer(tcp));
            }
        });
        (server, address)
    }

    async fn answer(self: Arc<Self>, mut tcp: TcpStream) -> Option<()> {
        let request = read_request(&mut tcp).await?;
        let is_sign_in = request.starts_with("post /v1/sessions ");
        let (status, body) = if request.starts_with("post /v1/sessions/refresh ") {
            self.asked.notify_one();
            self.may_answer.acquire().await.ok()?.forget();
            ("200 OK", session_body(self.user, "renewed", "successor"))
        } else if is_sign_in {
            ("200 OK", session_body(self.user, "ended", "first"))
        } else if request.contains("bearer ended") {
            ("401 Unauthorized", r#"{"code":"token_expired","message":""}"#.to_owned())
        } else {
            ("503 Service Unavailable", r#"{"code":"unavailable","message":""}"#.to_owned())
        };
        let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\n");
        let text = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
        tcp.write_all(text.as_bytes()).await.ok()
    }
}

fn session_body(user: UserId, access_token: &str, refresh_token: &str) -> String {
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
        access_token: access_token.into(),
        access_expires_in_s: 600,
        refresh_token: refresh_token.into(),
        user,
        device: api::DeviceRef { id: DeviceId::mint(), name: "a computer".into() },
    };
    serde_json::to_string(&session).unwrap()
}

/// Signed in, with a renewal whose request has come to the server.
async fn renewing() -> (Computer, Arc<SlowServer>, Engine) {
    let (server, address) = SlowServer::start().await;
    let computer = Computer { server: address, ..Computer::new().await };
    let engine = computer.signed_in().await;
    server.asked.notified().await;
    (computer, server, engine)
}

/// Lets time pass for timers. What waits for a network goes on waiting.
async fn later(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

/// The session as the profile holds it.
async fn refresh_token(engine: &Engine) -> String {
    let secret = engine.session().unwrap().tokens.secret().await;
    let value: serde_json::Value = serde_json::to_value(secret).unwrap();
    value["refresh_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn s11_quitting_waits_for_a_renewal_and_the_next_start_has_the_successor() {
    let (computer, server, engine) = renewing().await;
    let quitting = tokio::spawn(async move { engine.shutdown().await });
    later(Duration::from_secs(20)).await;
    assert!(!quitting.is_finished());
    server.may_answer.add_permits(1);
    quitting.await.unwrap();
    assert_eq!(refresh_token(&computer.open().await).await, "successor");
}

/// The device as the next sign-in will name it.
fn noted_device(computer: &Computer) -> String {
    let text = std::fs::read(computer.dir.path().join("ada/profile.json")).unwrap();
    let account: serde_json::Value = serde_json::from_slice(&text).unwrap();
    account["device"].as_str().unwrap().to_owned()
}

/// Signed in; the renewal has named another device, as it does for a copy of a profile.
async fn renewed_as_another_device() -> (Computer, Engine, String) {
    let (computer, server, engine) = renewing().await;
    server.may_answer.add_permits(1);
    assert_eq!(refresh_token(&engine).await, "successor");
    let device = engine.session().unwrap().tokens.secret().await.device.to_string();
    assert_ne!(noted_device(&computer), device);
    (computer, engine, device)
}

#[tokio::test]
async fn s8_a_copy_that_signs_out_is_noted_as_the_device_that_it_became() {
    let (computer, engine, device) = renewed_as_another_device().await;
    engine.sign_out(false).await.unwrap();
    assert_eq!(noted_device(&computer), device, "a sign-in as the original would end that one's session");
}

#[tokio::test]
async fn s8_a_copy_that_starts_again_is_noted_as_the_device_that_it_became() {
    let (computer, engine, device) = renewed_as_another_device().await;
    engine.shutdown().await;
    drop(engine);
    let engine = computer.open().await;
    assert_eq!(noted_device(&computer), device);
    assert_eq!(engine.session().unwrap().tokens.secret().await.device.to_string(), device);
}

#[tokio::test]
async fn s11_a_lock_shows_at_once_and_loses_no_renewal() {
    let (computer, server, engine) = renewing().await;
    // Moving the secrets ends the session on its way: it waits for the renewal, too.
    let moving = engine.clone();
    let moved = tokio::spawn(async move { moving.set_passphrase(PASSPHRASE.into()).await });
    server.may_answer.add_permits(1);
    moved.await.unwrap().unwrap();
    assert_eq!(refresh_token(&engine).await, "successor");

    // The access token that came has ended as well: the driver renews again.
    let locking = engine.clone();
    let asking = engine.clone();
    let asked = tokio::spawn(async move { asking.session().unwrap().tokens.renew().await });
    server.asked.notified().await;
    let locked = tokio::spawn(async move { locking.lock().await });
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !matches!(engine.app_state().await, AppState::Locked { .. }) {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
    assert!(!locked.is_finished(), "the file takes the successor before it is closed");
    server.may_answer.add_permits(1);
    locked.await.unwrap().unwrap();
    asked.await.unwrap().unwrap();
    assert!(matches!(engine.app_state().await, AppState::Locked { .. }));
    engine.unlock(PASSPHRASE.into()).await.unwrap();
    assert_eq!(refresh_token(&engine).await, "successor");
    assert!(computer.secrets.inner.names().is_empty(), "it is in the file, not in the store");
}

#[tokio::test]
async fn s11_a_sign_out_is_not_undone_by_a_renewal() {
    let (computer, server, engine) = renewing().await;
    let session = engine.session().unwrap();
    engine.sign_out(false).await.unwrap();
    server.may_answer.add_permits(Semaphore::MAX_PERMITS / 2);
    // Answered once no renewal is under way any more.
    session.tokens.secret().await;
    drop(session);
    engine.shutdown().await;
    drop(engine);
    let sessions = computer.secrets.inner.names().into_iter().filter(|name| name.user == "session");
    assert_eq!(sessions.count(), 0);
    let state = computer.open().await.app_state().await;
    assert!(matches!(state, AppState::SignedOut { reason: None, .. }), "{state:?}");
}

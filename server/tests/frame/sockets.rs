//! What becomes a socket, and what ends one: tokens, origins, revocation, shutdown (S1, S11).

use crate::{
    support::{PASSWORD, World},
    tokens::{Forge, forgeries},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::{SinkExt, StreamExt};
use kith_protocol::{
    ClientFrame, ErrorCode, PROTOCOL_VERSION, SUBPROTOCOL, ServerFrame, api::Session, error::close, frame,
};
use kith_server::{Config, domain::accounts};
use reqwest::Method;
use serde_json::json;
use std::time::Duration;
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{self, Message, client::IntoClientRequest, http},
};

pub type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Revoked devices lose their sockets within this time, wherever they were revoked.
pub const REVOKED_WITHIN: Duration = Duration::from_secs(5);

pub fn upgrade(world: &World, token: Option<&str>) -> http::Request<()> {
    let mut request = world.server.socket_url().into_client_request().unwrap();
    let headers = request.headers_mut();
    headers.insert("sec-websocket-protocol", SUBPROTOCOL.parse().unwrap());
    if let Some(token) = token {
        headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    request
}

/// The status and code of an upgrade that was refused.
pub async fn refusal(request: http::Request<()>) -> (u16, ErrorCode) {
    match connect_async(request).await {
        Err(tungstenite::Error::Http(response)) => {
            let body = response.body().as_deref().unwrap_or_default();
            let body: kith_protocol::api::ErrorBody = serde_json::from_slice(body).unwrap();
            (response.status().as_u16(), body.code)
        }
        Ok(_) => panic!("the upgrade was not refused"),
        Err(other) => panic!("{other}"),
    }
}

/// Connects and waits for `welcome`.
pub async fn connect(world: &World, session: &Session) -> Socket {
    let (mut socket, _) = connect_async(upgrade(world, Some(&session.access_token))).await.unwrap();
    let hello = ClientFrame::Hello(frame::Hello {
        protocol: PROTOCOL_VERSION,
        device: session.device.id,
        generation: 0,
        epoch: None,
        cursor: None,
        user_seq: 0,
        full: None,
        app: "test/0".into(),
        capabilities: Vec::new(),
    });
    socket.send(Message::text(hello.encode(Some(1)))).await.unwrap();
    loop {
        let message = timeout(Duration::from_secs(10), socket.next()).await.unwrap().unwrap().unwrap();
        if let Message::Text(text) = message {
            match ServerFrame::decode(&text).unwrap().frame {
                ServerFrame::Welcome(_) => return socket,
                ServerFrame::Error(error) => panic!("{error:?}"),
                _ => {}
            }
        }
    }
}

/// Reads until the close. Returns its code and whether a `bye` with the same code came before.
pub async fn closed(socket: &mut Socket, within: Duration) -> (u16, bool) {
    let read = async {
        let mut bye = None;
        loop {
            match socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    if let ServerFrame::Bye(frame) = ServerFrame::decode(&text).unwrap().frame {
                        bye = Some(frame.code);
                    }
                }
                Some(Ok(Message::Close(Some(frame)))) => {
                    let code = u16::from(frame.code);
                    return (code, bye == Some(code));
                }
                Some(Ok(_)) => {}
                other => panic!("ended without a close code: {other:?}"),
            }
        }
    };
    timeout(within, read).await.expect("the socket is still open")
}

#[tokio::test]
async fn sec_024_tokens_of_made_up_keys_take_nobodys_turn() {
    let config = Config { permits: 1, permit_within: Duration::from_secs(1), ..Config::for_tests() };
    let world = World::start_with(config).await;
    let ada = world.person("ada").await;
    let encoded = |json: serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let made_up = |number: u32| {
        let header = encoded(json!({"alg": "HS256", "typ": "JWT", "kid": format!("made up {number}")}));
        format!("{header}.{}.{}", encoded(json!({})), URL_SAFE_NO_PAD.encode([0; 32]))
    };
    let flood: Vec<_> =
        (0..50).map(|number| tokio::spawn(refusal(upgrade(&world, Some(&made_up(number)))))).collect();
    // Behind those whose keys are looked up, each for up to a second.
    for _ in 0..3 {
        connect(&world, &ada).await.close(None).await.unwrap();
    }
    for one in flood {
        assert_eq!(one.await.unwrap(), (401, ErrorCode::TokenInvalid));
    }
}

#[tokio::test]
async fn sec_023_s1_bad_tokens_are_refused_before_the_upgrade() {
    let world = World::start().await;
    let forge = Forge::new(&world).await;
    assert_eq!(refusal(upgrade(&world, None)).await, (401, ErrorCode::TokenInvalid));
    for (_, what, token) in forgeries(&forge) {
        assert_eq!(refusal(upgrade(&world, Some(&token))).await, (401, ErrorCode::TokenInvalid), "{what}");
    }
    let ended = forge.ended_s_ago(40);
    assert_eq!(refusal(upgrade(&world, Some(&ended))).await, (401, ErrorCode::TokenExpired));
    let ada = world.sign_in("ada").await;
    let mut in_query = upgrade(&world, None);
    *in_query.uri_mut() =
        format!("{}?token={}", world.server.socket_url(), ada.access_token).parse().unwrap();
    assert_eq!(refusal(in_query).await, (401, ErrorCode::TokenInvalid));
    world.ask(Method::DELETE, "/v1/sessions/current", Some(&ada.access_token), None).await;
    assert_eq!(refusal(upgrade(&world, Some(&ada.access_token))).await, (401, ErrorCode::DeviceRevoked));
}

#[tokio::test]
async fn a_foreign_origin_is_refused_before_the_upgrade() {
    let allowed_origins = vec!["https://kith.example".to_owned()];
    let world = World::start_with(Config { allowed_origins, ..Config::for_tests() }).await;
    let ada = world.person("ada").await;
    let with = |origin: &str| {
        let mut request = upgrade(&world, Some(&ada.access_token));
        request.headers_mut().insert("origin", origin.parse().unwrap());
        request
    };
    for origin in ["https://evil.example", "https://kith.example.evil.example", "null", "http://kith.example"]
    {
        assert_eq!(refusal(with(origin)).await, (403, ErrorCode::NotAllowed), "{origin}");
    }
    assert!(connect_async(with("https://kith.example")).await.is_ok());
    assert!(
        connect_async(upgrade(&world, Some(&ada.access_token))).await.is_ok(),
        "a native client sends none"
    );
}

#[tokio::test]
async fn s12_without_sockets_the_exchange_serves() {
    let world = World::start_with(Config { sockets: false, ..Config::for_tests() }).await;
    let ada = world.person("ada").await;
    assert_eq!(refusal(upgrade(&world, Some(&ada.access_token))).await, (404, ErrorCode::Unsupported));
    let hello = json!({
        "type": "hello", "request": 1, "protocol": 1, "device": ada.device.id, "generation": 0, "user_seq": 0, "app": "test/0",
    });
    let body = Some(json!({"frames": [hello]}));
    let answer = world.ask(Method::POST, "/v1/exchange", Some(&ada.access_token), body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let types: Vec<&str> =
        answer.body["frames"].as_array().unwrap().iter().filter_map(|f| f["type"].as_str()).collect();
    assert_eq!(types, ["welcome", "heads"]);
}

#[tokio::test]
async fn sec_022_s11_signing_out_and_revocation_close_the_socket() {
    let world = World::start().await;
    let (here, there) = (world.person("ada").await, world.sign_in("ada").await);
    let (mut here_socket, mut there_socket) = (connect(&world, &here).await, connect(&world, &there).await);
    let path = format!("/v1/sessions/{}", there.device.id);
    let body = json!({"password": PASSWORD});
    world.ask(Method::DELETE, &path, Some(&here.access_token), Some(body)).await;
    assert_eq!(closed(&mut there_socket, REVOKED_WITHIN).await, (close::REVOKED, true));
    world.ask(Method::DELETE, "/v1/sessions/current", Some(&here.access_token), None).await;
    assert_eq!(closed(&mut here_socket, REVOKED_WITHIN).await, (close::REVOKED, true));
}

#[tokio::test]
async fn sec_010_s11_a_password_change_closes_the_other_sockets_alone() {
    let world = World::start().await;
    let (here, there) = (world.person("ada").await, world.sign_in("ada").await);
    let (mut here_socket, mut there_socket) = (connect(&world, &here).await, connect(&world, &there).await);
    let body = json!({"current": PASSWORD, "new": "another password"});
    let changed = world.ask(Method::PUT, "/v1/me/password", Some(&here.access_token), Some(body)).await;
    assert_eq!(changed.status, 204);
    assert_eq!(closed(&mut there_socket, REVOKED_WITHIN).await, (close::REVOKED, true));
    here_socket.send(Message::Ping("still there".into())).await.unwrap();
    while !matches!(here_socket.next().await.unwrap().unwrap(), Message::Pong(_)) {}
}

#[tokio::test]
async fn sec_018_s11_a_token_that_comes_back_closes_the_socket_of_its_device() {
    let world = World::start().await;
    let first = world.person("ada").await;
    let mut socket = connect(&world, &first).await;
    let second = world.refresh(&first).await.session();
    world.refresh(&second).await.session();
    world.refresh(&first).await.refused(401, ErrorCode::DeviceRevoked);
    assert_eq!(closed(&mut socket, REVOKED_WITHIN).await, (close::REVOKED, true));
}

#[tokio::test]
async fn sec_013_what_another_process_disables_is_closed_within_five_seconds() {
    let world = World::start().await;
    let ada = world.person("ada").await;
    let mut socket = connect(&world, &ada).await;
    // Straight into the database, as `kith-server user disable` does.
    accounts::disable(&world.server.pool, "ada").await.unwrap();
    assert_eq!(closed(&mut socket, REVOKED_WITHIN).await, (close::REVOKED, true));
}

#[tokio::test]
async fn a_shutdown_says_bye_and_ends_in_time() {
    let world = World::start().await;
    let ada = world.person("ada").await;
    let mut socket = connect(&world, &ada).await;
    let reading = tokio::spawn(async move { closed(&mut socket, Duration::from_secs(10)).await });
    timeout(Duration::from_secs(10), world.server.stop()).await.expect("ends within 10 s").unwrap();
    assert_eq!(reading.await.unwrap(), (close::RESTART, true));
}

#[tokio::test]
async fn a_changed_profile_is_told_to_whoever_shares_a_conversation() {
    let world = World::start().await;
    let (ada, bob, cleo) = (world.person("ada").await, world.person("bob").await, world.person("cleo").await);
    let start = json!({"kind": "direct", "members": [bob.user.id], "first": {"text": "hello"}});
    let started = world.ask(Method::POST, "/v1/conversations", Some(&ada.access_token), Some(start)).await;
    assert_eq!(started.status, 201, "{started:?}");
    let (mut to_bob, mut to_cleo) = (connect(&world, &bob).await, connect(&world, &cleo).await);
    let rename = json!({"display_name": "Ada Lovelace"});
    world.ask(Method::PATCH, "/v1/me", Some(&ada.access_token), Some(rename)).await;
    let profile = profile_of(&mut to_bob).await;
    assert_eq!((profile.id, profile.display_name.as_str()), (ada.user.id, "Ada Lovelace"));
    let rename = json!({"display_name": "Cleopatra"});
    let start = json!({"kind": "direct", "members": [ada.user.id], "first": {"text": "hello"}});
    world.ask(Method::POST, "/v1/conversations", Some(&cleo.access_token), Some(start)).await;
    world.ask(Method::PATCH, "/v1/me", Some(&cleo.access_token), Some(rename)).await;
    assert_eq!(profile_of(&mut to_cleo).await.display_name, "Cleopatra", "her own first, a stranger's never");
}

#[tokio::test]
async fn s12_a_waiting_exchange_does_not_hold_a_shutdown_up() {
    let world = World::start().await;
    let ada = world.person("ada").await;
    let hello = json!({
        "type": "hello", "request": 1, "protocol": 1, "device": ada.device.id, "generation": 0, "user_seq": 0, "app": "test/0",
    });
    let body = json!({"frames": [hello], "wait_ms": 25_000});
    let request =
        world.client.post(world.server.url("/v1/exchange")).bearer_auth(&ada.access_token).json(&body);
    let waiting = tokio::spawn(request.send());
    let seen = "SELECT generation_issued + generation_presented > 0 OR last_seen > created_at FROM devices";
    let is_connected = async || {
        let touched: bool = sqlx::query_scalar(seen).fetch_one(&world.server.pool).await.unwrap();
        touched
    };
    let deadline = tokio::time::Instant::now() + Duration::from_secs(2);
    while !is_connected().await && tokio::time::Instant::now() < deadline {
        tokio::task::yield_now().await;
    }
    timeout(Duration::from_secs(10), world.server.stop()).await.expect("ends within 10 s").unwrap();
    drop(waiting.await);
}

/// The next profile that is told.
async fn profile_of(socket: &mut Socket) -> kith_protocol::api::Profile {
    loop {
        let message = timeout(Duration::from_secs(10), socket.next()).await.unwrap().unwrap().unwrap();
        if let Message::Text(text) = message
            && let ServerFrame::Profiles(frame) = ServerFrame::decode(&text).unwrap().frame
        {
            return frame.items.into_iter().next().unwrap();
        }
    }
}

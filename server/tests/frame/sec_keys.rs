//! The keys that sign access tokens, rotated while servers run.

use crate::{
    command_line::{run, server, stderr},
    restored::of_days_ago,
    sockets::{connect, upgrade},
    support::{Inside, World},
    tokens::Forge,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::{SinkExt, StreamExt};
use kith_protocol::{ErrorCode, api::Session};
use kith_server::{
    Config,
    config::SecretKey,
    domain::keys::{OldKeys, rotate},
    settings::Settings,
};
use serde_json::json;
use std::{process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    time::{Instant, timeout},
};
use tokio_tungstenite::{connect_async, tungstenite::Message};

/// The name of the key that a token is signed with.
fn kid(token: &str) -> String {
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    let header: serde_json::Value = serde_json::from_slice(&header).unwrap();
    header["kid"].as_str().unwrap().to_owned()
}

/// Renews until the server signs with another key than `old`.
async fn renewed(world: &World, mut session: Session, old: &str) -> Session {
    let deadline = Instant::now() + Duration::from_secs(30);
    while kid(&session.access_token) == old {
        assert!(Instant::now() < deadline, "the server has not learnt of the other key");
        session = world.refresh(&session).await.session();
        tokio::time::sleep(Duration::from_millis(600)).await;
    }
    session
}

async fn stored(world: &World) -> Vec<String> {
    let query = "SELECT kid FROM server_keys WHERE purpose = 'access' ORDER BY created_at";
    sqlx::query_scalar(query).fetch_all(&world.server.pool).await.unwrap()
}

#[tokio::test]
async fn sec_024_a_rotated_key_is_good_until_its_tokens_have_ended_and_another_one_signs() {
    let world = World::start().await;
    let (ada, bob) = (world.person("ada").await, world.person("bob").await);
    let old = kid(&ada.access_token);
    let output = run(&["keys", "rotate"], Some(world.server.database_url()), "").await;
    assert!(output.status.success(), "{}", stderr(&output));
    let keys = stored(&world).await;
    assert!(keys.len() == 2 && keys[0] == old, "{keys:?}");
    let fresh = renewed(&world, ada, &old).await;
    assert_eq!(kid(&fresh.access_token), keys[1]);
    assert!(world.is_live(&fresh).await && world.is_live(&bob).await, "tokens of both keys are good");
    // A server that starts afterwards knows both as well.
    let mut child =
        server(&["serve"], Some(world.server.database_url())).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = timeout(Duration::from_secs(30), lines.next_line()).await.unwrap().unwrap().unwrap();
    let url = format!("{}/v1/me", line.strip_prefix("listening on ").expect("the address"));
    for token in [&fresh.access_token, &bob.access_token] {
        assert_eq!(world.client.get(&url).bearer_auth(token).send().await.unwrap().status(), 200);
    }
    // Once its tokens have ended the old key is no key any more, and the next rotation removes it.
    sqlx::query("UPDATE server_keys SET retired_at = now() - interval '12 minutes' WHERE kid = $1")
        .bind(&old)
        .execute(&world.server.pool)
        .await
        .unwrap();
    until_dead(&world, &bob).await;
    assert!(world.is_live(&fresh).await);
    assert_eq!(rotate(&world.server.pool, OldKeys::Outlive).await.unwrap(), 1);
    let left = stored(&world).await;
    assert!(left.len() == 2 && left[0] == keys[1], "{left:?}");
}

/// Waits until a token is refused for its key.
async fn until_dead(world: &World, session: &Session) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let answer = world.get("/v1/me", &session.access_token).await;
        if answer.status == 401 {
            return answer.refused(401, ErrorCode::TokenInvalid);
        }
        assert!(Instant::now() < deadline, "the token is still accepted");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

#[tokio::test]
async fn sec_024_a_dropped_key_ends_its_tokens_and_devices_take_fresh_ones() {
    let world = World::start().await;
    let ada = world.person("ada").await;
    let old = kid(&ada.access_token);
    let mut socket = connect(&world, &ada).await;
    // Whoever has the key that marks refresh tokens makes one that is newer than any that the server knows.
    let (bob, cleo) = (world.person("bob").await, world.person("cleo").await);
    let forged = of_days_ago(&world, &cleo.refresh_token, -1).await;
    world.refresh_with(&forged, json!(cleo.device.id)).await.session();
    let forged = of_days_ago(&world, &bob.refresh_token, -1).await;
    let output = run(&["keys", "rotate", "--drop-old"], Some(world.server.database_url()), "").await;
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(!stored(&world).await.contains(&old));
    until_dead(&world, &ada).await;
    assert!(connect_async(upgrade(&world, Some(&ada.access_token))).await.is_err());
    let fresh = world.refresh(&ada).await.session();
    assert_eq!(fresh.device, ada.device, "nobody was signed out");
    assert!(world.is_live(&fresh).await);
    world.refresh_with(&forged, json!(bob.device.id)).await.refused(401, ErrorCode::TokenInvalid);
    let second = world.refresh(&bob).await.session();
    assert_eq!(world.refresh(&bob).await.session().refresh_token, second.refresh_token, "S11 as ever");
    world.refresh(&world.refresh(&second).await.session()).await.session();
    socket.send(Message::Ping("still there".into())).await.unwrap();
    while !matches!(socket.next().await.unwrap().unwrap(), Message::Pong(_)) {}
}

#[tokio::test]
async fn sec_024_another_instance_takes_a_fresh_token_at_once_after_a_rotation() {
    let world = World::start().await;
    let ada = world.person("ada").await;
    // An instance that read the keys before, and reads them for nobody until it is asked.
    let before =
        kith_server::auth::Tokens::load(&world.server.pool, Duration::from_secs(600), None).await.unwrap();
    rotate(&world.server.pool, OldKeys::Outlive).await.unwrap();
    let elsewhere =
        kith_server::auth::Tokens::load(&world.server.pool, Duration::from_secs(600), None).await.unwrap();
    let fresh = elsewhere.sign(ada.user.id, ada.device.id).unwrap();
    assert!(before.verify(&fresh).is_err(), "its key is unknown here");
    let pool = &world.server.pool;
    let (one, other) =
        tokio::join!(before.verify_of_any_key(pool, &fresh), before.verify_of_any_key(pool, &fresh));
    one.unwrap();
    other.unwrap();
    // The keys are read once a second at most, whoever makes keys up; a good token waits for that.
    rotate(pool, OldKeys::Outlive).await.unwrap();
    elsewhere.reload(pool).await.unwrap();
    let newer = elsewhere.sign(ada.user.id, ada.device.id).unwrap();
    let header = r#"{"alg":"HS256","typ":"at+jwt","kid":"made up"}"#;
    let made_up = format!("{}.e30.x", URL_SAFE_NO_PAD.encode(header));
    let begun = Instant::now();
    let guesses = futures_util::future::join_all((0..20).map(|_| before.verify_of_any_key(pool, &made_up)));
    let (guesses, newer) = tokio::join!(guesses, before.verify_of_any_key(pool, &newer));
    assert!(guesses.iter().all(Result::is_err));
    newer.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(10), "they wait together");
}

fn secret_key() -> Option<SecretKey> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret-key");
    std::fs::write(&path, "a7e01f4c5b9d3826a7e01f4c5b9d3826\n").unwrap();
    #[cfg(unix)]
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    Settings { secret_key_file: Some(path), ..Settings::default() }.secret_key().unwrap()
}

#[tokio::test]
async fn sec_092_a_copy_of_the_database_holds_no_key_that_works() {
    for has_secret in [false, true] {
        let secret_key = has_secret.then(secret_key).flatten();
        let world = World::start_with(Config { secret_key, ..Config::for_tests() }).await;
        // Signed and marked with what stands in the database.
        let access = Forge::new(&world).await.ended_s_ago(-60);
        let session = world.sign_in("ada").await;
        let refresh = of_days_ago(&world, &session.refresh_token, -1).await;
        let me = world.get("/v1/me", &access).await;
        let renewed = world.refresh_with(&refresh, json!(session.device.id)).await;
        if has_secret {
            me.refused(401, ErrorCode::TokenInvalid);
            renewed.refused(401, ErrorCode::TokenInvalid);
            world.refresh(&session).await.session();
        } else {
            assert_eq!(
                (me.status.as_u16(), renewed.status.as_u16()),
                (200, 200),
                "which is why there is a secret"
            );
        }
    }
}

#[tokio::test]
async fn sec_092_sessions_go_on_when_an_installation_gets_its_secret_key() {
    let world = World::start().await;
    let ada = world.person("ada").await;
    let inside = Inside::with(Config { secret_key: secret_key(), ..Config::for_tests() }, &world).await;
    let body = json!({"refresh_token": ada.refresh_token, "device": ada.device.id});
    let renewed = inside.post("192.0.2.1", "/v1/sessions/refresh", body).await.session();
    assert!(!world.is_live(&renewed).await, "the access token is of the other key");
    inside.state.tokens.verify(&renewed.access_token).unwrap();
    let body = json!({"refresh_token": renewed.refresh_token, "device": ada.device.id});
    inside.post("192.0.2.1", "/v1/sessions/refresh", body).await.session();
}

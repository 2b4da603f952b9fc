//! Sessions: what ends them, and what nobody can guess of them.

use crate::{
    sockets::{REVOKED_WITHIN, closed, connect},
    support::{PASSWORD, World},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::{SinkExt, StreamExt};
use kith_protocol::{DeviceId, ErrorCode, error::close};
use kith_server::{
    Config,
    domain::{accounts, passwords::Passwords, sessions},
    testing::TestServer,
};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{
    collections::HashSet,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
async fn sec_017_a_refresh_token_has_256_bits_that_no_other_one_has() {
    let world = World::start().await;
    let first = world.person("ada").await;
    let second = world.refresh(&first).await.session();
    let other = world.sign_in("ada").await;
    let fork = world.fork(&other).await;
    let nonces: HashSet<Vec<u8>> = [&first, &second, &other, &fork]
        .iter()
        .map(|session| URL_SAFE_NO_PAD.decode(&session.refresh_token).unwrap())
        // User, device and number are no secret, the mark at the end is the server's.
        .map(|token| token[40..token.len() - 16].to_vec())
        .collect();
    assert_eq!(nonces.len(), 4);
    assert!(nonces.iter().all(|nonce| nonce.len() == 32), "256 bits");
    // Each bit is a coin. By chance less than one run in a hundred has a bit that is the same in sixteen nonces; a
    // counter or a clock leaves more than a hundred such bits.
    let mut newest = second;
    let mut seen: Vec<Vec<u8>> = nonces.into_iter().collect();
    while seen.len() < 16 {
        newest = world.refresh(&newest).await.session();
        seen.push(URL_SAFE_NO_PAD.decode(&newest.refresh_token).unwrap()[40..72].to_vec());
    }
    let is_fixed = |bit: &usize| {
        let value = |nonce: &Vec<u8>| nonce[bit / 8] >> (bit % 8) & 1;
        seen.iter().all(|nonce| value(nonce) == value(&seen[0]))
    };
    let fixed: Vec<usize> = (0..256).filter(is_fixed).collect();
    assert!(fixed.len() <= 4, "{fixed:?}");
}

#[tokio::test]
async fn sec_017_an_access_token_ends_within_ten_minutes_and_says_so() {
    let world = World::start().await;
    let began = now_s();
    let first = world.person("ada").await;
    for session in [&first, &world.refresh(&first).await.session()] {
        let payload = session.access_token.split('.').nth(1).unwrap();
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
        let ends = claims["exp"].as_u64().unwrap();
        assert!(ends <= now_s() + 600 && ends > began, "{claims}");
        assert_eq!(ends - claims["iat"].as_u64().unwrap(), session.access_expires_in_s, "{claims}");
    }
    let longer = Config { access_token: Duration::from_secs(601), ..Config::for_tests() };
    assert!(longer.check().is_err(), "no setting makes it longer");
}

#[tokio::test]
async fn sec_017_no_table_holds_a_refresh_token_or_its_secret_part_in_any_form() {
    let world = World::start().await;
    let first = world.person("ada").await;
    let second = world.refresh(&first).await.session();
    let third = world.refresh(&second).await.session();
    let fork = world.fork(&third).await;
    let pool = &world.server.pool;
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relkind = 'r' AND n.nspname = 'public' ORDER BY 1",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    assert!(tables.len() > 10, "{tables:?}");
    let mut stored = String::new();
    for table in &tables {
        let rows = sqlx::AssertSqlSafe(format!("SELECT row_to_json(t)::text FROM {table} t"));
        let rows: Vec<String> = sqlx::query_scalar(rows).fetch_all(pool).await.unwrap();
        stored.push_str(&rows.concat());
    }
    for session in [&first, &second, &third, &fork] {
        let bytes = URL_SAFE_NO_PAD.decode(&session.refresh_token).unwrap();
        let secret = &bytes[40..72];
        for (what, form) in [
            ("text", session.refresh_token.clone()),
            ("the text's bytes", hex(session.refresh_token.as_bytes())),
            ("bytes", hex(&bytes)),
            ("the nonce", hex(secret)),
            ("the nonce in text", URL_SAFE_NO_PAD.encode(&secret[2..])),
        ] {
            assert!(!stored.contains(&form), "{what} of a token is stored");
        }
        let digest = hex(&Sha256::digest(session.refresh_token.as_bytes()));
        assert!(stored.contains(&digest), "its hash is what is looked for");
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

#[tokio::test]
async fn sec_021_all_other_devices_are_signed_out_after_the_password_was_asked_again() {
    let world = World::start().await;
    let (here, one, two) =
        (world.person("ada").await, world.sign_in("ada").await, world.sign_in("ada").await);
    let bob = world.person("bob").await;
    let (mut one_socket, mut two_socket) = (connect(&world, &one).await, connect(&world, &two).await);
    let end = async |body| world.ask(Method::DELETE, "/v1/sessions", Some(&here.access_token), body).await;
    end(None).await.refused(400, ErrorCode::Invalid);
    end(Some(json!({"password": "not the password"}))).await.refused(401, ErrorCode::CredentialsInvalid);
    assert!(world.is_live(&one).await && world.is_live(&two).await);
    assert_eq!(end(Some(json!({"password": PASSWORD}))).await.status, 204);
    for socket in [&mut one_socket, &mut two_socket] {
        assert_eq!(closed(socket, REVOKED_WITHIN).await, (close::REVOKED, true));
    }
    for session in [&one, &two] {
        world.get("/v1/me", &session.access_token).await.refused(401, ErrorCode::DeviceRevoked);
        world.refresh(session).await.refused(401, ErrorCode::DeviceRevoked);
    }
    assert!(world.is_live(&here).await && world.is_live(&bob).await);
    let list = world.get("/v1/sessions", &here.access_token).await;
    assert_eq!(list.body["items"].as_array().unwrap().len(), 1);
    assert_eq!(end(Some(json!({"password": PASSWORD}))).await.status, 204, "nobody is left to end");
}

#[tokio::test]
async fn sec_021_the_list_tells_names_and_hours_and_no_tokens_or_addresses() {
    let world = World::start().await;
    let ada = world.person("ada").await;
    let list = world.get("/v1/sessions", &ada.access_token).await;
    let item = &list.body["items"][0];
    let fields: Vec<&str> = item.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields.iter().collect::<HashSet<_>>().len(), 5, "{fields:?}");
    for field in ["device", "name", "created_at", "last_seen", "current"] {
        assert!(fields.contains(&field), "{fields:?}");
    }
    assert_eq!(item["last_seen"].as_u64().unwrap() % 3_600_000, 0, "to the hour");
}

#[tokio::test]
async fn sec_021_an_operator_who_sets_a_password_ends_all_sessions() {
    let world = World::start().await;
    let ada = world.person("ada").await;
    let mut socket = connect(&world, &ada).await;
    let passwords = Passwords::new(Config::for_tests().password_cost);
    let set = accounts::reset_password(&world.server.pool, &passwords, "ada", "another password".into());
    set.await.unwrap();
    world.get("/v1/me", &ada.access_token).await.refused(401, ErrorCode::DeviceRevoked);
    world.refresh(&ada).await.refused(401, ErrorCode::DeviceRevoked);
    assert_eq!(closed(&mut socket, REVOKED_WITHIN).await, (close::REVOKED, true));
}

#[tokio::test]
async fn sec_009_a_password_change_is_refused_without_the_current_one() {
    let world = World::start().await;
    let ada = world.person("ada").await;
    let change =
        async |body| world.ask(Method::PUT, "/v1/me/password", Some(&ada.access_token), Some(body)).await;
    change(json!({"new": "another password"})).await.refused(400, ErrorCode::Invalid);
    for wrong in ["", "not the password", "another password"] {
        let refused = change(json!({"current": wrong, "new": "another password"})).await;
        refused.refused(401, ErrorCode::CredentialsInvalid);
    }
    world.try_sign_in("ada", PASSWORD).await.session();
}

/// A second instance on the same database.
async fn second_instance(world: &World) -> World {
    let url = world.server.database_url();
    let server = TestServer::start_on(url, url, None, Config::for_tests()).await.unwrap();
    World { server, client: world.client.clone() }
}

#[tokio::test]
async fn sec_013_every_socket_of_a_disabled_user_closes_on_every_instance_and_nobody_elses() {
    let here = World::start().await;
    let there = second_instance(&here).await;
    let (ada, ada_too, bob) = (here.person("ada").await, here.sign_in("ada").await, here.person("bob").await);
    let mut sockets = [connect(&here, &ada).await, connect(&there, &ada_too).await];
    let mut bobs = [connect(&here, &bob).await, connect(&there, &here.sign_in("bob").await).await];
    // Straight into the database, as `kith-server user disable` does.
    accounts::disable(&here.server.pool, "ada").await.unwrap();
    for world in [&here, &there] {
        for session in [&ada, &ada_too] {
            world.get("/v1/me", &session.access_token).await.refused(401, ErrorCode::DeviceRevoked);
        }
    }
    let [one, two] = &mut sockets;
    let closes = tokio::join!(closed(one, REVOKED_WITHIN), closed(two, REVOKED_WITHIN));
    assert_eq!(closes, ((close::REVOKED, true), (close::REVOKED, true)));
    for socket in &mut bobs {
        socket.send(Message::Ping("still there".into())).await.unwrap();
        while !matches!(socket.next().await.unwrap().unwrap(), Message::Pong(_)) {}
    }
    there.refresh(&ada).await.refused(401, ErrorCode::DeviceRevoked);
    there.try_sign_in("ada", PASSWORD).await.refused(401, ErrorCode::CredentialsInvalid);
}

#[tokio::test]
async fn sec_013_a_disabled_user_is_refused_everywhere_at_once() {
    let world = World::start().await;
    let ada = world.person("ada").await;
    accounts::disable(&world.server.pool, "ada").await.unwrap();
    assert!(accounts::is_disabled(&world.server.pool, "ada").await.unwrap());
    assert_eq!(sessions::of_operator(&world.server.pool, "ada").await.unwrap().len(), 0, "none is listed");
    for (method, path) in
        [(Method::GET, "/v1/me"), (Method::GET, "/v1/conversations"), (Method::GET, "/v1/socket")]
    {
        let answer = world.ask(method, path, Some(&ada.access_token), None).await;
        answer.refused(401, ErrorCode::DeviceRevoked);
    }
    world.refresh(&ada).await.refused(401, ErrorCode::DeviceRevoked);
    world
        .refresh_with(&ada.refresh_token, json!(DeviceId::mint()))
        .await
        .refused(401, ErrorCode::DeviceRevoked);
}

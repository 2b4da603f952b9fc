//! Sessions: what ends them, and what nobody can guess of them.

use crate::{
    sockets::{REVOKED_WITHIN, closed, connect},
    support::{PASSWORD, World},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use kith_protocol::{DeviceId, ErrorCode, error::close};
use kith_server::{
    Config,
    domain::{accounts, passwords::Passwords, sessions},
};
use reqwest::Method;
use serde_json::json;
use std::collections::HashSet;

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

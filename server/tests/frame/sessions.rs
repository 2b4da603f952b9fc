//! Sessions: rotation, replay, devices, signing out (S8, S11).

use crate::support::{PASSWORD, World};
use kith_protocol::{ErrorCode, api::SessionItem};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::HashSet;

#[tokio::test]
async fn sec_017_s11_refresh_gives_a_successor_and_stores_only_hashes() {
    let world = World::start().await;
    let first = world.person("ada").await;
    assert!(first.access_expires_in_s <= 600);
    let second = world.refresh(&first).await.session();
    assert_eq!(second.device, first.device);
    assert_ne!(second.refresh_token, first.refresh_token);
    assert!(world.is_live(&second).await);
    let third = world.refresh(&second).await.session();
    let dump: Vec<String> = sqlx::query_scalar("SELECT row_to_json(t)::text FROM refresh_tokens t")
        .fetch_all(&world.server.pool)
        .await
        .unwrap();
    let dump = dump.join("\n");
    for token in [&first.refresh_token, &second.refresh_token, &third.refresh_token] {
        assert!(token.len() >= 43, "256 bits");
        assert!(!dump.contains(token.as_str()));
    }
}

#[tokio::test]
async fn sec_018_s11_a_lost_answer_is_given_again_until_the_successor_is_used() {
    let world = World::start().await;
    let first = world.person("ada").await;
    let second = world.refresh(&first).await.session();
    let again = world.refresh(&first).await.session();
    assert_eq!(again.refresh_token, second.refresh_token);
    assert_eq!(again.device, second.device);
    world.refresh(&second).await.session();
    world.refresh(&first).await.refused(401, ErrorCode::DeviceRevoked);
}

#[tokio::test]
async fn sec_018_s11_many_refreshes_at_once_get_one_successor() {
    let world = World::start().await;
    let first = world.person("ada").await;
    let answers = futures_util::future::join_all((0..8).map(|_| world.refresh(&first))).await;
    let tokens: HashSet<String> = answers.iter().map(|answer| answer.session().refresh_token).collect();
    assert_eq!(tokens.len(), 1);
}

#[tokio::test]
async fn sec_018_s11_reuse_after_the_successor_was_used_signs_the_device_out() {
    let world = World::start().await;
    let (first, other) = (world.person("ada").await, world.sign_in("ada").await);
    let second = world.refresh(&first).await.session();
    let third = world.refresh(&second).await.session();
    world.refresh(&first).await.refused(401, ErrorCode::DeviceRevoked);
    world.refresh(&third).await.refused(401, ErrorCode::DeviceRevoked);
    world.get("/v1/me", &third.access_token).await.refused(401, ErrorCode::DeviceRevoked);
    assert!(world.is_live(&other).await, "the user's other devices stay");
}

#[tokio::test]
async fn sec_018_s11_reuse_after_the_replay_time_signs_the_device_out() {
    let world = World::start().await;
    let first = world.person("ada").await;
    world.refresh(&first).await.session();
    sqlx::query("UPDATE refresh_tokens SET exchanged_at = exchanged_at - interval '61 seconds'")
        .execute(&world.server.pool)
        .await
        .unwrap();
    world.refresh(&first).await.refused(401, ErrorCode::DeviceRevoked);
    world.refresh(&first).await.refused(401, ErrorCode::DeviceRevoked);
}

#[tokio::test]
async fn sec_018_s11_a_token_serves_its_own_device_alone() {
    let world = World::start().await;
    let (ada, bo) = (world.person("ada").await, world.person("bob").await);
    let foreign = world.refresh_with(&ada.refresh_token, json!(bo.device.id)).await;
    foreign.refused(401, ErrorCode::TokenInvalid);
    world.refresh_with("made up", json!(ada.device.id)).await.refused(401, ErrorCode::TokenInvalid);
    world.refresh_with(&ada.access_token, json!(ada.device.id)).await.refused(401, ErrorCode::TokenInvalid);
    world.refresh(&ada).await.session();
}

#[tokio::test]
async fn sec_020_s11_idle_and_old_sessions_end() {
    let world = World::start().await;
    let pool = &world.server.pool;
    let ada = world.person("ada").await;
    sqlx::query("UPDATE refresh_tokens SET issued_at = now() - interval '31 days'")
        .execute(pool)
        .await
        .unwrap();
    world.refresh(&ada).await.refused(401, ErrorCode::TokenInvalid);
    let bo = world.person("bob").await;
    sqlx::query("UPDATE devices SET created_at = now() - interval '181 days'").execute(pool).await.unwrap();
    world.refresh(&bo).await.refused(401, ErrorCode::TokenInvalid);
}

#[tokio::test]
async fn s8_refresh_without_a_device_mints_its_successor_once() {
    let world = World::start().await;
    let copied = world.person("ada").await;
    let fork = world.refresh_with(&copied.refresh_token, Value::Null).await.session();
    assert_ne!(fork.device.id, copied.device.id);
    assert_eq!(fork.user, copied.user);
    assert_eq!(fork.device.name, copied.device.name);
    let again = world.refresh_with(&copied.refresh_token, Value::Null).await.session();
    assert_eq!((again.device, again.refresh_token), (fork.device.clone(), fork.refresh_token.clone()));
    let (one, two) = (world.refresh(&copied).await.session(), world.refresh(&fork).await.session());
    assert!(world.is_live(&one).await && world.is_live(&two).await, "both copies go on, as two devices");
}

#[tokio::test]
async fn sec_021_the_device_list_tells_the_current_one_and_revocation_asks_for_the_password() {
    let world = World::start().await;
    let (here, there) = (world.person("ada").await, world.sign_in("ada").await);
    let bo = world.person("bob").await;
    let list = world.get("/v1/sessions", &here.access_token).await;
    let items: Vec<SessionItem> = serde_json::from_value(list.body["items"].clone()).unwrap();
    assert_eq!(items.len(), 2);
    assert_eq!(items.iter().filter(|item| item.current).map(|item| item.device).next(), Some(here.device.id));
    let revoke = async |device: &str, password: &str| {
        let body = json!({"password": password});
        let path = format!("/v1/sessions/{device}");
        world.ask(Method::DELETE, &path, Some(&here.access_token), Some(body)).await
    };
    let device = there.device.id.to_string();
    revoke(&device, "not the password").await.refused(401, ErrorCode::CredentialsInvalid);
    revoke(&bo.device.id.to_string(), PASSWORD).await.refused(404, ErrorCode::TargetMissing);
    revoke("no-id", PASSWORD).await.refused(400, ErrorCode::Invalid);
    assert!(world.is_live(&there).await);
    assert_eq!(revoke(&device, PASSWORD).await.status, 204);
    assert!(!world.is_live(&there).await);
    world.refresh(&there).await.refused(401, ErrorCode::DeviceRevoked);
    revoke(&device, PASSWORD).await.refused(404, ErrorCode::TargetMissing);
}

#[tokio::test]
async fn sec_022_signing_out_ends_access_and_refresh_at_once() {
    let world = World::start().await;
    let ada = world.person("ada").await;
    let token = Some(ada.access_token.as_str());
    assert_eq!(world.ask(Method::DELETE, "/v1/sessions/current", token, None).await.status, 204);
    world.get("/v1/me", &ada.access_token).await.refused(401, ErrorCode::DeviceRevoked);
    world.refresh(&ada).await.refused(401, ErrorCode::DeviceRevoked);
    // Signing in again as the device that was signed out gives another one: old tokens stay dead.
    let device = json!({"id": ada.device.id, "name": "a laptop"});
    let body = json!({"username": "ada", "password": PASSWORD, "device": device});
    assert_ne!(world.post("/v1/sessions", body).await.session().device.id, ada.device.id);
    assert!(!world.is_live(&ada).await);
}

#[tokio::test]
async fn the_eleventh_device_signs_the_longest_unseen_one_out() {
    let world = World::start().await;
    let mut sessions = vec![world.person("ada").await];
    for _ in 0..9 {
        sessions.push(world.sign_in("ada").await);
    }
    for session in &sessions {
        assert!(world.is_live(session).await);
    }
    let eleventh = world.sign_in("ada").await;
    assert!(world.is_live(&eleventh).await);
    assert!(!world.is_live(&sessions[0]).await);
    assert!(world.is_live(&sessions[1]).await);
}

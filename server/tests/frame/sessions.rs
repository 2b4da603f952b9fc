//! Sessions: rotation, replay, devices, signing out (S8, S11).

use crate::{
    sockets::{REVOKED_WITHIN, Socket, closed, connect},
    support::{PASSWORD, World},
};
use futures_util::StreamExt;
use kith_protocol::{
    ErrorCode,
    api::{Session, SessionItem},
    error::close,
};
use kith_server::Config;
use reqwest::Method;
use serde_json::{Value, json};
use std::{collections::HashSet, time::Duration};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

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
    let stored: i64 = sqlx::query_scalar("SELECT count(*) FROM refresh_tokens")
        .fetch_one(&world.server.pool)
        .await
        .unwrap();
    assert_eq!(stored, 2, "the token and its one successor");
    world.refresh(&answers[0].session()).await.session();
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
    let exchanged_s_ago = async |seconds: f64| {
        let set = "UPDATE refresh_tokens SET exchanged_at = clock_timestamp() - make_interval(secs => $1)
                   WHERE exchanged_at IS NOT NULL";
        sqlx::query(set).bind(seconds).execute(&world.server.pool).await.unwrap();
    };
    // Time for the asking itself is left; the answer is the one that was lost.
    exchanged_s_ago(50.0).await;
    let second = world.refresh(&first).await.session();
    assert!(world.is_live(&second).await);
    exchanged_s_ago(60.0).await;
    world.refresh(&first).await.refused(401, ErrorCode::DeviceRevoked);
    world.refresh(&second).await.refused(401, ErrorCode::DeviceRevoked);
    assert!(!world.is_live(&second).await);
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
    let idle = async |days: f64| {
        let set = "UPDATE refresh_tokens SET issued_at = now() - make_interval(secs => $1 * 86400)";
        sqlx::query(set).bind(days).execute(pool).await.unwrap();
    };
    let old = async |days: f64| {
        let set = "UPDATE devices SET created_at = now() - make_interval(secs => $1 * 86400)";
        sqlx::query(set).bind(days).execute(pool).await.unwrap();
    };
    // Each limit is tried from both sides, a hundredth of a day away, and on its own.
    let ada = world.person("ada").await;
    idle(29.99).await;
    let used = world.refresh(&ada).await.session();
    idle(30.01).await;
    world.refresh(&used).await.refused(401, ErrorCode::TokenInvalid);
    let bob = world.person("bob").await;
    old(179.99).await;
    let used = world.refresh(&bob).await.session();
    old(180.01).await;
    world.refresh(&used).await.refused(401, ErrorCode::TokenInvalid);
    // A sign-in with the password begins anew.
    let again = world.sign_in("bob").await;
    world.refresh(&again).await.session();
}

#[tokio::test]
async fn sec_018_s8_a_stolen_token_parts_no_device_unless_the_server_saw_a_copy() {
    let world = World::start().await;
    let ada = world.person("ada").await;
    world.refresh_with(&ada.refresh_token, Value::Null).await.refused(403, ErrorCode::NotAllowed);
    // A good handshake after the one that was refused takes the permission back.
    world.handshake_as_a_copy(&ada).await;
    assert_eq!(world.handshake(&ada, 9).await.status, 200);
    world.refresh_with(&ada.refresh_token, Value::Null).await.refused(403, ErrorCode::NotAllowed);
    // None of this used the token up.
    world.refresh(&ada).await.session();
    assert_eq!(devices(&world, &ada).await.len(), 1);
}

async fn devices(world: &World, session: &Session) -> Vec<SessionItem> {
    let list = world.get("/v1/sessions", &session.access_token).await;
    serde_json::from_value(list.body["items"].clone()).unwrap()
}

#[tokio::test]
async fn s8_a_copy_becomes_a_device_of_the_same_age_once_and_uses_the_token_up() {
    let world = World::start().await;
    let (copied, other) = (world.person("ada").await, world.sign_in("ada").await);
    sqlx::query("UPDATE devices SET created_at = now() - interval '179 days' WHERE id = $1")
        .bind(copied.device.id.as_uuid())
        .execute(&world.server.pool)
        .await
        .unwrap();
    let fork = world.fork(&copied).await;
    assert_ne!(fork.device.id, copied.device.id);
    assert_eq!((&fork.user, &fork.device.name), (&copied.user, &copied.device.name));
    let again = world.refresh_with(&copied.refresh_token, Value::Null).await.session();
    assert_eq!((again.device, again.refresh_token), (fork.device.clone(), fork.refresh_token.clone()));
    let list = devices(&world, &fork).await;
    let began = |device| list.iter().find(|item| item.device == device).unwrap().created_at;
    assert_eq!(began(fork.device.id), began(copied.device.id), "the age of the session goes with it");
    let next = world.refresh(&fork).await.session();
    // The copied profile goes on with the same token: there are two holders.
    world.refresh(&copied).await.refused(401, ErrorCode::DeviceRevoked);
    world.refresh(&next).await.refused(401, ErrorCode::DeviceRevoked);
    assert!(!world.is_live(&copied).await && !world.is_live(&next).await);
    assert!(world.is_live(&other).await, "devices of other sign-ins stay");
}

#[tokio::test]
async fn sec_018_s8_of_a_copy_and_its_original_at_once_the_second_ends_both() {
    let world = World::start().await;
    let copied = world.person("ada").await;
    let renewed = world.refresh(&copied).await.session();
    world.handshake_as_a_copy(&copied).await;
    // Within a minute the answer could be given again, but to the same device alone.
    world.refresh_with(&copied.refresh_token, Value::Null).await.refused(401, ErrorCode::DeviceRevoked);
    assert!(!world.is_live(&renewed).await);
    let parted = world.fork(&world.sign_in("ada").await).await;
    assert!(world.is_live(&parted).await);
}

#[tokio::test]
async fn sec_021_all_devices_of_a_user_are_told_of_a_further_one() {
    let world = World::start().await;
    let ada = world.person("ada").await;
    let notices = async |session: &Session| {
        let answer = world.handshake(session, 0).await;
        let frames = answer.body["frames"].as_array().unwrap().clone();
        let notices = frames.into_iter().filter(|frame| frame["type"] == "notification");
        notices.flat_map(|frame| frame["items"].as_array().unwrap().clone()).collect::<Vec<_>>()
    };
    assert_eq!(notices(&ada).await, Vec::<Value>::new(), "nobody else is there to be told");
    let mut socket = connect(&world, &ada).await;
    let second = world.sign_in("ada").await;
    let told = notification(&mut socket).await;
    assert_eq!((&told["kind"], &told["data"]["device"]), (&json!("new_device"), &json!(second.device.id)));
    assert_eq!((&told["data"]["name"], &told["data"]["copy"]), (&json!("a laptop"), &json!(false)));
    let third = world.fork(&second).await;
    let told = notification(&mut socket).await;
    assert_eq!((&told["data"]["device"], &told["data"]["copy"]), (&json!(third.device.id), &json!(true)));
    // An offline device gets the notice at its next handshake, until a device acknowledges it. No device gets a notice of
    // itself or of earlier devices.
    assert_eq!(notices(&third).await, Vec::<Value>::new());
    assert_eq!(notices(&ada).await.len(), 2);
    let fourth = world.sign_in("ada").await;
    let unseen = notices(&ada).await;
    let ids: Vec<&Value> = unseen.iter().map(|item| &item["id"]).collect();
    assert_eq!(ids.len(), 3);
    let acknowledge = async |session: &Session| {
        let hello = json!({"type": "hello", "request": 1, "protocol": 1, "device": session.device.id,
                           "generation": 0, "user_seq": 0, "app": "test/0"});
        let ack = json!({"type": "notification.ack", "request": 2, "ids": ids});
        let body = Some(json!({"frames": [hello, ack]}));
        let seen = world.ask(Method::POST, "/v1/exchange", Some(&session.access_token), body).await;
        assert_eq!(seen.status, 200, "{}", seen.body);
    };
    // Each device acknowledges for itself.
    acknowledge(&fourth).await;
    acknowledge(&third).await;
    assert_eq!(notices(&ada).await.len(), 3);
    acknowledge(&ada).await;
    assert_eq!(notices(&ada).await, Vec::<Value>::new());
}

#[tokio::test]
async fn sec_021_a_device_that_signs_in_again_closes_its_old_socket_and_the_others_are_notified() {
    let world = World::start().await;
    let (known, other) = (world.person("ada").await, world.sign_in("ada").await);
    let (mut old_socket, mut other_socket) = (connect(&world, &known).await, connect(&world, &other).await);
    // The password and the device id are all that this needs, so it may be a thief.
    let device = json!({"id": known.device.id, "name": "a laptop"});
    let body = json!({"username": "ada", "password": PASSWORD, "device": device});
    let again = world.post("/v1/sessions", body).await.session();
    assert_eq!(again.device.id, known.device.id);
    let notice = notification(&mut other_socket).await;
    assert_eq!((&notice["kind"], &notice["data"]["device"]), (&json!("new_device"), &json!(known.device.id)));
    assert_eq!(closed(&mut old_socket, REVOKED_WITHIN).await, (close::REPLACED, true));
    // The device itself gets no notice of its own sign-in.
    let answer = world.handshake(&again, 1).await;
    let frames = answer.body["frames"].as_array().unwrap();
    assert!(frames.iter().all(|frame| frame["type"] != "notification"), "{frames:?}");
}

#[tokio::test]
async fn sec_018_a_copy_outlives_its_original_neither_unseen_nor_once_the_original_comes_back() {
    let world = World::start().await;
    let (stolen, other) = (world.person("ada").await, world.sign_in("ada").await);
    let about = async |session: &Session| {
        let answer = world.handshake(session, 0).await;
        let frames = answer.body["frames"].as_array().unwrap().clone();
        let notices = frames.into_iter().filter(|frame| frame["type"] == "notification");
        let items = notices.flat_map(|frame| frame["items"].as_array().unwrap().clone());
        items.map(|item| (item["id"].clone(), item["data"]["device"].clone())).collect::<Vec<_>>()
    };
    // A thief parts a copy, hides its notice as the original, and signs the original out.
    let copy = world.fork(&stolen).await;
    let (id, _) = about(&other).await.into_iter().find(|(_, of)| *of == json!(copy.device.id)).unwrap();
    let hello = json!({"type": "hello", "request": 1, "protocol": 1, "device": stolen.device.id,
                       "generation": 99, "user_seq": 0, "app": "test/0"});
    let ack = json!({"type": "notification.ack", "request": 2, "ids": [id]});
    let body = Some(json!({"frames": [hello, ack]}));
    let seen = world.ask(Method::POST, "/v1/exchange", Some(&stolen.access_token), body).await;
    assert_eq!(seen.status, 200, "{}", seen.body);
    let ended = world.ask(Method::DELETE, "/v1/sessions/current", Some(&stolen.access_token), None).await;
    assert_eq!(ended.status, 204, "{}", ended.body);
    let told = |told: &[(Value, Value)]| told.iter().any(|(_, of)| *of == json!(copy.device.id));
    assert!(told(&about(&other).await), "the other device still gets the notice");
    let anew = world.sign_in("ada").await;
    assert!(told(&about(&anew).await), "and so is one that signs in later");
    // The owner's profile still holds the token that was used up.
    assert!(world.is_live(&copy).await);
    world.refresh(&stolen).await.refused(401, ErrorCode::DeviceRevoked);
    assert!(!world.is_live(&copy).await, "two had this token");
    assert!(world.is_live(&other).await && world.is_live(&anew).await);
    assert!(!told(&about(&world.sign_in("ada").await).await), "what is signed out is no news");
}

#[tokio::test]
async fn sec_018_copies_sign_out_none_but_their_own_family() {
    let world = World::start().await;
    let (stolen, other) = (world.person("ada").await, world.sign_in("ada").await);
    let sql = "UPDATE devices SET last_seen = now() - interval '1 day' WHERE id = $1";
    sqlx::query(sql).bind(other.device.id.as_uuid()).execute(&world.server.pool).await.unwrap();
    let mut newest = stolen.clone();
    for _ in 0..kith_protocol::limits::DEVICES_PER_USER_MAX {
        newest = world.fork(&newest).await;
    }
    assert!(world.is_live(&other).await && world.is_live(&newest).await);
    assert!(!world.is_live(&stolen).await, "the family's longest unseen goes");
    assert_eq!(devices(&world, &other).await.len(), kith_protocol::limits::DEVICES_PER_USER_MAX);
}

#[tokio::test]
async fn sec_018_a_reuse_is_noticed_after_the_token_was_forgotten() {
    // Outside of the time after a restore, in which a token may be unknown for another reason.
    let world = World::start_with(Config { restored_at: None, ..Config::for_tests() }).await;
    let (ada, other) = (world.person("ada").await, world.sign_in("ada").await);
    let newest = world.refresh(&ada).await.session();
    // As after thousands of further exchanges.
    sqlx::query("DELETE FROM refresh_tokens WHERE device_id = $1 AND exchanged_at IS NOT NULL")
        .bind(ada.device.id.as_uuid())
        .execute(&world.server.pool)
        .await
        .unwrap();
    world.refresh(&ada).await.refused(401, ErrorCode::DeviceRevoked);
    assert!(!world.is_live(&newest).await, "two had this token");
    assert!(world.is_live(&other).await);
}

#[tokio::test]
async fn sec_018_a_token_of_an_earlier_sign_in_on_the_device_ends_nothing() {
    let world = World::start_with(Config { restored_at: None, ..Config::for_tests() }).await;
    let ada = world.person("ada").await;
    world.refresh(&ada).await.session();
    let device = json!({"id": ada.device.id, "name": "a laptop"});
    let body = json!({"username": "ada", "password": PASSWORD, "device": device});
    let again = world.post("/v1/sessions", body).await.session();
    world.refresh(&ada).await.refused(401, ErrorCode::TokenInvalid);
    assert!(world.is_live(&again).await);
}

#[tokio::test]
async fn sec_018_a_token_that_was_never_exchanged_ends_nothing_after_it_was_forgotten() {
    let world = World::start_with(Config { restored_at: None, ..Config::for_tests() }).await;
    let ada = world.person("ada").await;
    let copy = world.fork(&ada).await;
    let ended = world.ask(Method::DELETE, "/v1/sessions/current", Some(&copy.access_token), None).await;
    assert_eq!(ended.status, 204);
    // As weeks after a sign-out.
    sqlx::query("DELETE FROM refresh_tokens WHERE device_id = $1")
        .bind(copy.device.id.as_uuid())
        .execute(&world.server.pool)
        .await
        .unwrap();
    world.refresh(&copy).await.refused(401, ErrorCode::TokenInvalid);
    assert!(world.is_live(&ada).await, "of the same sign-in");
}

#[tokio::test]
async fn sec_007_copies_bring_no_further_guesses() {
    let world = World::start().await;
    let (mut thief, owner) = (world.person("ada").await, world.sign_in("ada").await);
    let again = async |session: &Session, password: &str| {
        let body = Some(json!({"password": password}));
        world.ask(Method::DELETE, "/v1/sessions", Some(&session.access_token), body).await
    };
    let sign_in = async |session: &Session, password: &str| {
        let device = json!({"id": session.device.id, "name": "a laptop"});
        world.post("/v1/sessions", json!({"username": "ada", "password": password, "device": device})).await
    };
    let (mut asked_again, mut signed_in) = (0, 0);
    for _ in 0..3 {
        for _ in 0..8 {
            asked_again +=
                u32::from(again(&thief, "a wrong password").await.code() == ErrorCode::CredentialsInvalid);
            signed_in +=
                u32::from(sign_in(&thief, "a wrong password").await.code() == ErrorCode::CredentialsInvalid);
        }
        thief = world.fork(&thief).await;
    }
    // A slow machine may have waited long enough for one more.
    assert!((10..=12).contains(&asked_again), "{asked_again}");
    assert!((10..=12).contains(&signed_in), "{signed_in}");
    assert_eq!(again(&owner, PASSWORD).await.status, 204, "the owner's other device is not slowed down");
    assert!(!world.is_live(&thief).await);
}

#[tokio::test]
async fn sec_021_forks_of_a_stolen_token_cannot_hide_each_other() {
    let world = World::start().await;
    let ada = world.person("ada").await;
    let stolen = world.sign_in("ada").await;
    let first = world.fork(&stolen).await;
    let second = world.fork(&first).await;
    let notices = async || {
        let answer = world.handshake(&ada, 0).await;
        let frames = answer.body["frames"].as_array().unwrap().clone();
        let notices = frames.into_iter().filter(|frame| frame["type"] == "notification");
        notices.flat_map(|frame| frame["items"].as_array().unwrap().clone()).collect::<Vec<_>>()
    };
    let unseen = notices().await;
    let ids: Vec<&Value> = unseen.iter().map(|item| &item["id"]).collect();
    assert_eq!(ids.len(), 3);
    for (fork, generation) in [(&first, 9), (&second, 0)] {
        let hello = json!({"type": "hello", "request": 1, "protocol": 1, "device": fork.device.id,
                           "generation": generation, "user_seq": 0, "app": "test/0"});
        let ack = json!({"type": "notification.ack", "request": 2, "ids": ids});
        let body = Some(json!({"frames": [hello, ack]}));
        assert_eq!(world.ask(Method::POST, "/v1/exchange", Some(&fork.access_token), body).await.status, 200);
    }
    let left = notices().await;
    assert!(left.iter().any(|item| item["data"]["device"] == json!(first.device.id)), "{left:?}");
}

#[tokio::test]
async fn sec_022_a_device_that_parts_during_a_sign_out_of_all_does_not_survive_it() {
    let world = World::start().await;
    let (copied, owner) = (world.person("ada").await, world.sign_in("ada").await);
    world.handshake_as_a_copy(&copied).await;
    // The parting is held up behind the new device's row.
    let mut held = kith_server::db::begin(&world.server.pool).await.unwrap();
    sqlx::query("LOCK TABLE notifications IN EXCLUSIVE MODE").execute(&mut *held).await.unwrap();
    let body = Some(json!({"password": PASSWORD}));
    let parting = world.refresh_with(&copied.refresh_token, Value::Null);
    let ending = async {
        until_waiting(&world, 1).await;
        let ending = world.ask(Method::DELETE, "/v1/sessions", Some(&owner.access_token), body);
        let release = async {
            until_waiting(&world, 2).await;
            held.rollback().await.unwrap();
        };
        tokio::join!(ending, release).0
    };
    let (parted, ended) = tokio::join!(parting, ending);
    assert_eq!(ended.status, 204, "{}", ended.body);
    let parted = parted.session();
    assert!(!world.is_live(&parted).await && world.is_live(&owner).await);
    assert_eq!(devices(&world, &owner).await.len(), 1);
}

/// Waits until so many statements wait for locks.
async fn until_waiting(world: &World, count: i64) {
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let end = std::time::Instant::now() + Duration::from_secs(10);
    while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&world.server.pool).await.unwrap() < count {
        assert!(std::time::Instant::now() < end, "nothing waits");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn notification(socket: &mut Socket) -> Value {
    loop {
        let message = timeout(Duration::from_secs(10), socket.next()).await.unwrap().unwrap().unwrap();
        let Message::Text(text) = message else { continue };
        let frame: Value = serde_json::from_str(&text).unwrap();
        if frame["type"] == "notification" {
            return frame["items"][0].clone();
        }
    }
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

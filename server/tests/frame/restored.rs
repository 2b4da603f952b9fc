//! Refresh tokens that were given out after the backup which the server's database was set back to (S11).

use crate::{
    command_line::run,
    support::{PASSWORD, World},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use kith_protocol::{DeviceId, ErrorCode};
use kith_server::Config;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::Sha256;
use std::time::Duration;

/// Sets the books back to before this device signed in.
async fn forget(world: &World, device: DeviceId) {
    let done = sqlx::query("DELETE FROM devices WHERE id = $1")
        .bind(device.as_uuid())
        .execute(&world.server.pool)
        .await
        .unwrap();
    assert_eq!(done.rows_affected(), 1);
}

/// Waits until this many statements of the server wait for a lock.
async fn until_waiting(world: &World, count: i64) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
        )
        .fetch_one(&world.server.pool)
        .await
        .unwrap();
        if waiting >= count {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{waiting} wait, not {count}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn s11_two_refreshes_at_once_with_a_token_from_before_a_restore_get_one_successor() {
    let world = World::start().await;
    let ada = world.person("ada").await;
    forget(&world, ada.device.id).await;
    // Both look the token up before either may enter the device again.
    let mut gate = kith_server::db::begin(&world.server.pool).await.unwrap();
    sqlx::query("LOCK TABLE devices IN SHARE MODE").execute(&mut *gate).await.unwrap();
    let open = async {
        until_waiting(&world, 2).await;
        gate.rollback().await.unwrap();
    };
    let (one, two, ()) = tokio::join!(world.refresh(&ada), world.refresh(&ada), open);
    assert_eq!(one.session().refresh_token, two.session().refresh_token);
    assert!(world.is_live(&two.session()).await);
}

#[tokio::test]
async fn s8_s11_a_copied_profile_whose_device_came_back_by_a_newer_token_is_refused() {
    let world = World::start().await;
    let copied = world.person("ada").await;
    let parted = world.fork(&copied).await;
    let newer = world.refresh(&parted).await.session();
    forget(&world, parted.device.id).await;
    let unused = "UPDATE refresh_tokens SET exchanged_at = NULL, successor = NULL WHERE device_id = $1";
    sqlx::query(unused).bind(copied.device.id.as_uuid()).execute(&world.server.pool).await.unwrap();
    let back = world.refresh(&newer).await.session();
    assert_eq!(back.device.id, parted.device.id);
    world.handshake_as_a_copy(&copied).await;
    let again = world.refresh_with(&copied.refresh_token, Value::Null).await;
    again.refused(401, ErrorCode::TokenInvalid);
    assert!(world.is_live(&back).await);
    world.refresh(&back).await.session();
}

/// A token as the server gave it out that many days ago, of whatever device signed in then.
pub async fn of_days_ago(world: &World, token: &str, days: i64) -> String {
    let key: Vec<u8> = sqlx::query_scalar("SELECT secret FROM server_keys WHERE purpose = 'refresh'")
        .fetch_one(&world.server.pool)
        .await
        .unwrap();
    let mut bytes = URL_SAFE_NO_PAD.decode(token).unwrap();
    let number = i64::from_be_bytes(bytes[32..40].try_into().unwrap()) - days * 86_400_000;
    bytes[32..40].copy_from_slice(&number.to_be_bytes());
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    mac.update(b"kith token   ");
    mac.update(&bytes[..72]);
    let mark = mac.finalize().into_bytes();
    bytes[72..].copy_from_slice(&mark[..16]);
    URL_SAFE_NO_PAD.encode(bytes)
}

#[tokio::test]
async fn s11_a_session_from_before_a_restore_ends_when_it_would_have_ended() {
    let world = World::start().await;
    let ada = world.person("ada").await;
    let device = json!(ada.device.id);
    for (days, is_over) in [(181, true), (179, false)] {
        forget(&world, ada.device.id).await;
        let token = of_days_ago(&world, &ada.refresh_token, days).await;
        let answer = world.refresh_with(&token, device.clone()).await;
        if is_over {
            answer.refused(401, ErrorCode::TokenInvalid);
            world.refresh(&ada).await.session();
        } else {
            answer.session();
        }
    }
}

#[tokio::test]
async fn s11_a_password_set_after_a_restore_ends_sessions_of_devices_that_nobody_knows() {
    let world = World::start().await;
    let (ada, bob) = (world.person("ada").await, world.person("bob").await);
    let known = world.sign_in("ada").await;
    forget(&world, ada.device.id).await;
    let passwd = ["user", "passwd", "ada", "--password-stdin"];
    let output = run(&passwd, Some(world.server.database_url()), "another password\n").await;
    assert!(output.status.success(), "{output:?}");
    world.refresh(&ada).await.refused(401, ErrorCode::TokenInvalid);
    world.refresh(&known).await.refused(401, ErrorCode::DeviceRevoked);
    // Other people's devices and those that sign in with the new one come back as ever.
    let newer = world.try_sign_in("ada", "another password").await.session();
    for session in [bob, newer] {
        forget(&world, session.device.id).await;
        assert!(world.is_live(&world.refresh(&session).await.session()).await);
    }
}

#[tokio::test]
async fn s11_a_device_that_changed_the_password_stays_and_unknown_ones_do_not() {
    let world = World::start().await;
    let (here, there) = (world.person("ada").await, world.sign_in("ada").await);
    forget(&world, there.device.id).await;
    let body = json!({"current": PASSWORD, "new": "another password"});
    let answer = world.ask(Method::PUT, "/v1/me/password", Some(&here.access_token), Some(body)).await;
    assert_eq!(answer.status, 204);
    world.refresh(&there).await.refused(401, ErrorCode::TokenInvalid);
    // A backup from after the change knows the device, not its newest token.
    let newest = world.refresh(&world.refresh(&here).await.session()).await.session();
    for sql in ["DELETE FROM refresh_tokens", "UPDATE devices SET tokens_issued = tokens_issued - 2"] {
        sqlx::query(sql).execute(&world.server.pool).await.unwrap();
    }
    assert!(world.is_live(&world.refresh(&newest).await.session()).await);
}

#[tokio::test]
async fn sec_021_s11_devices_that_nobody_knows_stay_signed_out_after_all_others_were_signed_out() {
    let world = World::start().await;
    let (here, there, bob) =
        (world.person("ada").await, world.sign_in("ada").await, world.person("bob").await);
    for session in [&there, &bob] {
        forget(&world, session.device.id).await;
    }
    let body = Some(json!({"password": PASSWORD}));
    let answer = world.ask(Method::DELETE, "/v1/sessions", Some(&here.access_token), body).await;
    assert_eq!(answer.status, 204);
    world.refresh(&there).await.refused(401, ErrorCode::TokenInvalid);
    assert!(world.is_live(&world.refresh(&here).await.session()).await, "the device that asked");
    assert!(world.is_live(&world.refresh(&bob).await.session()).await, "of another person");
    // A sign-in that follows comes back as ever.
    let newer = world.sign_in("ada").await;
    forget(&world, newer.device.id).await;
    assert!(world.is_live(&world.refresh(&newer).await.session()).await);
}

#[tokio::test]
async fn sec_092_s11_tokens_that_the_database_does_not_know_count_only_after_a_restore_that_was_told() {
    let since = |days: i64| Some(chrono::Utc::now() - chrono::TimeDelta::days(days));
    for (restored_at, goes_on) in [(None, false), (since(31), false), (since(29), true)] {
        let world = World::start_with(Config { restored_at, ..Config::for_tests() }).await;
        let ada = world.person("ada").await;
        forget(&world, ada.device.id).await;
        let answer = world.refresh(&ada).await;
        if goes_on {
            answer.session();
        } else {
            answer.refused(401, ErrorCode::TokenInvalid);
        }
    }
}

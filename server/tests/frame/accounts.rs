//! Accounts: who may make one, what is refused, what a password change ends.

use crate::support::{PASSWORD, World};
use kith_protocol::ErrorCode;
use kith_server::{
    Config,
    config::Signup,
    domain::{accounts, passwords::Passwords},
};
use reqwest::{
    Method,
    header::{HeaderName, HeaderValue},
};
use serde_json::{Value, json};

/// Everything that an asker can see of an answer but its time and its request id.
async fn whole_answer(world: &World, path: &str, body: &Value) -> (u16, Vec<String>, String) {
    let answer = world.client.post(world.server.url(path)).json(body).send().await.unwrap();
    let named = |(name, value): (&HeaderName, &HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
    let of_this_one = |line: &String| !line.starts_with("date: ") && !line.starts_with("x-request-id: ");
    let mut headers: Vec<String> = answer.headers().iter().map(named).filter(of_this_one).collect();
    headers.sort_unstable();
    (answer.status().as_u16(), headers, answer.text().await.unwrap())
}

fn account(username: &str, password: &str) -> Value {
    json!({"username": username, "password": password, "display_name": "Somebody"})
}

#[tokio::test]
async fn open_sign_up_makes_accounts_and_refuses_taken_names() {
    let world = World::start().await;
    let created = world.sign_up("ada").await;
    assert_eq!(created.status, 201);
    assert_eq!(created.body["user"]["username"], "ada");
    assert!(created.body["user"].get("email").is_none());
    world.sign_up("ada").await.refused(409, ErrorCode::NameTaken);
}

#[tokio::test]
async fn closed_sign_up_makes_none() {
    let world = World::start_with(Config { signup: Signup::Closed, ..Config::for_tests() }).await;
    world.sign_up("ada").await.refused(403, ErrorCode::NotAllowed);
}

#[tokio::test]
async fn sec_012_an_invitation_makes_exactly_one_account_also_when_used_twice_at_once() {
    let world = World::start_with(Config { signup: Signup::Invite, ..Config::for_tests() }).await;
    world.sign_up("ada").await.refused(403, ErrorCode::NotAllowed);
    let code = accounts::invite(&world.server.pool).await.unwrap();
    let with = |name: &str, code: &str| {
        let mut body = account(name, PASSWORD);
        body["invite"] = json!(code);
        body
    };
    world.post("/v1/accounts", with("ada", "made up")).await.refused(403, ErrorCode::NotAllowed);
    let (one, two) = tokio::join!(
        world.post("/v1/accounts", with("ada", &code)),
        world.post("/v1/accounts", with("bob", &code))
    );
    let mut statuses = [one.status.as_u16(), two.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 403]);
    world.post("/v1/accounts", with("cleo", &code)).await.refused(403, ErrorCode::NotAllowed);
    let users: i64 =
        sqlx::query_scalar("SELECT count(*) FROM users").fetch_one(&world.server.pool).await.unwrap();
    assert_eq!(users, 1, "a refused invitation leaves no account behind");
}

#[tokio::test]
async fn sec_001_names_passwords_and_unknown_fields_are_checked_before_anything_is_stored() {
    let world = World::start().await;
    for (username, password) in [
        ("Ada", PASSWORD),
        ("ad", PASSWORD),
        ("a\0da", PASSWORD),
        ("ada", "1234567"),
        ("ada.lovelace", "ada.lovelace"),
        ("ada", &"x".repeat(257)),
    ] {
        world.post("/v1/accounts", account(username, password)).await.refused(400, ErrorCode::Invalid);
    }
    let mut body = account("ada", PASSWORD);
    body["role"] = json!("admin");
    world.post("/v1/accounts", body).await.refused(400, ErrorCode::Invalid);
    let mut body = account("ada", PASSWORD);
    body["display_name"] = json!("a\u{7}b");
    world.post("/v1/accounts", body).await.refused(400, ErrorCode::Invalid);
    assert_eq!(world.post("/v1/accounts", account("ada", "kl7#vQ2x")).await.status, 201);
}

#[tokio::test]
async fn sec_005_unknown_user_wrong_password_and_disabled_account_look_the_same() {
    let world = World::start().await;
    let gone = world.person("gone").await;
    world.sign_up("ada").await;
    accounts::disable(&world.server.pool, "gone").await.unwrap();
    let mut seen = Vec::new();
    for (username, password) in [
        ("nobody", PASSWORD),
        ("ada", "not the password"),
        ("gone", PASSWORD),
        ("gone", "not the password"),
        ("no such name", PASSWORD),
    ] {
        world.try_sign_in(username, password).await.refused(401, ErrorCode::CredentialsInvalid);
        let body = json!({"username": username, "password": password, "device": {"name": "a laptop"}});
        seen.push(whole_answer(&world, "/v1/sessions", &body).await);
    }
    for answer in &seen {
        assert_eq!(answer, &seen[0]);
    }
    world.get("/v1/me", &gone.access_token).await.refused(401, ErrorCode::DeviceRevoked);
    world.refresh(&gone).await.refused(401, ErrorCode::DeviceRevoked);
}

#[tokio::test]
async fn sec_007_the_eleventh_wrong_password_is_slowed_but_a_known_device_gets_in() {
    let world = World::start().await;
    let ada = world.person("ada").await;
    for _ in 0..10 {
        world.try_sign_in("ada", "not the password").await.refused(401, ErrorCode::CredentialsInvalid);
    }
    let refused = world.try_sign_in("ada", PASSWORD).await;
    refused.refused(429, ErrorCode::RateLimited);
    assert_eq!(refused.retry_after.as_deref(), Some("1"));
    let device = json!({"id": ada.device.id, "name": "a laptop"});
    let body = json!({"username": "ada", "password": PASSWORD, "device": device});
    let again = world.post("/v1/sessions", body).await.session();
    assert_eq!(again.device.id, ada.device.id);
}

#[tokio::test]
async fn sec_009_a_password_change_needs_the_old_one_and_ends_the_other_sessions() {
    let world = World::start().await;
    let (here, there) = (world.person("ada").await, world.sign_in("ada").await);
    let change = async |current: &str, new: &str| {
        let body = json!({"current": current, "new": new});
        world.ask(Method::PUT, "/v1/me/password", Some(&here.access_token), Some(body)).await
    };
    change("not the password", "another password").await.refused(401, ErrorCode::CredentialsInvalid);
    change(PASSWORD, "short").await.refused(400, ErrorCode::Invalid);
    change(PASSWORD, "ada").await.refused(400, ErrorCode::Invalid);
    assert!(world.is_live(&there).await);
    assert_eq!(change(PASSWORD, "another password").await.status, 204);
    assert!(world.is_live(&here).await);
    assert!(!world.is_live(&there).await);
    world.refresh(&there).await.refused(401, ErrorCode::DeviceRevoked);
    world.try_sign_in("ada", PASSWORD).await.refused(401, ErrorCode::CredentialsInvalid);
    world.try_sign_in("ada", "another password").await.session();
}

#[tokio::test]
async fn sec_003_a_weaker_stored_hash_is_replaced_at_sign_in() {
    let world = World::start().await;
    world.person("ada").await;
    // The same password hashed with 8 MiB and one pass, as an older server may have done.
    let weak = {
        use argon2::{Algorithm, Argon2, Params, PasswordHasher, Version};
        let params = Params::new(8_192, 1, 1, None).unwrap();
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        argon2.hash_password(PASSWORD.as_bytes()).unwrap().to_string()
    };
    let pool = &world.server.pool;
    sqlx::query("UPDATE users SET password_hash = $1").bind(&weak).execute(pool).await.unwrap();
    world.sign_in("ada").await;
    let stored: String = sqlx::query_scalar("SELECT password_hash FROM users").fetch_one(pool).await.unwrap();
    assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
    let verified = Passwords::new(Config::for_tests().password_cost);
    assert!(verified.verify(PASSWORD.into(), Some(stored)).await.unwrap().fits);
}

//! Signing in as somebody else would try it: passwords that are guessed, accounts that are looked for, many addresses.

use crate::{
    command_line::{run, stderr},
    support::{Inside, PASSWORD, World},
};
use kith_protocol::{DeviceId, ErrorCode, api::Session};
use kith_server::{
    Config,
    config::{PasswordCost, Signup},
    domain::accounts::{self, disable},
};
use reqwest::Method;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};

fn account(username: &str, password: &str) -> Value {
    json!({"username": username, "password": password, "display_name": "Somebody"})
}

#[tokio::test]
async fn sec_001_passwords_of_a_wrong_length_are_refused_before_anything_is_hashed() {
    let world = World::start().await;
    let inside = Inside::of(&world).await;
    let before = inside.state.passwords.computed();
    for bad in ["kl7vQ2x".to_owned(), "🙂".repeat(7), "y7".repeat(129), "x9".repeat(4_000)] {
        let answer = inside.post("192.0.2.1", "/v1/accounts", account("ada", &bad)).await;
        answer.refused(400, ErrorCode::Invalid);
    }
    let huge = inside.post("192.0.2.1", "/v1/accounts", account("ada", &"x9".repeat(400_000))).await;
    huge.refused(413, ErrorCode::TooLarge);
    assert_eq!(inside.state.passwords.computed(), before);
    let script = "žluťoučký kůň 🐎 пёс 犬 ".chars().cycle();
    let passwords = ["kl7#vQ2x".to_owned(), script.clone().take(128).collect(), script.take(256).collect()];
    for (number, good) in passwords.into_iter().enumerate() {
        let name = format!("person{number}");
        assert_eq!(world.post("/v1/accounts", account(&name, &good)).await.status, 201, "{good}");
        world.try_sign_in(&name, &good).await.session();
    }
}

#[tokio::test]
async fn sec_002_common_passwords_and_the_user_name_are_refused_wherever_one_is_set() {
    let world = World::start().await;
    let url = Some(world.server.database_url());
    let ada = world.person("ada.lovelace").await;
    for bad in ["password", "12345678", "Iloveyou", "p@ssw0rd", "qwertyuiop", "aaaaaaaa", "ada.lovelace"] {
        let refused = world.post("/v1/accounts", account("ada.lovelace", bad)).await;
        refused.refused(400, ErrorCode::Invalid);
        let change = json!({"current": PASSWORD, "new": bad});
        let changed = world.ask(Method::PUT, "/v1/me/password", Some(&ada.access_token), Some(change)).await;
        changed.refused(400, ErrorCode::Invalid);
        let said = changed.body["message"].as_str().unwrap().to_owned();
        assert!(said.contains("easy to guess") || said.contains("user name"), "{said}");
    }
    for arguments in [["user", "add", "bob"], ["user", "passwd", "ada.lovelace"]] {
        let output = run(&[&arguments[..], &["--password-stdin"]].concat(), url, "sunshine\n").await;
        assert!(!output.status.success());
        assert!(stderr(&output).contains("easy to guess"), "{}", stderr(&output));
    }
    world.try_sign_in("ada.lovelace", PASSWORD).await.session();
}

#[tokio::test]
async fn sec_005_an_unknown_user_a_wrong_password_and_a_disabled_account_cost_one_verification_each() {
    // A cost of the operator's, for a made-up hash of the least cost would give unknown users away.
    let cost = PasswordCost { passes: 3, ..PasswordCost::default() };
    let each = u64::from(cost.memory_kib) * u64::from(cost.passes);
    let config = Config { password_cost: cost, ..Config::for_tests() };
    let world = World::start_with(config.clone()).await;
    for name in ["ada", "gone"] {
        assert_eq!(world.sign_up(name).await.status, 201);
    }
    disable(&world.server.pool, "gone").await.unwrap();
    let inside = Inside::with(config, &world).await;
    let spent = || (inside.state.passwords.computed(), inside.state.passwords.spent_kib_passes());
    let mut answers = Vec::new();
    for (name, password) in [
        ("nobody", PASSWORD),
        ("ada", "not the password"),
        ("gone", PASSWORD),
        ("gone", "not the password"),
        ("no such name", PASSWORD),
        ("a\0da", PASSWORD),
    ] {
        let before = spent();
        let answer = inside.sign_in("192.0.2.1", name, password, None).await;
        answer.refused(401, ErrorCode::CredentialsInvalid);
        assert_eq!((spent().0 - before.0, spent().1 - before.1), (1, each), "{name:?}");
        answers.push(answer.body);
    }
    assert!(answers.iter().all(|body| *body == answers[0]), "{answers:?}");
}

#[tokio::test]
async fn sec_005_fifty_sign_ins_at_once_leave_the_server_ready() {
    let world = World::start().await;
    let sign_ins = (0..50).map(|number| {
        let name = format!("person{number}");
        let world = &world;
        async move { world.try_sign_in(&name, PASSWORD).await.status.as_u16() }
    });
    // Polled one after another on this thread: what blocks it would finish the sign-ins before the readiness.
    let answered = AtomicUsize::new(0);
    let sign_ins = sign_ins.map(|sign_in| async {
        let status = sign_in.await;
        answered.fetch_add(1, Ordering::Relaxed);
        status
    });
    let ready = async {
        for _ in 0..10 {
            let response = world.client.get(world.server.url("/readyz")).send().await.unwrap();
            assert_eq!(response.status(), 200);
        }
        answered.load(Ordering::Relaxed)
    };
    let (statuses, answered) = tokio::join!(futures_util::future::join_all(sign_ins), ready);
    assert!(answered < 25, "readiness waited for {answered} sign-ins");
    // 503 is `busy`: whoever had to wait too long is told so.
    assert!(statuses.iter().all(|status| [401, 503].contains(status)), "{statuses:?}");
    assert!(statuses.contains(&401), "{statuses:?}");
}

#[tokio::test]
async fn sec_007_whoever_guesses_from_many_addresses_locks_no_known_device_out() {
    let world = World::start().await;
    let (ada, left) = (world.person("ada").await, world.sign_in("ada").await);
    let token = Some(left.access_token.as_str());
    assert_eq!(world.ask(Method::DELETE, "/v1/sessions/current", token, None).await.status, 204);
    let inside = Inside::of(&world).await;
    for number in 0..100 {
        let from = format!("198.51.100.{number}");
        let answer = inside.sign_in(&from, "ada", "not the password", None).await;
        answer.refused(401, ErrorCode::CredentialsInvalid);
    }
    for device in [None, Some(DeviceId::mint())] {
        let refused = inside.sign_in("203.0.113.9", "ada", PASSWORD, device).await;
        refused.refused(429, ErrorCode::RateLimited);
        assert_eq!(refused.retry_after.as_deref(), Some("1"));
    }
    // A device of her own gets in from anywhere, also one that was signed out; of another user's it is a stranger's.
    let here = inside.sign_in("203.0.113.9", "ada", PASSWORD, Some(ada.device.id)).await.session();
    assert_eq!(here.device.id, ada.device.id);
    inside.sign_in("203.0.113.9", "ada", PASSWORD, Some(left.device.id)).await.session();
    let bob = world.person("bob").await;
    let foreign = inside.sign_in("203.0.113.9", "ada", PASSWORD, Some(bob.device.id)).await;
    foreign.refused(429, ErrorCode::RateLimited);
    // Whoever names her device elsewhere is slowed down there alone.
    for _ in 0..10 {
        let answer = inside.sign_in("203.0.113.77", "ada", "not the password", Some(ada.device.id)).await;
        answer.refused(401, ErrorCode::CredentialsInvalid);
    }
    let thief = inside.sign_in("203.0.113.77", "ada", PASSWORD, Some(ada.device.id)).await;
    thief.refused(429, ErrorCode::RateLimited);
    inside.sign_in("203.0.113.9", "ada", PASSWORD, Some(ada.device.id)).await.session();
    // And a known device that guesses is slowed down by itself.
    for _ in 0..10 {
        let answer = inside.sign_in("203.0.113.9", "ada", "not the password", Some(ada.device.id)).await;
        answer.refused(401, ErrorCode::CredentialsInvalid);
    }
    let slowed = inside.sign_in("203.0.113.9", "ada", PASSWORD, Some(ada.device.id)).await;
    slowed.refused(429, ErrorCode::RateLimited);
}

#[tokio::test]
async fn sec_007_whoever_guesses_from_one_network_slows_that_network_alone() {
    let world = World::start().await;
    world.person("ada").await;
    let inside = Inside::of(&world).await;
    for number in 1..=10 {
        let from = format!("2001:db8:1:2::{number}");
        let answer = inside.sign_in(&from, "ada", "not the password", None).await;
        answer.refused(401, ErrorCode::CredentialsInvalid);
    }
    let slowed = inside.sign_in("2001:db8:1:2::ffff", "ada", PASSWORD, None).await;
    slowed.refused(429, ErrorCode::RateLimited);
    inside.sign_in("2001:db8:1:3::1", "ada", PASSWORD, None).await.session();
}

#[tokio::test]
async fn sec_007_a_thiefs_guesses_do_not_keep_the_owner_from_signing_the_thief_out() {
    let world = World::start().await;
    let (own, stolen) = (world.person("ada").await, world.sign_in("ada").await);
    let revoke = async |by: &Session, device: DeviceId, password: &str| {
        let body = Some(json!({"password": password}));
        world.ask(Method::DELETE, &format!("/v1/sessions/{device}"), Some(&by.access_token), body).await
    };
    for _ in 0..10 {
        let answer = revoke(&stolen, own.device.id, "not the password").await;
        answer.refused(401, ErrorCode::CredentialsInvalid);
    }
    revoke(&stolen, own.device.id, PASSWORD).await.refused(429, ErrorCode::RateLimited);
    let body = json!({"current": PASSWORD, "new": "another password"});
    let change = world.ask(Method::PUT, "/v1/me/password", Some(&stolen.access_token), Some(body)).await;
    change.refused(429, ErrorCode::RateLimited);
    assert_eq!(revoke(&own, stolen.device.id, PASSWORD).await.status, 204);
    assert!(!world.is_live(&stolen).await);
}

#[tokio::test]
async fn sec_008_one_address_with_one_try_at_each_of_many_accounts_is_stopped() {
    let world = World::start().await;
    let inside = Inside::of(&world).await;
    let tries = (0..100).map(|number| {
        let (name, inside) = (format!("person{number}"), &inside);
        async move { inside.sign_in("192.0.2.7", &name, PASSWORD, None).await }
    });
    let answers = futures_util::future::join_all(tries).await;
    let stopped: Vec<_> = answers.iter().filter(|answer| answer.status == 429).collect();
    assert!(stopped.len() >= 20, "{}", stopped.len());
    assert!(stopped.iter().all(|answer| answer.code() == ErrorCode::RateLimited));
    // It makes no accounts either; others go on.
    let accounts = (0..100).map(|_| inside.post("192.0.2.7", "/v1/accounts", account("ada", "short")));
    let answers = futures_util::future::join_all(accounts).await;
    assert!(answers.iter().filter(|answer| answer.code() == ErrorCode::RateLimited).count() >= 20);
    assert_eq!(inside.post("192.0.2.8", "/v1/accounts", account("ada", PASSWORD)).await.status, 201);
    inside.sign_in("192.0.2.8", "ada", PASSWORD, None).await.session();
}

#[tokio::test]
async fn sec_008_refreshes_are_limited_by_address_and_by_device() {
    let world = World::start().await;
    let (ada, bob) = (world.person("ada").await, world.person("bob").await);
    let inside = Inside::of(&world).await;
    let refresh = |from: &'static str, token: &str, device: Value| {
        inside.post(from, "/v1/sessions/refresh", json!({"refresh_token": token, "device": device}))
    };
    // The same token again and again, from wherever: a lost answer is given again, and in the end there are too many.
    let ada_device = json!(ada.device.id);
    let mut answers = Vec::new();
    for _ in 0..100 {
        answers.push(refresh("::1", &ada.refresh_token, ada_device.clone()).await);
    }
    assert!(answers[..60].iter().all(|answer| answer.status == 200));
    let limited = answers.iter().find(|answer| answer.status == 429).expect("limited");
    limited.refused(429, ErrorCode::RateLimited);
    let wait: u64 = limited.retry_after.as_ref().unwrap().parse().unwrap();
    assert!((5..=10).contains(&wait), "one in ten seconds: {wait}");
    assert_eq!(refresh("::1", &bob.refresh_token, json!(bob.device.id)).await.status, 200, "each for itself");
    // Made-up tokens are nobody's, but they come from somewhere.
    let made_up =
        (0..1_000).map(|number| refresh("192.0.2.9", ["made up", "x"][number % 2], ada_device.clone()));
    let answers = futures_util::future::join_all(made_up).await;
    let with = |code: ErrorCode| answers.iter().filter(|answer| answer.code() == code).count();
    let (invalid, limited) = (with(ErrorCode::TokenInvalid), with(ErrorCode::RateLimited));
    assert!(invalid >= 600 && limited >= 100 && invalid + limited == 1_000, "{invalid} {limited}");
}

#[tokio::test]
async fn sec_012_an_invitation_ends_and_its_code_has_160_random_bits() {
    let world = World::start_with(Config { signup: Signup::Invite, ..Config::for_tests() }).await;
    let codes = [(); 2].map(|()| accounts::invite(&world.server.pool));
    let codes = futures_util::future::try_join_all(codes).await.unwrap();
    assert!(codes[0] != codes[1] && codes.iter().all(|code| code.len() == 27), "{codes:?}");
    let stored: Vec<String> = sqlx::query_scalar("SELECT row_to_json(t)::text FROM invites t")
        .fetch_all(&world.server.pool)
        .await
        .unwrap();
    assert!(stored.iter().all(|row| codes.iter().all(|code| !row.contains(code.as_str()))), "by hash alone");
    sqlx::query("UPDATE invites SET expires_at = now() - interval '1 second'")
        .execute(&world.server.pool)
        .await
        .unwrap();
    let mut body = account("ada", PASSWORD);
    body["invite"] = json!(codes[0]);
    world.post("/v1/accounts", body).await.refused(403, ErrorCode::NotAllowed);
}

#[tokio::test]
async fn sec_012_whoever_was_not_invited_learns_no_names_and_costs_no_hash() {
    let world = World::start().await;
    assert_eq!(world.sign_up("ada").await.status, 201);
    let inside = Inside::with(Config { signup: Signup::Invite, ..Config::for_tests() }, &world).await;
    let before = inside.state.passwords.computed();
    let mut answers = Vec::new();
    for name in ["ada", "nobody"] {
        let mut body = account(name, PASSWORD);
        body["invite"] = json!("made up");
        answers.push(inside.post("192.0.2.1", "/v1/accounts", body).await);
    }
    answers[0].refused(403, ErrorCode::NotAllowed);
    assert_eq!((answers[0].status, &answers[0].body), (answers[1].status, &answers[1].body));
    assert_eq!(inside.state.passwords.computed(), before);
}

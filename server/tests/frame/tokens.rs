//! What a forged access token meets (S1).

use crate::support::World;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use kith_protocol::ErrorCode;
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// Signs whatever a forger likes, with the server's own key.
pub struct Forge {
    kid: String,
    secret: Vec<u8>,
    claims: Value,
}

impl Forge {
    pub async fn new(world: &World) -> Self {
        let ada = world.person("ada").await;
        let (kid, secret): (String, Vec<u8>) =
            sqlx::query_as("SELECT kid, secret FROM server_keys WHERE purpose = 'access'")
                .fetch_one(&world.server.pool)
                .await
                .unwrap();
        let payload = ada.access_token.split('.').nth(1).unwrap();
        let claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
        Self { kid, secret, claims }
    }

    fn header(&self) -> Header {
        let mut header = Header::new(Algorithm::HS256);
        header.typ = Some("at+jwt".into());
        header.kid = Some(self.kid.clone());
        header
    }

    fn sign(&self, header: &Header, claims: &Value) -> String {
        encode(header, claims, &EncodingKey::from_secret(&self.secret)).unwrap()
    }

    fn with(&self, claim: &str, value: Value) -> String {
        let mut claims = self.claims.clone();
        claims[claim] = value;
        self.sign(&self.header(), &claims)
    }

    /// A token that was good until then.
    pub fn ended_s_ago(&self, seconds: i64) -> String {
        self.with("exp", in_seconds(-seconds))
    }

    fn without(&self, claim: &str) -> String {
        let mut claims = self.claims.clone();
        claims.as_object_mut().unwrap().remove(claim);
        self.sign(&self.header(), &claims)
    }
}

fn in_seconds(seconds: i64) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    json!(now.saturating_add_signed(seconds))
}

/// What is wrong with a forged token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// How it is signed.
    Signature,
    /// What it says, or when.
    Content,
    /// What it is meant for.
    Purpose,
}

/// Forged tokens: for which reason they are refused, and what they are.
pub fn forgeries(forge: &Forge) -> Vec<(Reason, &'static str, String)> {
    use Reason::{Content, Purpose, Signature};
    let good = forge.sign(&forge.header(), &forge.claims);
    let (header, payload) = (good.split('.').next().unwrap(), good.split('.').nth(1).unwrap());
    let signature = good.split('.').nth(2).unwrap();
    let raw = |header: Value| {
        let header = URL_SAFE_NO_PAD.encode(header.to_string());
        format!("{header}.{payload}.")
    };
    let mut flipped = URL_SAFE_NO_PAD.decode(payload).unwrap();
    flipped[20] ^= 1;
    let mut longer = forge.header();
    longer.alg = Algorithm::HS512;
    let mut unknown = forge.header();
    unknown.kid = Some("0".repeat(32));
    let mut keyless = forge.header();
    keyless.kid = None;
    let mut other_type = forge.header();
    other_type.typ = Some("JWT".into());
    let own_key = EncodingKey::from_secret(b"a key of the forger's own");
    vec![
        (Signature, "alg none", raw(json!({"alg": "none", "typ": "at+jwt", "kid": forge.kid}))),
        (Signature, "alg None", raw(json!({"alg": "None", "typ": "at+jwt", "kid": forge.kid}))),
        (Signature, "an alg of key pairs", raw(json!({"alg": "RS256", "typ": "at+jwt", "kid": forge.kid}))),
        (Signature, "no signature", format!("{header}.{payload}.")),
        (Signature, "two parts", format!("{header}.{payload}")),
        (Signature, "another alg of the family", forge.sign(&longer, &forge.claims)),
        (Signature, "unknown kid", forge.sign(&unknown, &forge.claims)),
        (Signature, "no kid", forge.sign(&keyless, &forge.claims)),
        (Purpose, "another type", forge.sign(&other_type, &forge.claims)),
        (Signature, "another key", encode(&forge.header(), &forge.claims, &own_key).unwrap()),
        (Content, "a flipped bit", format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(flipped))),
        (Purpose, "another audience", forge.with("aud", json!("somebody else"))),
        (Purpose, "another issuer", forge.with("iss", json!("somebody else"))),
        (Content, "not yet", forge.with("nbf", in_seconds(120))),
        (Content, "no nbf", forge.without("nbf")),
        (Content, "no exp", forge.without("exp")),
        (Purpose, "no aud", forge.without("aud")),
        (Content, "no device", forge.without("device")),
        (Content, "a user that is none", forge.with("sub", json!("ada"))),
        (Content, "nothing", String::new()),
        (Content, "not a token", "x".repeat(2_000)),
    ]
}

/// All forgeries of one kind are refused, and alike.
async fn refused(reason: Reason) {
    let world = World::start().await;
    let forge = Forge::new(&world).await;
    let good = forge.sign(&forge.header(), &forge.claims);
    assert_eq!(world.get("/v1/me", &good).await.status, 200, "the forge makes good tokens too");
    let mut count = 0;
    for (_, what, token) in forgeries(&forge).into_iter().filter(|(why, ..)| *why == reason) {
        let answer = world.get("/v1/me", &token).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (401, ErrorCode::TokenInvalid), "{what}");
        count += 1;
    }
    assert!(count >= 4);
}

#[tokio::test]
async fn sec_014_s1_a_token_with_another_signature_is_refused() {
    refused(Reason::Signature).await;
}

#[tokio::test]
async fn sec_015_s1_a_token_that_was_changed_or_is_not_yet_good_is_refused() {
    refused(Reason::Content).await;
}

#[tokio::test]
async fn sec_016_s1_a_token_for_something_else_is_refused() {
    refused(Reason::Purpose).await;
    let world = World::start().await;
    let ada = world.person("ada").await;
    let invite = kith_server::domain::accounts::invite(&world.server.pool).await.unwrap();
    for token in [&ada.refresh_token, &invite] {
        world.get("/v1/me", token).await.refused(401, ErrorCode::TokenInvalid);
    }
    for token in [&ada.access_token, &invite] {
        let answer = world.refresh_with(token, json!(ada.device.id)).await;
        answer.refused(401, ErrorCode::TokenInvalid);
    }
}

#[tokio::test]
async fn sec_014_s1_a_key_in_the_header_is_not_believed() {
    let world = World::start().await;
    let forge = Forge::new(&world).await;
    let payload = URL_SAFE_NO_PAD.encode(forge.claims.to_string());
    let key = b"a key of the forger's own";
    for extra in [
        json!({"jwk": {"kty": "oct", "k": URL_SAFE_NO_PAD.encode(key)}}),
        json!({"jku": "https://example.org/keys"}),
    ] {
        let mut header = json!({"alg": "HS256", "typ": "at+jwt", "kid": forge.kid});
        header.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let message = format!("{}.{payload}", URL_SAFE_NO_PAD.encode(header.to_string()));
        let signed =
            jsonwebtoken::crypto::sign(message.as_bytes(), &EncodingKey::from_secret(key), Algorithm::HS256)
                .unwrap();
        let token = format!("{message}.{signed}");
        world.get("/v1/me", &token).await.refused(401, ErrorCode::TokenInvalid);
    }
}

#[tokio::test]
async fn sec_015_s11_an_ended_token_is_accepted_for_the_leeway_and_no_longer() {
    let world = World::start().await;
    let forge = Forge::new(&world).await;
    assert_eq!(world.get("/v1/me", &forge.ended_s_ago(20)).await.status, 200);
    world.get("/v1/me", &forge.ended_s_ago(40)).await.refused(401, ErrorCode::TokenExpired);
}

#[tokio::test]
async fn sec_016_s1_a_token_of_another_user_or_device_is_dead() {
    let world = World::start().await;
    let forge = Forge::new(&world).await;
    let bo = world.person("bob").await;
    world.get("/v1/me", &forge.with("sub", json!(bo.user.id))).await.refused(401, ErrorCode::DeviceRevoked);
    let unknown = forge.with("device", json!(uuid::Uuid::now_v7()));
    world.get("/v1/me", &unknown).await.refused(401, ErrorCode::TokenInvalid);
}

#[tokio::test]
async fn sec_023_s1_a_token_comes_in_the_header_alone() {
    let world = World::start().await;
    let ada = world.person("ada").await;
    let in_query = format!("/v1/me?token={0}&access_token={0}", ada.access_token);
    world.ask(reqwest::Method::GET, &in_query, None, None).await.refused(401, ErrorCode::TokenInvalid);
    world.get("/v1/me", &ada.refresh_token).await.refused(401, ErrorCode::TokenInvalid);
    for scheme in ["Basic", "Bearer,", ""] {
        let request = world.client.get(world.server.url("/v1/me"));
        let request = request.header("authorization", format!("{scheme} {}", ada.access_token));
        let answer = crate::support::answer(request.send().await.unwrap()).await;
        answer.refused(401, ErrorCode::TokenInvalid);
    }
}

#[tokio::test]
async fn sec_024_a_rotated_key_is_accepted_until_its_tokens_have_ended() {
    let world = World::start().await;
    let forge = Forge::new(&world).await;
    let pool = &world.server.pool;
    let tokens =
        kith_server::auth::Tokens::load(pool, std::time::Duration::from_secs(600), None).await.unwrap();
    let old = forge.sign(&forge.header(), &forge.claims);
    sqlx::query("UPDATE server_keys SET retired_at = now() WHERE purpose = 'access'")
        .execute(pool)
        .await
        .unwrap();
    let rotated =
        kith_server::auth::Tokens::load(pool, std::time::Duration::from_secs(600), None).await.unwrap();
    let authed = rotated.verify(&old).expect("an old key is good until its tokens have ended");
    let new = rotated.sign(authed.user, authed.device).unwrap();
    assert!(tokens.verify(&new).is_err(), "signed by a key that the other instance has not read");
    tokens.reload(pool).await.unwrap();
    assert_eq!(tokens.verify(&new).unwrap().user, authed.user);
    sqlx::query("UPDATE server_keys SET retired_at = now() - interval '1 hour' WHERE kid = $1")
        .bind(&forge.kid)
        .execute(pool)
        .await
        .unwrap();
    tokens.reload(pool).await.unwrap();
    assert!(tokens.verify(&old).is_err());
}

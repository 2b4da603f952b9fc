//! Who asks: access tokens and the [`Authed`] extractor.
//!
//! An access token is a JWT signed with HS256 by a key from `server_keys`, so that all instances of one database
//! accept each other's. The algorithm is pinned, the key chosen by `kid` from the known ones alone; nothing else in
//! a token's header is believed. A token comes in the `Authorization` header or in an `auth` frame, never in a URL.

use crate::{
    config::{ACCESS_TOKEN_MAX, SecretKey},
    db,
    error::ApiError,
    rates::{self, Rate},
    shares::{RequestPlace, Sharer},
    state::AppState,
};
use axum::{
    RequestPartsExt,
    extract::FromRequestParts,
    http::{HeaderMap, header, request::Parts},
};
use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, errors::ErrorKind};
use kith_protocol::{DeviceId, UserId, limits};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use sqlx::{PgConnection, PgPool};
use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    sync::{Mutex, Semaphore},
    time::{Instant, sleep_until},
};

mod bus;
mod refresh;

pub(crate) use bus::SEAL_BYTES;
pub(crate) use refresh::Told;

const ISSUER: &str = "kith-server";
const AUDIENCE: &str = "kith";
const TOKEN_TYPE: &str = "at+jwt";

/// How often a running server reads the keys again.
pub(crate) const KEYS_READ_EVERY: Duration = Duration::from_secs(3);
/// Between two reads for tokens of unknown keys, so that made-up ones cost no more than one statement a second.
const LOOK_UP_EVERY: Duration = Duration::from_secs(1);
/// Requests with a token of an unknown key that wait for the next look.
const LOOK_UPS_WAITING_MAX: usize = 1_024;
/// A retired key is good for this long: until the last token that was signed with it has ended, also on a server that
/// had not yet read that it is retired, with time to spare for a slow read.
pub(crate) const KEY_OUTLIVES: Duration = Duration::from_secs(
    ACCESS_TOKEN_MAX.as_secs() + limits::TOKEN_LEEWAY.as_secs() + 10 * KEYS_READ_EVERY.as_secs(),
);

/// A device of a user whose token was good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authed {
    /// The user, from the token alone (S1).
    pub user: UserId,
    /// The device that the token was given to.
    pub device: DeviceId,
    /// When the token ends; it is accepted [`limits::TOKEN_LEEWAY`] longer.
    pub expires_at: SystemTime,
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: UserId,
    device: DeviceId,
    iat: u64,
    nbf: u64,
    exp: u64,
    jti: uuid::Uuid,
}

struct AccessKey {
    encoding: EncodingKey,
    decoding: DecodingKey,
}

struct Keys {
    /// The key that signs.
    current: String,
    /// Every key whose tokens may still live.
    access: HashMap<String, AccessKey>,
    refresh: Vec<u8>,
}

/// Signs and verifies access tokens and derives refresh tokens. Cheap to clone.
#[derive(Clone)]
pub struct Tokens {
    secret: Option<SecretKey>,
    keys: Arc<RwLock<Arc<Keys>>>,
    /// When the keys were last read for a token of an unknown one.
    looked_up: Arc<Mutex<Option<Instant>>>,
    /// Who waits for that.
    waiting: Arc<Semaphore>,
    lifetime: Duration,
}

impl Tokens {
    /// Reads the server's keys, making them if this database has none. With `secret`, the keys that work are derived from
    /// it and the database's, so that whoever has a copy of the database has none of them.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn load(
        pool: &PgPool,
        lifetime: Duration,
        secret: Option<SecretKey>,
    ) -> Result<Self, sqlx::Error> {
        let mut tx = db::begin(pool).await?;
        db::keys::ensure(&mut tx).await?;
        let keys = read(&mut tx, secret.as_ref()).await?;
        tx.commit().await?;
        Ok(Self {
            secret,
            keys: Arc::new(RwLock::new(Arc::new(keys))),
            looked_up: Arc::default(),
            waiting: Arc::new(Semaphore::new(LOOK_UPS_WAITING_MAX)),
            lifetime,
        })
    }

    /// Reads the keys again, to learn what another process rotated.
    ///
    /// # Errors
    /// When the database fails; the keys stay as they were.
    pub async fn reload(&self, pool: &PgPool) -> Result<(), sqlx::Error> {
        let keys = Arc::new(read(&mut *pool.acquire().await?, self.secret.as_ref()).await?);
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }

    /// As [`Tokens::verify`]. For a token of a key that is not known here, the keys are read again: another instance may
    /// have rotated them a moment ago. They are read at most one time in [`LOOK_UP_EVERY`]; who comes between waits for
    /// the next time, so that nobody's made-up keys use up what a good token needs.
    ///
    /// # Errors
    /// As [`Tokens::verify`]; [`ApiError::Busy`] where many wait already; and when the database fails.
    pub async fn verify_of_any_key(&self, pool: &PgPool, token: &str) -> Result<Authed, ApiError> {
        if self.knows_key_of(token) {
            return self.verify(token);
        }
        let _waiting = self.waiting.try_acquire().map_err(|_| ApiError::Busy)?;
        let asked = Instant::now();
        let mut looked_up = self.looked_up.lock().await;
        if looked_up.is_none_or(|at| at < asked) {
            if let Some(at) = *looked_up {
                sleep_until(at + LOOK_UP_EVERY).await;
            }
            let at = Instant::now();
            self.reload(pool).await?;
            *looked_up = Some(at);
        }
        drop(looked_up);
        self.verify(token)
    }

    fn knows_key_of(&self, token: &str) -> bool {
        let kid = jsonwebtoken::decode_header(token).ok().and_then(|header| header.kid);
        // What is no token of this server is refused without a look.
        kid.is_none_or(|kid| self.keys().access.contains_key(&kid))
    }

    fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// How long an access token lives.
    pub fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// Signs an access token.
    ///
    /// # Errors
    /// [`ApiError::Internal`] when the key cannot sign.
    pub fn sign(&self, user: UserId, device: DeviceId) -> Result<String, ApiError> {
        let keys = self.keys();
        let key = keys.access.get(&keys.current).ok_or(ApiError::Internal)?;
        let now = unix_seconds(SystemTime::now());
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: user,
            device,
            iat: now,
            nbf: now,
            exp: now + self.lifetime.as_secs(),
            jti: uuid::Uuid::new_v4(),
        };
        let mut header = Header::new(Algorithm::HS256);
        header.typ = Some(TOKEN_TYPE.to_owned());
        header.kid = Some(keys.current.clone());
        jsonwebtoken::encode(&header, &claims, &key.encoding).map_err(|_| ApiError::Internal)
    }

    /// Checks a token by itself: signature, key, times, issuer, audience. Whether its device was signed out is the
    /// database's knowledge ([`check_live`]).
    ///
    /// # Errors
    /// [`ApiError::TokenExpired`] for a good token past its end and the leeway, else [`ApiError::TokenInvalid`].
    pub fn verify(&self, token: &str) -> Result<Authed, ApiError> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| ApiError::TokenInvalid)?;
        if header.alg != Algorithm::HS256 || header.typ.as_deref() != Some(TOKEN_TYPE) {
            return Err(ApiError::TokenInvalid);
        }
        let keys = self.keys();
        let key = header.kid.and_then(|kid| keys.access.get(&kid)).ok_or(ApiError::TokenInvalid)?;
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "nbf", "aud", "iss", "sub"]);
        validation.validate_nbf = true;
        validation.leeway = limits::TOKEN_LEEWAY.as_secs();
        let claims = jsonwebtoken::decode::<Claims>(token, &key.decoding, &validation)
            .map_err(|error| match error.kind() {
                ErrorKind::ExpiredSignature => ApiError::TokenExpired,
                _ => ApiError::TokenInvalid,
            })?
            .claims;
        let expires_at = UNIX_EPOCH + Duration::from_secs(claims.exp);
        Ok(Authed { user: claims.sub, device: claims.device, expires_at })
    }
}

/// For whom a refresh token is derived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Succession {
    /// The device of the old one.
    SameDevice,
    /// A device that parts from a copied profile (S8).
    NewDevice,
}

impl Succession {
    fn word(self) -> &'static [u8] {
        match self {
            Self::SameDevice => b"kith refresh ",
            Self::NewDevice => b"kith fork    ",
        }
    }
}

/// The key that works: the database's own, or one that follows from it and the server's secret.
fn working_key(secret: Option<&SecretKey>, stored: Vec<u8>) -> Vec<u8> {
    let Some(secret) = secret else { return stored };
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.reveal())
        .unwrap_or_else(|_| unreachable!("HMAC takes a key of any length"));
    mac.update(b"kith key     ");
    mac.update(&stored);
    mac.finalize().into_bytes().to_vec()
}

async fn read(conn: &mut PgConnection, secret: Option<&SecretKey>) -> Result<Keys, sqlx::Error> {
    let rows = db::keys::live(conn, KEY_OUTLIVES.as_secs_f64()).await?;
    let mut keys = Keys { current: String::new(), access: HashMap::new(), refresh: Vec::new() };
    // Oldest first: the newest one that is not retired signs.
    for row in rows {
        if row.purpose == "refresh" {
            keys.refresh = working_key(secret, row.secret);
            continue;
        }
        let bytes = working_key(secret, row.secret);
        let key = AccessKey {
            encoding: EncodingKey::from_secret(&bytes),
            decoding: DecodingKey::from_secret(&bytes),
        };
        if !row.is_retired {
            keys.current.clone_from(&row.kid);
        }
        keys.access.insert(row.kid, key);
    }
    Ok(keys)
}

fn unix_seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Asks the database whether the device is still signed in and its user not disabled.
///
/// # Errors
/// [`ApiError::DeviceRevoked`] when not; [`ApiError::TokenInvalid`] for a device that the database does not know: it
/// signed in after the backup that the database was set back to, and its refresh token brings it back (S11).
pub async fn check_live(conn: &mut PgConnection, authed: &Authed) -> Result<(), ApiError> {
    match db::devices::liveness(conn, authed.user, authed.device).await? {
        Some(true) => Ok(()),
        Some(false) => Err(ApiError::DeviceRevoked),
        None => Err(ApiError::TokenInvalid),
    }
}

/// The token of an `Authorization: Bearer` header.
pub fn bearer(headers: &HeaderMap) -> Result<&str, ApiError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(ApiError::TokenInvalid);
    };
    let value = value.to_str().map_err(|_| ApiError::TokenInvalid)?;
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim()),
        _ => Err(ApiError::TokenInvalid),
    }
}

/// How long the body says that it is. One that does not say so counts as the longest.
fn body_bytes(headers: &HeaderMap) -> usize {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    length.unwrap_or(limits::INBOUND_FRAME_BYTES_MAX)
}

/// Whom the token names. Whether the device is still signed in has not been asked.
pub struct Signed(pub Authed);

impl FromRequestParts<AppState> for Signed {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        Ok(Self(state.tokens.verify_of_any_key(&state.pool, bearer(&parts.headers)?).await?))
    }
}

impl FromRequestParts<AppState> for Authed {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let authed = parts.extract_with_state::<Signed, _>(state).await?.0;
        if let Some(Rate(name)) = parts.extensions.get() {
            let cost = if *name == "send" { rates::send_cost(1, body_bytes(&parts.headers)) } else { 1 };
            let allowance = match *name {
                rates::USERS => state.allowances.of_user(authed.user),
                _ => state.allowances.of(authed.device),
            };
            let now = std::time::Instant::now();
            allowance.take_many(name, cost, now)?;
            if rates::is_reading(name) {
                state.allowances.of_user(authed.user).take(name, now)?;
            }
        }
        let rate = parts.extensions.get().map(|Rate(name)| *name);
        let sharer = match rate {
            Some(rates::ACCOUNT) => Sharer::Account(authed.device),
            _ => Sharer::User(authed.user),
        };
        // An upgrade has its place already, and waits for none while it holds a permit.
        let place = if rate == Some(rates::CONNECT) { None } else { Some(state.shares.work(sharer).await?) };
        check_live(&mut *state.pool.acquire().await?, &authed).await?;
        // An exchange may wait long; its handshake and its frames take places of their own.
        if let (Some(place), Some(request)) = (place, parts.extensions.get::<RequestPlace>())
            && rate != Some(rates::EXCHANGE)
        {
            request.keep(sharer, place);
        }
        Ok(authed)
    }
}

//! Sessions: signing in, renewing, devices, signing out.
//!
//! A refresh token is exchanged once. Its successor is derived from it, so that a client whose answer was lost gets
//! the same one again; any later use of an exchanged token means that there are two holders, and every device that
//! descends from the same sign-in is signed out (S11).

mod closing;
mod returned;
mod reuse;

pub(crate) use closing::close;
pub use closing::{close_dead, close_revoked};

use super::{accounts, notices, sign_in_limits::Guesser};
use crate::{auth::Told, config::Config, db, error::ApiError, state::AppState};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::Utc;
use kith_failpoint::places;
use kith_protocol::{
    DeviceId, TimestampMs, UserId,
    api::{DeviceRef, DeviceRequest, Refresh, Session, SessionItem, SignIn},
    error::close,
    frame::Notification,
    limits,
    text::check_name,
};
use sha2::{Digest, Sha256};
use sqlx::{PgConnection, PgPool};
use std::net::IpAddr;
use uuid::Uuid;

/// Writes random or derived bytes as a token.
pub(crate) fn encode_token(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// What is stored of a token.
pub(crate) fn hash_token(token: &str) -> Vec<u8> {
    Sha256::digest(token.as_bytes()).to_vec()
}

/// Signs a user in on a device. Wrong passwords count for the device if the account knows it, else for the account and
/// `network`.
///
/// # Errors
/// [`ApiError::CredentialsInvalid`], the same for an unknown user, a wrong password and a disabled account;
/// [`ApiError::RateLimited`] after many wrong ones.
pub async fn sign_in(
    state: &AppState,
    request: SignIn,
    network: Option<IpAddr>,
) -> Result<Session, ApiError> {
    check_device_name(&request.device)?;
    // A name of a bad form is nobody's, and takes as long to be refused.
    let is_name = accounts::check_username(&request.username).is_ok();
    let found = match is_name {
        true => {
            let mut conn = state.pool.acquire().await?;
            db::credentials::credentials(&mut conn, &request.username, request.device.id).await?
        }
        false => None,
    };
    // A stranger who guesses must not lock the owner's own devices out, those that were signed out included.
    let guesser = match found.as_ref().and_then(|user| user.family) {
        Some(family) => state.sign_in_limits.known(family, network),
        None => Guesser::Stranger(&request.username, network),
    };
    state.sign_in_limits.attempt(guesser)?;
    let stored = found.as_ref().map(|user| user.password_hash.clone());
    let verified = state.passwords.verify(request.password.clone(), stored).await?;
    let user = match found {
        Some(user) if verified.fits && !user.is_disabled => user,
        _ => return Err(ApiError::CredentialsInvalid),
    };
    state.sign_in_limits.succeeded(guesser);
    let id = UserId::from_uuid(user.id);
    let (session, family) = if verified.is_weak {
        let stronger = state.passwords.hash(request.password).await?;
        let mut conn = state.pool.acquire().await?;
        db::credentials::upgrade_hash(&mut conn, id, &user.password_hash, &stronger).await?;
        drop(conn);
        begin(state, id, &stronger, request.device).await?
    } else {
        begin(state, id, &user.password_hash, request.device).await?
    };
    state.sign_in_limits.was_right(family, network);
    Ok(session)
}

/// Signs in whoever has shown the password of this hash. One that was changed meanwhile, or a user who was disabled, is
/// seen under the row's lock, so a change of the password ends every session of the old one. Returns the session and the
/// family of its device.
async fn begin(
    state: &AppState,
    user: UserId,
    password_hash: &str,
    device: DeviceRequest,
) -> Result<(Session, Uuid), ApiError> {
    let mut tx = db::begin(&state.pool).await?;
    if !db::credentials::lock_with(&mut tx, user, password_hash).await? {
        return Err(ApiError::CredentialsInvalid);
    }
    let renewed = match device.id {
        Some(id) => db::devices::renew(&mut tx, id, user, &device.name).await?.map(|issued| (id, issued)),
        None => None,
    };
    let id = match renewed {
        Some((id, _)) => {
            db::refresh_tokens::delete_of_device(&mut tx, id).await?;
            id
        }
        None => {
            let id = DeviceId::mint();
            if !db::devices::insert(&mut tx, id, user, &device.name).await? {
                return Err(ApiError::Unavailable);
            }
            id
        }
    };
    // Also of a known device: a thief with the password may name it.
    let notice = notices::new_device(&mut tx, user, id, &device.name, false).await?;
    let ended = revoke_beyond(&mut tx, user, id, None).await?;
    let number = db::devices::next_token(&mut tx, id).await?;
    let refresh_token = state.tokens.first_refresh(Told { user, device: id, number });
    db::refresh_tokens::insert(&mut tx, &hash_token(&refresh_token), id).await?;
    let session = session(state, &mut tx, user, DeviceRef { id, name: device.name }, refresh_token).await?;
    let family = db::devices::family(&mut tx, id).await?;
    tx.commit().await?;
    close(state, &ended);
    if let Some((_, issued)) = renewed {
        // The sockets of the session that ended.
        let next = u64::try_from(issued).unwrap_or_default().saturating_add(1);
        state.hub.replace_device(user, id, next);
    }
    if let Some(notice) = notice {
        notices::tell(state, user, notice);
    }
    Ok((session, family))
}

async fn session(
    state: &AppState,
    conn: &mut PgConnection,
    user: UserId,
    device: DeviceRef,
    refresh_token: String,
) -> Result<Session, ApiError> {
    let profile = db::users::profile(conn, user).await?.ok_or(ApiError::TokenInvalid)?.own();
    Ok(Session {
        access_token: state.tokens.sign(user, device.id)?,
        access_expires_in_s: state.tokens.lifetime().as_secs(),
        refresh_token,
        user: profile,
        device,
    })
}

/// Exchanges a refresh token (S11); without a device, mints the device that follows a copied profile's (S8).
///
/// # Errors
/// [`ApiError::TokenInvalid`] for an unknown token, one of another device, or a session that has lasted its time;
/// [`ApiError::DeviceRevoked`] after signing out, and when an exchanged token comes back too late;
/// [`ApiError::NotAllowed`] for a new device where the old one's last handshake was not answered `device_forked`;
/// [`ApiError::RateLimited`] for a device that comes again and again.
pub async fn refresh(
    state: &AppState,
    request: Refresh,
    network: Option<IpAddr>,
) -> Result<Session, ApiError> {
    let old = hash_token(&request.refresh_token);
    let told = state.tokens.read_refresh(&request.refresh_token);
    let parts = request.device.is_none();
    let mut tx = db::begin(&state.pool).await?;
    let row = match (find(&mut tx, &old, parts).await?, told) {
        (Some(row), _) => row,
        (None, Some(told)) => {
            // Of two askers at once the second takes nothing back, and then sees what the first did.
            let is_restored = state.config.is_restored(Utc::now());
            if is_restored {
                if parts {
                    // A user's row is locked before those of the devices, and as [`find`] will lock it.
                    db::contacts::lock(&mut tx, &[told.user.as_uuid()]).await?;
                }
                returned::take_back(&mut tx, told, &old).await?;
            }
            match find(&mut tx, &old, parts).await? {
                Some(row) => row,
                None if is_restored => return Err(ApiError::TokenInvalid),
                None => {
                    tx.rollback().await?;
                    return Err(reuse::forgotten(state, told).await?);
                }
            }
        }
        (None, None) => return Err(ApiError::TokenInvalid),
    };
    let (user, device) = (UserId::from_uuid(row.user_id), DeviceId::from_uuid(row.device_id));
    let is_first = row.exchanged_at.is_none();
    let is_reused = !is_first && !row.is_replayable;
    // A second holder is noticed although the device was signed out: its copies may not have been.
    if row.is_revoked && !is_reused {
        return Err(ApiError::DeviceRevoked);
    }
    if request.device.is_some_and(|asked| asked != device) || row.is_over {
        return Err(ApiError::TokenInvalid);
    }
    if is_reused {
        tx.rollback().await?;
        return Err(reuse::of(state, user, device, row.family).await?);
    }
    state.sign_in_limits.refresh_of(device)?;
    if parts && is_first && !row.is_forked {
        return Err(ApiError::NotAllowed);
    }
    // A token that bears no mark of this key says no number: the next one is the device's next.
    let number = match told {
        Some(told) => told.number.saturating_add(1),
        None => row.newest_number.saturating_add(i64::from(is_first)),
    };
    let (id, next) = if parts {
        state.tokens.fork(&request.refresh_token, user, number)
    } else {
        (device, state.tokens.successor(&request.refresh_token, Told { user, device, number }))
    };
    let mut notice = None;
    if is_first {
        let told = Told { user, device: id, number };
        notice = exchange(&mut tx, (device, &row.device_name, &old), told, &next).await?;
    }
    let session = session(state, &mut tx, user, DeviceRef { id, name: row.device_name }, next).await?;
    // A copy is no sign-in: it signs out devices of its own family first.
    let ended = revoke_beyond(&mut tx, user, session.device.id, Some(row.family)).await?;
    tx.commit().await?;
    kith_failpoint::pass(places::REFRESH_AFTER_COMMIT);
    state.sign_in_limits.was_right(row.family, network);
    close(state, &ended);
    if let Some(notice) = notice {
        notices::tell(state, user, notice);
    }
    Ok(session)
}

async fn revoke_beyond(
    conn: &mut PgConnection,
    user: UserId,
    newest: DeviceId,
    first: Option<Uuid>,
) -> Result<Vec<Uuid>, sqlx::Error> {
    let most = i64::try_from(limits::DEVICES_PER_USER_MAX).unwrap_or(i64::MAX);
    db::devices::revoke_beyond(conn, user, newest, first, most).await
}

async fn find(
    conn: &mut PgConnection,
    hash: &[u8],
    parts: bool,
) -> Result<Option<db::refresh_tokens::TokenRow>, sqlx::Error> {
    let (idle, absolute) = (Config::SESSION_IDLE_DAYS, Config::SESSION_ABSOLUTE_DAYS);
    db::refresh_tokens::lock(conn, hash, idle, absolute, limits::REFRESH_REPLAY.as_secs_f64(), parts).await
}

/// Enters the successor of a token of this device, and the device itself where it is a new one that parts. Returns the
/// notice of it.
async fn exchange(
    conn: &mut PgConnection,
    (device, name, old): (DeviceId, &str, &[u8]),
    next: Told,
    token: &str,
) -> Result<Option<Notification>, ApiError> {
    let mut notice = None;
    if next.device != device {
        // One that is known already came back by a newer token after a restore.
        if !db::devices::insert_parted(conn, next.device, device, next.number).await? {
            return Err(ApiError::TokenInvalid);
        }
        db::generations::set_forked(conn, device, false).await?;
        notice = notices::new_device(conn, next.user, next.device, name, true).await?;
    }
    let hash = hash_token(token);
    db::refresh_tokens::insert(conn, &hash, next.device).await?;
    db::refresh_tokens::mark_exchanged(conn, old, &hash, device, Config::SESSION_IDLE_DAYS).await?;
    db::devices::touch(conn, next.device, next.number).await?;
    Ok(notice)
}

/// The user's devices.
///
/// # Errors
/// When the database fails.
pub async fn list(state: &AppState, user: UserId, current: DeviceId) -> Result<Vec<SessionItem>, ApiError> {
    const HOUR_MS: i64 = 3_600_000;
    let rows = db::devices::of_user(&mut *state.pool.acquire().await?, user).await?;
    let item = |row: db::devices::DeviceRow| {
        let device = DeviceId::from_uuid(row.id);
        let seen = row.last_seen.timestamp_millis();
        SessionItem {
            device,
            name: row.name,
            created_at: TimestampMs::from_i64(row.created_at.timestamp_millis()),
            // To the hour: enough to recognise a device, too coarse to follow a person.
            last_seen: TimestampMs::from_i64(seen - seen % HOUR_MS),
            current: device == current,
        }
    };
    Ok(rows.into_iter().map(item).collect())
}

/// Signs a device of the user out.
///
/// # Errors
/// [`ApiError::TargetMissing`] when the user has no such device signed in.
pub async fn revoke(state: &AppState, user: UserId, device: DeviceId) -> Result<(), ApiError> {
    if !db::devices::revoke(&mut *state.pool.acquire().await?, user, device).await? {
        return Err(ApiError::TargetMissing);
    }
    state.hub.close_device(device, close::REVOKED);
    Ok(())
}

/// A user's devices, for the operator.
///
/// # Errors
/// [`ApiError::TargetMissing`] when there is no such user.
pub async fn of_operator(pool: &PgPool, username: &str) -> Result<Vec<db::devices::DeviceRow>, ApiError> {
    let mut conn = pool.acquire().await?;
    let found =
        db::credentials::credentials(&mut conn, username, None).await?.ok_or(ApiError::TargetMissing)?;
    Ok(db::devices::of_user(&mut conn, UserId::from_uuid(found.id)).await?)
}

/// Signs one device of a user out for the operator, or all of them. Returns how many. Running servers close their
/// connections when they next look, within seconds.
///
/// # Errors
/// [`ApiError::TargetMissing`] when there is no such user, or no such device signed in.
pub async fn end_of_operator(pool: &PgPool, username: &str, device: Option<Uuid>) -> Result<usize, ApiError> {
    let mut tx = db::begin(pool).await?;
    let found =
        db::credentials::credentials(&mut tx, username, None).await?.ok_or(ApiError::TargetMissing)?;
    let user = UserId::from_uuid(found.id);
    let count = match device {
        Some(device) if db::devices::revoke(&mut tx, user, DeviceId::from_uuid(device)).await? => 1,
        Some(_) => return Err(ApiError::TargetMissing),
        None => db::devices::revoke_others(&mut tx, user, None).await?.len(),
    };
    tx.commit().await?;
    Ok(count)
}

/// Signs all devices of the user out but `keep`.
///
/// # Errors
/// When the database fails.
pub async fn revoke_others(state: &AppState, user: UserId, keep: DeviceId) -> Result<(), ApiError> {
    let mut tx = db::begin(&state.pool).await?;
    let ended = db::devices::revoke_others(&mut tx, user, Some(keep)).await?;
    tx.commit().await?;
    close(state, &ended);
    Ok(())
}

/// Asks a signed-in user for the password again. Wrong ones count for the device that says them and its copies: a thief's
/// guesses do not keep the owner from signing the thief out from another device, and a copy brings no further guesses.
///
/// # Errors
/// [`ApiError::CredentialsInvalid`] when it does not fit, [`ApiError::RateLimited`] after many wrong ones.
pub async fn ask_password_again(
    state: &AppState,
    user: UserId,
    device: DeviceId,
    password: String,
) -> Result<(), ApiError> {
    let mut conn = state.pool.acquire().await?;
    let found = db::credentials::credentials_of(&mut conn, user, device).await?;
    drop(conn);
    let family = found.as_ref().and_then(|user| user.family).ok_or(ApiError::DeviceRevoked)?;
    let guesser = Guesser::Again(family);
    state.sign_in_limits.attempt(guesser)?;
    let passwords = state.passwords.for_signed_in();
    let verified = passwords.verify(password, found.map(|user| user.password_hash)).await?;
    if !verified.fits {
        return Err(ApiError::CredentialsInvalid);
    }
    state.sign_in_limits.succeeded(guesser);
    Ok(())
}

fn check_device_name(device: &DeviceRequest) -> Result<(), ApiError> {
    check_name(&device.name, limits::DEVICE_NAME_CHARS_MAX)
        .map_err(|_| ApiError::invalid("a device's name has 1 to 64 characters, none of them invisible"))
}

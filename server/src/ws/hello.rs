//! The first frame: who connects, with which copy of a profile, and where everything stands (S2, S8).

use crate::{
    auth::Authed,
    db,
    domain::{batch::now_ms, heads},
    error::ApiError,
    hub::{Connected, Outbox},
    rates::Rates,
    state::AppState,
};
use kith_protocol::{
    DeviceId, PROTOCOL_VERSION, ServerFrame, TimestampMs, UserId,
    frame::{Hello, Welcome, WelcomeLimits},
    limits,
};
use sqlx::PgPool;
use std::{sync::Arc, time::SystemTime};

/// `name/version`
pub const SERVER: &str = concat!("kith-server/", env!("CARGO_PKG_VERSION"));

/// Optional abilities of this server; none yet.
pub fn capabilities() -> Vec<String> {
    Vec::new()
}

/// What a connection is held to.
pub fn limits_in_force() -> WelcomeLimits {
    WelcomeLimits {
        frame_bytes: limits::INBOUND_FRAME_BYTES_MAX as u64,
        text_chars: limits::MESSAGE_TEXT_CHARS_MAX as u64,
        send_events: limits::SEND_EVENTS_MAX as u64,
        rates: Rates::table(),
    }
}

/// A connection that was greeted.
pub struct Greeted {
    /// It is in the hub; live frames gather in its outbox.
    pub connection: Connected,
    /// `welcome` and `heads`, to be written before anything of the outbox.
    pub frames: Vec<ServerFrame>,
}

/// Greets a connection: subscribes it to live frames, then reads the heads, so that nothing falls between (S2).
///
/// A socket rotates the device's generation and replaces older sockets of the device; an exchange does neither.
///
/// # Errors
/// [`ApiError::UpgradeRequired`] for another protocol version, [`ApiError::DeviceForked`] for an old generation,
/// `invalid` for another device than the token's.
pub async fn greet(
    state: &AppState,
    authed: &Authed,
    hello: &Hello,
    request: Option<u64>,
    outbox: Arc<Outbox>,
) -> Result<Greeted, ApiError> {
    if hello.protocol != PROTOCOL_VERSION {
        return Err(ApiError::UpgradeRequired);
    }
    if hello.device != authed.device {
        return Err(ApiError::invalid("the token is another device's"));
    }
    let epoch = state.publisher.epoch.get().await?;
    let is_socket = outbox.is_socket();
    let generation = generation(&state.pool, authed.user, hello.device, hello.generation, is_socket)
        .await
        .inspect_err(|error| {
            if matches!(error, ApiError::DeviceForked) {
                state.metrics.device_forks.inc();
            }
        })?;
    let connection = state.hub.connect(authed.user, authed.device, outbox, is_socket);
    let cursor = hello.cursor.as_deref().filter(|_| hello.full != Some(true));
    let snapshot = heads::snapshot(&state.pool, authed.user, cursor).await?;
    let is_full = snapshot.parts.first().is_none_or(|part| part.full);
    state.metrics.heads(is_full, cursor.is_some());
    connection.outbox.set_floors(snapshot.floors);
    let welcome = Welcome {
        reply_to: request,
        connection: connection.id.to_string(),
        server: SERVER.to_owned(),
        user: authed.user,
        device: authed.device,
        generation,
        epoch: epoch.to_string(),
        now: TimestampMs::from_i64(now_ms()),
        protocol: PROTOCOL_VERSION,
        capabilities: capabilities(),
        limits: limits_in_force(),
        token_ms: token_ms(authed.expires_at),
    };
    let mut frames = vec![ServerFrame::Welcome(Box::new(welcome))];
    frames.extend(snapshot.parts.into_iter().map(ServerFrame::Heads));
    Ok(Greeted { connection, frames })
}

fn token_ms(expires_at: SystemTime) -> u64 {
    let left = expires_at.duration_since(SystemTime::now()).unwrap_or_default();
    u64::try_from(left.as_millis()).unwrap_or(u64::MAX)
}

/// Checks the generation that a device presents, and issues the next one to a socket (S8).
///
/// Valid are the one last issued and the one last presented, whose `welcome` may have been lost. A greater one is
/// from before a restore of this database.
async fn generation(
    pool: &PgPool,
    user: UserId,
    device: DeviceId,
    presented: u64,
    rotates: bool,
) -> Result<u64, ApiError> {
    let presented = i64::try_from(presented).map_err(|_| ApiError::invalid("not a generation"))?;
    let mut tx = db::begin(pool).await?;
    let row = db::generations::lock(&mut tx, user, device).await?.ok_or(ApiError::DeviceRevoked)?;
    if presented < row.issued && presented != row.presented {
        return Err(ApiError::DeviceForked);
    }
    if !rotates {
        tx.rollback().await?;
        return Ok(presented.unsigned_abs());
    }
    let issued = row.issued.max(presented).saturating_add(1);
    db::generations::set(&mut tx, device, issued, presented).await?;
    tx.commit().await?;
    Ok(issued.unsigned_abs())
}

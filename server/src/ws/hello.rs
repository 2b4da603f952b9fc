//! The first frame: who connects, with which copy of a profile, and where everything stands (S2, S8).

use crate::{
    auth::Authed,
    db,
    domain::{
        batch::now_ms,
        capabilities::Abilities,
        heads::{self, Snapshot},
        notices,
    },
    error::ApiError,
    hub::{Connected, Outbox},
    rates::Rates,
    state::AppState,
};
use kith_protocol::{
    PROTOCOL_VERSION, ServerFrame, TimestampMs,
    frame::{Hello, Notification, Notifications, Welcome, WelcomeLimits},
    limits,
};
use sqlx::PgConnection;
use std::{sync::Arc, time::SystemTime};
use tokio::time::timeout;

/// `name/version`
pub const SERVER: &str = concat!("kith-server/", env!("CARGO_PKG_VERSION"));

/// Optional abilities, as they are written.
pub fn capabilities(offered: &[&str]) -> Vec<String> {
    offered.iter().map(|name| (*name).to_owned()).collect()
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

/// A connection after its handshake.
pub struct Handshake {
    /// It is in the hub; live frames gather in its outbox.
    pub connection: Connected,
    /// `welcome` and `heads`, to be written before anything of the outbox.
    pub frames: Vec<ServerFrame>,
    /// Whether nobody is to see that the user is there.
    pub hides_presence: bool,
    /// What it may use.
    pub abilities: Abilities,
}

/// Performs the handshake of a connection: subscribes it to live frames, then reads the heads, so that nothing falls between (S2).
///
/// A socket rotates the device's generation and replaces older sockets of the device; an exchange does neither.
///
/// # Errors
/// [`ApiError::UpgradeRequired`] for another protocol version, [`ApiError::DeviceForked`] for an old generation,
/// `invalid` for another device than the token's.
pub async fn handshake(
    state: &AppState,
    authed: &Authed,
    hello: &Hello,
    request: Option<u64>,
    outbox: Arc<Outbox>,
) -> Result<Handshake, ApiError> {
    if hello.protocol != PROTOCOL_VERSION {
        return Err(ApiError::UpgradeRequired);
    }
    if hello.device != authed.device {
        return Err(ApiError::invalid("the token is another device's"));
    }
    let reading = async {
        let epoch = state.publisher.epoch.get().await?;
        Ok::<_, ApiError>((epoch, enter(state, authed, hello, outbox).await?))
    };
    let read = timeout(state.config.request_within(), reading).await.unwrap_or(Err(ApiError::Unavailable));
    let (epoch, Entered { connection, device, snapshot, notices }) = read?;
    let cursor = hello.cursor.as_deref().filter(|_| hello.full != Some(true));
    let is_full = snapshot.parts.first().is_none_or(|part| part.full);
    state.metrics.heads(is_full, cursor.is_some());
    connection.outbox.set_floors(snapshot.floors);
    let welcome = Welcome {
        reply_to: request,
        connection: connection.id.to_string(),
        server: SERVER.to_owned(),
        user: authed.user,
        device: authed.device,
        generation: device.generation,
        epoch: epoch.to_string(),
        now: TimestampMs::from_i64(now_ms()),
        protocol: PROTOCOL_VERSION,
        capabilities: capabilities(state.config.offered),
        limits: limits_in_force(),
        token_ms: token_ms(authed.expires_at),
    };
    let mut frames = vec![ServerFrame::Welcome(Box::new(welcome))];
    frames.extend(snapshot.parts.into_iter().map(ServerFrame::Heads));
    if !notices.is_empty() {
        frames.push(ServerFrame::Notification(Notifications { items: notices }));
    }
    let abilities = Abilities::negotiate(state.config.offered, &hello.capabilities);
    Ok(Handshake { connection, frames, hides_presence: device.hides_presence, abilities })
}

/// A device that presented a valid generation.
struct Presented {
    generation: u64,
    /// The user has notifications to see.
    has_notices: bool,
    hides_presence: bool,
}

struct Entered {
    connection: Connected,
    device: Presented,
    snapshot: Snapshot,
    /// What the user has not seen.
    notices: Vec<Notification>,
}

/// Checks the generation, subscribes, reads the heads: on one connection to the database, since thousands come at once
/// after a restart.
async fn enter(
    state: &AppState,
    authed: &Authed,
    hello: &Hello,
    outbox: Arc<Outbox>,
) -> Result<Entered, ApiError> {
    let is_socket = outbox.is_socket();
    let mut steps = db::Steps::begin(&state.pool).await?;
    let checked = generation(steps.conn()?, authed, hello.generation, is_socket).await;
    let device = match checked {
        Ok(checked) => checked,
        Err(error) => {
            steps.end();
            if matches!(error, ApiError::DeviceForked) {
                state.metrics.device_forks.inc();
            }
            return Err(error);
        }
    };
    let connection =
        state.hub.connect(authed.user, authed.device, outbox, is_socket.then_some(device.generation));
    let cursor = hello.cursor.as_deref().filter(|_| hello.full != Some(true));
    let mut tx = steps.snapshot().await?;
    let snapshot = heads::snapshot_in(&mut tx, authed.user, cursor).await?;
    tx.commit().await?;
    let notices =
        if device.has_notices { notices::unseen(steps.conn()?, authed.device).await? } else { Vec::new() };
    steps.end();
    Ok(Entered { connection, device, snapshot, notices })
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
    conn: &mut PgConnection,
    authed: &Authed,
    presented: u64,
    rotates: bool,
) -> Result<Presented, ApiError> {
    let (user, device) = (authed.user, authed.device);
    let presented = i64::try_from(presented).map_err(|_| ApiError::invalid("not a generation"))?;
    if rotates && let Some(issued) = db::generations::rotate(conn, user, device, presented).await? {
        return Ok(Presented {
            generation: issued.issued.unsigned_abs(),
            has_notices: issued.has_notices,
            hides_presence: issued.hides_presence,
        });
    }
    let row = db::generations::read(conn, user, device).await?.ok_or(ApiError::DeviceRevoked)?;
    let is_forked = rotates || presented < row.issued && presented != row.presented;
    if is_forked != row.is_forked {
        db::generations::set_forked(conn, device, is_forked).await?;
    }
    if is_forked {
        return Err(ApiError::DeviceForked);
    }
    let generation = presented.unsigned_abs();
    Ok(Presented { generation, has_notices: row.has_notices, hides_presence: row.hides_presence })
}

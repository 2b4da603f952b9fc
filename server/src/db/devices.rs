//! `devices`: one row per installation that signed in.

use super::contacts;
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use kith_protocol::{DeviceId, UserId};

/// A device that is signed in.
pub struct DeviceRow {
    pub id: Uuid,
    /// What it calls itself.
    pub name: String,
    /// When it signed in.
    pub created_at: DateTime<Utc>,
    /// When it was last seen.
    pub last_seen: DateTime<Utc>,
}

/// Whether the device is this user's, signed in, and the user not disabled; `None` for a device that is unknown.
pub async fn liveness(
    conn: &mut PgConnection,
    user: UserId,
    device: DeviceId,
) -> Result<Option<bool>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT devices.user_id = $2 AND devices.revoked_at IS NULL AND users.disabled_at IS NULL AS "is_live!"
           FROM devices JOIN users ON users.id = devices.user_id
           WHERE devices.id = $1"#,
        device.as_uuid(),
        user.as_uuid(),
    )
    .fetch_optional(conn)
    .await
}

/// Devices that were signed out in the last `seconds`, or whose user was disabled, at most `limit`.
pub async fn revoked_since(
    conn: &mut PgConnection,
    seconds: f64,
    limit: i64,
) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT id AS "id!" FROM (
               (SELECT id FROM devices WHERE revoked_at > now() - make_interval(secs => $1)
                ORDER BY revoked_at DESC LIMIT $2)
               UNION ALL
               (SELECT devices.id FROM users JOIN devices ON devices.user_id = users.id
                WHERE users.disabled_at > now() - make_interval(secs => $1) ORDER BY users.disabled_at DESC LIMIT $2)
           ) AS gone"#,
        seconds,
        limit,
    )
    .fetch_all(conn)
    .await
}

/// A device that is not signed in.
pub struct DeadRow {
    pub id: Uuid,
    /// There is a row of it. Without one it is from before a restore, or its user was removed.
    pub is_known: bool,
}

/// Which of `devices` are signed out, belong to a disabled user, or are unknown.
pub async fn dead_among(conn: &mut PgConnection, devices: &[Uuid]) -> Result<Vec<DeadRow>, sqlx::Error> {
    sqlx::query_as!(
        DeadRow,
        r#"SELECT asked.id AS "id!", devices.id IS NOT NULL AS "is_known!"
           FROM unnest($1::uuid[]) AS asked (id)
           LEFT JOIN devices ON devices.id = asked.id
           LEFT JOIN users ON users.id = devices.user_id
           WHERE devices.id IS NULL OR devices.revoked_at IS NOT NULL OR users.disabled_at IS NOT NULL"#,
        devices,
    )
    .fetch_all(conn)
    .await
}

/// The user's devices that are signed in, last seen first.
pub async fn of_user(conn: &mut PgConnection, user: UserId) -> Result<Vec<DeviceRow>, sqlx::Error> {
    sqlx::query_as!(
        DeviceRow,
        "SELECT id, name, created_at, last_seen FROM devices
         WHERE user_id = $1 AND revoked_at IS NULL
         ORDER BY last_seen DESC, id
         LIMIT 100",
        user.as_uuid(),
    )
    .fetch_all(conn)
    .await
}

/// Adds a device. False when there is one of this id.
pub async fn insert(
    conn: &mut PgConnection,
    id: DeviceId,
    user: UserId,
    name: &str,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "INSERT INTO devices (id, user_id, name) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        id.as_uuid(),
        user.as_uuid(),
        name,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Adds the device that parts from another one (S8): of the same user and name, and with the age of its session. False
/// when there is one of this id.
pub async fn insert_parted(
    conn: &mut PgConnection,
    id: DeviceId,
    from: DeviceId,
    number: i64,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "INSERT INTO devices (id, user_id, name, created_at, family, tokens_issued)
         SELECT $1, user_id, name, created_at, family, $3 FROM devices WHERE id = $2
         ON CONFLICT DO NOTHING",
        id.as_uuid(),
        from.as_uuid(),
        number,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

#[derive(Default)]
pub struct DeviceColumns {
    pub ids: Vec<Uuid>,
    pub users: Vec<Uuid>,
}

/// Adds devices of new users, each with the number of its first refresh token, as [`next_token`] would count it.
pub async fn insert_many(
    conn: &mut PgConnection,
    devices: &DeviceColumns,
    name: &str,
) -> Result<Vec<(Uuid, i64)>, sqlx::Error> {
    let rows = sqlx::query!(
        "INSERT INTO devices (id, user_id, name, tokens_issued)
         SELECT id, user_id, $3, (extract(epoch FROM clock_timestamp()) * 1000)::bigint
         FROM UNNEST($1::uuid[], $2::uuid[]) AS new (id, user_id)
         RETURNING id, tokens_issued",
        &devices.ids,
        &devices.users,
        name,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, row.tokens_issued)).collect())
}

/// The number of the device's next refresh token, which no earlier one has. Counting goes on from the time in ms, so that
/// a token of before a restore never has a higher one; it tells when the session began, too.
pub async fn next_token(conn: &mut PgConnection, id: DeviceId) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"UPDATE devices
           SET tokens_issued = GREATEST(
               tokens_issued + 1, users.tokens_after + 1, (extract(epoch FROM clock_timestamp()) * 1000)::bigint
           )
           FROM users
           WHERE devices.id = $1 AND users.id = devices.user_id
           RETURNING tokens_issued"#,
        id.as_uuid(),
    )
    .fetch_one(conn)
    .await
}

/// Notes that the device was there and was given the token of this number.
pub async fn touch(conn: &mut PgConnection, id: DeviceId, number: i64) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE devices SET last_seen = now(), tokens_issued = GREATEST(tokens_issued, $2) WHERE id = $1",
        id.as_uuid(),
        number,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Enters a device whose token of this number is from before a restore: as it is, or anew if it is unknown. Its session
/// began when the number says. False when a token as new as this one is known, when the user is not, and for an unknown
/// device with a token from before [`revoke_others`], which signs the known ones out by their rows.
pub async fn take_back(
    conn: &mut PgConnection,
    id: DeviceId,
    user: UserId,
    number: i64,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "INSERT INTO devices (id, user_id, name, tokens_issued, created_at)
         SELECT $1, users.id, 'restored device', $3::bigint, to_timestamp($3::bigint / 1000.0)
         FROM users
         WHERE users.id = $2
           AND (users.tokens_after < $3::bigint OR EXISTS (SELECT FROM devices WHERE id = $1 AND user_id = $2))
         -- Waits for a sign-out of all devices, and lets none pass before the device is there to be signed out.
         FOR SHARE OF users
         ON CONFLICT (id) DO UPDATE
         SET tokens_issued = $3, created_at = GREATEST(devices.created_at, EXCLUDED.created_at)
         WHERE devices.user_id = $2 AND devices.tokens_issued < $3",
        id.as_uuid(),
        user.as_uuid(),
        number,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Signs a device of the user in again, if it is still signed in: it begins a new session. Returns the generation that the
/// device was last issued.
pub async fn renew(
    conn: &mut PgConnection,
    id: DeviceId,
    user: UserId,
    name: &str,
) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar!(
        "UPDATE devices
         SET name = $3, created_at = now(), last_seen = now(), family = gen_random_uuid(), forked_at = NULL
         WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL
         RETURNING generation_issued",
        id.as_uuid(),
        user.as_uuid(),
        name,
    )
    .fetch_optional(conn)
    .await
}

/// Signs a device of the user out. False when there is none that is signed in.
pub async fn revoke(conn: &mut PgConnection, user: UserId, id: DeviceId) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "UPDATE devices SET revoked_at = now() WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL",
        id.as_uuid(),
        user.as_uuid(),
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Signs all devices of one family out. Returns which.
pub async fn revoke_family(
    conn: &mut PgConnection,
    user: UserId,
    family: Uuid,
) -> Result<Vec<Uuid>, sqlx::Error> {
    contacts::lock(conn, &[user.as_uuid()]).await?;
    sqlx::query_scalar!(
        "UPDATE devices SET revoked_at = now()
         WHERE user_id = $1 AND family = $2 AND revoked_at IS NULL
         RETURNING id",
        user.as_uuid(),
        family,
    )
    .fetch_all(conn)
    .await
}

/// The family of a device whose present session exchanged a token of this number: it got a newer one. Numbers begin with
/// the time of the sign-in in milliseconds, so those of an earlier session are below it.
pub async fn family_of_used(
    conn: &mut PgConnection,
    device: DeviceId,
    user: UserId,
    number: i64,
) -> Result<Option<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT family FROM devices
         WHERE id = $1 AND user_id = $2 AND tokens_issued > $3
           AND created_at < to_timestamp(($3::bigint + 1) / 1000.0::double precision)",
        device.as_uuid(),
        user.as_uuid(),
        number,
    )
    .fetch_optional(conn)
    .await
}

/// Signs all devices of the user out but `keep`. Returns which. Refresh tokens that were issued before are then invalid for
/// unknown devices, so a device from before a restore stays signed out. The user's row is locked first, in the
/// transaction of `conn`: a device that parts meanwhile is among them.
pub async fn revoke_others(
    conn: &mut PgConnection,
    user: UserId,
    keep: Option<DeviceId>,
) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query!(
        "UPDATE users SET tokens_after = (extract(epoch FROM clock_timestamp()) * 1000)::bigint WHERE id = $1",
        user.as_uuid(),
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query_scalar!(
        "UPDATE devices SET revoked_at = now()
         WHERE user_id = $1 AND id IS DISTINCT FROM $2 AND revoked_at IS NULL
         RETURNING id",
        user.as_uuid(),
        keep.map(|id| id.as_uuid()),
    )
    .fetch_all(conn)
    .await
}

/// The sign-in that a device descends from.
pub async fn family(conn: &mut PgConnection, id: DeviceId) -> Result<Uuid, sqlx::Error> {
    sqlx::query_scalar!("SELECT family FROM devices WHERE id = $1", id.as_uuid()).fetch_one(conn).await
}

/// Signs the user's longest unseen devices out until at most `most` are left, those of the family `first` before any
/// other. Returns which.
pub async fn revoke_beyond(
    conn: &mut PgConnection,
    user: UserId,
    newest: DeviceId,
    first: Option<Uuid>,
    most: i64,
) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "UPDATE devices SET revoked_at = now()
         WHERE id IN (
             SELECT id FROM devices
             WHERE user_id = $1 AND revoked_at IS NULL
             ORDER BY id = $2 DESC, family IS DISTINCT FROM $4 DESC, last_seen DESC, id
             OFFSET $3
         )
         RETURNING id",
        user.as_uuid(),
        newest.as_uuid(),
        most,
        first,
    )
    .fetch_all(conn)
    .await
}

//! `users`: what signing in compares with, and who may.

use kith_protocol::{DeviceId, UserId};
use sqlx::PgConnection;
use uuid::Uuid;

/// What signing in needs to know.
pub struct CredentialsRow {
    pub id: Uuid,
    pub password_hash: String,
    /// The operator has disabled the account.
    pub is_disabled: bool,
    /// The family of the device that was asked about, if it is or was this user's.
    pub family: Option<Uuid>,
}

/// Loads the stored password of an account. It runs one query whether or not the account exists.
pub async fn credentials(
    conn: &mut PgConnection,
    username: &str,
    device: Option<DeviceId>,
) -> Result<Option<CredentialsRow>, sqlx::Error> {
    sqlx::query_as!(
        CredentialsRow,
        r#"SELECT id, password_hash, disabled_at IS NOT NULL AS "is_disabled!",
                  (SELECT family FROM devices WHERE devices.id = $2 AND user_id = users.id) AS family
           FROM users WHERE tenant = '' AND username = $1"#,
        username,
        device.map(|device| device.as_uuid()),
    )
    .fetch_optional(conn)
    .await
}

/// Locks a user's row; whether the password is still this one and the user may sign in.
pub async fn lock_with(
    conn: &mut PgConnection,
    id: UserId,
    password_hash: &str,
) -> Result<bool, sqlx::Error> {
    let row = sqlx::query!(
        "SELECT password_hash = $2 AND disabled_at IS NULL AS may FROM users WHERE id = $1 FOR NO KEY UPDATE",
        id.as_uuid(),
        password_hash,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.and_then(|row| row.may).unwrap_or(false))
}

/// The same for a user who is signed in on this device.
pub async fn credentials_of(
    conn: &mut PgConnection,
    id: UserId,
    device: DeviceId,
) -> Result<Option<CredentialsRow>, sqlx::Error> {
    sqlx::query_as!(
        CredentialsRow,
        r#"SELECT id, password_hash, disabled_at IS NOT NULL AS "is_disabled!",
                  (SELECT family FROM devices WHERE devices.id = $2 AND user_id = users.id) AS family
           FROM users WHERE id = $1"#,
        id.as_uuid(),
        device.as_uuid(),
    )
    .fetch_optional(conn)
    .await
}

/// Replaces the password. The caller signs the user's devices out.
pub async fn set_password(
    conn: &mut PgConnection,
    id: UserId,
    password_hash: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!("UPDATE users SET password_hash = $2 WHERE id = $1", id.as_uuid(), password_hash,)
        .execute(conn)
        .await?;
    Ok(())
}

/// Replaces the password's hash by another of the same password, unless the password was changed meanwhile.
pub async fn upgrade_hash(
    conn: &mut PgConnection,
    id: UserId,
    old: &str,
    new: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE users SET password_hash = $3 WHERE id = $1 AND password_hash = $2",
        id.as_uuid(),
        old,
        new,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Disables an account or lets it in again. Returns whose it is, `None` if there is no such user.
pub async fn set_disabled(
    conn: &mut PgConnection,
    username: &str,
    on: bool,
) -> Result<Option<UserId>, sqlx::Error> {
    let row = sqlx::query!(
        "UPDATE users SET disabled_at = CASE WHEN $2 THEN coalesce(disabled_at, now()) END
         WHERE tenant = '' AND username = $1 RETURNING id",
        username,
        on,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| UserId::from_uuid(row.id)))
}

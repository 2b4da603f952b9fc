//! `users`: accounts and profiles.

use kith_protocol::{DeviceId, UserId, api::Profile};
use sqlx::PgConnection;
use uuid::Uuid;

/// What signing in needs to know.
pub struct CredentialsRow {
    /// The user.
    pub id: Uuid,
    /// PHC string.
    pub password_hash: String,
    /// The operator has disabled the account.
    pub is_disabled: bool,
    /// The device that was asked about is or was this user's.
    pub knows_device: bool,
}

/// A profile as stored.
pub struct ProfileRow {
    id: Uuid,
    username: String,
    display_name: String,
    role: Option<String>,
    avatar: Option<String>,
    email: Option<String>,
    version: i64,
}

impl ProfileRow {
    /// As others see it.
    pub fn public(self) -> Profile {
        Profile { email: None, ..self.own() }
    }

    /// As its owner sees it.
    pub fn own(self) -> Profile {
        Profile {
            id: UserId::from_uuid(self.id),
            username: self.username,
            display_name: self.display_name,
            role: self.role,
            avatar: self.avatar,
            email: self.email,
            version: self.version.unsigned_abs(),
        }
    }
}

/// Adds a user.
pub async fn insert(
    conn: &mut PgConnection,
    id: UserId,
    username: &str,
    display_name: &str,
    password_hash: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO users (id, username, display_name, password_hash) VALUES ($1, $2, $3, $4)",
        id.as_uuid(),
        username,
        display_name,
        password_hash,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Users by column.
#[derive(Default)]
pub struct UserColumns {
    /// Ids.
    pub ids: Vec<Uuid>,
    /// User names.
    pub usernames: Vec<String>,
    /// What others read.
    pub display_names: Vec<String>,
    /// Addresses.
    pub emails: Vec<Option<String>>,
    /// PHC strings.
    pub password_hashes: Vec<String>,
}

/// Adds users and answers which: those whose name is taken are left out.
pub async fn insert_many(conn: &mut PgConnection, users: &UserColumns) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "INSERT INTO users (id, username, display_name, email, password_hash)
         SELECT * FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[])
         ON CONFLICT (tenant, username) DO NOTHING
         RETURNING id",
        &users.ids,
        &users.usernames,
        &users.display_names,
        &users.emails as &[Option<String>],
        &users.password_hashes,
    )
    .fetch_all(conn)
    .await
}

/// Which of these user names are taken.
pub async fn taken(conn: &mut PgConnection, usernames: &[String]) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!("SELECT username FROM users WHERE tenant = '' AND username = ANY($1)", usernames)
        .fetch_all(conn)
        .await
}

/// Finds what signing in compares with. One query, whatever is asked and found.
pub async fn credentials(
    conn: &mut PgConnection,
    username: &str,
    device: Option<DeviceId>,
) -> Result<Option<CredentialsRow>, sqlx::Error> {
    sqlx::query_as!(
        CredentialsRow,
        r#"SELECT id, password_hash, disabled_at IS NOT NULL AS "is_disabled!",
                  EXISTS (SELECT FROM devices WHERE devices.id = $2 AND user_id = users.id) AS "knows_device!"
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

/// The same for a user who is signed in.
pub async fn credentials_of(
    conn: &mut PgConnection,
    id: UserId,
) -> Result<Option<CredentialsRow>, sqlx::Error> {
    sqlx::query_as!(
        CredentialsRow,
        r#"SELECT id, password_hash, disabled_at IS NOT NULL AS "is_disabled!", false AS "knows_device!"
           FROM users WHERE id = $1"#,
        id.as_uuid(),
    )
    .fetch_optional(conn)
    .await
}

/// Replaces the password. Refresh tokens that were given out before are good for no device that is unknown.
pub async fn set_password(
    conn: &mut PgConnection,
    id: UserId,
    password_hash: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE users
         SET password_hash = $2, tokens_after = (extract(epoch FROM clock_timestamp()) * 1000)::bigint
         WHERE id = $1",
        id.as_uuid(),
        password_hash,
    )
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

/// Disables an account or lets it in again; answers whose it is, `None` if there is no such user.
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

/// The profile of a user.
pub async fn profile(conn: &mut PgConnection, id: UserId) -> Result<Option<ProfileRow>, sqlx::Error> {
    sqlx::query_as!(
        ProfileRow,
        "SELECT id, username, display_name, role, avatar, email, version FROM users WHERE id = $1",
        id.as_uuid(),
    )
    .fetch_optional(conn)
    .await
}

/// The profiles of several users of the asker's tenant; unknown ones are left out.
pub async fn profiles(
    conn: &mut PgConnection,
    asker: UserId,
    ids: &[Uuid],
) -> Result<Vec<ProfileRow>, sqlx::Error> {
    sqlx::query_as!(
        ProfileRow,
        "SELECT id, username, display_name, role, avatar, email, version FROM users
         WHERE id = ANY($2) AND tenant = (SELECT tenant FROM users WHERE id = $1)
         ORDER BY id",
        asker.as_uuid(),
        ids,
    )
    .fetch_all(conn)
    .await
}

/// Changes the display name and raises the profile's version.
pub async fn set_display_name(
    conn: &mut PgConnection,
    id: UserId,
    display_name: &str,
) -> Result<Option<ProfileRow>, sqlx::Error> {
    sqlx::query_as!(
        ProfileRow,
        "UPDATE users SET display_name = $2, version = version + (display_name <> $2)::int,
                changed = pg_current_xact_id()
         WHERE id = $1
         RETURNING id, username, display_name, role, avatar, email, version",
        id.as_uuid(),
        display_name,
    )
    .fetch_optional(conn)
    .await
}

/// Whoever shares a conversation with the user, the user included.
pub async fn fellows(conn: &mut PgConnection, id: UserId) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT DISTINCT other.user_id
         FROM members AS own
         JOIN members AS other ON other.conversation_key = own.conversation_key AND other.is_active
         WHERE own.user_id = $1 AND own.is_active
         LIMIT 10000",
        id.as_uuid(),
    )
    .fetch_all(conn)
    .await
}

/// The asker's tenant's people whose user name or a word of whose display name begins with `prefix` (lower case,
/// LIKE wildcards escaped), by user name, after the name `after`.
pub async fn search(
    conn: &mut PgConnection,
    asker: UserId,
    prefix: &str,
    after: &str,
    limit: i64,
) -> Result<Vec<ProfileRow>, sqlx::Error> {
    sqlx::query_as!(
        ProfileRow,
        "SELECT id, username, display_name, role, avatar, email, version FROM users
         WHERE tenant = (SELECT tenant FROM users WHERE id = $1)
           AND disabled_at IS NULL
           AND username > $3
           AND (username LIKE $2 || '%' OR lower(display_name) LIKE $2 || '%'
                OR lower(display_name) LIKE '% ' || $2 || '%')
         ORDER BY username
         LIMIT $4",
        asker.as_uuid(),
        prefix,
        after,
        limit,
    )
    .fetch_all(conn)
    .await
}

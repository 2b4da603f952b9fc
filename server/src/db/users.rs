//! `users`: accounts and profiles. What signing in compares with is in [`super::credentials`].

use chrono::{DateTime, Utc};
use kith_protocol::{UserId, api::Profile};
use sqlx::PgConnection;
use uuid::Uuid;

/// A profile as stored.
pub struct ProfileRow {
    id: Uuid,
    username: String,
    display_name: String,
    role: Option<String>,
    avatar: Option<String>,
    email: Option<String>,
    shows_presence: bool,
    version: i64,
}

impl ProfileRow {
    /// As others see it.
    pub fn public(self) -> Profile {
        Profile { email: None, show_presence: None, ..self.own() }
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
            show_presence: Some(self.shows_presence),
            version: self.version.unsigned_abs(),
        }
    }
}

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

#[derive(Default)]
pub struct UserColumns {
    pub ids: Vec<Uuid>,
    pub usernames: Vec<String>,
    pub display_names: Vec<String>,
    pub emails: Vec<Option<String>>,
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

/// The profile of a user.
pub async fn profile(conn: &mut PgConnection, id: UserId) -> Result<Option<ProfileRow>, sqlx::Error> {
    sqlx::query_as!(
        ProfileRow,
        "SELECT id, username, display_name, role, avatar, email, shows_presence, version FROM users WHERE id = $1",
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
        "SELECT id, username, display_name, role, avatar, email, shows_presence, version FROM users
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
         RETURNING id, username, display_name, role, avatar, email, shows_presence, version",
        id.as_uuid(),
        display_name,
    )
    .fetch_optional(conn)
    .await
}

/// An account as the operator lists it.
pub struct ListedRow {
    pub username: String,
    pub display_name: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When its last connection ended.
    pub last_seen: Option<DateTime<Utc>>,
    /// The operator has disabled it.
    pub is_disabled: bool,
}

/// Accounts by user name, after the name `after`.
pub async fn accounts(
    conn: &mut PgConnection,
    after: &str,
    limit: i64,
) -> Result<Vec<ListedRow>, sqlx::Error> {
    sqlx::query_as!(
        ListedRow,
        r#"SELECT username, display_name, created_at, last_seen, disabled_at IS NOT NULL AS "is_disabled!"
           FROM users WHERE tenant = '' AND username > $1
           ORDER BY username
           LIMIT $2"#,
        after,
        limit,
    )
    .fetch_all(conn)
    .await
}

/// Shows the user's presence to others, or hides it. Returns whether that is a change.
pub async fn set_shows_presence(
    conn: &mut PgConnection,
    id: UserId,
    shows: bool,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "UPDATE users SET shows_presence = $2 WHERE id = $1 AND shows_presence <> $2",
        id.as_uuid(),
        shows,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Whoever shares a conversation with the user, the user included.
pub async fn peers(conn: &mut PgConnection, id: UserId) -> Result<Vec<Uuid>, sqlx::Error> {
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

/// People of the asker's tenant by user name, after the name `after`.
pub async fn list(
    conn: &mut PgConnection,
    asker: UserId,
    after: &str,
    limit: i64,
) -> Result<Vec<ProfileRow>, sqlx::Error> {
    sqlx::query_as!(
        ProfileRow,
        "SELECT id, username, display_name, role, avatar, email, shows_presence, version FROM users
         WHERE tenant = (SELECT tenant FROM users WHERE id = $1) AND disabled_at IS NULL AND username > $2
         ORDER BY username
         LIMIT $3",
        asker.as_uuid(),
        after,
        limit,
    )
    .fetch_all(conn)
    .await
}

/// People looked at for one search. Where more begin so, only these are found: a longer beginning finds the others.
const FOUND_MAX: i64 = 1_000;

/// The asker's tenant's people whose user name, or display name from one of its words on, begins with `prefix` (not empty,
/// lower case), by user name, after the name `after`.
pub async fn search(
    conn: &mut PgConnection,
    asker: UserId,
    prefix: &str,
    after: &str,
    limit: i64,
) -> Result<Vec<ProfileRow>, sqlx::Error> {
    // The last character there is: behind everything that begins so.
    let end = format!("{prefix}\u{10FFFF}");
    sqlx::query_as!(
        ProfileRow,
        "SELECT id, username, display_name, role, avatar, email, shows_presence, version FROM users
         WHERE id = ANY (ARRAY(
                   SELECT user_id FROM user_words
                   WHERE tenant = (SELECT tenant FROM users WHERE id = $1) AND word >= $2 AND word < $3
                   ORDER BY word LIMIT $6))
           AND disabled_at IS NULL AND username > $4
         ORDER BY username
         LIMIT $5",
        asker.as_uuid(),
        prefix,
        end,
        after,
        limit,
        FOUND_MAX,
    )
    .fetch_all(conn)
    .await
}

/// The people whom the user has blocked, by id, after `after`.
pub async fn blocked(
    conn: &mut PgConnection,
    user: UserId,
    after: Uuid,
    limit: i64,
) -> Result<Vec<ProfileRow>, sqlx::Error> {
    sqlx::query_as!(
        ProfileRow,
        "SELECT u.id, u.username, u.display_name, u.role, u.avatar, u.email, u.shows_presence, u.version
         FROM blocks b JOIN users u ON u.id = b.blocked_id
         WHERE b.user_id = $1 AND b.blocked_id > $2
         ORDER BY b.blocked_id
         LIMIT $3",
        user.as_uuid(),
        after,
        limit,
    )
    .fetch_all(conn)
    .await
}

/// What an operator changes of a profile; `None` leaves it, an empty text removes it.
#[derive(Debug, Default)]
pub struct ProfileChange {
    /// What others read; never empty.
    pub display_name: Option<String>,
    /// The role on the platform.
    pub role: Option<String>,
    /// The address of a picture.
    pub avatar: Option<String>,
    /// The address for mail.
    pub email: Option<String>,
}

/// Changes a profile and raises its version, if that makes a difference; `None` if there is no such user.
pub async fn set_profile(
    conn: &mut PgConnection,
    username: &str,
    change: &ProfileChange,
) -> Result<Option<ProfileRow>, sqlx::Error> {
    sqlx::query!(
        "UPDATE users
         SET display_name = coalesce($2, display_name),
             role = CASE WHEN $3::text IS NULL THEN role ELSE NULLIF($3, '') END,
             avatar = CASE WHEN $4::text IS NULL THEN avatar ELSE NULLIF($4, '') END,
             email = CASE WHEN $5::text IS NULL THEN email ELSE NULLIF($5, '') END,
             version = version + 1, changed = pg_current_xact_id()
         WHERE tenant = '' AND username = $1
           AND (display_name, role, avatar, email) IS DISTINCT FROM
               (coalesce($2, display_name), CASE WHEN $3::text IS NULL THEN role ELSE NULLIF($3, '') END,
                CASE WHEN $4::text IS NULL THEN avatar ELSE NULLIF($4, '') END,
                CASE WHEN $5::text IS NULL THEN email ELSE NULLIF($5, '') END)",
        username,
        change.display_name.as_deref(),
        change.role.as_deref(),
        change.avatar.as_deref(),
        change.email.as_deref(),
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query_as!(
        ProfileRow,
        "SELECT id, username, display_name, role, avatar, email, shows_presence, version FROM users
         WHERE tenant = '' AND username = $1",
        username,
    )
    .fetch_optional(conn)
    .await
}

/// The conversations of a user, by id: groups that the user is in, and all of them.
pub async fn conversations(conn: &mut PgConnection, id: UserId) -> Result<Vec<(Uuid, bool)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT c.id, c.kind = 'group' AND m.is_active AS "is_group!"
           FROM members m JOIN conversations c ON c.key = m.conversation_key
           WHERE m.user_id = $1 ORDER BY c.id"#,
        id.as_uuid(),
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, row.is_group)).collect())
}

/// Removes a user with all that is only theirs: devices, sessions, own state, memberships. What they wrote stays.
pub async fn delete(conn: &mut PgConnection, id: UserId) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!("DELETE FROM users WHERE id = $1", id.as_uuid()).execute(conn).await?;
    Ok(done.rows_affected() == 1)
}

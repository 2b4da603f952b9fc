//! Accounts: making one, its profile, its password.

use crate::{
    config::{HourlyBudget, Signup},
    db,
    domain::{
        access::AccessCache,
        batch,
        import::check_email,
        passwords::Passwords,
        publish::{Item, Job, Reply},
        sessions,
    },
    error::ApiError,
    hub::{Latest, Topic},
    state::AppState,
};
use kith_protocol::{
    ConversationId, DeviceId, EventId, ServerFrame, UserId,
    api::{CreateAccount, Profile},
    frame::Profiles,
    limits,
    text::{check_line, check_name},
};
use rand::RngExt;
use serde_json::json;
use sqlx::PgPool;
use std::time::Instant;
use uuid::Uuid;

/// Groups that an account leaves in one transaction.
const LEAVING_AT_ONCE: usize = 100;
/// Characters of a role on the platform.
const ROLE_CHARS_MAX: usize = 64;
/// Bytes of the address of a picture.
const AVATAR_BYTES_MAX: usize = 2_048;
/// How long an invitation is good for.
const INVITE_DAYS: i32 = 14;

/// Makes an account, as far as `KITH_SIGNUP` lets the asker.
///
/// # Errors
/// [`ApiError::NotAllowed`] where sign-up is closed or the invitation is not good, [`ApiError::NameTaken`], and
/// [`ApiError::Invalid`] for what the limits refuse.
pub async fn sign_up(state: &AppState, request: CreateAccount) -> Result<Profile, ApiError> {
    let invite = match (state.config.signup, request.invite) {
        (Signup::Closed, _) | (Signup::Invite, None) => return Err(ApiError::NotAllowed),
        (Signup::Open, _) => None,
        (Signup::Invite, Some(code)) => Some(sessions::hash_token(&code)),
    };
    let new = NewUser::check(request.username, request.display_name, request.password)?;
    add(&state.pool, &state.passwords, new, invite).await
}

/// A user whose names were checked.
pub struct NewUser {
    username: String,
    display_name: String,
    password: String,
}

impl NewUser {
    /// Checks what somebody wants to be called.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] with the rule that is not kept.
    pub fn check(username: String, display_name: String, password: String) -> Result<Self, ApiError> {
        check_username(&username)?;
        check_display_name(&display_name)?;
        Ok(Self { username, display_name, password })
    }
}

/// Adds a user, using up the invitation whose hash is given.
///
/// # Errors
/// [`ApiError::NameTaken`]; [`ApiError::NotAllowed`] when the invitation is not good; [`ApiError::Invalid`] for a
/// password that is refused.
pub async fn add(
    pool: &PgPool,
    passwords: &Passwords,
    new: NewUser,
    invite: Option<Vec<u8>>,
) -> Result<Profile, ApiError> {
    // Whoever was not invited costs no hash and learns of no name whether it is taken.
    if let Some(code) = &invite
        && !db::invites::is_good(&mut *pool.acquire().await?, code).await?
    {
        return Err(ApiError::NotAllowed);
    }
    let names = vec![new.username.clone(), new.display_name.clone()];
    let hash = passwords.hash_chosen(new.password, names).await?;
    let id = UserId::mint();
    let mut tx = db::begin(pool).await?;
    db::users::insert(&mut tx, id, &new.username, &new.display_name, &hash).await.map_err(name_taken)?;
    if let Some(code) = invite
        && !db::invites::take(&mut tx, &code, id).await?
    {
        return Err(ApiError::NotAllowed);
    }
    tx.commit().await?;
    Ok(Profile {
        id,
        username: new.username,
        display_name: new.display_name,
        role: None,
        avatar: None,
        email: None,
        show_presence: Some(true),
        version: 1,
    })
}

fn name_taken(error: sqlx::Error) -> ApiError {
    match error.as_database_error().and_then(|error| error.constraint()) {
        Some("users_username_key") => ApiError::NameTaken,
        _ => error.into(),
    }
}

/// Makes an invitation and answers its code, which is stored by hash alone.
///
/// # Errors
/// When the database fails.
pub async fn invite(pool: &PgPool) -> Result<String, ApiError> {
    let code = sessions::encode_token(&rand::rng().random::<[u8; 20]>());
    db::invites::insert(&mut *pool.acquire().await?, &sessions::hash_token(&code), INVITE_DAYS).await?;
    Ok(code)
}

/// Makes the first invitation of a server that has neither users nor invitations. Servers that start together make one.
///
/// # Errors
/// When the database fails.
pub async fn first_invite(pool: &PgPool) -> Result<Option<String>, ApiError> {
    let mut tx = db::begin(pool).await?;
    db::keys::lock(&mut tx).await?;
    if !db::invites::is_first(&mut tx).await? {
        return Ok(None);
    }
    let code = sessions::encode_token(&rand::rng().random::<[u8; 20]>());
    db::invites::insert(&mut tx, &sessions::hash_token(&code), INVITE_DAYS).await?;
    tx.commit().await?;
    Ok(Some(code))
}

/// Changes the password and ends the user's other sessions.
///
/// # Errors
/// [`ApiError::CredentialsInvalid`] when `current` does not fit, [`ApiError::Invalid`] for a `new` that is refused.
pub async fn change_password(
    state: &AppState,
    user: UserId,
    keep: DeviceId,
    current: String,
    new: String,
) -> Result<(), ApiError> {
    sessions::ask_password_again(state, user, keep, current).await?;
    let profile = profile(state, user).await?;
    let passwords = state.passwords.for_signed_in();
    let hash = passwords.hash_chosen(new, vec![profile.username, profile.display_name]).await?;
    let mut tx = db::begin(&state.pool).await?;
    db::credentials::set_password(&mut tx, user, &hash).await?;
    let ended = db::devices::revoke_others(&mut tx, user, Some(keep)).await?;
    tx.commit().await?;
    sessions::close(state, &ended);
    Ok(())
}

/// Replaces a user's password for the operator and ends all of the user's sessions.
///
/// # Errors
/// [`ApiError::TargetMissing`] when there is no such user; [`ApiError::Invalid`] for a password that is refused.
pub async fn reset_password(
    pool: &PgPool,
    passwords: &Passwords,
    username: &str,
    password: String,
) -> Result<(), ApiError> {
    let found = db::credentials::credentials(&mut *pool.acquire().await?, username, None).await?;
    let user = UserId::from_uuid(found.ok_or(ApiError::TargetMissing)?.id);
    let hash = passwords.hash_chosen(password, vec![username.to_owned()]).await?;
    let mut tx = db::begin(pool).await?;
    db::credentials::set_password(&mut tx, user, &hash).await?;
    db::devices::revoke_others(&mut tx, user, None).await?;
    tx.commit().await?;
    Ok(())
}

/// Disables an account and ends its sessions. Running servers close its sockets when they next look, within seconds.
///
/// # Errors
/// [`ApiError::TargetMissing`] when there is no such user.
pub async fn disable(pool: &PgPool, username: &str) -> Result<(), ApiError> {
    let mut tx = db::begin(pool).await?;
    let user =
        db::credentials::set_disabled(&mut tx, username, true).await?.ok_or(ApiError::TargetMissing)?;
    db::devices::revoke_others(&mut tx, user, None).await?;
    tx.commit().await?;
    Ok(())
}

/// Lets a disabled account sign in again, with the password that it had.
///
/// # Errors
/// [`ApiError::TargetMissing`] when there is no such user.
pub async fn enable(pool: &PgPool, username: &str) -> Result<(), ApiError> {
    let done = db::credentials::set_disabled(&mut *pool.acquire().await?, username, false).await?;
    done.map(drop).ok_or(ApiError::TargetMissing)
}

/// Changes a profile for the operator. Returns it as it is then.
///
/// # Errors
/// [`ApiError::TargetMissing`] when there is no such user; [`ApiError::Invalid`] with the rule that is not kept.
pub async fn set_profile(
    pool: &PgPool,
    username: &str,
    change: db::users::ProfileChange,
) -> Result<Profile, ApiError> {
    change.display_name.as_deref().map_or(Ok(()), check_display_name)?;
    change.role.as_deref().map_or(Ok(()), check_role)?;
    change.avatar.as_deref().map_or(Ok(()), check_avatar)?;
    change.email.as_deref().filter(|email| !email.is_empty()).map_or(Ok(()), check_email)?;
    let changed = db::users::set_profile(&mut *pool.acquire().await?, username, &change).await?;
    Ok(changed.ok_or(ApiError::TargetMissing)?.own())
}

/// Removes an account for good. Returns how many groups it left.
///
/// It leaves each group by an event, so that the others see it. Direct conversations stay to the other person, with what
/// was written in them; nobody else can be met there, so that new messages reach nobody. What the user wrote stays.
///
/// # Errors
/// [`ApiError::TargetMissing`] when there is no such user; when the database fails, some groups may have been left. It
/// may be repeated.
pub async fn delete(pool: &PgPool, username: &str) -> Result<usize, ApiError> {
    disable(pool, username).await?;
    let mut conn = pool.acquire().await?;
    let found =
        db::credentials::credentials(&mut conn, username, None).await?.ok_or(ApiError::TargetMissing)?;
    let user = UserId::from_uuid(found.id);
    let all = db::users::conversations(&mut conn, user).await?;
    let groups: Vec<Uuid> = all.iter().filter(|(_, is_group)| *is_group).map(|(id, _)| *id).collect();
    for part in groups.chunks(LEAVING_AT_ONCE) {
        let jobs: Vec<Job> =
            part.iter().map(|id| leaving(ConversationId::from_uuid(*id), user)).collect::<Result<_, _>>()?;
        batch::commit(
            &mut conn,
            &mut AccessCache::default(),
            &jobs,
            batch::Locking::Wait,
            HourlyBudget::ADDING,
        )
        .await?;
    }
    let mut tx = db::begin(pool).await?;
    // Heads come before user rows (W1).
    let ids: Vec<Uuid> = all.into_iter().map(|(id, _)| id).collect();
    db::heads::lock(&mut tx, &ids).await?;
    if !db::users::delete(&mut tx, user).await? {
        return Err(ApiError::TargetMissing);
    }
    tx.commit().await?;
    Ok(groups.len())
}

/// The event by which a user leaves a group.
fn leaving(conversation: ConversationId, user: UserId) -> Result<Job, ApiError> {
    let id = EventId::mint();
    let item = Item::parse(
        &json!({"id": id, "kind": "member", "body": {"change": "left", "user": user}}),
        &Default::default(),
    )?;
    Ok(Job {
        conversation,
        sender: user,
        items: vec![item],
        is_over_quota: false,
        since: Instant::now(),
        reply: Reply::new(drop),
    })
}

/// Whether an account is disabled.
///
/// # Errors
/// [`ApiError::TargetMissing`] when there is no such user.
pub async fn is_disabled(pool: &PgPool, username: &str) -> Result<bool, ApiError> {
    let found = db::credentials::credentials(&mut *pool.acquire().await?, username, None).await?;
    Ok(found.ok_or(ApiError::TargetMissing)?.is_disabled)
}

/// One's own profile.
///
/// # Errors
/// [`ApiError::DeviceRevoked`] when the account is gone.
pub async fn profile(state: &AppState, user: UserId) -> Result<Profile, ApiError> {
    let found = db::users::profile(&mut *state.pool.acquire().await?, user).await?;
    Ok(found.ok_or(ApiError::DeviceRevoked)?.own())
}

/// Changes one's own display name and tells whoever is connected and shares a conversation.
///
/// # Errors
/// [`ApiError::Invalid`] for a name that is refused.
pub async fn rename(state: &AppState, user: UserId, display_name: &str) -> Result<Profile, ApiError> {
    check_display_name(display_name)?;
    let mut conn = state.pool.acquire().await?;
    let before = db::users::profile(&mut conn, user).await?.ok_or(ApiError::DeviceRevoked)?.own();
    let changed = db::users::set_display_name(&mut conn, user, display_name).await?;
    let own = changed.ok_or(ApiError::DeviceRevoked)?.own();
    if own.version != before.version {
        let public = Profile { email: None, show_presence: None, ..own.clone() };
        let frame = ServerFrame::Profiles(Profiles { reply_to: None, items: vec![public] });
        let topic = Topic::Profile(user);
        let fact = Latest { topic, version: (own.version, 0), json: frame.encode().into() };
        let peers = db::users::peers(&mut conn, user).await?;
        for peer in &peers {
            state.hub.send_latest(UserId::from_uuid(*peer), &fact);
        }
        state.hub.tell_others(Some(topic), || peers.into_iter().map(UserId::from_uuid).collect(), &fact.json);
    }
    Ok(own)
}

/// Accounts for the operator, by user name, after the name `after`; none at the end.
///
/// # Errors
/// When the database fails.
pub async fn list(pool: &PgPool, after: &str) -> Result<Vec<db::users::ListedRow>, ApiError> {
    const PART: i64 = 1_000;
    Ok(db::users::accounts(&mut *pool.acquire().await?, after, PART).await?)
}

/// Shows one's own presence to others, or hides it. Takes effect at once on this instance; one's devices on other instances
/// connect again, and it does there.
///
/// # Errors
/// When the database fails.
pub async fn show_presence(state: &AppState, user: UserId, shows: bool) -> Result<(), ApiError> {
    let mut conn = state.pool.acquire().await?;
    if !db::users::set_shows_presence(&mut conn, user, shows).await? {
        return Ok(());
    }
    if state.hub.is_connected(user) {
        state.presence.hide(user, !shows);
    }
    for device in db::devices::of_user(&mut conn, user).await? {
        state.hub.restart_elsewhere(DeviceId::from_uuid(device.id));
    }
    Ok(())
}

pub(crate) fn check_username(name: &str) -> Result<(), ApiError> {
    let length = limits::USERNAME_CHARS_MIN..=limits::USERNAME_CHARS_MAX;
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    if length.contains(&name.len()) && name.bytes().all(is_allowed) {
        Ok(())
    } else {
        Err(ApiError::invalid("a user name has 3 to 32 of a-z, 0-9, '.', '_' and '-'"))
    }
}

fn check_role(role: &str) -> Result<(), ApiError> {
    check_line(role, ROLE_CHARS_MAX)
        .map_err(|_| ApiError::invalid("a role has at most 64 characters, none of which is invisible"))
}

fn check_avatar(avatar: &str) -> Result<(), ApiError> {
    let is_plain = !avatar.chars().any(|char| char.is_control() || char.is_whitespace());
    let is_address = avatar.is_empty() || (avatar.starts_with("https://") && url::Url::parse(avatar).is_ok());
    if is_plain && is_address && avatar.len() <= AVATAR_BYTES_MAX {
        Ok(())
    } else {
        Err(ApiError::invalid("an avatar is an https address of at most 2,048 bytes"))
    }
}

pub(crate) fn check_display_name(name: &str) -> Result<(), ApiError> {
    check_name(name, limits::DISPLAY_NAME_CHARS_MAX).map_err(|_| {
        ApiError::invalid(
            "a display name has 1 to 64 characters, no control characters or invisible ones, and at most 4 combining marks in a row",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_limits() {
        for good in ["ada", "a.b_c-9", &"x".repeat(32)] {
            assert!(check_username(good).is_ok(), "{good}");
        }
        for bad in ["", "ab", "Ada", "a b c", "čapek", &"x".repeat(33), "a\0bc"] {
            assert!(check_username(bad).is_err(), "{bad:?}");
        }
        for bad in ["", "   ", "a\nb", "a\u{202e}b", "ada\u{200b}", &"x".repeat(65)] {
            assert!(check_display_name(bad).is_err(), "{bad:?}");
        }
        assert!(check_display_name(&"č".repeat(64)).is_ok());
    }
}

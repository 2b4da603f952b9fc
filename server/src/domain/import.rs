//! Many accounts at once: a platform brings its people.
//!
//! All or nothing: one transaction. Who is there already stays as they are, so that repeating is harmless.

use super::{
    accounts, password_rules,
    passwords::Passwords,
    sessions::{encode_token, hash_token},
};
use crate::{
    auth::{Tokens, Told},
    db::{self, devices::DeviceColumns, users::UserColumns},
    error::ApiError,
};
use futures_util::{StreamExt, TryStreamExt, stream};
use kith_protocol::{
    DeviceId, UserId,
    api::{DeviceRef, Profile, Session},
};
use rand::RngExt;
use sqlx::{PgConnection, PgPool};
use std::{
    collections::{HashMap, HashSet},
    future::Future,
};
use uuid::Uuid;

/// What the device of a session is called that is made here.
const DEVICE_NAME: &str = "platform";
/// Rows of one statement.
const ROWS: usize = 1_000;
/// Passwords hashed at the same time.
const HASHES: usize = 4;
/// An address of mail is no longer than this (RFC 5321).
const EMAIL_BYTES_MAX: usize = 254;

/// Somebody who is to get an account.
#[derive(Clone)]
pub struct Newcomer {
    pub username: String,
    pub display_name: String,
    /// Their address; nothing is sent to it.
    pub email: Option<String>,
    /// Without one nobody signs in by password until the operator sets one.
    pub password: Option<String>,
}

impl Newcomer {
    /// Checks what is known of somebody by the rules that hold for everybody. Takes milliseconds if there is a password.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] with the rule that is not kept, without what was said.
    pub fn check(&self) -> Result<(), ApiError> {
        accounts::check_username(&self.username)?;
        accounts::check_display_name(&self.display_name)?;
        self.email.as_deref().map_or(Ok(()), check_email)?;
        let Some(password) = &self.password else { return Ok(()) };
        password_rules::check_length(password)?;
        password_rules::check_guesses(&[self.username.clone(), self.display_name.clone()], password)
    }
}

/// Only the form: whether somebody reads it is not known here.
pub(super) fn check_email(email: &str) -> Result<(), ApiError> {
    let has_both = email.rsplit_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty());
    let is_plain = !email.chars().any(|one| one.is_whitespace() || one.is_control());
    if has_both && is_plain && email.len() <= EMAIL_BYTES_MAX {
        Ok(())
    } else {
        Err(ApiError::invalid("an address of mail is name@host, of at most 254 bytes, without spaces"))
    }
}

/// Which of these user names are taken.
///
/// # Errors
/// When the database fails.
pub async fn taken(pool: &PgPool, usernames: &[String]) -> Result<HashSet<String>, ApiError> {
    let mut conn = pool.acquire().await?;
    Ok(db::users::taken(&mut conn, usernames).await?.into_iter().collect())
}

/// Adds accounts and answers the names of those it added; a name that is taken is left as it is. With `tokens`, each new
/// account gets a session, as after a sign-in; `keep` gets them before anything is committed, so that no account is left
/// without the session that was asked for.
///
/// # Errors
/// [`ApiError::Invalid`] for a password that is refused, what `keep` fails with, and when the database fails. Nothing was
/// added then, unless the answer to the commit itself was lost.
pub async fn add<F>(
    pool: &PgPool,
    passwords: &Passwords,
    newcomers: Vec<Newcomer>,
    tokens: Option<&Tokens>,
    keep: impl FnOnce(Vec<Session>) -> F,
) -> anyhow::Result<HashSet<String>>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let mut people = hashed(passwords, newcomers).await?;
    // Two imports of the same people wait for each other and do not lock each other out.
    people.sort_by(|one, other| one.0.username.cmp(&other.0.username));
    let mut tx = db::begin(pool).await?;
    let (mut added, mut sessions) = (HashSet::new(), Vec::new());
    for part in people.chunks(ROWS) {
        let new = insert(&mut tx, part).await?;
        if let Some(tokens) = tokens {
            sessions.extend(begin_sessions(&mut tx, tokens, &new).await?);
        }
        added.extend(new.into_iter().map(|profile| profile.username));
    }
    if tokens.is_some() {
        keep(sessions).await?;
    }
    tx.commit().await?;
    Ok(added)
}

/// Everybody with a hash. Those without a password share one that fits nothing: of random bits that nobody has seen. So
/// a guess at such an account costs and looks the same as at any other, and a thousand people cost one hash.
async fn hashed(
    passwords: &Passwords,
    newcomers: Vec<Newcomer>,
) -> Result<Vec<(Newcomer, String)>, ApiError> {
    let nobodys = passwords.hash(encode_token(&rand::rng().random::<[u8; 32]>())).await?;
    stream::iter(newcomers)
        .map(|mut newcomer| {
            let nobodys = nobodys.clone();
            async move {
                let names = vec![newcomer.username.clone(), newcomer.display_name.clone()];
                let hash = match newcomer.password.take() {
                    Some(password) => passwords.hash_chosen(password, names).await?,
                    None => nobodys,
                };
                Ok((newcomer, hash))
            }
        })
        .buffered(HASHES)
        .try_collect()
        .await
}

async fn insert(conn: &mut PgConnection, part: &[(Newcomer, String)]) -> Result<Vec<Profile>, ApiError> {
    let (mut columns, mut profiles) = (UserColumns::default(), HashMap::new());
    for (newcomer, hash) in part {
        let id = UserId::mint();
        columns.ids.push(id.as_uuid());
        columns.usernames.push(newcomer.username.clone());
        columns.display_names.push(newcomer.display_name.clone());
        columns.emails.push(newcomer.email.clone());
        columns.password_hashes.push(hash.clone());
        let profile = Profile {
            id,
            username: newcomer.username.clone(),
            display_name: newcomer.display_name.clone(),
            role: None,
            avatar: None,
            email: newcomer.email.clone(),
            show_presence: Some(true),
            version: 1,
        };
        profiles.insert(id.as_uuid(), profile);
    }
    let added = db::users::insert_many(conn, &columns).await?;
    Ok(added.iter().filter_map(|id| profiles.remove(id)).collect())
}

async fn begin_sessions(
    conn: &mut PgConnection,
    tokens: &Tokens,
    people: &[Profile],
) -> Result<Vec<Session>, ApiError> {
    let mut columns = DeviceColumns::default();
    for profile in people {
        columns.ids.push(DeviceId::mint().as_uuid());
        columns.users.push(profile.id.as_uuid());
    }
    let numbers: HashMap<Uuid, i64> =
        db::devices::insert_many(conn, &columns, DEVICE_NAME).await?.into_iter().collect();
    let (mut sessions, mut hashes) = (Vec::with_capacity(people.len()), Vec::new());
    for (profile, id) in people.iter().zip(&columns.ids) {
        let (device, number) = (DeviceId::from_uuid(*id), *numbers.get(id).ok_or(ApiError::Unavailable)?);
        let refresh_token = tokens.first_refresh(Told { user: profile.id, device, number });
        hashes.push(hash_token(&refresh_token));
        sessions.push(Session {
            access_token: tokens.sign(profile.id, device)?,
            access_expires_in_s: tokens.lifetime().as_secs(),
            refresh_token,
            user: profile.clone(),
            device: DeviceRef { id: device, name: DEVICE_NAME.to_owned() },
        });
    }
    db::refresh_tokens::insert_many(conn, &hashes, &columns.ids).await?;
    Ok(sessions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_two_sides_and_no_spaces() {
        for good in ["ada@example.org", "a+b@x", "\"odd@name\"@example.org", "žofie@příklad.cz"] {
            assert!(check_email(good).is_ok(), "{good}");
        }
        for bad in ["", "ada", "@example.org", "ada@", "a da@x", "a@x\n", &format!("{}@x", "a".repeat(253))] {
            assert!(check_email(bad).is_err(), "{bad:?}");
        }
    }
}

//! Signing in and out, devices, people.

use super::Engine;
use crate::{
    ClientError,
    secrets::Hidden,
    store::people,
    view::{PersonView, SignOutPreview},
};
use kith_protocol::{
    DeviceId, UserId,
    api::{self, SessionItem},
    limits,
    text::check_name,
};
use reqwest::Method;

/// People that a search shows.
const PEOPLE_MAX: usize = 20;

impl Engine {
    /// Creates an account and signs in.
    ///
    /// # Errors
    /// [`ClientError::Offline`], [`ClientError::Refused`] (`name_taken`, `invalid`, `not_allowed` when sign-up is
    /// closed …), [`ClientError::BadAddress`], [`ClientError::InsecureServer`].
    pub async fn sign_up(
        &self,
        server: String,
        username: String,
        password: String,
        display_name: String,
        invite: Option<String>,
    ) -> Result<(), ClientError> {
        let account = api::CreateAccount {
            username: username.clone(),
            password: password.clone(),
            display_name,
            invite,
        };
        let _: api::AccountCreated = self.inner.profile.api(&server)?.post("/v1/accounts", &account).await?;
        self.sign_in(server, username, password).await
    }

    /// Signs in; the same user gets the same history and outbox again.
    ///
    /// # Errors
    /// [`ClientError::Offline`], [`ClientError::Refused`] (`credentials_invalid` …), [`ClientError::BadAddress`],
    /// [`ClientError::InsecureServer`], or what the database met.
    pub async fn sign_in(
        &self,
        server: String,
        username: String,
        password: String,
    ) -> Result<(), ClientError> {
        self.inner.profile.sign_in(&server, &username, &password).await
    }

    /// What signing out would lose.
    ///
    /// # Errors
    /// [`ClientError::SignedOut`], [`ClientError::Store`].
    pub async fn sign_out_preview(&self) -> Result<SignOutPreview, ClientError> {
        let session = self.session()?;
        let numbers = session.store.numbers().await?;
        Ok(SignOutPreview {
            unsent: numbers.unsent,
            messages: numbers.messages,
            is_temporary: session.is_temporary,
        })
    }

    /// Signs out; with `wipe`, key and database go too.
    ///
    /// # Errors
    /// [`ClientError::SignedOut`], [`ClientError::SecretStore`] if the entry could not be removed.
    pub async fn sign_out(&self, wipe: bool) -> Result<(), ClientError> {
        self.inner.profile.sign_out(wipe).await
    }

    /// The account's devices.
    ///
    /// # Errors
    /// [`ClientError::Offline`], [`ClientError::Refused`].
    pub async fn sessions(&self) -> Result<Vec<SessionItem>, ClientError> {
        let tokens = &self.session()?.tokens;
        let ask = |token: Hidden<String>| async move {
            tokens.api().get::<api::List<SessionItem>>("/v1/sessions", &[], &token).await
        };
        Ok(tokens.authorised(ask).await?.items)
    }

    /// Signs another device out.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with `credentials_invalid` if the password is wrong; [`ClientError::Offline`].
    pub async fn revoke_session(&self, device: DeviceId, password: String) -> Result<(), ClientError> {
        let path = format!("/v1/sessions/{device}");
        self.change(Method::DELETE, &path, &api::RevokeSession { password }).await
    }

    /// Signs every other device out.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with `credentials_invalid` if the password is wrong; [`ClientError::Offline`].
    pub async fn revoke_other_sessions(&self, password: String) -> Result<(), ClientError> {
        self.change(Method::DELETE, "/v1/sessions", &api::RevokeSession { password }).await
    }

    /// Sets another password; the other devices are signed out.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with `credentials_invalid` if the current one is wrong; [`ClientError::Offline`].
    pub async fn change_password(&self, current: String, new: String) -> Result<(), ClientError> {
        self.change(Method::PUT, "/v1/me/password", &api::ChangePassword { current, new }).await
    }

    /// Sets one's own name.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with `invalid` or `too_large`; [`ClientError::Offline`].
    pub async fn set_display_name(&self, name: String) -> Result<(), ClientError> {
        check_name(&name, limits::DISPLAY_NAME_CHARS_MAX).map_err(ClientError::Refused)?;
        let update = api::UpdateProfile { display_name: Some(name.clone()), ..api::UpdateProfile::default() };
        self.change(Method::PATCH, "/v1/me", &update).await?;
        self.inner.profile.renamed(&name)
    }

    /// Whether others see one online and when one was last seen, as the server has it.
    ///
    /// # Errors
    /// [`ClientError::Offline`], [`ClientError::Refused`].
    pub async fn shows_presence(&self) -> Result<bool, ClientError> {
        let tokens = &self.session()?.tokens;
        let ask = |token: Hidden<String>| async move {
            tokens.api().get::<api::Profile>("/v1/me", &[], &token).await
        };
        // A server of before the setting shows everybody's.
        Ok(tokens.authorised(ask).await?.show_presence.unwrap_or(true))
    }

    /// Shows one's own presence to others, or hides it and sees nobody else's.
    ///
    /// # Errors
    /// [`ClientError::Offline`], [`ClientError::Refused`].
    pub async fn set_shows_presence(&self, on: bool) -> Result<(), ClientError> {
        let update = api::UpdateProfile { show_presence: Some(on), ..api::UpdateProfile::default() };
        self.change(Method::PATCH, "/v1/me", &update).await
    }

    async fn change(
        &self,
        method: Method,
        path: &str,
        body: &(impl serde::Serialize + Sync),
    ) -> Result<(), ClientError> {
        let tokens = &self.session()?.tokens;
        let ask = |token: Hidden<String>| {
            let method = method.clone();
            async move { tokens.api().change(method, path, Some(body), &token).await }
        };
        tokens.authorised(ask).await
    }

    /// People by name: those that are known here, then the server's; never oneself. Without a network, those that
    /// are known here.
    ///
    /// # Errors
    /// [`ClientError::SignedOut`], [`ClientError::Store`].
    pub async fn find_people(&self, query: String) -> Result<Vec<PersonView>, ClientError> {
        let session = self.session()?;
        let me = session.account.me.id;
        let wanted = query.trim().to_owned();
        let tokens = &session.tokens;
        let parameters = [("query", wanted.as_str()), ("limit", "20")];
        let ask = |token: Hidden<String>| async move {
            tokens.api().get::<api::List<api::Profile>>("/v1/users", &parameters, &token).await
        };
        match tokens.authorised(ask).await {
            // What the server knows is known here from then on: a chat with them can be begun offline.
            Ok(list) => session.store.write(move |tx| people::put(tx, &list.items)).await.map(drop)?,
            Err(error) => tracing::debug!(code = error.code(), "people are searched here only"),
        }
        let mut found = session.store.read(move |db| people::search(db, &wanted, PEOPLE_MAX + 1)).await?;
        found.retain(|person| person.id != me);
        found.truncate(PEOPLE_MAX);
        Ok(found)
    }

    /// One person.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] if nothing is known of them, neither here nor on the server.
    pub async fn person(&self, user: UserId) -> Result<PersonView, ClientError> {
        let session = self.session()?;
        if let Some(known) = session.store.read(move |db| people::find(db, user)).await? {
            return Ok(known);
        }
        let tokens = &session.tokens;
        let path = &format!("/v1/users/{user}");
        let ask =
            |token: Hidden<String>| async move { tokens.api().get::<api::Profile>(path, &[], &token).await };
        let profile = tokens.authorised(ask).await.map_err(|error| match error {
            ClientError::Refused(kith_protocol::ErrorCode::TargetMissing) => ClientError::NotFound,
            other => other,
        })?;
        session.store.write(move |tx| people::put(tx, &[profile])).await?;
        session.store.read(move |db| people::get(db, user)).await
    }
}

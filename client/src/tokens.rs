//! The session's tokens: handed out, renewed once for all who ask, stored before they are used (S11).

use crate::{
    ClientError,
    driver::{Boxed, TokenError, TokenSource},
    secrets::{Kept, Vault},
    transport::api::{Api, server_text},
};
use kith_protocol::{DeviceId, ErrorCode, UserId, api, error::ErrorClass};
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{Mutex, MutexGuard};
use zeroize::Zeroizing;

/// What the secret store holds of a session. It has no `Debug`: tokens are in no log.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct SessionSecret {
    pub(crate) user: UserId,
    pub(crate) device: DeviceId,
    access_token: Zeroizing<String>,
    refresh_token: Zeroizing<String>,
}

impl From<api::Session> for SessionSecret {
    fn from(session: api::Session) -> Self {
        Self {
            user: session.user.id,
            device: session.device.id,
            access_token: session.access_token.into(),
            refresh_token: session.refresh_token.into(),
        }
    }
}

/// The tokens of the open account.
pub(crate) struct Tokens {
    api: Api,
    vault: Vault,
    secret: Mutex<SessionSecret>,
    /// Rises with every renewal, so that who waited for one does not start another.
    renewals: AtomicU64,
}

impl Tokens {
    pub(crate) fn new(api: Api, vault: Vault, secret: SessionSecret) -> Self {
        Self { api, vault, secret: Mutex::new(secret), renewals: AtomicU64::new(0) }
    }

    pub(crate) fn api(&self) -> &Api {
        &self.api
    }

    /// The access token at hand; it may have ended.
    pub(crate) async fn access(&self) -> Zeroizing<String> {
        self.secret.lock().await.access_token.clone()
    }

    /// Exchanges the refresh token and keeps its successor before anybody can use it.
    async fn exchange(
        &self,
        mut secret: MutexGuard<'_, SessionSecret>,
        device: Option<DeviceId>,
    ) -> Result<DeviceId, ClientError> {
        let body = api::Refresh { refresh_token: secret.refresh_token.to_string(), device };
        let session: api::Session = self.api.post("/v1/sessions/refresh", &body).await?;
        let successor = SessionSecret::from(session);
        if self.vault.set_session(&server_text(self.api.server()), &successor).await == Kept::InMemory {
            tracing::warn!("a renewed session could not be stored; it lasts until the app quits");
        }
        *secret = successor;
        self.renewals.fetch_add(1, Ordering::AcqRel);
        Ok(secret.device)
    }

    /// Renews; who asks while one is under way gets its result.
    pub(crate) async fn renew(&self) -> Result<DeviceId, ClientError> {
        let before = self.renewals.load(Ordering::Acquire);
        let secret = self.secret.lock().await;
        if self.renewals.load(Ordering::Acquire) != before {
            return Ok(secret.device);
        }
        let device = secret.device;
        self.exchange(secret, Some(device)).await
    }

    /// Asks the server for something, with a renewed token if the one at hand has ended.
    pub(crate) async fn authorised<T, F, Fut>(&self, ask: F) -> Result<T, ClientError>
    where
        F: Fn(Zeroizing<String>) -> Fut,
        Fut: Future<Output = Result<T, ClientError>>,
    {
        match ask(self.access().await).await {
            Err(ClientError::Refused(ErrorCode::TokenExpired | ErrorCode::TokenInvalid)) => {
                self.renew().await?;
                ask(self.access().await).await
            }
            other => other,
        }
    }
}

/// Only a refusal that a sign-in mends is one; everything else is tried again.
fn token_error(error: &ClientError) -> TokenError {
    match error {
        ClientError::Refused(code) if matches!(code.class(), ErrorClass::SignIn | ErrorClass::Permanent) => {
            TokenError::Refused(*code)
        }
        ClientError::Refused(ErrorCode::UpgradeRequired) => TokenError::Refused(ErrorCode::UpgradeRequired),
        _ => TokenError::Unreachable,
    }
}

impl TokenSource for Tokens {
    fn access_token(&self) -> Boxed<'_, Result<String, TokenError>> {
        Box::pin(async { Ok(self.access().await.to_string()) })
    }

    fn renew(&self) -> Boxed<'_, Result<DeviceId, TokenError>> {
        Box::pin(async { Tokens::renew(self).await.map_err(|error| token_error(&error)) })
    }

    fn renew_as_new_device(&self) -> Boxed<'_, Result<DeviceId, TokenError>> {
        Box::pin(async {
            let secret = self.secret.lock().await;
            self.exchange(secret, None).await.map_err(|error| token_error(&error))
        })
    }
}

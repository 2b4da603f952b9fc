//! The session's tokens: handed out, renewed once for all who ask, stored before they are used (S11).

use crate::{
    ClientError,
    driver::{Boxed, TokenError, TokenSource},
    events::{EngineEvent, Problem},
    notices::NoticeHub,
    secrets::{Hidden, Kept, Vault},
    transport::api::{Api, server_text},
};
use kith_protocol::{DeviceId, ErrorCode, UserId, api, error::ErrorClass};
use serde::{Deserialize, Serialize};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Mutex, MutexGuard};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// What the secret store holds of a session. It has no `Debug`: tokens are in no log. The tokens are
/// overwritten when it goes.
#[derive(Clone, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub(crate) struct SessionSecret {
    #[zeroize(skip)]
    pub(crate) user: UserId,
    #[zeroize(skip)]
    pub(crate) device: DeviceId,
    access_token: Hidden<String>,
    refresh_token: Hidden<String>,
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

/// How long a sign-out waits for a renewal that is under way.
const RENEWAL_ENDS_WITHIN: Duration = Duration::from_secs(3);

/// The tokens of the open account. Clones are the same tokens.
#[derive(Clone)]
pub(crate) struct Tokens(Arc<Inner>);

struct Inner {
    api: Api,
    vault: Vault,
    hub: Arc<NoticeHub>,
    secret: Mutex<SessionSecret>,
    /// Rises with every renewal, so that who waited for one does not start another.
    renewals: AtomicU64,
    /// The newest renewal is in memory only.
    is_in_memory: AtomicBool,
    /// No further renewal begins.
    is_closed: AtomicBool,
    /// The user signed out: nothing is written to the session's entry any more. Held while a write is begun, so that
    /// none begins behind a sign-out.
    is_signed_out: std::sync::Mutex<bool>,
}

impl Tokens {
    pub(crate) fn new(api: Api, vault: Vault, hub: Arc<NoticeHub>, secret: SessionSecret) -> Self {
        Self(Arc::new(Inner {
            api,
            vault,
            hub,
            secret: Mutex::new(secret),
            renewals: AtomicU64::new(0),
            is_in_memory: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
            is_signed_out: std::sync::Mutex::new(false),
        }))
    }

    pub(crate) fn api(&self) -> &Api {
        &self.0.api
    }

    /// The access token at hand; it may have ended.
    pub(crate) async fn access(&self) -> Hidden<String> {
        self.0.secret.lock().await.access_token.clone()
    }

    /// Whether the newest renewal could not be stored.
    pub(crate) fn is_in_memory(&self) -> bool {
        self.0.is_in_memory.load(Ordering::Acquire)
    }

    /// The device that the token at hand is for; `None` while a renewal is under way.
    pub(crate) fn device_at_hand(&self) -> Option<DeviceId> {
        self.0.secret.try_lock().ok().map(|secret| secret.device)
    }

    /// What the secret store holds of the session, or would.
    pub(crate) async fn secret(&self) -> SessionSecret {
        self.0.secret.lock().await.clone()
    }

    /// Begins no further renewal, and returns once the one under way has been stored. Its request may have used the
    /// refresh token up: without the successor the next start would present a used one, which revokes the device (S11).
    /// That takes as long as a request and a secret store may take, about 35 s. After a sign-out there is nothing to
    /// wait for.
    pub(crate) async fn close(&self) {
        self.0.is_closed.store(true, Ordering::Release);
        if !*self.0.is_signed_out() {
            drop(self.0.secret.lock().await);
        }
    }

    /// The user signs out: a renewal that is under way may end within three seconds, after that none is stored.
    pub(crate) async fn sign_out(&self) {
        self.0.is_closed.store(true, Ordering::Release);
        let ended = tokio::time::timeout(RENEWAL_ENDS_WITHIN, self.0.secret.lock()).await;
        *self.0.is_signed_out() = true;
        drop(ended);
    }

    /// Renews; who asks while one is under way gets its result.
    pub(crate) async fn renew(&self) -> Result<DeviceId, ClientError> {
        let inner = self.0.clone();
        let before = inner.renewals.load(Ordering::Acquire);
        to_the_end(async move {
            let secret = inner.secret.lock().await;
            if inner.renewals.load(Ordering::Acquire) != before {
                return Ok(secret.device);
            }
            let device = secret.device;
            inner.exchange(secret, Some(device)).await
        })
        .await
    }

    /// Asks the server for something, with a renewed token if the one at hand has ended.
    pub(crate) async fn authorised<T, F, Fut>(&self, ask: F) -> Result<T, ClientError>
    where
        F: Fn(Hidden<String>) -> Fut,
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

/// Works on when nobody waits any more: a request that has reached the server has used the refresh token up.
async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, ClientError>> + Send + 'static,
) -> Result<T, ClientError> {
    tokio::spawn(work).await.unwrap_or(Err(ClientError::Closed))
}

impl Inner {
    /// Exchanges the refresh token and keeps its successor before anybody can use it.
    async fn exchange(
        &self,
        mut secret: MutexGuard<'_, SessionSecret>,
        device: Option<DeviceId>,
    ) -> Result<DeviceId, ClientError> {
        if self.is_closed.load(Ordering::Acquire) {
            return Err(ClientError::Closed);
        }
        let body = api::Refresh { refresh_token: secret.refresh_token.to_string(), device };
        let session: api::Session = self.api.post("/v1/sessions/refresh", &body).await?;
        let successor = SessionSecret::from(session);
        let write = {
            let is_signed_out = self.is_signed_out();
            if *is_signed_out {
                return Err(ClientError::Closed);
            }
            self.vault.begin_session(&server_text(self.api.server()), &successor)
        };
        self.tell(write.await);
        *secret = successor;
        self.renewals.fetch_add(1, Ordering::AcqRel);
        Ok(secret.device)
    }

    fn is_signed_out(&self) -> std::sync::MutexGuard<'_, bool> {
        self.is_signed_out.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Tells when the sign-in came to last until the app quits, or to last again.
    fn tell(&self, kept: Kept) {
        let is_in_memory = kept == Kept::InMemory;
        if self.is_in_memory.swap(is_in_memory, Ordering::AcqRel) == is_in_memory {
            return;
        }
        if is_in_memory {
            self.hub.tell(EngineEvent::Problem { problem: Problem::NoSecretStore });
        }
        self.hub.tell(EngineEvent::AppChanged);
    }
}

/// Only a refusal that a sign-in mends is one; everything else is tried again.
fn token_error(error: &ClientError) -> TokenError {
    match error {
        ClientError::Refused(code) if matches!(code.class(), ErrorClass::SignIn | ErrorClass::Permanent) => {
            TokenError::Refused(*code)
        }
        ClientError::Refused(ErrorCode::UpgradeRequired) => TokenError::Refused(ErrorCode::UpgradeRequired),
        ClientError::BadCertificate => TokenError::BadCertificate,
        _ => TokenError::Unreachable,
    }
}

impl TokenSource for Tokens {
    fn access_token(&self) -> Boxed<'_, Result<String, TokenError>> {
        Box::pin(async { Ok(self.access().await.to_string()) })
    }

    fn device(&self) -> Boxed<'_, DeviceId> {
        Box::pin(async { self.secret().await.device })
    }

    fn renew(&self) -> Boxed<'_, Result<DeviceId, TokenError>> {
        Box::pin(async { Tokens::renew(self).await.map_err(|error| token_error(&error)) })
    }

    fn renew_as_new_device(&self) -> Boxed<'_, Result<DeviceId, TokenError>> {
        Box::pin(async {
            let inner = self.0.clone();
            let renewed = to_the_end(async move {
                let secret = inner.secret.lock().await;
                inner.exchange(secret, None).await
            });
            renewed.await.map_err(|error| match error {
                // The original device completed a handshake in the meantime. The next handshake detects the copy again.
                ClientError::Refused(ErrorCode::NotAllowed) => TokenError::Unreachable,
                error => token_error(&error),
            })
        })
    }
}

#[cfg(test)]
mod tests;

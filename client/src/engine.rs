//! [`Engine`]: the only public handle. Its methods by area are in the modules below.
//!
//! What the user does is written to the store first and then told to the driver; what an interface shows is read from
//! the store. Nothing here waits for the network but signing in and what is asked of the server by name.

mod account;
mod blocks;
mod conversations;
mod diagnostics;
mod keys;
#[cfg(feature = "measure")]
pub mod measure;
mod messages;
mod outbox;
mod receipts;
mod search;

use crate::{
    ClientError,
    events::{EngineEvent, Problem},
    notices::{EventStream, NoticeHub},
    options::EngineOptions,
    session::{Profile, Session},
    store::{Changes, Tx, salvage},
    view::{AppState, StatusView},
};
use kith_sync::ops::OutboxUpdate;
use std::{
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// A whole messenger. Clones are handles to the same one.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) profile: Profile,
    pub(crate) hub: Arc<NoticeHub>,
    is_gone: CancellationToken,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.is_gone.cancel();
    }
}

/// Mends the open database whenever it seems to be damaged, for as long as the engine lives.
async fn mend_when_damaged(engine: Weak<Inner>, alarm: Arc<Notify>, is_gone: CancellationToken) {
    loop {
        tokio::select! {
            () = is_gone.cancelled() => return,
            () = alarm.notified() => {}
        }
        let Some(engine) = engine.upgrade() else { return };
        engine.profile.mend().await;
    }
}

/// How often a secret store that is waited for is looked at.
const STORE_LOOK: Duration = Duration::from_secs(2);

/// Goes on by itself when a secret store that was locked has been unlocked (A32), for as long as the engine lives.
async fn look_for_store(engine: Weak<Inner>, is_gone: CancellationToken) {
    loop {
        tokio::select! {
            () = is_gone.cancelled() => return,
            () = tokio::time::sleep(STORE_LOOK) => {}
        }
        let Some(engine) = engine.upgrade() else { return };
        engine.profile.look_for_store().await;
    }
}

impl Engine {
    /// Opens a profile: the account that was signed in, with its whole history, or nobody. Never waits for the
    /// network.
    ///
    /// # Errors
    /// [`ClientError::ProfileLocked`] if another process has it open; [`ClientError::File`] if the folder cannot be
    /// used. A database that cannot be opened is no error: [`Engine::app_state`] says why.
    pub async fn open(options: EngineOptions) -> Result<Self, ClientError> {
        let hub = Arc::new(NoticeHub::default());
        let profile = Profile::open(options, hub.clone()).await?;
        let inner = Arc::new(Inner { profile, hub, is_gone: CancellationToken::new() });
        tokio::spawn(mend_when_damaged(
            Arc::downgrade(&inner),
            inner.profile.alarm.clone(),
            inner.is_gone.clone(),
        ));
        tokio::spawn(look_for_store(Arc::downgrade(&inner), inner.is_gone.clone()));
        Ok(Self { inner })
    }

    /// The user has seen what became of a damaged database.
    ///
    /// # Errors
    /// [`ClientError::SignedOut`], [`ClientError::Store`].
    pub async fn mended_seen(&self) -> Result<(), ClientError> {
        self.write(salvage::seen).await?;
        self.inner.hub.tell(EngineEvent::AppChanged);
        Ok(())
    }

    pub fn subscribe(&self) -> EventStream {
        self.inner.hub.subscribe()
    }

    /// Closes the connection, finishes what is being written, and closes the database.
    pub async fn shutdown(&self) {
        self.inner.profile.close().await;
        self.inner.hub.close();
    }

    /// What the interface shows first.
    pub async fn app_state(&self) -> AppState {
        self.inner.profile.app_state().await
    }

    /// Tries again to open the account that was signed in, after the secret store was unlocked.
    pub async fn try_again(&self) {
        self.inner.profile.try_again().await;
    }

    /// The connection and the account's numbers.
    pub async fn status(&self) -> StatusView {
        match self.session() {
            Ok(session) => session.live.status().await,
            Err(_) => crate::live::signed_out_status(),
        }
    }

    /// Writes what the user did; listeners are told after the commit, and the driver sends it.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Tx<'_>) -> Result<T, ClientError> + Send + 'static,
    ) -> Result<T, ClientError> {
        let session = self.session()?;
        let driver = session.driver.clone();
        // On the writer's thread: the driver hears of rows in the order of their numbers, whoever wrote them.
        let hand_over = move |changes: &mut Changes| {
            let update = std::mem::take(&mut changes.update);
            if update != OutboxUpdate::default() {
                driver.outbox(update);
            }
        };
        let (value, mut changes) = match session.store.write_then(work, hand_over).await {
            Err(error) => {
                if let Some(problem) = Problem::of_disk(&error) {
                    self.inner.hub.tell(EngineEvent::Problem { problem });
                }
                return Err(error);
            }
            Ok(written) => written,
        };
        session.live.changed(changes.take_notices());
        Ok(value)
    }

    /// The account that is open.
    pub(crate) fn session(&self) -> Result<Arc<Session>, ClientError> {
        self.inner.profile.session()
    }
}

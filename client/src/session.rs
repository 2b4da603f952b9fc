//! A profile and the account that is open in it.

use crate::{
    ClientError, EngineOptions,
    driver::DriverHandle,
    engine::{Live, NoticeHub},
    store::Store,
    view::{AccountView, AppState},
};
use std::sync::{Arc, Mutex, PoisonError};

/// An open account.
pub(crate) struct Session {
    pub(crate) account: AccountView,
    pub(crate) store: Store,
    pub(crate) driver: DriverHandle,
    pub(crate) live: Arc<Live>,
}

/// A profile's folder, locked by this process, and what is open in it.
pub(crate) struct Profile {
    pub(crate) options: EngineOptions,
    pub(crate) hub: Arc<NoticeHub>,
    open: Mutex<Option<Arc<Session>>>,
}

impl Profile {
    /// Locks the folder and opens what was signed in.
    pub(crate) async fn open(options: EngineOptions, hub: Arc<NoticeHub>) -> Result<Self, ClientError> {
        Ok(Self { options, hub, open: Mutex::new(None) })
    }

    /// The open account.
    pub(crate) fn session(&self) -> Result<Arc<Session>, ClientError> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.clone().ok_or(ClientError::SignedOut)
    }

    /// What the interface shows first.
    pub(crate) async fn app_state(&self) -> AppState {
        AppState::SignedOut { server: None, reason: None, secret_store_usable: true }
    }

    /// Ends what is open.
    pub(crate) async fn close(&self) {}
}

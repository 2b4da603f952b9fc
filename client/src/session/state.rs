//! What the interface shows first: who is signed in, what keeps somebody out, what has to be decided.

use super::{Open, Profile, Session};
use crate::{
    ClientError,
    profile::LastAccount,
    secrets::Trouble,
    store::salvage,
    view::{AppState, KeyOffer, KeyStore, LockedTrouble, SignedOutReason},
};
use std::sync::{PoisonError, atomic::Ordering};

impl Profile {
    /// What the interface shows first.
    pub(crate) async fn app_state(&self) -> AppState {
        if let Ok(session) = self.session() {
            // A database that cannot be read at the moment says nothing; the next look does.
            let mended = session.store.read(salvage::mended).await.unwrap_or(None);
            return AppState::SignedIn { account: session.view(), mended, offer: self.offer(&session).await };
        }
        if self.is_locked() {
            let last = self.folder.last_account();
            let (server, username) = last.map(|last| (last.server, last.username)).unzip();
            let trouble = self.vault.file().and_then(|file| file.trouble()).map(|trouble| match trouble {
                Trouble::Newer { .. } => LockedTrouble::Newer,
                Trouble::Damaged => LockedTrouble::Damaged,
                Trouble::NoAccess => LockedTrouble::NoAccess,
            });
            return AppState::Locked { server, username, trouble };
        }
        let (server, reason) = match &*self.open.lock().unwrap_or_else(PoisonError::into_inner) {
            Open::Account(session) => (Some(session.account.server.clone()), None),
            Open::Nobody { server, reason } => (server.clone(), *reason),
        };
        let secret_store_usable = self.vault.is_usable().await;
        AppState::SignedOut { server, reason, secret_store_usable }
    }

    /// Why nobody is signed in, if somebody was.
    pub(super) fn reason(&self) -> Option<SignedOutReason> {
        match &*self.open.lock().unwrap_or_else(PoisonError::into_inner) {
            Open::Account(_) => None,
            Open::Nobody { reason, .. } => *reason,
        }
    }

    /// Whether the secrets are in a file that is not open, or is being closed.
    pub(super) fn is_locked(&self) -> bool {
        self.is_locking.load(Ordering::Acquire) || self.vault.file().is_some_and(|file| !file.is_open())
    }

    /// Where secrets go that are kept.
    pub(super) fn kept_in(&self) -> KeyStore {
        if self.vault.file().is_some() { KeyStore::Passphrase } else { KeyStore::SecretStore }
    }

    /// What is offered to somebody whose sign-in lasts until the app quits.
    async fn offer(&self, session: &Session) -> Option<KeyOffer> {
        let reason = self.offered(session)?;
        Some(KeyOffer {
            reason,
            has_history: self.has_history(session),
            unsent: session.unsent_behind,
            secret_store_usable: self.vault.is_system_usable().await,
        })
    }

    /// Remembers one's own new name, for a start without a network.
    pub(crate) fn renamed(&self, name: &str) -> Result<(), ClientError> {
        match self.folder.last_account() {
            Some(last) => {
                self.folder.set_last_account(&LastAccount { display_name: name.to_owned(), ..last })
            }
            None => Ok(()),
        }
    }
}

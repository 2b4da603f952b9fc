//! The profile's database.

use crate::{
    ClientError,
    driver::{Boxed, SyncStore},
    sync::ops::{LocalState, StoreOp, Stored},
    view::PersonView,
};
use kith_protocol::UserId;
use std::path::Path;
use zeroize::Zeroizing;

/// A handle to the database; clones are handles to the same one.
#[derive(Clone)]
pub(crate) struct Store {}

/// The numbers of the whole account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Numbers {
    pub(crate) unread: u32,
    pub(crate) unsent: u32,
    pub(crate) parked: u32,
    /// Messages stored here.
    pub(crate) messages: u32,
}

impl Store {
    /// Opens the database of one user, or makes it.
    ///
    /// # Errors
    /// [`ClientError::KeyMissing`] if the key does not open the file, [`ClientError::NewerFile`],
    /// [`ClientError::Store`]. The file is left as it is.
    pub(crate) async fn open(path: &Path, key: &Zeroizing<[u8; 32]>, me: UserId) -> Result<Self, ClientError> {
        let _ = (path, key, me);
        Ok(Self {})
    }

    /// Finishes what is being written, checkpoints, and closes.
    pub(crate) async fn close(&self) {}

    /// The numbers of the whole account.
    pub(crate) async fn numbers(&self) -> Result<Numbers, ClientError> {
        Ok(Numbers::default())
    }

    /// These people, as far as they are known, in this order.
    pub(crate) async fn people(&self, users: Vec<UserId>) -> Result<Vec<PersonView>, ClientError> {
        let _ = users;
        Ok(Vec::new())
    }
}

impl SyncStore for Store {
    fn load_sync_state(&self) -> Boxed<'_, Result<LocalState, ClientError>> {
        Box::pin(async { Ok(LocalState::default()) })
    }

    fn apply(&self, ops: Vec<StoreOp>) -> Boxed<'_, Result<Stored, ClientError>> {
        let _ = ops;
        Box::pin(async { Ok(Stored::default()) })
    }
}

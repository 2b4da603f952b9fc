//! The database that a session is on: its user's own, or one that ends with the session.

use super::Profile;
use crate::{
    ClientError,
    profile::Folder,
    store::{Key, Store},
    view::KeyStore,
};
use kith_protocol::UserId;
use std::path::PathBuf;

/// A database, the key that opens it, and where that key is kept.
pub(super) struct Opened {
    pub(super) store: Store,
    pub(super) file: PathBuf,
    pub(super) key_store: KeyStore,
    pub(super) is_temporary: bool,
}

impl Profile {
    /// Opens the user's database. One that exists is never replaced or re-keyed: without its key it stays as it is,
    /// and a temporary one serves until the app quits.
    pub(super) async fn open_database(&self, server: &str, user: UserId) -> Result<Opened, ClientError> {
        let file = self.folder.database(server, user);
        let is_usable = self.vault.is_usable().await;
        // A store that refuses to write may still be read; one that hangs is not waited for again.
        let may_know = is_usable || (file.exists() && !self.vault.hangs());
        let found = if may_know { self.vault.key(server, user).await.unwrap_or(None) } else { None };
        if file.exists() {
            let Some(key) = found else { return self.open_temporary(user).await };
            return match Store::open(&file, &key, user).await {
                Ok(store) => Ok(Opened { store, file, key_store: self.kept_in(), is_temporary: false }),
                Err(ClientError::KeyMissing) => self.open_temporary(user).await,
                Err(error) => Err(error),
            };
        }
        let key = match found {
            Some(key) => key,
            None if !is_usable => return self.open_temporary(user).await,
            None => {
                let key = new_key();
                if self.vault.set_key(server, user, &key).await.is_err() {
                    return self.open_temporary(user).await;
                }
                key
            }
        };
        let store = Store::open(&file, &key, user).await?;
        Ok(Opened { store, file, key_store: self.kept_in(), is_temporary: false })
    }

    async fn open_temporary(&self, user: UserId) -> Result<Opened, ClientError> {
        let file = self.folder.temporary_database();
        Folder::remove_database(&file)?;
        let store = Store::open(&file, &new_key(), user).await?;
        Ok(Opened { store, file, key_store: KeyStore::SessionOnly, is_temporary: true })
    }
}

fn new_key() -> Key {
    Key::new(rand::random())
}

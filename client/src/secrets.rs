//! Where token and database key are kept.

use std::{collections::HashMap, sync::{Mutex, PoisonError}};
use zeroize::Zeroizing;

/// An entry of the secret store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SecretName {
    /// Profile and server.
    pub service: String,
    /// `session`, or `key` with the user.
    pub user: String,
}

/// The secret store cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the secret store cannot be used")]
pub struct SecretError;

/// Keeps a few small secrets. Calls may block.
pub trait SecretStore: Send + Sync {
    /// Reads an entry.
    ///
    /// # Errors
    /// [`SecretError`] if the store cannot be used.
    fn get(&self, name: &SecretName) -> Result<Option<Zeroizing<Vec<u8>>>, SecretError>;
    /// Writes an entry.
    ///
    /// # Errors
    /// [`SecretError`] if the store cannot be used.
    fn set(&self, name: &SecretName, secret: &[u8]) -> Result<(), SecretError>;
    /// Removes an entry; one that is not there is no error.
    ///
    /// # Errors
    /// [`SecretError`] if the store cannot be used.
    fn delete(&self, name: &SecretName) -> Result<(), SecretError>;
}

/// Keeps secrets until the process ends.
#[derive(Default)]
pub struct MemorySecrets(Mutex<HashMap<SecretName, Zeroizing<Vec<u8>>>>);

impl SecretStore for MemorySecrets {
    fn get(&self, name: &SecretName) -> Result<Option<Zeroizing<Vec<u8>>>, SecretError> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned())
    }

    fn set(&self, name: &SecretName, secret: &[u8]) -> Result<(), SecretError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), secret.to_vec().into());
        Ok(())
    }

    fn delete(&self, name: &SecretName) -> Result<(), SecretError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        Ok(())
    }
}

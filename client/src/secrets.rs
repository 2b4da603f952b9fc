//! Where token and database key are kept: the operating system's secret store, or memory until the process ends.
//!
//! Never in plain text on a disk. What can be used is found out by writing, not by reading: a locked store answers a
//! read as if nothing were there.

mod ahead;
mod keyring;
mod memory;
mod vault;

pub use self::{keyring::KeyringSecrets, memory::MemorySecrets};
pub(crate) use vault::{Kept, Vault};

use zeroize::Zeroizing;

/// An entry of the secret store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SecretName {
    /// Profile, its folder's id, and server.
    pub service: String,
    /// `session`, or `key` with the user.
    pub user: String,
}

/// The secret store cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the secret store cannot be used")]
pub struct SecretError;

/// Keeps a few small secrets, as bytes. Calls may block for long: they are made off every other thread, and given up
/// after three seconds.
pub trait SecretStore: Send + Sync + 'static {
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

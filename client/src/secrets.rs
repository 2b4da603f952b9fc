//! Where token and database key are kept: the operating system's secret store, a file under a passphrase, or memory
//! until the process ends.
//!
//! Never in plain text on a disk. What can be used is found out by writing, not by reading: a locked store answers a
//! read as if nothing were there.

mod hidden;
mod keyring;
mod memory;
mod passphrase;
#[cfg(test)]
mod tests;
mod vault;
mod write_behind;

pub use self::{hidden::Hidden, keyring::KeyringSecrets, memory::MemorySecrets, passphrase::PassphraseError};
pub(crate) use passphrase::{PassphraseFile, Trouble, fitting};
pub(crate) use vault::{Kept, Vault, session_bytes};

/// An entry of the secret store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SecretName {
    /// Profile, its folder's id, and server.
    pub service: String,
    /// `session`, or `key` with the user.
    pub user: String,
}

/// Why a secret was not read or written. It never holds the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The store is not there, locked, or refused.
    #[error("the secret store cannot be used")]
    Unusable,
    /// The secret is larger than [`SECRET_MAX`].
    #[error("a secret of {bytes} bytes is too large for the secret store")]
    TooLarge { bytes: usize },
}

/// The largest secret, bytes as stored: the limit of Windows' Credential Manager, kept to everywhere, so that what
/// works on one system works on all.
pub const SECRET_MAX: usize = 2_560;

/// A secret as an entry holds it.
pub(crate) type Secret = Hidden<Vec<u8>>;

/// Keeps a few small secrets, as bytes. Calls may block for long: they are made off every other thread, and given up
/// after three seconds.
pub trait SecretStore: Send + Sync + 'static {
    /// Reads an entry.
    ///
    /// # Errors
    /// [`SecretError`] if the store cannot be used.
    fn get(&self, name: &SecretName) -> Result<Option<Hidden<Vec<u8>>>, SecretError>;
    /// Writes an entry. One that is too large leaves the entry as it was.
    ///
    /// # Errors
    /// [`SecretError`] if the store cannot be used, or not for this.
    fn set(&self, name: &SecretName, secret: &[u8]) -> Result<(), SecretError>;
    /// Removes an entry; one that is not there is no error.
    ///
    /// # Errors
    /// [`SecretError`] if the store cannot be used.
    fn delete(&self, name: &SecretName) -> Result<(), SecretError>;
    /// What people call the store.
    fn name(&self) -> &'static str {
        "the secret store"
    }
    /// Whether the store is known to be unlocked, found out without any prompt; asked every few seconds while it
    /// could not be used. `false` if that cannot be known.
    fn is_unlocked(&self) -> bool {
        false
    }
}

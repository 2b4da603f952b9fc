//! Where the sign-in and the database's key are kept.

use super::Engine;
use crate::ClientError;

impl Engine {
    /// Opens the file of secrets, and with it what was signed in.
    ///
    /// # Errors
    /// [`ClientError::Passphrase`]: wrong, too many wrong ones, a file that cannot be opened.
    pub async fn unlock(&self, passphrase: String) -> Result<(), ClientError> {
        self.inner.profile.unlock(passphrase.into()).await
    }

    /// Closes the open account and forgets its key until [`unlock`](Self::unlock). Meanwhile nothing is received, sent
    /// or announced; what was written waits in the file.
    ///
    /// # Errors
    /// [`ClientError::SignedOut`]; [`ClientError::Refused`] with `not_allowed` if no passphrase keeps the account.
    pub async fn lock(&self) -> Result<(), ClientError> {
        self.inner.profile.lock().await
    }

    /// Keeps the open account's sign-in and key in a file under a passphrase of 8 to 256 characters. A history that
    /// could not be opened is set aside.
    ///
    /// # Errors
    /// [`ClientError::Passphrase`], [`ClientError::SignedOut`], [`ClientError::Refused`] with `not_allowed` if there
    /// is a passphrase, or what the disk met; then everything is as it was.
    pub async fn set_passphrase(&self, passphrase: String) -> Result<(), ClientError> {
        self.inner.profile.set_passphrase(passphrase.into()).await
    }

    /// Changes the passphrase.
    ///
    /// # Errors
    /// [`ClientError::Passphrase`], [`ClientError::NotFound`] if there is none.
    pub async fn change_passphrase(&self, current: String, new: String) -> Result<(), ClientError> {
        self.inner.profile.change_passphrase(current.into(), new.into()).await
    }

    /// Keeps the open account's sign-in and key in the secret store; a passphrase is not asked for any more. A history
    /// that could not be opened is set aside, unless the store has its key.
    ///
    /// # Errors
    /// [`ClientError::SecretStore`], [`ClientError::UnsentFirst`], [`ClientError::SignedOut`], or what the disk met;
    /// then everything is as it was.
    pub async fn use_secret_store(&self) -> Result<(), ClientError> {
        self.inner.profile.use_secret_store().await
    }

    /// The sign-in lasts until the app quits, and that is enough: the offer ends.
    ///
    /// # Errors
    /// [`ClientError::SignedOut`], [`ClientError::File`].
    pub async fn keep_until_quit(&self) -> Result<(), ClientError> {
        self.inner.profile.keep_until_quit().await
    }
}

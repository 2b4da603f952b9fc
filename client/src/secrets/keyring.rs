//! The operating system's secret store: Secret Service, Keychain, Credential Manager.

use super::{SecretError, SecretName, SecretStore};
use keyring::{Entry, Error};
use zeroize::Zeroizing;

/// The operating system's secret store.
#[derive(Debug, Clone, Copy, Default)]
pub struct KeyringSecrets;

/// Says what failed, never the secret: a store's error may carry the bytes that it could not read.
fn unusable(error: &Error) -> SecretError {
    let kind = match error {
        Error::PlatformFailure(_) => "platform failure",
        Error::NoStorageAccess(_) => "no access",
        Error::NoDefaultStore => "no store",
        Error::TooLong(..) => "too long",
        _ => "other",
    };
    tracing::warn!(kind, "the secret store failed");
    SecretError
}

fn entry(name: &SecretName) -> Result<Entry, SecretError> {
    Entry::new(&name.service, &name.user).map_err(|error| unusable(&error))
}

impl SecretStore for KeyringSecrets {
    fn get(&self, name: &SecretName) -> Result<Option<Zeroizing<Vec<u8>>>, SecretError> {
        match entry(name)?.get_secret() {
            Ok(secret) => Ok(Some(secret.into())),
            Err(Error::NoEntry) => Ok(None),
            Err(error) => Err(unusable(&error)),
        }
    }

    fn set(&self, name: &SecretName, secret: &[u8]) -> Result<(), SecretError> {
        entry(name)?.set_secret(secret).map_err(|error| unusable(&error))
    }

    fn delete(&self, name: &SecretName) -> Result<(), SecretError> {
        match entry(name)?.delete_credential() {
            Ok(()) | Err(Error::NoEntry) => Ok(()),
            Err(error) => Err(unusable(&error)),
        }
    }
}

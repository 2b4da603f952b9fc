//! The operating system's secret store: Secret Service, Keychain, Credential Manager.

use super::{Hidden, SECRET_MAX, SecretError, SecretName, SecretStore};
use keyring_core::Error;

#[cfg(not(target_os = "linux"))]
use elsewhere::Connected;
#[cfg(target_os = "linux")]
use linux::Connected;

/// The operating system's secret store. One that was not there, or went away, is looked for again with every call.
#[derive(Default)]
pub struct KeyringSecrets(Connected);

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
    SecretError::Unusable
}

impl SecretStore for KeyringSecrets {
    fn get(&self, name: &SecretName) -> Result<Option<Hidden<Vec<u8>>>, SecretError> {
        match self.0.with(name, |entry| entry.get_secret()) {
            Ok(secret) => Ok(Some(secret.into())),
            Err(Error::NoEntry) => Ok(None),
            Err(error) => Err(unusable(&error)),
        }
    }

    fn set(&self, name: &SecretName, secret: &[u8]) -> Result<(), SecretError> {
        let bytes = secret.len();
        if bytes > SECRET_MAX {
            return Err(SecretError::TooLarge { bytes });
        }
        self.0.with(name, |entry| entry.set_secret(secret)).map_err(|error| match error {
            Error::TooLong(..) => SecretError::TooLarge { bytes },
            error => unusable(&error),
        })
    }

    fn delete(&self, name: &SecretName) -> Result<(), SecretError> {
        match self.0.with(name, |entry| entry.delete_credential()) {
            Ok(()) | Err(Error::NoEntry) => Ok(()),
            Err(error) => Err(unusable(&error)),
        }
    }

    fn name(&self) -> &'static str {
        match std::env::consts::OS {
            "linux" => "Secret Service",
            "macos" => "Keychain",
            "windows" => "Credential Manager",
            _ => "the secret store",
        }
    }

    fn is_unlocked(&self) -> bool {
        self.0.is_unlocked()
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use super::SecretName;
    use keyring_core::{Entry, Error, api::CredentialStoreApi as _};
    use secret_service::{EncryptionType, blocking::SecretService};
    use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
    use zbus_secret_service_keyring_store::Store;

    /// The connection to the Secret Service, as long as it works.
    #[derive(Default)]
    pub(super) struct Connected(Mutex<Option<Arc<Store>>>);

    impl Connected {
        fn kept(&self) -> MutexGuard<'_, Option<Arc<Store>>> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }

        /// Calls the store. A connection that fails is given up: bus or service may have been started anew, and the
        /// old one would fail for as long as the process lives.
        pub(super) fn with<T>(
            &self,
            name: &SecretName,
            call: impl Fn(&Entry) -> Result<T, Error>,
        ) -> Result<T, Error> {
            let kept = self.kept().clone();
            let was_kept = kept.is_some();
            match self.call(kept, name, &call) {
                Err(Error::PlatformFailure(_)) if was_kept => self.call(None, name, &call),
                answer => answer,
            }
        }

        fn call<T>(
            &self,
            store: Option<Arc<Store>>,
            name: &SecretName,
            call: impl Fn(&Entry) -> Result<T, Error>,
        ) -> Result<T, Error> {
            // Nothing is locked meanwhile: connecting may take as long as the bus likes.
            let store = store.map_or_else(Store::new, Ok)?;
            let answer = store.build(&name.service, &name.user, None).and_then(|entry| call(&entry));
            *self.kept() = match &answer {
                Err(Error::PlatformFailure(_)) => None,
                _ => Some(store),
            };
            answer
        }

        /// Asks for the state of the default collection, which opens no prompt.
        pub(super) fn is_unlocked(&self) -> bool {
            let look = || {
                let service = SecretService::connect(EncryptionType::Plain)?;
                let collection = service.get_default_collection()?;
                Ok::<_, secret_service::Error>(!collection.is_locked()?)
            };
            look().unwrap_or(false)
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod elsewhere {
    use super::SecretName;
    use keyring_core::{Entry, Error};

    /// These stores are part of the system: they are always there.
    #[derive(Default)]
    pub(super) struct Connected;

    impl Connected {
        pub(super) fn with<T>(
            &self,
            name: &SecretName,
            call: impl Fn(&Entry) -> Result<T, Error>,
        ) -> Result<T, Error> {
            call(&keyring::Entry::new(&name.service, &name.user)?.inner)
        }

        /// Asking may open a prompt.
        pub(super) fn is_unlocked(&self) -> bool {
            false
        }
    }
}

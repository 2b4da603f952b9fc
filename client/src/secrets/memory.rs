//! Secrets in memory.

use super::{Hidden, SecretError, SecretName, SecretStore};
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Keeps secrets until it is dropped: for tests and measurements.
#[derive(Default)]
pub struct MemorySecrets(Mutex<HashMap<SecretName, Hidden<Vec<u8>>>>);

impl MemorySecrets {
    fn entries(&self) -> MutexGuard<'_, HashMap<SecretName, Hidden<Vec<u8>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
impl MemorySecrets {
    pub(crate) fn names(&self) -> Vec<SecretName> {
        self.entries().keys().cloned().collect()
    }
}

impl SecretStore for MemorySecrets {
    fn get(&self, name: &SecretName) -> Result<Option<Hidden<Vec<u8>>>, SecretError> {
        Ok(self.entries().get(name).cloned())
    }

    fn set(&self, name: &SecretName, secret: &[u8]) -> Result<(), SecretError> {
        self.entries().insert(name.clone(), secret.to_vec().into());
        Ok(())
    }

    fn delete(&self, name: &SecretName) -> Result<(), SecretError> {
        self.entries().remove(name);
        Ok(())
    }
}

//! Write-behind queue of the secret store: what it should hold and does not yet.
//!
//! A call to the store may outlast everybody's patience and still succeed, minutes later, when its prompt is
//! answered. So a call does not carry a value: it takes the newest one of its entry when its turn has come, and of one
//! entry there is one call at a time. Whatever hangs and in whatever order it is let go, the newest is stored last.

use super::{Secret, SecretError, SecretName, SecretStore};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What an entry should hold; `None` if it should not be there.
pub(super) type Wanted = Option<Secret>;

#[derive(Default)]
struct Entry {
    /// Held by the call that is with the store.
    turn: Arc<Mutex<()>>,
    /// Rises with every write.
    number: u64,
    wanted: Option<Wanted>,
}

/// Entries that the store does not hold yet; they are read before it.
#[derive(Default)]
pub(super) struct WriteBehind(Mutex<HashMap<SecretName, Entry>>);

impl WriteBehind {
    fn entries(&self) -> MutexGuard<'_, HashMap<SecretName, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what an entry should hold.
    pub(super) fn enqueue(&self, name: &SecretName, wanted: Wanted) {
        let mut entries = self.entries();
        let entry = entries.entry(name.clone()).or_default();
        entry.number += 1;
        entry.wanted = Some(wanted);
    }

    /// What an entry should hold, if the store does not know it yet.
    pub(super) fn queued(&self, name: &SecretName) -> Option<Wanted> {
        self.entries().get(name)?.wanted.clone()
    }

    /// Wants nothing of an entry any more: the store is right, whatever it holds.
    pub(super) fn forget(&self, name: &SecretName) {
        if let Some(entry) = self.entries().get_mut(name) {
            entry.wanted = None;
        }
    }

    /// The entries that the store does not know yet.
    pub(super) fn names(&self) -> Vec<SecretName> {
        let entries = self.entries();
        entries.iter().filter(|(_, entry)| entry.wanted.is_some()).map(|(name, _)| name.clone()).collect()
    }

    /// Brings one entry up to date. May block for long, as the store may.
    pub(super) fn flush(&self, store: &dyn SecretStore, name: &SecretName) -> Result<(), SecretError> {
        let turn = self.entries().entry(name.clone()).or_default().turn.clone();
        let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = {
            let entries = self.entries();
            entries.get(name).and_then(|entry| Some((entry.number, entry.wanted.clone()?)))
        };
        // Another call has brought it already.
        let Some((number, wanted)) = newest else { return Ok(()) };
        match wanted {
            Some(secret) => {
                if let Err(error) = store.set(name, &secret) {
                    // An older secret would be found in the place of the one that does not fit.
                    if let SecretError::TooLarge { .. } = error {
                        let _ = store.delete(name);
                    }
                    return Err(error);
                }
            }
            None => store.delete(name)?,
        }
        if let Some(entry) = self.entries().get_mut(name)
            && entry.number == number
        {
            entry.wanted = None;
        }
        Ok(())
    }
}

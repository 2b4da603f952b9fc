//! A secret store that a test can look into and break.

use kith_client::secrets::{Hidden, MemorySecrets, SecretError, SecretName, SecretStore};
use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

/// Notes what no log may hold, where `KITH_TEST_LOGS` names a folder: texts that are long enough not to be there by chance.
pub fn note(secret: &str) {
    const LEAST: usize = 12;
    let Some(folder) = std::env::var_os("KITH_TEST_LOGS").filter(|_| secret.len() >= LEAST) else { return };
    let path = std::path::Path::new(&folder).join(format!("{}.secrets", std::process::id()));
    let file = std::fs::File::options().create(true).append(true).open(path);
    let line = serde_json::Value::from(secret).to_string() + "\n";
    file.and_then(|mut file| std::io::Write::write_all(&mut file, line.as_bytes()))
        .expect("the folder takes it");
}

/// Notes the tokens of a session's entry.
fn note_session(entry: &[u8]) {
    let entry = serde_json::from_slice(entry).unwrap_or(serde_json::Value::Null);
    let texts = entry.as_object().into_iter().flatten().filter(|(name, _)| name.contains("token"));
    texts.filter_map(|(_, value)| value.as_str()).for_each(note);
}

/// Keeps secrets in memory, beyond an engine's life, as the operating system's store does.
#[derive(Default)]
pub struct TestSecrets {
    entries: MemorySecrets,
    names: Mutex<Vec<SecretName>>,
    is_broken: AtomicBool,
}

impl TestSecrets {
    fn names(&self) -> MutexGuard<'_, Vec<SecretName>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses everything from here on, or serves again.
    pub fn set_broken(&self, is_broken: bool) {
        self.is_broken.store(is_broken, Ordering::Release);
    }

    /// What is stored at the moment, for `session` or `key` entries.
    pub fn stored(&self, kind: &str) -> Vec<(SecretName, Vec<u8>)> {
        let names = self.names().clone();
        let wanted = names.into_iter().filter(|name| name.user.starts_with(kind));
        wanted
            .filter_map(|name| {
                let secret = self.entries.get(&name).ok()??;
                Some((name, secret.to_vec()))
            })
            .collect()
    }

    /// Takes entries away, as somebody who clears their store does.
    pub fn lose(&self, kind: &str) -> Vec<(SecretName, Vec<u8>)> {
        let lost = self.stored(kind);
        for (name, _) in &lost {
            self.entries.delete(name).expect("memory takes everything");
        }
        lost
    }

    /// Writes an entry past the engine.
    pub fn put(&self, name: &SecretName, secret: &[u8]) {
        self.entries.set(name, secret).expect("memory takes everything");
    }

    fn check(&self) -> Result<(), SecretError> {
        if self.is_broken.load(Ordering::Acquire) { Err(SecretError::Unusable) } else { Ok(()) }
    }
}

impl SecretStore for TestSecrets {
    fn get(&self, name: &SecretName) -> Result<Option<Hidden<Vec<u8>>>, SecretError> {
        self.check()?;
        self.entries.get(name)
    }

    fn set(&self, name: &SecretName, secret: &[u8]) -> Result<(), SecretError> {
        self.check()?;
        note_session(secret);
        let mut names = self.names();
        if !names.contains(name) {
            names.push(name.clone());
        }
        self.entries.set(name, secret)
    }

    fn delete(&self, name: &SecretName) -> Result<(), SecretError> {
        self.check()?;
        self.entries.delete(name)
    }
}

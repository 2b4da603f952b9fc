//! A secret store in a plain file: for tests alone, whose engines are killed and come back.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kith_client::secrets::{Hidden, SecretError, SecretName, SecretStore};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

type Entries = BTreeMap<String, String>;

/// Secrets of one engine.
pub struct SecretFile {
    path: PathBuf,
    /// Held while the file is read and written.
    turn: Mutex<()>,
}

impl SecretFile {
    /// The store of a folder.
    pub fn of(folder: &Path) -> Self {
        Self { path: folder.join("secrets.json"), turn: Mutex::default() }
    }

    fn read(&self) -> Result<Entries, SecretError> {
        match std::fs::read(&self.path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|_| SecretError::Unusable),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Entries::new()),
            Err(_) => Err(SecretError::Unusable),
        }
    }

    /// Whole or not at all, whenever the process is killed.
    fn change(&self, change: impl FnOnce(&mut Entries)) -> Result<(), SecretError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut entries = self.read()?;
        change(&mut entries);
        let part = self.path.with_extension("part");
        let bytes = serde_json::to_vec(&entries).map_err(|_| SecretError::Unusable)?;
        std::fs::write(&part, bytes)
            .and_then(|()| std::fs::rename(&part, &self.path))
            .map_err(|_| SecretError::Unusable)
    }

    pub fn database_key(&self) -> Option<Vec<u8>> {
        let entries = self.read().ok()?;
        let found = entries.iter().find(|(name, _)| name.contains("\nkey "))?;
        STANDARD.decode(found.1).ok()
    }
}

fn entry(name: &SecretName) -> String {
    format!("{}\n{}", name.service, name.user)
}

impl SecretStore for SecretFile {
    fn get(&self, name: &SecretName) -> Result<Option<Hidden<Vec<u8>>>, SecretError> {
        let entries = self.read()?;
        let found = entries.get(&entry(name)).map(|text| STANDARD.decode(text));
        found.transpose().map(|bytes| bytes.map(Hidden::new)).map_err(|_| SecretError::Unusable)
    }

    fn set(&self, name: &SecretName, secret: &[u8]) -> Result<(), SecretError> {
        self.change(|entries| drop(entries.insert(entry(name), STANDARD.encode(secret))))
    }

    fn delete(&self, name: &SecretName) -> Result<(), SecretError> {
        self.change(|entries| drop(entries.remove(&entry(name))))
    }
}

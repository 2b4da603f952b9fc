//! A profile's folder: its lock, and what is written there in plain text (never a secret).

use crate::{ClientError, view::KeyOfferReason};
use kith_protocol::{DeviceId, UserId, api::Profile as PersonProfile};
use serde::{Deserialize, Serialize};
use std::{
    fs::{File, TryLockError},
    io::Write as _,
    path::{Path, PathBuf},
};
use url::Url;

/// Who signed in last on this profile: enough to open the right database without a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LastAccount {
    /// The server's address, without a trailing slash.
    pub(crate) server: String,
    pub(crate) user: UserId,
    pub(crate) device: DeviceId,
    pub(crate) username: String,
    pub(crate) display_name: String,
    #[serde(default)]
    pub(crate) role: Option<String>,
    #[serde(default)]
    pub(crate) avatar: Option<String>,
    /// Signed out since: whatever the secret store still holds, nobody is signed in.
    #[serde(default)]
    pub(crate) is_signed_out: bool,
    /// Items that were unsent when the history was closed last; `None` while it is open, or after a crash.
    #[serde(default)]
    pub(crate) unsent: Option<u32>,
}

impl LastAccount {
    pub(crate) fn new(server: String, device: DeviceId, profile: PersonProfile) -> Self {
        Self {
            server,
            user: profile.id,
            device,
            username: profile.username,
            display_name: profile.display_name,
            role: profile.role,
            avatar: profile.avatar,
            is_signed_out: false,
            unsent: None,
        }
    }
}

/// A folder that this process has locked.
pub(crate) struct Folder {
    path: PathBuf,
    id: Option<String>,
    _lock: File,
}

impl Folder {
    /// Makes the folder if it is missing, for its user alone, and locks it.
    ///
    /// # Errors
    /// [`ClientError::ProfileLocked`], [`ClientError::BadProfile`], [`ClientError::File`].
    pub(crate) fn open(data_dir: &Path, profile: &str) -> Result<Self, ClientError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if profile.is_empty() || profile.len() > 64 || !profile.chars().all(plain) {
            return Err(ClientError::BadProfile);
        }
        let path = data_dir.join(profile);
        std::fs::create_dir_all(&path)?;
        #[cfg(unix)]
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        let lock = File::options().create(true).truncate(false).write(true).open(path.join("lock"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { id: folder_id(&path)?, path, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(ClientError::ProfileLocked),
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }

    /// What tells this folder from one elsewhere with a profile of the same name.
    pub(crate) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    fn account_file(&self) -> PathBuf {
        self.path.join("profile.json")
    }

    /// Who signed in last; a file that cannot be read counts as nobody.
    pub(crate) fn last_account(&self) -> Option<LastAccount> {
        let text = std::fs::read(self.account_file()).ok()?;
        serde_json::from_slice(&text)
            .inspect_err(|error| tracing::warn!(%error, "profile.json cannot be read"))
            .ok()
    }

    /// Writes who signed in, whole or not at all.
    ///
    /// # Errors
    /// [`ClientError::File`].
    pub(crate) fn set_last_account(&self, account: &LastAccount) -> Result<(), ClientError> {
        // Plain strings and ids: serialisation has no way to fail.
        write_whole(&self.account_file(), &serde_json::to_vec_pretty(account).unwrap_or_default())
    }

    /// Notes that who signed in last is not signed in any more.
    ///
    /// # Errors
    /// [`ClientError::File`].
    pub(crate) fn note_signed_out(&self) -> Result<(), ClientError> {
        match self.last_account() {
            Some(last) => self.set_last_account(&LastAccount { is_signed_out: true, ..last }),
            None => Ok(()),
        }
    }

    /// The database of one user of one server (S9).
    pub(crate) fn database(&self, server: &str, user: UserId) -> PathBuf {
        let host = Url::parse(server).ok();
        let host = host.as_ref().map_or_else(|| server.to_owned(), |url| url.authority().to_owned());
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' || c == '-' { c } else { '_' };
        self.path.join(format!("{}_{user}.db", host.chars().map(plain).collect::<String>()))
    }

    /// The file of secrets under a passphrase.
    pub(crate) fn secrets_file(&self) -> PathBuf {
        self.path.join("secrets.sealed")
    }

    fn choice_file(&self) -> PathBuf {
        self.path.join("until-quit.json")
    }

    /// For which case the user chose that a sign-in lasts until the app quits.
    pub(crate) fn until_quit_chosen(&self) -> Option<KeyOfferReason> {
        serde_json::from_slice(&std::fs::read(self.choice_file()).ok()?).ok()
    }

    /// Remembers that choice.
    ///
    /// # Errors
    /// [`ClientError::File`].
    pub(crate) fn choose_until_quit(&self, reason: KeyOfferReason) -> Result<(), ClientError> {
        // A plain word: serialisation has no way to fail.
        write_whole(&self.choice_file(), &serde_json::to_vec(&reason).unwrap_or_default())
    }

    /// Forgets that choice: another was made.
    pub(crate) fn forget_choice(&self) {
        match std::fs::remove_file(self.choice_file()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(%error, "a choice could not be forgotten");
            }
            _ => {}
        }
    }

    /// A database that lasts until the app quits.
    pub(crate) fn temporary_database(&self) -> PathBuf {
        self.path.join("until-quit.db")
    }

    /// Removes a database with everything that belongs to it: SQLite's own files, copies, what was set aside.
    ///
    /// # Errors
    /// [`ClientError::File`].
    pub(crate) fn remove_database(path: &Path) -> Result<(), ClientError> {
        let Some((folder, file)) = path.parent().zip(path.file_name()) else { return Ok(()) };
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if !entry.file_name().as_encoded_bytes().starts_with(file.as_encoded_bytes()) {
                continue;
            }
            match std::fs::remove_file(entry.path()) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }
}

fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), ClientError> {
    let part = path.with_added_extension("part");
    let mut file = File::create(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(part, path)?;
    // The name survives a power cut, too.
    #[cfg(unix)]
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Reads the folder's id. One without content gets one; one that was in use without keeps its secrets under the
/// profile's name alone.
fn folder_id(path: &Path) -> Result<Option<String>, ClientError> {
    let file = path.join("id");
    match std::fs::read_to_string(&file) {
        Ok(id) => return Ok(Some(id.trim().to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    for entry in std::fs::read_dir(path)? {
        let name = PathBuf::from(entry?.file_name());
        if name == Path::new("profile.json") || name.extension().is_some_and(|ending| ending == "db") {
            return Ok(None);
        }
    }
    let id = format!("{:08x}", rand::random::<u32>());
    write_whole(&file, id.as_bytes())?;
    Ok(Some(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_keeps_its_id_and_one_that_was_in_use_without_gets_none() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let id = |folder: &tempfile::TempDir, profile| {
            Folder::open(folder.path(), profile).unwrap().id().map(str::to_owned)
        };
        assert!(id(&one, "ada").is_some());
        assert_eq!(id(&one, "ada"), id(&one, "ada"));
        assert_ne!(id(&one, "ada"), id(&other, "ada"));
        for file in ["profile.json", "chat.example.org_1.db"] {
            let profile = file.get(..4).unwrap();
            std::fs::create_dir(one.path().join(profile)).unwrap();
            std::fs::write(one.path().join(profile).join(file), "").unwrap();
            assert_eq!(id(&one, profile), None);
        }
    }

    #[test]
    fn a_profile_belongs_to_one_process_and_its_name_is_plain() {
        let folder = tempfile::tempdir().unwrap();
        let first = Folder::open(folder.path(), "ada").unwrap();
        assert!(matches!(Folder::open(folder.path(), "ada"), Err(ClientError::ProfileLocked)));
        Folder::open(folder.path(), "bo").unwrap();
        drop(first);
        Folder::open(folder.path(), "ada").unwrap();
        for bad in ["", "..", "a/b", "a\\b", "a\0b"] {
            assert!(matches!(Folder::open(folder.path(), bad), Err(ClientError::BadProfile)), "{bad:?}");
        }
    }

    #[test]
    fn a_database_goes_with_its_copies_and_with_what_was_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let of = ["a.db", "a.db-wal", "a.db.before-upgrade", "a.db.damaged-1", "a.db.damaged-1-wal"];
        for file in of.iter().chain(&["b.db", "profile.json"]) {
            std::fs::write(folder.path().join(file), "").unwrap();
        }
        Folder::remove_database(&folder.path().join("a.db")).unwrap();
        let left = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut left: Vec<_> = left.collect();
        left.sort();
        assert_eq!(left, ["b.db", "profile.json"]);
    }

    #[test]
    fn s9_each_user_of_each_server_has_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let profile = Folder::open(folder.path(), "ada").unwrap();
        let (one, other) = (UserId::mint(), UserId::mint());
        let names = [
            profile.database("https://a.example", one),
            profile.database("https://a.example", other),
            profile.database("https://b.example", one),
            profile.database("https://a.example:8443", one),
        ];
        let distinct: std::collections::HashSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
    }
}

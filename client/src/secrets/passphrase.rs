//! The file of secrets under a passphrase, for computers without a secret store that can be used.
//!
//! One file a profile. Its first line is a header in JSON: format, version, how the key is made of the passphrase
//! (Argon2id), cipher and nonce. Behind it come the secrets, sealed with XChaCha20-Poly1305, the header authenticated
//! with them, and last the SHA-256 of everything before, so that a damaged file is not taken for a wrong passphrase.
//! A file is written whole or not at all, and one that cannot be read is never written.

mod sealing;
#[cfg(test)]
mod tests;

use self::sealing::{Header, Key, Sealed};
use super::{Hidden, SECRET_MAX, Secret, SecretError, SecretName, SecretStore};
use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use unicode_normalization::UnicodeNormalization as _;

/// A passphrase has so many characters, as typed.
const CHARS_MIN: usize = 8;
const CHARS_MAX: usize = 256;
/// So many wrong passphrases may follow each other without a wait.
const FREE_TRIES: u32 = 5;
/// The first wait; it doubles with every wrong passphrase from there on.
const FIRST_WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// A larger file is no file of secrets, bytes: there are one session and a few keys in it.
const FILE_MAX: u64 = 1024 * 1024;

/// Why the file of secrets was not opened or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PassphraseError {
    /// It is not the passphrase of this file.
    #[error("the passphrase is wrong")]
    Wrong,
    /// There were too many wrong ones.
    #[error("the next try is in {retry_after_ms} ms")]
    Wait {
        /// When to come back.
        retry_after_ms: u64,
    },
    /// A passphrase has 8 to 256 characters.
    #[error("a passphrase has {CHARS_MIN} to {CHARS_MAX} characters")]
    Unfit,
    /// The file was written by a newer version.
    #[error("the file of secrets is of version {found}")]
    Newer { found: u32 },
    /// The file is damaged.
    #[error("the file of secrets is damaged")]
    Damaged,
    /// The file cannot be read or written.
    #[error("the file of secrets cannot be read or written")]
    File(#[from] io::Error),
}

/// A passphrase as it is used: in Unicode's form NFKC, so that the same one is the same on every keyboard.
///
/// # Errors
/// [`PassphraseError::Unfit`].
pub(crate) fn fitting(passphrase: &str) -> Result<Hidden<String>, PassphraseError> {
    let is_fit = (CHARS_MIN..=CHARS_MAX).contains(&passphrase.chars().take(CHARS_MAX + 1).count());
    if !is_fit {
        return Err(PassphraseError::Unfit);
    }
    // No character becomes more than 18 others of at most 4 bytes; nothing is copied while it grows.
    let mut text = Hidden::new(String::with_capacity(passphrase.len() * 18));
    text.extend(passphrase.nfkc());
    Ok(text)
}

/// The secrets by name.
pub(crate) type Entries = HashMap<SecretName, Secret>;

/// The file of one profile, locked or open. It has no `Debug`.
pub(crate) struct PassphraseFile {
    path: PathBuf,
    state: Mutex<State>,
    tries: Mutex<Tries>,
}

enum State {
    Locked,
    /// Neither read nor written.
    Unreadable(Trouble),
    Open {
        header: Header,
        key: Key,
        entries: Entries,
    },
}

/// Why a file stays closed whatever the passphrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    Newer { found: u32 },
    Damaged,
    NoAccess,
}

impl Trouble {
    fn of(error: &PassphraseError) -> Self {
        match error {
            PassphraseError::Newer { found } => Self::Newer { found: *found },
            PassphraseError::File(_) => Self::NoAccess,
            _ => Self::Damaged,
        }
    }

    fn as_error(self) -> PassphraseError {
        match self {
            Self::Newer { found } => PassphraseError::Newer { found },
            Self::Damaged => PassphraseError::Damaged,
            Self::NoAccess => PassphraseError::File(io::ErrorKind::PermissionDenied.into()),
        }
    }
}

/// Wrong passphrases in a row. They are counted for whoever sits at this computer; who has taken the file away is
/// slowed down by Argon2id alone.
#[derive(Default)]
struct Tries {
    wrong: u32,
    until: Option<Instant>,
}

/// How long the next try waits after so many wrong ones.
fn wait_after(wrong: u32) -> Option<Duration> {
    let doublings = wrong.checked_sub(FREE_TRIES)?;
    Some(FIRST_WAIT.saturating_mul(1 << doublings.min(16)).min(LONGEST_WAIT))
}

impl PassphraseFile {
    /// The file at a path, locked; `None` if there is none.
    pub(crate) fn find(path: &Path) -> Option<Self> {
        let state = match read(path) {
            Ok(_) => State::Locked,
            Err(PassphraseError::File(error)) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => State::Unreadable(Trouble::of(&error)),
        };
        Some(Self { path: path.to_owned(), state: Mutex::new(state), tries: Mutex::default() })
    }

    /// Writes a file with these secrets, in the place of whatever is there, and leaves it open. Takes about a third of
    /// a second and 64 MiB.
    pub(crate) fn create(path: &Path, passphrase: &str, entries: Entries) -> Result<Self, PassphraseError> {
        let header = Header::new();
        let key = header.key(&fitting(passphrase)?)?;
        write(path, &sealing::seal(&header, &key, &entries)?)?;
        let state = State::Open { header, key, entries };
        Ok(Self { path: path.to_owned(), state: Mutex::new(state), tries: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tries(&self) -> MutexGuard<'_, Tries> {
        self.tries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the file; a wrong passphrase changes nothing. Takes about a third of a second and 64 MiB.
    pub(crate) fn unlock(&self, passphrase: &str) -> Result<(), PassphraseError> {
        self.wait_is_over(Instant::now())?;
        if let State::Unreadable(trouble) = &*self.state() {
            return Err(trouble.as_error());
        }
        let (header, key, entries) = self.opened(passphrase)?;
        *self.state() = State::Open { header, key, entries };
        Ok(())
    }

    /// Forgets the key and every secret until the passphrase is given again.
    pub(crate) fn lock(&self) {
        let mut state = self.state();
        if let State::Open { .. } = *state {
            *state = State::Locked;
        }
    }

    /// Seals an open file under another passphrase.
    pub(crate) fn change(&self, current: &str, new: &str) -> Result<(), PassphraseError> {
        self.wait_is_over(Instant::now())?;
        fitting(new)?;
        // What the file holds is what the open one holds: it is written with every change.
        let (_, _, entries) = self.opened(current)?;
        let changed = Self::create(&self.path, new, entries)?;
        *self.state() = changed.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(())
    }

    fn opened(&self, passphrase: &str) -> Result<(Header, Key, Entries), PassphraseError> {
        let sealed = read(&self.path)?;
        // One that could not have been chosen is wrong like any other.
        let opened = fitting(passphrase).map_err(|_| PassphraseError::Wrong).and_then(|passphrase| {
            let key = sealed.header.key(&passphrase)?;
            let entries = sealed.open(&key)?;
            Ok((sealed.header, key, entries))
        });
        match &opened {
            Ok(_) => *self.tries() = Tries::default(),
            Err(PassphraseError::Wrong) => self.note_wrong(Instant::now()),
            Err(_) => {}
        }
        opened
    }

    fn wait_is_over(&self, now: Instant) -> Result<(), PassphraseError> {
        let left = self.tries().until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        match left.as_millis() {
            0 => Ok(()),
            ms => Err(PassphraseError::Wait { retry_after_ms: u64::try_from(ms).unwrap_or(u64::MAX) }),
        }
    }

    fn note_wrong(&self, now: Instant) {
        let mut tries = self.tries();
        tries.wrong += 1;
        tries.until = wait_after(tries.wrong).map(|wait| now + wait);
    }

    /// Whether the secrets can be read and written.
    pub(crate) fn is_open(&self) -> bool {
        matches!(&*self.state(), State::Open { .. })
    }

    /// Why it stays closed whatever the passphrase.
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        match &*self.state() {
            State::Unreadable(trouble) => Some(*trouble),
            State::Locked | State::Open { .. } => None,
        }
    }

    /// Every secret of an open file.
    pub(crate) fn entries(&self) -> Entries {
        match &*self.state() {
            State::Open { entries, .. } => entries.clone(),
            State::Locked | State::Unreadable(_) => Entries::new(),
        }
    }

    /// Removes the file, once its secrets are elsewhere.
    pub(crate) fn remove(&self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }

    /// Changes an open file, on the disk first.
    fn edit(&self, edit: impl FnOnce(&mut Entries)) -> Result<(), SecretError> {
        let mut state = self.state();
        let State::Open { header, key, entries } = &mut *state else { return Err(SecretError::Unusable) };
        let mut edited = entries.clone();
        edit(&mut edited);
        let renewed = header.with_new_nonce();
        let written = sealing::seal(&renewed, key, &edited).and_then(|bytes| write(&self.path, &bytes));
        written.map_err(|error| {
            tracing::warn!(%error, "the file of secrets could not be written");
            SecretError::Unusable
        })?;
        (*header, *entries) = (renewed, edited);
        Ok(())
    }
}

impl SecretStore for PassphraseFile {
    fn get(&self, name: &SecretName) -> Result<Option<Hidden<Vec<u8>>>, SecretError> {
        match &*self.state() {
            State::Open { entries, .. } => Ok(entries.get(name).cloned()),
            State::Locked | State::Unreadable(_) => Err(SecretError::Unusable),
        }
    }

    fn set(&self, name: &SecretName, secret: &[u8]) -> Result<(), SecretError> {
        if secret.len() > SECRET_MAX {
            return Err(SecretError::TooLarge { bytes: secret.len() });
        }
        self.edit(|entries| {
            entries.insert(name.clone(), secret.to_vec().into());
        })
    }

    fn delete(&self, name: &SecretName) -> Result<(), SecretError> {
        self.edit(|entries| {
            entries.remove(name);
        })
    }

    fn name(&self) -> &'static str {
        "Passphrase"
    }

    fn is_unlocked(&self) -> bool {
        self.is_open()
    }
}

fn read(path: &Path) -> Result<Sealed, PassphraseError> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(PassphraseError::Damaged);
    }
    Sealed::parse(&bytes)
}

/// Writes the file whole or not at all, readable for its owner alone.
fn write(path: &Path, bytes: &[u8]) -> Result<(), PassphraseError> {
    let part = path.with_added_extension("part");
    match fs::remove_file(&part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&part, path)?;
    // The new name survives a power cut too.
    #[cfg(unix)]
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

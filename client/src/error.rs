//! What can go wrong in the engine.

use crate::secrets::{PassphraseError, SecretError};
use kith_protocol::ErrorCode;

/// A failure of an engine call.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The server, or a check that both sides share, refused it.
    #[error("refused: {0}")]
    Refused(ErrorCode),
    /// The server refused it for a while.
    #[error("refused for {retry_after_ms} ms: {code}")]
    RefusedFor {
        code: ErrorCode,
        /// When to come back.
        retry_after_ms: u64,
    },
    /// The server cannot be reached.
    #[error("the server cannot be reached")]
    Offline,
    /// Nobody is signed in.
    #[error("nobody is signed in")]
    SignedOut,
    /// Plain text over a network is refused; only loopback may go without TLS.
    #[error("the address is not an https:// address (or http:// to this computer)")]
    InsecureServer,
    /// The server's certificate is not one to believe: expired, of another name, or of an unknown authority.
    #[error("the server's certificate cannot be believed")]
    BadCertificate,
    /// The file of further authorities cannot be read or holds none.
    #[error("the file of certificates cannot be used")]
    BadCaFile,
    /// This computer lacks what a secure connection needs.
    #[error("no secure connection can be made on this computer")]
    NoTls,
    /// Not a server's address.
    #[error("not a server's address")]
    BadAddress,
    /// What was named is not here.
    #[error("not found")]
    NotFound,
    /// A profile's name has letters, digits, `-` and `_`, 1 to 64 of them.
    #[error("not a profile's name")]
    BadProfile,
    /// The profile is in use by another process.
    #[error("the profile is in use")]
    ProfileLocked,
    /// The database exists, but its key was not found; the file is left as it is.
    #[error("the key of the database was not found")]
    KeyMissing,
    /// The file was written by a newer version.
    #[error("the file is of schema {found}, this version knows {known}")]
    NewerFile {
        /// The file's schema number.
        found: u32,
        /// The newest that this version knows.
        known: u32,
    },
    /// The disk is full.
    #[error("the disk is full")]
    DiskFull,
    /// The disk, the folder or the file cannot be written.
    #[error("the disk or the file is read-only")]
    ReadOnly,
    /// Another program holds the database.
    #[error("another program holds the database")]
    FileBusy,
    /// The database is damaged. What can be read of it is brought into a new one.
    #[error("the database is damaged")]
    FileDamaged(#[source] rusqlite::Error),
    /// The secret store did not answer, or refused.
    #[error("the secret store cannot be used")]
    SecretStore,
    /// A secret is too large for the secret store.
    #[error("a secret is too large for the secret store")]
    SecretTooLarge,
    /// The file of secrets was not opened or written.
    #[error(transparent)]
    Passphrase(#[from] PassphraseError),
    /// What is unsent would be lost by going back to the history that was here before.
    #[error("items that are unsent would be lost")]
    UnsentFirst,
    /// A newer search took the place of this one.
    #[error("a newer search took its place")]
    Superseded,
    #[error("the store failed")]
    Store(#[source] rusqlite::Error),
    /// A part of the engine panicked while it worked on this, and is started again.
    #[error("a part of the engine failed")]
    Panicked,
    /// A file or folder failed.
    #[error("a file could not be read or written")]
    File(#[source] std::io::Error),
    /// The engine has been shut down.
    #[error("the engine has been shut down")]
    Closed,
}

impl ClientError {
    /// A stable word for interfaces: an [`ErrorCode`]'s text, or one of this crate's own.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused(code) | Self::RefusedFor { code, .. } => code.as_str(),
            Self::Offline => "offline",
            Self::SignedOut => "signed_out",
            Self::InsecureServer => "insecure_server",
            Self::BadCertificate => "bad_certificate",
            Self::BadCaFile => "bad_ca_file",
            Self::NoTls => "no_tls",
            Self::BadAddress => "bad_address",
            Self::NotFound => "not_found",
            Self::BadProfile => "bad_profile",
            Self::ProfileLocked => "profile_locked",
            Self::KeyMissing => "key_missing",
            Self::NewerFile { .. } => "newer_file",
            Self::DiskFull => "disk_full",
            Self::ReadOnly => "read_only",
            Self::FileBusy => "file_busy",
            Self::FileDamaged(_) => "file_damaged",
            Self::SecretStore => "no_secret_store",
            Self::SecretTooLarge => "secret_too_large",
            Self::Passphrase(PassphraseError::Wrong) => "passphrase_wrong",
            Self::Passphrase(PassphraseError::Wait { .. }) => "passphrase_wait",
            Self::Passphrase(PassphraseError::Unfit) => "passphrase_unfit",
            Self::Passphrase(PassphraseError::Newer { .. }) => "secrets_newer",
            Self::Passphrase(PassphraseError::Damaged) => "secrets_damaged",
            Self::Passphrase(PassphraseError::File(_)) => "file_failed",
            Self::UnsentFirst => "unsent_first",
            Self::Superseded => "superseded",
            Self::Store(_) | Self::Panicked => "store_failed",
            Self::File(_) => "file_failed",
            Self::Closed => "closed",
        }
    }
}

impl From<rusqlite::Error> for ClientError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::DiskFull,
            Some(ErrorCode::ReadOnly) => Self::ReadOnly,
            Some(ErrorCode::CannotOpen) => Self::File(std::io::Error::other(error)),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::FileBusy,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::FileDamaged(error),
            Some(ErrorCode::OperationInterrupted) => Self::Superseded,
            _ => Self::Store(error),
        }
    }
}

impl From<SecretError> for ClientError {
    fn from(error: SecretError) -> Self {
        match error {
            SecretError::Unusable => Self::SecretStore,
            SecretError::TooLarge { .. } => Self::SecretTooLarge,
        }
    }
}

impl From<std::io::Error> for ClientError {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind;
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::DiskFull,
            ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => Self::ReadOnly,
            _ => Self::File(error),
        }
    }
}

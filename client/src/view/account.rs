//! The account, its connection and its numbers.

use super::PersonView;
use kith_protocol::{DeviceId, ErrorCode, TimestampMs};
use kith_sync::LinkStatus;
use serde::{Deserialize, Serialize};

/// Who is signed in, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct AccountView {
    /// The server's address, without a trailing slash.
    pub server: String,
    pub me: PersonView,
    pub device: DeviceId,
    /// Where the secrets are.
    pub key_store: KeyStore,
    /// What people call the secret store of this system.
    pub secret_store: String,
}

/// Where token and database key are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum KeyStore {
    /// The operating system's secret store.
    SecretStore,
    /// A file in the profile's folder, sealed with a passphrase.
    Passphrase,
    /// In memory until the app quits.
    SessionOnly,
}

/// What the interface shows first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(tag = "state", rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "there is one, and the window asks for it when it changes")]
pub enum AppState {
    /// Nobody has signed in on this profile.
    SignedOut {
        /// The server that was used last.
        server: Option<String>,
        /// Why, if somebody was signed in before.
        reason: Option<SignedOutReason>,
        /// Whether the secret store can be used; if not, a sign-in lasts until the app quits.
        secret_store_usable: bool,
    },
    /// The secrets are in a file under a passphrase, and that is asked for first.
    Locked {
        /// The server that was used last.
        server: Option<String>,
        /// Who was signed in last.
        username: Option<String>,
        /// The file cannot be opened, whatever the passphrase.
        trouble: Option<LockedTrouble>,
    },
    /// There is an account; its history can be read, whatever the network does.
    SignedIn {
        account: AccountView,
        /// Its database was damaged, and the user has not seen what became of it.
        mended: Option<MendedView>,
        /// The sign-in lasts until the app quits, and the user has not said whether that is enough.
        offer: Option<KeyOffer>,
    },
}

/// Why a file of secrets stays closed. It is left as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum LockedTrouble {
    /// A newer version wrote it.
    Newer,
    Damaged,
    /// It cannot be read.
    NoAccess,
}

/// What the user decides after a sign-in that nothing keeps: a passphrase, the secret store, or nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct KeyOffer {
    /// Why it is not kept.
    pub reason: KeyOfferReason,
    /// There is a history here that could not be opened. Keeping this sign-in sets it aside; nothing is deleted.
    pub has_history: bool,
    /// Items of that history that had not reached the server, if their number is known.
    pub unsent: Option<u32>,
    /// The secret store can be used.
    pub secret_store_usable: bool,
}

/// Why a sign-in is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum KeyOfferReason {
    /// The secret store cannot be used.
    NoStore,
    /// There is a history, and the secret store does not know its key.
    KeyMissing,
    /// The history's key is in a file whose passphrase was not given.
    PassphraseForgotten,
}

/// What became of a damaged database. Everything that the server has comes again by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct MendedView {
    /// Unsent items and drafts that were brought into the new database.
    pub salvaged: u32,
    /// Those that are known to have been there and could not be read.
    pub lost: u32,
    /// Nothing else was there. If not, the damaged place may have held more.
    pub is_complete: bool,
    /// Where the damaged file was put.
    pub file: String,
    /// Until when it is kept, if that is known.
    pub kept_until: Option<TimestampMs>,
}

/// Why nobody is signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum SignedOutReason {
    /// The database is there, but its key was not found in the secret store. The file is left as it is.
    KeyMissing,
    /// The file was written by a newer version.
    NewerFile,
    /// The disk is too full to open the file.
    DiskFull,
    /// The disk, the folder or the file cannot be written.
    ReadOnly,
    /// Another program holds the file.
    FileBusy,
    /// The file is damaged, and what can be read of it could not be brought into a new one.
    FileDamaged,
    /// The file cannot be opened for another reason.
    StoreFailed,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum LinkView {
    /// Trying to reach the server.
    Connecting,
    /// Connected, and fetching what was missed.
    CatchingUp {
        /// Conversations that are still behind.
        behind: u32,
    },
    /// Connected and in sync.
    Connected {
        /// By asking every ten seconds, because the socket does not work here.
        polling: bool,
    },
    Offline {
        since: TimestampMs,
        /// When the next try starts, if one is planned.
        next_try: Option<TimestampMs>,
        /// Somebody answers, with a certificate that is expired, of another name, or of an unknown authority.
        bad_certificate: bool,
    },
    /// The server answers, but wants a sign-in. Everything local goes on working.
    SignInNeeded,
    /// The server will not talk to this version, or is not the one that this account belongs to. Everything local goes
    /// on working; it is tried again when the user asks.
    Stopped { code: ErrorCode },
}

impl From<LinkStatus> for LinkView {
    fn from(status: LinkStatus) -> Self {
        match status {
            LinkStatus::Connecting => Self::Connecting,
            LinkStatus::CatchingUp { behind } => Self::CatchingUp { behind },
            LinkStatus::Connected { polling } => Self::Connected { polling },
            LinkStatus::Offline { since, next_try, bad_certificate } => {
                Self::Offline { since, next_try, bad_certificate }
            }
            LinkStatus::SignInNeeded => Self::SignInNeeded,
            LinkStatus::Stopped { code } => Self::Stopped { code },
        }
    }
}

/// The numbers of the whole account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct StatusView {
    pub link: LinkView,
    /// Unread messages in conversations that are not muted: the number of list, title and tray.
    pub unread: u32,
    /// Items in the outbox.
    pub unsent: u32,
    /// Items in the outbox that wait for the user.
    pub parked: u32,
    /// After an update: the percentage of the stored history that is rebuilt for it. Until it is done, a search finds
    /// only that part. `None` if nothing is to do.
    pub rebuilding: Option<u8>,
}

/// What the user is told before signing out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct SignOutPreview {
    /// Items that have not reached the server; wiping would lose them.
    pub unsent: u32,
    pub messages: u32,
    /// The database ends with the session, for want of a key that is kept: any sign-out loses what is unsent.
    pub is_temporary: bool,
}

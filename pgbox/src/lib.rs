//! A private PostgreSQL cluster in a folder: for the first run, the demo and the tests.
//!
//! Holds finding the programs, making the cluster, starting and ending it, and a database per test. Knows nothing of what
//! is stored in it. Invariants: durable unless asked otherwise; reachable only by the user who runs it (a socket in a folder of
//! mode 0700; on Windows loopback with a password); PostgreSQL never outlives the process that started it.

mod admin;
mod binaries;
mod error;
mod place;
#[cfg(unix)]
#[path = "unix.rs"]
mod process;
#[cfg(windows)]
#[path = "windows.rs"]
mod process;
pub mod testing;

use std::{
    fmt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use tokio::sync::Mutex;

pub use crate::error::{BoxError, PgBoxError};
use crate::{
    binaries::Binaries,
    place::Place,
    process::{Process, Shutdown},
};

/// The oldest major version of PostgreSQL that serves.
pub const MAJOR_MIN: u16 = 15;
/// The newest major version of PostgreSQL that is known to serve.
pub const MAJOR_MAX: u16 = 18;

/// The cluster's superuser; it owns all databases.
const USER: &str = "kith";
/// Recovery after a hard end is part of a start, so this is generous.
const START_LIMIT: Duration = Duration::from_secs(60);
/// Between two tries to connect to a PostgreSQL that is starting.
const START_POLL: Duration = Duration::from_millis(15);

/// How much a cluster promises about what it has acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// What was committed survives a loss of power.
    #[default]
    Durable,
    /// No `fsync` and no full pages: for databases that are thrown away. `synchronous_commit` stays on, so the order of
    /// things and what survives a crash of PostgreSQL alone are as in production.
    Throwaway,
}

/// What cluster, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// The cluster's folder; made if missing.
    pub dir: PathBuf,
    pub durability: Durability,
    /// The limit of connections.
    pub max_connections: u16,
}

impl Options {
    /// Returns options for a durable cluster in `dir` with 100 connections.
    #[must_use]
    pub fn new(dir: impl AsRef<Path>) -> Self {
        Self { dir: dir.as_ref().to_path_buf(), durability: Durability::Durable, max_connections: 100 }
    }
}

/// A running cluster. PostgreSQL ends when this value is dropped and when this process ends, however it ends.
pub struct Cluster {
    options: Options,
    place: Place,
    binaries: Binaries,
    base: String,
    process: Mutex<Option<Process>>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("dir", &self.place.home).field("major", &self.binaries.major).finish()
    }
}

/// Finds one of PostgreSQL's programs (`pg_dump`), as a cluster finds its own.
///
/// # Errors
/// [`PgBoxError::NoBinaries`], [`PgBoxError::BadBinDir`].
pub fn program(name: &str) -> Result<PathBuf, PgBoxError> {
    Ok(binaries::find(None, Path::new(""))?.program(name))
}

impl Cluster {
    /// Makes the cluster if its folder has none, starts it, and waits until it answers.
    ///
    /// # Errors
    /// [`PgBoxError::NoBinaries`], [`PgBoxError::VersionMismatch`], [`PgBoxError::LockHeld`] and whatever starting meets.
    pub async fn start(options: Options) -> Result<Self, PgBoxError> {
        let began = Instant::now();
        let wanted = options.clone();
        let (place, binaries) = blocking(move || {
            let place = Place::prepare(&wanted.dir)?;
            let binaries = binaries::find(place.data_version()?, &place.data)?;
            place.initialise(&binaries, wanted.durability)?;
            process::end_leftover(&place)?;
            Ok((place, binaries))
        })
        .await?;
        let base = place.address();
        let cluster = Self { options, place, binaries, base, process: Mutex::new(None) };
        {
            let mut process = cluster.process.lock().await;
            *process = Some(cluster.launch().await?);
        }
        tracing::debug!(dir = %cluster.place.home.display(), major = cluster.binaries.major, ms = began.elapsed().as_millis() as u64, "PostgreSQL runs");
        Ok(cluster)
    }

    /// Returns the address of a database: `postgres://kith@localhost:5432/DATABASE?host=FOLDER` (on Windows with password and port).
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        admin::with_database(&self.base, database)
    }

    /// Returns the address of a database in the cluster of `dir`, which another process runs.
    ///
    /// # Errors
    /// As the first half of [`Cluster::start`].
    pub fn url_of_running(dir: impl AsRef<Path>, database: &str) -> Result<String, PgBoxError> {
        Ok(admin::with_database(&Place::of_running(dir.as_ref())?, database))
    }

    /// Returns the major version of the PostgreSQL that runs.
    #[must_use]
    pub fn major(&self) -> u16 {
        self.binaries.major
    }

    /// Creates the database if it does not exist.
    ///
    /// # Errors
    /// [`PgBoxError::BadName`], [`PgBoxError::Sql`].
    pub async fn ensure_database(&self, name: &str) -> Result<(), PgBoxError> {
        admin::ensure_database(&self.base, name).await
    }

    /// Creates a database as a copy of another one, to which nobody may be connected.
    ///
    /// # Errors
    /// [`PgBoxError::BadName`], [`PgBoxError::Sql`].
    pub async fn create_from_template(&self, name: &str, template: &str) -> Result<(), PgBoxError> {
        admin::create_from_template(&self.base, name, template).await
    }

    /// Drops a database if it exists, ending its connections.
    ///
    /// # Errors
    /// [`PgBoxError::BadName`], [`PgBoxError::Sql`].
    pub async fn drop_database(&self, name: &str) -> Result<(), PgBoxError> {
        admin::drop_database(&self.base, name).await
    }

    /// Ends PostgreSQL at once, as a crash would, and starts it again at the same address.
    ///
    /// # Errors
    /// [`PgBoxError::StartFailed`]; [`PgBoxError::Stopped`] after an earlier failure.
    pub async fn restart(&self) -> Result<(), PgBoxError> {
        let mut running = self.process.lock().await;
        let old = running.take().ok_or(PgBoxError::Stopped)?;
        let place = self.place.clone();
        blocking(move || old.stop(&place, Shutdown::Immediate)).await?;
        *running = Some(self.launch().await?);
        Ok(())
    }

    /// Ends PostgreSQL in order, lets `between` work on the folder of its data, and starts it again at the same address:
    /// for a backup of the folder, and for setting it back.
    ///
    /// # Errors
    /// [`PgBoxError::Io`] if `between` fails, after which PostgreSQL does not run; else as [`Self::restart`].
    pub async fn restart_after(
        &self,
        between: impl FnOnce(&Path) -> std::io::Result<()> + Send + 'static,
    ) -> Result<(), PgBoxError> {
        let mut running = self.process.lock().await;
        let old = running.take().ok_or(PgBoxError::Stopped)?;
        let place = self.place.clone();
        blocking(move || {
            old.stop(&place, Shutdown::Fast)?;
            between(&place.data).map_err(PgBoxError::io("working on the data folder"))
        })
        .await?;
        *running = Some(self.launch().await?);
        Ok(())
    }

    /// Ends PostgreSQL in order: connections are closed, everything is written.
    ///
    /// # Errors
    /// [`PgBoxError::Io`] if the process could not be ended.
    pub async fn stop(mut self) -> Result<(), PgBoxError> {
        let Some(process) = self.process.get_mut().take() else { return Ok(()) };
        let place = self.place.clone();
        blocking(move || process.stop(&place, Shutdown::Fast)).await
    }

    /// Starts the process and waits until it answers.
    async fn launch(&self) -> Result<Process, PgBoxError> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            let (place, binaries, settings) = (self.place.clone(), self.binaries.clone(), self.settings());
            let mut process = blocking(move || Process::spawn(&place, &binaries, &settings)).await?;
            loop {
                if let Ok(connection) = admin::connect(&self.base).await {
                    sqlx::Connection::close(connection).await?;
                    return Ok(process);
                }
                if process.has_ended(&self.place) || Instant::now() > deadline {
                    break;
                }
                tokio::time::sleep(START_POLL).await;
            }
            let place = self.place.clone();
            blocking(move || process.stop(&place, Shutdown::Immediate)).await?;
            let tail = self.place.log_tail();
            // After a hard end the last backends need a moment to notice; PostgreSQL refuses to start beside them.
            let still_ending = tail.contains("pre-existing shared memory block");
            if !still_ending || Instant::now() > deadline {
                return Err(PgBoxError::StartFailed { log: self.place.log.clone(), tail });
            }
            tokio::time::sleep(START_POLL * 10).await;
        }
    }

    /// Everything that differs from the defaults, or matters enough to be said.
    fn settings(&self) -> Vec<String> {
        let on = if self.options.durability == Durability::Durable { "on" } else { "off" };
        let mut settings = self.place.listen_settings();
        settings.extend([
            format!("max_connections={}", self.options.max_connections),
            format!("fsync={on}"),
            format!("full_page_writes={on}"),
            "synchronous_commit=on".to_owned(),
            "timezone=UTC".to_owned(),
            "log_timezone=UTC".to_owned(),
            "lc_messages=C".to_owned(),
            "logging_collector=off".to_owned(),
        ]);
        settings
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(process) = self.process.get_mut().take() {
            let how = match self.options.durability {
                Durability::Durable => Shutdown::Fast,
                Durability::Throwaway => Shutdown::Immediate,
            };
            if let Err(error) = process.stop(&self.place, how) {
                tracing::warn!(%error, "PostgreSQL did not end in order");
            }
        }
    }
}

/// Runs blocking work off the runtime's threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PgBoxError> + Send + 'static,
) -> Result<T, PgBoxError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(PgBoxError::Stopped),
    }
}

/// FNV-1a: short names for long things, equal in every process and build.
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

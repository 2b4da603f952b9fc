//! Where a cluster lies: its folder, lock, data, socket and log, and the user who owns them.
//!
//! `DIR/lock`, `DIR/data`, `DIR/s` (the socket), `DIR/postgres.log`. Two of them may lie elsewhere: everything but the lock, if
//! root runs this and the user of PostgreSQL cannot enter `DIR`; the socket, if the path to `DIR/s` is too long for one.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use crate::{Durability, PgBoxError, USER, admin, binaries::Binaries, process};

/// The log is started anew above this size.
const LOG_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// How much of the log an error quotes.
const LOG_TAIL_LINES: usize = 15;

/// A locked folder with everything that belongs to one cluster.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) home: PathBuf,
    pub(crate) data: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) endpoint: process::Endpoint,
    /// As whom PostgreSQL runs, if not as the caller.
    pub(crate) owner: Option<process::Owner>,
    /// Held as long as anybody holds the place; the system releases it when this process ends.
    _lock: Arc<File>,
}

impl Place {
    /// Makes the folders, takes the lock, decides who owns the data.
    pub(crate) fn prepare(dir: &Path) -> Result<Self, PgBoxError> {
        fs::create_dir_all(dir).map_err(PgBoxError::io(format!("making {}", dir.display())))?;
        let dir = process::absolute(dir).map_err(PgBoxError::io(format!("finding {}", dir.display())))?;
        let lock = lock(&dir)?;
        let (home, owner) = Self::home(&dir)?;
        if home != dir {
            let note = format!("The cluster of this folder lies in\n{}\n", home.display());
            fs::write(dir.join("LOCATION.txt"), note).map_err(PgBoxError::io("writing LOCATION.txt"))?;
        }
        let endpoint = process::Endpoint::prepare(&home, owner.as_ref())?;
        let (data, log) = (home.join("data"), home.join("postgres.log"));
        Ok(Self { home, data, log, endpoint, owner, _lock: Arc::new(lock) })
    }

    fn home(dir: &Path) -> Result<(PathBuf, Option<process::Owner>), PgBoxError> {
        let owner = process::owner(&dir.join("data"))?;
        Ok((process::enterable_home(dir, owner.as_ref())?, owner))
    }

    /// The address of a cluster that another process holds.
    pub(crate) fn of_running(dir: &Path) -> Result<String, PgBoxError> {
        let dir = process::absolute(dir).map_err(PgBoxError::io(format!("finding {}", dir.display())))?;
        let (home, owner) = Self::home(&dir)?;
        Ok(process::Endpoint::prepare(&home, owner.as_ref())?.base())
    }

    /// The major version that wrote the data, `None` if there are none.
    pub(crate) fn data_version(&self) -> Result<Option<u16>, PgBoxError> {
        if !self.data.exists() {
            return Ok(None);
        }
        let text = fs::read_to_string(self.data.join("PG_VERSION")).unwrap_or_default();
        text.trim().parse().map(Some).map_err(|_| PgBoxError::NotACluster { dir: self.data.clone() })
    }

    /// Runs `initdb` unless there are data. A half-made cluster never bears the final name.
    pub(crate) fn initialise(&self, binaries: &Binaries, durability: Durability) -> Result<(), PgBoxError> {
        if self.data.exists() {
            return Ok(());
        }
        let unfinished = self.home.join("data.new");
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished).map_err(PgBoxError::io("removing a half-made cluster"))?;
        }
        process::private_dir(&unfinished, self.owner.as_ref())?;
        let mut initdb = Command::new(binaries.program("initdb"));
        initdb.arg("-D").arg(&unfinished).args([
            "-U",
            USER,
            "--encoding=UTF8",
            "--no-instructions",
            "--data-checksums",
        ]);
        initdb.args(process::LOCALE);
        self.endpoint.initdb_args(&mut initdb);
        if durability == Durability::Throwaway {
            initdb.arg("--no-sync");
        }
        self.run_as_owner(&mut initdb);
        let output = initdb.output().map_err(PgBoxError::io("starting initdb"))?;
        if !output.status.success() {
            let detail = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(PgBoxError::Program { program: "initdb".into(), detail });
        }
        fs::rename(&unfinished, &self.data).map_err(PgBoxError::io("naming the cluster's folder"))
    }

    /// Lets a program of PostgreSQL run as the right user, in a folder that user can enter, without the caller's settings.
    pub(crate) fn run_as_owner(&self, command: &mut Command) {
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PG") {
                command.env_remove(name);
            }
        }
        command.env("HOME", &self.home).env("LC_ALL", "C").current_dir(&self.home);
        command.stdin(std::process::Stdio::null());
        process::become_owner(command, self.owner.as_ref());
    }

    /// The log, opened for appending; a long one is started anew.
    pub(crate) fn open_log(&self) -> Result<File, PgBoxError> {
        let long = fs::metadata(&self.log).is_ok_and(|meta| meta.len() > LOG_BYTES_MAX);
        if long {
            fs::remove_file(&self.log).map_err(PgBoxError::io("removing a long log"))?;
        }
        let log = File::options().create(true).append(true).open(&self.log);
        log.map_err(PgBoxError::io(format!("opening {}", self.log.display())))
    }

    pub(crate) fn log_tail(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }

    /// The process that holds the data, as PostgreSQL noted it.
    pub(crate) fn noted_pid(&self) -> Option<i32> {
        let text = fs::read_to_string(self.data.join("postmaster.pid")).ok()?;
        text.lines().next()?.trim().parse().ok()
    }

    pub(crate) fn address(&self) -> String {
        admin::with_database(&self.endpoint.base(), "postgres")
    }

    pub(crate) fn listen_settings(&self) -> Vec<String> {
        self.endpoint.settings()
    }
}

fn lock(dir: &Path) -> Result<File, PgBoxError> {
    let path = dir.join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(PgBoxError::io(format!("opening {}", path.display())))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(PgBoxError::LockHeld { dir: dir.to_path_buf() }),
        Err(TryLockError::Error(error)) => Err(PgBoxError::io(format!("locking {}", path.display()))(error)),
    }
}

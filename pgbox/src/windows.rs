//! Processes and the loopback port on Windows.
//!
//! PostgreSQL listens on 127.0.0.1 with a password (scram), because a Windows socket file has no owner's mode. `pg_ctl` starts it:
//! `postgres.exe` refuses the rights of an administrator, and `pg_ctl` gives them up. It ends with its parent by a watchdog
//! that waits for the end of a pipe held by this process.

use std::{
    fs, io,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::{PgBoxError, USER, binaries::Binaries, place::Place};

/// Sorting by bytes, alike on all machines.
pub(crate) const LOCALE: [&str; 1] = ["--locale=C"];

/// How PostgreSQL is asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shutdown {
    /// Connections are closed, everything is written.
    Fast,
    /// At once; the next start recovers.
    Immediate,
}

/// PostgreSQL always runs as the caller here.
#[derive(Debug, Clone)]
pub(crate) enum Owner {}

/// A port of the loopback interface and the superuser's password.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    port: u16,
    password: String,
    password_file: PathBuf,
}

impl Endpoint {
    pub(crate) fn prepare(home: &Path, _owner: Option<&Owner>) -> Result<Self, PgBoxError> {
        let password_file = home.join("password");
        if !password_file.exists() {
            let password = format!("{:032x}", rand::random::<u128>());
            fs::write(&password_file, password).map_err(PgBoxError::io("writing the password"))?;
        }
        let password = fs::read_to_string(&password_file).map_err(PgBoxError::io("reading the password"))?;
        let free = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
        let port = free.map_err(PgBoxError::io("finding a free port"))?.port();
        Ok(Self { port, password: password.trim().to_owned(), password_file })
    }

    pub(crate) fn base(&self) -> String {
        format!("postgres://{USER}:{}@127.0.0.1:{}/?sslmode=disable", self.password, self.port)
    }

    pub(crate) fn initdb_args(&self, initdb: &mut Command) {
        initdb.args(["-A", "scram-sha-256", "--pwfile"]).arg(&self.password_file);
    }

    pub(crate) fn settings(&self) -> Vec<String> {
        vec![
            "listen_addresses=127.0.0.1".to_owned(),
            format!("port={}", self.port),
            "password_encryption=scram-sha-256".to_owned(),
        ]
    }
}

/// A PostgreSQL that `pg_ctl` has started, and its watchdog.
#[derive(Debug)]
pub(crate) struct Process {
    pg_ctl: PathBuf,
    watchdog: Child,
}

impl Process {
    pub(crate) fn spawn(place: &Place, binaries: &Binaries, settings: &[String]) -> Result<Self, PgBoxError> {
        let pg_ctl = binaries.program("pg_ctl");
        let options: Vec<String> = settings.iter().map(|setting| format!("-c \"{setting}\"")).collect();
        let mut start = Command::new(&pg_ctl);
        start
            .arg("start")
            .arg("-D")
            .arg(&place.data)
            .arg("-l")
            .arg(&place.log)
            .args(["-W", "-o"])
            .arg(options.join(" "));
        place.run_as_owner(&mut start);
        // Its own console group: Ctrl-C in the terminal reaches only the parent, which ends PostgreSQL in order.
        std::os::windows::process::CommandExt::creation_flags(&mut start, 0x0000_0200 | 0x0800_0000);
        let status = start.stdout(Stdio::null()).stderr(Stdio::null()).status();
        let status = status.map_err(PgBoxError::io("starting pg_ctl"))?;
        if !status.success() {
            return Err(PgBoxError::StartFailed { log: place.log.clone(), tail: place.log_tail() });
        }
        let watchdog = watchdog(&pg_ctl, &place.data)?;
        Ok(Self { pg_ctl, watchdog })
    }

    pub(crate) fn has_ended(&mut self, place: &Place) -> bool {
        place.noted_pid().is_some() && !runs(&self.pg_ctl, &place.data)
    }

    pub(crate) fn stop(mut self, place: &Place, how: Shutdown) -> Result<(), PgBoxError> {
        self.watchdog
            .kill()
            .and_then(|()| self.watchdog.wait())
            .map_err(PgBoxError::io("ending the watchdog"))?;
        if !runs(&self.pg_ctl, &place.data) {
            return Ok(());
        }
        let mode = match how {
            Shutdown::Fast => "fast",
            Shutdown::Immediate => "immediate",
        };
        let mut stop = Command::new(&self.pg_ctl);
        stop.args(["stop", "-w", "-s", "-m", mode, "-D"]).arg(&place.data);
        place.run_as_owner(&mut stop);
        let output = stop.output().map_err(PgBoxError::io("starting pg_ctl"))?;
        if output.status.success() || !runs(&self.pg_ctl, &place.data) {
            return Ok(());
        }
        let detail = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(PgBoxError::Program { program: "pg_ctl stop".into(), detail })
    }
}

fn runs(pg_ctl: &Path, data: &Path) -> bool {
    let status =
        Command::new(pg_ctl).arg("status").arg("-D").arg(data).stdout(Stdio::null()).stderr(Stdio::null());
    let mut status = status.stdin(Stdio::null()).status();
    matches!(&mut status, Ok(status) if status.success())
}

/// A PowerShell that reads until this process has ended (the other end of the pipe closes), then ends PostgreSQL.
fn watchdog(pg_ctl: &Path, data: &Path) -> Result<Child, PgBoxError> {
    let quoted = |path: &Path| path.display().to_string().replace('\'', "''");
    let script = format!(
        "while ($null -ne [Console]::In.ReadLine()) {{}}; & '{}' stop -m fast -s -D '{}'",
        quoted(pg_ctl),
        quoted(data)
    );
    let mut shell = Command::new("powershell.exe");
    shell.args(["-NoProfile", "-NonInteractive", "-Command"]).arg(script);
    shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    std::os::windows::process::CommandExt::creation_flags(&mut shell, 0x0000_0200 | 0x0800_0000);
    shell.spawn().map_err(PgBoxError::io("starting the watchdog"))
}

/// Ends a PostgreSQL that an earlier owner of this folder has left; a stale `postmaster.pid` PostgreSQL deals with itself.
pub(crate) fn end_leftover(place: &Place) -> Result<(), PgBoxError> {
    let Some(pid) = place.noted_pid() else { return Ok(()) };
    let binaries = crate::binaries::find(place.data_version()?, &place.data)?;
    let pg_ctl = binaries.program("pg_ctl");
    if !runs(&pg_ctl, &place.data) {
        return Ok(());
    }
    let mut stop = Command::new(&pg_ctl);
    stop.args(["stop", "-w", "-s", "-m", "fast", "-D"]).arg(&place.data);
    place.run_as_owner(&mut stop);
    let ended = stop.status().map_err(PgBoxError::io("starting pg_ctl"))?.success();
    if ended || !runs(&pg_ctl, &place.data) {
        Ok(())
    } else {
        Err(PgBoxError::Leftover { dir: place.data.clone(), pid })
    }
}

/// What tells the users of a machine apart in the names of shared folders.
pub(crate) fn user_tag() -> String {
    let user = std::env::var("USERNAME").unwrap_or_default();
    user.chars().filter(char::is_ascii_alphanumeric).collect()
}

pub(crate) fn absolute(dir: &Path) -> io::Result<PathBuf> {
    std::path::absolute(dir)
}

/// Makes a folder; under a user's profile only that user can enter it.
pub(crate) fn private_dir(dir: &Path, _owner: Option<&Owner>) -> Result<(), PgBoxError> {
    fs::create_dir_all(dir).map_err(PgBoxError::io(format!("making {}", dir.display())))
}

pub(crate) fn owner(_data: &Path) -> Result<Option<Owner>, PgBoxError> {
    Ok(None)
}

pub(crate) fn enterable_home(dir: &Path, _owner: Option<&Owner>) -> Result<PathBuf, PgBoxError> {
    Ok(dir.to_path_buf())
}

pub(crate) fn become_owner(_command: &mut Command, _owner: Option<&Owner>) {}

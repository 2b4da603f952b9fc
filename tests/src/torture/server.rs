//! The server as a process, killed and started again at whatever address it gets.

use anyhow::{Context, Result};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

/// How long an access token lives: short, so that tokens end while frames are under way.
pub const TOKEN_SECONDS: u64 = 5;
/// A start waits for PostgreSQL, which may be recovering.
const START_WITHIN: Duration = Duration::from_secs(20);

/// A server's process. It ends with this value.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    pub is_armed: bool,
}

/// A program that is killed with this value and, where the system can, with this process.
pub fn guarded(program: &Path) -> Command {
    let setpriv = PathBuf::from("/usr/bin/setpriv");
    let mut command = if cfg!(target_os = "linux") && setpriv.exists() {
        let mut command = Command::new(setpriv);
        command.args(["--pdeathsig", "KILL", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command
        .env_remove(kith_failpoint::VARIABLE)
        .env_remove(kith_failpoint::clock::VARIABLE)
        .kill_on_drop(true);
    command
}

impl Server {
    /// Starts it and waits until it listens.
    ///
    /// # Errors
    /// When it ends before: PostgreSQL may be away.
    pub async fn start(
        program: &Path,
        database: &str,
        restored_at: Option<&str>,
        fail_point: Option<String>,
        log: &Path,
    ) -> Result<Self> {
        let mut command = guarded(program);
        let life = TOKEN_SECONDS.to_string();
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--signup", "open", "--access-token-seconds", &life])
            .env("DATABASE_URL", database)
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::options().create(true).append(true).open(log)?);
        if let Some(restored_at) = restored_at {
            command.env("KITH_RESTORED_AT", restored_at);
        }
        let is_armed = fail_point.is_some();
        if let Some(fail_point) = fail_point {
            command.env(kith_failpoint::VARIABLE, fail_point);
        }
        let mut child = command.spawn().with_context(|| format!("starting {}", program.display()))?;
        let mut lines = BufReader::new(child.stdout.take().context("a piped output")?).lines();
        let line = timeout(START_WITHIN, lines.next_line()).await.context("the server does not start")??;
        let line = line.context("the server ended before it listened")?;
        let address = line.rsplit("http://").next().unwrap_or_default().trim().parse()?;
        Ok(Self { child, address, is_armed })
    }

    /// Whether and how it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    pub async fn kill(mut self) {
        // It may have ended by itself.
        let _ = self.child.kill().await;
    }
}

//! The server under measurement: a process of its own, ended by its id.

use crate::rivals::{self, Rival};
use anyhow::{Context, Result, bail};
use clap::ValueEnum as _;
use kith_protocol::api::Session;
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// A running server on a private PostgreSQL.
pub struct Running {
    pub url: String,
    child: Child,
    binary: PathBuf,
    data: tempfile::TempDir,
}

/// How a server is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// As an operator does it.
    InOrder,
    /// As nobody wants it: kill -9.
    AtOnce,
}

/// Whose word on addresses the server takes: each of the load's people says where they are, so that limits per address
/// are on, as they are elsewhere. For this machine itself they are not.
const PROXIES: &str = "127.0.0.0/8";

/// What Kith is started with.
fn kith(command: &mut Command, data: &Path, port: u16) {
    command.args(["serve", "--embedded-db", "--data-dir"]).arg(data);
    command
        .env("KITH_LISTEN", format!("127.0.0.1:{port}"))
        .env("KITH_SIGNUP", "open")
        .env("KITH_CONVERSATIONS_AT_ONCE", "1000000")
        .env("KITH_MEMBERS_AT_ONCE", "1000000")
        .env("KITH_LOG", "warn");
    command.env("KITH_TRUSTED_PROXIES", PROXIES);
}

impl Running {
    /// Starts Kith's server and waits until it says where it listens.
    pub async fn start(binary: &Path) -> Result<Self> {
        Self::start_with(binary, |command, data| kith(command, data, 0)).await
    }

    /// Ends the process; the data stays.
    pub async fn end(&mut self, how: End) -> Result<()> {
        match how {
            End::InOrder => self.ask_to_end().await,
            End::AtOnce => Ok(self.child.kill().await?),
        }
    }

    /// Starts it again with its data and at its address.
    pub async fn start_again(&mut self) -> Result<()> {
        let port = self.address()?.port();
        let mut command = Command::new(&self.binary);
        kith(&mut command, self.data.path(), port);
        (self.child, _) = spawn(command).await?;
        Ok(())
    }

    /// Where it listens.
    pub fn address(&self) -> Result<SocketAddr> {
        Ok(self.url.strip_prefix("http://").context("plain HTTP")?.parse()?)
    }

    /// Its database.
    pub fn database_url(&self) -> Result<String> {
        Ok(kith_pgbox::Cluster::url_of_running(self.data.path(), "kith")?)
    }

    /// The database of one that Kith is measured beside.
    pub fn rival_database_url(&self) -> Result<String> {
        Ok(kith_pgbox::Cluster::url_of_running(self.data.path().join(rivals::FOLDER), rivals::DATABASE)?)
    }

    /// Makes accounts as an operator would, each with a session.
    pub async fn import(&self, usernames: impl Iterator<Item = String>) -> Result<Vec<Session>> {
        let (file, out) = (self.data.path().join("people.jsonl"), self.data.path().join("sessions.jsonl"));
        let people: String = usernames.map(|name| format!("{{\"username\":\"{name}\"}}\n")).collect();
        std::fs::write(&file, people)?;
        let mut import = Command::new(&self.binary);
        import.args(["user", "import"]).arg(&file).arg("--sessions").arg(&out);
        let done = import.args(["--embedded-db", "--data-dir"]).arg(self.data.path()).output().await?;
        anyhow::ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let sessions = std::fs::read_to_string(&out)?;
        std::fs::remove_file(&out)?;
        Ok(sessions.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
    }

    /// Starts Kith's server with a bus.
    pub async fn start_on_bus(binary: &Path, bus: &str) -> Result<Self> {
        Self::start_with(binary, |command, data| {
            kith(command, data, 0);
            command.env("KITH_BUS", bus);
        })
        .await
    }

    /// Starts another instance on this one's database.
    pub async fn another_on_bus(&self, binary: &Path, bus: &str) -> Result<Self> {
        let database = self.database_url()?;
        Self::start_with(binary, |command, _| {
            command.arg("serve").env("DATABASE_URL", database).env("KITH_BUS", bus);
            command.env("KITH_LISTEN", "127.0.0.1:0").env("KITH_SIGNUP", "open").env("KITH_LOG", "warn");
            command.env("KITH_CONVERSATIONS_AT_ONCE", "1000000").env("KITH_MEMBERS_AT_ONCE", "1000000");
        })
        .await
    }

    /// Starts one of those that Kith is measured beside.
    pub async fn start_rival(rival: Rival, socketio: Option<&Path>) -> Result<Self> {
        let own = std::env::current_exe()?;
        let name = rival.to_possible_value().context("a name")?.get_name().to_owned();
        Self::start_with(&own, |command, data| {
            command.args(["rival", &name, "--folder"]).arg(data);
            if let Some(folder) = socketio {
                command.arg("--socketio").arg(folder);
            }
        })
        .await
    }

    async fn start_with(binary: &Path, prepare: impl FnOnce(&mut Command, &Path)) -> Result<Self> {
        let data = tempfile::Builder::new().prefix("kith-bench-").tempdir()?;
        #[cfg(unix)]
        std::fs::set_permissions(data.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let mut command = Command::new(binary);
        prepare(&mut command, data.path());
        let (child, url) = spawn(command).await?;
        Ok(Self { url, child, binary: binary.to_owned(), data })
    }

    /// Disables an account, as an operator would.
    pub async fn disable(&self, username: &str) -> Result<()> {
        let mut disable = Command::new(&self.binary);
        disable.args(["user", "disable", username, "--embedded-db", "--data-dir"]).arg(self.data.path());
        let done = disable.output().await?;
        anyhow::ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        Ok(())
    }

    fn id(&self) -> Result<u32> {
        self.child.id().context("the server has ended")
    }

    /// Resident memory of the server's process, KB.
    pub fn resident_kb(&self) -> Result<u64> {
        self.status_kb("VmRSS:")
    }

    /// The most that was resident since [`Running::forget_peak`], KB.
    pub fn peak_kb(&self) -> Result<u64> {
        self.status_kb("VmHWM:")
    }

    /// From here on the most counts anew (proc(5), `clear_refs`).
    pub fn forget_peak(&self) -> Result<()> {
        Ok(std::fs::write(format!("/proc/{}/clear_refs", self.id()?), "5")?)
    }

    fn status_kb(&self, name: &str) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()?))?;
        let line = status.lines().find(|line| line.starts_with(name)).context("no such line")?;
        Ok(line.split_whitespace().nth(1).context("no number")?.parse()?)
    }

    /// CPU seconds of the server and everything below it (PostgreSQL), until now.
    pub fn cpu_seconds(&self) -> Result<f64> {
        cpu_of(self.id()?)
    }

    /// Ends it as an operator would, and waits.
    pub async fn stop(mut self) -> Result<()> {
        self.ask_to_end().await
    }

    async fn ask_to_end(&mut self) -> Result<()> {
        let id = self.id()?.to_string();
        std::process::Command::new("kill").args(["-TERM", &id]).status()?;
        if tokio::time::timeout(Duration::from_secs(15), self.child.wait()).await.is_err() {
            self.child.kill().await?;
        }
        Ok(())
    }
}

/// Starts it and waits until it says where it listens.
async fn spawn(mut command: Command) -> Result<(Child, String)> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("{:?} does not start", command.as_std().get_program()))?;
    let stdout = child.stdout.take().context("the server has no output")?;
    let mut lines = BufReader::new(stdout).lines();
    let url = tokio::time::timeout(Duration::from_secs(60), async {
        while let Some(line) = lines.next_line().await? {
            if let Some(at) = line.find("http://127.0.0.1:") {
                let url: String =
                    line[at..].chars().take_while(|c| !c.is_whitespace() && *c != '"').collect();
                return Ok(url.trim_end_matches('/').to_owned());
            }
        }
        bail!("the server ended before it listened")
    })
    .await
    .context("the server did not listen in time")??;
    // What it prints later is read and dropped, so that its pipe never fills.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok((child, url))
}

/// CPU seconds of a process and everything below it, until now.
pub fn cpu_of(root: u32) -> Result<f64> {
    let mut of_parent = std::collections::HashMap::<u32, Vec<(u32, f64)>>::new();
    for entry in std::fs::read_dir("/proc")? {
        let Ok(id) = entry?.file_name().to_string_lossy().parse::<u32>() else { continue };
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{id}/stat")) else { continue };
        let Some((_, rest)) = stat.rsplit_once(')') else { continue };
        let fields: Vec<&str> = rest.split_whitespace().collect();
        // proc(5): after the name come state, ppid, …; utime and stime are fields 14 and 15, children's 16 and 17.
        let number = |index: usize| fields.get(index).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
        let ticks: f64 = (11..15).map(number).sum();
        of_parent.entry(number(1) as u32).or_default().push((id, ticks / 100.0));
    }
    let own = of_parent.values().flatten().find(|(id, _)| *id == root).map_or(0.0, |p| p.1);
    let (mut sum, mut todo) = (own, vec![root]);
    while let Some(parent) = todo.pop() {
        for (id, seconds) in of_parent.get(&parent).into_iter().flatten() {
            sum += seconds;
            todo.push(*id);
        }
    }
    Ok(sum)
}

//! A session bus of a test's own, with a keyring that can be locked and unlocked, or without one.

use super::run;
use crate::until;
use anyhow::{Context, Result};
use std::{fs, process::Stdio};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, Command},
};

/// Starts nothing by itself: who wants a service on the bus starts it.
const CONFIG: &str = r#"<busconfig>
  <type>session</type>
  <listen>unix:tmpdir=/tmp</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>"#;
const SECRETS: &str = "org.freedesktop.secrets";
/// It guards nothing but test data.
const PASSWORD: &[u8] = b"bus";

/// The bus, and the keyring if one was started.
pub struct Bus {
    address: String,
    home: TempDir,
    keyring: Option<Child>,
    _daemon: Child,
}

impl Bus {
    /// A bus on which nobody keeps secrets.
    pub async fn start() -> Result<Self> {
        let home = tempfile::tempdir()?;
        let config = home.path().join("bus.conf");
        fs::write(&config, CONFIG)?;
        let mut daemon = Command::new("dbus-daemon")
            .args(["--nofork", "--nopidfile", "--print-address=1"])
            .arg(format!("--config-file={}", config.display()))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("starting dbus-daemon")?;
        let mut address = String::new();
        BufReader::new(daemon.stdout.take().context("its output")?).read_line(&mut address).await?;
        Ok(Self { address: address.trim().to_owned(), home, keyring: None, _daemon: daemon })
    }

    /// What a program needs to be on this bus.
    pub fn environment(&self) -> [(&'static str, String); 1] {
        [("DBUS_SESSION_BUS_ADDRESS", self.address.clone())]
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// A bus that is not there.
    pub fn none() -> [(&'static str, String); 1] {
        [("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent/bus".to_owned())]
    }

    /// Starts the keyring, unlocked or as it is after a log-in without a password.
    pub async fn start_keyring(&mut self, is_unlocked: bool) -> Result<()> {
        let mut command = Command::new("gnome-keyring-daemon");
        command.args(["--foreground", "--components=secrets"]);
        if is_unlocked {
            command.arg("--unlock");
        }
        let run_dir = self.home.path().join("run");
        fs::create_dir_all(&run_dir)?;
        let mut keyring = command
            .env("HOME", self.home.path())
            .env("XDG_DATA_HOME", self.home.path().join("data"))
            .env("XDG_RUNTIME_DIR", run_dir)
            .envs(self.environment())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("starting gnome-keyring-daemon")?;
        let mut stdin = keyring.stdin.take().context("its input")?;
        if is_unlocked {
            stdin.write_all(PASSWORD).await?;
        }
        drop(stdin);
        self.keyring = Some(keyring);
        until("the keyring is on the bus", || self.has_keyring(), |there| *there).await;
        Ok(())
    }

    /// Ends the keyring: what it keeps on the disk stays.
    pub async fn end_keyring(&mut self) -> Result<()> {
        if let Some(mut keyring) = self.keyring.take() {
            keyring.kill().await?;
        }
        until("the keyring has left the bus", || self.has_keyring(), |there| !there).await;
        Ok(())
    }

    /// Locks what the keyring keeps, as a screen saver may.
    pub async fn lock(&self) -> Result<()> {
        let collection = "array:objpath:/org/freedesktop/secrets/collection/login";
        let path = "/org/freedesktop/secrets";
        self.call(SECRETS, path, "org.freedesktop.Secret.Service.Lock", collection).await.map(drop)
    }

    async fn has_keyring(&self) -> bool {
        let question = format!("string:{SECRETS}");
        let name = "org.freedesktop.DBus";
        let answer = self.call(name, "/", "org.freedesktop.DBus.NameHasOwner", &question).await;
        answer.is_ok_and(|answer| answer.contains("boolean true"))
    }

    async fn call(&self, to: &str, path: &str, method: &str, argument: &str) -> Result<String> {
        let (bus, to) = (format!("--bus={}", self.address), format!("--dest={to}"));
        run("dbus-send", &[&bus, "--print-reply", &to, path, method, argument]).await
    }
}

//! What lies around a window: processes, the window manager, the notification daemon, the keyring.

use crate::until;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::{fs, path::Path};
use tokio::process::Command;

/// Runs a program of the desktop and returns what it wrote.
pub async fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .await
        .with_context(|| format!("starting {program}"))?;
    if !output.status.success() {
        bail!("{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A notification as the daemon holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    pub summary: String,
    pub body: String,
}

impl Notification {
    /// How many are on the screen.
    pub async fn displayed() -> Result<u32> {
        Ok(run("dunstctl", &["count", "displayed"]).await?.trim().parse()?)
    }

    /// Waits until so many are on the screen.
    pub async fn until_displayed(count: u32) {
        let look = || async { Self::displayed().await.ok() };
        until("notifications on the screen", look, |seen| *seen == Some(count)).await;
    }

    pub async fn click() -> Result<()> {
        run("dunstctl", &["action", "0"]).await.map(drop)
    }

    /// Takes all from the screen and returns what the daemon has ever shown, newest first.
    pub async fn history() -> Result<Vec<Self>> {
        run("dunstctl", &["close-all"]).await?;
        let history: Value = serde_json::from_str(&run("dunstctl", &["history"]).await?)?;
        let text = |entry: &Value, name: &str| entry[name]["data"].as_str().unwrap_or_default().to_owned();
        let entries = history["data"][0].as_array().cloned().unwrap_or_default();
        Ok(entries.iter().map(|e| Self { summary: text(e, "summary"), body: text(e, "body") }).collect())
    }

    pub async fn clear() -> Result<()> {
        run("dunstctl", &["close-all"]).await.map(drop)
    }
}

/// The process that has this profile open.
pub(super) fn pid_of(app: &str, profile: &str, data_dir: &Path) -> Option<u32> {
    let data_dir = data_dir.to_str()?;
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let line: Vec<&str> = std::str::from_utf8(&line).ok()?.split('\0').collect();
        let has = |pair: [&str; 2]| line.windows(2).any(|two| two == pair);
        if line.first() != Some(&app) {
            return None;
        }
        // A start with a link has these in its environment.
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        let environment = String::from_utf8_lossy(&environment).into_owned();
        let in_environment = |name: &str, value: &str| {
            environment.split('\0').any(|one| one.split_once('=') == Some((name, value)))
        };
        let by_arguments = has(["--profile", profile]) && has(["--data-dir", data_dir]);
        let by_environment =
            in_environment("KITH_PROFILE", profile) && in_environment("KITH_PROFILES_DIR", data_dir);
        (by_arguments || by_environment).then_some(pid)
    })
}

/// Whether the process is there and not merely unwaited for.
pub fn is_running(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.trim().is_empty() && !rest.trim_start().starts_with('Z'))
}

/// The windows of a process as the window manager lists them: id and title.
pub async fn windows_of(pid: u32) -> Result<Vec<(String, String)>> {
    let pid = pid.to_string();
    let list = run("wmctrl", &["-l", "-p"]).await?;
    let rows = list.lines().filter_map(|line| {
        let mut parts = line.split_whitespace();
        let (id, _desktop, owner, _host) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        (owner == pid).then(|| (id.to_owned(), parts.collect::<Vec<_>>().join(" ")))
    });
    Ok(rows.collect())
}

pub(super) async fn window_of(pid: u32) -> Result<String> {
    let look = || async { windows_of(pid).await.unwrap_or_default() };
    let windows = until("the app's window", look, |windows| !windows.is_empty()).await;
    Ok(windows[0].0.clone())
}

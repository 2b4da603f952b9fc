//! buildah and podman with a storage of their own.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process::{command, run_quiet, until};

const NAME: &str = "kith-server";
/// Migrating an empty database and starting take a second; the machine may be busy.
const HEALTHY_LIMIT: Duration = Duration::from_secs(120);

/// A storage for images and containers; emptied with the value.
pub struct Podman {
    storage: [String; 6],
}

impl Podman {
    pub fn new(dir: &Path) -> Result<Self> {
        let (root, run) = (dir.join("images"), dir.join("run"));
        let text =
            |path: PathBuf| path.into_os_string().into_string().ok().context("a folder's name in UTF-8");
        Ok(Self {
            // Plain folders: they need nothing of the file system and nothing is left mounted.
            storage: [
                "--root".into(),
                text(root)?,
                "--runroot".into(),
                text(run)?,
                "--storage-driver".into(),
                "vfs".into(),
            ],
        })
    }

    pub fn buildah(&self, arguments: &[&str]) -> Command {
        let mut buildah = command("buildah");
        buildah.args(&self.storage).args(arguments);
        buildah
    }

    fn podman(&self, arguments: &[&str]) -> Command {
        let mut podman = command("podman");
        podman
            .args(&self.storage)
            .args(["--runtime", "runc", "--cgroup-manager", "cgroupfs"])
            .args(arguments);
        podman
    }

    pub fn image_bytes(&self, image: &str) -> Result<u64> {
        let told = run_quiet(&mut self.podman(&["image", "inspect", image]))?;
        let told: Value = serde_json::from_str(&told).context("what podman tells of the image")?;
        told[0]["Size"].as_u64().context("the image's size")
    }

    /// Runs an image in the background, on this machine's network.
    pub fn start(&self, image: &str, arguments: &[String]) -> Result<Container<'_>> {
        let mut run = self.podman(&["run", "--detach", "--name", NAME, "--network", "host"]);
        // The defaults are above what an inner container may ask for.
        run.args(["--ulimit", "nofile=20000:20000", "--ulimit", "nproc=1024:1024"]);
        run_quiet(run.args(arguments).arg(image))?;
        Ok(Container { podman: self })
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        if let Err(error) = run_quiet(&mut self.podman(&["rm", "--all", "--force", "--time", "2"])) {
            eprintln!("{error:#}");
        }
    }
}

/// The one container.
pub struct Container<'a> {
    podman: &'a Podman,
}

impl Container<'_> {
    /// Starts it again after [`Container::stop`].
    pub fn start_again(&self) -> Result<()> {
        run_quiet(&mut self.podman.podman(&["start", NAME])).map(drop)
    }

    /// A program inside.
    pub fn exec(&self, arguments: &[&str]) -> Command {
        let mut exec = self.podman.podman(&["exec", "--interactive", NAME]);
        exec.args(arguments);
        exec
    }

    /// Has the program judge the settings that it was given, with the image's own place to listen.
    pub fn checks_settings(&self) -> Result<String> {
        let listen = "KITH_LISTEN=0.0.0.0:7480";
        let words = ["exec", "--env", listen, NAME, "/usr/bin/kith-server", "config", "check"];
        run_quiet(&mut self.podman.podman(&words))
    }

    pub fn inspect(&self) -> Result<Value> {
        let told = run_quiet(&mut self.podman.podman(&["container", "inspect", NAME]))?;
        let mut told: Value = serde_json::from_str(&told).context("what podman tells of the container")?;
        Ok(told[0].take())
    }

    /// Has the image's health check run until it succeeds, and the container bears the state that it then has.
    pub fn until_healthy(&self) -> Result<()> {
        until(HEALTHY_LIMIT, "a healthy container", || {
            let checked = self.podman.podman(&["healthcheck", "run", NAME]).output()?;
            let state = self.inspect()?["State"].take();
            if state["Running"] != true {
                bail!("the container has ended: {state}");
            }
            let health = state.get("Health").or_else(|| state.get("Healthcheck"));
            let is_healthy = health.is_some_and(|health| health["Status"] == "healthy");
            Ok((checked.status.success() && is_healthy).then_some(()))
        })
    }

    /// Asks it to end; after `seconds` podman ends it hard, and the exit code tells.
    pub fn stop(&self, seconds: u64) -> Result<()> {
        run_quiet(&mut self.podman.podman(&["stop", "--time", &seconds.to_string(), NAME])).map(drop)
    }

    pub fn log(&self) -> String {
        let output = self.podman.podman(&["logs", "--tail", "60", NAME]).output();
        output.map_or_else(
            |error| format!("no log: {error}"),
            |output| {
                [output.stdout, output.stderr]
                    .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
                    .concat()
            },
        )
    }
}

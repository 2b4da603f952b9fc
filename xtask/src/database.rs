//! One throwaway PostgreSQL for a whole run: all test processes share it, and it ends with this one.

use std::{env, fs, path::PathBuf, process::Stdio};

use anyhow::{Context, Result};

use crate::process::{Background, background, built, cargo, root, run};

/// The features with which everything is built, in every stage alike, so that nothing is compiled twice.
pub const FEATURES: &[&str] = &["--features", "kith-desktop/custom-protocol"];

/// A running cluster with one database that has the schema.
#[derive(Debug)]
pub struct TestCluster {
    pub url: String,
    dir: PathBuf,
    process: Background,
}

impl TestCluster {
    pub fn start() -> Result<Self> {
        run(cargo(&["build", "--quiet", "--workspace", "--bin", "kith-pgbox"]).args(FEATURES))?;
        let dir = env::temp_dir().join(format!("kith-xtask-pg-{}", std::process::id()));
        let mut command = background(built("kith-pgbox"));
        command.arg(&dir).args(["--throwaway", "--connections", "400", "--database", "kith", "--migrations"]);
        command.arg(root().join("migrations")).stdin(Stdio::piped());
        let (process, url) =
            Background::start_and_hear("PostgreSQL", &mut command).context("starting PostgreSQL")?;
        println!("PostgreSQL for the tests: {url}");
        Ok(Self { url, dir, process })
    }
}

impl Drop for TestCluster {
    fn drop(&mut self) {
        self.process.end();
        // As root the cluster may lie elsewhere; the note says where.
        if let Ok(note) = fs::read_to_string(self.dir.join("LOCATION.txt"))
            && let Some(home) = note.lines().nth(1)
        {
            let _ = fs::remove_dir_all(home);
        }
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            eprintln!("{} stays behind: {error}", self.dir.display());
        }
    }
}

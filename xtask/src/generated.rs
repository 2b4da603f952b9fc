//! Files that are generated and committed: query metadata (`.sqlx/`) and TypeScript bindings.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::Path,
    time::SystemTime,
};

use anyhow::{Context, Result, ensure};

use crate::{
    database::{FEATURES, TestCluster},
    process::{cargo, root, run},
};

/// Writes the bindings, or compares them.
pub fn bindings(check: bool) -> Result<()> {
    crate::steps::Steps::new().step("bindings", |_| {
        run(cargo(&["test", "--quiet", "--package", "kith-desktop"])
            .args(["--lib", "bindings"])
            .env("KITH_BINDINGS", if check { "check" } else { "write" }))
    })
}

/// Writes the query metadata, or compares it.
pub fn sqlx(check: bool) -> Result<()> {
    crate::steps::Steps::new().step("query metadata", |_| {
        let cluster = TestCluster::start()?;
        let fresh = Fresh::prepare()?;
        run(cargo(&["check", "--quiet", "--package", "kith-server", "--all-targets"])
            .envs(fresh.environment(&cluster)))?;
        if check { fresh.compare() } else { fresh.keep() }
    })
}

/// Lints everything, and compares the query metadata that the same compilation writes.
pub fn clippy_and_sqlx(cluster: &TestCluster) -> Result<()> {
    let fresh = Fresh::prepare()?;
    run(cargo(&["clippy", "--workspace", "--all-targets"])
        .args(FEATURES)
        .args(["--", "-D", "warnings"])
        .envs(fresh.environment(cluster)))?;
    fresh.compare()
}

/// A folder into which the macros write what they learn from the database.
struct Fresh {
    dir: std::path::PathBuf,
}

impl Fresh {
    /// The macros write only while the crate is compiled, so its sources have to look changed.
    fn prepare() -> Result<Self> {
        let dir = crate::process::target_dir().join("sqlx-metadata");
        if dir.exists() {
            fs::remove_dir_all(&dir).context("emptying the folder for query metadata")?;
        }
        fs::create_dir_all(&dir).context("making a folder for query metadata")?;
        for file in ["lib.rs", "main.rs"] {
            let path = root().join("server").join("src").join(file);
            let touched =
                File::options().write(true).open(&path).and_then(|file| file.set_modified(SystemTime::now()));
            touched.with_context(|| format!("touching {}", path.display()))?;
        }
        Ok(Self { dir })
    }

    fn environment(&self, cluster: &TestCluster) -> [(&'static str, std::ffi::OsString); 3] {
        [
            ("DATABASE_URL", cluster.url.clone().into()),
            ("SQLX_OFFLINE", "false".into()),
            ("SQLX_OFFLINE_DIR", self.dir.clone().into()),
        ]
    }

    fn compare(&self) -> Result<()> {
        let (committed, fresh) = (contents(&root().join(".sqlx"))?, contents(&self.dir)?);
        let missing = fresh.keys().filter(|name| !committed.contains_key(*name)).count();
        let superfluous = committed.keys().filter(|name| !fresh.contains_key(*name)).count();
        let other =
            fresh.iter().filter(|(name, text)| committed.get(*name).is_some_and(|old| old != *text)).count();
        ensure!(
            missing + superfluous + other == 0,
            ".sqlx/ is not up to date ({missing} missing, {superfluous} superfluous, {other} different): run cargo xtask sqlx"
        );
        println!(".sqlx/ is up to date, {} queries", fresh.len());
        Ok(())
    }

    fn keep(&self) -> Result<()> {
        let dir = root().join(".sqlx");
        if dir.exists() {
            fs::remove_dir_all(&dir).context("removing the old .sqlx")?;
        }
        fs::create_dir(&dir).context("making .sqlx")?;
        let fresh = contents(&self.dir)?;
        for (name, text) in &fresh {
            fs::write(dir.join(name), text).with_context(|| format!("writing .sqlx/{name}"))?;
        }
        println!(".sqlx/ has {} queries", fresh.len());
        Ok(())
    }
}

fn contents(dir: &Path) -> Result<BTreeMap<String, String>> {
    if !dir.exists() {
        return Ok(BTreeMap::new());
    }
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))? {
        let entry = entry?;
        let text = fs::read_to_string(entry.path())?;
        files.insert(entry.file_name().to_string_lossy().into_owned(), format!("{}\n", text.trim_end()));
    }
    Ok(files)
}

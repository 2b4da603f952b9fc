//! The interface: its packages and its build, each done only when what it depends on has changed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::SystemTime,
};

use anyhow::{Context, Result};

use crate::{
    process::{command, root, run, run_seen, which},
    steps::Steps,
};

/// What the build reads; everything else in `ui/` does not count.
const SOURCES: &[&str] = &[
    "src",
    "public",
    "static",
    "index.html",
    "package.json",
    "package-lock.json",
    "vite.config.ts",
    "tsconfig.json",
];

/// What the browser is called.
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

fn folder() -> PathBuf {
    root().join("ui")
}

pub fn npm(arguments: &[&str]) -> Command {
    npm_in(&folder(), arguments)
}

fn npm_in(folder: &Path, arguments: &[&str]) -> Command {
    let mut npm = command(if cfg!(windows) { "npm.cmd" } else { "npm" });
    npm.args(arguments).current_dir(folder);
    npm
}

/// Installs the interface's packages if the lock file is not the one of the last time.
pub fn packages(steps: &mut Steps) -> Result<()> {
    steps.step("npm ci", |_| install(&folder()))
}

/// Installs the packages of a folder if its lock file is not the one of the last time.
pub fn install(folder: &Path) -> Result<()> {
    let lock = folder.join("package-lock.json");
    let lock = fs::read(&lock).with_context(|| format!("reading {}", lock.display()))?;
    let stamp = folder.join("node_modules").join(".kith-lock");
    if fs::read(&stamp).is_ok_and(|installed| installed == lock) {
        println!("unchanged");
        return Ok(());
    }
    run(&mut npm_in(folder, &["ci", "--no-audit", "--no-fund"]))?;
    fs::write(&stamp, lock).context("noting which packages are installed")
}

/// Builds the interface if a source is newer than the build.
pub fn build(steps: &mut Steps) -> Result<()> {
    steps.step("ui build", |_| {
        let built = modified(&folder().join("dist").join("index.html"));
        let newest = SOURCES.iter().filter_map(|source| newest(&folder().join(source))).max();
        if let (Some(built), Some(newest)) = (built, newest)
            && built > newest
        {
            println!("unchanged");
            return Ok(());
        }
        run(&mut npm(&["run", "--silent", "build"]))
    })
}

/// Lints, types and tests.
pub fn checks(steps: &mut Steps) -> Result<()> {
    steps.step("ui lint", |_| run(&mut npm(&["run", "--silent", "lint"])))?;
    steps.step("ui types", |_| run(&mut npm(&["run", "--silent", "check"])))?;
    steps.step("ui tests", |steps| {
        let (success, text) = run_seen(&mut npm(&["run", "--silent", "test"]))?;
        let (passed, failed) = vitest_counts(&text);
        steps.count(passed, failed);
        anyhow::ensure!(success, "the interface's tests failed");
        Ok(())
    })
}

/// What a test document cannot show: the built interface in a browser under the window's policy, what is in the build,
/// and that the lint bites.
pub fn browser(steps: &mut Steps) -> Result<()> {
    steps.step("ui in a browser", |steps| {
        let mut npm = npm(&["run", "--silent", "checks"]);
        let found = std::env::var_os("CHROMIUM").map(PathBuf::from);
        match found.or_else(|| BROWSERS.iter().find_map(|name| which(name))) {
            Some(browser) => drop(npm.env("CHROMIUM", browser)),
            None => {
                println!("no Chromium here (CHROMIUM names one): only the build and the lint are looked at");
                npm.args(["--", "checks/build", "checks/lint"]);
            }
        }
        let (success, text) = run_seen(&mut npm)?;
        let (passed, failed) = vitest_counts(&text);
        steps.count(passed, failed);
        anyhow::ensure!(success, "the interface fails in a browser");
        Ok(())
    })
}

/// Reads vitest's `Tests  2 failed | 31 passed (33)`.
fn vitest_counts(text: &str) -> (u64, u64) {
    let Some(line) = text.lines().rev().find(|line| line.trim_start().starts_with("Tests ")) else {
        return (0, 0);
    };
    let words: Vec<&str> = line.split_whitespace().collect();
    let before = |what: &str| {
        let at = words.iter().position(|word| *word == what)?;
        words.get(at.checked_sub(1)?)?.parse().ok()
    };
    (before("passed").unwrap_or(0), before("failed").unwrap_or(0))
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).ok()?.modified().ok()
}

fn newest(path: &Path) -> Option<SystemTime> {
    let Ok(entries) = fs::read_dir(path) else { return modified(path) };
    entries.filter_map(Result::ok).filter_map(|entry| newest(&entry.path())).chain(modified(path)).max()
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn the_sum_of_the_interface_tests_is_read() {
        assert_eq!(
            vitest_counts(" Test Files  1 passed (1)\n      Tests  2 failed | 31 passed (33)\n"),
            (31, 2)
        );
        assert_eq!(vitest_counts("      Tests  7 passed (7)\n"), (7, 0));
        assert_eq!(vitest_counts("nothing"), (0, 0));
    }
}

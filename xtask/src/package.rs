//! The desktop's packages, made by Tauri's bundler from a program that is built already, and what a package of the server holds.

#[cfg(unix)]
mod inspect;
#[cfg(unix)]
mod install;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::{
    database::{FEATURES, TestCluster},
    process::{self, cargo, command, root, target_dir},
    setup,
    steps::{Steps, megabytes},
    ui,
};

/// The largest that the server's image may be, in bytes.
#[cfg(unix)]
const IMAGE_BYTES_MAX: u64 = 50_000_000;
/// What the .deb of a release build should come below, in bytes.
const DEB_BYTES_WANTED: u64 = 10_000_000;

#[derive(clap::Args)]
pub struct Arguments {
    /// Packages the debug build, whose size tells nothing
    #[arg(long)]
    debug: bool,
    /// Merged into src-tauri/tauri.conf.json: with what to sign
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where these packages look for newer ones (https); without it they look nowhere
    #[arg(long, value_name = "URL")]
    update_url: Option<String>,
}

/// What this system installs from.
fn bundles() -> &'static [&'static str] {
    match env::consts::OS {
        "macos" => &["app", "dmg"],
        "windows" => &["nsis", "msi"],
        _ => &["deb", "rpm"],
    }
}

fn all(arguments: &Arguments, steps: &mut Steps) -> Result<()> {
    setup::run(setup::For::Desktop, steps)?;
    ui::packages(steps)?;
    ui::build(steps)?;
    let profile: &[&str] = if arguments.debug { &[] } else { &["--release"] };
    steps.step("build", |_| build(profile, arguments.update_url.as_deref()))?;
    let made = steps.step("packages", |_| bundle(arguments.debug, arguments.config.as_deref()))?;
    steps.step("sizes", |_| sizes(&made, arguments.debug))
}

/// `cargo xtask package`
pub fn run(arguments: &Arguments) -> Result<()> {
    let mut steps = Steps::new();
    all(arguments, &mut steps)?;
    steps.table();
    Ok(())
}

fn profile_dir(debug: bool) -> PathBuf {
    target_dir().join(if debug { "debug" } else { "release" })
}

/// Builds the programs that `bench desktop` measures, and answers the app's package.
pub fn for_bench(steps: &mut Steps) -> Result<PathBuf> {
    let programs = ["kith", "kith-server", "kith-bench", "kith-bench-window"];
    let mut build = cargo(&["build", "--release", "--workspace", "--features", "kith-bench-window/window"]);
    build.args(FEATURES).args(programs.iter().flat_map(|program| ["--bin", program]));
    steps.step("release build", |_| process::run(&mut build))?;
    let made = steps.step("package", |_| bundle(false, None))?;
    made.into_iter().find(|path| is_a(path, "deb")).context("no .deb; `bench desktop` is for Linux")
}

fn build(profile: &[&str], update_url: Option<&str>) -> Result<()> {
    let programs = ["--bin", "kith", "--bin", "kith-server"];
    let mut build = cargo(&["build", "--workspace"]);
    build.args(programs).args(profile).args(FEATURES);
    if let Some(url) = update_url {
        ensure!(url.starts_with("https://"), "updates come over https:// only");
        // Merged into the configuration that is built in.
        let config = json!({ "plugins": { "updater": { "endpoints": [url] } } });
        build.env("TAURI_CONFIG", config.to_string());
    }
    process::run(&mut build)
}

/// Tauri's command line, as the interface's lock file has it.
pub fn tauri(arguments: &[&str]) -> Command {
    let mut tauri = command("node");
    tauri.arg(root().join("ui/node_modules/@tauri-apps/cli/tauri.js")).args(arguments);
    tauri.env("CARGO_TARGET_DIR", target_dir());
    tauri
}

/// Packages the program of that profile without building anything, and returns the files.
fn bundle(debug: bool, config: Option<&Path>) -> Result<Vec<PathBuf>> {
    let folder = profile_dir(debug).join("bundle");
    if folder.exists() {
        fs::remove_dir_all(&folder).context("removing the old packages")?;
    }
    let wanted = bundles().join(",");
    let mut bundle = tauri(&["bundle", "--ci", "--bundles", &wanted]);
    if debug {
        bundle.arg("--debug");
    }
    if let Some(config) = config {
        bundle.arg("--config").arg(config);
    }
    process::run(&mut bundle)?;
    let mut made = Vec::new();
    for kind in fs::read_dir(&folder).context("the bundler has made nothing")? {
        for file in fs::read_dir(kind?.path())? {
            let path = file?.path();
            let is_package = ["deb", "rpm", "dmg", "exe", "msi"].iter().any(|kind| is_a(&path, kind));
            made.extend(is_package.then_some(path));
        }
    }
    ensure!(!made.is_empty(), "no package in {}", folder.display());
    made.sort();
    for deb in made.iter().filter(|path| !debug && is_a(path, "deb")) {
        pack_tighter(deb)?;
    }
    Ok(made)
}

/// Packs a .deb anew with xz, which every dpkg reads: the bundler knows gzip only. Nothing is signed yet (docs/operate/releases.md).
fn pack_tighter(deb: &Path) -> Result<()> {
    if process::run_quiet(command("dpkg-deb").arg("--version")).is_err() {
        println!("no dpkg-deb here: the .deb stays as large as the bundler made it");
        return Ok(());
    }
    let files = deb.with_extension("files");
    process::run_quiet(command("dpkg-deb").arg("--raw-extract").args([deb, &files]))?;
    let mut pack = command("dpkg-deb");
    process::run_quiet(pack.args(["--root-owner-group", "-Zxz", "--build"]).args([&files, deb]))?;
    fs::remove_dir_all(&files).context("removing what the package was unpacked to")
}

/// Prints the sizes. Of a release build the server's image has a limit, and the .deb one that it should come below.
fn sizes(made: &[PathBuf], debug: bool) -> Result<()> {
    for path in made {
        let (name, bytes) =
            (path.file_name().unwrap_or_default().to_string_lossy(), fs::metadata(path)?.len());
        let is_large = !debug && is_a(path, "deb") && bytes > DEB_BYTES_WANTED;
        let remark = if is_large { " (10 MB are wanted)" } else { "" };
        println!("{name}: {} MB{remark}", megabytes(bytes));
    }
    #[cfg(unix)]
    if cfg!(target_os = "linux") && !debug {
        let rootfs = target_dir().join("rootfs");
        if rootfs.exists() {
            fs::remove_dir_all(&rootfs)?;
        }
        crate::container::lay_out(&profile_dir(debug).join("kith-server"), &rootfs)?;
        let bytes = bytes_below(&rootfs)?;
        println!("what the server's image holds: {} MB", megabytes(bytes));
        let limit = megabytes(IMAGE_BYTES_MAX);
        ensure!(bytes <= IMAGE_BYTES_MAX, "the server's image is larger than {limit} MB");
    }
    Ok(())
}

fn is_a(path: &Path, kind: &str) -> bool {
    path.extension().is_some_and(|extension| extension == kind)
}

#[cfg(unix)]
fn bytes_below(dir: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        bytes += if meta.is_dir() { bytes_below(&entry.path())? } else { meta.len() };
    }
    Ok(bytes)
}

/// Packages the debug build, looks into the packages, installs the .deb, opens a link, and removes it again.
#[cfg(unix)]
pub fn stage(cluster: &TestCluster, steps: &mut Steps) -> Result<()> {
    if !setup::may_install() {
        println!("\n── packages: skipped; they are tried as root on Debian and its relatives only");
        return Ok(());
    }
    if install::is_installed() {
        println!(
            "\n── packages: skipped; a package of this name is installed here, and somebody may need it"
        );
        return Ok(());
    }
    steps.step("programs for the packages", |_| build(&[], None))?;
    steps.step("package tools", |_| {
        setup::install(&["desktop-file-utils", "xdg-utils", "rpm", "binutils", "wmctrl"])
    })?;
    let made = steps.step("packages", |_| bundle(true, None))?;
    let of = |kind: &str| made.iter().find(|path| is_a(path, kind)).with_context(|| format!("no .{kind}"));
    steps.step("what is in the packages", |steps| {
        sizes(&made, true)?;
        steps.count(inspect::deb(of("deb")?)? + inspect::rpm(of("rpm")?)?, 0);
        Ok(())
    })?;
    steps.step("an installed package and a link", |steps| {
        steps.count(install::play(of("deb")?, cluster)?, 0);
        Ok(())
    })
}

#[cfg(not(unix))]
pub fn stage(_: &TestCluster, _: &mut Steps) -> Result<()> {
    println!("\n── packages: skipped; they are tried as root on Debian and its relatives only");
    Ok(())
}

//! What `bench` builds before it measures: figures mean something only in release builds.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::{
    desk::{Desk, Display},
    package,
    process::{self, built, cargo, command, run, target_dir},
    setup,
    steps::Steps,
    ui,
};

/// `cargo xtask bench …`
pub fn bench(arguments: &[String]) -> Result<()> {
    let mut steps = Steps::new();
    match arguments.first().map(String::as_str) {
        Some("desktop") => desktop(arguments, &mut steps),
        what => headless(what == Some("server"), arguments, &mut steps),
    }
}

fn release(name: &str) -> PathBuf {
    let debug = built(name);
    target_dir().join("release").join(debug.file_name().unwrap_or_default())
}

fn headless(is_beside_others: bool, arguments: &[String], steps: &mut Steps) -> Result<()> {
    setup::run(setup::For::Desktop, steps)?;
    let packages = ["--package", "kith-server", "--package", "kith-bench"];
    steps.step("release build", |_| run(cargo(&["build", "--release"]).args(packages)))?;
    if is_beside_others {
        let beside = process::root().join("bench/socketio");
        steps.step("what is measured beside it", |_| ui::install(&beside))?;
    }
    let mut bench = command(release("kith-bench"));
    bench.args(if arguments.is_empty() { vec!["quick".to_owned()] } else { arguments.to_vec() });
    steps.step("measurements", |_| run(bench.env("KITH_SERVER", release("kith-server"))))
}

/// The app, its package, and an empty window to measure it beside, on a desk of their own.
fn desktop(arguments: &[String], steps: &mut Steps) -> Result<()> {
    setup::run(setup::For::Tests, steps)?;
    ui::packages(steps)?;
    ui::build(steps)?;
    let deb = package::for_bench(steps)?;
    let home = std::env::temp_dir().join(format!("kith-bench-{}", std::process::id()));
    let desk = Desk::start(&home, Display::Private)?;
    let mut bench = command(release("kith-bench"));
    bench.args(arguments).env("KITH_DEB", deb).env("KITH_SERVER", release("kith-server"));
    bench.env("KITH_APP", release("kith")).env("KITH_BENCH_WINDOW", release("kith-bench-window"));
    let result = steps.step("measurements", |_| run(desk.enter(&mut bench)));
    drop(desk);
    std::fs::remove_dir_all(&home).context("removing the desk's home")?;
    result
}

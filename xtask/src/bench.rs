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
        Some("all") => all(&mut steps),
        what => headless(what == Some("server"), arguments, &mut steps),
    }
}

/// The main measurements for a moment each, on debug builds: nothing lost, nothing twice, nothing out of order.
pub fn short() -> Result<()> {
    for arguments in [
        ["server", "--receipts", "--pairs", "20", "--seconds", "1", "--rounds", "1", "--rows", "10000"]
            .as_slice(),
        &["crash", "--pairs", "100", "--seconds", "3", "--kills", "1"],
        &["group", "--members", "50", "--seconds", "2"],
    ] {
        let mut bench = command(built("kith-bench"));
        run(bench.args(arguments).arg("--short").env("KITH_SERVER", built("kith-server")))?;
    }
    Ok(())
}

/// Everything, one after the other, with a page of it in the end.
fn all(steps: &mut Steps) -> Result<()> {
    let folder = target_dir().join("bench");
    std::fs::create_dir_all(&folder)?;
    let (mut files, mut missed) = (Vec::new(), Vec::new());
    for what in ["server", "idle", "storm", "group", "active", "bus", "crash", "client", "desktop"] {
        let file = folder.join(what).with_extension("json");
        let mut arguments = vec![what.to_owned(), "--json".to_owned(), file.to_string_lossy().into_owned()];
        if what == "server" {
            arguments.push("--receipts".to_owned());
        }
        let measured = match what {
            "desktop" => desktop(&arguments, steps),
            _ => headless(what == "server", &arguments, steps),
        };
        if let Err(error) = measured {
            println!("{what}: {error:#}");
            missed.push(what);
        }
        files.push(file);
    }
    let mut page = command(release("kith-bench"));
    page.arg("page").args(files.iter().filter(|file| file.exists()));
    run(page.arg("--to").arg(folder.join("performance.html")))?;
    anyhow::ensure!(missed.is_empty(), "a target is missed in: {}", missed.join(", "));
    Ok(())
}

fn release(name: &str) -> PathBuf {
    let debug = built(name);
    target_dir().join("release").join(debug.file_name().unwrap_or_default())
}

fn headless(is_beside_others: bool, arguments: &[String], steps: &mut Steps) -> Result<()> {
    let needs_bus = arguments.first().is_some_and(|what| what == "bus");
    setup::run(if needs_bus { setup::For::Tests } else { setup::For::Desktop }, steps)?;
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

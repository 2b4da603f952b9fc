//! What `test` and `check` consist of.

use anyhow::Result;

use crate::{
    database::{FEATURES, TestCluster},
    generated, package,
    process::{cargo, run},
    rules, setup,
    steps::{Budget, Steps},
    supply, tests, ui,
};

/// What can be run by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Formatting, lints and generated files
    Lints,
    /// The interface: lint, types, tests
    Ui,
    /// All Rust tests but those of real windows
    Rust,
    /// Real windows
    Windows,
    /// The server's image: built, run as compose.yaml says, spoken to
    Container,
    /// The desktop's package: built, installed, started by a link, removed
    Packages,
}

/// A run that takes 90 minutes does not land. Whoever adds work to a stage makes room for it.
const BUDGET: Budget = Budget {
    steps: &[
        ("npm ci", 2),
        ("ui build", 1),
        ("ui lint", 1),
        ("ui types", 1),
        ("ui tests", 3),
        ("ui in a browser", 3),
        ("clippy, query metadata", 10),
        ("build", 18),
        ("rust tests", 18),
        ("the benchmark, short", 2),
        ("real windows", 6),
        ("programs for the container", 2),
        ("container", 3),
        ("programs for the packages", 4),
        ("packages", 2),
    ],
    all: 75,
};

/// Everything that has to pass, up to the first stage that fails.
pub fn test(part: Option<Part>) -> Result<()> {
    let mut steps = Steps::within(BUDGET);
    let result = all(part, &mut steps).and_then(|()| steps.judge_time());
    steps.verdict(&result);
    result
}

fn all(part: Option<Part>, steps: &mut Steps) -> Result<()> {
    let wanted = |one: Part| part.is_none_or(|part| part == one);
    setup::run(setup::For::Tests, steps)?;
    if part == Some(Part::Container) {
        return container(steps);
    }
    if wanted(Part::Lints) {
        steps.step("format", |_| run(&mut cargo(&["fmt", "--all", "--check"])))?;
        steps.step("dependencies", |_| supply::check())?;
        steps.step("rules and their tests", |_| rules::table(true))?;
    }
    ui::packages(steps)?;
    // The window's code embeds the built interface, so it comes before Rust.
    ui::build(steps)?;
    if wanted(Part::Ui) {
        ui::checks(steps)?;
        ui::browser(steps)?;
    }
    if part == Some(Part::Ui) {
        return Ok(());
    }
    let cluster = steps.step("database", |_| TestCluster::start())?;
    if wanted(Part::Lints) {
        steps.step("clippy, query metadata", |_| generated::clippy_and_sqlx(&cluster))?;
    }
    if part == Some(Part::Lints) {
        return Ok(());
    }
    if part == Some(Part::Packages) {
        return package::stage(&cluster, steps);
    }
    steps.step("build", |_| run(cargo(&["build", "--workspace", "--all-targets"]).args(FEATURES)))?;
    if wanted(Part::Rust) {
        steps.step("rust tests", |steps| tests::headless(&cluster, steps))?;
        steps.step("the benchmark, short", |_| crate::bench::short())?;
    }
    if wanted(Part::Windows) {
        steps.step("real windows", |steps| tests::windows(&cluster, steps))?;
    }
    if wanted(Part::Container) {
        container(steps)?;
    }
    if part.is_none() {
        package::stage(&cluster, steps)?;
    }
    Ok(())
}

#[cfg(unix)]
fn container(steps: &mut Steps) -> Result<()> {
    crate::container::stage(steps)
}

#[cfg(not(unix))]
fn container(_: &mut Steps) -> Result<()> {
    println!("\n── container: skipped; it is played as root on Debian and its relatives only");
    Ok(())
}

/// The quick part: no real windows, nothing generated, no end-to-end tests.
pub fn check() -> Result<()> {
    let mut steps = Steps::new();
    let result = quick(&mut steps);
    steps.verdict(&result);
    result
}

fn quick(steps: &mut Steps) -> Result<()> {
    steps.step("format", |_| run(&mut cargo(&["fmt", "--all", "--check"])))?;
    ui::packages(steps)?;
    ui::build(steps)?;
    ui::checks(steps)?;
    steps.step("clippy", |_| {
        run(cargo(&["clippy", "--workspace", "--all-targets"]).args(FEATURES).args(["--", "-D", "warnings"]))
    })?;
    steps.step("unit tests", tests::unit)
}

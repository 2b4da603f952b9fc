//! What `test`, `check` and `bench` consist of.

use anyhow::Result;

use crate::{
    database::{FEATURES, TestCluster},
    generated,
    process::{built, cargo, run},
    setup,
    steps::Steps,
    tests, ui,
};

/// Everything that has to pass, up to the first stage that fails.
pub fn test() -> Result<()> {
    let mut steps = Steps::new();
    let result = all(&mut steps);
    steps.verdict(&result);
    result
}

fn all(steps: &mut Steps) -> Result<()> {
    setup::run(setup::For::Tests, steps)?;
    steps.step("format", |_| run(&mut cargo(&["fmt", "--all", "--check"])))?;
    ui::packages(steps)?;
    // The window's code embeds the built interface, so it comes before Rust.
    ui::build(steps)?;
    ui::checks(steps)?;
    let cluster = steps.step("database", |_| TestCluster::start())?;
    steps.step("clippy, query metadata", |_| generated::clippy_and_sqlx(&cluster))?;
    steps.step("build", |_| run(cargo(&["build", "--workspace", "--all-targets"]).args(FEATURES)))?;
    steps.step("rust tests", |steps| tests::headless(&cluster, steps))?;
    steps.step("real windows", |steps| tests::windows(&cluster, steps))
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

/// Figures mean something only in release builds.
pub fn bench(arguments: &[String]) -> Result<()> {
    let mut steps = Steps::new();
    setup::run(setup::For::Desktop, &mut steps)?;
    let packages = ["--package", "kith-server", "--package", "kith-bench"];
    let build = |_: &mut Steps| run(cargo(&["build", "--release"]).args(packages));
    steps.step("release build", build)?;
    let binary = |name: &str| {
        let debug = built(name);
        let name = debug.file_name().unwrap_or_default().to_owned();
        crate::process::target_dir().join("release").join(name)
    };
    let mut bench = crate::process::command(binary("kith-bench"));
    bench.args(if arguments.is_empty() { vec!["quick".to_owned()] } else { arguments.to_vec() });
    steps.step("measurements", |_| run(bench.env("KITH_SERVER", binary("kith-server"))))
}

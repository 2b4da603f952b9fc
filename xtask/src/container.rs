//! The server's image: built from a fresh program, run as `compose.yaml` says, spoken to through the proxy of `deploy/Caddyfile`.
//!
//! As root on Debian only, because images are made and run here without a service. Everything lies in one temporary folder, and
//! all that was started has ended when the stage ends.

mod compose;
mod database;
mod podman;
mod proxy;
mod story;

use std::{
    env, fs,
    net::TcpListener,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use crate::{
    database::FEATURES,
    process::{built, cargo, command, root, run, run_quiet},
    setup,
    steps::{Steps, megabytes},
};
use podman::Podman;

/// What builds and runs images.
const TOOLS: &[&str] = &["buildah", "podman", "runc", "crun", "netavark", "conmon", "binutils"];
/// The stage of the Dockerfile that needs no other image.
const RUNTIME: &str = "FROM scratch AS runtime";
/// The user in the image.
pub const USER: u32 = 65_532;

/// Everything that the stage makes; removed with the value.
struct Scratch(PathBuf);

impl Scratch {
    fn make() -> Result<Self> {
        let dir = env::temp_dir().join(format!("kith-container-{}", std::process::id()));
        fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
        Ok(Self(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{} stays behind: {error}", self.0.display());
        }
    }
}

/// The whole stage, or a line that says why not.
pub fn stage(steps: &mut Steps) -> Result<()> {
    if !setup::may_install() {
        println!("\n── container: skipped; it is played as root on Debian and its relatives only");
        return Ok(());
    }
    steps.step("container tools", |_| setup::install(TOOLS))?;
    steps.step("programs for the container", |_| {
        let programs = ["--bin", "kith-server", "--bin", "kith-pgbox"];
        run(cargo(&["build", "--quiet", "--workspace"]).args(programs).args(FEATURES))
    })?;
    steps.step("container", |steps| {
        let passed = play()?;
        steps.count(passed, 0);
        Ok(())
    })
}

/// Plays the story and returns how many of its checks passed.
fn play() -> Result<u64> {
    let scratch = Scratch::make()?;
    let dir = scratch.0.as_path();
    let compose = compose::read()?;
    let service = compose::Service::of(&compose, "server")?;
    compose::names_are_known(&service, &built("kith-server"))?;
    let podman = Podman::new(dir)?;
    let image = image(dir, &podman)?;
    let database = database::Database::start(dir)?;
    database::secret(&database, dir)?;
    let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
    let address = format!("127.0.0.1:{port}");
    let places =
        compose::Places { volumes: &[("socket", database.sockets())], secrets: &dir.join("secrets") };
    let mut arguments = service.podman_arguments(&places)?;
    arguments.extend(["--env".to_owned(), format!("KITH_LISTEN={address}")]);
    let container = podman.start(&image, &arguments)?;
    let checks = story::tell(&container, &address, service.stop_seconds()?, dir);
    if checks.is_err() {
        eprintln!("{}", container.log());
    }
    checks
}

/// Builds the runtime stage and says how large it is.
fn image(dir: &Path, podman: &Podman) -> Result<String> {
    let program = dir.join("kith-server");
    run(command("strip").arg("-o").arg(&program).arg(built("kith-server")))?;
    let rootfs = dir.join("rootfs");
    lay_out(&program, &rootfs)?;
    let file = dir.join("Dockerfile");
    fs::write(&file, runtime_stage(&fs::read_to_string(root().join("Dockerfile"))?)?)?;
    let context = dir.join("context");
    fs::create_dir(&context)?;
    let name = "localhost/kith-server";
    run_quiet(
        podman
            .buildah(&["bud", "--quiet", "--format", "docker", "--isolation", "chroot", "--tag", name])
            .arg(format!("--build-context=rootfs={}", rootfs.display()))
            .arg("--file")
            .args([&file, &context]),
    )?;
    let bytes = podman.image_bytes(name)?;
    println!("the image has {} MB (debug build, stripped)", megabytes(bytes));
    Ok(name.to_owned())
}

/// Puts together what the image holds.
pub fn lay_out(program: &Path, rootfs: &Path) -> Result<()> {
    run(command(root().join("deploy").join("rootfs.sh")).args([program, rootfs]))
}

/// The Dockerfile from its runtime stage on. Older versions of buildah build every stage that stands before the wanted one,
/// needed or not, and the builder's base is not to be had without a registry.
fn runtime_stage(dockerfile: &str) -> Result<&str> {
    let at = dockerfile.find(RUNTIME).with_context(|| format!("the Dockerfile has no line {RUNTIME:?}"))?;
    let stage = &dockerfile[at..];
    ensure!(!stage[RUNTIME.len()..].contains("\nFROM "), "the runtime stage is the last one");
    Ok(stage)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> String {
        fs::read_to_string(root().join(name)).unwrap()
    }

    #[test]
    fn the_runtime_stage_is_the_last_and_rests_on_nothing() {
        let dockerfile = file("Dockerfile");
        let stage = runtime_stage(&dockerfile).unwrap();
        for line in ["COPY --from=rootfs / /", &format!("USER {USER}:{USER}"), "\"healthcheck\"]"] {
            assert!(stage.contains(line), "{line}");
        }
        assert!(runtime_stage("FROM debian\n").is_err());
        assert!(runtime_stage(&format!("{RUNTIME}\nFROM debian AS more\n")).is_err());
    }

    #[test]
    fn the_builder_has_this_repositorys_rust() {
        let toolchain = file("rust-toolchain.toml");
        let version = toolchain.lines().find_map(|line| line.strip_prefix("channel = ")).unwrap();
        assert!(file("Dockerfile").contains(&format!("ARG RUST={}\n", version.trim_matches('"'))));
    }
}

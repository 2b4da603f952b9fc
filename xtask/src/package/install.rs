//! The .deb on a desk: installed, started by a link that `xdg-open` is given, and removed.

use std::{
    env, fs,
    io::Write,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::{
    database::TestCluster,
    desk::{Desk, Display},
    http,
    process::{Background, background, built, command, run_quiet, until},
    webdriver::Window,
};

const PACKAGE: &str = "kith";
const PROGRAM: &str = "/usr/bin/kith";
const LIMIT: Duration = Duration::from_secs(60);
/// The accounts live for a minute.
const PASSWORD: &str = "an account of one minute";

/// Whether a package of this name is installed.
pub fn is_installed() -> bool {
    let asked = command("dpkg-query").args(["-W", "-f=${db:Status-Status}", PACKAGE]).output();
    asked.is_ok_and(|answer| String::from_utf8_lossy(&answer.stdout) == "installed")
}

/// The installed package; removed with the value.
struct Installed;

impl Installed {
    fn install(deb: &Path) -> Result<Self> {
        let installed = Self;
        if run_quiet(command("dpkg").arg("--install").arg(deb)).is_err() {
            // Its dependencies are fetched; a fault that is none of these shows here.
            let mut fix = command("apt-get");
            run_quiet(
                fix.args(["-q", "-y", "--fix-broken", "install"]).env("DEBIAN_FRONTEND", "noninteractive"),
            )?;
        }
        ensure!(is_installed(), "the package is not installed");
        Ok(installed)
    }

    fn remove(&self) -> Result<()> {
        run_quiet(command("dpkg").args(["--purge", PACKAGE])).map(drop)
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        if is_installed()
            && let Err(error) = self.remove()
        {
            eprintln!("{error:#}");
        }
    }
}

/// A folder that is removed with the value.
struct Home(PathBuf);

impl Drop for Home {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Returns how many facts were seen.
pub fn play(deb: &Path, cluster: &TestCluster) -> Result<u64> {
    let home = Home(env::temp_dir().join(format!("kith-package-{}", std::process::id())));
    let desk = Desk::start(&home.0, Display::Private)?;
    let (_server, address) = server(cluster)?;
    for name in ["package.ada", "package.bo"] {
        let account = json!({ "username": name, "password": PASSWORD, "display_name": name });
        let answer = http::request("POST", &address, "/v1/accounts", None, Some(&account))?;
        ensure!(answer.status == 201 || answer.body["code"] == "name_taken", "an account: {}", answer.body);
    }
    let installed = Installed::install(deb)?;
    sign_in(&desk, &address)?;
    println!("installed and signed in");

    let link = "kith://start?with=package.bo";
    open(&desk, link)?;
    let pid = until(LIMIT, "the app that the link starts", || Ok(process_with(link)))?;
    until(LIMIT, "its window", || Ok(has_window(&desk, pid)?.then_some(())))?;
    end(pid)?;
    desk.until_off_the_bus("org.kith.desktop")?;
    println!("a link starts the app");

    let window = Window::open(&desk, Path::new(PROGRAM), &[])?;
    window.find("[data-testid='link-state'][data-state='connected']")?;
    open(&desk, link)?;
    window.find("[data-testid='first-message']")?;
    ensure!(process_with(link).is_none_or(|pid| until_gone(pid).is_ok()), "a second app stays");
    drop(window);
    println!("a link reaches the app that runs, which shows where it leads");

    installed.remove()?;
    ensure!(!is_installed() && !Path::new(PROGRAM).exists(), "the program stays behind");
    println!("removed without a trace");
    Ok(4)
}

fn server(cluster: &TestCluster) -> Result<(Background, String)> {
    let mut server = background(built("kith-server"));
    server.arg("serve").env("DATABASE_URL", &cluster.url).env("KITH_LISTEN", "127.0.0.1:0");
    server.env("KITH_SIGNUP", "open").stderr(Stdio::null());
    let (process, line) = Background::start_and_hear("kith-server", &mut server)?;
    let address = line.rsplit("http://").next().context("an address")?.to_owned();
    Ok((process, address))
}

fn sign_in(desk: &Desk, address: &str) -> Result<()> {
    let mut command = background(PROGRAM);
    command.args(["--server", &format!("http://{address}"), "sign-in", "--username", "package.ada"]);
    command.arg("--password-stdin").stdin(Stdio::piped());
    let mut process = Background::start("kith sign-in", desk.enter(&mut command))?;
    let mut stdin = process.stdin().context("the sign-in's input")?;
    stdin.write_all(format!("{PASSWORD}\n").as_bytes())?;
    drop(stdin);
    ensure!(process.succeeds_within(LIMIT)?, "the installed program could not sign in");
    Ok(())
}

/// Opens a link as a browser does. Where there is no desktop environment `xdg-open` stays until the app ends.
fn open(desk: &Desk, link: &str) -> Result<()> {
    let mut command = command("xdg-open");
    desk.enter(&mut command).arg(link).stdout(Stdio::null()).stderr(Stdio::null());
    command.env_remove("BROWSER");
    let mut child = command.spawn().context("starting xdg-open")?;
    // It ends with the app, or by itself; somebody has to take note of that.
    std::thread::spawn(move || child.wait());
    Ok(())
}

/// The installed program that runs with this argument.
fn process_with(link: &str) -> Option<u32> {
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let mut words = line.split(|byte| *byte == 0);
        let is_ours = words.next() == Some(PROGRAM.as_bytes()) && words.any(|word| word == link.as_bytes());
        is_ours.then_some(pid)
    })
}

fn has_window(desk: &Desk, pid: u32) -> Result<bool> {
    let windows = desk.enter(command("wmctrl").args(["-l", "-p"])).output()?;
    let pid = pid.to_string();
    Ok(String::from_utf8_lossy(&windows.stdout)
        .lines()
        .any(|line| line.split_whitespace().nth(2) == Some(&pid)))
}

fn end(pid: u32) -> Result<()> {
    run_quiet(command("kill").arg(pid.to_string()))?;
    until_gone(pid)
}

fn until_gone(pid: u32) -> Result<()> {
    until(LIMIT, "the app's end", || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
        Ok((state.is_empty() || state.starts_with('Z')).then_some(()))
    })
}

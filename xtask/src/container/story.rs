//! What an operator and two people do with the container.

use std::{
    fs,
    io::Write,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{USER, podman::Container, proxy::Proxy};
use crate::{http, process::run_quiet};

/// A server ends in this time, whatever is connected.
const STOP_LIMIT: Duration = Duration::from_secs(10);
const TEXT: &str = "Hello from inside a container";
/// The accounts live for a minute.
const PASSWORD: &str = "an account of one minute";

/// Tells the story; returns how many of its facts were seen.
pub fn tell(container: &Container<'_>, address: &str, grace_seconds: u64, dir: &Path) -> Result<u64> {
    let mut seen = Seen(0);
    container.until_healthy()?;
    seen.that("it starts, migrates an empty database and is healthy");
    container.checks_settings()?;
    seen.that("it takes the settings of compose.yaml also where it listens to others");
    is_locked_in(container)?;
    seen.that("it runs as a user without rights, on a root that cannot be written");
    add_account(container, "ada")?;
    let invite = run_quiet(&mut container.exec(&["kith-server", "invite"]))?;
    seen.that("the operator adds an account and invites by the command line");

    let proxy = Proxy::start(dir, address)?;
    let (ada, bo, conversation) = converse(proxy.address(), invite.trim())?;
    seen.that("two people talk through the proxy");
    proxy.passes_sockets(&ada.token)?;
    seen.that("the proxy passes WebSockets");
    Proxy::replaces_forwarded_addresses(dir)?;
    seen.that("the proxy drops a forged X-Forwarded-For and writes the real one");

    stop(container, grace_seconds)?;
    seen.that("it ends in time and in order");
    container.start_again()?;
    container.until_healthy()?;
    ensure!(bo.reads(address, &conversation)?.contains(TEXT), "the message is gone after a second start");
    stop(container, grace_seconds)?;
    seen.that("a second start finds everything");
    Ok(seen.0)
}

struct Seen(u64);

impl Seen {
    fn that(&mut self, fact: &str) {
        println!("{fact}");
        self.0 += 1;
    }
}

/// Reads what the kernel says of the server's process.
fn is_locked_in(container: &Container<'_>) -> Result<()> {
    let pid = container.inspect()?["State"]["Pid"].as_u64().context("the container's process")?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let has = |line: &str| status.lines().any(|have| have == line);
    ensure!(has(&format!("Uid:\t{USER}\t{USER}\t{USER}\t{USER}")), "another user:\n{status}");
    ensure!(has("CapEff:\t0000000000000000") && has("CapBnd:\t0000000000000000"), "it has rights:\n{status}");
    ensure!(has("NoNewPrivs:\t1"), "it may get rights:\n{status}");
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo"))?;
    let root = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>()).find(|words| words[4] == "/");
    let root = root.context("a root")?;
    ensure!(root[5].split(',').any(|option| option == "ro"), "the root can be written: {root:?}");
    Ok(())
}

fn add_account(container: &Container<'_>, name: &str) -> Result<()> {
    let words = ["kith-server", "user", "add", name, "--password-stdin"];
    let mut add = container.exec(&words).stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    add.stdin.take().context("its input")?.write_all(format!("{PASSWORD}\n").as_bytes())?;
    ensure!(add.wait()?.success(), "user add failed");
    Ok(())
}

/// Somebody signed in.
struct Person {
    id: String,
    token: String,
}

impl Person {
    fn sign_in(address: &str, name: &str) -> Result<Self> {
        let body = json!({ "username": name, "password": PASSWORD, "device": { "name": "container" } });
        let session = http::request("POST", address, "/v1/sessions", None, Some(&body))?.ok("signing in")?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Ok(Self {
            id: text(&session["user"]["id"]).context("an id")?,
            token: text(&session["access_token"]).context("a token")?,
        })
    }

    fn ask(&self, address: &str, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        http::request(method, address, path, Some(&self.token), body)?.ok(path)
    }

    fn reads(&self, address: &str, conversation: &str) -> Result<String> {
        let path = format!("/v1/conversations/{conversation}/messages");
        Ok(self.ask(address, "GET", &path, None)?.to_string())
    }
}

/// Bo comes by the invitation; Ada writes to him, and he reads it.
fn converse(address: &str, invite: &str) -> Result<(Person, Person, String)> {
    let account = json!({ "username": "bob", "password": PASSWORD, "display_name": "Bo", "invite": invite });
    http::request("POST", address, "/v1/accounts", None, Some(&account))?.ok("an account by invitation")?;
    let uninvited = json!({ "username": "cyd", "password": PASSWORD, "display_name": "Cyd" });
    let answer = http::request("POST", address, "/v1/accounts", None, Some(&uninvited))?;
    ensure!(answer.status >= 400, "an account without an invitation: {}", answer.status);
    let (ada, bo) = (Person::sign_in(address, "ada")?, Person::sign_in(address, "bob")?);
    let body = json!({ "kind": "direct", "members": [bo.id] });
    let made = ada.ask(address, "POST", "/v1/conversations", Some(&body))?;
    let conversation = made["conversation"].as_str().context("the conversation's id")?.to_owned();
    let path = format!("/v1/conversations/{conversation}/messages");
    ada.ask(address, "POST", &path, Some(&json!({ "text": TEXT })))?;
    let read = bo.reads(address, &conversation)?;
    ensure!(read.contains(TEXT), "Bo reads {read}");
    Ok((ada, bo, conversation))
}

fn stop(container: &Container<'_>, grace_seconds: u64) -> Result<()> {
    let began = Instant::now();
    container.stop(grace_seconds)?;
    let took = began.elapsed();
    ensure!(took <= STOP_LIMIT, "it took {took:?} to end");
    let code = container.inspect()?["State"]["ExitCode"].take();
    ensure!(code == 0, "it ended with {code}");
    println!("ended after {:.1} s", took.as_secs_f64());
    Ok(())
}

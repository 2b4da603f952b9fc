//! The proxy of `deploy/Caddyfile`, run as it is written but for its name: plain HTTP on a free port of this machine.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use crate::{
    process::{Background, background, root, run_quiet, target_dir, until},
    setup,
};

const LIMIT: Duration = Duration::from_secs(30);

pub struct Proxy {
    address: String,
    _process: Background,
}

impl Proxy {
    /// Checks the configuration under a public name, then runs it before `upstream`.
    pub fn start(dir: &Path, upstream: &str) -> Result<Self> {
        let caddy = program()?;
        let prepare = |command: &mut Command, site: &str| {
            let home = dir.join("proxy");
            command.env("KITH_SITE", site).env("KITH_UPSTREAM", upstream).env("HOME", &home);
            command.env("XDG_DATA_HOME", home.join("data")).env("XDG_CONFIG_HOME", home.join("config"));
        };
        let file = root().join("deploy").join("Caddyfile");
        let mut check = crate::process::command(&caddy);
        prepare(&mut check, "chat.example.org");
        run_quiet(check.args(["validate", "--adapter", "caddyfile", "--config"]).arg(&file))?;

        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let address = format!("127.0.0.1:{port}");
        let mut run = background(&caddy);
        prepare(&mut run, &format!("http://{address}"));
        let log = fs::File::create(dir.join("proxy.log"))?;
        run.args(["run", "--adapter", "caddyfile", "--config"]).arg(&file).stdout(Stdio::null()).stderr(log);
        let mut process = Background::start("caddy", &mut run)?;
        until(LIMIT, "the proxy", || {
            ensure!(
                !process.has_ended(),
                "{}",
                fs::read_to_string(dir.join("proxy.log")).unwrap_or_default()
            );
            Ok(TcpStream::connect(&address).is_ok().then_some(()))
        })?;
        Ok(Self { address, _process: process })
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// Opens a socket through the proxy.
    pub fn passes_sockets(&self, token: &str) -> Result<()> {
        let head = format!(
            "GET /v1/socket HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            self.address
        );
        let answer = first_line(&mut send(&self.address, &head)?)?;
        ensure!(answer.contains(" 101 "), "the socket was answered {answer:?}");
        Ok(())
    }

    /// Puts a listener in the server's place and reads what the proxy tells it.
    pub fn replaces_forwarded_addresses(dir: &Path) -> Result<()> {
        let upstream = TcpListener::bind(("127.0.0.1", 0))?;
        let proxy = Self::start(dir, &upstream.local_addr()?.to_string())?;
        let head = format!(
            "GET /healthz HTTP/1.1\r\nHost: {}\r\nX-Forwarded-For: 203.0.113.9\r\nForwarded: for=203.0.113.9\r\n\r\n",
            proxy.address
        );
        let client = send(&proxy.address, &head)?;
        let (mut accepted, _) = upstream.accept()?;
        accepted.set_read_timeout(Some(LIMIT))?;
        let told = head_of(&mut accepted)?.to_lowercase();
        drop((client, accepted));
        ensure!(told.contains("x-forwarded-for: 127.0.0.1\r\n"), "the server is told:\n{told}");
        ensure!(!told.contains("203.0.113.9"), "a forged address goes through:\n{told}");
        Ok(())
    }
}

fn send(address: &str, head: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(head.as_bytes())?;
    Ok(stream)
}

fn head_of(stream: &mut TcpStream) -> Result<String> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        ensure!(stream.read(&mut byte)? == 1, "it ended within a head");
        bytes.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn first_line(stream: &mut TcpStream) -> Result<String> {
    let head = head_of(stream)?;
    head.lines().next().map(str::to_owned).context("an empty answer")
}

/// The program, unpacked and not installed: the package would start it as a service of this machine.
fn program() -> Result<PathBuf> {
    let dir = target_dir().join("tools").join("caddy");
    let program = dir.join("usr").join("bin").join("caddy");
    if !program.exists() {
        setup::unpack("caddy", &dir)?;
    }
    Ok(program)
}

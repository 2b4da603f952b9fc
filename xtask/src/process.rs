//! Starting programs so that none outlives this one, and waiting for them without missing Ctrl-C.

use std::{
    env,
    ffi::OsStr,
    io::{BufRead, BufReader, IsTerminal, Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

/// A program that is asked to end gets this long.
const END_LIMIT: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(20);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Notes Ctrl-C and requests to end, so that everything is ended in order. Whoever waits has to ask [`interrupted`].
pub fn catch_interrupts() -> Result<()> {
    ctrlc::set_handler(|| INTERRUPTED.store(true, Ordering::SeqCst)).context("catching Ctrl-C")
}

pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// The folder of the workspace. Cargo names it at run time; what it named when this was compiled may be another checkout's
/// that builds into the same folder.
pub fn root() -> PathBuf {
    let here =
        env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    here.parent().map_or_else(|| here.clone(), Path::to_path_buf)
}

/// Where cargo builds.
pub fn target_dir() -> PathBuf {
    build_dir().unwrap_or_else(|| root().join("target"))
}

/// On a CI machine one folder outside the checkout is kept between runs.
fn build_dir() -> Option<PathBuf> {
    if let Some(dir) = env::var_os("CARGO_TARGET_DIR").filter(|dir| !dir.is_empty()) {
        return Some(root().join(dir));
    }
    if env::var("CI").is_ok_and(|ci| ci == "true" || ci == "1") {
        let named = env::var_os("KITH_BUILD_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from);
        let home = env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
        let dir = named.or_else(|| Some(home?.join(".cache").join("kith").join("target")))?;
        return std::fs::create_dir_all(&dir).is_ok().then_some(dir);
    }
    None
}

/// A program that `cargo` has built.
pub fn built(name: &str) -> PathBuf {
    target_dir().join("debug").join(format!("{name}{}", env::consts::EXE_SUFFIX))
}

/// A command in the workspace's folder, without standard input.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root()).stdin(Stdio::null());
    command
}

pub fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Builds need no database, whatever the caller's shell has set; who wants one says so.
    cargo.args(arguments).env("CARGO_TARGET_DIR", target_dir()).env("SQLX_OFFLINE", "true");
    // Set by the cargo that runs this program; the crates built now are others.
    for name in ["CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH", "CARGO_PKG_NAME"] {
        cargo.env_remove(name);
    }
    cargo
}

/// Finds a program in `PATH`.
pub fn which(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let file = format!("{name}{}", env::consts::EXE_SUFFIX);
    env::split_paths(&path).map(|dir| dir.join(&file)).find(|program| program.is_file())
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// Runs a command to its end, its output going where ours goes.
pub fn run(command: &mut Command) -> Result<()> {
    let child = command.spawn().with_context(|| format!("starting {}", shown(command)))?;
    succeeded(wait(child)?, command)
}

/// Runs a command and shows what it printed only if it fails.
pub fn run_quiet(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("starting {}", shown(command)))?;
    ensure!(!interrupted(), "interrupted");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!(
            "{} failed ({}):\n{text}{}",
            shown(command),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(text)
}

/// Runs a command, shows what it prints as it comes, and returns it too, with whether the command succeeded.
pub fn run_seen(command: &mut Command) -> Result<(bool, String)> {
    if std::io::stdout().is_terminal() {
        command.env("CARGO_TERM_COLOR", "always").env("FORCE_COLOR", "1");
    }
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.as_mut().map_err(|error| anyhow::anyhow!("starting {}: {error}", shown(command)))?;
    let seen = Mutex::new(String::new());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let status = std::thread::scope(|scope| {
        for stream in [stdout.map(boxed), stderr.map(boxed)].into_iter().flatten() {
            let seen = &seen;
            scope.spawn(move || forward(stream, seen));
        }
        wait_for(child)
    })?;
    ensure!(!interrupted(), "interrupted");
    Ok((status.success(), without_colours(&seen.into_inner().unwrap_or_else(PoisonError::into_inner))))
}

fn boxed(stream: impl Read + Send + 'static) -> Box<dyn Read + Send> {
    Box::new(stream)
}

fn forward(stream: Box<dyn Read + Send>, seen: &Mutex<String>) {
    let mut lines = BufReader::new(stream);
    let mut line = Vec::new();
    while matches!(lines.read_until(b'\n', &mut line), Ok(1..)) {
        let text = String::from_utf8_lossy(&line);
        let mut out = std::io::stdout().lock();
        // Whoever closed our output does not want to see it.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        seen.lock().unwrap_or_else(PoisonError::into_inner).push_str(&text);
        line.clear();
    }
}

fn without_colours(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            // `ESC [ … letter`
            let _ = chars.by_ref().skip(1).find(char::is_ascii_alphabetic);
        } else {
            plain.push(c);
        }
    }
    plain
}

fn succeeded(status: ExitStatus, command: &Command) -> Result<()> {
    ensure!(!interrupted(), "interrupted");
    ensure!(status.success(), "{} failed ({status})", shown(command));
    Ok(())
}

fn wait(mut child: Child) -> Result<ExitStatus> {
    wait_for(&mut child)
}

/// Waits for the end of a child, or ends it after Ctrl-C (the terminal tells children itself; others have to be told).
fn wait_for(child: &mut Child) -> Result<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait().context("waiting for a program")? {
            return Ok(status);
        }
        if interrupted() {
            ask_to_end(child, false);
            return child.wait().context("waiting for a program");
        }
        std::thread::sleep(POLL);
    }
}

#[cfg(unix)]
fn ask_to_end(child: &Child, group: bool) {
    let pid = rustix::process::Pid::from_child(child);
    let signal = rustix::process::Signal::TERM;
    // It may have ended by itself.
    let _ = if group {
        rustix::process::kill_process_group(pid, signal)
    } else {
        rustix::process::kill_process(pid, signal)
    };
}

#[cfg(not(unix))]
fn ask_to_end(child: &Child, _group: bool) {
    let _ = Command::new("taskkill").args(["/T", "/F", "/PID", &child.id().to_string()]).output();
}

#[cfg(unix)]
fn end_hard(child: &mut Child) {
    let _ = rustix::process::kill_process_group(
        rustix::process::Pid::from_child(child),
        rustix::process::Signal::KILL,
    );
}

#[cfg(not(unix))]
fn end_hard(child: &mut Child) {
    let _ = child.kill();
}

/// A program in the background, in a process group of its own, that ends with this value and with this process.
#[derive(Debug)]
pub struct Background {
    name: String,
    child: Child,
}

impl Background {
    pub fn start(name: &str, command: &mut Command) -> Result<Self> {
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(command, 0);
        let child = command.spawn().with_context(|| format!("starting {name} ({})", shown(command)))?;
        Ok(Self { name: name.to_owned(), child })
    }

    /// Starts a program whose first line on the standard output says that it is ready, and returns that line.
    pub fn start_and_hear(name: &str, command: &mut Command) -> Result<(Self, String)> {
        command.stdout(Stdio::piped());
        let mut started = Self::start(name, command)?;
        let stdout = started.child.stdout.take().context("a piped output")?;
        let mut lines = BufReader::new(stdout);
        let mut line = String::new();
        lines.read_line(&mut line).with_context(|| format!("reading from {name}"))?;
        // What comes later is read and dropped, so that the program never waits for a reader.
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        if line.is_empty() {
            let status = wait_for(&mut started.child)?;
            bail!("{name} ended before it was ready ({status})");
        }
        Ok((started, line.trim().to_owned()))
    }

    pub fn stdin(&mut self) -> Option<std::process::ChildStdin> {
        self.child.stdin.take()
    }

    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its own end and says whether it was a success.
    pub fn succeeds_within(&mut self, limit: Duration) -> Result<bool> {
        let name = self.name.clone();
        let status = until(limit, &format!("the end of {name}"), || Ok(self.child.try_wait()?))?;
        Ok(status.success())
    }

    /// Asks it to end and waits; a program that does not is ended hard.
    pub fn end(&mut self) {
        drop(self.child.stdin.take());
        if self.has_ended() {
            return;
        }
        ask_to_end(&self.child, true);
        let until = Instant::now() + END_LIMIT;
        while !self.has_ended() {
            if Instant::now() > until {
                eprintln!("{} did not end when asked", self.name);
                end_hard(&mut self.child);
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.end();
    }
}

/// A command for [`Background`]: ended by the kernel when this process ends, where the system can. All are started from the
/// main thread, on whose end the signal hangs.
pub fn background(program: impl AsRef<OsStr>) -> Command {
    let setpriv = which("setpriv").filter(|_| cfg!(target_os = "linux"));
    let Some(setpriv) = setpriv else { return command(program) };
    let mut guarded = command(setpriv);
    guarded.args(["--pdeathsig", "TERM", "--"]).arg(program.as_ref());
    guarded
}

/// Waits for a fact with a deadline; `what` completes "timed out waiting for …".
pub fn until<T>(limit: Duration, what: &str, mut fact: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let until = Instant::now() + limit;
    loop {
        ensure!(!interrupted(), "interrupted");
        if let Some(value) = fact()? {
            return Ok(value);
        }
        ensure!(Instant::now() < until, "timed out after {} s waiting for {what}", limit.as_secs());
        std::thread::sleep(POLL * 2);
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn colours_are_taken_out() {
        assert_eq!(
            without_colours("\u{1b}[32;1m  Summary\u{1b}[0m [ 1s] 3 passed"),
            "  Summary [ 1s] 3 passed"
        );
    }

    #[test]
    fn a_background_program_ends_with_its_value() {
        let mut sleep = Background::start("sleep", background("sleep").arg("600")).unwrap();
        assert!(!sleep.has_ended());
        let pid = sleep.child.id();
        drop(sleep);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }
}

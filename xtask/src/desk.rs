//! A desk for windows: X server, session bus, keyring, window manager, notification daemon.
//!
//! All of it private and ended with the value, so that neither tests nor a demo on a server touch anybody's session.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::process::{Background, background, command, until, which};

/// The private keyring's password: it guards nothing but test data.
const KEYRING_PASSWORD: &[u8] = b"desk";
const LIMIT: Duration = Duration::from_secs(30);

const LIST_NAMES: [&str; 5] =
    ["--session", "--print-reply", "--dest=org.freedesktop.DBus", "/", "org.freedesktop.DBus.ListNames"];

/// Where the windows appear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Display {
    /// On an X server without a screen.
    Private,
    /// On the user's own; only bus and keyring are private.
    Users,
}

/// The running desk.
#[derive(Debug)]
pub struct Desk {
    environment: Vec<(&'static str, String)>,
    // Ended in the opposite order of their start.
    children: Vec<Background>,
}

impl Desk {
    /// Starts everything and waits until each part answers. `home` becomes the home folder and may be kept.
    pub fn start(home: &Path, display: Display) -> Result<Self> {
        let mut desk = Self { environment: Vec::new(), children: Vec::new() };
        let runtime = home.join("run");
        private_dir(home)?;
        private_dir(&runtime)?;
        let text = |path: &Path| path.to_string_lossy().into_owned();
        desk.environment
            .extend([("NO_AT_BRIDGE", "1".to_owned()), ("LIBGL_ALWAYS_SOFTWARE", "1".to_owned())]);
        if display == Display::Private {
            desk.environment.extend([("HOME", text(home)), ("XDG_RUNTIME_DIR", text(&runtime))]);
            desk.keep_toolchain();
            for (name, under) in [
                ("XDG_DATA_HOME", ".local/share"),
                ("XDG_CONFIG_HOME", ".config"),
                ("XDG_CACHE_HOME", ".cache"),
            ] {
                desk.environment.push((name, text(&home.join(under))));
            }
            desk.x_server()?;
        }
        desk.session_bus()?;
        desk.keyring(home)?;
        if display == Display::Private {
            desk.window_manager()?;
            desk.notifications()?;
        }
        Ok(desk)
    }

    /// Gives a command this desk's environment.
    pub fn enter<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        if self.environment.iter().any(|(name, _)| *name == "DISPLAY") {
            command.env_remove("WAYLAND_DISPLAY").env("GDK_BACKEND", "x11");
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)))
    }

    /// Cargo and rustup look below the home folder, and the desk has another one.
    fn keep_toolchain(&mut self) {
        let home = std::env::var("HOME").unwrap_or_default();
        for (name, folder) in [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")] {
            if std::env::var_os(name).is_none() {
                self.environment.push((name, format!("{home}/{folder}")));
            }
        }
    }

    fn program(&self, name: &str) -> Result<Command> {
        let path = which(name).with_context(|| format!("{name} is missing: run cargo xtask setup"))?;
        let mut command = background(path);
        self.enter(&mut command).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(command)
    }

    fn x_server(&mut self) -> Result<()> {
        let mut xvfb = self.program("Xvfb")?;
        // It chooses a free number itself and writes it where it is told to.
        xvfb.args(["-displayfd", "1", "-screen", "0", "1600x900x24", "-nolisten", "tcp", "-noreset"]);
        let (child, number) = Background::start_and_hear("Xvfb", &mut xvfb)?;
        self.children.push(child);
        self.environment.push(("DISPLAY", format!(":{number}")));
        Ok(())
    }

    fn session_bus(&mut self) -> Result<()> {
        let mut bus = self.program("dbus-daemon")?;
        bus.args(["--session", "--nofork", "--nopidfile", "--print-address=1"]);
        let (child, address) = Background::start_and_hear("dbus-daemon", &mut bus)?;
        self.children.push(child);
        self.environment.push(("DBUS_SESSION_BUS_ADDRESS", address));
        Ok(())
    }

    fn keyring(&mut self, home: &Path) -> Result<()> {
        let mut keyring = self.program("gnome-keyring-daemon")?;
        // Its files lie beside the private session even where the windows use the user's own home.
        keyring.env("XDG_DATA_HOME", home.join(".local/share")).env("XDG_RUNTIME_DIR", home.join("run"));
        keyring.args(["--foreground", "--unlock", "--components=secrets"]).stdin(Stdio::piped());
        let mut child = Background::start("gnome-keyring-daemon", &mut keyring)?;
        let mut stdin = child.stdin().context("the keyring's input")?;
        stdin.write_all(KEYRING_PASSWORD).context("unlocking the keyring")?;
        drop(stdin);
        self.children.push(child);
        self.until_on_the_bus("org.freedesktop.secrets")
    }

    fn window_manager(&mut self) -> Result<()> {
        let child = Background::start("openbox", &mut self.program("openbox")?)?;
        self.children.push(child);
        until(LIMIT, "the window manager", || {
            let asked = self.enter(&mut command("wmctrl")).arg("-m").output().context("starting wmctrl")?;
            Ok(asked.status.success().then_some(()))
        })
    }

    fn notifications(&mut self) -> Result<()> {
        let child = Background::start("dunst", &mut self.program("dunst")?)?;
        self.children.push(child);
        self.until_on_the_bus("org.freedesktop.Notifications")
    }

    /// Waits until nobody on the bus has a name that begins so: a program that was ended may be gone before its name is.
    pub fn until_off_the_bus(&self, beginning: &str) -> Result<()> {
        until(LIMIT, &format!("the end of {beginning} on the bus"), || {
            let mut ask = command("dbus-send");
            let names = self.enter(&mut ask).args(LIST_NAMES).output().context("starting dbus-send")?;
            let is_there = String::from_utf8_lossy(&names.stdout).contains(&format!("string \"{beginning}"));
            Ok((names.status.success() && !is_there).then_some(()))
        })
    }

    fn until_on_the_bus(&mut self, name: &str) -> Result<()> {
        until(LIMIT, name, || {
            if let Some(child) = self.children.last_mut()
                && child.has_ended()
            {
                bail!("what should serve {name} has ended");
            }
            let mut ask = command("dbus-send");
            Ok(self
                .enter(owner_question(&mut ask, name))
                .output()
                .is_ok_and(|answer| says_yes(&answer))
                .then_some(()))
        })
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        while let Some(mut child) = self.children.pop() {
            child.end();
        }
    }
}

/// Runs one command on a desk that lasts as long as the command.
pub fn run(words: &[String]) -> Result<()> {
    let home = std::env::temp_dir().join(format!("kith-desk-{}", std::process::id()));
    let desk = Desk::start(&home, Display::Private)?;
    let mut wanted = command(&words[0]);
    let result = crate::process::run(desk.enter(wanted.args(&words[1..])));
    drop(desk);
    fs::remove_dir_all(&home).context("removing the desk's home")?;
    result
}

/// Whether this session has a display to open windows on.
pub fn has_display() -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !cfg!(target_os = "linux") || set("DISPLAY") || set("WAYLAND_DISPLAY")
}

/// Whether this session has a place for secrets; elsewhere than on Linux it always has.
pub fn has_secret_service() -> bool {
    if !cfg!(target_os = "linux") {
        return true;
    }
    let name = "org.freedesktop.secrets";
    let owned =
        owner_question(&mut command("dbus-send"), name).output().is_ok_and(|answer| says_yes(&answer));
    let mut list = command("dbus-send");
    list.args([
        "--session",
        "--print-reply",
        "--dest=org.freedesktop.DBus",
        "/",
        "org.freedesktop.DBus.ListActivatableNames",
    ]);
    let startable = list.output().is_ok_and(|answer| String::from_utf8_lossy(&answer.stdout).contains(name));
    owned || startable
}

fn owner_question<'a>(ask: &'a mut Command, name: &str) -> &'a mut Command {
    ask.args([
        "--session",
        "--print-reply",
        "--dest=org.freedesktop.DBus",
        "/",
        "org.freedesktop.DBus.NameHasOwner",
    ]);
    ask.arg(format!("string:{name}"))
}

fn says_yes(answer: &std::process::Output) -> bool {
    String::from_utf8_lossy(&answer.stdout).contains("boolean true")
}

fn private_dir(dir: &Path) -> Result<PathBuf> {
    fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    #[cfg(unix)]
    fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    Ok(dir.to_path_buf())
}

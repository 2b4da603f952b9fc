//! What this machine needs: on Debian and its relatives installed by apt, elsewhere said in the words of that system.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    process::{self, run_quiet, which},
    steps::Steps,
};

/// For what the machine is prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum For {
    /// Building and running the app on a desktop.
    Desktop,
    /// Also windows on a display of their own, driven by a program.
    Tests,
}

/// To build and to run.
const BUILD: &[&str] = &[
    "build-essential",
    "pkg-config",
    "perl",
    "libssl-dev",
    "libwebkit2gtk-4.1-dev",
    "libayatana-appindicator3-dev",
    "librsvg2-dev",
    "libdbus-1-dev",
    "libxdo-dev",
    "xdg-utils",
];

/// To run windows on a display of their own: X server, session bus, keyring, window manager, notifications, driver, input
/// method, fonts.
const WINDOWS: &[&str] = &[
    "xvfb",
    "xauth",
    "dbus",
    "dbus-x11",
    "openbox",
    "wmctrl",
    "xdotool",
    "x11-utils",
    "imagemagick",
    "webkit2gtk-driver",
    "gnome-keyring",
    "libsecret-tools",
    "dunst",
    "libnotify-bin",
    // An input method that composes, and its way into GTK.
    "ibus",
    "ibus-gtk3",
    "ibus-libpinyin",
    "at-spi2-core",
    "desktop-file-utils",
    "fonts-noto-core",
    "fonts-noto-cjk",
    "fonts-noto-color-emoji",
    // The built interface is also looked at in another engine.
    "chromium",
];

/// The bus between several instances, for their tests. Elsewhere those say that they are skipped where it is missing.
const BUS: &str = "nats-server";

const FEDORA: &str = "sudo dnf install gcc gcc-c++ make perl pkgconf-pkg-config openssl-devel webkit2gtk4.1-devel \
    libappindicator-gtk3-devel librsvg2-devel dbus-devel libxdo-devel postgresql-server nodejs npm \
    xorg-x11-server-Xvfb dbus-x11 openbox wmctrl xdotool ImageMagick webkit2gtk-driver gnome-keyring libsecret dunst libnotify \
    ibus ibus-gtk3 ibus-libpinyin google-noto-sans-fonts google-noto-sans-cjk-fonts google-noto-color-emoji-fonts chromium";
const ARCH: &str = "sudo pacman -S --needed base-devel perl openssl webkit2gtk-4.1 libayatana-appindicator librsvg dbus xdotool \
    postgresql nodejs npm xorg-server-xvfb openbox wmctrl imagemagick gnome-keyring libsecret dunst libnotify ibus \
    ibus-libpinyin noto-fonts \
    noto-fonts-cjk noto-fonts-emoji chromium";
const SUSE: &str = "sudo zypper install gcc gcc-c++ make perl pkgconf libopenssl-devel webkit2gtk3-devel \
    libayatana-appindicator3-devel librsvg-devel dbus-1-devel xdotool-devel postgresql-server nodejs npm";
const MAC: &str = "xcode-select --install; brew install node postgresql@17 openssl@3 pkg-config";
const WINDOWS_SYSTEM: &str = "winget install OpenJS.NodeJS.LTS PostgreSQL.PostgreSQL.17 Microsoft.VisualStudio.2022.BuildTools \
    (with the C++ workload), StrawberryPerl.StrawberryPerl; the WebView2 runtime is part of Windows 11";

/// The oldest Node.js that the interface's tools accept.
const NODE_MIN: (u32, u32) = (20, 19);

pub fn run(purpose: For, steps: &mut Steps) -> Result<()> {
    steps.step("system packages", |_| system(purpose))?;
    steps.step("node", |_| node())
}

fn system(purpose: For) -> Result<()> {
    if cfg!(target_os = "macos") {
        without_bus(purpose);
        return present(&["cc", "pkg-config", "node", "npm"], MAC);
    }
    if cfg!(windows) {
        without_bus(purpose);
        return present(&["node", "npm", "perl"], WINDOWS_SYSTEM);
    }
    if which("dpkg-query").is_some() && which("apt-get").is_some() {
        return debian(purpose);
    }
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default().to_lowercase();
    let says = |names: &[&str]| {
        let id = release.lines().filter(|line| line.starts_with("id=") || line.starts_with("id_like="));
        id.into_iter().any(|line| names.iter().any(|name| line.contains(name)))
    };
    without_bus(purpose);
    let advice = if says(&["fedora", "rhel", "centos"]) {
        FEDORA
    } else if says(&["arch", "manjaro"]) {
        ARCH
    } else if says(&["suse"]) {
        SUSE
    } else {
        "install with your system's package manager: WebKitGTK 4.1, libayatana-appindicator 3, librsvg, D-Bus and xdo with their \
         development files, OpenSSL with its development files, PostgreSQL 15 to 18, Node.js 20.19 or newer"
    };
    present(&["cc", "make", "perl", "pkg-config", "node", "npm"], advice)?;
    let libraries = ["webkit2gtk-4.1", "dbus-1", "librsvg-2.0", "openssl"];
    let found = Command::new("pkg-config").arg("--exists").args(libraries).status();
    ensure!(
        found.is_ok_and(|status| status.success()),
        "development files of {} are missing. Run:\n  {advice}",
        libraries.join(", ")
    );
    Ok(())
}

/// Says which tests will be skipped.
fn without_bus(purpose: For) {
    if purpose == For::Tests && which(BUS).is_none() {
        println!(
            "{BUS} is not here: the tests of several instances will be skipped (https://nats.io/download)"
        );
    }
}

fn present(programs: &[&str], advice: &str) -> Result<()> {
    let missing: Vec<&str> = programs.iter().copied().filter(|program| which(program).is_none()).collect();
    ensure!(missing.is_empty(), "missing: {}. Run:\n  {advice}", missing.join(", "));
    println!("{} are here", programs.join(", "));
    Ok(())
}

/// Asks dpkg once, installs what is missing, and uses sudo only after saying so.
fn debian(purpose: For) -> Result<()> {
    let mut wanted: Vec<&str> = BUILD.to_vec();
    if purpose == For::Tests {
        wanted.extend(WINDOWS);
        wanted.push(BUS);
    }
    if !has_postgresql() {
        wanted.push("postgresql");
    }
    if which("node").is_none() {
        wanted.extend(["nodejs", "npm"]);
    }
    let missing = missing_packages(&wanted)?;
    if missing.is_empty() {
        println!("all {} packages are here", wanted.len());
        return Ok(());
    }
    println!("missing: {}", missing.join(" "));
    let install = ["apt-get", "install", "-y", "--no-install-recommends"];
    if is_root() {
        apt(&["apt-get"], &missing)
    } else if which("sudo").is_some() {
        println!(
            "They are installed with sudo, which may ask for your password:\n  sudo {} {}",
            install.join(" "),
            missing.join(" ")
        );
        apt(&["sudo", "apt-get"], &missing)
    } else {
        bail!("run this as root, then start again:\n  {} {}", install.join(" "), missing.join(" "))
    }
}

/// Whether further packages may be installed without asking anybody: by root, where there is apt.
pub fn may_install() -> bool {
    is_root() && which("dpkg-query").is_some() && which("apt-get").is_some()
}

/// Whether tests may mount disks of their own.
pub fn may_mount() -> bool {
    cfg!(target_os = "linux") && is_root()
}

/// Whether the bus between several instances is installed.
pub fn has_bus() -> bool {
    which(BUS).is_some()
        || ["/usr/sbin", "/usr/local/bin", "/opt/homebrew/bin"]
            .iter()
            .any(|dir| Path::new(dir).join(BUS).exists())
}

/// Installs what is missing of these.
pub fn install(packages: &[&str]) -> Result<()> {
    let missing = missing_packages(packages)?;
    if missing.is_empty() {
        println!("all {} packages are here", packages.len());
        return Ok(());
    }
    println!("missing: {}", missing.join(" "));
    apt(&["apt-get"], &missing)
}

/// Fetches a package and unpacks it into a folder, without installing it.
pub fn unpack(package: &str, dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    let fetch = || run_quiet(process::command("apt-get").args(["-q", "download", package]).current_dir(dir));
    // Without a list of packages, or with an old one, the first try fails.
    if fetch().is_err() {
        run_quiet(process::command("apt-get").args(["-q", "update"]))?;
        fetch()?;
    }
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            run_quiet(process::command("dpkg-deb").arg("--extract").arg(&path).arg(dir))?;
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// Whether there is a PostgreSQL that serves, from whatever source; the package's own may be another version.
fn has_postgresql() -> bool {
    let named = std::env::var_os("PG_BIN_DIR").is_some_and(|dir| !dir.is_empty());
    named || (15..=18).any(|major| Path::new(&format!("/usr/lib/postgresql/{major}/bin/initdb")).exists())
}

fn missing_packages(wanted: &[&str]) -> Result<Vec<String>> {
    let mut ask = process::command("dpkg-query");
    ask.args(["-W", "-f=${Package} ${db:Status-Status}\\n"]).args(wanted);
    // It fails if it knows nothing of one of them, and prints the others all the same.
    let output = ask.output().context("asking dpkg")?;
    let known = String::from_utf8_lossy(&output.stdout).into_owned();
    let installed = |package: &str| known.lines().any(|line| line == format!("{package} installed"));
    Ok(wanted.iter().filter(|package| !installed(package)).map(|package| (*package).to_owned()).collect())
}

fn apt(program: &[&str], packages: &[String]) -> Result<()> {
    let apt = |arguments: &[&str]| {
        let mut command = process::command(program[0]);
        command.stdin(std::process::Stdio::inherit()).env("DEBIAN_FRONTEND", "noninteractive");
        command.args(&program[1..]).args(["-q", "-o", "Dpkg::Use-Pty=0"]).args(arguments);
        command
    };
    process::run(&mut apt(&["update"]))?;
    process::run(apt(&["install", "-y", "--no-install-recommends"]).args(packages))
}

#[cfg(unix)]
fn is_root() -> bool {
    rustix::process::getuid().is_root()
}

#[cfg(not(unix))]
fn is_root() -> bool {
    false
}

fn node() -> Result<()> {
    let advice = "install Node.js 20.19 or newer (https://nodejs.org, or your system's package manager)";
    let version = run_quiet(process::command("node").arg("--version")).with_context(|| advice)?;
    let number = version.trim().trim_start_matches('v');
    let mut parts = number.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let found = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    ensure!(found >= NODE_MIN, "Node.js {number} is too old: {advice}");
    ensure!(
        which("npm").is_some() || Path::new("npm.cmd").exists() || cfg!(windows),
        "npm is missing: {advice}"
    );
    println!("Node.js {number}");
    Ok(())
}

//! `cargo xtask demo`: a server with its own PostgreSQL and two windows, signed in, with somebody to talk to.
//!
//! Everything lies in `.kith/demo`: database, profiles, and (without a display) the home folder of the windows.

mod people;
mod talk;

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use crate::{
    database::FEATURES,
    desk::{self, Desk, Display},
    process::{self, Background, background, built, cargo, root},
    setup,
    steps::{Steps, seconds},
    ui,
};
use people::{Person, WINDOWS};

#[derive(clap::Args)]
pub struct Arguments {
    /// Begins with an empty database and empty profiles
    #[arg(long)]
    fresh: bool,
    /// Plays the scripted talk on a display of its own, as on a machine without one
    #[arg(long)]
    scripted: bool,
}

/// On what the windows open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Desktop {
    /// On a display, session bus and keyring of their own.
    Own,
    /// On the user's display, with a keyring of their own.
    OwnKeyring,
    /// In the user's session.
    Users,
}

/// The demo's folders.
struct Place {
    home: PathBuf,
    /// A profile's key is in the keyring of the desk on which it was signed in, so each kind of desk has its own.
    profiles: PathBuf,
}

impl Place {
    fn server(&self) -> PathBuf {
        self.home.join("server")
    }

    /// How many talks have been played.
    fn talks(&self) -> u32 {
        fs::read_to_string(self.home.join("talks"))
            .ok()
            .and_then(|number| number.trim().parse().ok())
            .unwrap_or(0)
    }

    fn count_talk(&self) -> Result<()> {
        fs::write(self.home.join("talks"), (self.talks() + 1).to_string()).context("counting the talks")
    }

    /// The server keeps its port, because a profile belongs to an address.
    fn port(&self) -> Result<u16> {
        let path = self.home.join("port");
        let kept = fs::read_to_string(&path).ok().and_then(|port| port.trim().parse::<u16>().ok());
        if let Some(port) = kept {
            ensure!(
                TcpListener::bind(("127.0.0.1", port)).is_ok(),
                "port {port} is taken: is the demo already running? Otherwise start it with --fresh"
            );
            return Ok(port);
        }
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        fs::write(&path, port.to_string()).context("noting the port")?;
        Ok(port)
    }
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let mut steps = Steps::new();
    let scripted = arguments.scripted || !desk::has_display();
    setup::run(if scripted { setup::For::Tests } else { setup::For::Desktop }, &mut steps)?;
    ui::packages(&mut steps)?;
    ui::build(&mut steps)?;
    steps.step("server and app", |_| {
        run_cargo(&["build", "--package", "kith-server", "--package", "kith-desktop", "--bins"])
    })?;
    let kind = match (scripted, desk::has_secret_service()) {
        (true, _) => Desktop::Own,
        (false, false) => Desktop::OwnKeyring,
        (false, true) => Desktop::Users,
    };
    let place = prepare(arguments.fresh, kind)?;
    let desk = steps.step("desk", |_| desk_for(&place, kind))?;
    let mut server = steps.step("server and PostgreSQL", |_| Server::start(&place))?;
    steps.step("people and history", |_| people::settle(&server.address))?;
    steps.step("signing in", |_| sign_in(&place, &server, desk.as_ref()))?;
    match &desk {
        Some(desk) if scripted => {
            let talkers = steps.step("two windows", |_| talk::open(&place, desk, &server))?;
            println!("\nThe demo runs after {}.", seconds(steps.elapsed()));
            steps.step("a short talk", |_| talk::play(talkers, &mut server))?;
            steps.table();
            println!("\nThe pictures are in {}", talk::pictures().display());
            Ok(())
        }
        _ => {
            let windows = WINDOWS.map(|person| open(&place, &server, person, desk.as_ref()));
            steps.table();
            println!("\nThe demo runs after {}.", seconds(steps.elapsed()));
            live(windows, &server)
        }
    }
}

fn run_cargo(arguments: &[&str]) -> Result<()> {
    process::run(cargo(arguments).args(FEATURES))
}

fn prepare(fresh: bool, kind: Desktop) -> Result<Place> {
    let home = root().join(".kith").join("demo");
    let profiles = home.join(match kind {
        Desktop::Own => "profiles-scripted",
        Desktop::OwnKeyring => "profiles-own-keyring",
        Desktop::Users => "profiles",
    });
    let place = Place { home, profiles };
    if fresh && place.home.exists() {
        remove_cluster_elsewhere(&place.server());
        fs::remove_dir_all(&place.home).context("removing the old demo")?;
    }
    fs::create_dir_all(&place.profiles).context("making the demo's folder")?;
    Ok(place)
}

/// As root the database may lie where its own user can enter; a note in the folder says where.
fn remove_cluster_elsewhere(dir: &Path) {
    for folder in [dir.to_path_buf(), dir.join("postgres"), dir.join("pg")] {
        if let Ok(note) = fs::read_to_string(folder.join("LOCATION.txt"))
            && let Some(home) = note.lines().nth(1)
            && let Err(error) = fs::remove_dir_all(home)
        {
            eprintln!("{home} stays behind: {error}");
        }
    }
}

/// A whole desk without a display; on a display only what the session lacks.
fn desk_for(place: &Place, kind: Desktop) -> Result<Option<Desk>> {
    let home = place.home.join("home");
    match kind {
        Desktop::Own => {
            println!("the windows open on a display of their own");
            Desk::start(&home, Display::Private).map(Some)
        }
        Desktop::OwnKeyring => {
            println!("this session keeps no secrets: the windows get a keyring of their own");
            Desk::start(&home, Display::Users).map(Some)
        }
        Desktop::Users => Ok(None),
    }
}

/// The server with its embedded PostgreSQL.
struct Server {
    address: String,
    process: Option<Background>,
    data_dir: PathBuf,
}

impl Server {
    fn start(place: &Place) -> Result<Self> {
        let mut server =
            Self { address: format!("127.0.0.1:{}", place.port()?), process: None, data_dir: place.server() };
        server.resume()?;
        println!("{}", server.url());
        Ok(server)
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn resume(&mut self) -> Result<()> {
        let mut command = background(built("kith-server"));
        command.args(["serve", "--embedded-db", "--data-dir"]).arg(&self.data_dir);
        command.env_remove("DATABASE_URL").env("KITH_LISTEN", &self.address).env("KITH_SIGNUP", "open");
        let log = fs::File::options().create(true).append(true).open(self.data_dir.with_extension("log"))?;
        command.stderr(Stdio::from(log));
        let (process, _) = Background::start_and_hear("kith-server", &mut command)
            .with_context(|| format!("see {}", self.data_dir.with_extension("log").display()))?;
        self.process = Some(process);
        Ok(())
    }

    fn pause(&mut self) {
        self.process = None;
    }
}

/// The arguments with which a person's window starts.
fn arguments_of(place: &Place, server: &Server, person: &Person) -> Vec<String> {
    let profiles = place.profiles.to_string_lossy().into_owned();
    ["--profile", person.profile, "--data-dir", &profiles, "--server", &server.url()]
        .map(str::to_owned)
        .to_vec()
}

fn enter(desk: Option<&Desk>, command: &mut Command) {
    if let Some(desk) = desk {
        desk.enter(command);
    }
}

/// Signs a profile in once; it stays so until its folder is removed.
fn sign_in(place: &Place, server: &Server, desk: Option<&Desk>) -> Result<()> {
    for person in WINDOWS {
        let stamp = place.profiles.join(format!("{}.signed-in", person.profile));
        if fs::read_to_string(&stamp).is_ok_and(|address| address == server.address) {
            println!("{} is signed in", person.display_name);
            continue;
        }
        let mut command = background(built("kith"));
        command.args(arguments_of(place, server, person));
        command.args(["sign-in", "--username", person.username, "--password-stdin"]).stdin(Stdio::piped());
        enter(desk, &mut command);
        let mut process = Background::start("kith sign-in", &mut command)?;
        let mut stdin = process.stdin().context("the sign-in's input")?;
        std::io::Write::write_all(&mut stdin, format!("{}\n", person.password()).as_bytes())?;
        drop(stdin);
        let succeeded = process.succeeds_within(Duration::from_secs(60))?;
        ensure!(succeeded, "{} could not be signed in", person.display_name);
        fs::write(&stamp, &server.address).context("noting who is signed in")?;
        println!("{} is signed in as {}", person.display_name, person.username);
    }
    Ok(())
}

fn open(place: &Place, server: &Server, person: &Person, desk: Option<&Desk>) -> Result<Background> {
    let mut command = background(built("kith"));
    command.args(arguments_of(place, server, person));
    enter(desk, &mut command);
    Background::start(person.display_name, &mut command)
}

/// Waits until Ctrl-C, or until both windows are closed.
fn live(windows: [Result<Background>; 2], server: &Server) -> Result<()> {
    let mut open = Vec::new();
    for window in windows {
        open.push(window?);
    }
    println!("\nTwo windows are open: {} and {}.", WINDOWS[0].display_name, WINDOWS[1].display_name);
    println!("The server listens on {}; sign-up is open, so a third one is:", server.url());
    println!("  {} --profile me --server {}", built("kith").display(), server.url());
    println!("Ctrl-C ends everything.");
    while !process::interrupted() {
        open.retain_mut(|window| !window.has_ended());
        if open.is_empty() {
            println!("Both windows are closed.");
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    println!("\nEnding…");
    println!("The demo's data stay in .kith/demo; --fresh begins anew.");
    Ok(())
}

//! Processes, users and sockets on Linux and macOS.
//!
//! PostgreSQL ends with its parent in one of two ways: by the kernel's parent-death signal (`setpriv --pdeathsig`, which hangs on
//! the *thread* that started it, so all are started from one thread that lives as long as the process), or else by a shell that
//! waits for the end of a pipe held by this process.

use std::{
    env, fs, io,
    os::unix::{
        fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{OnceLock, mpsc},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, getuid, kill_process, test_kill_process};

use crate::{PgBoxError, USER, admin, binaries::Binaries, fnv1a, place::Place};

/// Sorting by bytes, letters as Unicode has them, alike on all machines where the system can.
#[cfg(target_os = "linux")]
pub(crate) const LOCALE: [&str; 1] = ["--locale=C.UTF-8"];
/// Sorting by bytes, letters as Unicode has them.
#[cfg(not(target_os = "linux"))]
pub(crate) const LOCALE: [&str; 2] = ["--locale=C", "--lc-ctype=en_US.UTF-8"];

/// The user as whom PostgreSQL runs if root starts it.
const SYSTEM_USER: &str = "kith-pg";
/// Where a cluster lies whose own folder that user cannot enter.
const SYSTEM_HOME: &str = "/var/lib/kith-pg";
/// A socket's path has at most 103 bytes on macOS and 107 on Linux; its name takes 14 with the slash.
const SOCKET_DIR_BYTES_MAX: usize = 103 - 14;

/// In the socket's name. Said on both sides, so that nobody's `PGPORT` counts.
const PORT: u16 = 5432;

const FAST_LIMIT: Duration = Duration::from_secs(20);
const IMMEDIATE_LIMIT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(5);

/// How PostgreSQL is asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shutdown {
    /// Connections are closed, everything is written.
    Fast,
    /// At once; the next start recovers.
    Immediate,
}

#[derive(Debug, Clone)]
pub(crate) struct Owner {
    uid: u32,
    gid: u32,
}

/// The folder of the socket.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    sockets: PathBuf,
}

impl Endpoint {
    pub(crate) fn prepare(home: &Path, owner: Option<&Owner>) -> Result<Self, PgBoxError> {
        let near = home.join("s");
        if near.as_os_str().len() <= SOCKET_DIR_BYTES_MAX {
            private_dir(&near, owner)?;
            return Ok(Self { sockets: near });
        }
        let name = format!("kith-{:016x}", fnv1a(home.as_os_str().as_encoded_bytes()));
        let runtime = env::var_os("XDG_RUNTIME_DIR").filter(|_| owner.is_none()).map(PathBuf::from);
        let bases = runtime.into_iter().chain([env::temp_dir(), PathBuf::from("/tmp")]);
        let short = bases
            .map(|base| base.join(&name))
            .find(|dir| {
                dir.as_os_str().len() <= SOCKET_DIR_BYTES_MAX && dir.parent().is_some_and(Path::is_dir)
            })
            .ok_or(PgBoxError::SocketDir { dir: near })?;
        private_dir(&short, owner)?;
        Ok(Self { sockets: short })
    }

    pub(crate) fn base(&self) -> String {
        format!(
            "postgres://{USER}@localhost:{PORT}/?host={}",
            admin::percent_encoded(&self.sockets.to_string_lossy())
        )
    }

    /// Whoever can enter the socket's folder is the user himself, so nothing more is asked.
    pub(crate) fn initdb_args(&self, initdb: &mut Command) {
        initdb.args(["-A", "trust"]);
    }

    pub(crate) fn settings(&self) -> Vec<String> {
        vec![
            "listen_addresses=".to_owned(),
            format!("unix_socket_directories={}", self.sockets.display()),
            "unix_socket_permissions=0700".to_owned(),
            format!("port={PORT}"),
        ]
    }
}

/// PostgreSQL's first process, and the shell that ends it if the kernel does not.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    watchdog: Option<Child>,
}

impl Process {
    pub(crate) fn spawn(place: &Place, binaries: &Binaries, settings: &[String]) -> Result<Self, PgBoxError> {
        let postgres = binaries.program("postgres");
        let setpriv = setpriv();
        let mut command = if let Some(setpriv) = setpriv {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "INT", "--"]).arg(postgres);
            command
        } else {
            Command::new(postgres)
        };
        command.arg("-D").arg(&place.data);
        for setting in settings {
            command.arg("-c").arg(setting);
        }
        place.run_as_owner(&mut command);
        let log = place.open_log()?;
        command.stderr(log.try_clone().map_err(PgBoxError::io("sharing the log"))?).stdout(log);
        // Its own group: Ctrl-C in the terminal reaches only the parent, which ends PostgreSQL in order.
        command.process_group(0);
        let child = spawn_from_lasting_thread(command).map_err(PgBoxError::io("starting PostgreSQL"))?;
        let watchdog = if setpriv.is_none() { Some(watchdog(child.id())?) } else { None };
        Ok(Self { child, watchdog })
    }

    pub(crate) fn has_ended(&mut self, _place: &Place) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends it and waits; each refusal is answered with a harder signal.
    pub(crate) fn stop(mut self, _place: &Place, how: Shutdown) -> Result<(), PgBoxError> {
        if let Some(mut watchdog) = self.watchdog.take() {
            watchdog.kill().and_then(|()| watchdog.wait()).map_err(PgBoxError::io("ending the watchdog"))?;
        }
        let pid = Pid::from_child(&self.child);
        let steps =
            [(Signal::INT, FAST_LIMIT), (Signal::QUIT, IMMEDIATE_LIMIT), (Signal::KILL, IMMEDIATE_LIMIT)];
        for (signal, limit) in steps.into_iter().skip(usize::from(how == Shutdown::Immediate)) {
            let until = Instant::now() + limit;
            // Not yet waited for, so the number still belongs to this child.
            if self.child.try_wait().map_err(PgBoxError::io("asking for PostgreSQL"))?.is_none() {
                kill_process(pid, signal)
                    .map_err(|error| PgBoxError::io("ending PostgreSQL")(error.into()))?;
            }
            while Instant::now() < until {
                if self.child.try_wait().map_err(PgBoxError::io("waiting for PostgreSQL"))?.is_some() {
                    return Ok(());
                }
                std::thread::sleep(POLL);
            }
        }
        Err(PgBoxError::io("ending PostgreSQL")(io::ErrorKind::TimedOut.into()))
    }
}

/// Starts a child from a thread that ends only with the process, because a parent-death signal comes when the *thread* ends.
fn spawn_from_lasting_thread(command: Command) -> io::Result<Child> {
    type Order = (Command, mpsc::SyncSender<io::Result<Child>>);
    static ORDERS: OnceLock<mpsc::Sender<Order>> = OnceLock::new();
    let orders = ORDERS.get_or_init(|| {
        let (sender, receiver) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            while let Ok((mut command, reply)) = receiver.recv() {
                if let Err(mpsc::SendError(Ok(mut unwanted))) = reply.send(command.spawn()) {
                    let _ = unwanted.kill().and_then(|()| unwanted.wait());
                }
            }
        });
        sender
    });
    let (reply, answer) = mpsc::sync_channel(1);
    orders.send((command, reply)).map_err(|_| io::Error::other("the starting thread has ended"))?;
    answer.recv().map_err(|_| io::Error::other("the starting thread has ended"))?
}

/// A shell that reads until this process has ended (the other end of the pipe closes), then ends PostgreSQL.
fn watchdog(pid: u32) -> Result<Child, PgBoxError> {
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(format!("while read -r _; do :; done; kill -INT {pid}"));
    shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    shell.spawn().map_err(PgBoxError::io("starting the watchdog"))
}

/// The `setpriv` of this system, if it knows the parent-death signal.
fn setpriv() -> Option<&'static Path> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        if env::var_os("KITH_PGBOX_WATCHDOG").is_some() {
            return None;
        }
        let path = env::var_os("PATH").unwrap_or_default();
        let places = env::split_paths(&path).chain(["/usr/bin".into(), "/bin".into()]);
        places.map(|dir| dir.join("setpriv")).find(|program| {
            let mut probe = Command::new(program);
            probe.args(["--pdeathsig", "INT", "--", "true"]).stdin(Stdio::null());
            probe.stdout(Stdio::null()).stderr(Stdio::null());
            program.is_file() && probe.status().is_ok_and(|status| status.success())
        })
    });
    found.as_deref()
}

/// Deals with what an earlier owner of this folder has left: we hold the lock, so nobody else may run here.
pub(crate) fn end_leftover(place: &Place) -> Result<(), PgBoxError> {
    end_noted(place)?;
    // The socket has a note of its own, which would stop PostgreSQL too. The folder is ours alone, so both can go.
    for name in [".s.PGSQL.5432", ".s.PGSQL.5432.lock"] {
        match fs::remove_file(place.endpoint.sockets.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(PgBoxError::io("removing a leftover socket")(error));
            }
            _ => {}
        }
    }
    Ok(())
}

fn end_noted(place: &Place) -> Result<(), PgBoxError> {
    let Some(number) = place.noted_pid() else { return Ok(()) };
    let Some(pid) = Pid::from_raw(number).filter(|pid| *pid != rustix::process::getpid()) else {
        return Ok(());
    };
    let until = Instant::now() + FAST_LIMIT;
    let mut asked = false;
    while works_in(pid, &place.data) {
        if !asked || Instant::now() > until {
            let signal = if asked { Signal::QUIT } else { Signal::INT };
            kill_process(pid, signal)
                .map_err(|error| PgBoxError::io("ending a leftover PostgreSQL")(error.into()))?;
            asked = true;
        }
        if Instant::now() > until + IMMEDIATE_LIMIT {
            return Err(PgBoxError::Leftover { dir: place.data.clone(), pid: number });
        }
        std::thread::sleep(POLL);
    }
    // The number may by now belong to a stranger, and PostgreSQL would refuse to start because of it. Its file is kept (it also
    // names the shared memory that PostgreSQL checks); with our number in it, PostgreSQL knows it for an old one of its parent.
    if !asked && test_kill_process(pid) != Err(rustix::io::Errno::SRCH) {
        let path = place.data.join("postmaster.pid");
        let note = fs::read_to_string(&path).map_err(PgBoxError::io("reading postmaster.pid"))?;
        let rest = note.split_once('\n').map_or("", |(_, rest)| rest);
        let note = format!("{}\n{rest}", std::process::id());
        fs::write(&path, note).map_err(PgBoxError::io("writing postmaster.pid"))?;
    }
    Ok(())
}

/// Whether this process is a PostgreSQL of that data folder.
fn works_in(pid: Pid, data: &Path) -> bool {
    let number = pid.as_raw_nonzero();
    if Path::new("/proc/self").exists() {
        return fs::read_link(format!("/proc/{number}/cwd")).is_ok_and(|cwd| cwd == data)
            && !fs::read_to_string(format!("/proc/{number}/stat")).is_ok_and(|stat| stat.contains(") Z "));
    }
    let ps = Command::new("ps").args(["-o", "command=", "-p", &number.to_string()]).output();
    ps.is_ok_and(|output| {
        let line = String::from_utf8_lossy(&output.stdout);
        line.contains("postgres") && line.contains(&*data.to_string_lossy())
    })
}

/// What tells the users of a machine apart in the names of shared folders.
pub(crate) fn user_tag() -> String {
    getuid().as_raw().to_string()
}

pub(crate) fn absolute(dir: &Path) -> io::Result<PathBuf> {
    dir.canonicalize()
}

/// Makes a folder that only its owner can enter, or checks that it is one.
pub(crate) fn private_dir(dir: &Path, owner: Option<&Owner>) -> Result<(), PgBoxError> {
    let refused = || PgBoxError::SocketDir { dir: dir.to_path_buf() };
    match fs::DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => {
            if let Some(owner) = owner {
                chown(dir, Some(owner.uid), Some(owner.gid))
                    .map_err(PgBoxError::io(format!("owning {}", dir.display())))?;
            }
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let meta =
                fs::symlink_metadata(dir).map_err(PgBoxError::io(format!("reading {}", dir.display())))?;
            let uid = owner.map_or_else(|| getuid().as_raw(), |owner| owner.uid);
            if !meta.is_dir() {
                return Err(refused());
            }
            if let Some(owner) = owner.filter(|owner| owner.uid != meta.uid() && meta.uid() == 0) {
                chown(dir, Some(owner.uid), Some(owner.gid))
                    .map_err(PgBoxError::io(format!("owning {}", dir.display())))?;
            } else if meta.uid() != uid {
                return Err(refused());
            }
            let mode = fs::Permissions::from_mode(0o700);
            fs::set_permissions(dir, mode).map_err(PgBoxError::io(format!("closing {}", dir.display())))
        }
        Err(error) => Err(PgBoxError::io(format!("making {}", dir.display()))(error)),
    }
}

/// As whom PostgreSQL has to run: not as root, but as whoever owns the data, or a system user made for it.
pub(crate) fn owner(data: &Path) -> Result<Option<Owner>, PgBoxError> {
    if !getuid().is_root() {
        return Ok(None);
    }
    if let Some(meta) = fs::metadata(data).ok().filter(|meta| meta.uid() != 0) {
        return Ok(Some(Owner { uid: meta.uid(), gid: meta.gid() }));
    }
    // One at a time: while a user is being added, others may see half of it.
    fs::create_dir_all(SYSTEM_HOME).map_err(PgBoxError::io(format!("making {SYSTEM_HOME}")))?;
    let path = Path::new(SYSTEM_HOME).join("user.lock");
    let guard = fs::File::create(&path).and_then(|file| file.lock().map(|()| file));
    let _guard = guard.map_err(PgBoxError::io(format!("locking {}", path.display())))?;
    if let Some(owner) = system_user() {
        return Ok(Some(owner));
    }
    let mut add = Command::new("useradd");
    add.args([
        "--system",
        "--user-group",
        "--no-create-home",
        "--home-dir",
        SYSTEM_HOME,
        "--shell",
        "/usr/sbin/nologin",
    ]);
    let output = add.arg(SYSTEM_USER).output().map_err(PgBoxError::io("starting useradd"))?;
    system_user().map(Some).ok_or_else(|| PgBoxError::Program {
        program: format!("useradd {SYSTEM_USER}"),
        detail: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

fn system_user() -> Option<Owner> {
    let ask = |what: &str| -> Option<u32> {
        let output = Command::new("id").args([what, SYSTEM_USER]).output().ok()?;
        String::from_utf8_lossy(&output.stdout).trim().parse().ok()
    };
    Some(Owner { uid: ask("-u")?, gid: ask("-g")? })
}

/// The folder itself, or one under `/var/lib` if the owner cannot enter it.
pub(crate) fn enterable_home(dir: &Path, owner: Option<&Owner>) -> Result<PathBuf, PgBoxError> {
    let Some(owner) = owner else { return Ok(dir.to_path_buf()) };
    if dir.parent().is_some_and(|parent| can_enter(parent, owner)) {
        if !can_enter(dir, owner) {
            let mode = fs::Permissions::from_mode(0o711);
            fs::set_permissions(dir, mode).map_err(PgBoxError::io(format!("opening {}", dir.display())))?;
        }
        return Ok(dir.to_path_buf());
    }
    let name = format!("{:016x}", fnv1a(dir.as_os_str().as_encoded_bytes()));
    let home = Path::new(SYSTEM_HOME).join(name);
    fs::create_dir_all(&home).map_err(PgBoxError::io(format!("making {}", home.display())))?;
    for made in [Path::new(SYSTEM_HOME), &home] {
        let mode = fs::Permissions::from_mode(0o711);
        fs::set_permissions(made, mode).map_err(PgBoxError::io(format!("opening {}", made.display())))?;
    }
    if !can_enter(&home, owner) {
        return Err(PgBoxError::NotEnterable { dir: dir.to_path_buf(), user: SYSTEM_USER.to_owned() });
    }
    Ok(home)
}

fn can_enter(dir: &Path, owner: &Owner) -> bool {
    dir.ancestors().all(|above| {
        fs::metadata(above).is_ok_and(|meta| {
            let mode = meta.mode();
            mode & 0o001 != 0 || (meta.uid() == owner.uid && mode & 0o100 != 0)
        })
    })
}

pub(crate) fn become_owner(command: &mut Command, owner: Option<&Owner>) {
    if let Some(owner) = owner {
        command.uid(owner.uid).gid(owner.gid);
    }
}

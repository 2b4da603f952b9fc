//! The computer's sleep and the lock of its screen. Elsewhere than on Linux the page notices a sleep by its clock, and the
//! screen is looked at every second.

use crate::shell::Shell;

/// Whom the system tells. The shell, and in tests a recorder.
trait Watcher: Send + Sync {
    /// The computer is about to sleep; it waits for the answer for some seconds.
    #[cfg(target_os = "linux")]
    fn falls_asleep(&self) -> impl Future<Output = ()> + Send;
    /// The computer woke up: the network is another one, or back.
    #[cfg(target_os = "linux")]
    fn wakes_up(&self) -> impl Future<Output = ()> + Send;
    /// The screen was locked or unlocked.
    fn screen_locked(&self, is_locked: bool) -> impl Future<Output = ()> + Send;
}

impl Watcher for Shell {
    #[cfg(target_os = "linux")]
    async fn falls_asleep(&self) {
        self.lock_if_wanted().await;
    }

    #[cfg(target_os = "linux")]
    async fn wakes_up(&self) {
        self.reconnect().await;
    }

    async fn screen_locked(&self, is_locked: bool) {
        Shell::screen_locked(self, is_locked).await;
    }
}

/// Looks at the screen, as there is nothing to hear without a window of one's own.
#[cfg(not(target_os = "linux"))]
pub(crate) async fn watch(shell: Shell) {
    const LOOK_EVERY: std::time::Duration = std::time::Duration::from_secs(1);
    let mut was_locked = false;
    loop {
        let is_locked = screen::is_locked();
        if is_locked != was_locked {
            was_locked = is_locked;
            Watcher::screen_locked(&shell, is_locked).await;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[cfg(windows)]
mod screen {
    use windows_sys::Win32::System::StationsAndDesktops::{
        CloseDesktop, DESKTOP_SWITCHDESKTOP, OpenInputDesktop,
    };

    /// While the screen is locked the desktop with the keyboard is that of the log-in, which nobody else may open.
    #[expect(unsafe_code, reason = "the system's own interface")]
    pub(super) fn is_locked() -> bool {
        // SAFETY: no pointer is handed over.
        let desktop = unsafe { OpenInputDesktop(0, 0, DESKTOP_SWITCHDESKTOP) };
        if desktop.is_null() {
            return true;
        }
        // SAFETY: the handle was just opened, and is closed once.
        unsafe { CloseDesktop(desktop) };
        false
    }
}

#[cfg(target_os = "macos")]
mod screen {
    use objc2_core_foundation::CFString;
    use objc2_core_graphics::CGSessionCopyCurrentDictionary;

    /// The window server's entry for this session has this key while its screen is locked, and only then.
    #[expect(unsafe_code, reason = "the system's own interface")]
    pub(super) fn is_locked() -> bool {
        let Some(session) = CGSessionCopyCurrentDictionary() else { return false };
        let key = CFString::from_static_str("CGSSessionScreenIsLocked");
        // SAFETY: the keys of this dictionary are strings, and this one lives until the call has returned.
        unsafe { session.contains_ptr_key(std::ptr::from_ref::<CFString>(&key).cast()) }
    }
}

#[cfg(not(any(target_os = "linux", windows, target_os = "macos")))]
mod screen {
    /// Nobody says so on this system.
    pub(super) fn is_locked() -> bool {
        false
    }
}

/// Hears of sleep and of the screen's lock, as logind tells it, until the bus ends.
#[cfg(target_os = "linux")]
pub(crate) async fn watch(shell: Shell) {
    let watching = async {
        let bus = zbus::Connection::system().await?;
        login::watch(&bus, std::env::var("XDG_SESSION_ID").ok(), &shell).await
    };
    if let Err(error) = watching.await {
        tracing::info!(%error, "nobody tells when the computer sleeps or its screen is locked");
    }
}

#[cfg(target_os = "linux")]
mod login {
    use super::Watcher;
    use futures_util::{StreamExt as _, stream};
    use zbus::{
        Connection, Proxy,
        zvariant::{OwnedFd, OwnedObjectPath},
    };

    const SERVICE: &str = "org.freedesktop.login1";
    const PATH: &str = "/org/freedesktop/login1";
    const MANAGER: &str = "org.freedesktop.login1.Manager";
    const SESSION: &str = "org.freedesktop.login1.Session";
    const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
    /// The caller's session, or that of its user's screen for a program that a user's service manager has started.
    const OWN_SESSION: &str = "/org/freedesktop/login1/session/auto";

    /// What logind tells.
    enum Told {
        Sleeps(bool),
        SessionChanged,
    }

    /// Tells a watcher, until the bus ends. `session` is the id of the session whose screen is meant, if it is known.
    pub(super) async fn watch(
        bus: &Connection,
        session: Option<String>,
        watcher: &impl Watcher,
    ) -> zbus::Result<()> {
        let manager = Proxy::new(bus, SERVICE, PATH, MANAGER).await?;
        let sleeps = manager.receive_signal("PrepareForSleep").await?;
        let sleeps =
            sleeps.filter_map(|signal| async move { Some(Told::Sleeps(signal.body().deserialize().ok()?)) });
        let screen = match own_session(bus, &manager, session).await {
            Ok(path) => Some(Proxy::new(bus, SERVICE, path, PROPERTIES).await?),
            Err(error) => {
                tracing::info!(%error, "nobody tells when the screen is locked");
                None
            }
        };
        let changes = match &screen {
            Some(screen) => screen.receive_signal("PropertiesChanged").await?.left_stream(),
            None => stream::pending().right_stream(),
        };
        let mut delay = delay(&manager).await;
        let mut was_locked = false;
        let changes = changes.map(|_| Told::SessionChanged);
        // The screen may be locked already.
        let first = stream::once(async { Told::SessionChanged });
        let mut told = std::pin::pin!(stream::select(sleeps, first.chain(changes)));
        while let Some(told) = told.next().await {
            match told {
                Told::Sleeps(true) => {
                    watcher.falls_asleep().await;
                    // Now it may sleep.
                    drop(delay.take());
                }
                Told::Sleeps(false) => {
                    delay = self::delay(&manager).await;
                    watcher.wakes_up().await;
                }
                Told::SessionChanged => {
                    let Some(screen) = &screen else { continue };
                    // Asked for, not taken from the signal: whatever was missed, the answer is how it is.
                    let is_locked = is_locked(screen).await.unwrap_or(false);
                    if is_locked != was_locked {
                        was_locked = is_locked;
                        watcher.screen_locked(is_locked).await;
                    }
                }
            }
        }
        Ok(())
    }

    /// The object of the session whose screen is meant: signals come from it and not from an alias.
    async fn own_session(
        bus: &Connection,
        manager: &Proxy<'_>,
        session: Option<String>,
    ) -> zbus::Result<OwnedObjectPath> {
        let id = match session {
            Some(id) => id,
            None => {
                let own = Proxy::new(bus, SERVICE, OWN_SESSION, SESSION).await?;
                own.get_property("Id").await?
            }
        };
        manager.call("GetSession", &(id,)).await
    }

    async fn is_locked(session: &Proxy<'_>) -> zbus::Result<bool> {
        let value: zbus::zvariant::OwnedValue = session.call("Get", &(SESSION, "LockedHint")).await?;
        Ok(bool::try_from(value)?)
    }

    /// Sleep waits for who holds this, a few seconds at most; without it the lock may come after waking.
    async fn delay(manager: &Proxy<'_>) -> Option<OwnedFd> {
        let what = ("sleep", "Kith", "Locks what is open", "delay");
        manager.call("Inhibit", &what).await.ok()
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use std::{
        io::{BufRead as _, BufReader},
        process::{Child, Command, Stdio},
        sync::atomic::{AtomicBool, Ordering},
        time::Duration,
    };
    use tokio::{sync::mpsc, time::timeout};
    use zbus::{Connection, connection, object_server::SignalEmitter, zvariant::ObjectPath};

    const SESSION: &str = "/org/freedesktop/login1/session/_37";
    const WITHIN: Duration = Duration::from_secs(20);

    /// A bus of the test's own, on which everybody may be anybody.
    struct Bus {
        daemon: Child,
        address: String,
        _folder: tempfile::TempDir,
    }

    impl Bus {
        /// `None` where there is no `dbus-daemon`.
        fn start() -> Option<Self> {
            let folder = tempfile::tempdir().unwrap();
            let config = folder.path().join("bus.conf");
            let text = r#"<busconfig><type>session</type><listen>unix:tmpdir=/tmp</listen><auth>EXTERNAL</auth>
                <policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/>
                <allow own="*"/></policy></busconfig>"#;
            std::fs::write(&config, text).unwrap();
            let mut daemon = Command::new("dbus-daemon")
                .args(["--nofork", "--nopidfile", "--print-address=1"])
                .arg(format!("--config-file={}", config.display()))
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .ok()?;
            let mut address = String::new();
            BufReader::new(daemon.stdout.take()?).read_line(&mut address).ok()?;
            Some(Self { daemon, address: address.trim().to_owned(), _folder: folder })
        }

        async fn connect(&self) -> Connection {
            connection::Builder::address(self.address.as_str()).unwrap().build().await.unwrap()
        }
    }

    impl Drop for Bus {
        fn drop(&mut self) {
            let _ = self.daemon.kill();
            let _ = self.daemon.wait();
        }
    }

    struct Manager;

    #[zbus::interface(name = "org.freedesktop.login1.Manager")]
    impl Manager {
        fn get_session(&self, id: &str) -> zbus::fdo::Result<ObjectPath<'static>> {
            match id {
                "7" => Ok(ObjectPath::from_static_str_unchecked(SESSION)),
                _ => Err(zbus::fdo::Error::Failed("no such session".to_owned())),
            }
        }
        #[zbus(signal)]
        async fn prepare_for_sleep(emitter: &SignalEmitter<'_>, begins: bool) -> zbus::Result<()>;
    }

    struct Session(AtomicBool);

    #[zbus::interface(name = "org.freedesktop.login1.Session")]
    impl Session {
        #[zbus(property)]
        fn id(&self) -> String {
            "7".to_owned()
        }
        #[zbus(property)]
        fn locked_hint(&self) -> bool {
            self.0.load(Ordering::Relaxed)
        }
    }

    /// The same session under the name by which a program finds its own.
    async fn logind(bus: &Bus, is_locked: bool) -> Connection {
        let auto = "/org/freedesktop/login1/session/auto";
        connection::Builder::address(bus.address.as_str())
            .unwrap()
            .serve_at("/org/freedesktop/login1", Manager)
            .unwrap()
            .serve_at(SESSION, Session(AtomicBool::new(is_locked)))
            .unwrap()
            .serve_at(auto, Session(AtomicBool::new(is_locked)))
            .unwrap()
            .name("org.freedesktop.login1")
            .unwrap()
            .build()
            .await
            .unwrap()
    }

    async fn lock(logind: &Connection, is_locked: bool) {
        let session = logind.object_server().interface::<_, Session>(SESSION).await.unwrap();
        session.get().await.0.store(is_locked, Ordering::Relaxed);
        session.get().await.locked_hint_changed(session.signal_emitter()).await.unwrap();
    }

    async fn sleep(logind: &Connection, begins: bool) {
        let path = "/org/freedesktop/login1";
        let manager = logind.object_server().interface::<_, Manager>(path).await.unwrap();
        Manager::prepare_for_sleep(manager.signal_emitter(), begins).await.unwrap();
    }

    #[derive(Debug, PartialEq)]
    enum Heard {
        Asleep,
        Awake,
        Locked(bool),
    }

    struct Recorder(mpsc::UnboundedSender<Heard>);

    impl Watcher for Recorder {
        async fn falls_asleep(&self) {
            self.0.send(Heard::Asleep).unwrap();
        }
        async fn wakes_up(&self) {
            self.0.send(Heard::Awake).unwrap();
        }
        async fn screen_locked(&self, is_locked: bool) {
            self.0.send(Heard::Locked(is_locked)).unwrap();
        }
    }

    async fn watched(bus: &Bus, session: Option<&str>) -> mpsc::UnboundedReceiver<Heard> {
        let (heard, hearing) = mpsc::unbounded_channel();
        let (bus, session) = (bus.connect().await, session.map(str::to_owned));
        tokio::spawn(async move { login::watch(&bus, session, &Recorder(heard)).await });
        hearing
    }

    async fn next(hearing: &mut mpsc::UnboundedReceiver<Heard>) -> Heard {
        timeout(WITHIN, hearing.recv()).await.expect("it is heard").expect("it is watched")
    }

    #[tokio::test]
    async fn r3_the_lock_of_the_screen_and_the_sleep_of_the_computer_are_heard() {
        for session in [Some("7"), None] {
            let Some(bus) = Bus::start() else {
                eprintln!("skipped: there is no dbus-daemon");
                return;
            };
            // Locked before anybody listens: it is heard all the same.
            let logind = logind(&bus, true).await;
            let mut hearing = watched(&bus, session).await;
            assert_eq!(next(&mut hearing).await, Heard::Locked(true));
            lock(&logind, false).await;
            assert_eq!(next(&mut hearing).await, Heard::Locked(false));
            sleep(&logind, true).await;
            assert_eq!(next(&mut hearing).await, Heard::Asleep);
            lock(&logind, true).await;
            assert_eq!(next(&mut hearing).await, Heard::Locked(true));
            // Nothing has changed: nothing is told.
            lock(&logind, true).await;
            sleep(&logind, false).await;
            assert_eq!(next(&mut hearing).await, Heard::Awake);
            lock(&logind, false).await;
            assert_eq!(next(&mut hearing).await, Heard::Locked(false));
        }
    }

    #[tokio::test]
    async fn a_session_that_logind_does_not_know_leaves_the_sleep_to_be_heard() {
        let Some(bus) = Bus::start() else {
            eprintln!("skipped: there is no dbus-daemon");
            return;
        };
        let logind = logind(&bus, false).await;
        let mut hearing = watched(&bus, Some("unknown")).await;
        let heard = async {
            loop {
                sleep(&logind, true).await;
                if timeout(Duration::from_millis(200), hearing.recv()).await.is_ok() {
                    return;
                }
            }
        };
        timeout(WITHIN, heard).await.expect("it is heard");
    }
}

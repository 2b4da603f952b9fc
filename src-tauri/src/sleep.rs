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

/// Hears of sleep and of the screen's lock, as logind reports them, for as long as the app runs.
#[cfg(target_os = "linux")]
pub(crate) async fn watch(shell: Shell) {
    let connect =
        || async { zbus::connection::Builder::system()?.method_timeout(login::LIMIT).build().await };
    login::watch(connect, std::env::var("XDG_SESSION_ID").ok(), &shell).await;
}

#[cfg(target_os = "linux")]
mod login {
    use super::Watcher;
    use futures_util::StreamExt as _;
    use std::{future, time::Duration};
    use tokio::time::{Instant, sleep, sleep_until, timeout};
    use zbus::{
        Connection, Proxy,
        proxy::SignalStream,
        zvariant::{OwnedFd, OwnedObjectPath},
    };

    const SERVICE: &str = "org.freedesktop.login1";
    const PATH: &str = "/org/freedesktop/login1";
    const MANAGER: &str = "org.freedesktop.login1.Manager";
    const SESSION: &str = "org.freedesktop.login1.Session";
    const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
    /// The caller's session, or that of its user's screen for a program that a user's service manager has started.
    const OWN_SESSION: &str = "/org/freedesktop/login1/session/auto";
    /// The watcher waits at most this long for an answer of bus or logind.
    pub(super) const LIMIT: Duration = Duration::from_secs(5);

    /// Growing waits between attempts.
    struct Backoff(Duration);

    impl Backoff {
        const FIRST: Duration = Duration::from_secs(1);
        const MAX: Duration = Duration::from_secs(60);

        const fn new() -> Self {
            Self(Self::FIRST)
        }

        fn next(&mut self) -> Duration {
            let wait = self.0;
            self.0 = (wait * 2).min(Self::MAX);
            wait
        }
    }

    /// Reports to a watcher. `session` is the id of the session whose screen is meant, if it is known.
    ///
    /// Reconnects when the bus or logind ends. Until logind answers again, the screen counts as last reported: a locked
    /// one stays locked (R3). Before the first answer the screen counts as unlocked, because not every system has logind.
    pub(super) async fn watch<F: Future<Output = zbus::Result<Connection>>>(
        connect: impl Fn() -> F,
        session: Option<String>,
        watcher: &impl Watcher,
    ) {
        let mut was_locked = false;
        let mut backoff = Backoff::new();
        loop {
            let began = Instant::now();
            let ended = match timeout(LIMIT, connect()).await {
                Ok(Ok(bus)) => listen(&bus, session.as_deref(), &mut was_locked, watcher).await,
                Ok(Err(error)) => Err(error),
                Err(_) => Err(zbus::Error::Failure("no answer in time".to_owned())),
            };
            if began.elapsed() > Backoff::MAX {
                backoff = Backoff::new();
            }
            let wait = backoff.next();
            let error =
                ended.err().map_or_else(|| "the connection ended".to_owned(), |error| error.to_string());
            tracing::info!(error, wait_s = wait.as_secs(), "lost logind");
            sleep(wait).await;
        }
    }

    /// Reports to a watcher until the bus or logind ends.
    async fn listen(
        bus: &Connection,
        session: Option<&str>,
        was_locked: &mut bool,
        watcher: &impl Watcher,
    ) -> zbus::Result<()> {
        let manager = Proxy::new(bus, SERVICE, PATH, MANAGER).await?;
        let mut owners = manager.receive_owner_changed().await?;
        let mut sleeps = manager.receive_signal("PrepareForSleep").await?;
        let mut delay = delay(&manager).await;
        let mut screen: Option<Screen<'_>> = None;
        let mut backoff = Backoff::new();
        let mut look_at = Instant::now();
        loop {
            let is_stale = tokio::select! {
                signal = sleeps.next() => {
                    let Some(signal) = signal else { return Ok(()) };
                    match signal.body().deserialize() {
                        Ok(true) => {
                            watcher.falls_asleep().await;
                            // Now it may sleep.
                            drop(delay.take());
                        }
                        Ok(false) => {
                            delay = self::delay(&manager).await;
                            watcher.wakes_up().await;
                        }
                        Err(error) => tracing::debug!(%error, "ignored signal of logind"),
                    }
                    false
                }
                // Another logind knows neither this signal's receiver nor what was missed.
                _ = owners.next() => return Ok(()),
                change = changed(&mut screen) => match change {
                    Some(()) => true,
                    None => return Ok(()),
                },
                () = sleep_until(look_at), if screen.is_none() => {
                    match Screen::find(bus, &manager, session).await {
                        Ok(found) => screen = Some(found),
                        Err(error) => {
                            tracing::info!(%error, "found no session of logind");
                            look_at = Instant::now() + backoff.next();
                        }
                    }
                    // The screen may be locked already.
                    screen.is_some()
                }
            };
            let Some(found) = screen.as_ref().filter(|_| is_stale) else { continue };
            // Asked for, not taken from the signal: whatever was missed, the answer is how it is.
            match found.is_locked().await {
                Ok(is_locked) => {
                    backoff = Backoff::new();
                    if is_locked != *was_locked {
                        *was_locked = is_locked;
                        watcher.screen_locked(is_locked).await;
                    }
                }
                Err(error) => {
                    tracing::info!(%error, "logind did not report the screen's lock");
                    screen = None;
                    look_at = Instant::now() + backoff.next();
                }
            }
        }
    }

    /// A session's object at logind, and the signals that its properties changed.
    struct Screen<'a> {
        session: Proxy<'a>,
        changes: SignalStream<'a>,
    }

    impl<'a> Screen<'a> {
        async fn find(
            bus: &'a Connection,
            manager: &Proxy<'_>,
            session: Option<&str>,
        ) -> zbus::Result<Screen<'a>> {
            let path = own_session(bus, manager, session).await?;
            let session = Proxy::new(bus, SERVICE, path, PROPERTIES).await?;
            let changes = session.receive_signal("PropertiesChanged").await?;
            Ok(Self { session, changes })
        }

        async fn is_locked(&self) -> zbus::Result<bool> {
            let value: zbus::zvariant::OwnedValue =
                self.session.call("Get", &(SESSION, "LockedHint")).await?;
            Ok(bool::try_from(value)?)
        }
    }

    /// Waits for a change; `None` once the bus has ended. Without a screen it waits for ever.
    async fn changed(screen: &mut Option<Screen<'_>>) -> Option<()> {
        match screen {
            Some(screen) => screen.changes.next().await.map(drop),
            None => future::pending().await,
        }
    }

    /// The object of the session whose screen is meant: signals come from it and not from an alias.
    async fn own_session(
        bus: &Connection,
        manager: &Proxy<'_>,
        session: Option<&str>,
    ) -> zbus::Result<OwnedObjectPath> {
        let id = match session {
            Some(id) => id.to_owned(),
            None => {
                let own = Proxy::new(bus, SERVICE, OWN_SESSION, SESSION).await?;
                own.get_property("Id").await?
            }
        };
        manager.call("GetSession", &(id,)).await
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
        collections::HashMap,
        io::{BufRead as _, BufReader},
        process::{Child, Command, Stdio},
        sync::{Arc, Mutex},
        time::Duration,
    };
    use tokio::{sync::mpsc, time::timeout};
    use zbus::{
        Connection, connection,
        object_server::SignalEmitter,
        zvariant::{ObjectPath, Value},
    };

    const SESSION: &str = "/org/freedesktop/login1/session/_37";
    const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
    const WITHIN: Duration = Duration::from_secs(20);

    /// A bus of the test's own, on which everybody may be anybody.
    struct Bus {
        daemon: Child,
        address: String,
        _folder: tempfile::TempDir,
    }

    impl Bus {
        fn start() -> Self {
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
                .expect("dbus-daemon is installed");
            let mut address = String::new();
            BufReader::new(daemon.stdout.take().unwrap()).read_line(&mut address).unwrap();
            Self { daemon, address: address.trim().to_owned(), _folder: folder }
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

    /// What it reports of its screen; `None` for a failure.
    struct Session(Option<bool>);

    #[zbus::interface(name = "org.freedesktop.login1.Session")]
    impl Session {
        #[zbus(property)]
        fn id(&self) -> String {
            "7".to_owned()
        }
        #[zbus(property)]
        fn locked_hint(&self) -> zbus::fdo::Result<bool> {
            self.0.ok_or_else(|| zbus::fdo::Error::Failed("not known".to_owned()))
        }
    }

    /// The same session under the name by which a program finds its own.
    async fn logind(bus: &Bus, is_locked: bool) -> Connection {
        let auto = "/org/freedesktop/login1/session/auto";
        connection::Builder::address(bus.address.as_str())
            .unwrap()
            .serve_at("/org/freedesktop/login1", Manager)
            .unwrap()
            .serve_at(SESSION, Session(Some(is_locked)))
            .unwrap()
            .serve_at(auto, Session(Some(is_locked)))
            .unwrap()
            .name("org.freedesktop.login1")
            .unwrap()
            .build()
            .await
            .unwrap()
    }

    /// `is_locked` is `None` for a session that does not answer.
    async fn change(logind: &Connection, is_locked: Option<bool>) {
        let session = logind.object_server().interface::<_, Session>(SESSION).await.unwrap();
        session.get_mut().await.0 = is_locked;
        let (name, nothing) = ("org.freedesktop.login1.Session", HashMap::<&str, Value<'_>>::new());
        let changed = (name, nothing, ["LockedHint"].as_slice());
        let path = session.signal_emitter().path();
        logind.emit_signal(None::<&str>, path, PROPERTIES, "PropertiesChanged", &changed).await.unwrap();
    }

    async fn lock(logind: &Connection, is_locked: bool) {
        change(logind, Some(is_locked)).await;
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

    /// Where the watcher finds the bus.
    type Address = Arc<Mutex<String>>;

    fn watched(bus: &Bus, session: Option<&str>) -> (mpsc::UnboundedReceiver<Heard>, Address) {
        let (heard, hearing) = mpsc::unbounded_channel();
        let address = Arc::new(Mutex::new(bus.address.clone()));
        let (place, session) = (Arc::clone(&address), session.map(str::to_owned));
        let connect = move || {
            let address = place.lock().unwrap().clone();
            async move { connection::Builder::address(address.as_str())?.build().await }
        };
        tokio::spawn(async move { login::watch(connect, session, &Recorder(heard)).await });
        (hearing, address)
    }

    async fn next(hearing: &mut mpsc::UnboundedReceiver<Heard>) -> Heard {
        timeout(WITHIN, hearing.recv()).await.expect("it is heard").expect("it is watched")
    }

    /// Puts the computer to sleep again and again until the watcher reports it.
    async fn until_asleep(logind: &Connection, hearing: &mut mpsc::UnboundedReceiver<Heard>) {
        let heard = async {
            loop {
                sleep(logind, true).await;
                if let Ok(heard) = timeout(Duration::from_millis(200), hearing.recv()).await {
                    return heard;
                }
            }
        };
        let heard = timeout(WITHIN, heard).await.expect("it is heard");
        assert_eq!(heard.expect("it is watched"), Heard::Asleep);
    }

    #[tokio::test]
    async fn r3_the_lock_of_the_screen_and_the_sleep_of_the_computer_are_heard() {
        for session in [Some("7"), None] {
            let bus = Bus::start();
            // Locked before anybody listens: it is heard all the same.
            let logind = logind(&bus, true).await;
            let (mut hearing, _) = watched(&bus, session);
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
        let bus = Bus::start();
        let logind = logind(&bus, false).await;
        let (mut hearing, _) = watched(&bus, Some("unknown"));
        until_asleep(&logind, &mut hearing).await;
    }

    /// Time in which a wrong report would have come.
    const QUIET: Duration = Duration::from_millis(1_500);

    async fn nothing(hearing: &mut mpsc::UnboundedReceiver<Heard>) {
        let heard = timeout(QUIET, hearing.recv()).await;
        assert!(heard.is_err(), "{heard:?}");
    }

    /// Ends a bus and starts another one where the watcher looks for it.
    async fn restart(bus: Bus, address: &Address, is_locked: bool) -> (Bus, Connection) {
        drop(bus);
        let bus = Bus::start();
        let logind = logind(&bus, is_locked).await;
        address.lock().unwrap().clone_from(&bus.address);
        (bus, logind)
    }

    #[tokio::test]
    async fn r3_a_locked_screen_stays_locked_while_the_bus_is_broken_and_is_heard_again_afterwards() {
        let bus = Bus::start();
        let _logind = logind(&bus, true).await;
        let (mut hearing, address) = watched(&bus, Some("7"));
        assert_eq!(next(&mut hearing).await, Heard::Locked(true));
        let (bus, logind_again) = restart(bus, &address, true).await;
        nothing(&mut hearing).await;
        lock(&logind_again, false).await;
        assert_eq!(next(&mut hearing).await, Heard::Locked(false));
        // The screen is locked while nobody can say so.
        let (_bus, logind) = restart(bus, &address, true).await;
        assert_eq!(next(&mut hearing).await, Heard::Locked(true));
        sleep(&logind, true).await;
        assert_eq!(next(&mut hearing).await, Heard::Asleep);
    }

    #[tokio::test]
    async fn r3_a_locked_screen_stays_locked_until_a_session_that_failed_answers() {
        let bus = Bus::start();
        let logind = logind(&bus, true).await;
        let (mut hearing, _) = watched(&bus, Some("7"));
        assert_eq!(next(&mut hearing).await, Heard::Locked(true));
        change(&logind, None).await;
        nothing(&mut hearing).await;
        // No signal: the watcher asks again by itself.
        let session = logind.object_server().interface::<_, Session>(SESSION).await.unwrap();
        session.get_mut().await.0 = Some(false);
        assert_eq!(next(&mut hearing).await, Heard::Locked(false));
    }

    #[tokio::test]
    async fn r3_a_logind_that_was_started_anew_is_asked_what_was_missed() {
        let bus = Bus::start();
        let first = logind(&bus, true).await;
        let (mut hearing, _) = watched(&bus, Some("7"));
        assert_eq!(next(&mut hearing).await, Heard::Locked(true));
        first.close().await.unwrap();
        nothing(&mut hearing).await;
        let _second = logind(&bus, false).await;
        assert_eq!(next(&mut hearing).await, Heard::Locked(false));
    }

    #[tokio::test]
    async fn without_a_known_session_a_broken_bus_is_noticed_all_the_same() {
        let bus = Bus::start();
        let _logind = logind(&bus, false).await;
        let (mut hearing, address) = watched(&bus, Some("unknown"));
        nothing(&mut hearing).await;
        let (_bus, logind) = restart(bus, &address, false).await;
        until_asleep(&logind, &mut hearing).await;
    }
}

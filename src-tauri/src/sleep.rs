//! The computer's sleep. Elsewhere than on Linux the page notices by its clock that time has passed.

use crate::shell::Shell;

/// Without a system that tells, there is nothing to hear.
#[cfg(not(target_os = "linux"))]
pub(crate) async fn watch(_: Shell) {}

/// Hears of sleeping and waking, as logind tells it, until the bus ends.
#[cfg(target_os = "linux")]
pub(crate) async fn watch(shell: Shell) {
    if let Err(error) = login::watch(&shell).await {
        tracing::info!(%error, "nobody tells when the computer sleeps");
    }
}

#[cfg(target_os = "linux")]
mod login {
    use crate::shell::Shell;
    use futures_util::StreamExt as _;
    use zbus::{Connection, Proxy, zvariant::OwnedFd};

    const SERVICE: &str = "org.freedesktop.login1";
    const PATH: &str = "/org/freedesktop/login1";
    const MANAGER: &str = "org.freedesktop.login1.Manager";

    pub(super) async fn watch(shell: &Shell) -> zbus::Result<()> {
        let bus = Connection::system().await?;
        let manager = Proxy::new(&bus, SERVICE, PATH, MANAGER).await?;
        let mut sleeps = manager.receive_signal("PrepareForSleep").await?;
        let mut delay = delay(&manager).await;
        while let Some(signal) = sleeps.next().await {
            let body = signal.body();
            let Ok(begins) = body.deserialize::<bool>() else { continue };
            if begins {
                shell.falls_asleep().await;
                // Now it may sleep.
                drop(delay.take());
            } else {
                delay = self::delay(&manager).await;
                shell.wakes_up().await;
            }
        }
        Ok(())
    }

    /// Sleep waits for who holds this, a few seconds at most; without it the lock may come after waking.
    async fn delay(manager: &Proxy<'_>) -> Option<OwnedFd> {
        let what = ("sleep", "Kith", "Locks what is open", "delay");
        manager.call("Inhibit", &what).await.ok()
    }
}

//! Where sign-in and key are kept, through the real window and with the real Secret Service: there, missing from the
//! bus, without a bus, locked, started anew.

use anyhow::{Context, Result};
use kith_client::secrets::{KeyringSecrets, SecretName, SecretStore as _};
use kith_tests::window::{Bus, Stage, Window, password};
use std::fs;

const PASSPHRASE: &str = "correct horse battery";

/// Signs up in the window, up to what comes after the form.
async fn sign_up(stage: &Stage, window: &Window, username: &str) -> Result<()> {
    window.click("signin-switch").await?;
    window.fill("signin-server", &stage.url()).await?;
    window.fill("signin-display-name", "Ada Lindqvist").await?;
    window.fill("signin-username", username).await?;
    window.fill("signin-password", &password(username)).await?;
    window.click("signin-submit").await
}

async fn kept(window: &Window, place: &str) -> Result<()> {
    window.click("settings-button").await?;
    window.sees("key-store", place).await
}

/// A bus on which nobody keeps secrets: the sign-in works, a passphrase is offered and keeps it, and the next start
/// asks for it first.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "opens real windows: cargo xtask test windows"]
async fn sec_085_a_a30_without_a_secret_store_a_passphrase_keeps_the_sign_in() -> Result<()> {
    let stage = Stage::set().await?;
    let bus = Bus::start().await?;
    let window = stage.window_in("ada", &bus.environment()).await?;
    sign_up(&stage, &window, "ada").await?;
    window.sees("offer", "You are signed in.").await?;
    window.picture("keys-offer").await?;
    window.click("offer-passphrase").await?;
    window.fill("passphrase-new", PASSPHRASE).await?;
    window.fill("passphrase-again", PASSPHRASE).await?;
    window.click("passphrase-submit").await?;
    window.find("new-chat-button").await?;
    window.link_is("connected").await?;
    kept(&window, "Encrypted file").await?;
    let sealed = window.profile_dir().join("secrets.sealed");
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&sealed)?.permissions()) & 0o777, 0o600);
    window.quit().await?;

    let window = stage.window_in("ada", &bus.environment()).await?;
    window.fill("unlock-passphrase", "not the passphrase").await?;
    window.click("unlock-submit").await?;
    window.sees("unlock-error", "Wrong passphrase").await?;
    window.picture("keys-unlock").await?;
    window.fill("unlock-passphrase", PASSPHRASE).await?;
    window.click("unlock-submit").await?;
    window.find("new-chat-button").await?;
    window.link_is("connected").await?;
    window.quit().await
}

/// No bus at all: the window opens, and a sign-in until quit leaves nothing behind.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "opens real windows: cargo xtask test windows"]
async fn sec_085_a_without_a_bus_a_sign_in_may_last_until_quit() -> Result<()> {
    let stage = Stage::set().await?;
    let window = stage.window_in("ada", &Bus::none()).await?;
    sign_up(&stage, &window, "ada").await?;
    window.click("offer-until-quit").await?;
    window.link_is("connected").await?;
    kept(&window, "Memory, until you quit").await?;
    let folder = window.profile_dir();
    window.quit().await?;
    let names = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().into_string().unwrap_or_default()));
    let names = names.collect::<Result<Vec<_>>>()?;
    assert!(!names.iter().any(|name| name.contains(".db") || name.contains("sealed")), "{names:?}");
    Ok(())
}

/// A keyring that is locked at the start and unlocked later: the window goes on by itself. One that was started anew
/// meanwhile is found as well.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "opens real windows: cargo xtask test windows"]
async fn sec_085_b_a32_a_keyring_that_is_unlocked_later_opens_the_history_by_itself() -> Result<()> {
    let stage = Stage::set().await?;
    let mut bus = Bus::start().await?;
    bus.start_keyring(true).await?;
    let window = stage.window_in("ada", &bus.environment()).await?;
    stage.sign_up(&window, "ada", "Ada Lindqvist").await?;
    kept(&window, "Secret Service").await?;
    window.quit().await?;

    bus.end_keyring().await?;
    bus.start_keyring(false).await?;
    let window = stage.window_in("ada", &bus.environment()).await?;
    window.find("signin-try-again").await?;
    window.picture("keys-locked").await?;
    bus.end_keyring().await?;
    bus.start_keyring(true).await?;
    window.find("new-chat-button").await?;
    window.link_is("connected").await?;
    // Locked while it is used: what is open goes on.
    bus.lock().await?;
    kept(&window, "Secret Service").await?;
    window.quit().await
}

/// An open app under a passphrase is locked by hand, by the computer's sleep and by the lock of its screen: the page shows
/// nothing, the engine answers nothing, and the passphrase brings everything back.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "opens real windows: cargo xtask test windows"]
async fn sec_086_the_app_is_locked_by_hand_and_when_the_computer_sleeps() -> Result<()> {
    let stage = Stage::set().await?;
    let (bus, system) = (Bus::start().await?, Bus::start().await?);
    let logind = sleeping::logind(system.address()).await?;
    let mut environment = bus.environment().to_vec();
    environment.push(("DBUS_SYSTEM_BUS_ADDRESS", system.address().to_owned()));
    let window = stage.window_in("ada", &environment).await?;
    sign_up(&stage, &window, "ada").await?;
    window.click("offer-passphrase").await?;
    window.fill("passphrase-new", PASSPHRASE).await?;
    window.fill("passphrase-again", PASSPHRASE).await?;
    window.click("passphrase-submit").await?;
    kept(&window, "Encrypted file").await?;
    window.picture("lock-settings").await?;
    window.click("lock-now").await?;
    window.find("unlock-passphrase").await?;
    let refused = window.invoke("conversations", serde_json::json!({})).await?;
    assert_eq!(refused["error"]["code"], "signed_out");
    window.fill("unlock-passphrase", PASSPHRASE).await?;
    window.click("unlock-submit").await?;
    window.link_is("connected").await?;

    // Sleep locks only where that was chosen.
    sleeping::say(&logind, true).await?;
    sleeping::say(&logind, false).await?;
    window.click("settings-button").await?;
    let settings = window.invoke("get_settings", serde_json::json!({})).await?["value"].clone();
    let mut wanted = settings.clone();
    wanted["lock_after_minutes"] = 15.into();
    window.invoke("set_settings", serde_json::json!({ "settings": wanted })).await?;
    sleeping::say(&logind, true).await?;
    window.find("unlock-passphrase").await?;
    window.picture("locked").await?;
    sleeping::say(&logind, false).await?;
    window.fill("unlock-passphrase", PASSPHRASE).await?;
    window.click("unlock-submit").await?;
    window.link_is("connected").await?;

    sleeping::lock(&logind, true).await?;
    window.find("unlock-passphrase").await?;
    sleeping::lock(&logind, false).await?;
    window.fill("unlock-passphrase", PASSPHRASE).await?;
    window.click("unlock-submit").await?;
    window.link_is("connected").await?;
    window.quit().await
}

mod sleeping {
    //! What tells that the computer sleeps, and that its screen is locked.

    use anyhow::Result;
    use std::sync::atomic::{AtomicBool, Ordering};
    use zbus::{
        Connection,
        connection::Builder,
        interface,
        object_server::SignalEmitter,
        zvariant::{ObjectPath, OwnedFd},
    };

    const PATH: &str = "/org/freedesktop/login1";
    const SESSION: &str = "/org/freedesktop/login1/session/_31";
    /// By which a program finds its own session.
    const OWN_SESSION: &str = "/org/freedesktop/login1/session/auto";

    struct Manager;

    #[interface(name = "org.freedesktop.login1.Manager")]
    impl Manager {
        fn inhibit(&self, _what: &str, _who: &str, _why: &str, _mode: &str) -> zbus::fdo::Result<OwnedFd> {
            let null = std::fs::File::open("/dev/null")
                .map_err(|error| zbus::fdo::Error::IOError(error.to_string()))?;
            Ok(std::os::fd::OwnedFd::from(null).into())
        }

        fn get_session(&self, _id: &str) -> ObjectPath<'static> {
            ObjectPath::from_static_str_unchecked(SESSION)
        }

        #[zbus(signal)]
        async fn prepare_for_sleep(emitter: &SignalEmitter<'_>, begins: bool) -> zbus::Result<()>;
    }

    struct Session(AtomicBool);

    #[interface(name = "org.freedesktop.login1.Session")]
    impl Session {
        #[zbus(property)]
        fn id(&self) -> String {
            "1".to_owned()
        }

        #[zbus(property)]
        fn locked_hint(&self) -> bool {
            self.0.load(Ordering::Relaxed)
        }
    }

    pub(super) async fn logind(address: &str) -> Result<Connection> {
        let bus = Builder::address(address)?.name("org.freedesktop.login1")?.serve_at(PATH, Manager)?;
        let session = || Session(AtomicBool::new(false));
        Ok(bus.serve_at(SESSION, session())?.serve_at(OWN_SESSION, session())?.build().await?)
    }

    pub(super) async fn lock(bus: &Connection, is_locked: bool) -> Result<()> {
        let session = bus.object_server().interface::<_, Session>(SESSION).await?;
        session.get().await.0.store(is_locked, Ordering::Relaxed);
        Ok(session.get().await.locked_hint_changed(session.signal_emitter()).await?)
    }

    pub(super) async fn say(bus: &Connection, begins: bool) -> Result<()> {
        Ok(Manager::prepare_for_sleep(&SignalEmitter::new(bus, PATH)?, begins).await?)
    }
}

/// The real Secret Service keeps bytes, replaces them, forgets them, and knows whether it is unlocked.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a keyring: cargo xtask test windows"]
async fn sec_085_the_real_secret_service_keeps_replaces_and_forgets_bytes() -> Result<()> {
    let story = || {
        let store = KeyringSecrets::default();
        let name = |user: &str| SecretName { service: "kith/tests/real".to_owned(), user: user.to_owned() };
        assert!(store.is_unlocked());
        assert_eq!(store.name(), "Secret Service");
        let bytes: Vec<u8> = (0..=255).collect();
        store.set(&name("one"), &bytes)?;
        store.set(&name("other"), b"apart")?;
        assert_eq!(store.get(&name("one"))?.as_deref(), Some(&bytes));
        store.set(&name("one"), b"replaced")?;
        // Another connection, as the next start has.
        let next = KeyringSecrets::default();
        assert_eq!(next.get(&name("one"))?.as_deref().map(Vec::as_slice), Some(b"replaced".as_slice()));
        next.delete(&name("one"))?;
        next.delete(&name("one"))?;
        assert!(store.get(&name("one"))?.is_none());
        assert!(store.get(&name("other"))?.is_some());
        Ok(store.delete(&name("other"))?)
    };
    // Its calls block, and may not on a thread of the runtime.
    tokio::task::spawn_blocking(story).await?
}

/// What the web view stored goes with the account, and only then.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "opens real windows: cargo xtask test windows"]
async fn sec_022_signing_out_with_a_wipe_removes_what_the_window_stored() -> Result<()> {
    for is_wiped in [false, true] {
        let stage = Stage::set().await?;
        let window = stage.window("ada").await?;
        stage.sign_up(&window, "ada", "Ada Lindqvist").await?;
        let profile = window.profile_dir();
        let stored = profile.join("window");
        assert!(fs::read_dir(&stored).context("the web view has another folder")?.count() > 0);
        fs::write(stored.join("planted"), "private")?;
        window.click("settings-button").await?;
        window.click("sign-out-button").await?;
        if is_wiped {
            window.click("sign-out-wipe").await?;
        }
        window.click("sign-out-confirm").await?;
        window.find("signin-submit").await?;
        window.quit().await?;
        assert_eq!(stored.join("planted").exists(), !is_wiped);
        assert_eq!(stored.exists(), !is_wiped);
        assert!(!profile.join("window.forget").exists());
    }
    Ok(())
}

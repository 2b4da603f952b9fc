//! What the window, the tray and the notifications share: the engine of the profile, the settings, and what is in view.

use crate::{
    error::UiError,
    events::{self, QuitAsked},
    external,
    link::Link,
    notifications::Notifier,
    options::Options,
    rendering::{Painted, Rendering},
    settings::{NotificationMode, Settings, SettingsFile},
    updates::Updates,
    window,
};
use kith_client::{Engine, EngineOptions, secrets::KeyringSecrets, view::SignOutPreview};
use kith_protocol::{ConversationId, Seq, limits, text::check_name};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tauri::{AppHandle, Emitter as _};
use tokio::sync::watch;

/// How long quitting waits for the engine. It usually takes milliseconds; a renewal of the sign-in that is under way
/// may take 35 s, and losing its answer would sign this device out.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(40);
/// Nobody looks at a window that has been quit for longer.
const HIDE_AFTER: Duration = Duration::from_secs(1);

/// The engine, as far as it has come.
#[derive(Clone)]
enum Slot {
    Opening,
    Open(Engine),
    Failed(UiError),
}

/// A handle; clones are the same shell.
#[derive(Clone)]
pub(crate) struct Shell(Arc<Inner>);

struct Inner {
    app: AppHandle,
    options: Options,
    engine: watch::Sender<Slot>,
    settings: SettingsFile,
    seen: Mutex<Seen>,
    start_link: Mutex<StartLink>,
    notifier: Notifier,
    rendering: Rendering,
    updates: Updates,
}

/// What the user sees at the moment.
#[derive(Default)]
struct Seen {
    conversations: Vec<ConversationId>,
    window_focused: bool,
    /// A window that has the focus behind a locked screen is seen by nobody (R3).
    screen_locked: bool,
}

impl Seen {
    fn sees(&self, conversation: ConversationId) -> bool {
        self.window_focused && !self.screen_locked && self.conversations.contains(&conversation)
    }
}

/// A link waits here until the window asks for it; from then on links are sent to the window.
#[derive(Default)]
struct StartLink {
    waiting: Option<Link>,
    window_listens: bool,
}

impl Shell {
    /// The shell of a profile whose engine is still to be opened.
    pub(crate) fn new(app: AppHandle, options: Options) -> Self {
        let profile_dir = options.profile_dir();
        Self(Arc::new(Inner {
            notifier: Notifier::start(app.clone(), &profile_dir),
            settings: SettingsFile::open(&profile_dir),
            engine: watch::Sender::new(Slot::Opening),
            seen: Mutex::default(),
            start_link: Mutex::default(),
            rendering: Rendering::default(),
            updates: Updates::new(&app, &options),
            app,
            options,
        }))
    }

    pub(crate) fn app(&self) -> &AppHandle {
        &self.0.app
    }

    /// The notifications of this profile.
    pub(crate) fn notifier(&self) -> &Notifier {
        &self.0.notifier
    }

    /// What has become of the drawing.
    pub(crate) fn rendering(&self) -> &Rendering {
        &self.0.rendering
    }

    /// What is known of newer versions.
    pub(crate) fn updates(&self) -> &Updates {
        &self.0.updates
    }

    /// The settings as they are.
    pub(crate) fn settings(&self) -> Settings {
        self.0.settings.get()
    }

    /// The engine, once the profile is open.
    pub(crate) async fn engine(&self) -> Result<Engine, UiError> {
        let mut slot = self.0.engine.subscribe();
        let slot = slot.wait_for(|slot| !matches!(slot, Slot::Opening)).await;
        match slot.as_deref() {
            Ok(Slot::Open(engine)) => Ok(engine.clone()),
            Ok(Slot::Failed(error)) => Err(error.clone()),
            Ok(Slot::Opening) | Err(_) => Err(UiError::own("closed", "the app is closing")),
        }
    }

    /// Opens the profile. The window is there already and waits in its first call.
    pub(crate) async fn open_engine(self) {
        let opened = Engine::open(EngineOptions {
            profile: self.0.options.profile.clone(),
            data_dir: self.0.options.data_dir(),
            ca_file: self.0.options.ca_file.clone(),
            app: APP.to_owned(),
            device_name: device_name(),
            secrets: Arc::new(KeyringSecrets::default()),
        })
        .await;
        match opened {
            Ok(engine) => {
                let stream = engine.subscribe();
                self.0.engine.send_replace(Slot::Open(engine.clone()));
                self.0.notifier.reopen(&engine, self.settings().notifications).await;
                events::listen(self, engine, stream).await;
            }
            Err(error) => {
                tracing::error!(code = error.code(), "the profile cannot be opened");
                self.0.engine.send_replace(Slot::Failed(error.into()));
            }
        }
    }

    /// Whether a message in this conversation is before the user's eyes.
    pub(crate) fn sees(&self, conversation: ConversationId) -> bool {
        self.seen().sees(conversation)
    }

    /// Notes whether the window has the focus.
    pub(crate) fn window_focused(&self, focused: bool) {
        self.seen().window_focused = focused;
    }

    /// Hands a link to the window, now or when it asks.
    pub(crate) fn follow(&self, link: Link) {
        let listens = {
            let mut start = self.start_link();
            if !start.window_listens {
                start.waiting = Some(link.clone());
            }
            start.window_listens
        };
        if listens && let Err(error) = self.0.app.emit_to(window::LABEL, events::LINK, link) {
            tracing::warn!(%error, "the window did not hear of a link");
        }
    }

    /// Reads a link from outside; of one that is not valid only the reason is noted, for it may name a person.
    pub(crate) fn follow_text(&self, text: &str) {
        match Link::parse(text) {
            Ok(link) => self.follow(link),
            Err(reason) => {
                tracing::warn!(%reason, "a link was ignored");
            }
        }
    }

    /// Notes whether the screen is locked, and tells the window: nothing behind a locked screen is read. The account is
    /// locked too, if its user wants that while nobody is there.
    pub(crate) async fn screen_locked(&self, is_locked: bool) {
        self.seen().screen_locked = is_locked;
        if let Err(error) = self.0.app.emit_to(window::LABEL, events::SCREEN_LOCKED, is_locked) {
            tracing::warn!(%error, "the window did not hear of the screen");
        }
        if is_locked {
            self.lock_if_wanted().await;
        }
    }

    /// The network is another one, or back.
    #[cfg(target_os = "linux")]
    pub(crate) async fn reconnect(&self) {
        if let Ok(engine) = self.engine().await {
            // Nobody may be signed in.
            let _ = engine.network_changed().await;
        }
    }

    /// Locks the account, if its user wants it locked while nobody is there.
    pub(crate) async fn lock_if_wanted(&self) {
        if self.settings().lock_after_minutes > 0
            && let Ok(engine) = self.engine().await
            && let Err(error) = engine.lock().await
        {
            // What no passphrase keeps stays open.
            tracing::info!(code = error.code(), "nothing was locked");
        }
    }

    /// Ends the app after a part of the engine has failed again and again. What is stored is whole.
    pub(crate) async fn fail(&self) {
        tracing::error!("the engine failed again and again; the app ends");
        self.close_engine().await;
        self.0.app.exit(1);
    }

    /// Ends the engine, then the app.
    pub(crate) async fn end(&self) {
        {
            let mut closing = std::pin::pin!(self.close_engine());
            if tokio::time::timeout(HIDE_AFTER, &mut closing).await.is_err() {
                window::put_away(&self.0.app);
                closing.await;
            }
        }
        self.0.app.exit(0);
    }

    pub(crate) async fn close_engine(&self) {
        let engine = match &*self.0.engine.borrow() {
            Slot::Open(engine) => Some(engine.clone()),
            Slot::Opening | Slot::Failed(_) => None,
        };
        if let Some(engine) = engine
            && tokio::time::timeout(SHUTDOWN_LIMIT, engine.shutdown()).await.is_err()
        {
            tracing::warn!("the engine did not end in time");
        }
    }

    /// Opens the profile again after [`close_engine`](Self::close_engine).
    pub(crate) fn reopen_engine(&self) {
        self.0.engine.send_replace(Slot::Opening);
        tauri::async_runtime::spawn(self.clone().open_engine());
    }

    /// How many unsent items quitting would lose: those of a database that lasts until then.
    async fn would_lose(&self) -> Option<u32> {
        let engine = match &*self.0.engine.borrow() {
            Slot::Open(engine) => engine.clone(),
            Slot::Opening | Slot::Failed(_) => return None,
        };
        lost_by_quitting(&engine.sign_out_preview().await.ok()?)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start_link(&self) -> MutexGuard<'_, StartLink> {
        self.0.start_link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the window calls; the rows of the commands' table.
impl Shell {
    pub(crate) async fn set_focus(&self, conversations: Vec<ConversationId>) -> Result<(), UiError> {
        self.seen().conversations.clone_from(&conversations);
        Ok(self.engine().await?.set_focus(conversations).await?)
    }

    pub(crate) async fn mark_read(&self, conversation: ConversationId, up_to: Seq) -> Result<(), UiError> {
        // The window hears of a lock a moment after the shell.
        if self.seen().screen_locked {
            return Err(UiError::own("screen_locked", "nobody sees a window behind a locked screen"));
        }
        Ok(self.engine().await?.mark_read(conversation, up_to).await?)
    }

    /// Signs out. With `wipe` what the window itself has stored goes too, with the window.
    pub(crate) async fn sign_out(&self, wipe: bool) -> Result<(), UiError> {
        let signed_out = self.engine().await?.sign_out(wipe).await;
        if wipe {
            window::forget(&self.0.app, &self.0.options.profile_dir());
        }
        Ok(signed_out?)
    }

    pub(crate) async fn open_link(&self, url: String) -> Result<(), UiError> {
        external::open(&url).await
    }

    pub(crate) async fn get_settings(&self) -> Settings {
        self.settings()
    }

    pub(crate) async fn set_settings(&self, settings: Settings) -> Result<(), UiError> {
        self.0.settings.set(settings).map_err(|error| UiError::own("file_failed", error))?;
        window::set_theme(&self.0.app, settings.theme);
        if settings.notifications == NotificationMode::Off {
            self.0.notifier.withdraw_all();
        }
        Ok(())
    }

    pub(crate) async fn set_notifications(&self, mode: NotificationMode) -> Result<(), UiError> {
        self.set_settings(Settings { notifications: mode, ..self.settings() }).await
    }

    pub(crate) async fn take_start_link(&self) -> Option<Link> {
        let mut start = self.start_link();
        start.window_listens = true;
        start.waiting.take()
    }

    pub(crate) async fn painted(&self, what: Painted) -> bool {
        self.rendering().painted(what)
    }

    pub(crate) async fn suggested_server(&self) -> Option<String> {
        self.0.options.server.clone()
    }

    pub(crate) async fn open_again(&self) -> Result<(), UiError> {
        let failed = self.0.engine.send_if_modified(|slot| {
            let failed = matches!(slot, Slot::Failed(_));
            if failed {
                *slot = Slot::Opening;
            }
            failed
        });
        if failed {
            tauri::async_runtime::spawn(self.clone().open_engine());
        }
        self.engine().await.map(drop)
    }

    pub(crate) async fn quit(&self, force: bool) -> Result<(), UiError> {
        if !force && let Some(unsent) = self.would_lose().await {
            window::show(&self.0.app);
            let asked = self.0.app.emit_to(window::LABEL, events::QUIT_ASKED, QuitAsked { unsent });
            return asked.map_err(|error| UiError::own("closed", error));
        }
        self.end().await;
        Ok(())
    }

    pub(crate) async fn app_version(&self) -> String {
        env!("CARGO_PKG_VERSION").to_owned()
    }
}

/// How many items end with the process: those of a session that is kept nowhere.
fn lost_by_quitting(preview: &SignOutPreview) -> Option<u32> {
    Some(preview.unsent).filter(|unsent| preview.is_temporary && *unsent > 0)
}

/// What the server and the device list call this app.
pub(crate) const APP: &str = concat!("kith/", env!("CARGO_PKG_VERSION"));

/// This computer's name, for the device list.
pub(crate) fn device_name() -> String {
    let name = gethostname::gethostname().to_string_lossy().trim().to_owned();
    let system = match std::env::consts::OS {
        "linux" => "Linux",
        "macos" => "macOS",
        "windows" => "Windows",
        other => other,
    };
    let named = format!("{} ({system})", name.chars().take(40).collect::<String>());
    let is_fit = !name.is_empty() && check_name(&named, limits::DEVICE_NAME_CHARS_MAX).is_ok();
    if is_fit { named } else { system.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r3_a_message_behind_a_locked_screen_is_not_seen() {
        let chat = ConversationId::mint();
        let seen = |window_focused, screen_locked| {
            Seen { conversations: vec![chat], window_focused, screen_locked }.sees(chat)
        };
        assert!(seen(true, false));
        assert!(!seen(true, true) && !seen(false, false) && !seen(false, true));
        let elsewhere = Seen { conversations: vec![], window_focused: true, screen_locked: false };
        assert!(!elsewhere.sees(chat));
    }

    #[test]
    fn quitting_asks_only_when_something_unsent_would_be_lost() {
        let lost =
            |unsent, is_temporary| lost_by_quitting(&SignOutPreview { unsent, messages: 10, is_temporary });
        assert_eq!(lost(2, true), Some(2));
        assert_eq!(lost(0, true), None);
        assert_eq!(lost(2, false), None);
    }
}

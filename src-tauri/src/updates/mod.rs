//! Newer versions of the app: asked for once a day, installed only when the user says so.
//!
//! What is fetched is untrusted until it has been checked: over HTTPS only, bounded in size, signed with the key in
//! `tauri.conf.json` **for exactly the announced version and for Kith**, and newer than what runs. An older release that
//! is announced under a new number, or another product's, is refused though its signature is good. Whatever fails, the
//! running version goes on and says why.

mod fetch;
mod install;

use crate::{error::UiError, options::Options, restart, shell::Shell, window};
use fetch::{Fetched, fetch};
use install::Place;
use kith_protocol::TimestampMs;
use serde::Serialize;
use std::{
    path::PathBuf,
    process::{Command, ExitCode},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tauri::{AppHandle, Emitter as _};
use tauri_plugin_updater::{Update, UpdaterExt as _};
use url::Url;

/// The window hears what is known of newer versions.
pub(crate) const CHANGED: &str = "update";

/// A start is busy enough without it.
const FIRST_LOOK: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_secs(24 * 3_600);
/// The largest manifest, bytes.
const MANIFEST_MAX: u64 = 64 * 1024;
/// The largest package, bytes.
const PACKAGE_MAX: u64 = 400 * 1024 * 1024;
/// What is shown of a release's notes, characters.
const NOTES_MAX: usize = 2_000;
/// Loading is told after so many more bytes.
const TOLD_EVERY: u64 = 512 * 1024;

/// What is known of newer versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(tag = "state", rename_all = "snake_case")]
pub(crate) enum UpdateView {
    /// Nobody is asked: this copy has no address to ask, or is no package that could be replaced.
    Off,
    /// Nothing newer was there when it was asked last; `null` if that was not since the start.
    Current {
        /// When it was asked last.
        looked_at: Option<TimestampMs>,
    },
    Looking,
    /// A newer version is there.
    Available {
        version: String,
        /// What is new, plain text of at most 2,000 characters.
        notes: String,
    },
    /// It is being fetched.
    Loading {
        version: String,
        #[cfg_attr(test, ts(type = "number"))]
        done: u64,
        /// Bytes in all, if the server says so.
        #[cfg_attr(test, ts(type = "number | null"))]
        total: Option<u64>,
    },
    /// It is being put in the place of this one; the system may ask for a password.
    Installing {
        version: String,
    },
    /// It did not work, and nothing has changed.
    Failed {
        /// Why: an `update_*` code.
        code: String,
        /// The version that it was about, if that was known.
        version: Option<String>,
    },
}

/// Why a newer version is not had.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the server of updates cannot be reached")]
    Unreachable,
    #[error("the certificate of the server of updates cannot be trusted")]
    BadCertificate,
    #[error("only https: addresses are asked for updates")]
    Insecure,
    #[error("the answer is larger than {0} bytes")]
    TooLarge(u64),
    #[error("the manifest cannot be read, or has no package for this system")]
    BadManifest,
    #[error("the package is not one that Kith's key has signed for this version")]
    Untrusted,
    #[error("the system did not allow the installation")]
    NotAllowed,
    #[error("the package could not be put in its place")]
    NotInstalled,
    #[error("the settings of updates cannot be used")]
    BadSettings,
}

impl Failure {
    fn code(&self) -> &'static str {
        match self {
            Self::Unreachable => "update_unreachable",
            Self::BadCertificate => "update_bad_certificate",
            Self::Insecure => "update_insecure",
            Self::TooLarge(_) => "update_too_large",
            Self::BadManifest => "update_bad_manifest",
            Self::Untrusted => "update_untrusted",
            Self::NotAllowed => "update_not_allowed",
            Self::NotInstalled => "update_not_installed",
            Self::BadSettings => "update_bad_settings",
        }
    }
}

/// Where to ask, and whom to believe.
struct Source {
    url: Url,
    /// In the form of the configuration; `None` for the key there.
    key: Option<String>,
    ca_file: Option<PathBuf>,
}

/// What the shell keeps of updates.
pub(crate) struct Updates {
    view: Mutex<UpdateView>,
    source: Option<Source>,
    place: Option<Place>,
    /// Held by whoever looks or installs; a newer version that was found.
    found: tokio::sync::Mutex<Option<Update>>,
    /// The program as it was started: its file may be another one later.
    program: Option<PathBuf>,
    restarts: AtomicBool,
}

impl Updates {
    /// Reads where to ask from the command line or the configuration.
    pub(crate) fn new(app: &AppHandle, options: &Options) -> Self {
        let place = Place::of_this_copy();
        let source = source(app, options);
        let program = place.as_ref().and_then(Place::program).or_else(|| std::env::current_exe().ok());
        let is_on = source.is_some() && place.is_some();
        let view = if is_on { UpdateView::Current { looked_at: None } } else { UpdateView::Off };
        Self {
            view: Mutex::new(view),
            source,
            place,
            found: tokio::sync::Mutex::default(),
            program,
            restarts: AtomicBool::default(),
        }
    }

    pub(crate) fn view(&self) -> UpdateView {
        self.view.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn show(&self, app: &AppHandle, view: UpdateView) {
        self.view.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&view);
        if let Err(error) = app.emit_to(window::LABEL, CHANGED, view) {
            tracing::warn!(%error, "the window did not hear of an update");
        }
    }

    /// Asks for a newer version, unless that is being done. A failure is shown only to somebody who waits for it.
    async fn look(&self, app: &AppHandle, is_asked: bool) {
        let (Some(source), Some(place)) = (&self.source, &self.place) else { return };
        let Ok(mut found) = self.found.try_lock() else { return };
        let before = self.view();
        if is_asked {
            self.show(app, UpdateView::Looking);
        }
        let looked = manifest(app, source, place).await;
        let view = match &looked {
            Ok(Some(update)) => available(update),
            Ok(None) => UpdateView::Current { looked_at: Some(now()) },
            Err(error) if is_asked => failed(error, None),
            Err(_) => before,
        };
        match looked {
            Ok(update) => *found = update,
            Err(error) => tracing::warn!(code = error.code(), %error, "no newer version could be asked for"),
        }
        self.show(app, view);
    }

    /// Fetches, checks and installs what was found; on success the app is to start again.
    async fn install(&self, shell: &Shell) -> bool {
        let app = shell.app();
        let (Some(source), Some(place)) = (&self.source, &self.place) else { return false };
        let Ok(mut found) = self.found.try_lock() else { return false };
        let Some(update) = found.take() else { return false };
        match self.installed(shell, source, place, &update).await {
            Ok(()) => {
                self.restarts.store(true, Ordering::Relaxed);
                true
            }
            Err(error) => {
                tracing::warn!(code = error.code(), %error, "an update was not installed");
                self.show(app, failed(&error, Some(update.version)));
                false
            }
        }
    }

    async fn installed(
        &self,
        shell: &Shell,
        source: &Source,
        place: &Place,
        update: &Update,
    ) -> Result<(), Failure> {
        let app = shell.app();
        let version = || update.version.clone();
        self.show(app, UpdateView::Loading { version: version(), done: 0, total: None });
        let mut told = 0;
        let Fetched { body: package, .. } =
            fetch(&source.client()?, &update.download_url, PACKAGE_MAX, |done, total| {
                if done >= told + TOLD_EVERY {
                    told = done;
                    self.show(app, UpdateView::Loading { version: version(), done, total });
                }
            })
            .await?;
        self.show(app, UpdateView::Installing { version: version() });
        install::check(update, &package)?;
        if !cfg!(windows) {
            return place.install(update.clone(), package).await;
        }
        // There the installer ends this process.
        shell.close_engine().await;
        let installed = place.install(update.clone(), package).await;
        shell.reopen_engine();
        installed
    }
}

impl Source {
    fn client(&self) -> Result<reqwest::Client, Failure> {
        let builder = kith_client::https_client(self.ca_file.as_deref()).map_err(|_| Failure::BadSettings)?;
        builder
            .user_agent(crate::shell::APP)
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(Duration::from_secs(30))
            .build()
            .map_err(|_| Failure::BadSettings)
    }
}

/// The command line's, else the configuration's; a build without either asks nobody.
fn source(app: &AppHandle, options: &Options) -> Option<Source> {
    let configured = || {
        let settings = app.config().plugins.0.get("updater")?;
        settings.get("endpoints")?.get(0)?.as_str()?.parse().ok()
    };
    let url = options.update_url.clone().or_else(configured)?;
    let key = options.update_key_file.as_deref().map(|path| {
        // One that cannot be read is no key: then nothing is believed.
        std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
    });
    Some(Source { url, key, ca_file: options.ca_file.clone() })
}

/// Asks for the manifest. Returns the update that it announces, if that is newer.
async fn manifest(app: &AppHandle, source: &Source, place: &Place) -> Result<Option<Update>, Failure> {
    if source.url.scheme() != "https" {
        return Err(Failure::Insecure);
    }
    let Fetched { body, is_empty } = fetch(&source.client()?, &source.url, MANIFEST_MAX, |_, _| {}).await?;
    if is_empty {
        return Ok(None);
    }
    let manifest = serde_json::from_slice(&body).map_err(|_| Failure::BadManifest)?;
    let bad_settings = |_| Failure::BadSettings;
    let mut updater = app
        .updater_builder()
        .endpoints(vec![source.url.clone()])
        .map_err(bad_settings)?
        .target(place.target());
    if let Some(key) = &source.key {
        updater = updater.pubkey(key);
    }
    let updater = updater.build().map_err(bad_settings)?;
    // Unlike a check by the plugin itself this wants a signature that names the version, whatever is configured.
    let update = updater.restore_update(manifest).map_err(|_| Failure::BadManifest)?;
    match update {
        Some(update) if update.download_url.scheme() != "https" => Err(Failure::Insecure),
        update => Ok(update),
    }
}

fn now() -> TimestampMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    TimestampMs(u64::try_from(since.as_millis()).unwrap_or_default())
}

fn available(update: &Update) -> UpdateView {
    let notes = update.body.as_deref().unwrap_or_default().trim();
    UpdateView::Available { version: update.version.clone(), notes: notes.chars().take(NOTES_MAX).collect() }
}

fn failed(error: &Failure, version: Option<String>) -> UpdateView {
    UpdateView::Failed { code: error.code().to_owned(), version }
}

/// Looks by itself, as long as the settings allow it.
pub(crate) async fn watch(shell: Shell) {
    let mut wait = FIRST_LOOK;
    while shell.updates().view() != UpdateView::Off {
        tokio::time::sleep(wait).await;
        wait = LOOK_EVERY;
        if shell.settings().look_for_updates {
            shell.updates().look(shell.app(), false).await;
        }
    }
}

/// After the app has ended: the version that was put in its place, if it ended for that.
pub(crate) fn end(shell: &Shell) -> Option<ExitCode> {
    let updates = shell.updates();
    let program = updates.program.as_ref().filter(|_| updates.restarts.load(Ordering::Relaxed))?;
    let mut command = Command::new(program);
    command.args(std::env::args_os().skip(1).filter(|argument| is_kept(&argument.to_string_lossy())));
    Some(restart::become_program(command))
}

/// Whether an argument also fits the start after an update: the window is wanted, and a link was followed already.
fn is_kept(argument: &str) -> bool {
    argument != "--hidden" && !argument.starts_with("kith:")
}

/// What the window calls; rows of the commands' table.
impl Shell {
    pub(crate) async fn update(&self) -> UpdateView {
        self.updates().view()
    }

    pub(crate) async fn look_for_update(&self) -> UpdateView {
        self.updates().look(self.app(), true).await;
        self.updates().view()
    }

    pub(crate) async fn install_update(&self) -> Result<(), UiError> {
        if self.updates().install(self).await {
            self.end().await;
        }
        Ok(())
    }
}

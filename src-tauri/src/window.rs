//! The one window: built here, so that it can neither go elsewhere nor open another.

use crate::{desktop, options::Options, settings::Theme, shell::Shell};
use std::{
    fs, io,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use tauri::{
    AppHandle, Manager as _, Url, WebviewUrl, WebviewWindow, WebviewWindowBuilder, WindowEvent,
    webview::NewWindowResponse,
};

/// The window's label, to which the capability is bound.
pub(crate) const LABEL: &str = "main";
/// What the web view stores, in the profile's folder.
const DATA: &str = "window";
/// While this file is beside it, the web view's data are to go.
const FORGET: &str = "window.forget";
/// How often a hidden window makes sure that a tray can still bring it back.
const TRAY_CHECK: Duration = Duration::from_secs(5);

/// Builds the window. It shows the interface at once; the engine opens meanwhile.
pub(crate) fn build(app: &AppHandle, shell: &Shell, options: &Options) -> tauri::Result<WebviewWindow> {
    sweep(&options.profile_dir());
    let window = WebviewWindowBuilder::new(app, LABEL, WebviewUrl::App("index.html".into()))
        .title("Kith")
        .inner_size(1_120.0, 760.0)
        .min_inner_size(380.0, 480.0)
        .visible(!options.hidden)
        .theme(as_tauri(shell.settings().theme))
        .data_directory(options.profile_dir().join(DATA))
        .on_navigation(is_own)
        .on_new_window(|_, _| NewWindowResponse::Deny)
        .build()?;
    let events = shell.clone();
    window.on_window_event(move |event| match event {
        WindowEvent::Focused(focused) => events.window_focused(*focused),
        WindowEvent::CloseRequested { api, .. } => {
            api.prevent_close();
            tauri::async_runtime::spawn(close(events.clone()));
        }
        _ => {}
    });
    if options.hidden {
        tauri::async_runtime::spawn(start_hidden(app.clone()));
    }
    Ok(window)
}

/// The interface's own pages: of the app, or of the development server in a build for it.
fn is_own(url: &Url) -> bool {
    let dev = tauri::is_dev()
        && url.scheme() == "http"
        && url.host_str() == Some("localhost")
        && url.port() == Some(1420);
    dev || is_app(url, cfg!(windows))
}

/// `tauri://localhost`, or `http(s)://tauri.localhost` where WebView2 wants a web address (`on_web`); no host that looks
/// like it, and nobody before it.
fn is_app(url: &Url, on_web: bool) -> bool {
    let host = match url.scheme() {
        "tauri" => "localhost",
        "http" | "https" if on_web => "tauri.localhost",
        _ => return false,
    };
    url.host_str() == Some(host)
        && url.port().is_none()
        && url.username().is_empty()
        && url.password().is_none()
}

/// Closing hides the window where a tray can bring it back, and quits elsewhere: there is never an invisible process.
async fn close(shell: Shell) {
    if shell.settings().close_to_tray && desktop::has_tray().await {
        hide(shell.app()).await;
    } else if let Err(error) = shell.quit(false).await {
        tracing::warn!(code = error.code, "quitting could not ask");
    }
}

async fn start_hidden(app: AppHandle) {
    if desktop::has_tray().await {
        hide(&app).await;
    } else if let Some(window) = app.get_webview_window(LABEL) {
        let _ = window.minimize();
        let _ = window.show();
    }
}

/// Hides the window, and shows it again if the tray goes away.
async fn hide(app: &AppHandle) {
    static WATCHED: AtomicBool = AtomicBool::new(false);
    let Some(window) = app.get_webview_window(LABEL) else { return };
    let _ = window.hide();
    if WATCHED.swap(true, Ordering::Relaxed) {
        return;
    }
    while !window.is_visible().unwrap_or(true) {
        tokio::time::sleep(TRAY_CHECK).await;
        if !desktop::has_tray().await {
            show(app);
            break;
        }
    }
    WATCHED.store(false, Ordering::Relaxed);
}

/// Has the web view forget what it has stored. Its folder is in use as long as the window is there, so it is removed when
/// the app has ended, or before the next window.
pub(crate) fn forget(app: &AppHandle, profile_dir: &Path) {
    if let Err(error) = fs::write(profile_dir.join(FORGET), "") {
        tracing::warn!(%error, "the window's data will not be removed");
    }
    if let Some(Err(error)) = app.get_webview_window(LABEL).map(|window| window.clear_all_browsing_data()) {
        tracing::warn!(%error, "the window's data were not cleared");
    }
}

/// Removes the web view's data if they are to go. No window may be open.
pub(crate) fn sweep(profile_dir: &Path) {
    let mark = profile_dir.join(FORGET);
    if !mark.exists() {
        return;
    }
    let removed = match fs::remove_dir_all(profile_dir.join(DATA)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        // The mark goes last: what was not removed is removed at the next start.
        _ => fs::remove_file(mark),
    };
    if let Err(error) = removed {
        tracing::warn!(%error, "the window's data were not removed");
    }
}

/// Hides the window of an app that is ending.
pub(crate) fn put_away(app: &AppHandle) {
    if let Some(window) = app.get_webview_window(LABEL) {
        let _ = window.hide();
    }
}

/// Brings the window before the user.
pub(crate) fn show(app: &AppHandle) {
    if let Some(window) = app.get_webview_window(LABEL) {
        // Each of these may be refused by a window manager; none is worth more than trying.
        let _ = window.show();
        let _ = window.unminimize();
        let _ = window.set_focus();
    }
}

/// Whether the window can be seen.
pub(crate) fn is_shown(app: &AppHandle) -> bool {
    app.get_webview_window(LABEL)
        .is_some_and(|window| window.is_visible().unwrap_or(false) && !window.is_minimized().unwrap_or(false))
}

pub(crate) fn set_title(app: &AppHandle, title: &str) {
    if let Some(window) = app.get_webview_window(LABEL) {
        let _ = window.set_title(title);
    }
}

/// Sets light, dark or the system's choice.
pub(crate) fn set_theme(app: &AppHandle, theme: Theme) {
    if let Some(window) = app.get_webview_window(LABEL) {
        let _ = window.set_theme(as_tauri(theme));
    }
}

fn as_tauri(theme: Theme) -> Option<tauri::Theme> {
    match theme {
        Theme::System => None,
        Theme::Light => Some(tauri::Theme::Light),
        Theme::Dark => Some(tauri::Theme::Dark),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_app_at(text: &str, on_web: bool) -> bool {
        is_app(&Url::parse(text).unwrap(), on_web)
    }

    #[test]
    fn sec_052_only_the_apps_own_pages_are_shown() {
        assert!(is_app_at("tauri://localhost/index.html", false));
        assert!(is_app_at("http://tauri.localhost/index.html", true));
        assert!(is_app_at("https://tauri.localhost/", true));
        for elsewhere in [
            "https://example.org",
            "http://tauri.evil.example",
            "http://app.attacker.example",
            "http://tauri.localhost.evil.example/",
            "http://evil.example/tauri.localhost",
            "http://tauri.localhost@evil.example/",
            "http://x@tauri.localhost/",
            "http://tauri.localhost:8080/",
            "http://tauri.localhost./",
            "http://xtauri.localhost/",
            "http://x.tauri.localhost/",
            "http://ipc.localhost/",
            "tauri://evil/",
            "tauri://localhost.evil.example/",
            "tauri://x@localhost/",
            "tauri://localhost:1/",
            "ipc://localhost/",
            "asset://localhost/etc/passwd",
            "file:///etc/passwd",
            "javascript:alert(1)",
            "data:text/html,x",
            "blob:https://evil.example/x",
            "view-source:tauri://localhost/",
            "http://localhost:1420/",
            "http://localhost:1421/",
            "http://localhost:1420.evil.example/",
            "about:blank",
            "about:srcdoc",
        ] {
            for on_web in [false, true] {
                // Not all of these are addresses, and what is none is nowhere.
                let Ok(url) = Url::parse(elsewhere) else { continue };
                assert!(!is_app(&url, on_web), "{elsewhere}");
            }
        }
        assert!(!is_app_at("http://tauri.localhost/", false), "only where the app is shown so");
    }

    #[test]
    fn sec_022_a_wipe_takes_the_web_views_data_once_and_a_plain_end_leaves_them() {
        let profile = tempfile::tempdir().unwrap();
        let data = profile.path().join(DATA);
        let stored = || {
            fs::create_dir_all(data.join("storage")).unwrap();
            fs::write(data.join("storage/cookies"), "x").unwrap();
        };
        stored();
        sweep(profile.path());
        assert!(data.exists());
        fs::write(profile.path().join(FORGET), "").unwrap();
        sweep(profile.path());
        assert_eq!(fs::read_dir(profile.path()).unwrap().count(), 0, "data and mark are gone");
        // Whoever signs in next keeps what the window stores then.
        stored();
        sweep(profile.path());
        assert!(data.exists());
        // Nothing to remove is no failure.
        fs::remove_dir_all(&data).unwrap();
        fs::write(profile.path().join(FORGET), "").unwrap();
        sweep(profile.path());
        assert_eq!(fs::read_dir(profile.path()).unwrap().count(), 0);
    }

    #[test]
    fn sec_059_a_build_that_ships_knows_no_development_server() {
        if !tauri::is_dev() {
            assert!(!is_own(&Url::parse("http://localhost:1420/").unwrap()));
        }
        assert!(is_own(&Url::parse("tauri://localhost/").unwrap()));
    }
}

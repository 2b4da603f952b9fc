//! The one window: built here, so that it can neither go elsewhere nor open another.

use crate::{desktop, options::Options, settings::Theme, shell::Shell};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use tauri::{
    AppHandle, Manager as _, Url, WebviewUrl, WebviewWindow, WebviewWindowBuilder, WindowEvent,
    webview::NewWindowResponse,
};

/// The window's label, to which the capability is bound.
pub(crate) const LABEL: &str = "main";
/// How often a hidden window makes sure that a tray can still bring it back.
const TRAY_CHECK: Duration = Duration::from_secs(5);

/// Builds the window. It shows the interface at once; the engine opens meanwhile.
pub(crate) fn build(app: &AppHandle, shell: &Shell, options: &Options) -> tauri::Result<WebviewWindow> {
    let window = WebviewWindowBuilder::new(app, LABEL, WebviewUrl::App("index.html".into()))
        .title("Kith")
        .inner_size(1_120.0, 760.0)
        .min_inner_size(380.0, 480.0)
        .visible(!options.hidden)
        .theme(as_tauri(shell.settings().theme))
        .data_directory(options.profile_dir().join("window"))
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
    dev || is_app(url)
}

/// `tauri://localhost`, or `http(s)://tauri.localhost` where WebView2 wants a web address; no host that looks like it.
fn is_app(url: &Url) -> bool {
    match url.scheme() {
        "tauri" => url.host_str() == Some("localhost"),
        "http" | "https" if cfg!(windows) => {
            url.host_str() == Some("tauri.localhost") && url.port().is_none()
        }
        _ => false,
    }
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

/// Sets the title.
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

    #[test]
    fn the_configuration_allows_nothing_from_elsewhere() {
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        let app = &read(include_str!("../tauri.conf.json"))["app"];
        assert_eq!(app["withGlobalTauri"], false);
        assert_eq!(app["security"]["freezePrototype"], true);
        let policy = app["security"]["csp"].as_str().unwrap();
        let rules: Vec<&str> = policy.split("; ").collect();
        for rule in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "object-src 'none'",
            "base-uri 'none'",
        ] {
            assert!(rules.contains(&rule), "{rule}");
        }
        assert!(
            !policy.contains("unsafe") && !policy.contains('*') && !policy.contains("https:"),
            "{policy}"
        );

        let capability = read(include_str!("../capabilities/main.json"));
        assert!(capability.get("remote").is_none());
        let permissions = capability["permissions"].as_array().unwrap();
        let own = |name: &str| name.starts_with("allow-") || name.starts_with("core:event:allow-");
        assert!(permissions.iter().all(|name| name.as_str().is_some_and(own)), "{permissions:?}");
    }

    #[test]
    fn only_the_apps_own_pages_are_shown() {
        assert!(is_app(&Url::parse("tauri://localhost/index.html").unwrap()));
        for elsewhere in [
            "https://example.org",
            "http://tauri.evil.example",
            "http://app.attacker.example",
            "tauri://evil/",
            "file:///etc/passwd",
            "javascript:alert(1)",
            "data:text/html,x",
            "http://localhost:1421/",
            "about:blank",
        ] {
            assert!(!is_app(&Url::parse(elsewhere).unwrap()), "{elsewhere}");
        }
    }
}

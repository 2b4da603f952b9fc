//! Kith for the desktop: a window, a tray icon and notifications around the engine.
//!
//! This crate decides nothing about messages. Commands are one line each ([`commands`]); the engine's notices go to the
//! window in order ([`events`]); what comes from outside (links, arguments, clicks) is checked here and handed on as a
//! value. Neither token nor key ever passes through it.

#[cfg(test)]
mod bindings;
#[cfg(test)]
mod boundary;
mod commands;
mod desktop;
mod error;
mod events;
mod external;
mod link;
mod notifications;
mod options;
mod rendering;
mod restart;
mod settings;
mod shell;
mod sign_in;
mod sleep;
mod text;
mod tray;
mod updates;
mod window;

use options::{Command, Options};
use shell::Shell;
use std::process::ExitCode;
use tauri::{AppHandle, Manager as _, RunEvent, Wry, plugin::TauriPlugin};
use tauri_plugin_window_state::StateFlags;
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

pub fn main() -> ExitCode {
    let filter = log_filter(std::env::var("KITH_LOG").ok());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let options = Options::read(std::env::args_os()).unwrap_or_else(|refused| refused.exit());
    match &options.command {
        Some(Command::SignIn { username, .. }) => sign_in::run(&options, username),
        None => run(options),
    }
}

/// What is logged. Only Kith's own crates can be made to say more: others log requests with their tokens and frames
/// with their texts.
fn log_filter(wanted: Option<String>) -> EnvFilter {
    const OTHERS: &str = "warn";
    let level = |directive: &str| {
        let plain = directive.parse::<LevelFilter>().ok()?;
        Some(format!("kith_client={plain},kith_desktop={plain},kith_protocol={plain}"))
    };
    let wanted = wanted.unwrap_or_default();
    let own =
        wanted.split(',').map(str::trim).filter(|directive| !directive.is_empty()).filter_map(|directive| {
            if directive.starts_with("kith_") { Some(directive.to_owned()) } else { level(directive) }
        });
    let all: Vec<_> = std::iter::once(OTHERS.to_owned()).chain(own).collect();
    EnvFilter::try_new(all.join(",")).unwrap_or_else(|_| EnvFilter::new(OTHERS))
}

fn run(options: Options) -> ExitCode {
    rendering::begin(options.safe_rendering);
    let profile_dir = options.profile_dir();
    let mut context = tauri::generate_context!();
    name_instance(context.config_mut(), &options);
    let app = tauri::Builder::default()
        // First: a second start hands its arguments over and ends before anything else is touched.
        .plugin(single_instance(&options))
        .plugin(tauri_plugin_deep_link::init())
        .plugin(window_state(&options))
        // Its commands are not for the window, which has those of `updates`.
        .plugin(tauri_plugin_updater::Builder::new().build())
        .invoke_handler(commands::handler())
        .setup(move |app| Ok(set_up(app.handle(), options)?))
        .build(context);
    match app {
        Ok(app) => {
            let handle = app.handle().clone();
            let code = ExitCode::from(u8::try_from(app.run_return(on_run_event)).unwrap_or(1));
            window::sweep(&profile_dir);
            let again = |shell: &Shell| rendering::end(shell).or_else(|| updates::end(shell));
            handle.try_state::<Shell>().and_then(|shell| again(&shell)).unwrap_or(code)
        }
        Err(error) => {
            eprintln!("Kith cannot start: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Elsewhere than on Linux an instance is found by the app's identifier, so each profile has one of its own.
fn name_instance(config: &mut tauri::Config, options: &Options) {
    if !cfg!(target_os = "linux") {
        config.identifier = options.instance();
    }
}

fn single_instance(options: &Options) -> TauriPlugin<Wry> {
    tauri_plugin_single_instance::Builder::new()
        .dbus_id(options.instance())
        .callback(|app, arguments, _| {
            window::show(app);
            let Ok(started) = Options::read(arguments) else { return };
            if let (Some(link), Some(shell)) = (started.link, app.try_state::<Shell>()) {
                shell.follow_text(&link);
            }
        })
        .build()
}

fn window_state(options: &Options) -> TauriPlugin<Wry> {
    // An absolute name replaces the app-wide folder: each profile remembers its own window.
    let file = options.profile_dir().join("window.json");
    tauri_plugin_window_state::Builder::new()
        .with_filename(file.to_string_lossy())
        .with_state_flags(StateFlags::SIZE | StateFlags::POSITION | StateFlags::MAXIMIZED)
        .build()
}

fn set_up(app: &AppHandle, options: Options) -> tauri::Result<()> {
    let shell = Shell::new(app.clone(), options.clone());
    app.manage(shell.clone());
    if let Some(link) = &options.link {
        shell.follow_text(link);
    }
    window::build(app, &shell, &options)?;
    tray::build(app)?;
    hear_links(app, &shell);
    tauri::async_runtime::spawn(shell.clone().open_engine());
    tauri::async_runtime::spawn(rendering::watch(shell.clone(), options.safe_rendering));
    tauri::async_runtime::spawn(updates::watch(shell.clone()));
    tauri::async_runtime::spawn(sleep::watch(shell.clone()));
    tauri::async_runtime::spawn(end_on_signal(shell));
    Ok(())
}

/// Where the system hands links over as events rather than as arguments.
#[cfg(target_os = "macos")]
fn hear_links(app: &AppHandle, shell: &Shell) {
    use tauri_plugin_deep_link::DeepLinkExt as _;
    let (app, shell) = (app.clone(), shell.clone());
    app.clone().deep_link().on_open_url(move |event| {
        window::show(&app);
        event.urls().iter().for_each(|url| shell.follow_text(url.as_str()));
    });
}

#[cfg(not(target_os = "macos"))]
fn hear_links(_: &AppHandle, _: &Shell) {}

/// The end of the session, or Ctrl-C: nothing is asked, everything is closed properly.
#[cfg(unix)]
async fn end_on_signal(shell: Shell) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut end), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return;
    };
    tokio::select! {
        _ = end.recv() => {}
        _ = interrupt.recv() => {}
    }
    shell.end().await;
}

#[cfg(not(unix))]
async fn end_on_signal(shell: Shell) {
    if tokio::signal::ctrl_c().await.is_ok() {
        shell.end().await;
    }
}

fn on_run_event(app: &AppHandle, event: RunEvent) {
    match event {
        // Without a code it is the system or the last window that wants the end, not `Shell::end`.
        RunEvent::ExitRequested { code: None, api, .. } => {
            api.prevent_exit();
            let shell = app.state::<Shell>().inner().clone();
            tauri::async_runtime::spawn(async move { shell.quit(false).await });
        }
        #[cfg(target_os = "macos")]
        RunEvent::Reopen { .. } => window::show(app),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::{Level, enabled, subscriber::with_default};

    #[test]
    fn no_log_level_makes_others_log_tokens_and_texts() {
        for wanted in ["trace", "debug,tungstenite=trace", "kith_client=trace,tungstenite::protocol=trace"] {
            let filter = log_filter(Some(wanted.to_owned()));
            let subscriber = tracing_subscriber::fmt().with_env_filter(filter).finish();
            with_default(subscriber, || {
                assert!(enabled!(target: "kith_client::driver", Level::DEBUG), "{wanted}");
                assert!(!enabled!(target: "tungstenite::protocol", Level::INFO), "{wanted}");
                assert!(!enabled!(target: "tungstenite::handshake::client", Level::TRACE), "{wanted}");
            });
        }
    }

    #[test]
    fn a_filter_that_cannot_be_read_leaves_the_warnings() {
        assert_eq!(log_filter(Some("kith_client=loud".to_owned())).to_string(), "warn");
        assert_eq!(log_filter(None).to_string(), "warn");
    }
}

//! From the engine to the window, the title, the tray and the notifications.

use crate::{
    notifications::{self, Announcement},
    settings::NotificationMode,
    shell::Shell,
    tray, window,
};
use kith_client::{
    Engine, EngineEvent, EventStream,
    events::Problem,
    view::{AppState, UNKNOWN_NAME},
};
use kith_protocol::UserId;
use serde::Serialize;
use std::time::Duration;
use tauri::Emitter as _;
use tokio::time::{Instant, timeout, timeout_at};

/// The window hears a list of the engine's notices, in their order.
pub(crate) const ENGINE: &str = "engine";
/// The window hears of a link to follow.
pub(crate) const LINK: &str = "link";
/// The window is to ask whether to quit although something would be lost.
pub(crate) const QUIT_ASKED: &str = "quit_asked";

/// The window hears whether the screen is locked: nothing behind a locked one is read.
pub(crate) const SCREEN_LOCKED: &str = "screen_locked";

/// Bursts are gathered so that the window hears at most this often.
const GATHER: Duration = Duration::from_millis(50);
/// After a pause the first notice waits only this long for those that belong to it.
const GATHER_FIRST: Duration = Duration::from_millis(5);
/// No announcement waits longer for its sender's name.
const NAME_LIMIT: Duration = Duration::from_secs(3);
/// A longer burst is handed over in parts.
const BURST_MAX: usize = 256;

/// Quitting would lose something.
#[derive(Debug, Clone, Copy, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub(crate) struct QuitAsked {
    /// Items that have not reached the server and cannot be kept.
    pub(crate) unsent: u32,
}

/// Hands on what the engine tells, until it ends.
pub(crate) async fn listen(shell: Shell, engine: Engine, mut stream: EventStream) {
    reread(&shell, &engine).await;
    let mut told = Instant::now();
    while let Some(first) = stream.next().await {
        let until = (told + GATHER).max(Instant::now() + GATHER_FIRST);
        let burst = gather(first, until, &mut stream).await;
        let mut arrived = Vec::new();
        for event in &burst {
            arrived.extend(heed(&shell, &engine, event).await);
        }
        if let Err(error) = shell.app().emit_to(window::LABEL, ENGINE, &burst) {
            tracing::warn!(%error, "the window did not hear of a change");
        }
        announce(&shell, &engine, arrived).await;
        told = Instant::now();
    }
}

/// Takes what comes until then; a notice that repeats the one before it is dropped.
async fn gather(first: EngineEvent, until: Instant, stream: &mut EventStream) -> Vec<EngineEvent> {
    let mut burst = vec![first];
    while burst.len() < BURST_MAX {
        match timeout_at(until, stream.next()).await {
            Ok(Some(event)) if burst.last() == Some(&event) => {}
            Ok(Some(event)) => burst.push(event),
            Ok(None) | Err(_) => break,
        }
    }
    burst
}

/// An announcement and its sender.
type Arrived = (Announcement, UserId);

/// What the shell itself does about a notice. Returns what is to be announced now.
async fn heed(shell: &Shell, engine: &Engine, event: &EngineEvent) -> Option<Arrived> {
    match event {
        EngineEvent::StatusChanged { status } => show_unread(shell, status.unread),
        EngineEvent::MessageArrived { conversation, title, message, sender_id, sender, text, count } => {
            let mode = shell.settings().notifications;
            if mode != NotificationMode::Off && !shell.sees(*conversation) {
                let announcement = Announcement {
                    conversation: *conversation,
                    message: *message,
                    title: title.clone(),
                    sender: sender.clone(),
                    text: text.clone(),
                    count: *count,
                    is_private: mode == NotificationMode::Private,
                };
                if sender != UNKNOWN_NAME {
                    return Some((announcement, *sender_id));
                }
                let named = announce_by_name(shell.clone(), engine.clone(), announcement, *sender_id);
                tauri::async_runtime::spawn(named);
            }
        }
        EngineEvent::MessagesRead { conversation } => shell.notifier().withdraw(*conversation),
        EngineEvent::AppChanged | EngineEvent::Missed => reread(shell, engine).await,
        EngineEvent::Problem { problem: Problem::EngineFailed } => {
            // This task ends with the engine, so it cannot wait for its end.
            let shell = shell.clone();
            tauri::async_runtime::spawn(async move { shell.fail().await });
        }
        EngineEvent::ConversationsChanged { .. }
        | EngineEvent::TimelineChanged { .. }
        | EngineEvent::TypingChanged { .. }
        | EngineEvent::PresenceChanged
        | EngineEvent::OutboxChanged
        | EngineEvent::Problem { .. } => {}
    }
    None
}

/// Announces the first message of somebody whom this device has not met: their profile follows the message, and the
/// announcement waits for it, but not for long.
async fn announce_by_name(shell: Shell, engine: Engine, mut announcement: Announcement, sender: UserId) {
    if let Ok(Ok(person)) = timeout(NAME_LIMIT, engine.person(sender)).await {
        announcement.sender = person.display_name;
    }
    announce(&shell, &engine, vec![(announcement, sender)]).await;
}

/// Announces what is still unread and not in view, with handles where a name does not say who wrote.
async fn announce(shell: &Shell, engine: &Engine, arrived: Vec<Arrived>) {
    if arrived.is_empty() {
        return;
    }
    // Refused after a sign-out or a lock: then nothing is announced.
    let Ok(rows) = engine.conversations().await else { return };
    for (mut announcement, sender) in arrived {
        let conversation = announcement.conversation;
        if let Some(row) = rows.iter().find(|row| row.id == conversation) {
            if row.unread == 0 || shell.sees(conversation) {
                continue;
            }
            // That of a direct chat is a name that may have come meanwhile.
            announcement.title.clone_from(&row.title);
        }
        let members = notifications::members(engine, conversation).await;
        announcement.tell_apart(sender, &rows, &members);
        shell.notifier().announce(announcement);
    }
}

async fn reread(shell: &Shell, engine: &Engine) {
    if matches!(engine.app_state().await, AppState::SignedOut { .. } | AppState::Locked { .. }) {
        shell.notifier().withdraw_all();
    }
    show_unread(shell, engine.status().await.unread);
}

/// The one number: in the title, in the tray, and in the list.
fn show_unread(shell: &Shell, unread: u32) {
    window::set_title(shell.app(), &title(unread));
    tray::set_unread(shell.app(), unread);
}

fn title(unread: u32) -> String {
    if unread == 0 { "Kith".to_owned() } else { format!("({unread}) Kith") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_title_says_the_unread_number() {
        assert_eq!((title(0).as_str(), title(3).as_str()), ("Kith", "(3) Kith"));
    }
}

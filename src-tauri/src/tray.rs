//! The tray icon: whether something is unread, and a menu to open and to quit.

use crate::{shell::Shell, window};
use tauri::{
    AppHandle, Manager as _,
    image::Image,
    menu::{MenuBuilder, MenuItemBuilder},
    tray::{MouseButton, MouseButtonState, TrayIconBuilder, TrayIconEvent},
};

const ID: &str = "main";
const READ: Image<'static> = tauri::include_image!("icons/tray.png");
const UNREAD: Image<'static> = tauri::include_image!("icons/tray-unread.png");

/// Adds the icon; without a tray nothing is shown.
pub(crate) fn build(app: &AppHandle) -> tauri::Result<()> {
    let open = MenuItemBuilder::with_id("open", "Open Kith").build(app)?;
    let quit = MenuItemBuilder::with_id("quit", "Quit").build(app)?;
    let menu = MenuBuilder::new(app).item(&open).separator().item(&quit).build()?;
    TrayIconBuilder::with_id(ID)
        .icon(READ)
        .tooltip("Kith")
        .menu(&menu)
        .show_menu_on_left_click(false)
        .on_menu_event(|app, event| match event.id().as_ref() {
            "open" => window::show(app),
            "quit" => quit_from_menu(app),
            _ => {}
        })
        .on_tray_icon_event(|tray, event| {
            if let TrayIconEvent::Click {
                button: MouseButton::Left,
                button_state: MouseButtonState::Up,
                ..
            } = event
            {
                window::show(tray.app_handle());
            }
        })
        .build(app)?;
    Ok(())
}

fn quit_from_menu(app: &AppHandle) {
    let shell = app.state::<Shell>().inner().clone();
    tauri::async_runtime::spawn(async move { shell.quit(false).await });
}

/// Shows the number of unread messages.
pub(crate) fn set_unread(app: &AppHandle, unread: u32) {
    let Some(tray) = app.tray_by_id(ID) else { return };
    let (icon, tooltip) = face(unread);
    // A tray that went away is no failure.
    let _ = tray.set_icon(Some(icon));
    let _ = tray.set_tooltip(Some(tooltip));
}

/// What the tray shows for so many unread messages.
fn face(unread: u32) -> (Image<'static>, String) {
    match unread {
        0 => (READ, "Kith".to_owned()),
        1 => (UNREAD, "Kith: 1 unread message".to_owned()),
        many => (UNREAD, format!("Kith: {many} unread messages")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn icon_and_tooltip_say_whether_something_is_unread() {
        let seen = |unread| {
            let (icon, tooltip) = face(unread);
            (icon.rgba() == UNREAD.rgba(), tooltip)
        };
        assert_ne!(READ.rgba(), UNREAD.rgba());
        assert_eq!(seen(0), (false, "Kith".to_owned()));
        assert_eq!(seen(1), (true, "Kith: 1 unread message".to_owned()));
        assert_eq!(seen(12), (true, "Kith: 12 unread messages".to_owned()));
    }
}

//! The tray icon: whether something is unread, and a menu to open and to quit.

use crate::{shell::Shell, window};
use tauri::{
    AppHandle, Manager as _,
    image::Image,
    menu::{MenuBuilder, MenuItemBuilder},
    tray::{MouseButton, MouseButtonState, TrayIconBuilder, TrayIconEvent},
};

const ID: &str = "main";
const READ: Image<'_> = tauri::include_image!("icons/tray.png");
const UNREAD: Image<'_> = tauri::include_image!("icons/tray-unread.png");

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
    let tooltip = match unread {
        0 => "Kith".to_owned(),
        1 => "Kith: 1 unread message".to_owned(),
        many => format!("Kith: {many} unread messages"),
    };
    // A tray that went away is no failure.
    let _ = tray.set_icon(Some(if unread == 0 { READ } else { UNREAD }));
    let _ = tray.set_tooltip(Some(tooltip));
}

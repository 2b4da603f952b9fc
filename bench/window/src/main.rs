//! An empty window: what Tauri and WebKitGTK cost by themselves.
//!
//! Says `painted` when its page is there, as the app does in its log.

use std::process::ExitCode;
use tauri::{WebviewUrl, WebviewWindowBuilder, webview::PageLoadEvent};

fn main() -> ExitCode {
    let app = tauri::Builder::default().setup(|app| {
        WebviewWindowBuilder::new(app, "main", WebviewUrl::default())
            .title("Empty")
            .inner_size(1_120.0, 760.0)
            .on_page_load(|_, load| {
                if load.event() == PageLoadEvent::Finished {
                    eprintln!("painted");
                }
            })
            .build()?;
        Ok(())
    });
    match app.run(tauri::generate_context!()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("no window: {error}");
            ExitCode::FAILURE
        }
    }
}

//! Tauri's own preparations, where the program is wanted at all.

fn main() {
    #[cfg(feature = "window")]
    tauri_build::build();
}

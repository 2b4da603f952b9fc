//! Compiles the reader of links without the rest of the app.

#![no_main]
#![allow(dead_code, unexpected_cfgs)]

#[path = "../../src-tauri/src/link/judge.rs"]
mod judge;
#[path = "../../src-tauri/src/link.rs"]
mod link;
#[path = "../../src-tauri/src/text.rs"]
mod text;

libfuzzer_sys::fuzz_target!(|text: &str| {
    judge::link(text);
});

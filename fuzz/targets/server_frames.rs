#![no_main]

use kith_protocol::frame::judge;

libfuzzer_sys::fuzz_target!(|text: &str| {
    judge::server_frame(text);
});

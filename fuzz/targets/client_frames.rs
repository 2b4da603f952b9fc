#![no_main]

use kith_protocol::frame::judge;

libfuzzer_sys::fuzz_target!(|text: &str| {
    judge::client_frame(text);
});

#![no_main]

use kith_client::Searched;
use std::sync::OnceLock;
use tempfile::TempDir;

static SEARCHED: OnceLock<(Searched, TempDir)> = OnceLock::new();

libfuzzer_sys::fuzz_target!(
    init: {
        SEARCHED.get_or_init(|| {
            let folder = tempfile::tempdir().expect("a folder");
            (Searched::open(folder.path()).expect("a store"), folder)
        });
    },
    |text: &str| {
        let (searched, _) = SEARCHED.get().expect("opened at the start");
        searched.find(text);
    }
);

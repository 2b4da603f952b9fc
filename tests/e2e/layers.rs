//! Who may import whom (ARCHITECTURE.md), read from the sources.

use std::{
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// Every line of code (comments left out) below `folder`, with where it stands.
fn lines_below(folder: &str, endings: &[&str]) -> Vec<(String, String)> {
    let (mut found, mut todo) = (Vec::new(), vec![root().join(folder)]);
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            todo.extend(fs::read_dir(&path).expect("a folder").map(|entry| entry.expect("an entry").path()));
        } else if endings.iter().any(|ending| path.to_string_lossy().ends_with(ending)) {
            let text = fs::read_to_string(&path).expect("text");
            for (number, line) in text.lines().enumerate() {
                if !line.trim_start().starts_with("//") {
                    found.push((format!("{}:{}", path.display(), number + 1), line.to_owned()));
                }
            }
        }
    }
    assert!(!found.is_empty(), "{folder} has no sources");
    found
}

fn nowhere(folder: &str, words: &[&str]) {
    let broken: Vec<_> = lines_below(folder, &[".rs"])
        .into_iter()
        .filter(|(_, line)| words.iter().any(|word| line.contains(word)))
        .map(|(place, line)| format!("{place}: {}", line.trim()))
        .collect();
    assert!(broken.is_empty(), "{folder} may not name {words:?}:\n{}", broken.join("\n"));
}

#[test]
fn the_wire_does_no_io() {
    nowhere("protocol/src", &["tokio", "rusqlite", "sqlx", "std::fs", "std::net", "async fn"]);
}

#[test]
fn the_model_of_the_server_is_pure_and_shares_nothing_with_it() {
    let impure =
        ["tokio", "sqlx", "Instant::now", "SystemTime::now", "rand::", "std::fs", "std::net", "async fn"];
    nowhere("model/src", &impure);
    nowhere("model/src", &["kith_server", "kith_client"]);
    nowhere("server/src", &["kith_model"]);
}

#[test]
fn the_sync_machine_is_pure() {
    let impure =
        ["tokio", "rusqlite", "Instant::now", "SystemTime::now", "rand::", "std::fs", "std::net", "reqwest"];
    nowhere("client/src/sync", &impure);
}

#[test]
fn the_engine_reads_the_wall_clock_through_one_door() {
    nowhere("client/src", &["SystemTime"]);
}

#[test]
fn the_engine_knows_neither_shell_nor_server() {
    nowhere("client/src", &["tauri", "kith_server", "sqlx"]);
}

#[test]
fn the_server_does_not_know_the_client() {
    nowhere("server/src", &["kith_client", "rusqlite", "tauri"]);
}

#[test]
fn sql_of_the_server_lives_in_db_only() {
    for folder in ["server/src/domain", "server/src/http", "server/src/ws"] {
        nowhere(folder, &["sqlx::query"]);
    }
}

#[test]
fn only_the_bus_of_the_server_knows_nats_and_only_its_start_knows_the_bus() {
    for folder in ["domain", "http", "ws", "hub", "db", "auth", "settings"] {
        nowhere(&format!("server/src/{folder}"), &["async_nats", "crate::bus", "bus::start"]);
    }
    for file in ["hub.rs", "presence.rs", "state.rs", "serve.rs", "router.rs", "config.rs", "metrics.rs"] {
        nowhere(&format!("server/src/{file}"), &["async_nats"]);
    }
    nowhere("server/src/bus", &["axum", "crate::http", "crate::ws", "sqlx::query"]);
}

#[test]
fn sql_of_the_client_lives_in_the_store_only() {
    for folder in ["client/src/sync", "client/src/transport", "client/src/engine"] {
        nowhere(folder, &["rusqlite::", "prepare_cached"]);
    }
}

#[test]
fn the_shell_has_no_rules_of_its_own() {
    nowhere("src-tauri/src", &["rusqlite", "sqlx", "kith_client::store", "kith_client::sync"]);
}

#[test]
fn only_one_file_of_the_interface_knows_the_shell() {
    let broken: Vec<_> = lines_below("ui/src", &[".ts", ".svelte"])
        .into_iter()
        .filter(|(place, line)| {
            line.contains("@tauri-apps") && !place.contains("lib/ipc/") && !place.contains(".test.ts:")
        })
        .collect();
    assert!(broken.is_empty(), "{broken:?}");
}

#[test]
fn text_is_never_html_in_the_interface() {
    let broken: Vec<_> = lines_below("ui/src", &[".ts", ".svelte"])
        .into_iter()
        // Hostile strings are what tests try to get past it.
        .filter(|(place, _)| !place.contains("ui/src/hostile.ts:") && !place.contains(".test.ts:"))
        .filter(|(_, line)| {
            ["{@html", "innerHTML", "insertAdjacentHTML", "document.write"].iter().any(|w| line.contains(w))
        })
        .collect();
    assert!(broken.is_empty(), "{broken:?}");
}

/// Values are bound, never written into a statement. Names of tables and columns cannot be bound: those that a damaged
/// file is brought over with come from the schema.
#[test]
fn sec_083_no_statement_is_put_together_from_text() {
    const NAMES_FROM_THE_SCHEMA: &str = "INSERT OR IGNORE INTO {table}";
    let verbs = ["SELECT ", "INSERT ", "UPDATE ", "DELETE ", "PRAGMA ", "WHERE ", " FROM "];
    for folder in ["client/src/store", "server/src"] {
        let lines: Vec<_> = lines_below(folder, &[".rs"])
            .into_iter()
            .filter(|(place, _)| !place.contains("/tests/"))
            .collect();
        for (at, (place, line)) in lines.iter().enumerate() {
            if !["format!(", "write!(", "push_str(", "concat!("].iter().any(|builder| line.contains(builder))
            {
                continue;
            }
            let text: String = lines[at..].iter().take(3).map(|(_, line)| line.as_str()).collect();
            // The key of a database stands in its statement in hexadecimal: it cannot be bound.
            let is_sql = !text.contains("PRAGMA key")
                && verbs.iter().any(|verb| text.contains(verb))
                && text.contains('{');
            assert!(!is_sql || text.contains(NAMES_FROM_THE_SCHEMA), "{place}: {}", line.trim());
        }
    }
    nowhere("server/src", &["QueryBuilder", "AssertSqlSafe"]);
}

//! Who may import whom (ARCHITECTURE.md), read from the sources' imports.

mod imports;

use imports::Named;
use std::{
    collections::BTreeSet,
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

/// Part of the wire's crate, so that the tests of every crate have it; it stops at a time that the caller names.
const MUTATES_FRAMES_FOR_TESTS: &str = "protocol/src/frame/mutate.rs";

/// Refuses paths such as `std::fs` or `kith_client::store` in the code (not the tests) below `folder`, or in one file.
fn names_none_of(folder: &str, paths: &[&str]) {
    let mut broken = Vec::new();
    for source in imports::read(&root().join(folder)) {
        if source.place.ends_with(MUTATES_FRAMES_FOR_TESTS) {
            continue;
        }
        for name in &source.names {
            let (Named::Own(segments) | Named::Other(segments)) = name;
            let is_named = |path: &&&str| {
                let wanted: Vec<&str> = path.split("::").collect();
                segments.windows(wanted.len()).any(|part| part == wanted)
            };
            if let Some(path) = paths.iter().find(is_named) {
                broken.push(format!("{} names {path}", source.place.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// What code without input and output names never.
const IMPURE: &[&str] = &[
    "tokio",
    "rusqlite",
    "sqlx",
    "reqwest",
    "rand",
    "std::fs",
    "std::net",
    "Instant::now",
    "SystemTime::now",
];

#[test]
fn the_wire_the_model_and_the_sync_machine_do_no_io() {
    for folder in ["protocol/src", "model/src", "sync/src"] {
        names_none_of(folder, IMPURE);
        let asynchronous: Vec<_> =
            lines_below(folder, &[".rs"]).into_iter().filter(|(_, line)| line.contains("async fn")).collect();
        assert!(asynchronous.is_empty(), "{asynchronous:?}");
    }
}

#[test]
fn crates_that_never_see_each_other() {
    names_none_of("protocol/src", &["kith_client", "kith_server", "kith_model", "kith_sync"]);
    names_none_of("model/src", &["kith_client", "kith_server", "kith_sync"]);
    names_none_of("sync/src", &["kith_client", "kith_server", "kith_model", "kith_failpoint"]);
    names_none_of("client/src", &["kith_server", "kith_model", "tauri", "sqlx"]);
    names_none_of("server/src", &["kith_client", "kith_sync", "kith_model", "tauri", "rusqlite"]);
    names_none_of("src-tauri/src", &["kith_server", "kith_model", "kith_client::store", "kith_sync"]);
    names_none_of("src-tauri/src", &["rusqlite", "sqlx"]);
}

#[test]
fn the_engine_reads_the_wall_clock_in_one_place() {
    names_none_of("client/src", &["SystemTime"]);
}

#[test]
fn only_the_store_of_the_client_knows_sqlite() {
    let rest = |source: &imports::Source| source.module.first().is_some_and(|first| first != "store");
    for source in imports::read(&root().join("client/src")).iter().filter(|source| rest(source)) {
        let sqlite = |name: &&Named| matches!(name, Named::Other(path) if path[0] == "rusqlite");
        let named: Vec<_> = source.names.iter().filter(sqlite).collect();
        // The error of the crate keeps SQLite's as its source.
        let is_error = source.module == ["error"];
        assert!(named.is_empty() || is_error, "{} names {named:?}", source.place.display());
    }
}

#[test]
fn sql_of_the_server_lives_in_db_only() {
    for folder in ["domain", "http", "ws", "hub", "bus", "auth", "cli"] {
        let queries =
            ["sqlx::query", "sqlx::query_as", "sqlx::query_scalar", "query", "query_as", "query_scalar"];
        names_none_of(&format!("server/src/{folder}"), &queries[..3]);
        let calls: Vec<_> = lines_below(&format!("server/src/{folder}"), &[".rs"])
            .into_iter()
            .filter(|(_, line)| queries.iter().any(|query| line.contains(&format!("{query}!("))))
            .collect();
        assert!(calls.is_empty(), "{calls:?}");
    }
}

#[test]
fn only_the_bus_of_the_server_knows_nats() {
    for folder in ["domain", "http", "ws", "hub", "db", "auth", "settings"] {
        names_none_of(&format!("server/src/{folder}"), &["async_nats"]);
    }
    names_none_of("server/src/bus", &["axum"]);
}

/// The arrows that ARCHITECTURE.md draws for a crate: `engine ▶ driver, store` below a line that names the crate's folder.
fn drawn(folder: &str) -> BTreeSet<(String, String)> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("the page");
    let mut arrows = BTreeSet::new();
    let lines = text.lines().skip_while(|line| *line != format!("{folder}:")).skip(1);
    for line in lines.take_while(|line| line.contains('▶')) {
        let (from, to) = line.split_once('▶').expect("an arrow");
        for to in to.split(',') {
            arrows.insert((from.trim().to_owned(), to.trim().to_owned()));
        }
    }
    assert!(!arrows.is_empty(), "ARCHITECTURE.md draws no arrows for {folder}");
    arrows
}

#[test]
fn every_arrow_between_modules_is_drawn_and_every_drawn_arrow_is_there() {
    for folder in ["protocol/src", "model/src", "sync/src", "client/src", "server/src", "src-tauri/src"] {
        let found = imports::arrows(&imports::read(&root().join(folder)));
        let drawn = drawn(folder);
        for ((from, to), places) in &found {
            let is_drawn = drawn.contains(&(from.clone(), to.clone()));
            assert!(is_drawn, "{folder}: {from} ▶ {to} is not drawn in ARCHITECTURE.md: {places:?}");
        }
        for arrow in &drawn {
            assert!(
                found.contains_key(arrow),
                "{folder}: {} ▶ {} is drawn, but nothing imports it",
                arrow.0,
                arrow.1
            );
        }
    }
}

/// Circles of imports that are left. Each is a fault of the structure: none may be added, and one that is gone leaves
/// the list.
const CIRCLES: &[(&str, &[&str])] = &[
    (
        "client/src",
        &[
            "store::apply",
            "store::conversations",
            "store::deletions",
            "store::drafts",
            "store::facts",
            "store::kinds",
            "store::lines",
            "store::list",
            "store::log",
            "store::members",
            "store::messages",
            "store::outbox",
            "store::overlay",
            "store::own_state",
            "store::project",
            "store::readers",
            "store::rebuild",
            "store::receipts",
            "store::recent",
            "store::rewind",
            "store::scrub",
            "store::search",
            "store::tidy",
            "store::unsent",
            "store::verify",
            "store::writer",
        ],
    ),
    (
        "server/src",
        &[
            "auth",
            "domain::additions",
            "domain::annotations",
            "domain::announce",
            "domain::append",
            "domain::batch",
            "domain::effects",
            "domain::fair",
            "domain::lanes",
            "domain::log",
            "domain::markers",
            "domain::own",
            "domain::publish",
            "domain::quota",
            "domain::receipts",
            "metrics",
            "state",
        ],
    ),
    ("server/src", &["domain::accounts", "domain::import", "domain::sessions"]),
    ("src-tauri/src", &["events", "notifications", "rendering", "shell", "tray", "updates", "window"]),
];

#[test]
fn no_further_files_import_each_other_in_a_circle() {
    let mut found = BTreeSet::new();
    for folder in ["protocol/src", "model/src", "sync/src", "client/src", "server/src", "src-tauri/src"] {
        for circle in imports::circles(&imports::read(&root().join(folder))) {
            println!("{folder}: {}", circle.iter().cloned().collect::<Vec<_>>().join(", "));
            found.insert((folder, circle));
        }
    }
    let known: BTreeSet<_> = CIRCLES
        .iter()
        .map(|(folder, files)| (*folder, files.iter().map(|file| (*file).to_owned()).collect()))
        .collect();
    assert_eq!(found, known, "left: the sources, right: CIRCLES");
}

#[test]
fn files_that_import_each_other_are_a_circle_and_a_module_with_its_submodules_is_none() {
    let source = |module: &[&str], text: &str| {
        let module: Vec<String> = module.iter().map(|part| (*part).to_owned()).collect();
        imports::Source { place: PathBuf::new(), names: imports::names(text, &module), module }
    };
    let sources = [
        source(&["store"], "use self::a::A; use crate::view::View;"),
        source(&["store", "a"], "use super::{Db, b::B};"),
        source(&["store", "b"], "use crate::store::c;"),
        source(&["store", "c"], "fn f() { super::a::g(); }"),
        source(&["view"], "use crate::error::Error;"),
        source(&["error"], ""),
    ];
    let circle: BTreeSet<String> = ["store::a", "store::b", "store::c"].map(str::to_owned).into();
    assert_eq!(imports::circles(&sources), BTreeSet::from([circle]));
}

#[test]
fn crates_depend_on_each_other_as_drawn() {
    let mut found = BTreeSet::new();
    for (folder, _) in drawn("crates") {
        let manifest = fs::read_to_string(root().join(&folder).join("Cargo.toml")).expect("a manifest");
        let dependencies = manifest.lines().skip_while(|line| *line != "[dependencies]").skip(1);
        for line in dependencies.take_while(|line| !line.starts_with('[')) {
            if let Some((name, _)) = line.strip_prefix("kith-").and_then(|rest| rest.split_once(['.', ' '])) {
                found.insert((folder.clone(), name.to_owned()));
            }
        }
    }
    assert_eq!(found, drawn("crates"), "left: the manifests, right: ARCHITECTURE.md");
}

#[test]
fn paths_are_read_from_imports_code_and_macro_calls_but_not_from_tests_and_comments() {
    let text = "
        use crate::{db::{self, heads}, error as failure};
        use super::publish::Job;
        // crate::comment::never
        fn one() -> tokio::time::Instant { let _ = \"crate::text::never\"; crate::hub::send(); }
        mod inner { fn two() { super::super::batch::commit(); } }
        fn three() { tokio::select! { job = crate::lanes::next() => { sqlx::query(\"\") } } }
        #[cfg(test)]
        mod checks { use crate::never; }
    ";
    let names = imports::names(text, &["domain".to_owned(), "log".to_owned()]);
    let own = |path: &str| names.contains(&Named::Own(path.split("::").map(str::to_owned).collect()));
    for path in [
        "db",
        "db::heads",
        "error",
        "domain::publish::Job",
        "hub::send",
        "domain::batch::commit",
        "lanes::next",
    ] {
        assert!(own(path) || own(&format!("{path}::self")), "{path} is not among {names:?}");
    }
    for path in ["comment::never", "text::never", "never"] {
        assert!(!own(path), "{path} is among {names:?}");
    }
    let other = |path: &str| names.contains(&Named::Other(path.split("::").map(str::to_owned).collect()));
    assert!(other("tokio::time::Instant") && other("sqlx::query"), "{names:?}");
}

/// What the interface's files import, each with its place: `ui/src/views/Chat.svelte` and `components/ui/Dialog.svelte`.
fn interface_imports() -> Vec<(String, String)> {
    let src = root().join("ui/src");
    let mut found = Vec::new();
    for (place, line) in lines_below("ui/src", &[".ts", ".svelte"]) {
        let file = place.rsplit_once(':').expect("a line").0;
        let is_test =
            [".test.ts", "test-kit.ts", "test-setup.ts", "hostile.ts"].iter().any(|end| file.ends_with(end));
        for quote in ['\'', '"'] {
            let Some((before, after)) =
                line.split_once(&format!("from {quote}")).or(line.split_once(&format!("import({quote}")))
            else {
                continue;
            };
            let Some((target, _)) = after.split_once(quote) else { continue };
            if is_test || before.trim_start().starts_with("//") {
                continue;
            }
            let from = Path::new(file).strip_prefix(&src).expect("below").to_string_lossy().into_owned();
            let target = if target.starts_with('.') {
                let mut path = Path::new(&from).parent().expect("a folder").to_owned();
                for part in target.split('/') {
                    match part {
                        "." => {}
                        ".." => {
                            path.pop();
                        }
                        name => path.push(name),
                    }
                }
                path.to_string_lossy().into_owned()
            } else {
                target.to_owned()
            };
            found.push((from, target));
        }
    }
    assert!(found.len() > 50, "imports are no longer found: {found:?}");
    found
}

#[test]
fn the_interface_is_layered_and_one_file_knows_the_shell() {
    let layers = ["lib/ipc", "lib/state", "components/ui", "components", "views"];
    let layer = |path: &str| layers.iter().position(|layer| path.starts_with(layer));
    for (from, to) in interface_imports() {
        assert!(!to.starts_with("@tauri-apps") || from.starts_with("lib/ipc/"), "{from} imports {to}");
        if from.starts_with("components/ui/") {
            let is_own =
                !layers.iter().any(|layer| to.starts_with(layer)) || to.starts_with("components/ui/");
            assert!(is_own, "{from} imports {to}");
        } else if let (Some(above), Some(below)) = (layer(&from), layer(&to)) {
            assert!(below <= above, "{from} imports {to}: an arrow upwards");
        }
    }
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
    for folder in ["client/src/store", "server/src"] {
        let code: BTreeSet<_> =
            imports::read(&root().join(folder)).into_iter().map(|source| source.place).collect();
        let is_code =
            |place: &str| place.rsplit_once(':').is_some_and(|(file, _)| code.contains(Path::new(file)));
        let lines: Vec<_> =
            lines_below(folder, &[".rs"]).into_iter().filter(|(place, _)| is_code(place)).collect();
        let texts: Vec<&str> = lines.iter().map(|(_, line)| line.as_str()).collect();
        for at in 0..texts.len() {
            assert!(!puts_a_statement_together(&texts[at..]), "{}: {}", lines[at].0, texts[at].trim());
        }
    }
    names_none_of("server/src", &["QueryBuilder", "AssertSqlSafe"]);
}

/// Whether the first of these lines begins to make a text with a statement in it.
fn puts_a_statement_together(lines: &[&str]) -> bool {
    const BUILDERS: [&str; 9] = [
        "format!(",
        "write!(",
        "writeln!(",
        "concat!(",
        "push_str(",
        ".join(",
        ".replace(",
        ".concat()",
        "\" + ",
    ];
    const VERBS: [&str; 10] = [
        "SELECT ", "INSERT ", "UPDATE ", "DELETE ", "PRAGMA ", "CREATE ", "DROP ", "ALTER ", "WITH ",
        "ATTACH ",
    ];
    const PARTS: [&str; 4] = [" WHERE ", " FROM ", "ORDER BY", "VALUES ("];
    const NAMES_FROM_THE_SCHEMA: &str = "INSERT OR IGNORE INTO {table}";
    let Some(builder) = BUILDERS.iter().find(|builder| lines[0].contains(*builder)) else { return false };
    let text: String = lines.iter().take(4).copied().collect::<Vec<_>>().join(" ");
    // What is in quotes after the builder begins, for those that take their text behind them.
    let at = text.find(builder).unwrap_or_default();
    let from = if [".join(", ".replace(", ".concat()", "\" + "].contains(builder) { 0 } else { at };
    let is_statement = |literal: &str| {
        let begins =
            |verb: &str| literal.trim_start().get(..verb.len()).is_some_and(|s| s.eq_ignore_ascii_case(verb));
        let has = |part: &str| format!(" {literal} ").contains(part);
        // A macro fills in what stands in braces.
        let is_filled = literal.contains('{') || !builder.contains('!');
        is_filled
            && (VERBS.iter().any(|verb| begins(verb) || has(verb)) || PARTS.iter().any(|part| has(part)))
    };
    // The key of a database stands in its statement in hexadecimal: it cannot be bound.
    let is_excused = text.contains("PRAGMA key") || text.contains(NAMES_FROM_THE_SCHEMA);
    !is_excused && text[from..].split('"').skip(1).step_by(2).take(2).any(is_statement)
}

#[test]
fn sec_083_a_statement_that_is_put_together_is_seen() {
    for lines in [
        &[r#"let sql = format!("SELECT * FROM {table}");"#][..],
        &[r#"let sql = format!("select text from messages where text like '%{word}%'");"#],
        &["let sql = format!(", r#"    "DELETE FROM t WHERE id = {id}","#, ");"],
        &[r#"sql.push_str(" WHERE id = ");"#],
        &[r#"let sql = "SELECT a FROM t ORDER BY ".to_owned() + order; let b = "x" + order;"#],
        &[r#"write!(sql, "UPDATE t SET a = {value}")?;"#],
        &[r#"let sql = "SELECT a FROM t WHERE a = ?".replace("?", value);"#],
        &[r#"let sql = ["SELECT a FROM t WHERE ", filter].concat();"#],
    ] {
        assert!(puts_a_statement_together(lines), "{lines:?}");
    }
    for lines in [
        &[r#"db.prepare("SELECT a FROM t WHERE a = ?1")?"#][..],
        &[r#"format!("{count} messages")"#],
        &[r#"text.push_str("hello");"#],
    ] {
        assert!(!puts_a_statement_together(lines), "{lines:?}");
    }
}

//! What the window may do, held against a list that is kept by hand: a permission, a rule of the content policy or a
//! feature that is added elsewhere has to be added here too, by somebody who has thought about it.

use serde_json::{Value, json};
use std::{collections::BTreeSet, fs, path::Path};

/// The window's content policy, whole.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; \
    connect-src ipc: http://ipc.localhost; object-src 'none'; frame-src 'none'; base-uri 'none'; form-action 'none'";

/// What the window may call: hearing events, and these commands.
const ALLOWED: [&str; 82] = [
    "core:event:allow-listen",
    "core:event:allow-unlisten",
    "allow-add-members",
    "allow-app-state",
    "allow-app-version",
    "allow-block",
    "allow-blocked-people",
    "allow-cancel",
    "allow-change-passphrase",
    "allow-change-password",
    "allow-check-now",
    "allow-conversation",
    "allow-conversations",
    "allow-create-group",
    "allow-delete-message",
    "allow-diagnostics",
    "allow-edit-message",
    "allow-find-direct",
    "allow-find-people",
    "allow-get-settings",
    "allow-hide",
    "allow-install-update",
    "allow-keep-draft",
    "allow-keep-until-quit",
    "allow-leave",
    "allow-leave-and-block",
    "allow-lock",
    "allow-look-for-update",
    "allow-mark-read",
    "allow-mended-seen",
    "allow-network-changed",
    "allow-open-again",
    "allow-open-direct",
    "allow-open-link",
    "allow-outbox",
    "allow-painted",
    "allow-person",
    "allow-pin-message",
    "allow-presence",
    "allow-quit",
    "allow-react",
    "allow-remove-member",
    "allow-retry",
    "allow-revoke-other-sessions",
    "allow-revoke-session",
    "allow-search",
    "allow-send-all-now",
    "allow-send-message",
    "allow-sessions",
    "allow-set-archive",
    "allow-set-display-name",
    "allow-set-draft",
    "allow-set-focus",
    "allow-set-mute",
    "allow-set-notifications",
    "allow-set-passphrase",
    "allow-set-pin",
    "allow-set-presence",
    "allow-set-role",
    "allow-set-settings",
    "allow-set-shows-presence",
    "allow-set-title",
    "allow-set-typing",
    "allow-set-unread",
    "allow-shows-presence",
    "allow-sign-in",
    "allow-sign-out",
    "allow-sign-out-preview",
    "allow-sign-up",
    "allow-start-direct",
    "allow-start-direct-about",
    "allow-status",
    "allow-suggested-server",
    "allow-take-back",
    "allow-take-start-link",
    "allow-timeline",
    "allow-try-again",
    "allow-unblock",
    "allow-unlock",
    "allow-update",
    "allow-use-secret-store",
    "allow-watch-presence",
];

/// Tauri's features: no inspector, no asset protocol, no remote isolation holes.
const FEATURES: [&str; 2] = ["image-png", "tray-icon"];

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(here().join(path)).unwrap()).unwrap()
}

fn config() -> Value {
    read("tauri.conf.json")
}

/// Every source of this crate but this one and what is only for tests.
fn sources() -> Vec<(String, String)> {
    fn under(folder: &Path, found: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                under(&path, found);
            } else {
                let text = fs::read_to_string(&path).unwrap();
                let text = text.split("#[cfg(test)]\nmod tests").next().unwrap().to_owned();
                found.push((path.file_name().unwrap().to_string_lossy().into_owned(), text));
            }
        }
    }
    let mut found = Vec::new();
    under(&here().join("src"), &mut found);
    found.retain(|(name, _)| name != "boundary.rs" && name != "bindings.rs");
    found
}

#[test]
fn sec_049_the_window_may_do_what_is_listed_and_nothing_else() {
    let files: Vec<_> =
        fs::read_dir(here().join("capabilities")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files, ["main.json"], "one window, one capability");
    let capability = read("capabilities/main.json");
    let fields: BTreeSet<&str> = capability.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        fields,
        BTreeSet::from(["description", "identifier", "local", "permissions", "windows"]),
        "no remote, no platforms, no webviews"
    );
    assert_eq!((&capability["windows"], &capability["local"]), (&json!(["main"]), &json!(true)));
    let found: BTreeSet<&str> =
        capability["permissions"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert_eq!(found, BTreeSet::from(ALLOWED));
    assert!(!found.iter().any(|name| name.ends_with(":default") || name.contains('*')));
    assert_eq!(config()["app"]["security"]["capabilities"], json!(["main"]));
    // Permissions could also be given in the code, and windows made there.
    assert_eq!(config()["app"]["windows"], json!([]));
    let mut windows = 0;
    for (name, text) in sources() {
        windows += text.matches("WebviewWindowBuilder::new").count();
        for word in ["add_capability", "WebviewBuilder", "WindowBuilder::new(&", "dynamic-acl"] {
            assert!(!text.contains(word), "{word} in {name}");
        }
    }
    assert_eq!(windows, 1);
}

#[test]
fn sec_050_the_content_policy_is_exactly_this() {
    let security = &config()["app"]["security"];
    assert_eq!(security["csp"], POLICY);
    for setting in
        ["dangerousDisableAssetCspModification", "dangerousRemoteDomainIpcAccess", "assetProtocol", "pattern"]
    {
        assert!(security.get(setting).is_none(), "{setting}");
    }
    // That of the development server differs in what the server needs and nothing else.
    let development = security["devCsp"].as_str().unwrap();
    let rules: BTreeSet<&str> = development.split("; ").collect();
    let own: BTreeSet<&str> = POLICY.split("; ").collect();
    let more: Vec<&str> = rules.difference(&own).copied().collect();
    assert_eq!(
        more,
        [
            "connect-src 'self' ws://localhost:1420 ipc: http://ipc.localhost",
            "img-src 'self' data:",
            "style-src 'self' 'unsafe-inline'"
        ]
    );
}

#[test]
fn sec_051_no_globals_no_inspector_no_asset_protocol() {
    let app = &config()["app"];
    assert_eq!((&app["withGlobalTauri"], &app["security"]["freezePrototype"]), (&json!(false), &json!(true)));
    let manifest = fs::read_to_string(here().join("Cargo.toml")).unwrap();
    let line = manifest.lines().find(|line| line.starts_with("tauri = ")).unwrap();
    let features = line.split_once("features = [").unwrap().1.split_once(']').unwrap().0;
    let features: BTreeSet<&str> = features.split(", ").map(|name| name.trim_matches('"')).collect();
    assert_eq!(features, BTreeSet::from(FEATURES));
    for word in ["devtools", "protocol-asset", "tauri-plugin-fs", "tauri-plugin-shell", "tauri-plugin-http"] {
        assert!(!manifest.contains(word), "{word}");
    }
    for (name, text) in sources() {
        for word in ["open_devtools", ".devtools(", "initialization_script", ".eval(", "register_uri_scheme"]
        {
            assert!(!text.contains(word), "{word} in {name}");
        }
    }
}

//! What the window's TypeScript knows of this crate, generated: `ui/src/lib/ipc/bindings.ts`, the list of commands for
//! the build script (`commands.txt`) and the window's permissions (`capabilities/main.json`).
//!
//! `KITH_BINDINGS=write cargo test -p kith-desktop --lib bindings` writes the three files; the same test without the
//! variable compares them with what is committed.

use crate::{commands, error::UiError, events, link::Link, updates};
use kith_client::EngineEvent;
use std::{
    any::TypeId,
    collections::{BTreeMap, HashSet},
    fmt::Write as _,
    fs,
    path::Path,
};
use ts_rs::{Config, TS, TypeVisitor};

/// The exported types that have been met, by name.
#[derive(Default)]
pub(crate) struct Types {
    config: Config,
    declarations: BTreeMap<String, String>,
    met: HashSet<TypeId>,
}

impl Types {
    /// How TypeScript writes the type; what it is made of is declared too.
    pub(crate) fn name<T: TS + 'static + ?Sized>(&mut self) -> String {
        self.visit::<T>();
        let name = T::name(&self.config);
        if name == "null" { "void".to_owned() } else { name }
    }

    fn declare<T: TS + 'static + ?Sized>(&mut self) {
        if T::output_path().is_some() {
            let declaration = format!("{}export {}\n", T::docs().unwrap_or_default(), T::decl(&self.config));
            let lines: Vec<&str> = declaration.lines().map(str::trim_end).collect();
            self.declarations.insert(T::ident(&self.config), format!("{}\n", lines.join("\n")));
        }
    }
}

impl TypeVisitor for Types {
    fn visit<T: TS + 'static + ?Sized>(&mut self) {
        if self.met.insert(TypeId::of::<T>()) {
            self.declare::<T>();
            T::visit_dependencies(self);
            T::visit_generics(self);
        }
    }
}

fn camel(name: &str) -> String {
    let mut parts = name.split('_');
    let mut camel = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (first, rest) = part.split_at(1);
        camel.push_str(&first.to_uppercase());
        camel.push_str(rest);
    }
    camel
}

fn typescript() -> String {
    let mut types = Types::default();
    let commands = commands::signatures(&mut types);
    types.visit::<EngineEvent>();
    types.visit::<Link>();
    types.visit::<UiError>();
    types.visit::<events::QuitAsked>();

    let mut out = String::from(
        "// Generated from the commands' table and the types behind it: cargo xtask bindings. Do not edit.\n\n",
    );
    for declaration in types.declarations.values() {
        out.push_str(declaration);
        out.push('\n');
    }
    let events = [
        (events::ENGINE, "EngineEvent[]"),
        (events::LINK, "Link"),
        (events::QUIT_ASKED, "QuitAsked"),
        (updates::CHANGED, "UpdateView"),
    ];
    out.push_str("/** The events that the window hears, by name. */\nexport interface WindowEvents {\n");
    for (name, payload) in events {
        let _ = writeln!(out, "  {name}: {payload};");
    }
    out.push_str(
        "}\n\n/** What the window may ask for. A refusal is a `UiError`. */\nexport interface Commands {\n",
    );
    for command in &commands {
        let args: Vec<String> = command.args.iter().map(|(name, ty)| format!("{name}: {ty}")).collect();
        if !command.docs.is_empty() {
            let text: Vec<&str> = command.docs.iter().map(|line| line.trim()).collect();
            let _ = writeln!(out, "  /** {} */", text.join(" "));
        }
        let _ = writeln!(out, "  {}({}): Promise<{}>;", camel(command.name), args.join(", "), command.answer);
    }
    out.push_str(
        "}\n\n/** Calls the shell by a command's name. */\n\
         export type Invoke = <T>(command: string, args?: Record<string, unknown>) => Promise<T>;\n\n\
         /** All commands over one way of calling. */\n\
         export function createCommands(invoke: Invoke): Commands {\n  return {\n",
    );
    for command in &commands {
        let args: Vec<&str> = command.args.iter().map(|(name, _)| *name).collect();
        let object = if args.is_empty() { String::new() } else { format!(", {{ {} }}", args.join(", ")) };
        let _ = writeln!(
            out,
            "    {}: ({}) => invoke(\"{}\"{object}),",
            camel(command.name),
            args.join(", "),
            command.name
        );
    }
    out.push_str("  };\n}\n");
    out
}

fn command_names() -> Vec<&'static str> {
    let mut names: Vec<_> = commands::signatures(&mut Types::default()).iter().map(|row| row.name).collect();
    names.sort_unstable();
    names
}

/// The window may call each command of the table and listen to events, and nothing else.
fn capability() -> String {
    let mut permissions = vec!["core:event:allow-listen".to_owned(), "core:event:allow-unlisten".to_owned()];
    permissions.extend(command_names().iter().map(|name| format!("allow-{}", name.replace('_', "-"))));
    let capability = serde_json::json!({
        "identifier": "main",
        "description": "The one window: the commands of the table, and listening to events. Generated with bindings.ts.",
        "local": true,
        "windows": ["main"],
        "permissions": permissions,
    });
    format!("{}\n", serde_json::to_string_pretty(&capability).unwrap())
}

#[test]
fn bindings_are_up_to_date() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = [
        (here.join("../ui/src/lib/ipc/bindings.ts"), typescript()),
        (here.join("capabilities/main.json"), capability()),
        (here.join("commands.txt"), command_names().iter().map(|name| format!("{name}\n")).collect()),
    ];
    let write = std::env::var("KITH_BINDINGS").is_ok_and(|mode| mode == "write");
    for (path, text) in files {
        let found = fs::read_to_string(&path).unwrap_or_default();
        if found != text && write {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
        } else {
            assert!(found == text, "{} is not up to date: run cargo xtask bindings", path.display());
        }
    }
}

#[test]
fn sec_054_types_have_no_bigint_and_no_secret() {
    let text = typescript();
    assert!(!text.contains("bigint"), "a number would not survive JSON.parse");
    // A password goes in with a sign-in; nothing that holds a token or a key comes out.
    let text = text.split("export interface Commands").next().unwrap();
    for secret in [
        "access_token",
        "refresh_token",
        "access:",
        "refresh:",
        "token:",
        "secret:",
        "password:",
        "key:",
        "_key:",
        "seed:",
        "hash:",
        "cookie:",
        "credential:",
    ] {
        assert!(!text.contains(secret), "{secret} in the bindings");
    }
}

/// Texts that the window hands over, by command: none is a path. Whoever adds one says here what it is.
const TEXTS: [&str; 29] = [
    "change_passphrase(current)",
    "change_passphrase(new_passphrase)",
    "change_password(current)",
    "change_password(new_password)",
    "create_group(title)",
    "edit_message(text)",
    "find_people(query)",
    "keep_draft(text)",
    "open_link(url)",
    "react(emoji)",
    "revoke_other_sessions(password)",
    "revoke_session(password)",
    "search(query)",
    "send_message(text)",
    "set_display_name(name)",
    "set_draft(text)",
    "set_passphrase(passphrase)",
    "set_title(title)",
    "sign_in(password)",
    "sign_in(server)",
    "sign_in(username)",
    "sign_up(display_name)",
    "sign_up(invite)",
    "sign_up(password)",
    "sign_up(server)",
    "sign_up(username)",
    "start_direct(text)",
    "start_direct_about(text)",
    "unlock(passphrase)",
];

/// Ids of events are unique in a conversation only (W3).
#[test]
fn w3_a_command_that_names_an_event_names_its_conversation() {
    let mut of_events = Vec::new();
    for command in commands::signatures(&mut Types::default()) {
        let takes = |wanted: &str| command.args.iter().any(|(_, ty)| ty.split(" | ").any(|ty| ty == wanted));
        if takes("EventId") || takes("Anchor") {
            assert!(takes("ConversationId"), "{}", command.name);
            of_events.push(command.name);
        }
    }
    of_events.sort_unstable();
    let known = ["delete_message", "edit_message", "pin_message", "react", "send_message", "timeline"];
    assert_eq!(of_events, known);
}

#[test]
fn sec_055_no_command_takes_a_path() {
    let mut found = Vec::new();
    for command in commands::signatures(&mut Types::default()) {
        for (name, ty) in &command.args {
            for word in ["path", "file", "dir", "folder", "location"] {
                assert!(!name.contains(word), "{}({name})", command.name);
            }
            if ty.contains("string") {
                found.push(format!("{}({name})", command.name));
            }
        }
    }
    found.sort_unstable();
    assert_eq!(found, TEXTS);
}

//! Every command of the window, called with what nobody should call it with.

use anyhow::Result;
use kith_tests::window::{Stage, is_running};
use serde_json::{Value, json};

/// A command as the bindings declare it: its name, its arguments with their types, and the type of its answer.
pub(super) struct Declared {
    pub(super) name: String,
    pub(super) arguments: Vec<(String, String)>,
    pub(super) answer: String,
}

/// `  sendMessage(conversation: ConversationId, text: string): Promise<EventId>;`
pub(super) fn declared() -> Vec<Declared> {
    let bindings = include_str!("../../../ui/src/lib/ipc/bindings.ts");
    let (_, rest) =
        bindings.split_once("export interface Commands {").expect("the bindings declare commands");
    let (body, _) = rest.split_once("\n}").expect("the interface ends");
    let command = |line: &str| {
        let (name, rest) = line.trim().split_once('(')?;
        let (arguments, answer) = rest.split_once("): Promise<")?;
        let answer = answer.strip_suffix(">;")?.to_owned();
        let name = name.chars().fold(String::new(), |mut name, letter| {
            if letter.is_ascii_uppercase() {
                name.push('_');
            }
            name.push(letter.to_ascii_lowercase());
            name
        });
        let arguments = arguments.split(", ").filter_map(|each| each.split_once(": "));
        let arguments = arguments.map(|(name, ty)| (name.to_owned(), ty.to_owned())).collect();
        Some(Declared { name, arguments, answer })
    };
    body.lines().filter(|line| !line.trim().starts_with('/')).filter_map(command).collect()
}

/// What is not of this type at all.
pub(super) fn wrong(ty: &str) -> Vec<Value> {
    let mut all = vec![
        json!({ "__proto__": 1 }),
        json!([[]]),
        json!("\0"),
        json!(-1.5),
        json!(true),
        json!("x".repeat(70_000)),
    ];
    match ty.trim_end_matches(" | null") {
        "string" => all.retain(|value| !value.is_string()),
        // An order of the outbox, which is a number of any kind.
        "number" | "Seq" | "TimestampMs" => all.retain(|value| !value.is_number()),
        "boolean" => all.retain(|value| !value.is_boolean()),
        _ => {}
    }
    // Missing settings are the usual ones, so that a list of nothing is one too.
    if ty == "Settings" {
        all.retain(|value| !value.is_object());
    }
    if !ty.ends_with("| null") && ty != "Settings" {
        all.push(Value::Null);
    }
    all
}

/// What is of this type and was never meant.
fn hostile(ty: &str) -> Vec<Value> {
    let id = "0190a000-0000-7000-8000-00000000c001";
    match ty.trim_end_matches(" | null") {
        "string" => [
            "",
            "\0",
            "a\0b",
            "\u{202e}",
            "\u{feff}\u{200b}",
            "../../../etc/passwd",
            "\"; DROP TABLE messages; --",
            "javascript:alert(1)",
            "file:///etc/passwd",
            "http://[::1]:1/\r\nx: y",
            "<script>alert(1)</script>",
            "%n%s",
        ]
        .iter()
        .map(|text| json!(text))
        .chain([json!("\u{1f468}\u{200d}".repeat(60_000)), json!("e\u{301}".repeat(8_000))])
        .collect(),
        "boolean" => vec![json!(false)],
        "number" | "Seq" | "TimestampMs" => {
            [0.0, -1.0, 0.5, 1e308, -1e308, 9_007_199_254_740_993.0, 4_294_967_296.0]
                .map(|n| json!(n))
                .to_vec()
        }
        ids if ids.starts_with("Array<") => {
            vec![json!([]), json!([id]), json!([id, id]), json!(vec![id; 20_000])]
        }
        ids if ids.ends_with("Id") => vec![json!(id), json!("00000000-0000-0000-0000-000000000000")],
        "Anchor" => vec![
            json!({ "at": "before", "order": -1e308 }),
            json!({ "at": "from", "order": 1e308 }),
            json!({ "at": "around", "id": id }),
        ],
        _ => Vec::new(),
    }
}

/// A value that is as it should be.
pub(super) fn plain(ty: &str) -> Value {
    match ty {
        "string" => json!("plain text"),
        "boolean" => json!(false),
        "number" | "Seq" | "TimestampMs" => json!(1),
        "Anchor" => json!({ "at": "newest" }),
        "Role" => json!("member"),
        "Painted" => json!("list"),
        "Context" => json!({ "kind": "job", "id": "7" }),
        "PresenceState" => json!("online"),
        "NotificationMode" => json!("full"),
        "Settings" => {
            json!({ "theme": "system", "notifications": "full", "close_to_tray": true, "look_for_updates": true, "lock_after_minutes": 0 })
        }
        ty if ty.ends_with("| null") => Value::Null,
        ty if ty.starts_with("Array<") => json!([]),
        _ => json!("0190a000-0000-7000-8000-00000000c001"),
    }
}

impl Declared {
    /// The arguments with one of them replaced.
    fn with(&self, at: usize, value: Value) -> Value {
        let whole = self.arguments.iter().map(|(name, ty)| (name.clone(), plain(ty)));
        let mut whole: serde_json::Map<_, _> = whole.collect();
        whole.insert(self.arguments[at].0.clone(), value);
        whole.into()
    }

    pub(super) fn calls(&self, values: impl Fn(&str) -> Vec<Value>) -> Vec<(&str, Value)> {
        let places = self.arguments.iter().enumerate();
        places
            .flat_map(|(at, (_, ty))| values(ty).into_iter().map(move |value| (at, value)))
            .map(|(at, value)| (self.name.as_str(), self.with(at, value)))
            .collect()
    }
}

/// A refusal has a code of ours, or is Tauri's own, which says what did not fit.
pub(super) fn is_refusal(answer: &Value) -> bool {
    let error = &answer["error"];
    error["code"].as_str().is_some_and(|code| !code.is_empty())
        || error.as_str().is_some_and(|text| !text.is_empty())
}

fn short(value: &Value) -> String {
    value.to_string().chars().take(300).collect()
}

/// Calls whose right arguments end what the test still needs.
const ENDING: [&str; 2] = ["quit", "sign_out"];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "opens real windows: cargo xtask test windows"]
async fn sec_053_every_command_answers_hostile_arguments_and_goes_on() -> Result<()> {
    let stage = Stage::set().await?;
    let window = stage.window("ada").await?;
    stage.sign_up(&window, "ada", "Ada Lindqvist").await?;
    let commands = declared();
    let known: Vec<&str> = include_str!("../../../src-tauri/commands.txt").lines().collect();
    let mut names: Vec<&str> = commands.iter().map(|command| command.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, known, "every command of the table is called");

    let mut called = 0;
    for command in &commands {
        let mut refused = command.calls(wrong);
        if command.arguments.iter().any(|(_, ty)| !ty.ends_with("| null")) {
            refused.push((&command.name, json!({})));
        }
        for (call, answer) in refused.iter().zip(window.invoke_all(&refused).await?) {
            assert!(is_refusal(&answer), "{} {} gave {}", call.0, short(&call.1), short(&answer));
        }
        let mut answered = command.calls(hostile);
        if ENDING.contains(&command.name.as_str()) {
            answered.clear();
        }
        for part in answered.chunks(6) {
            for (call, answer) in part.iter().zip(window.invoke_all(part).await?) {
                let is_answer = answer.get("value").is_some() || is_refusal(&answer);
                assert!(is_answer, "{} {} gave {}", call.0, short(&call.1), short(&answer));
                let opens = call.0 == "open_link" && answer["error"]["code"] != "link_refused";
                assert!(!opens, "{}", short(&call.1));
            }
        }
        called += refused.len() + answered.len();
        let status = window.invoke("status", json!({})).await?;
        assert!(status.get("value").is_some(), "after {}: {status}", command.name);
    }
    assert!(called > 500, "{called} calls");
    assert!(is_running(window.pid()));
    window.quit().await
}

//! Neither tokens nor the database's key ever come to the page.

use super::calls::{declared, plain, wrong};
use crate::window_desktop::session_secret;
use anyhow::{Context, Result};
use base64::{Engine as _, engine::general_purpose};
use kith_tests::{
    until,
    window::{Stage, Window, run},
};
use serde_json::json;
use std::fs;

/// The ways in which bytes are written in text.
fn written(bytes: &[u8]) -> Vec<String> {
    let hex = |upper: bool| -> String {
        bytes.iter().map(|byte| if upper { format!("{byte:02X}") } else { format!("{byte:02x}") }).collect()
    };
    vec![
        hex(false),
        hex(true),
        general_purpose::STANDARD_NO_PAD.encode(bytes),
        general_purpose::URL_SAFE_NO_PAD.encode(bytes),
        json!(bytes).to_string(),
    ]
}

/// The tokens and the database key of a signed-in window, as texts that must not be seen.
async fn secrets(stage: &Stage, window: &Window) -> Result<Vec<String>> {
    let session = session_secret(stage, window).await?;
    let fields = session.as_object().context("the session's fields")?;
    let mut secrets: Vec<String> = fields
        .iter()
        .filter(|(name, _)| ["access", "refresh"].iter().any(|part| name.contains(part)))
        .filter_map(|(_, value)| value.as_str().map(str::to_owned))
        .collect();
    assert_eq!(secrets.len(), 2, "two tokens in the session's entry");
    // The signature alone would do for somebody who knows the rest.
    let signature = secrets.iter().find_map(|token| token.rsplit_once('.')).map(|(_, part)| part.to_owned());
    secrets.extend(signature);
    let user = window.invoke("app_state", json!({})).await?["value"]["account"]["me"]["id"].clone();
    let folder = fs::read_to_string(window.profile_dir().join("id"))?;
    let service = format!("kith/{}.{folder}/{}", window.profile(), stage.url());
    let name = format!("key {}", user.as_str().context("who is signed in")?);
    let key = tokio::process::Command::new("secret-tool")
        .args(["lookup", "service", &service, "username", &name])
        .output()
        .await?
        .stdout;
    assert_eq!(key.len(), 32, "the key's entry is {name}");
    secrets.extend(written(&key));
    Ok(secrets)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "opens real windows: cargo xtask test windows"]
async fn sec_054_no_token_and_no_key_comes_to_the_page() -> Result<()> {
    let stage = Stage::set().await?;
    let window = stage.window("ada").await?;
    stage.sign_up(&window, "ada", "Ada Lindqvist").await?;
    let eve = stage.engine("eve").await?;
    window
        .run(
            "window.heard = []; const hear = window.__TAURI_INTERNALS__.transformCallback((e) => window.heard.push(e)); \
             for (const event of ['engine', 'link', 'quit_asked']) \
               window.__TAURI_INTERNALS__.invoke('plugin:event|listen', { event, target: { kind: 'Any' }, handler: hear })",
        )
        .await?;
    let found = eve.engine().find_people("ada".to_owned()).await?;
    let talk =
        eve.engine().start_direct(found.first().context("ada is found")?.id, "Hello Ada".to_owned()).await?;
    window.sees("conversation-preview", "Hello Ada").await?;

    let (mut told, mut answered) = (String::new(), 0);
    let own = |ty: &str| match ty {
        "ConversationId" | "ConversationId | null" => json!(talk),
        "UserId" => json!(found[0].id),
        "Array<UserId>" => json!([found[0].id]),
        "string" => json!("ada"),
        ty => plain(ty),
    };
    for command in declared() {
        let arguments = command.arguments.iter().map(|(name, ty)| (name.clone(), own(ty)));
        let arguments: serde_json::Map<_, _> = arguments.collect();
        // Refusals are looked at as well. Whatever answers something by its type is called rightly, too.
        let mut calls = command.calls(wrong);
        let answers = command.answer != "void";
        if answers {
            calls.push((&command.name, arguments.into()));
        }
        let all = window.invoke_all(&calls).await?;
        answered += usize::from(answers && all.last().is_some_and(|last| last.get("value").is_some()));
        told.push_str(&json!(all).to_string());
    }
    assert!(answered > 10, "only {answered} commands answered a right call with something");
    let look = || async { window.run("return JSON.stringify(window.heard)").await.unwrap_or_default() };
    let heard =
        until("the page hears events", look, |heard| heard.to_string().contains("timeline_changed")).await;
    told.push_str(&heard.to_string());
    let page = window.run(
        "return document.documentElement.outerHTML + JSON.stringify({ ...localStorage, ...sessionStorage })",
    );
    told.push_str(&page.await?.to_string());

    assert!(told.contains("Hello Ada") && told.contains("Ada Lindqvist"), "the probe sees what is told");
    for secret in secrets(&stage, &window).await? {
        assert!(secret.len() > 20 && !told.contains(&secret), "a secret came to the page");
    }
    // None stands in the arguments of the process either, where every program of the system reads it.
    let line = run("cat", &[&format!("/proc/{}/cmdline", window.pid())]).await?;
    assert!(secrets(&stage, &window).await?.iter().all(|secret| !line.contains(secret)));
    window.quit().await
}

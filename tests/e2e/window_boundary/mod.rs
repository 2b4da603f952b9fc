//! What the real window's page can do and cannot: calls, policy, places to go, and what never comes to it.

mod calls;
mod secrets;

use anyhow::Result;
use calls::is_refusal;
use kith_tests::{
    until,
    window::{Stage, Window, windows_of},
};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "opens real windows: cargo xtask test windows"]
async fn sec_049_053_the_page_calls_what_it_was_given_and_nothing_else() -> Result<()> {
    let stage = Stage::set().await?;
    let window = stage.window("ada").await?;
    window.find("signin-submit").await?;
    let sly = json!({ "title": "x", "path": "/etc/passwd", "event": "engine", "payload": [], "url": "https://evil.example",
                      "label": "main", "value": true, "program": "sh", "urls": ["kith://start?with=bob"] });
    for command in [
        "plugin:window|set_title",
        "plugin:window|create",
        "plugin:webview|create_webview_window",
        "plugin:webview|internal_toggle_devtools",
        "plugin:fs|read_file",
        "plugin:shell|open",
        "plugin:opener|open_url",
        "plugin:http|fetch",
        "plugin:app|version",
        "plugin:path|resolve_directory",
        "plugin:event|emit",
        "plugin:event|emit_to",
        "plugin:deep-link|get_current",
        "plugin:window-state|save_window_state",
        "plugin:resources|close",
        "plugin:tray|new",
        "plugin:menu|new",
        "plugin:__TAURI_CHANNEL__|fetch",
        "eval",
        "engine",
        "access_token",
        "shutdown",
        "__proto__",
        "constructor",
        "../quit",
        "quit\0",
        "",
    ] {
        let answer = window.invoke(command, sly.clone()).await?;
        assert!(is_refusal(&answer), "{command} answered {answer}");
    }
    for url in ["file:///etc/passwd", "javascript:alert(1)", "smb://host/x", "kith://start?with=bob"] {
        let answer = window.invoke("open_link", json!({ "url": url })).await?;
        assert_eq!(answer["error"]["code"], json!("link_refused"), "{url}");
    }
    window.quit().await
}

/// Where the page is, once it answers again.
async fn place(window: &Window) -> String {
    let look = || async { window.run("return location.href + ' ' + (window.injected ?? '')").await.ok() };
    let place = until("the page answers", look, Option::is_some).await.unwrap_or_default();
    place.as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "opens real windows: cargo xtask test windows"]
async fn sec_050_051_the_page_is_whole_without_breaking_its_policy_and_cannot_break_it() -> Result<()> {
    let stage = Stage::set().await?;
    let window = stage.window("ada").await?;
    stage.sign_up(&window, "ada", "Ada Lindqvist").await?;
    window.watch_policy().await?;
    window.click("settings-button").await?;
    window.find("sign-out-button").await?;
    assert_eq!(window.strayed().await?, Vec::<String>::new());
    assert_eq!(window.judged().await?, Vec::<String>::new());
    let frozen = "return window.__TAURI__ === undefined && Object.isFrozen(Object.prototype)";
    assert_eq!(window.run(frozen).await?, json!(true));

    for (rule, attempt) in [
        (
            "script-src",
            "const s = document.createElement('script'); s.textContent = 'injected = 1'; document.body.append(s)",
        ),
        (
            "script-src",
            "const d = document.createElement('div'); d.innerHTML = '<img src onerror=\"injected = 2\">'; document.body.append(d)",
        ),
        ("script-src", "try { new Function('injected = 3')() } catch {}"),
        ("style-src", "document.body.setAttribute('style', 'display: none')"),
        (
            "style-src",
            "const s = document.createElement('style'); s.textContent = '*{display:none}'; document.head.append(s)",
        ),
        ("img-src", "new Image().src = 'https://evil.example/pixel.png'"),
        ("img-src", "new Image().src = 'data:image/gif;base64,R0lGODlhAQABAAAAACw='"),
        ("connect-src", "fetch('https://evil.example/').catch(() => 0)"),
        ("connect-src", "try { new WebSocket('wss://evil.example/') } catch {}"),
        (
            "frame-src",
            "const f = document.createElement('iframe'); f.src = 'https://evil.example/'; document.body.append(f)",
        ),
        (
            "base-uri",
            "const b = document.createElement('base'); b.href = 'https://evil.example/'; document.head.append(b)",
        ),
        (
            "form-action",
            "const f = document.createElement('form'); f.action = 'https://evil.example/'; document.body.append(f); f.submit()",
        ),
    ] {
        window.run("window.violations.length = 0").await?;
        window.run(attempt).await?;
        let look = || async { window.strayed().await.unwrap_or_default() };
        until(&format!("{rule} against {attempt}"), look, |seen| {
            seen.iter().any(|text| text.starts_with(rule))
        })
        .await;
    }
    let place = place(&window).await;
    assert!(place.starts_with("tauri://localhost") && place.ends_with(' '), "{place}");
    window.quit().await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "opens real windows: cargo xtask test windows"]
async fn sec_052_the_page_stays_where_it_is_and_alone() -> Result<()> {
    let stage = Stage::set().await?;
    let window = stage.window("ada").await?;
    window.find("signin-submit").await?;
    for elsewhere in [
        "https://example.org/",
        "http://tauri.evil.example/",
        "http://app.attacker.example/",
        "http://tauri.localhost.evil.example/",
        "http://tauri.localhost/",
        "http://ipc.localhost/quit",
        "http://localhost:1420/",
        &stage.url(),
        "tauri://evil/",
        "file:///etc/passwd",
        "data:text/html,<script>injected=1</script>",
        "about:blank",
    ] {
        for way in [
            "location.href = arguments",
            "location.replace(arguments)",
            "window.open(arguments)",
            "const a = document.createElement('a'); a.href = arguments; document.body.append(a); a.click()",
            "const a = document.createElement('a'); a.href = arguments; a.target = '_blank'; document.body.append(a); a.click()",
            "const a = document.createElement('a'); a.href = arguments; a.download = 'x'; document.body.append(a); a.click()",
        ] {
            window.run(&way.replace("arguments", &json!(elsewhere).to_string())).await?;
            let place = place(&window).await;
            assert!(
                place.starts_with("tauri://localhost") && place.ends_with(' '),
                "{way} to {elsewhere}: {place}"
            );
        }
    }
    let windows = windows_of(window.pid()).await?;
    assert_eq!(windows.len(), 1, "{windows:?}");
    window.find("signin-submit").await?;
    window.quit().await
}

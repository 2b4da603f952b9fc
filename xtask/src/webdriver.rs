//! A real window, driven through WebKit's own WebDriver.

use std::{net::TcpListener, path::Path, process::Stdio, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use serde_json::{Value, json};

use crate::{
    desk::Desk,
    http,
    process::{Background, background, until},
};

/// The key under which WebDriver names an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
/// A first start on a cold machine is slow.
const LIMIT: Duration = Duration::from_secs(60);

/// One window with the driver that holds it.
#[derive(Debug)]
pub struct Window {
    address: String,
    session: String,
    _driver: Background,
}

impl Window {
    /// Opens the app in a driver of its own (one driver serves one session).
    pub fn open(desk: &Desk, app: &Path, arguments: &[String]) -> Result<Self> {
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let mut driver = background("WebKitWebDriver");
        // Without this variable the app never answers the driver.
        desk.enter(&mut driver).env("TAURI_WEBVIEW_AUTOMATION", "true");
        driver.arg(format!("--port={port}")).stdout(Stdio::null()).stderr(Stdio::null());
        let driver = Background::start("WebKitWebDriver", &mut driver)?;
        let address = format!("127.0.0.1:{port}");
        until(LIMIT, "the WebDriver", || {
            Ok(http::request("GET", &address, "/status", None, None).is_ok().then_some(()))
        })?;
        let browser = json!({ "binary": app, "args": arguments });
        let wanted = json!({ "capabilities": { "alwaysMatch": { "webkitgtk:browserOptions": browser } } });
        let answer =
            http::request("POST", &address, "/session", None, Some(&wanted))?.ok("opening a window")?;
        let session = answer["value"]["sessionId"].as_str().context("a session's id")?.to_owned();
        Ok(Self { address, session, _driver: driver })
    }

    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let path = format!("/session/{}{path}", self.session);
        let answer = http::request(method, &self.address, &path, None, body)?;
        Ok(answer.ok(&path)?["value"].take())
    }

    /// Waits until an element is there and shown.
    pub fn find(&self, selector: &str) -> Result<String> {
        until(LIMIT, selector, || Ok(self.shown(selector)))
    }

    fn shown(&self, selector: &str) -> Option<String> {
        let question = json!({ "using": "css selector", "value": selector });
        let found = self.ask("POST", "/element", Some(&question)).ok()?;
        let id = found[ELEMENT].as_str()?;
        let shown = self.ask("GET", &format!("/element/{id}/displayed"), None);
        shown.is_ok_and(|shown| shown == true).then(|| id.to_owned())
    }

    /// Waits for one of two elements and says whether it is the first.
    pub fn either(&self, first: &str, second: &str) -> Result<bool> {
        until(LIMIT, &format!("{first} or {second}"), || {
            for (selector, is_first) in [(first, true), (second, false)] {
                if self.shown(selector).is_some() {
                    return Ok(Some(is_first));
                }
            }
            Ok(None)
        })
    }

    /// Clicks the first of several elements that shows a text.
    pub fn click_on(&self, selector: &str, text: &str) -> Result<()> {
        self.sees(selector, text)?;
        let script = "[...document.querySelectorAll(arguments[0])].find((e) => e.textContent.includes(arguments[1])).click()";
        self.ask("POST", "/execute/sync", Some(&json!({ "script": script, "args": [selector, text] })))?;
        Ok(())
    }

    pub fn click(&self, selector: &str) -> Result<()> {
        let id = self.find(selector)?;
        self.ask("POST", &format!("/element/{id}/click"), Some(&json!({})))?;
        Ok(())
    }

    /// Types into an element; `\u{e007}` is Enter.
    pub fn keys(&self, selector: &str, text: &str) -> Result<()> {
        let id = self.find(selector)?;
        self.ask("POST", &format!("/element/{id}/value"), Some(&json!({ "text": text })))?;
        Ok(())
    }

    /// Waits until the window shows a text somewhere inside the element.
    pub fn sees(&self, selector: &str, text: &str) -> Result<()> {
        let script = "return [...document.querySelectorAll(arguments[0])].some((e) => e.textContent.includes(arguments[1]))";
        let question = json!({ "script": script, "args": [selector, text] });
        until(LIMIT, &format!("{text:?} in {selector}"), || {
            Ok(self
                .ask("POST", "/execute/sync", Some(&question))
                .is_ok_and(|found| found == true)
                .then_some(()))
        })
    }

    /// Writes a picture of the window, after two frames have been drawn (an earlier one may be stale).
    pub fn picture(&self, path: &Path) -> Result<()> {
        let script = "const d = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => d(1)))";
        self.ask("POST", "/execute/async", Some(&json!({ "script": script, "args": [] })))?;
        let Value::String(picture) = self.ask("GET", "/screenshot", None)? else { bail!("no picture") };
        let bytes =
            base64::engine::general_purpose::STANDARD.decode(picture).context("a picture in base64")?;
        ensure!(!bytes.is_empty(), "an empty picture");
        std::fs::write(path, bytes).with_context(|| format!("writing {}", path.display()))
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // The driver closes the app with the session; without an answer it is ended with the driver's process group.
        let _ = self.ask("DELETE", "", None);
    }
}

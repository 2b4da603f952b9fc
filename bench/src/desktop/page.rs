//! A driven window: the app under WebKit's own WebDriver, asked in its page's own clock.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::{
    net::TcpListener,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::process::{Child, Command};

const LIMIT: Duration = Duration::from_secs(120);
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// What every question may use: `until(fact)` asks once a frame and answers when it holds; `drawn()` is the end of the
/// next frame; `q` and `all` find by test id.
const WORDS: &str = "\
const drawn = () => new Promise((done) => requestAnimationFrame(() => { \
  const channel = new MessageChannel(); channel.port1.onmessage = () => done(); channel.port2.postMessage(0); })); \
const until = async (fact) => { const end = performance.now() + 60000; let seen; \
  while (!(seen = fact())) { if (performance.now() > end) throw new Error('never: ' + fact); await drawn(); } return seen; }; \
const all = (id, more = '') => [...document.querySelectorAll(`[data-testid=${id}]${more}`)]; \
const q = (id, more) => all(id, more)[0];";

pub struct Page {
    address: String,
    http: reqwest::Client,
    driver: Child,
}

impl Page {
    /// Opens the app in a driver of its own.
    pub async fn open(app: &Path, arguments: &[String]) -> Result<Self> {
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let driver = Command::new("WebKitWebDriver")
            .arg(format!("--port={port}"))
            // Without this variable the app never answers the driver.
            .env("TAURI_WEBVIEW_AUTOMATION", "true")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("starting WebKitWebDriver")?;
        let http = reqwest::Client::builder().timeout(LIMIT).build()?;
        let root = format!("http://127.0.0.1:{port}");
        let end = Instant::now() + LIMIT;
        while http.get(format!("{root}/status")).send().await.is_err() {
            anyhow::ensure!(Instant::now() < end, "the WebDriver does not answer");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let browser = json!({ "binary": app, "args": arguments });
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "webkitgtk:browserOptions": browser, "timeouts": { "script": 90_000 } } } });
        let mut page = Self { address: format!("{root}/session"), http, driver };
        let session = page.ask("", &wanted).await.context("opening a window")?;
        let session = session["sessionId"].as_str().context("a session's id")?;
        page.address = format!("{}/{session}", page.address);
        Ok(page)
    }

    async fn ask(&self, path: &str, body: &Value) -> Result<Value> {
        let answer = self.http.post(format!("{}{path}", self.address)).json(body).send().await?;
        let is_good = answer.status().is_success();
        let mut answer: Value = answer.json().await?;
        if !is_good {
            bail!("{path}: {}", answer["value"]["message"]);
        }
        Ok(answer["value"].take())
    }

    /// Runs a script that may wait and answers what it returns.
    pub async fn run(&self, script: &str, arguments: Value) -> Result<Value> {
        let script = format!(
            "const done = arguments[arguments.length - 1]; const given = arguments[0]; {WORDS} \
             (async () => {{ {script} }})().then((value) => done({{ value: value ?? null }}), (error) => done({{ error: String(error) }}))"
        );
        let mut answer =
            self.ask("/execute/async", &json!({ "script": script, "args": [arguments] })).await?;
        if let Some(error) = answer["error"].as_str() {
            bail!("in the page: {error}");
        }
        Ok(answer["value"].take())
    }

    /// A list of milliseconds that a script measured.
    pub async fn times(&self, script: &str, arguments: Value) -> Result<Vec<f64>> {
        Ok(serde_json::from_value(self.run(script, arguments).await?)?)
    }

    /// Types into the element with this test id, key by key.
    pub async fn keys(&self, id: &str, text: &str) -> Result<()> {
        let selector = format!("[data-testid={id}]");
        let found = self.ask("/element", &json!({ "using": "css selector", "value": selector })).await?;
        let element = found[ELEMENT].as_str().with_context(|| format!("no {id}"))?;
        self.ask(&format!("/element/{element}/value"), &json!({ "text": text })).await.map(drop)
    }

    /// The app's process: the driver's child.
    pub fn app(&self) -> Result<u32> {
        let driver = self.driver.id().context("the driver has ended")?;
        let children = std::fs::read_to_string(format!("/proc/{driver}/task/{driver}/children"))?;
        Ok(children.split_whitespace().next().context("no app below the driver")?.parse()?)
    }

    /// Closes the window and ends the driver.
    pub async fn close(mut self) -> Result<()> {
        let app = self.app()?;
        std::process::Command::new("kill").args(["-TERM", &app.to_string()]).status()?;
        let end = Instant::now() + Duration::from_secs(15);
        while self.app().is_ok_and(|now| now == app) && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(self.driver.kill().await?)
    }
}

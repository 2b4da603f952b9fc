//! Real windows: the built app under WebKit's own WebDriver, the built server as a process, and the desktop around them.
//!
//! They need a display, a session bus, a window manager, a keyring and a notification daemon: `cargo xtask test` (or
//! `cargo xtask desk`) provides them. Elsewhere the tests cannot pass, so they are ignored unless asked for.

mod bus;
mod desktop;
mod stage;

pub use bus::Bus;
pub use desktop::{Notification, is_running, run, windows_of};
pub use stage::{Logged, Stage, password};

use crate::until;
use anyhow::{Context, Result, bail};
use fantoccini::{Client, ClientBuilder, Locator, elements::Element, key::Key};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::{
    net::TcpListener,
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::process::{Child, Command};

pub const APP: &str = "KITH_APP";
pub const SERVER: &str = "KITH_SERVER";

/// How long a first start on a loaded machine may take.
const PATIENCE: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_millis(50);

/// A message as a window shows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Shown {
    pub id: String,
    pub mine: bool,
    /// The tick of an own one.
    pub state: Option<String>,
    pub text: String,
}

/// One window with the driver that holds it.
pub struct Window {
    profile: String,
    data_dir: PathBuf,
    pid: u32,
    client: Client,
    _driver: Child,
}

impl Window {
    /// Opens the app on a profile and waits until its page is there.
    pub(crate) async fn open(
        app: &str,
        profile: &str,
        data_dir: PathBuf,
        arguments: Vec<String>,
        environment: &[(&str, String)],
    ) -> Result<Self> {
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let driver = Command::new("WebKitWebDriver")
            .arg(format!("--port={port}"))
            // Without this variable the app never answers the driver.
            .env("TAURI_WEBVIEW_AUTOMATION", "true")
            // The app has it from the driver. A restart for safer drawing would leave the driver behind.
            .env("KITH_SAFE_RENDERING", "false")
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("starting WebKitWebDriver")?;
        let mut wanted = Map::new();
        wanted.insert("webkitgtk:browserOptions".to_owned(), json!({ "binary": app, "args": arguments }));
        let end = Instant::now() + PATIENCE;
        let client = loop {
            let connector = hyper_util::client::legacy::connect::HttpConnector::new();
            let address = format!("http://127.0.0.1:{port}");
            let mut builder = ClientBuilder::new(connector);
            let connect = builder.capabilities(wanted.clone()).connect(&address);
            match tokio::time::timeout(PATIENCE, connect).await.context("the window did not open")? {
                Ok(client) => break client,
                Err(_) if Instant::now() < end => tokio::time::sleep(STEP).await,
                Err(error) => return Err(error).context("opening a window"),
            }
        };
        let pid = desktop::pid_of(app, profile, &data_dir).context("the app's process")?;
        Ok(Self { profile: profile.to_owned(), data_dir, pid, client, _driver: driver })
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    pub fn profile(&self) -> &str {
        &self.profile
    }

    pub fn profile_dir(&self) -> PathBuf {
        self.data_dir.join(&self.profile)
    }

    /// Waits until an element with this test id (and more, `name[data-x=y]`) is shown.
    pub async fn find(&self, what: &str) -> Result<Element> {
        let selector = selector(what);
        let end = Instant::now() + PATIENCE;
        loop {
            for element in self.client.find_all(Locator::Css(&selector)).await.unwrap_or_default() {
                if element.is_displayed().await.unwrap_or(false) {
                    return Ok(element);
                }
            }
            if Instant::now() > end {
                bail!("{}: no {selector} in\n{}", self.profile, self.text().await);
            }
            tokio::time::sleep(STEP).await;
        }
    }

    /// Clicks it, once it is there.
    pub async fn click(&self, what: &str) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.find(what).await?.click().await {
                Ok(()) => return Ok(()),
                // A list may be drawn anew between finding and clicking.
                Err(_) if Instant::now() < end => tokio::time::sleep(STEP).await,
                Err(error) => {
                    return Err(error).with_context(|| format!("{}: clicking {what}", self.profile));
                }
            }
        }
    }

    /// Types into it, in the place of what is there.
    pub async fn fill(&self, what: &str, text: &str) -> Result<()> {
        let element = self.find(what).await?;
        element.clear().await.with_context(|| format!("emptying {what}"))?;
        element.send_keys(text).await.with_context(|| format!("typing into {what}"))
    }

    /// Writes a message in the open conversation and presses Enter.
    pub async fn say(&self, text: &str) -> Result<()> {
        let composer = self.find("composer-input").await?;
        composer.send_keys(text).await.context("typing a message")?;
        composer.send_keys(&Key::Enter.to_string()).await.context("sending a message")
    }

    /// Waits until some element with this test id holds the text.
    pub async fn sees(&self, what: &str, text: &str) -> Result<()> {
        let script = "return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)";
        let selector = selector(what);
        self.until(&format!("{text:?} in {what}"), script, vec![json!(selector)], |seen: &Vec<String>| {
            seen.iter().any(|seen| seen.contains(text))
        })
        .await
        .map(drop)
    }

    /// Elements with this test id count as seen: [`Window::next`] waits for another one.
    pub async fn seen(&self, what: &str) -> Result<()> {
        let script = "document.querySelectorAll(arguments[0]).forEach((e) => (e.dataset.seen = 'yes'))";
        Ok(self.client.execute(script, vec![json!(selector(what))]).await.map(drop)?)
    }

    /// Waits until an element with this test id comes that was not seen before, and returns an attribute of it.
    pub async fn next(&self, what: &str, attribute: &str) -> Result<String> {
        let script = "return document.querySelector(arguments[0])?.getAttribute(arguments[1]) ?? null";
        let selector = format!("{}:not([data-seen])", selector(what));
        let arguments = vec![json!(selector), json!(attribute)];
        let found = self.until(&selector, script, arguments, Option::<String>::is_some).await?;
        Ok(found.unwrap_or_default())
    }

    /// Waits until no element with this test id is shown.
    pub async fn sees_no(&self, what: &str) -> Result<()> {
        let script = "return document.querySelectorAll(arguments[0]).length";
        self.until(&format!("no {what}"), script, vec![json!(selector(what))], |count: &u32| *count == 0)
            .await
            .map(drop)
    }

    /// Waits until the open conversation's messages are such, and returns them.
    pub async fn shows(&self, what: &str, fact: impl Fn(&[Shown]) -> bool) -> Result<Vec<Shown>> {
        let script = "return [...document.querySelectorAll('[data-testid=message]')].map((m) => ({ id: m.dataset.id, \
                      mine: m.dataset.mine === 'true', state: m.dataset.state ?? null, \
                      text: m.querySelector('[data-testid=message-text]')?.textContent ?? '' }))";
        self.until(what, script, Vec::new(), |seen: &Vec<Shown>| fact(seen)).await
    }

    /// Waits until the connection line says this.
    pub async fn link_is(&self, state: &str) -> Result<()> {
        let script = "return document.querySelector('[data-testid=link-state]')?.dataset.state ?? null";
        self.until(&format!("the link {state}"), script, Vec::new(), |seen: &Option<String>| {
            seen.as_deref() == Some(state)
        })
        .await
        .map(drop)
    }

    /// The id of the conversation that is open, if one is.
    pub async fn open_conversation(&self) -> Result<Option<String>> {
        let script = "return document.querySelector('[data-testid=conversation-row][aria-current]')?.dataset.id ?? null";
        Ok(serde_json::from_value(self.client.execute(script, Vec::new()).await?)?)
    }

    /// Calls a command as the page could.
    pub async fn invoke(&self, command: &str, arguments: Value) -> Result<Value> {
        let script = "const [name, args, done] = arguments; \
                      window.__TAURI_INTERNALS__.invoke(name, args).then((value) => done({ value }), (error) => done({ error }))";
        Ok(self.client.execute_async(script, vec![json!(command), arguments]).await?)
    }

    /// Calls commands as the page could, one after the other; one that does not answer in time is an error without a code.
    pub async fn invoke_all(&self, calls: &[(&str, Value)]) -> Result<Vec<Value>> {
        let script = "const [calls, limit, done] = arguments; (async () => { const answers = []; \
                      for (const [name, args] of calls) { \
                        const late = new Promise((_, no) => setTimeout(() => no({ unanswered: name }), limit)); \
                        const call = window.__TAURI_INTERNALS__.invoke(name, args); \
                        answers.push(await Promise.race([call, late]).then((value) => ({ value: value ?? null }), (error) => ({ error }))); \
                      } done(answers); })()";
        let limit = json!(PATIENCE.as_millis() as u64 / 4);
        let answers = self.client.execute_async(script, vec![json!(calls), limit]).await?;
        Ok(serde_json::from_value(answers)?)
    }

    /// Everything that is drawn and does not belong there, by the interface's own judge.
    pub async fn judged(&self) -> Result<Vec<String>> {
        let judge = include_str!("../../ui/src/judge.js").replace("export function", "function");
        Ok(serde_json::from_value(self.run(&format!("{judge}; return judge(document)")).await?)?)
    }

    /// From here on, and as far back as the page remembers, what the content policy has refused is written down.
    pub async fn watch_policy(&self) -> Result<()> {
        let script = "window.violations = []; \
                      const note = (what, where) => window.violations.push(`${what} ${where}`); \
                      addEventListener('securitypolicyviolation', (e) => note(e.effectiveDirective, e.blockedURI)); \
                      new ReportingObserver((all) => all.forEach(({ body }) => note(body.effectiveDirective, body.blockedURL)), \
                        { types: ['csp-violation'], buffered: true }).observe();";
        self.run(script).await.map(drop)
    }

    /// What the content policy has refused, and what was loaded from elsewhere than the app.
    pub async fn strayed(&self) -> Result<Vec<String>> {
        let script = "const done = arguments[0]; \
                      const loaded = performance.getEntriesByType('resource').map((entry) => entry.name) \
                        .filter((name) => !/^(tauri|ipc):\\/\\/localhost\\//.test(name)); \
                      requestAnimationFrame(() => setTimeout(() => done([...window.violations, ...loaded])))";
        Ok(serde_json::from_value(self.client.execute_async(script, Vec::new()).await?)?)
    }

    /// Runs a script in the page.
    pub async fn run(&self, script: &str) -> Result<Value> {
        Ok(self.client.execute(script, Vec::new()).await?)
    }

    /// Writes a picture of the page, after two frames have been drawn (an earlier one may be stale).
    pub async fn picture(&self, name: &str) -> Result<()> {
        let Ok(dir) = std::env::var("KITH_PICTURES") else { return Ok(()) };
        let script = "const d = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => d(1)))";
        self.client.execute_async(script, Vec::new()).await?;
        std::fs::create_dir_all(&dir)?;
        std::fs::write(PathBuf::from(dir).join(format!("{name}.png")), self.client.screenshot().await?)?;
        Ok(())
    }

    /// Quits as from the menu, and waits until the process has ended.
    pub async fn quit(self) -> Result<()> {
        let script = "window.__TAURI_INTERNALS__.invoke('quit', { force: true })";
        // The page may be gone before it can answer.
        let _ = tokio::time::timeout(Duration::from_secs(5), self.client.execute(script, Vec::new())).await;
        self.ended().await;
        Ok(())
    }

    /// Waits until the app's process has ended by itself.
    pub async fn ended(self) {
        let pid = self.pid;
        until("the app ended", || async { desktop::is_running(pid) }, |running| !running).await;
    }

    /// Brings the window to the front, so that what it shows counts as read.
    pub async fn focus(&self) -> Result<()> {
        let window = desktop::window_of(self.pid).await?;
        run("wmctrl", &["-i", "-a", &window]).await?;
        let script = "return document.hasFocus()";
        self.until("the focus", script, Vec::new(), |focused: &bool| *focused).await.map(drop)
    }

    async fn until<T>(
        &self,
        what: &str,
        script: &str,
        arguments: Vec<Value>,
        fact: impl Fn(&T) -> bool,
    ) -> Result<T>
    where
        T: serde::de::DeserializeOwned + std::fmt::Debug,
    {
        let end = Instant::now() + PATIENCE;
        loop {
            let seen = self.client.execute(script, arguments.clone()).await;
            let seen =
                seen.map_err(anyhow::Error::from).and_then(|value| Ok(serde_json::from_value::<T>(value)?));
            match seen {
                Ok(seen) if fact(&seen) => return Ok(seen),
                seen if Instant::now() > end => {
                    let _ = self.picture(&format!("failed-{}", self.profile)).await;
                    bail!("{}: {what}: {seen:#?} in\n{}", self.profile, self.text().await)
                }
                _ => tokio::time::sleep(STEP).await,
            }
        }
    }

    async fn text(&self) -> String {
        let text = self.client.execute("return document.body.innerText", Vec::new()).await;
        let text = text.ok().and_then(|text| text.as_str().map(str::to_owned)).unwrap_or_default();
        let status = self.invoke("status", json!({})).await.map(|status| status["value"].to_string());
        format!("{text}\nthe engine says {}", status.unwrap_or_default())
    }
}

/// `name` or `name[data-x="y"]` as a selector.
fn selector(what: &str) -> String {
    let (name, more) = what.split_at(what.find('[').unwrap_or(what.len()));
    format!("[data-testid=\"{name}\"]{more}")
}

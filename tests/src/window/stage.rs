//! A server process with a database of its own, and the windows before it.

use super::{APP, SERVER, Window};
use crate::{Client, Proxy, until};
use anyhow::{Context, Result};
use kith_pgbox::testing::TestDb;
use sqlx::PgPool;
use std::{
    env,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tempfile::TempDir;
use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, Command},
};

/// Everything one story needs.
pub struct Stage {
    app: String,
    server: String,
    port: u16,
    process: Option<Child>,
    db: TestDb,
    home: TempDir,
}

/// A message as PostgreSQL holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    pub conversation: String,
    pub id: String,
    pub text: String,
}

impl Stage {
    pub async fn set() -> Result<Self> {
        let mut stage = Self {
            app: env::var(APP).with_context(|| format!("{APP} names the app"))?,
            server: env::var(SERVER).with_context(|| format!("{SERVER} names the server"))?,
            port: TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port(),
            process: None,
            db: kith_pgbox::testing::fresh_database("bare", |_| async { Ok(()) }).await?,
            home: tempfile::tempdir()?,
        };
        stage.start_server().await?;
        Ok(stage)
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The folder with the profiles.
    pub fn data_dir(&self) -> PathBuf {
        self.home.path().join("profiles")
    }

    /// Starts the server and waits until it is ready.
    pub async fn start_server(&mut self) -> Result<()> {
        let server = Command::new(&self.server)
            .arg("serve")
            .env("DATABASE_URL", self.db.url())
            .env("KITH_LISTEN", format!("127.0.0.1:{}", self.port))
            .env("KITH_SIGNUP", "open")
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("starting the server")?;
        self.process = Some(server);
        let ready = format!("{}/readyz", self.url());
        let look = || async { reqwest::get(&ready).await.is_ok_and(|answer| answer.status().is_success()) };
        until("the server is ready", look, |ready| *ready).await;
        Ok(())
    }

    /// Kills the server in the middle of whatever it does.
    pub async fn kill_server(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill().await?;
        }
        Ok(())
    }

    /// Makes an account without a window.
    pub async fn account(&self, username: &str, display_name: &str) -> Result<()> {
        let body = kith_protocol::api::CreateAccount {
            username: username.to_owned(),
            password: password(username),
            display_name: display_name.to_owned(),
            invite: None,
        };
        let address = format!("{}/v1/accounts", self.url());
        reqwest::Client::new().post(address).json(&body).send().await?.error_for_status()?;
        Ok(())
    }

    /// Somebody with an engine and no window.
    pub async fn engine(&self, name: &str) -> Result<Client> {
        let client = Client::new(name, Proxy::start(([127, 0, 0, 1], self.port).into()).await?).await?;
        client.sign_up().await?;
        Ok(client)
    }

    /// Opens the window of a profile.
    pub async fn window(&self, profile: &str) -> Result<Window> {
        self.window_with(profile, &[]).await
    }

    /// Opens the window of a profile with more arguments.
    pub async fn window_with(&self, profile: &str, more: &[&str]) -> Result<Window> {
        if more.iter().any(|argument| argument.starts_with("kith:")) {
            // A link is the only argument of its start.
            let arguments = more.iter().map(|argument| (*argument).to_owned()).collect();
            let data_dir = self.data_dir().to_string_lossy().into_owned();
            let environment = [("KITH_PROFILE", profile.to_owned()), ("KITH_PROFILES_DIR", data_dir)];
            return Window::open(&self.app, profile, self.data_dir(), arguments, &environment).await;
        }
        let arguments = self.arguments(profile, more);
        Window::open(&self.app, profile, self.data_dir(), arguments, &[]).await
    }

    /// Opens the window of a profile in another environment.
    pub async fn window_in(&self, profile: &str, environment: &[(&str, String)]) -> Result<Window> {
        let arguments = self.arguments(profile, &[]);
        Window::open(&self.app, profile, self.data_dir(), arguments, environment).await
    }

    pub fn app(&self) -> &Path {
        Path::new(&self.app)
    }

    /// Opens the window of a profile with another program, with more arguments and in another environment.
    pub async fn window_of(
        &self,
        app: &Path,
        profile: &str,
        more: &[&str],
        environment: &[(&str, String)],
    ) -> Result<Window> {
        let arguments = self.arguments(profile, more);
        Window::open(&app.to_string_lossy(), profile, self.data_dir(), arguments, environment).await
    }

    /// Starts the app on a profile in another environment, without a driver.
    pub fn start(&self, profile: &str, environment: &[(&str, String)]) -> Result<Child> {
        Command::new(&self.app)
            .args(self.arguments(profile, &[]))
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .kill_on_drop(true)
            .spawn()
            .context("starting the app")
    }

    /// Starts the app once more on a profile, without a driver, and waits until that process has ended.
    pub async fn start_again(&self, profile: &str, more: &[&str]) -> Result<std::process::ExitStatus> {
        let mut second = Command::new(&self.app);
        if more.iter().any(|argument| argument.starts_with("kith:")) {
            // A link is the only argument of its start.
            second.args(more).env("KITH_PROFILE", profile).env("KITH_PROFILES_DIR", self.data_dir());
        } else {
            second.args(self.arguments(profile, more));
        }
        let mut second = second.kill_on_drop(true).spawn()?;
        Ok(tokio::time::timeout(Duration::from_secs(30), second.wait())
            .await
            .context("a second process stayed")??)
    }

    /// Signs a profile in without a window, by `kith sign-in`, and returns whether it worked and what it said.
    pub async fn sign_in(&self, profile: &str, username: &str, password: &str) -> Result<(bool, String)> {
        let arguments = self.arguments(profile, &["sign-in", "--username", username, "--password-stdin"]);
        let mut process = Command::new(&self.app)
            .args(arguments)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("starting kith sign-in")?;
        let mut input = process.stdin.take().context("its input")?;
        input.write_all(format!("{password}\n").as_bytes()).await?;
        drop(input);
        let output = tokio::time::timeout(Duration::from_secs(60), process.wait_with_output()).await??;
        Ok((output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned()))
    }

    fn arguments(&self, profile: &str, more: &[&str]) -> Vec<String> {
        let data_dir = self.data_dir().to_string_lossy().into_owned();
        let url = self.url();
        let own = ["--profile", profile, "--data-dir", &data_dir, "--server", &url];
        own.iter().chain(more).map(|argument| (*argument).to_owned()).collect()
    }

    /// Signs up in the window.
    pub async fn sign_up(&self, window: &Window, username: &str, display_name: &str) -> Result<()> {
        window.click("signin-switch").await?;
        window.fill("signin-server", &self.url()).await?;
        window.fill("signin-display-name", display_name).await?;
        window.fill("signin-username", username).await?;
        window.fill("signin-password", &password(username)).await?;
        window.click("signin-submit").await?;
        window.find("new-chat-button").await?;
        window.link_is("connected").await
    }

    /// Every message in PostgreSQL, by conversation and seq.
    pub async fn log(&self) -> Result<Vec<Logged>> {
        let pool = PgPool::connect(self.db.url()).await?;
        let rows: Vec<(String, String, Option<String>)> = sqlx::query_as(
            "SELECT c.id::text, e.id::text, e.body FROM events e JOIN conversations c ON c.key = e.conversation_key \
             WHERE e.kind = 'message' ORDER BY c.id, e.seq",
        )
        .fetch_all(&pool)
        .await?;
        pool.close().await;
        rows.into_iter()
            .map(|(conversation, id, body)| {
                let body: serde_json::Value = serde_json::from_str(body.as_deref().unwrap_or("null"))?;
                let text = body["text"].as_str().unwrap_or_default().to_owned();
                Ok(Logged { conversation, id, text })
            })
            .collect()
    }
}

/// Everybody's password on a stage.
pub fn password(username: &str) -> String {
    format!("{username} keeps a secret")
}

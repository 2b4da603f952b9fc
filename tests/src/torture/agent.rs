//! An engine's process as a run sees it: orders go in, what it says is kept, and it may die at any moment.

use super::{
    disk::Disk,
    server::guarded,
    words::{Operation, Order, Report, Said},
};
use crate::Proxy;
use anyhow::{Context, Result, ensure};
use kith_protocol::{ConversationId, EventId, UserId};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, ChildStdout},
    task::JoinHandle,
};

/// An agent that is asked to end gets this long.
const QUIT_WITHIN: Duration = Duration::from_secs(20);

/// What came of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The agent died: done or not.
    Unknown,
    /// Accepted; the id is a message's.
    Done(Option<EventId>),
    Refused(String),
}

/// Everything that an agent has said in all its incarnations.
#[derive(Debug, Default)]
pub struct Heard {
    pub user: Option<UserId>,
    pub made: Option<ConversationId>,
    /// In the order of doing.
    pub operations: Vec<(Operation, End)>,
    /// Messages that the engine accepted.
    pub messages: u64,
    /// What was refused or met trouble, by code.
    pub refused: BTreeMap<String, u32>,
    /// Unsent items that came out of damaged files.
    pub salvaged: u32,
    /// Of the present incarnation.
    pub report: Option<Report>,
    pub is_ready: bool,
}

impl Heard {
    fn take(&mut self, said: Said) {
        match said {
            Said::Ready { user } => {
                self.user = Some(user);
                self.is_ready = true;
            }
            Said::Made { conversation } => self.made = Some(conversation),
            Said::Will { operation } => self.operations.push((operation, End::Unknown)),
            Said::Did { operation, id } => {
                self.messages += u64::from(matches!(operation, Operation::Message { .. }));
                self.end(End::Done(id));
            }
            Said::Refused { code, .. } => {
                *self.refused.entry(code.clone()).or_default() += 1;
                self.end(End::Refused(code));
            }
            Said::Report(report) => self.report = Some(report),
            Said::Trouble { code } => *self.refused.entry(code).or_default() += 1,
            Said::Mended { salvaged } => self.salvaged += salvaged,
        }
    }

    fn end(&mut self, end: End) {
        if let Some((_, last)) = self.operations.last_mut() {
            *last = end;
        }
    }
}

struct Incarnation {
    child: Child,
    stdin: ChildStdin,
    listening: JoinHandle<()>,
    is_armed: bool,
}

/// A device of somebody, with its folder, its network and its present process.
pub struct Agent {
    pub name: String,
    pub emoji: String,
    pub folder: PathBuf,
    pub proxy: Proxy,
    /// Its profile lies there, if it has one of its own.
    pub disk: Option<Disk>,
    /// By how much its clock is wrong.
    wrong_by_ms: i64,
    /// Index of its first operation after the last restore.
    pub set_back_at: usize,
    /// Its file was damaged at least once.
    pub was_corrupted: bool,
    /// Its file was corrupted, and not replaced yet.
    pub is_corrupted: bool,
    /// How often it replaced a file that nobody had corrupted since the last time.
    pub replaced_intact: u32,
    program: PathBuf,
    flags: Vec<String>,
    seed: u64,
    incarnations: u64,
    heard: Arc<Mutex<Heard>>,
    incarnation: Option<Incarnation>,
    /// When it comes back.
    pub back_at: Option<Instant>,
}

impl Agent {
    pub fn new(
        program: &Path,
        folder: PathBuf,
        proxy: Proxy,
        (name, emoji): (&str, &str),
        seed: u64,
        flags: &[&str],
    ) -> Self {
        Self {
            name: name.to_owned(),
            emoji: emoji.to_owned(),
            folder,
            proxy,
            disk: None,
            wrong_by_ms: 0,
            set_back_at: 0,
            was_corrupted: false,
            is_corrupted: false,
            replaced_intact: 0,
            program: program.to_owned(),
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            seed,
            incarnations: 0,
            heard: Arc::default(),
            incarnation: None,
            back_at: None,
        }
    }

    /// How reports call it.
    pub fn label(&self) -> String {
        format!("{} {}", self.name, self.emoji)
    }

    pub fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn is_alive(&self) -> bool {
        self.incarnation.is_some()
    }

    /// Starts its next incarnation.
    pub fn start(&mut self, fail_point: Option<String>) -> Result<()> {
        ensure!(self.incarnation.is_none(), "{} incarnations", self.name);
        self.incarnations += 1;
        self.back_at = None;
        {
            let mut heard = self.heard();
            (heard.is_ready, heard.report) = (false, None);
        }
        let mut command = guarded(&self.program);
        command
            .arg(&self.folder)
            .args([
                &self.proxy.url(),
                &self.name,
                &(self.seed * 10_000 + self.incarnations).to_string(),
                &self.emoji,
            ])
            .args(&self.flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::options().create(true).append(true).open(self.log())?);
        command.env(kith_failpoint::clock::VARIABLE, self.wrong_by_ms.to_string());
        let is_armed = fail_point.is_some();
        if let Some(fail_point) = fail_point {
            command.env(kith_failpoint::VARIABLE, fail_point);
        }
        let mut child = command.spawn().with_context(|| format!("starting {}", self.program.display()))?;
        let stdin = child.stdin.take().context("a piped input")?;
        let stdout = child.stdout.take().context("a piped output")?;
        let listening = tokio::spawn(listen(stdout, self.heard.clone()));
        self.incarnation = Some(Incarnation { child, stdin, listening, is_armed });
        Ok(())
    }

    fn log(&self) -> PathBuf {
        self.folder.join("stderr.log")
    }

    /// The end of what it wrote to standard error.
    pub fn last_words(&self) -> String {
        let text = std::fs::read_to_string(self.log()).unwrap_or_default();
        text.lines().rev().take(5).collect::<Vec<_>>().join(" | ")
    }

    /// Sets its clock wrong, in this incarnation and those that follow.
    pub async fn set_clock(&mut self, wrong_by_ms: i64) -> Result<()> {
        self.wrong_by_ms = wrong_by_ms;
        self.order(&Order::Clock { wrong_by_ms }).await
    }

    /// Counts the damaged files that its engine has set aside, and removes them to have the space back.
    pub fn look_for_replaced(&mut self) {
        let Ok(entries) = std::fs::read_dir(self.folder.join("default")) else { return };
        for entry in entries.filter_map(Result::ok) {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some((_, stamp)) = name.split_once(".db.damaged-") else { continue };
            let is_gone = std::fs::remove_file(entry.path()).is_ok();
            let is_file =
                !["-wal", "-shm", "-journal", ".before-upgrade"].iter().any(|end| stamp.ends_with(end));
            if is_gone && is_file && !std::mem::take(&mut self.is_corrupted) {
                self.replaced_intact += 1;
            }
        }
    }

    pub async fn order(&mut self, order: &Order) -> Result<()> {
        if let Some(incarnation) = &mut self.incarnation {
            let mut line = serde_json::to_vec(order)?;
            line.push(b'\n');
            // One that has just died gets it in its next incarnation.
            let _ = incarnation.stdin.write_all(&line).await;
        }
        Ok(())
    }

    /// If its process has ended: how, and whether a fail point was set.
    pub async fn found_dead(&mut self) -> Option<(ExitStatus, bool)> {
        let status = self.incarnation.as_mut()?.child.try_wait().ok().flatten()?;
        let is_armed = self.incarnation.as_ref().is_some_and(|incarnation| incarnation.is_armed);
        self.bury().await;
        Some((status, is_armed))
    }

    pub async fn kill(&mut self) {
        if let Some(incarnation) = &mut self.incarnation {
            // It may have ended by itself.
            let _ = incarnation.child.kill().await;
        }
        self.bury().await;
    }

    /// Hears what it still said.
    async fn bury(&mut self) {
        if let Some(incarnation) = self.incarnation.take() {
            drop(incarnation.stdin);
            let _ = incarnation.listening.await;
        }
    }

    pub async fn quit(&mut self) -> Result<()> {
        self.order(&Order::Quit).await?;
        if let Some(incarnation) = &mut self.incarnation {
            let ended = tokio::time::timeout(QUIT_WITHIN, incarnation.child.wait()).await;
            let status = ended.with_context(|| format!("{} does not end", self.name))??;
            ensure!(status.success(), "{} ended badly: {status}", self.name);
        }
        self.bury().await;
        Ok(())
    }
}

async fn listen(stdout: ChildStdout, heard: Arc<Mutex<Heard>>) {
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        // A kill may leave half a line.
        if let Ok(said) = serde_json::from_str(&line) {
            heard.lock().unwrap_or_else(PoisonError::into_inner).take(said);
        }
    }
}

//! A program with a window: started, heard until it has painted, and ended.

use super::tree;
use anyhow::{Context, Result, bail};
use std::{
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStderr, Command},
};

/// The slowest start that is waited for.
const START_MAX: Duration = Duration::from_secs(120);
/// How long a program may take to end when it is told to.
const END_MAX: Duration = Duration::from_secs(15);

pub struct Program {
    pub id: u32,
    child: Child,
    lines: Lines<BufReader<ChildStderr>>,
    started: Instant,
}

impl Program {
    pub fn start(program: &Path, arguments: &[String]) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(arguments).env("KITH_LOG", "kith_desktop=info,kith_client=warn").env("NO_COLOR", "1");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let started = Instant::now();
        let mut child = command.spawn().with_context(|| format!("{} does not start", program.display()))?;
        let lines = BufReader::new(child.stderr.take().context("no output")?).lines();
        let id = child.id().context("it has ended")?;
        Ok(Self { id, child, lines, started })
    }

    /// Milliseconds from its start until it says this.
    pub async fn says(&mut self, words: &[&str]) -> Result<f64> {
        let heard = tokio::time::timeout(START_MAX, async {
            let mut said = String::new();
            while let Some(line) = self.lines.next_line().await? {
                if words.iter().all(|word| line.contains(word)) {
                    return Ok(self.started.elapsed().as_secs_f64() * 1000.0);
                }
                said.push_str(&line);
                said.push('\n');
            }
            bail!("it ended before it said {words:?}:\n{said}")
        });
        heard.await.with_context(|| format!("it never said {words:?}"))?
    }

    /// The share of one core that the tree takes, in percent, over so long.
    pub async fn cpu_percent(&self, during: Duration) -> Result<f64> {
        let (before, began) = (tree::cpu_seconds(self.id)?, Instant::now());
        tokio::time::sleep(during).await;
        Ok((tree::cpu_seconds(self.id)? - before) / began.elapsed().as_secs_f64() * 100.0)
    }

    /// Ends it as the end of a session would, and waits.
    pub async fn end(mut self) -> Result<()> {
        std::process::Command::new("kill").args(["-TERM", &self.id.to_string()]).status()?;
        if tokio::time::timeout(END_MAX, self.child.wait()).await.is_err() {
            self.child.kill().await?;
        }
        Ok(())
    }
}

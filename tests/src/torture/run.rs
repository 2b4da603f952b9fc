//! A run from start to verdict.

use super::{
    agent::Agent,
    disk::Disk,
    faults::{Decisions, has_disk},
    files,
    judge::{Witness, judge},
    server::Server,
    tally::{Findings, Tally},
    truth,
    words::Order,
};
use crate::Proxy;
use anyhow::{Context, Result, bail, ensure};
use kith_pgbox::{Cluster, Durability, Options};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{task::JoinHandle, time::sleep};

/// Names, the emoji that tells a person's devices apart, and what else an agent is told.
const HANDS: &[(&str, &str, &[&str])] = &[
    ("alice", "👍", &["--new", "--host"]),
    ("bob", "👍", &["--new"]),
    ("cleo", "👍", &["--new"]),
    ("dora", "👍", &["--new"]),
    ("alice", "🎉", &[]),
    ("bob", "🎉", &[]),
];
const ALICE: usize = 0;
const BOB: usize = 1;
const CLEO: usize = 2;
const DORA: usize = 3;

/// How often a run looks around.
pub(super) const TICK: Duration = Duration::from_millis(50);
const SETUP_WITHIN: Duration = Duration::from_secs(60);
/// From healing until everything is equal everywhere, and for each second of faults as much more as it takes to read again
/// what replaced files have lost. As long as an engine still stores more, it does not end.
const REST_WITHIN: Duration = Duration::from_secs(120);
const REST_SHARE: f64 = 0.5;
const JUDGE_EVERY: Duration = Duration::from_millis(500);

#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    /// How long faults go on.
    pub during: Duration,
    /// Between two operations of one engine, on average.
    pub pause: Duration,
    /// Whether the server is restored from backups.
    pub with_restores: bool,
    pub server: PathBuf,
    pub agent: PathBuf,
}

/// What ends a fault that lasts.
pub(super) struct Healing {
    pub(super) at: Instant,
    pub(super) agent: usize,
    pub(super) of: Healed,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Healed {
    Network,
    Disk,
}

/// A file that is about to be corrupted: its engine may send what it has until then.
pub(super) struct Doomed {
    pub(super) agent: usize,
    pub(super) until: Instant,
    pub(super) back_after: Duration,
}

pub(super) struct Run {
    pub(super) plan: Plan,
    folder: PathBuf,
    pub(super) cluster: Arc<Cluster>,
    /// The name of the server's database.
    pub(super) database: String,
    /// The newest copy of a database.
    pub(super) backup: Option<String>,
    /// Time of the last restore, for `KITH_RESTORED_AT`.
    pub(super) restored_at: Option<String>,
    pub(super) server: Option<Server>,
    pub(super) server_back_at: Option<Instant>,
    pub(super) agents: Vec<Agent>,
    pub(super) decisions: Decisions,
    pub(super) healings: Vec<Healing>,
    pub(super) doomed: Vec<Doomed>,
    pub(super) restarting: Option<JoinHandle<Result<()>>>,
    /// When PostgreSQL ended last.
    pub(super) restarted_at: Option<Instant>,
    /// What the agents do at the moment.
    pub(super) order: Option<Order>,
    pub(super) tally: Tally,
}

/// Runs a plan and judges it. Every process that it starts has ended when it returns.
///
/// # Errors
/// When something could not be started or ended by itself; what was found wrong is in the tally.
pub async fn run(plan: Plan) -> Result<Tally> {
    let folder = tempfile::Builder::new().prefix("kith-torture-").tempdir()?;
    #[cfg(unix)]
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let place = folder.path().join("pg");
    let options = Options { durability: Durability::Throwaway, ..Options::new(&place) };
    let cluster = Arc::new(Cluster::start(options).await?);
    let result = run_on(plan, folder.path(), cluster.clone()).await;
    if let Some(cluster) = Arc::into_inner(cluster) {
        cluster.stop().await?;
    }
    // As root the cluster may lie elsewhere; the note says where.
    if let Ok(note) = std::fs::read_to_string(place.join("LOCATION.txt"))
        && let Some(home) = note.lines().nth(1)
    {
        let _ = std::fs::remove_dir_all(home);
    }
    result
}

async fn run_on(plan: Plan, folder: &Path, cluster: Arc<Cluster>) -> Result<Tally> {
    let database = "kith".to_owned();
    cluster.ensure_database(&database).await?;
    let tally = Tally { seed: plan.seed, engines: HANDS.len(), during: plan.during, ..Tally::default() };
    let decisions = Decisions::new(plan.seed, HANDS.len());
    let mut run = Run {
        plan,
        folder: folder.to_owned(),
        cluster,
        database,
        backup: None,
        restored_at: None,
        server: None,
        server_back_at: None,
        agents: Vec::new(),
        decisions,
        healings: Vec::new(),
        doomed: Vec::new(),
        restarting: None,
        restarted_at: None,
        order: None,
        tally,
    };
    let result = run.whole().await;
    for agent in &mut run.agents {
        agent.kill().await;
    }
    if let Some(server) = run.server.take() {
        server.kill().await;
    }
    if let Some(restarting) = run.restarting.take() {
        restarting.await??;
    }
    result.map(|()| run.tally)
}

impl Run {
    async fn whole(&mut self) -> Result<()> {
        self.start_server(None).await?;
        self.set_up().await?;
        self.chaos().await?;
        self.heal().await?;
        self.rest().await
    }

    fn database_url(&self) -> String {
        self.cluster.url(&self.database)
    }

    pub(super) fn server_log(&self) -> PathBuf {
        self.folder.join("server.log")
    }

    /// Starts the server; the agents' networks lead to it from here on.
    pub(super) async fn start_server(&mut self, fail_point: Option<String>) -> Result<()> {
        let (url, log) = (self.database_url(), self.server_log());
        let restored_at = self.restored_at.as_deref();
        let server = Server::start(&self.plan.server, &url, restored_at, fail_point, &log).await?;
        for agent in &self.agents {
            agent.proxy.retarget(server.address);
        }
        self.server_back_at = None;
        self.server = Some(server);
        Ok(())
    }

    fn address(&self) -> Result<SocketAddr> {
        Ok(self.server.as_ref().context("no server")?.address)
    }

    /// Accounts, devices, two groups and two direct conversations, without faults.
    async fn set_up(&mut self) -> Result<()> {
        for (number, (name, emoji, flags)) in HANDS.iter().enumerate() {
            let folder = self.folder.join(format!("agent-{number}"));
            std::fs::create_dir_all(&folder)?;
            let proxy = Proxy::start(self.address()?).await?;
            let disk = has_disk(number).then(|| Disk::mount(&folder.join("default"), self.disk_megabytes()));
            let seed = self.plan.seed.wrapping_mul(100).wrapping_add(number as u64) % 1_000_000_000;
            let mut agent = Agent::new(&self.plan.agent, folder, proxy, (name, emoji), seed, flags);
            agent.disk = disk.flatten();
            self.tally.has_disks |= agent.disk.is_some();
            agent.start(None)?;
            self.agents.push(agent);
            self.until_heard(number, "sign in", |agent| agent.heard().is_ready.then_some(())).await?;
        }
        // Restoring this backup loses every conversation.
        self.back_up().await?;
        self.start_server(None).await?;
        let user = |number: usize| self.agents[number].heard().user.context("nobody");
        let (bob, cleo, dora) = (user(BOB)?, user(CLEO)?, user(DORA)?);
        for title in ["Everybody", "Coming and going"] {
            let members = vec![bob, cleo, dora];
            self.make(ALICE, &Order::Group { title: title.to_owned(), members }).await?;
        }
        self.make(ALICE, &Order::Direct { user: bob }).await?;
        self.make(DORA, &Order::Direct { user: cleo }).await
    }

    /// Enough for what an engine holds in the end, and for a damaged file beside it.
    fn disk_megabytes(&self) -> u64 {
        64 + 16 * self.plan.during.as_secs() / 60
    }

    async fn make(&mut self, number: usize, order: &Order) -> Result<()> {
        self.agents[number].heard().made = None;
        self.agents[number].order(order).await?;
        self.until_heard(number, "make a conversation", |agent| agent.heard().made.map(drop)).await
    }

    async fn until_heard(
        &mut self,
        number: usize,
        what: &str,
        fact: impl Fn(&Agent) -> Option<()>,
    ) -> Result<()> {
        let end = Instant::now() + SETUP_WITHIN;
        while fact(&self.agents[number]).is_none() {
            let agent = &mut self.agents[number];
            if let Some((status, _)) = agent.found_dead().await {
                bail!("{} ended ({status}): {}", agent.label(), agent.last_words());
            }
            ensure!(Instant::now() < end, "{} does not {what}: {}", agent.label(), agent.last_words());
            sleep(TICK).await;
        }
        Ok(())
    }

    pub(super) fn messages(&self) -> u64 {
        self.agents.iter().map(|agent| agent.heard().messages).sum()
    }

    pub(super) async fn order_all(&mut self, order: Order) -> Result<()> {
        for agent in &mut self.agents {
            agent.order(&order).await?;
        }
        self.order = Some(order);
        Ok(())
    }

    /// Waits until nothing is wrong, for a limited time, ends the engines and judges what they left.
    async fn rest(&mut self) -> Result<()> {
        let healed = Instant::now();
        let within = REST_WITHIN + self.plan.during.mul_f64(REST_SHARE);
        let (mut findings, mut most_stored, mut grew) = (None, 0, healed);
        while !findings.as_ref().is_some_and(Findings::is_clean)
            && (healed.elapsed() < within || grew.elapsed() < REST_WITHIN)
        {
            self.look_while_sending(healed).await?;
            let reports = self.agents.iter().filter_map(|agent| agent.heard().report.clone());
            let stored: u64 = reports.map(|report| report.stored).sum();
            if stored > most_stored {
                (most_stored, grew) = (stored, Instant::now());
            }
            findings = self.judge_when_quiet().await?;
        }
        self.tally.rest_after = healed.elapsed();
        for agent in &mut self.agents {
            agent.quit().await?;
            files::check(&agent.folder)?;
        }
        self.tally.findings = self.judge().await?;
        self.tally.messages = self.messages();
        for agent in &self.agents {
            let heard = agent.heard();
            self.tally.salvaged += heard.salvaged;
            for (code, count) in &heard.refused {
                *self.tally.refused.entry(code.clone()).or_default() += count;
            }
        }
        let operations: usize = self.agents.iter().map(|agent| agent.heard().operations.len()).sum();
        self.tally.other_operations = (operations as u64).saturating_sub(self.tally.messages);
        self.tally.events =
            truth::read(&self.database_url()).await?.values().map(|log| log.facts.len()).sum();
        Ok(())
    }

    /// Lets the engines go on for a while; notes when nothing was left to be sent.
    async fn look_while_sending(&mut self, healed: Instant) -> Result<()> {
        let end = Instant::now() + JUDGE_EVERY;
        while Instant::now() < end {
            sleep(TICK).await;
            self.look_after(false).await?;
            let has_sent = |agent: &Agent| agent.heard().report.as_ref().is_some_and(|one| one.unsent == 0);
            if self.tally.sent_after.is_none() && self.agents.iter().all(has_sent) {
                self.tally.sent_after = Some(healed.elapsed());
            }
        }
        Ok(())
    }

    async fn judge_when_quiet(&self) -> Result<Option<Findings>> {
        let is_quiet = |agent: &Agent| {
            let heard = agent.heard();
            heard.report.as_ref().is_some_and(|one| one.connected && one.complete)
        };
        if !self.agents.iter().all(is_quiet) {
            return Ok(None);
        }
        self.judge().await.map(Some)
    }

    async fn judge(&self) -> Result<Findings> {
        let logs = truth::read(&self.database_url()).await?;
        let heard: Vec<_> = self.agents.iter().map(Agent::heard).collect();
        let mut witnesses = Vec::with_capacity(heard.len());
        for (agent, heard) in self.agents.iter().zip(&heard) {
            let (label, file) = (agent.label(), files::read(&agent.folder)?);
            let (set_back_at, was_corrupted) = (agent.set_back_at, agent.was_corrupted);
            witnesses.push(Witness { label, heard, set_back_at, was_corrupted, file });
        }
        let mut findings = judge(&logs, &witnesses, self.tally.restores > 0);
        let waiting = witnesses.iter().filter(|one| {
            !one.heard.report.as_ref().is_some_and(|report| report.connected && report.complete)
        });
        let waiting: Vec<_> =
            waiting.map(|one| format!("{} is not at rest: {:?}", one.label, one.heard.report)).collect();
        findings.different.extend(waiting);
        let corrupted = self.agents.iter().filter(|agent| agent.is_corrupted);
        findings
            .different
            .extend(corrupted.map(|agent| format!("{}: its corrupted file was not replaced", agent.label())));
        let intact = self.agents.iter().filter(|agent| agent.replaced_intact > 0);
        findings.different.extend(
            intact.map(|agent| format!("{}: a file that nobody had corrupted was replaced", agent.label())),
        );
        Ok(findings)
    }
}

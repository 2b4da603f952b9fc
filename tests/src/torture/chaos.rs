//! What is done to a run's programs and network, and how they come back.

use super::{
    damage::damage,
    faults::{self, Cut, Fault},
    run::{Doomed, Healed, Healing, Run, TICK},
    server::Server,
    words::Order,
};
use anyhow::{Result, ensure};
use rand::RngExt;
use std::time::{Duration, Instant};
use tokio::{task::JoinHandle, time::sleep};

/// An engine or a server that a fail point ended comes back after this.
const BACK_AFTER: Duration = Duration::from_millis(400);

/// How long an engine whose file is to be damaged may go on sending what it has.
const SEND_WITHIN: Duration = Duration::from_secs(8);

/// How long an engine whose file is damaged finds its disk full, at times.
const NO_ROOM_FOR: Duration = Duration::from_secs(2);

/// A server that starts may meet a PostgreSQL that ended so long ago.
const DATABASE_BACK_WITHIN: Duration = Duration::from_secs(20);

impl Run {
    /// Lets the agents write, and does to them what the seed says.
    pub(super) async fn chaos(&mut self) -> Result<()> {
        let pause_ms = u64::try_from(self.plan.pause.as_millis())?;
        self.order_all(Order::Write { pause_ms }).await?;
        let began = Instant::now();
        let with_restores = self.plan.with_restores;
        let mut due = faults::schedule(self.plan.seed, self.agents.len(), self.plan.during)
            .into_iter()
            .filter(|(_, fault)| with_restores || !fault.is_of_restore())
            .peekable();
        let (after, mut whose, mut how) = self.decisions.next_cut();
        let mut cut_at = self.messages() + after;
        while began.elapsed() < self.plan.during {
            sleep(TICK).await;
            self.look_after(true).await?;
            while let Some((_, fault)) = due.next_if(|(at, _)| *at <= began.elapsed()) {
                self.inflict(fault).await?;
            }
            while self.messages() >= cut_at {
                match how {
                    Cut::Now => self.agents[whose].proxy.cut(),
                    Cut::After(bytes) => self.agents[whose].proxy.cut_after(bytes),
                }
                self.tally.cuts += 1;
                let after;
                (after, whose, how) = self.decisions.next_cut();
                cut_at += after;
            }
        }
        Ok(())
    }

    async fn inflict(&mut self, fault: Fault) -> Result<()> {
        let now = Instant::now();
        let network = |agent, during| Healing { at: now + during, agent, of: Healed::Network };
        match fault {
            Fault::KillAgent { agent, back_after } => {
                let one = &mut self.agents[agent];
                if one.is_alive() {
                    one.kill().await;
                    self.tally.engine_kills += 1;
                    self.tally.tokens_ended += u32::from(back_after > Duration::from_secs(30));
                }
                one.back_at = Some(now + back_after);
            }
            Fault::KillServer { back_after } => {
                if let Some(server) = self.server.take() {
                    server.kill().await;
                    self.tally.server_kills += 1;
                    self.server_back_at = Some(now + back_after);
                }
            }
            Fault::RestartDatabase => {
                if self.restarting.as_ref().is_none_or(JoinHandle::is_finished) {
                    let cluster = self.cluster.clone();
                    self.restarting = Some(tokio::spawn(async move { Ok(cluster.restart().await?) }));
                    self.restarted_at = Some(now);
                    self.tally.database_restarts += 1;
                }
            }
            Fault::Stall { agent, during } => {
                self.agents[agent].proxy.stall();
                self.tally.stalls += 1;
                self.healings.push(network(agent, during));
            }
            Fault::HalfOpen { agent } => {
                self.agents[agent].proxy.half_open();
                self.tally.half_open += 1;
            }
            Fault::Slow { agent, bytes_per_s, during } => {
                self.agents[agent].proxy.slow(bytes_per_s);
                self.tally.slow += 1;
                self.healings.push(network(agent, during));
            }
            Fault::AllDown { during } => {
                self.tally.all_down += 1;
                for (agent, one) in self.agents.iter().enumerate() {
                    one.proxy.down();
                    self.healings.push(network(agent, during));
                }
            }
            Fault::FullDisk { agent, during } => self.fill_disk(agent, now + during)?,
            Fault::Damage { agent, after_sending, back_after } => {
                self.doom(agent, after_sending, back_after).await?;
            }
            Fault::BackUp => self.back_up().await?,
            Fault::Restore { back_after } => self.restore(back_after).await?,
            Fault::Clock { agent, wrong_by_ms } => {
                self.agents[agent].set_clock(wrong_by_ms).await?;
                self.tally.clock_jumps += 1;
            }
        }
        Ok(())
    }

    fn fill_disk(&mut self, agent: usize, until: Instant) -> Result<()> {
        if let Some(disk) = &self.agents[agent].disk {
            disk.fill()?;
            self.tally.full_disks += 1;
            self.healings.push(Healing { at: until, agent, of: Healed::Disk });
        }
        Ok(())
    }

    /// A file that was damaged before and not replaced yet is left alone.
    async fn doom(&mut self, agent: usize, after_sending: bool, back_after: Duration) -> Result<()> {
        let one = &mut self.agents[agent];
        if one.is_corrupted || self.doomed.iter().any(|doomed| doomed.agent == agent) {
            return Ok(());
        }
        let wait = if after_sending { SEND_WITHIN } else { Duration::ZERO };
        if after_sending {
            one.heard().report = None;
            one.order(&Order::Rest).await?;
        }
        self.doomed.push(Doomed { agent, until: Instant::now() + wait, back_after });
        Ok(())
    }

    /// Corrupts the files whose time has come.
    async fn damage_files(&mut self) -> Result<()> {
        let now = Instant::now();
        for Doomed { agent, until, back_after } in std::mem::take(&mut self.doomed) {
            let one = &mut self.agents[agent];
            let has_sent = one.heard().report.as_ref().is_some_and(|report| report.unsent == 0);
            // A full disk has no room for what was written last: then it is done when there is.
            let is_full = one.disk.as_ref().is_some_and(super::disk::Disk::is_full);
            if is_full || (one.is_alive() && !has_sent && now < until) {
                self.doomed.push(Doomed { agent, until, back_after });
                continue;
            }
            one.kill().await;
            let done = damage(&one.folder, &mut self.decisions.damage)?;
            (one.is_corrupted, one.was_corrupted) = (true, true);
            one.back_at = Some(now + back_after);
            self.tally.damaged += 1;
            self.tally.damaged_pages += u32::try_from(done.pages)?;
            self.tally.damaged_unsent += u32::from(done.unsent > 0);
            if self.decisions.damage.random_bool(0.5) {
                // There is no room for a new file either.
                self.fill_disk(agent, now + back_after + NO_ROOM_FOR)?;
            }
        }
        Ok(())
    }

    /// Ends what is over, notices who died, brings back whose time has come.
    pub(super) async fn look_after(&mut self, with_faults: bool) -> Result<()> {
        let now = Instant::now();
        let (over, left) = std::mem::take(&mut self.healings).into_iter().partition(|one| one.at <= now);
        self.healings = left;
        let over: Vec<Healing> = over;
        for healing in over {
            let agent = &mut self.agents[healing.agent];
            match (healing.of, &agent.disk) {
                (Healed::Network, _) => agent.proxy.up(),
                (Healed::Disk, Some(disk)) => disk.free()?,
                (Healed::Disk, None) => {}
            }
        }
        self.damage_files().await?;
        for number in 0..self.agents.len() {
            let agent = &mut self.agents[number];
            agent.look_for_replaced();
            if let Some((status, is_armed)) = agent.found_dead().await {
                ensure!(
                    is_armed && status.code().is_none(),
                    "{} ended by itself ({status}): {}",
                    agent.label(),
                    agent.last_words()
                );
                self.tally.engine_fail_points += 1;
                agent.back_at = Some(now + BACK_AFTER);
            }
            if agent.back_at.is_some_and(|at| at <= now) {
                let fail_point = with_faults.then(|| self.decisions.agent_fail_point()).flatten();
                let agent = &mut self.agents[number];
                agent.start(fail_point)?;
                if let Some(order) = &self.order {
                    agent.order(order).await?;
                }
            }
        }
        self.look_after_server(with_faults).await
    }

    async fn look_after_server(&mut self, with_faults: bool) -> Result<()> {
        let now = Instant::now();
        if let Some(status) = self.server.as_mut().and_then(Server::ended) {
            let is_armed = self.server.take().is_some_and(|server| server.is_armed);
            let log = std::fs::read_to_string(self.server_log()).unwrap_or_default();
            // It does not start without its database, even if that goes while it starts; whoever runs it tries again.
            let is_start_refused = status.code().is_some()
                && self.restarted_at.is_some_and(|at| now.duration_since(at) < DATABASE_BACK_WITHIN);
            ensure!(
                is_start_refused || (is_armed && status.code().is_none()),
                "the server ended by itself ({status}): {log}"
            );
            self.tally.server_fail_points += u32::from(!is_start_refused);
            self.server_back_at = Some(now + BACK_AFTER);
        }
        if self.server_back_at.is_some_and(|at| at <= now) {
            let fail_point = with_faults.then(|| self.decisions.server_fail_point()).flatten();
            if self.start_server(fail_point).await.is_err() {
                // PostgreSQL is away at the moment.
                self.server_back_at = Some(Instant::now() + BACK_AFTER);
            }
        }
        Ok(())
    }

    /// Ends all faults; what is dead comes back at once.
    pub(super) async fn heal(&mut self) -> Result<()> {
        if let Some(restarting) = self.restarting.take() {
            restarting.await??;
        }
        if let Some(server) = self.server.take() {
            server.kill().await;
            self.tally.server_kills += 1;
        }
        self.start_server(None).await?;
        self.healings.clear();
        self.doomed.clear();
        for agent in &mut self.agents {
            if let Some(disk) = &agent.disk {
                disk.free()?;
            }
            agent.proxy.up();
            agent.proxy.cut();
            agent.heard().report = None;
            if !agent.is_alive() {
                agent.start(None)?;
            }
        }
        self.order_all(Order::Rest).await
    }
}

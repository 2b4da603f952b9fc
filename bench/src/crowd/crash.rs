//! kill -9 in mid-run: the server is started again, everybody reconnects and sends again what nobody acknowledged.

use super::{Live, Member, befriend, gather, raise_open_files};
use crate::{
    load::{event, filler},
    server::{End, Running},
    verdict::{Judgement, Target, conclude},
};
use anyhow::{Context, Result};
use kith_protocol::{
    ClientFrame, ConversationId, ErrorCode, Event, EventId, NewEvent, Seq, ServerFrame,
    frame::{AckStatus, Direction, Pull, Send},
    limits,
};
use serde::Serialize;
use serde_json::json;
use sqlx::Connection as _;
use std::{
    collections::{HashSet, VecDeque},
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::watch, task::JoinSet, time::timeout};

/// Messages under way of each writer.
const DEPTH: usize = 16;
/// Between two tries to reach the server.
const AGAIN_AFTER: Duration = Duration::from_millis(200);
/// What has not arrived so long after the last acknowledgement does not arrive.
const LAST_WITHIN: Duration = Duration::from_secs(60);
/// Request numbers of pulls; those of sends are below.
const PULLS: u64 = 1 << 40;

/// What `bench crash` takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Kith's binary.
    #[arg(long, env = "KITH_SERVER")]
    server: PathBuf,
    /// Pairs, each with a writer and a reader.
    #[arg(long, default_value_t = 100)]
    pairs: usize,
    /// Seconds of writing.
    #[arg(long, default_value_t = 6)]
    seconds: u64,
    /// How often the server is killed meanwhile.
    #[arg(long, default_value_t = 2)]
    kills: u32,
    #[command(flatten)]
    judgement: Judgement,
}

#[derive(Debug, Default, Serialize)]
struct Figures {
    acknowledged: u64,
    /// Rows of messages in the database.
    rows: u64,
    /// Answered that they were there already: sent again after a kill.
    duplicates: u64,
    lost: u64,
    doubled: u64,
    disordered: u64,
    /// From each kill until the server listens again, seconds.
    away_s: Vec<f64>,
}

/// `bench crash`
pub async fn run(arguments: &Arguments) -> Result<()> {
    raise_open_files(arguments.pairs * 2 + 500)?;
    let mut running = Running::start(&arguments.server).await?;
    let measured = measure(&mut running, arguments).await;
    running.stop().await?;
    let figures = measured?;
    println!(
        "{} acknowledged, {} rows, {} sent again; killed {} times, away for {:.1?} s; lost {} doubled {} out of order {}",
        figures.acknowledged,
        figures.rows,
        figures.duplicates,
        figures.away_s.len(),
        figures.away_s,
        figures.lost,
        figures.doubled,
        figures.disordered
    );
    let faults = figures.lost + figures.doubled + figures.disordered;
    let targets = [
        Target::at_most("P7 lost, doubled, out of order after kill -9", faults as f64, 0.0),
        Target::at_most(
            "P7 difference of rows and acknowledged messages",
            figures.rows.abs_diff(figures.acknowledged) as f64,
            0.0,
        ),
        Target::at_least("kills that met messages under way", figures.duplicates as f64, 1.0),
    ];
    conclude(&arguments.judgement, &figures, &targets)
}

async fn measure(running: &mut Running, arguments: &Arguments) -> Result<Figures> {
    let people = gather(running, arguments.pairs * 2).await?;
    befriend(running, &people).await?;
    let (address, length) = (running.address()?, Duration::from_secs(arguments.seconds));
    let began = Instant::now();
    let (mut writers, mut readers) = (JoinSet::new(), JoinSet::new());
    for two in people.chunks_exact(2) {
        let conversation = ConversationId::direct(two[0].user, two[1].user);
        let (done, all) = watch::channel(None);
        let writer = Writer::new(Arc::clone(&two[0]), conversation);
        writers.spawn(writer.run(address, began + length, done));
        readers.spawn(Reader::new(Arc::clone(&two[1]), conversation).run(address, all));
    }
    let mut figures = Figures::default();
    for _ in 0..arguments.kills {
        tokio::time::sleep(length / (arguments.kills + 1)).await;
        let killed = Instant::now();
        running.end(End::AtOnce).await?;
        running.start_again().await?;
        figures.away_s.push(killed.elapsed().as_secs_f64());
    }
    while let Some(written) = writers.join_next().await {
        let (acknowledged, duplicates) = written??;
        figures.acknowledged += acknowledged;
        figures.duplicates += duplicates;
    }
    while let Some(read) = readers.join_next().await {
        let (lost, doubled, disordered) = read??;
        figures.lost += lost;
        figures.doubled += doubled;
        figures.disordered += disordered;
    }
    let mut database = sqlx::PgConnection::connect(&running.database_url()?).await?;
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM events WHERE kind = 'message'")
        .fetch_one(&mut database)
        .await?;
    figures.rows = rows.unsigned_abs();
    Ok(figures)
}

/// Connects again and again until it works.
async fn reach(one: &Member, address: SocketAddr) -> Live {
    loop {
        match one.connect(address).await {
            Ok(live) => return live,
            Err(_) => tokio::time::sleep(AGAIN_AFTER).await,
        }
    }
}

struct Writer {
    own: Arc<Member>,
    conversation: ConversationId,
    /// All ids, in the order of writing.
    written: Vec<EventId>,
    /// What nobody acknowledged yet, in the order of writing.
    waiting: VecDeque<NewEvent>,
    /// Acknowledged before what was written earlier: answers come in any order.
    early: HashSet<EventId>,
    duplicates: u64,
}

impl Writer {
    fn new(own: Arc<Member>, conversation: ConversationId) -> Self {
        Self {
            own,
            conversation,
            written: Vec::new(),
            waiting: VecDeque::new(),
            early: HashSet::new(),
            duplicates: 0,
        }
    }

    /// Writes until then, and on until all of it is acknowledged. Returns how much that was.
    async fn run(
        mut self,
        address: SocketAddr,
        until: Instant,
        done: watch::Sender<Option<Vec<EventId>>>,
    ) -> Result<(u64, u64)> {
        let deadline = until + LAST_WITHIN;
        while Instant::now() < until || !self.waiting.is_empty() {
            anyhow::ensure!(Instant::now() < deadline, "{} are not acknowledged", self.waiting.len());
            let mut live = reach(&self.own, address).await;
            // A connection that breaks is what this is about; a refusal is not.
            if let Err(error) = self.write(&mut live, until).await
                && error.is::<Refused>()
            {
                return Err(error);
            }
        }
        let counted = (self.written.len() as u64, self.duplicates);
        done.send_replace(Some(self.written));
        Ok(counted)
    }

    async fn write(&mut self, live: &mut Live, until: Instant) -> Result<()> {
        let mut under_way = 0;
        loop {
            while under_way < DEPTH {
                if under_way == self.waiting.len() {
                    if Instant::now() >= until {
                        break;
                    }
                    let new = event(filler(self.written.len() as u64));
                    self.written.push(new.id);
                    self.waiting.push_back(new);
                }
                let events = vec![json!(self.waiting[under_way])];
                let send = Send { conversation: self.conversation, events };
                under_way += 1;
                live.send(ClientFrame::Send(send), Some(10)).await?;
            }
            if under_way == 0 {
                return Ok(());
            }
            match live.frame().await? {
                ServerFrame::Ack(ack) => {
                    for result in ack.results {
                        match (result.status, result.id) {
                            (AckStatus::Ok, Some(id)) => self.early.insert(id),
                            (AckStatus::Duplicate, Some(id)) => {
                                self.duplicates += 1;
                                self.early.insert(id)
                            }
                            // The database goes first: nothing is known, and it is sent again.
                            _ if result.code.as_ref().is_some_and(is_over_soon) => anyhow::bail!("not now"),
                            _ => return Err(Refused(format!("{result:?}")).into()),
                        };
                    }
                    while self.waiting.front().is_some_and(|first| self.early.remove(&first.id)) {
                        self.waiting.pop_front();
                        under_way -= 1;
                    }
                }
                ServerFrame::Error(error) if is_over_soon(&error.code) => anyhow::bail!("not now"),
                ServerFrame::Error(error) => return Err(Refused(error.code.to_string()).into()),
                _ => {}
            }
        }
    }
}

/// Whether the server will take it later. Too many of one device are refused one by one, so that those behind one that
/// was refused may be taken: with so few pairs that they meet this limit, order is not to be judged.
fn is_over_soon(code: &ErrorCode) -> bool {
    code.is_retryable() && *code != ErrorCode::RateLimited
}

#[derive(Debug, thiserror::Error)]
#[error("refused: {0}")]
struct Refused(String);

struct Reader {
    own: Arc<Member>,
    conversation: ConversationId,
    last: u64,
    read: Vec<EventId>,
}

impl Reader {
    fn new(own: Arc<Member>, conversation: ConversationId) -> Self {
        Self { own, conversation, last: 0, read: Vec::new() }
    }

    /// Reads until all that was acknowledged is here. Returns what was lost, doubled and out of order.
    async fn run(
        mut self,
        address: SocketAddr,
        mut all: watch::Receiver<Option<Vec<EventId>>>,
    ) -> Result<(u64, u64, u64)> {
        let mut deadline = None;
        loop {
            let written = all.borrow().clone();
            if let Some(written) = &written {
                let until = *deadline.get_or_insert_with(|| Instant::now() + LAST_WITHIN);
                if self.read.len() >= written.len() || Instant::now() > until {
                    return Ok(compared(written, &self.read));
                }
            }
            let mut live = reach(&self.own, address).await;
            let wanted = written.map(|written| written.len());
            tokio::select! {
                // Its end is seen as any other.
                _ = self.receive(&mut live, wanted) => {}
                changed = all.changed(), if wanted.is_none() => changed.context("the writer gave up")?,
            }
        }
    }

    async fn receive(&mut self, live: &mut Live, wanted: Option<usize>) -> Result<()> {
        self.pull(live).await?;
        let mut is_pulling = true;
        while wanted.is_none_or(|wanted| self.read.len() < wanted) {
            let (events, is_page) = match timeout(LAST_WITHIN, live.frame()).await?? {
                ServerFrame::Events(events) => (events.events, false),
                ServerFrame::Page(page) => {
                    is_pulling = !page.end;
                    (page.events, true)
                }
                ServerFrame::Hint(_) => (Vec::new(), false),
                ServerFrame::Error(error) => anyhow::bail!("refused: {}", error.code),
                _ => continue,
            };
            let has_gap = self.take(events);
            if is_pulling && is_page || has_gap && !is_pulling {
                is_pulling = true;
                self.pull(live).await?;
            }
        }
        Ok(())
    }

    /// Asks for what comes next.
    async fn pull(&self, live: &mut Live) -> Result<()> {
        let pull = Pull {
            conversation: self.conversation,
            from: Some(Seq(self.last + 1)),
            to: None,
            direction: Direction::Forward,
            max: limits::PAGE_MESSAGES_MAX,
        };
        live.send(ClientFrame::Pull(pull), Some(PULLS)).await
    }

    /// Takes what is next in line and drops what is known (C1); whether something is missing before what came.
    fn take(&mut self, events: Vec<Event>) -> bool {
        for event in events {
            if event.seq.0 > self.last + 1 {
                return true;
            }
            if event.seq.0 == self.last + 1 {
                self.last = event.seq.0;
                if event.kind == "message" {
                    self.read.push(event.id);
                }
            }
        }
        false
    }
}

/// What was lost, what came more than once, and what came in another order than it was written in.
fn compared(written: &[EventId], read: &[EventId]) -> (u64, u64, u64) {
    let (known, came): (HashSet<_>, HashSet<_>) = (written.iter().collect(), read.iter().collect());
    let lost = written.iter().filter(|id| !came.contains(id)).count();
    let doubled = read.len() - came.len() + came.iter().filter(|id| !known.contains(*id)).count();
    let kept: Vec<_> = written.iter().filter(|id| came.contains(id)).collect();
    let mut once = HashSet::new();
    let first: Vec<_> = read.iter().filter(|id| known.contains(id) && once.insert(**id)).collect();
    let disordered = kept.iter().zip(&first).filter(|(one, other)| one != other).count();
    (lost as u64, doubled as u64, disordered as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_doubled_or_out_of_order_is_counted() {
        let [a, b, c, d] = [(); 4].map(|()| EventId::mint());
        assert_eq!(compared(&[a, b, c], &[a, b, c]), (0, 0, 0));
        assert_eq!(compared(&[a, b, c], &[a, c]), (1, 0, 0));
        assert_eq!(compared(&[a, b, c], &[a, b, b, c]), (0, 1, 0));
        assert_eq!(compared(&[a, b, c], &[a, c, b]), (0, 0, 2));
        assert_eq!(compared(&[a, b, c], &[a, b, c, d]), (0, 1, 0), "nobody wrote that");
    }
}

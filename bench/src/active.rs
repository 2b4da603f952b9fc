//! Many active conversations: everybody in turn gets a message, so that a lane meets far more conversations than it did a
//! moment ago. The first round reads each of them for the first time; the second shows what the lanes still remember.

use crate::{
    crowd::gather,
    load::{Connection, event, filler},
    people::Person,
    server::Running,
    verdict::{Judgement, Target, conclude},
};
use anyhow::{Result, bail};
use kith_protocol::{
    Chain, ClientFrame, ConversationId, ServerFrame, UserId,
    frame::{AckStatus, Send},
};
use serde::Serialize;
use serde_json::json;
use sqlx::{Connection as _, PgConnection};
use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

/// People who write.
const WRITERS: usize = 200;
/// Messages of each that are under way.
const DEPTH: usize = 4;
/// A later round is to reach so much of the rate of a handful of conversations.
const RATE_LEAST: f64 = 0.5;

/// What `bench active` takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Kith's binary.
    #[arg(long, env = "KITH_SERVER")]
    server: PathBuf,
    /// Active conversations.
    #[arg(long, default_value_t = 100_000)]
    conversations: usize,
    #[command(flatten)]
    judgement: Judgement,
}

#[derive(Debug, Default, Serialize)]
struct Figures {
    conversations: usize,
    /// Messages a second: to one conversation of each writer, and in each round through all of them.
    few: f64,
    rounds: Vec<f64>,
    /// CPU-seconds of server and database for 10,000 messages of the last round.
    cpu: f64,
    /// Answers other than `ok`.
    refused: u64,
    resident_mb: f64,
}

/// `bench active`
pub async fn run(arguments: &Arguments) -> Result<()> {
    let running = Running::start(&arguments.server).await?;
    let measured = measure(&running, arguments.conversations).await;
    running.stop().await?;
    let figures = measured?;
    let rounds: Vec<_> = figures.rounds.iter().map(|rate| format!("{rate:.0}")).collect();
    println!(
        "{} conversations: {} messages/s in rounds through all, {:.0} to a few; {:.2} CPU-s per 10,000; {:.0} MB resident",
        figures.conversations,
        rounds.join(" / "),
        figures.few,
        figures.cpu,
        figures.resident_mb
    );
    let last = figures.rounds.last().copied().unwrap_or_default();
    let targets = [
        Target::at_most("members who were refused", figures.refused as f64, 0.0),
        Target::at_least("rate of the last round, of that to a few", last / figures.few, RATE_LEAST),
    ];
    conclude(&arguments.judgement, &figures, &targets)
}

async fn measure(running: &Running, count: usize) -> Result<Figures> {
    let people = gather(running, WRITERS + 1).await?;
    let other = people[WRITERS].user;
    let mut database = PgConnection::connect(&running.database_url()?).await?;
    let each = count.div_ceil(WRITERS);
    let mut writers = Vec::new();
    for person in &people[..WRITERS] {
        let conversations: Vec<ConversationId> = (0..each).map(|_| ConversationId::mint()).collect();
        create(&mut database, person.user, other, &conversations).await?;
        let person: Person = person.signed_in();
        writers.push((Connection::open(&running.url, &person).await?, Arc::new(conversations)));
    }
    sqlx::query("ANALYZE").execute(&mut database).await?;
    let mut figures = Figures { conversations: each * WRITERS, ..Figures::default() };
    (figures.few, writers) = round(writers, 1, each.min(50), &mut figures.refused).await?;
    for _ in 0..3 {
        let before = running.cpu_seconds()?;
        let rate;
        (rate, writers) = round(writers, each, each, &mut figures.refused).await?;
        figures.rounds.push(rate);
        figures.cpu = (running.cpu_seconds()? - before) / figures.conversations as f64 * 10_000.0;
    }
    figures.resident_mb = running.resident_kb()? as f64 / 1024.0;
    Ok(figures)
}

/// Conversations of two, as if they had been opened, each with no event yet.
async fn create(
    database: &mut PgConnection,
    one: UserId,
    other: UserId,
    conversations: &[ConversationId],
) -> Result<()> {
    let ids: Vec<_> = conversations.iter().map(|id| id.as_uuid()).collect();
    let chains: Vec<Vec<u8>> = conversations.iter().map(|id| Chain::empty(*id).as_bytes().to_vec()).collect();
    let people = [one.as_uuid(), other.as_uuid()];
    let mut tx = database.begin().await?;
    sqlx::query(
        "INSERT INTO conversations (id, kind, created_by) SELECT id, 'direct', $2 FROM UNNEST($1) AS n (id)",
    )
    .bind(&ids)
    .bind(one.as_uuid())
    .execute(&mut *tx)
    .await?;
    sqlx::query(
        "INSERT INTO conversation_head (conversation_key, conversation_id, chain)
         SELECT c.key, c.id, n.chain FROM UNNEST($1, $2::bytea[]) AS n (id, chain) JOIN conversations c ON c.id = n.id",
    )
    .bind(&ids)
    .bind(&chains)
    .execute(&mut *tx)
    .await?;
    for sql in [
        "INSERT INTO members (conversation_key, user_id, role)
         SELECT c.key, u, 'member' FROM conversations c, UNNEST($2::uuid[]) AS u WHERE c.id = ANY($1)",
        "INSERT INTO member_intervals (conversation_key, user_id, from_seq)
         SELECT c.key, u, 1 FROM conversations c, UNNEST($2::uuid[]) AS u WHERE c.id = ANY($1)",
    ] {
        sqlx::query(sql).bind(&ids).bind(&people[..]).execute(&mut *tx).await?;
    }
    Ok(tx.commit().await?)
}

type Writers = Vec<(Connection, Arc<Vec<ConversationId>>)>;

/// Each writer sends `messages`, going round through their first `width` conversations. Returns the rate of all.
async fn round(writers: Writers, width: usize, messages: usize, refused: &mut u64) -> Result<(f64, Writers)> {
    let began = Instant::now();
    let tasks: Vec<_> = writers
        .into_iter()
        .map(|(mut connection, conversations)| {
            tokio::spawn(async move {
                let refused = write(&mut connection, &conversations[..width], messages).await?;
                anyhow::Ok((connection, conversations, refused))
            })
        })
        .collect();
    let (mut again, count) = (Vec::new(), tasks.len() * messages);
    for task in tasks {
        let (connection, conversations, some) = task.await??;
        *refused += some;
        again.push((connection, conversations));
    }
    Ok((count as f64 / began.elapsed().as_secs_f64(), again))
}

async fn write(connection: &mut Connection, to: &[ConversationId], messages: usize) -> Result<u64> {
    let (mut sent, mut answered, mut refused) = (0, 0, 0);
    while answered < messages {
        while sent < messages && sent - answered < DEPTH {
            let events = vec![json!(event(filler(sent as u64)))];
            let frame = ClientFrame::Send(Send { conversation: to[sent % to.len()], events });
            sent += 1;
            connection.send(frame, Some(sent as u64 + 10)).await?;
        }
        match connection.next().await? {
            ServerFrame::Ack(ack) => {
                answered += 1;
                refused += ack.results.iter().filter(|one| one.status != AckStatus::Ok).count() as u64;
            }
            ServerFrame::Error(error) => match error.retry_after_ms {
                Some(ms) => {
                    tokio::time::sleep(Duration::from_millis(ms)).await;
                    answered += 1;
                }
                None => bail!("refused: {}", error.code),
            },
            _ => {}
        }
    }
    Ok(refused)
}

//! A group commit into a table as lean as one can be: a dense key, no second index, no foreign key.

use super::{database, relay::Numbered};
use anyhow::Result;
use sqlx::{Executor, PgPool, postgres::PgPoolOptions};
use std::{
    hash::{DefaultHasher, Hash, Hasher},
    path::Path,
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Commits that are under way at a time; each conversation belongs to one of them.
const LANES: usize = 4;
/// Messages of one commit, at most.
const BATCH: usize = 1_000;

const TABLE: &str = "CREATE TABLE IF NOT EXISTS events (
    conversation uuid NOT NULL, seq bigint NOT NULL, id uuid NOT NULL, sender uuid NOT NULL, body text NOT NULL,
    PRIMARY KEY (conversation, seq))";
const INSERT: &str = "INSERT INTO events (conversation, seq, id, sender, body)
    SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::uuid[], $5::text[])";

/// The table, with the PostgreSQL below it.
pub(super) struct Table {
    lanes: Vec<UnboundedSender<Numbered>>,
    _cluster: kith_pgbox::Cluster,
}

impl Table {
    pub(super) async fn open(folder: &Path) -> Result<Self> {
        let (cluster, url) = database(folder).await?;
        let pool = PgPoolOptions::new().max_connections(LANES as u32).connect(&url).await?;
        pool.execute(TABLE).await?;
        let lanes = (0..LANES)
            .map(|_| {
                let (lane, queue) = unbounded_channel();
                tokio::spawn(commit(pool.clone(), queue));
                lane
            })
            .collect();
        Ok(Self { lanes, _cluster: cluster })
    }

    /// Stores it, then tells of it.
    pub(super) fn store(&self, numbered: Numbered) -> Result<()> {
        let mut hasher = DefaultHasher::new();
        numbered.conversation.hash(&mut hasher);
        let lane = &self.lanes[hasher.finish() as usize % LANES];
        lane.send(numbered).map_err(|_| anyhow::anyhow!("the lane has ended"))
    }
}

async fn commit(pool: PgPool, mut queue: UnboundedReceiver<Numbered>) {
    let mut batch = Vec::with_capacity(BATCH);
    while queue.recv_many(&mut batch, BATCH).await > 0 {
        let column = |of: fn(&Numbered) -> uuid::Uuid| batch.iter().map(of).collect::<Vec<_>>();
        let seqs: Vec<i64> = batch.iter().map(|one| one.seq as i64).collect();
        let bodies: Vec<String> = batch.iter().map(|one| one.event.body.to_string()).collect();
        let inserted = sqlx::query(INSERT)
            .bind(column(|one| one.conversation.as_uuid()))
            .bind(seqs)
            .bind(column(|one| one.event.id.as_uuid()))
            .bind(column(|one| one.sender.as_uuid()))
            .bind(bodies)
            .execute(&pool)
            .await;
        if let Err(error) = inserted {
            eprintln!("not stored: {error}");
            return;
        }
        batch.drain(..).for_each(Numbered::tell);
    }
}

//! Bare SQLite: a lean table of messages and the same search table, with the engine's encryption and pragmas, written
//! by the same number of transactions. Nothing is checked, and nothing but the messages is kept.

use super::{
    Reads, Spent,
    engine::{Query, queries},
    history::{Batch, History},
    machine::{self, Watch},
};
use anyhow::{Result, ensure};
use kith_protocol::ConversationId;
use rusqlite::{Connection, params};
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

const KEY: &str = "PRAGMA key = \"x'000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f'\"";
const PRAGMAS: &str = "
    PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON;
    PRAGMA wal_autocheckpoint = 1000; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -16384;";
const SCHEMA: &str = "
    CREATE TABLE conversations (cid INTEGER PRIMARY KEY, id BLOB NOT NULL, head INTEGER NOT NULL);
    CREATE TABLE messages (
        mid INTEGER PRIMARY KEY, cid INTEGER NOT NULL, seq INTEGER NOT NULL, id BLOB NOT NULL, sender BLOB NOT NULL,
        ts INTEGER NOT NULL, text TEXT NOT NULL, UNIQUE (cid, seq)
    );
    CREATE VIRTUAL TABLE search USING fts5 (
        text, content = '', contentless_delete = 1, tokenize = 'unicode61 remove_diacritics 2', prefix = '2 3'
    );";

pub struct Bare {
    path: PathBuf,
    conn: Option<Connection>,
    cids: HashMap<ConversationId, i64>,
}

fn open(path: &Path) -> Result<Connection> {
    let conn = Connection::open(path)?;
    conn.execute_batch(KEY)?;
    conn.execute_batch(PRAGMAS)?;
    conn.set_prepared_statement_cache_capacity(32);
    Ok(conn)
}

impl Bare {
    pub fn start(path: &Path, history: &History) -> Result<Self> {
        let conn = open(path)?;
        conn.execute_batch(SCHEMA)?;
        let mut cids = HashMap::new();
        for (number, item) in history.heads(false).into_iter().enumerate() {
            let (cid, id) = (number as i64 + 1, item.own.conversation);
            conn.execute("INSERT INTO conversations VALUES (?1, ?2, 0)", params![cid, id.as_bytes()])?;
            cids.insert(id, cid);
        }
        Ok(Self { path: path.to_owned(), conn: Some(conn), cids })
    }

    fn conn(&mut self) -> Result<&mut Connection> {
        if self.conn.is_none() {
            self.conn = Some(open(&self.path)?);
        }
        self.conn.as_mut().ok_or_else(|| anyhow::anyhow!("it has just been opened"))
    }

    pub fn apply(&mut self, batches: &[Batch]) -> Result<Spent> {
        let cids = std::mem::take(&mut self.cids);
        let conn = self.conn()?;
        let watch = Watch::start();
        for batch in batches {
            let tx = conn.transaction()?;
            let mut message = tx.prepare_cached(
                "INSERT INTO messages (cid, seq, id, sender, ts, text) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?;
            let mut search = tx.prepare_cached("INSERT INTO search (rowid, text) VALUES (?1, ?2)")?;
            for run in &batch.runs {
                let cid = cids[&run.conversation];
                for event in &run.events {
                    let body = event.body.as_ref().and_then(|body| body["text"].as_str());
                    let text = body.unwrap_or_default();
                    let (seq, ts) = (event.seq.as_i64(), event.ts.as_i64());
                    let (id, sender) = (event.id.as_bytes(), event.sender.as_bytes());
                    message.execute(params![cid, seq, id, sender, ts, text])?;
                    search.execute(params![tx.last_insert_rowid(), text])?;
                }
            }
            drop((message, search));
            tx.commit()?;
        }
        let spent = watch.spent();
        self.cids = cids;
        Ok(spent)
    }

    /// Notes where each conversation ends.
    pub fn caught_up(&mut self, history: &History) -> Result<()> {
        let conn = self.conn()?;
        let tx = conn.transaction()?;
        for item in history.heads(true) {
            let place = params![item.head.as_i64(), item.own.conversation.as_bytes()];
            tx.execute("UPDATE conversations SET head = ?1 WHERE id = ?2", place)?;
        }
        Ok(tx.commit()?)
    }

    fn list(&mut self) -> Result<usize> {
        let mut query = self.conn()?.prepare_cached(
            "SELECT c.id, m.sender, m.ts, m.text FROM conversations c JOIN messages m ON m.cid = c.cid AND m.seq = c.head
             ORDER BY m.ts DESC",
        )?;
        let rows = query.query_map([], |row| Ok((row.get::<_, [u8; 16]>(0)?, row.get::<_, String>(3)?)))?;
        Ok(rows.collect::<Result<Vec<_>, _>>()?.len())
    }

    fn opened(&mut self, is_cold: bool) -> Result<f64> {
        if let Some(conn) = self.conn.take() {
            conn.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")?;
        }
        if is_cold {
            machine::forget(&self.path)?;
        }
        let watch = Watch::start();
        let rows = self.list()?;
        let spent = watch.ms();
        ensure!(rows == self.cids.len(), "bare SQLite lists {rows} conversations");
        Ok(spent)
    }

    /// How many messages have all these words; the newest of them are read.
    pub fn search(&mut self, query: &Query) -> Result<usize> {
        let mut found = self.conn()?.prepare_cached(
            "SELECT m.mid, m.cid, m.ts, m.text FROM search s JOIN messages m ON m.mid = s.rowid
             WHERE search MATCH ?1 ORDER BY s.rowid DESC LIMIT 51",
        )?;
        let rows = found.query_map([query.expression()], |row| row.get::<_, String>(3))?;
        Ok(rows.collect::<Result<Vec<_>, _>>()?.len())
    }

    fn page(&mut self, conversation: ConversationId) -> Result<usize> {
        let cid = self.cids[&conversation];
        let mut query = self.conn()?.prepare_cached(
            "SELECT seq, sender, ts, text FROM messages WHERE cid = ?1 ORDER BY seq DESC LIMIT 50",
        )?;
        let rows = query.query_map([cid], |row| row.get::<_, String>(3))?;
        Ok(rows.collect::<Result<Vec<_>, _>>()?.len())
    }

    pub fn read(&mut self, history: &History, reads: &mut Reads, rounds: usize) -> Result<()> {
        for _ in 0..rounds.clamp(3, 10) {
            reads.cold.push(self.opened(true)?);
            reads.warm.push(self.opened(false)?);
        }
        for (id, _) in history.list() {
            let watch = Watch::start();
            self.page(id)?;
            reads.page.push(watch.ms());
        }
        for query in queries(history) {
            let watch = Watch::start();
            self.search(&query)?;
            query.note(reads, watch.ms());
        }
        Ok(())
    }

    pub fn file_mb(&self) -> Result<f64> {
        machine::file_mb(&self.path)
    }
}

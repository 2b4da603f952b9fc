//! Kith's side: a whole engine on an account without a server.

use super::{
    Reads, Rebuild, Spent,
    bare::Bare,
    history::{Batch, History},
    machine::{self, Watch},
};
use anyhow::{Context as _, Result, ensure};
use kith_client::{
    Engine, EngineOptions,
    measure::StoreOp,
    secrets::MemorySecrets,
    view::{Anchor, TimelineItem},
};
use kith_protocol::frame::HeadsItem;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// Nobody answers there.
const SERVER: &str = "http://127.0.0.1:1";
/// Hits of a search on the screen.
const HITS: u32 = 50;

pub struct Kith {
    options: EngineOptions,
    engine: Engine,
}

/// Something that is searched.
pub struct Query {
    words: String,
    is_typed: bool,
}

impl Query {
    /// As the search table wants it.
    pub fn expression(&self) -> String {
        let words: Vec<_> = self.words.split(' ').map(|word| format!("\"{word}\"*")).collect();
        words.join(" AND ")
    }

    /// Notes how long it took.
    pub fn note(&self, reads: &mut Reads, ms: f64) {
        if self.is_typed { &mut reads.typing } else { &mut reads.search }.push(ms);
    }
}

/// Words of all frequencies, alone and in pairs, and each beginning of some of them.
pub fn queries(history: &History) -> Vec<Query> {
    let ranks = [0, 5, 30, 90, 250, 700, 2_000, 5_000, 11_000, 19_000];
    let words = ranks.map(|rank| history.word(rank));
    let pairs = words.iter().zip(words.iter().skip(1)).map(|(one, other)| format!("{one} {other}"));
    let whole = words.iter().map(|word| (*word).to_owned()).chain(pairs);
    let whole = whole.map(|words| Query { words, is_typed: false });
    let prefixes = words.iter().flat_map(|word| {
        let ends = word.char_indices().map(|(at, c)| at + c.len_utf8());
        ends.map(|end| Query { words: word[..end].to_owned(), is_typed: true })
    });
    whole.chain(prefixes).collect()
}

fn heads(items: Vec<HeadsItem>, user_seq: u64) -> StoreOp {
    StoreOp::Heads { full: false, handshake: true, last: true, user_seq, items, gone: Vec::new() }
}

impl Kith {
    pub async fn start(folder: &Path, history: &History) -> Result<Self> {
        let options = EngineOptions {
            profile: "bench".to_owned(),
            data_dir: folder.to_owned(),
            app: "bench/1".to_owned(),
            device_name: "bench".to_owned(),
            ca_file: None,
            secrets: Arc::new(MemorySecrets::default()),
        };
        let engine = Engine::open(options.clone()).await?;
        engine.begin_unasked(SERVER, history.me.clone()).await?;
        engine.store(vec![StoreOp::Profiles(history.profiles()), heads(history.heads(false), 1)]).await?;
        Ok(Self { options, engine })
    }

    pub async fn apply(&self, batches: Vec<Batch>) -> Result<Spent> {
        let ops: Vec<Vec<_>> = batches
            .into_iter()
            .map(|batch| {
                let runs = batch.runs.into_iter().map(|run| StoreOp::Append {
                    conversation: run.conversation,
                    chain_before: run.chain_before,
                    events: run.events,
                });
                runs.collect()
            })
            .collect();
        let watch = Watch::start();
        for ops in ops {
            self.engine.store(ops).await?;
        }
        Ok(watch.spent())
    }

    /// Nearly everything is read.
    pub async fn caught_up(&self, history: &History, user_seq: u64) -> Result<()> {
        Ok(self.engine.store(vec![heads(history.heads(true), user_seq)]).await?)
    }

    pub async fn stored(&self) -> Result<usize> {
        Ok(self.engine.search("x".to_owned(), None, 1).await?.searched as usize)
    }

    fn file(&self) -> Result<PathBuf> {
        let folder = self.options.data_dir.join(&self.options.profile);
        let mut files = std::fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path()));
        files.find(|file| file.extension().is_some_and(|end| end == "db")).context("a database")
    }

    async fn opened(self, history: &History, is_cold: bool) -> Result<(Self, f64)> {
        self.engine.shutdown().await;
        if is_cold {
            machine::forget(&self.file()?)?;
        }
        let options = self.options.clone();
        drop(self);
        let watch = Watch::start();
        let engine = Engine::open(options.clone()).await?;
        let list = engine.conversations().await?;
        let spent = watch.ms();
        let wanted = history.list();
        ensure!(list.len() == wanted.len(), "the engine lists {} conversations", list.len());
        for (row, (id, last)) in list.iter().zip(wanted) {
            let preview = row.preview.as_ref().context("a last line")?;
            ensure!(row.id == id && preview.text == last, "{} is not where it belongs", row.title);
        }
        let unread: u64 = list.iter().map(|row| u64::from(row.unread)).sum();
        ensure!(unread <= history.unread() && unread > 0, "{unread} unread");
        Ok((Self { options, engine }, spent))
    }

    /// Opens, lists, pages and searches.
    pub async fn read(mut self, history: &History, reads: &mut Reads, rounds: usize) -> Result<Self> {
        let mut spent;
        for _ in 0..rounds.clamp(3, 10) {
            (self, spent) = self.opened(history, true).await?;
            reads.cold.push(spent);
            (self, spent) = self.opened(history, false).await?;
            reads.warm.push(spent);
        }
        for (id, last) in history.list() {
            let watch = Watch::start();
            let page = self.engine.timeline(id, Anchor::Newest, 50).await?;
            reads.page.push(watch.ms());
            let Some(TimelineItem::Message(newest)) = page.items.last() else {
                anyhow::bail!("a page without a message")
            };
            ensure!(newest.text == last, "the newest message is another one");
        }
        for query in queries(history) {
            let watch = Watch::start();
            let found = self.engine.search(query.words.clone(), None, HITS).await?;
            query.note(reads, watch.ms());
            ensure!(found.hits.is_sorted_by_key(|hit| std::cmp::Reverse(hit.ts)), "newest first");
        }
        Ok(self)
    }

    /// Finds as much as bare SQLite does.
    pub async fn check_search(&self, bare: &mut Bare, history: &History) -> Result<()> {
        for query in queries(history) {
            let found = self.engine.search(query.words.clone(), None, HITS).await?;
            let count = found.hits.len() + usize::from(found.more);
            let wanted = bare.search(&query)?;
            ensure!(count == wanted, "{}: {count} found, bare SQLite finds {wanted}", query.words);
        }
        Ok(())
    }

    pub fn file_mb(&self) -> Result<f64> {
        machine::file_mb(&self.file()?)
    }

    /// Makes everything that is made from events again, as after an update (C6).
    pub async fn rebuild(self, messages: usize) -> Result<(Self, Rebuild)> {
        let Self { options, engine } = self;
        engine.outdate().await?;
        engine.shutdown().await;
        drop(engine);
        let before = machine::Peak::start()?;
        let watch = Watch::start();
        let engine = Engine::open(options.clone()).await?;
        ensure!(engine.status().await.rebuilding.is_some(), "nothing was made again");
        while engine.status().await.rebuilding.is_some() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let rebuild = Rebuild { seconds: watch.spent().wall, peak_mb: before.above_mb()? };
        let kith = Self { options, engine };
        ensure!(kith.stored().await? == messages, "a rebuild lost messages");
        Ok((kith, rebuild))
    }

    pub async fn end(self) {
        self.engine.shutdown().await;
    }
}

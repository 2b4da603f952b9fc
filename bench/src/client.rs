//! The engine on a large store beside bare SQLite: both take the same messages in turns, a slice each, and only what
//! they needed for the same slice is compared. Then the engine is opened, listed, paged and searched, warm and from a
//! cold disk, and a new device fetches a history from a real server.

mod bare;
mod engine;
mod history;
mod import;
mod judge;
mod machine;

use crate::verdict::{Judgement, conclude};
use anyhow::{Result, ensure};
use serde::Serialize;
use std::path::PathBuf;

/// What `bench client` takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Kith's server, for the history of a new device.
    #[arg(long, env = "KITH_SERVER")]
    server: PathBuf,
    /// Messages in the store. Times are judged at a million, and above.
    #[arg(long, default_value_t = JUDGED_FROM)]
    messages: usize,
    /// Conversations that they are in.
    #[arg(long, default_value_t = 1_000)]
    conversations: usize,
    /// Messages that a new device fetches.
    #[arg(long, default_value_t = 100_000)]
    history: usize,
    /// Rounds: slices that both sides take in turns, and times that the store is opened.
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    #[command(flatten)]
    judgement: Judgement,
}

/// With fewer messages only what was read is judged, and no time.
const JUDGED_FROM: usize = 1_000_000;

/// What both sides needed for the same slice.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Slice {
    pub messages: usize,
    pub kith: Spent,
    pub bare: Spent,
}

/// Seconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Spent {
    pub wall: f64,
    pub cpu: f64,
}

/// Times of reading, each in milliseconds, in the order in which they were taken.
#[derive(Debug, Default, Serialize)]
pub struct Reads {
    /// The store opened and its list read.
    pub warm: Vec<f64>,
    /// The same, when nothing of the file is in memory.
    pub cold: Vec<f64>,
    /// The newest 50 of some conversation.
    pub page: Vec<f64>,
    /// A search of whole words.
    pub search: Vec<f64>,
    /// A search at each letter of a word.
    pub typing: Vec<f64>,
}

/// Everything that is made from events, made again after an update.
#[derive(Debug, Serialize)]
pub struct Rebuild {
    pub seconds: f64,
    /// The most memory above what was taken before; 0 where the system does not say.
    pub peak_mb: f64,
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub struct Figures {
    pub messages: usize,
    pub conversations: usize,
    pub file_mb: [f64; 2],
    pub slices: Vec<Slice>,
    pub kith: Reads,
    pub bare: Reads,
    pub rebuild: Option<Rebuild>,
    pub import: Option<import::Imported>,
}

/// `bench client`
pub async fn run(arguments: &Arguments) -> Result<()> {
    let is_enough = arguments.history == 0 || arguments.history >= import::HISTORY_MIN;
    anyhow::ensure!(
        is_enough,
        "--history is 0 or at least {}: a screen in each conversation",
        import::HISTORY_MIN
    );
    let folder = tempfile::Builder::new().prefix("kith-bench-").tempdir()?;
    let mut history = history::History::new(arguments.conversations, arguments.messages);
    let kith = engine::Kith::start(folder.path(), &history).await?;
    let mut bare = bare::Bare::start(&folder.path().join("bare.db"), &history)?;
    let each = arguments.messages.div_ceil(arguments.rounds.max(3));
    let mut slices = Vec::new();
    while history.left() > 0 {
        let batches = history.slice(each);
        let slice = take_turns(&kith, &mut bare, batches, slices.len()).await?;
        println!("{}", judge::line(&slice));
        kith.caught_up(&history, slices.len() as u64 + 2).await?;
        slices.push(slice);
    }
    bare.caught_up(&history)?;
    ensure!(kith.stored().await? == arguments.messages, "the engine lost messages");
    let mut figures = Figures {
        messages: arguments.messages,
        conversations: arguments.conversations,
        file_mb: [0.0; 2],
        slices,
        kith: Reads::default(),
        bare: Reads::default(),
        rebuild: None,
        import: None,
    };
    let kith = kith.read(&history, &mut figures.kith, arguments.rounds).await?;
    bare.read(&history, &mut figures.bare, arguments.rounds)?;
    kith.check_search(&mut bare, &history).await?;
    figures.file_mb = [kith.file_mb()?, bare.file_mb()?];
    let (kith, rebuild) = kith.rebuild(arguments.messages).await?;
    figures.rebuild = Some(rebuild);
    kith.check_search(&mut bare, &history).await?;
    kith.end().await;
    if arguments.history > 0 {
        figures.import = Some(import::fetch(&arguments.server, arguments.history).await?);
    }
    judge::table(&figures);
    conclude(&arguments.judgement, &figures, &judge::targets(&figures))
}

/// One slice for both; who is first in one round is second in the next.
async fn take_turns(
    kith: &engine::Kith,
    bare: &mut bare::Bare,
    batches: Vec<history::Batch>,
    round: usize,
) -> Result<Slice> {
    let messages = batches.iter().map(history::Batch::len).sum();
    let again = batches.clone();
    if round.is_multiple_of(2) {
        let kith = kith.apply(again).await?;
        Ok(Slice { messages, kith, bare: bare.apply(&batches)? })
    } else {
        let bare = bare.apply(&batches)?;
        Ok(Slice { messages, kith: kith.apply(again).await?, bare })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read is right on a small store; times are not looked at.
    #[tokio::test]
    async fn engine_and_bare_sqlite_hold_and_find_the_same() {
        let arguments = Arguments {
            server: PathBuf::new(),
            messages: 3_000,
            conversations: 60,
            history: 0,
            rounds: 3,
            judgement: Judgement::strict(),
        };
        run(&arguments).await.unwrap();
    }
}

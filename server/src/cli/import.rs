//! `kith-server user import`

mod reading;

use super::Common;
use crate::{
    auth::Tokens,
    domain::{
        import::{self, Newcomer},
        passwords::Passwords,
    },
};
use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use kith_protocol::api::Session;
use reading::{Entry, Fault};
use std::{
    collections::HashSet,
    fs::{File, OpenOptions},
    io::{BufWriter, Read as _, Write as _},
    path::{Path, PathBuf},
};

/// Names or faults that are listed one by one.
const LISTED_MAX: usize = 20;

#[derive(Args)]
pub(super) struct Import {
    /// The file, or - for standard input.
    file: PathBuf,
    /// How it is written; what the file's name ends in if left out, and JSON Lines for standard input.
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Signs each new account in and writes the sessions here, a JSON object on each line: whoever reads this file is
    /// these people. It must not exist, and only its owner can read it.
    #[arg(long, value_name = "FILE")]
    sessions: Option<PathBuf>,
    /// Checks the file and says what would be done.
    #[arg(long, conflicts_with = "sessions")]
    dry_run: bool,
    #[command(flatten)]
    common: Common,
}

/// How the people are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A first line that names the columns, separated by commas or semicolons.
    Csv,
    /// A JSON object on each line.
    Jsonl,
}

impl Format {
    fn of(file: &Path) -> anyhow::Result<Self> {
        let ending = file.extension().map(|ending| ending.to_string_lossy().to_lowercase());
        match ending.as_deref() {
            None if file == Path::new("-") => Ok(Self::Jsonl),
            Some("csv") => Ok(Self::Csv),
            Some("jsonl" | "ndjson" | "json") => Ok(Self::Jsonl),
            _ => bail!("{} ends neither in .csv nor in .jsonl: say --format", file.display()),
        }
    }
}

pub(super) async fn run(import: Import) -> anyhow::Result<()> {
    let name = if import.file == Path::new("-") {
        "standard input".into()
    } else {
        import.file.display().to_string()
    };
    let format = import.format.map_or_else(|| Format::of(&import.file), Ok)?;
    let bytes = read(&import.file).with_context(|| format!("cannot read {name}"))?;
    // Passwords are judged, too, which takes its time.
    let (entries, faults) = tokio::task::spawn_blocking(move || reading::read(&bytes, format)).await?;
    if !faults.is_empty() {
        return Err(refused(&name, &faults));
    }
    let config = import.common.settings()?.config()?;
    let database = import.common.ready_database().await?;
    let usernames: Vec<String> = entries.iter().map(|entry| entry.newcomer.username.clone()).collect();
    let taken = import::taken(&database.pool, &usernames).await?;
    if import.dry_run {
        tell(&entries, |username| !taken.contains(username), "would be added");
        return database.close().await;
    }
    let tokens = match &import.sessions {
        Some(_) => {
            let secret = import.common.settings()?.secret_key()?;
            Some(Tokens::load(&database.pool, config.access_token, secret).await?)
        }
        None => None,
    };
    let sessions = import.sessions.as_deref().map(SessionsFile::create).transpose()?;
    let passwords = Passwords::new(config.password_cost);
    // Whoever is there costs no hash.
    let new = |entry: &&Entry| !taken.contains(&entry.newcomer.username);
    let newcomers: Vec<Newcomer> = entries.iter().filter(new).map(|entry| entry.newcomer.clone()).collect();
    let keep = async |made: Vec<Session>| match &sessions {
        Some(file) => file.write(&made),
        None => Ok(()),
    };
    let added = import::add(&database.pool, &passwords, newcomers, tokens.as_ref(), keep).await;
    if let Some(file) = sessions
        && added.is_err()
    {
        file.remove();
    }
    let added: HashSet<String> = added.context("nobody was added")?;
    tell(&entries, |username| added.contains(username), "added");
    database.close().await
}

fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    if file != Path::new("-") {
        return std::fs::read(file);
    }
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What is wrong with the file, line by line.
fn refused(name: &str, faults: &[Fault]) -> anyhow::Error {
    for fault in faults.iter().take(LISTED_MAX) {
        eprintln!("{name}:{}: {}", fault.line, fault.what);
    }
    if let Some(more) = faults.len().checked_sub(LISTED_MAX).filter(|more| *more > 0) {
        eprintln!("and {more} more");
    }
    anyhow::anyhow!("nobody was added: correct {} in {name} and repeat", counted(faults.len(), "fault"))
}

fn tell(entries: &[Entry], is_added: impl Fn(&str) -> bool, verb: &str) {
    let (added, others): (Vec<_>, Vec<_>) =
        entries.iter().map(|entry| &entry.newcomer).partition(|newcomer| is_added(&newcomer.username));
    say!("{} {verb}", counted(added.len(), "account"));
    let locked = added.iter().filter(|newcomer| newcomer.password.is_none()).count();
    if locked > 0 {
        say!("{locked} of them without a password: kith-server user passwd NAME sets one");
    }
    if others.is_empty() {
        return;
    }
    say!("{} there already and left as they are:", counted(others.len(), "account"));
    for newcomer in others.iter().take(LISTED_MAX) {
        say!("  {}", newcomer.username);
    }
    if let Some(more) = others.len().checked_sub(LISTED_MAX).filter(|more| *more > 0) {
        say!("  and {more} more");
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// The file of sessions: made before anything else is done, and removed if nothing was.
struct SessionsFile {
    path: PathBuf,
    file: File,
}

impl SessionsFile {
    fn create(path: &Path) -> anyhow::Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options
            .open(path)
            .with_context(|| format!("cannot make {}: it must not exist", path.display()))?;
        Ok(Self { path: path.to_owned(), file })
    }

    fn write(&self, sessions: &[Session]) -> anyhow::Result<()> {
        let writing = || {
            let mut lines = BufWriter::new(&self.file);
            for session in sessions {
                serde_json::to_writer(&mut lines, session)?;
                lines.write_all(b"\n")?;
            }
            lines.flush()?;
            self.file.sync_all()
        };
        writing().with_context(|| format!("cannot write {}", self.path.display()))
    }

    fn remove(self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            eprintln!("{} is of no use, remove it: {error}", self.path.display());
        }
    }
}

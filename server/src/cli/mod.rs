//! The command line: settings in, one function of the library called, a sentence out.

#[macro_use]
mod say;

mod config;
mod database;
mod doctor;
mod healthcheck;
mod import;
mod keys;
mod migrate;
mod serve;
mod users;

use crate::settings::{self, Settings};
use anyhow::bail;
use clap::{Args, Command, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use std::path::{Path, PathBuf};

/// The Kith sync server: keeps conversations in PostgreSQL, and passes on what is written to whoever is connected.
#[derive(Parser)]
#[command(
    name = "kith-server",
    version,
    after_help = "\
To try it:          kith-server serve --embedded-db --data-dir ./kith --signup open
With a database:    DATABASE_URL=postgres://… kith-server serve
All settings:       kith-server serve --help, or docs/operate/configuration.md"
)]
pub struct Cli {
    #[command(subcommand)]
    command: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Serves clients until it is told to end (SIGTERM, Ctrl+C)
    ///
    /// Brings the database's schema up to date first. Where accounts are made by invitation and there is none yet, it
    /// prints the first code, once.
    Serve(Common),
    /// Brings the database's schema up to date
    ///
    /// `serve` does so, too. Servers that start together wait for each other; a schema of a later version is refused and
    /// stays as it is. There is no way back but a backup: take one before an upgrade.
    Migrate {
        /// Only says what would be done
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        common: Common,
    },
    /// Adds, changes and disables accounts, shows and ends their sessions
    #[command(subcommand)]
    User(users::UserCommand),
    /// Prints a code that lets one person make an account within 14 days
    ///
    /// It is good where sign-up is by invitation, works once, and is stored by its hash alone.
    Invite(Common),
    /// Rotates the keys that sign access tokens
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Checks or shows the settings
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Looks for what is wrong with settings, database and this machine
    ///
    /// Says of each thing whether it is well, and what to do if not. Fails if anything keeps the server from serving.
    Doctor(Common),
    /// Asks the server on this machine whether it is ready
    ///
    /// Fails if it is not, or does not answer within 3 seconds: the HEALTHCHECK of a container.
    Healthcheck(Common),
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Says whether a server would start with these settings
    Check(Common),
    /// Prints the settings that hold and where each was said, without secrets
    Print(Common),
}

#[derive(Args)]
struct Common {
    /// The file of settings (TOML); /etc/kith/server.toml if there is one.
    #[arg(long, env = "KITH_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    said: Settings,
}

impl Common {
    /// Flags and environment, and what the file says.
    fn layers(&self) -> anyhow::Result<(Settings, Settings)> {
        let file = match &self.config {
            Some(path) => settings::read_file(path)?,
            None if Path::new(settings::FILE).exists() => settings::read_file(Path::new(settings::FILE))?,
            None => Settings::default(),
        };
        Ok((self.said.clone(), file))
    }

    /// All that is set, and what holds where nothing is.
    fn settings(&self) -> anyhow::Result<Settings> {
        let (said, file) = self.layers()?;
        Ok(said.over(file).over(Settings::defaults()))
    }

    async fn database(&self) -> anyhow::Result<database::Database> {
        database::open(&self.settings()?, 2).await
    }

    /// The database with this server's schema: an empty one gets it, an older one is left to an operator's decision.
    async fn ready_database(&self) -> anyhow::Result<database::Database> {
        let database = self.database().await?;
        let missing = crate::migrate::missing(&database.pool).await?;
        if missing.len() == crate::migrate::count() {
            crate::migrate(&database.pool).await?;
        } else if !missing.is_empty() {
            bail!(
                "the database's schema is older than this program: take a backup, then kith-server migrate"
            );
        }
        Ok(database)
    }
}

/// What names the database: all that most commands need.
const OF_THE_DATABASE: [&str; 4] = ["database_url", "database_url_file", "embedded_db", "data_dir"];

/// Reads the command line; ends the process with a sentence where it is wrong.
pub fn parse() -> Cli {
    let matches = command().get_matches();
    Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

/// The command line; the help of most commands shows only the settings that they need.
fn command() -> Command {
    let defaults = settings::with_origins(&[("", &Settings::defaults())]);
    let default = |key: &str| {
        let lines = defaults.lines();
        let value = lines.filter_map(|line| line.strip_suffix("  # ")?.split_once(" = "));
        value.into_iter().find(|(name, _)| *name == key).map(|(_, value)| value.trim_matches('"').to_owned())
    };
    let help = |arg: clap::Arg| {
        let text = arg.get_help().map(ToString::to_string).unwrap_or_default();
        match default(arg.get_id().as_str()) {
            Some(value) => arg.help(format!("{} [default: {value}]", text.trim_end_matches('.'))),
            None => arg,
        }
    };
    Cli::command().mut_subcommands(|chore| match chore.get_name() {
        "serve" | "doctor" => chore.mut_args(help),
        "config" => chore.mut_subcommands(|one| one.mut_args(help)),
        "user" | "keys" => chore.mut_subcommands(only_the_database),
        _ => only_the_database(chore),
    })
}

fn only_the_database(chore: Command) -> Command {
    let all = Settings::augment_args(Command::new("all"));
    let is_hidden =
        |id: &str| all.get_arguments().any(|arg| arg.get_id() == id) && !OF_THE_DATABASE.contains(&id);
    chore.mut_args(|arg| {
        let is_hidden = is_hidden(arg.get_id().as_str());
        arg.hide(is_hidden)
    })
}

/// Runs what the command line asks for.
///
/// # Errors
/// Whatever stops it, as a sentence for the operator.
pub async fn run(cli: Cli) -> anyhow::Result<()> {
    if let Chore::Serve(common) = &cli.command {
        let settings = common.settings()?;
        crate::telemetry::init(settings.log.as_deref(), settings.log_format.unwrap_or_default())?;
        return serve::run(&settings).await;
    }
    crate::telemetry::init(Some("warn"), crate::config::LogFormat::Text)?;
    match cli.command {
        Chore::Serve(_) => Ok(()),
        Chore::Migrate { dry_run, common } => migrate::run(&common, dry_run).await,
        Chore::User(command) => users::run(command).await,
        Chore::Keys(command) => keys::run(command).await,
        Chore::Invite(common) => {
            let database = common.ready_database().await?;
            let code = crate::domain::accounts::invite(&database.pool).await?;
            say!("{code}");
            database.close().await
        }
        Chore::Config(ConfigCommand::Check(common)) => config::check(&common),
        Chore::Config(ConfigCommand::Print(common)) => config::print(&common),
        Chore::Doctor(common) => doctor::run(&common).await,
        Chore::Healthcheck(common) => healthcheck::run(&common.settings()?).await,
    }
}

//! The command line: settings in, one function of the library called, a sentence out.

mod serve;
mod users;

use clap::{Args, Parser, Subcommand};
use sqlx::PgPool;

/// The Kith sync server.
#[derive(Parser)]
#[command(name = "kith-server", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves clients until it is told to end.
    Serve(serve::ServeArgs),
    /// Brings the database's schema up to date.
    Migrate(DatabaseArgs),
    /// Adds, changes and disables accounts.
    #[command(subcommand)]
    User(users::UserCommand),
    /// Prints a code that lets one person make an account within 14 days.
    Invite(DatabaseArgs),
}

#[derive(Args)]
struct DatabaseArgs {
    /// The database (postgres://user:password@host/database).
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,
}

impl DatabaseArgs {
    async fn connect(&self) -> anyhow::Result<PgPool> {
        Ok(crate::connect(&self.database_url, 2).await?)
    }
}

/// Runs what the command line asks for.
///
/// # Errors
/// Whatever stops it, as a sentence for the operator.
pub async fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Serve(args) => serve::run(args).await,
        Command::Migrate(database) => {
            crate::migrate(&database.connect().await?).await?;
            println!("the schema is up to date");
            Ok(())
        }
        Command::User(command) => users::run(command).await,
        Command::Invite(database) => {
            println!("{}", crate::domain::accounts::invite(&database.connect().await?).await?);
            Ok(())
        }
    }
}

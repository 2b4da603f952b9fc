//! `kith-server user …`

use super::{Common, import};
use crate::{
    db::users::ProfileChange,
    domain::{
        accounts::{self, NewUser},
        passwords::Passwords,
        sessions,
    },
    error::ApiError,
};
use anyhow::{anyhow, bail};
use clap::Subcommand;
use std::io::{BufRead, IsTerminal, Write};

#[derive(Subcommand)]
pub(super) enum UserCommand {
    /// Adds an account
    ///
    /// Asks for its password. Works whatever the setting of sign-up is.
    Add {
        /// 3 to 32 of a-z, 0-9, '.', '_' and '-'.
        username: String,
        /// What others read; the user name if left out.
        #[arg(long)]
        display_name: Option<String>,
        /// Reads the password from standard input without asking.
        #[arg(long)]
        password_stdin: bool,
        #[command(flatten)]
        common: Common,
    },
    /// Adds many accounts from a file
    ///
    /// CSV with the columns username, display_name, email and password, or JSON Lines with these fields; only the user
    /// name must be there. All of them are added or, where a line is wrong, none. Whoever has an account already is left
    /// as they are, so it may be repeated. Without a password nobody signs in by one until user passwd sets it.
    Import(import::Import),
    /// Changes a profile
    ///
    /// Only what is named changes; an empty text removes a role, an avatar or an address. Clients show it when they next
    /// connect.
    Set {
        /// Whose.
        username: String,
        /// What others read.
        #[arg(long)]
        display_name: Option<String>,
        /// The role on the platform, up to 64 characters.
        #[arg(long)]
        role: Option<String>,
        /// The https address of a picture, up to 2,048 characters.
        #[arg(long, value_name = "URL")]
        avatar: Option<String>,
        /// Their address; nothing is sent to it.
        #[arg(long)]
        email: Option<String>,
        #[command(flatten)]
        common: Common,
    },
    /// Removes an account for good
    ///
    /// It leaves its groups and loses devices, sessions, drafts and markers. What it wrote stays in the conversations of the
    /// others, under its id alone. To keep the account and shut it out, disable it.
    Delete {
        /// Whose.
        username: String,
        /// Confirms it.
        #[arg(long, required = true)]
        yes: bool,
        #[command(flatten)]
        common: Common,
    },
    /// Replaces a password and ends the account's sessions
    ///
    /// For somebody who forgot it, or whose device was stolen: its owner signs in anew everywhere, and nobody else does.
    Passwd {
        /// Whose.
        username: String,
        /// Reads the password from standard input without asking.
        #[arg(long)]
        password_stdin: bool,
        #[command(flatten)]
        common: Common,
    },
    /// Ends an account's sessions and lets it sign in no more
    ///
    /// Its messages stay. Running servers close its connections within seconds.
    Disable {
        /// Whose.
        username: String,
        #[command(flatten)]
        common: Common,
    },
    /// Lets a disabled account sign in again
    Enable {
        /// Whose.
        username: String,
        #[command(flatten)]
        common: Common,
    },
    /// Lists all accounts by user name: when each was made and last seen, and whether it is disabled
    List {
        #[command(flatten)]
        common: Common,
    },
    /// Shows on which devices an account is signed in, and ends sessions
    ///
    /// A device that is signed out keeps what is stored on it. Running servers close its connections within seconds.
    Sessions {
        /// Whose.
        username: String,
        /// Signs this device out (its id, as the list shows it).
        #[arg(long, value_name = "ID", conflicts_with = "end_all")]
        end: Option<uuid::Uuid>,
        /// Signs all of them out.
        #[arg(long)]
        end_all: bool,
        #[command(flatten)]
        common: Common,
    },
}

pub(super) async fn run(command: UserCommand) -> anyhow::Result<()> {
    match command {
        UserCommand::Add { username, display_name, password_stdin, common } => {
            let passwords = Passwords::new(common.settings()?.config()?.password_cost);
            let password = read_password(password_stdin)?;
            let display_name = display_name.unwrap_or_else(|| username.clone());
            let new = NewUser::check(username, display_name, password)?;
            let database = common.ready_database().await?;
            let user = accounts::add(&database.pool, &passwords, new, None).await?;
            say!("added {} ({})", user.username, user.id);
            database.close().await
        }
        UserCommand::Import(import) => import::run(import).await,
        UserCommand::Passwd { username, password_stdin, common } => {
            let passwords = Passwords::new(common.settings()?.config()?.password_cost);
            let password = read_password(password_stdin)?;
            let database = common.ready_database().await?;
            accounts::reset_password(&database.pool, &passwords, &username, password)
                .await
                .map_err(|error| named(error, &username))?;
            say!("changed; all sessions of {username} have ended");
            if accounts::is_disabled(&database.pool, &username).await? {
                say!("the account is still disabled: kith-server user enable {username}");
            }
            database.close().await
        }
        UserCommand::Set { username, display_name, role, avatar, email, common } => {
            let change = ProfileChange { display_name, role, avatar, email };
            let database = common.ready_database().await?;
            let profile = accounts::set_profile(&database.pool, &username, change)
                .await
                .map_err(|error| named(error, &username))?;
            let text = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
            say!("display name  {}", profile.display_name);
            say!("role          {}", text(profile.role));
            say!("avatar        {}", text(profile.avatar));
            say!("email         {}", text(profile.email));
            database.close().await
        }
        UserCommand::Delete { username, yes: _, common } => {
            let database = common.ready_database().await?;
            let left =
                accounts::delete(&database.pool, &username).await.map_err(|error| named(error, &username))?;
            say!("deleted {username}, who left {left} groups");
            database.close().await
        }
        UserCommand::Disable { username, common } => {
            let database = common.ready_database().await?;
            accounts::disable(&database.pool, &username).await.map_err(|error| named(error, &username))?;
            say!("disabled {username}");
            database.close().await
        }
        UserCommand::Enable { username, common } => {
            let database = common.ready_database().await?;
            accounts::enable(&database.pool, &username).await.map_err(|error| named(error, &username))?;
            say!("enabled {username}: signs in with the same password as before");
            database.close().await
        }
        UserCommand::List { common } => {
            let database = common.ready_database().await?;
            let done = list(&database.pool).await;
            database.close().await?;
            done
        }
        UserCommand::Sessions { username, end, end_all, common } => {
            let database = common.ready_database().await?;
            let done = list_or_end(&database.pool, &username, end, end_all).await;
            database.close().await?;
            done
        }
    }
}

async fn list(pool: &sqlx::PgPool) -> anyhow::Result<()> {
    say!("{:<32}  {:<16}  {:<16}  {:<8}  name", "user", "made", "last seen", "");
    let mut after = String::new();
    loop {
        let part = accounts::list(pool, &after).await?;
        let Some(last) = part.last() else { return Ok(()) };
        after.clone_from(&last.username);
        for user in part {
            let minute = |at: chrono::DateTime<chrono::Utc>| at.format("%Y-%m-%d %H:%M").to_string();
            let seen = user.last_seen.map_or_else(|| "never".to_owned(), minute);
            let state = if user.is_disabled { "disabled" } else { "" };
            let made = minute(user.created_at);
            say!("{:<32}  {made}  {seen:<16}  {state:<8}  {}", user.username, user.display_name);
        }
    }
}

async fn list_or_end(
    pool: &sqlx::PgPool,
    username: &str,
    end: Option<uuid::Uuid>,
    end_all: bool,
) -> anyhow::Result<()> {
    if end.is_some() || end_all {
        let ended =
            sessions::end_of_operator(pool, username, end).await.map_err(|error| match (error, end) {
                (ApiError::TargetMissing, Some(device)) => {
                    anyhow!("{username} is not signed in on {device}, or there is no such user")
                }
                (error, _) => named(error, username),
            })?;
        say!("{ended} ended");
        return Ok(());
    }
    let rows = sessions::of_operator(pool, username).await.map_err(|error| named(error, username))?;
    say!("{:<36}  {:<16}  {:<16}  device", "id", "signed in", "last seen");
    for row in rows {
        let (began, seen) = (row.created_at.format("%Y-%m-%d %H:%M"), row.last_seen.format("%Y-%m-%d %H:%M"));
        say!("{}  {began}  {seen}  {}", row.id, row.name);
    }
    Ok(())
}

/// A refusal in an operator's words.
fn named(error: ApiError, username: &str) -> anyhow::Error {
    match error {
        ApiError::TargetMissing => anyhow!("there is no user {username}"),
        error => error.into(),
    }
}

/// Reads one line; at a terminal it asks first and does not show what is typed.
fn read_password(from_stdin: bool) -> anyhow::Result<String> {
    let stdin = std::io::stdin();
    if !from_stdin && !stdin.is_terminal() {
        bail!("standard input is not a terminal: use --password-stdin");
    }
    let mut line = String::new();
    if from_stdin {
        stdin.lock().read_line(&mut line)?;
    } else {
        print!("Password: ");
        std::io::stdout().flush()?;
        let is_hidden = echo("-echo");
        let read = stdin.lock().read_line(&mut line);
        if is_hidden {
            echo("echo");
            println!();
        }
        read?;
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Asks the terminal to show, or not to show, what is typed. Where there is no `stty` it goes on showing it.
fn echo(setting: &str) -> bool {
    std::process::Command::new("stty").arg(setting).status().is_ok_and(|status| status.success())
}

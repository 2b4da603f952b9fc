//! `kith-server user …`

use super::DatabaseArgs;
use crate::{
    config::PasswordCost,
    domain::{
        accounts::{self, NewUser},
        passwords::Passwords,
    },
};
use anyhow::{Context, bail};
use clap::Subcommand;
use std::io::{BufRead, IsTerminal, Write};

#[derive(Subcommand)]
pub(super) enum UserCommand {
    /// Adds an account.
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
        database: DatabaseArgs,
    },
    /// Replaces a password and ends the account's sessions.
    Passwd {
        /// Whose.
        username: String,
        /// Reads the password from standard input without asking.
        #[arg(long)]
        password_stdin: bool,
        #[command(flatten)]
        database: DatabaseArgs,
    },
    /// Ends an account's sessions and lets it sign in no more.
    Disable {
        /// Whose.
        username: String,
        #[command(flatten)]
        database: DatabaseArgs,
    },
}

pub(super) async fn run(command: UserCommand) -> anyhow::Result<()> {
    let passwords = Passwords::new(PasswordCost::default());
    match command {
        UserCommand::Add { username, display_name, password_stdin, database } => {
            let password = read_password(password_stdin)?;
            let display_name = display_name.unwrap_or_else(|| username.clone());
            let new = NewUser::check(username, display_name, password)?;
            let user = accounts::add(&database.connect().await?, &passwords, new, None).await?;
            println!("added {} ({})", user.username, user.id);
        }
        UserCommand::Passwd { username, password_stdin, database } => {
            let password = read_password(password_stdin)?;
            accounts::reset_password(&database.connect().await?, &passwords, &username, password)
                .await
                .with_context(|| format!("cannot change the password of {username}"))?;
            println!("changed; all sessions of {username} have ended");
        }
        UserCommand::Disable { username, database } => {
            accounts::disable(&database.connect().await?, &username)
                .await
                .with_context(|| format!("cannot disable {username}"))?;
            println!("disabled {username}");
        }
    }
    Ok(())
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

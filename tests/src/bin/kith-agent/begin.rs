//! How an agent begins: its arguments, its engine, its sign-in; again and again while disk or network do not let it.

use super::say;
use anyhow::{Context, Result};
use kith_client::{
    ClientError, Engine, EngineOptions,
    view::{AppState, SignedOutReason},
};
use kith_protocol::UserId;
use kith_tests::{
    client::PASSWORD,
    torture::{secret_file::SecretFile, words::Said},
};
use std::{path::PathBuf, sync::Arc, time::Duration};

const SIGN_IN_AGAIN: Duration = Duration::from_millis(300);
/// The same for a file that could not be opened.
const OPEN_AGAIN: Duration = Duration::from_millis(300);

/// Command-line arguments of an agent.
pub struct Arguments {
    pub folder: PathBuf,
    pub server: String,
    pub name: String,
    pub seed: u64,
    pub emoji: String,
    pub is_new: bool,
    pub is_host: bool,
}

impl Arguments {
    pub fn parse() -> Result<Self> {
        let mut words = std::env::args().skip(1);
        let mut next = || words.next().context("an argument is missing");
        let (folder, server, name) = (PathBuf::from(next()?), next()?, next()?);
        let (seed, emoji) = (next()?.parse()?, next()?);
        let flags: Vec<String> = words.collect();
        let has = |flag: &str| flags.iter().any(|word| word == flag);
        Ok(Self { folder, server, name, seed, emoji, is_new: has("--new"), is_host: has("--host") })
    }
}

/// Opens the engine, as often as the disk does not let it.
pub async fn opened(arguments: &Arguments) -> Result<Engine> {
    let options = EngineOptions {
        profile: "default".to_owned(),
        data_dir: arguments.folder.clone(),
        app: "kith-agent/1".to_owned(),
        device_name: format!("{}'s computer", arguments.name),
        ca_file: None,
        secrets: Arc::new(SecretFile::of(&arguments.folder)),
    };
    loop {
        match Engine::open(options.clone()).await {
            Err(error) if passes(&error) => {
                say(&Said::Trouble { code: error.code().to_owned() });
                tokio::time::sleep(OPEN_AGAIN).await;
            }
            opened => return Ok(opened?),
        }
    }
}

/// Whether an error is one of the disk or of the file, which pass: space comes back, a damaged file is replaced.
pub fn passes(error: &ClientError) -> bool {
    use ClientError::{Closed, DiskFull, File, FileBusy, FileDamaged, NotFound, SignedOut, Store};
    // What a file lost is not found until it has come again.
    matches!(error, DiskFull | FileBusy | FileDamaged(_) | Store(_) | File(_) | Closed | SignedOut | NotFound)
}

/// Who is signed in; with `--new` the account is made first.
pub async fn signed_in(engine: &Engine, arguments: &Arguments) -> Result<UserId> {
    use SignedOutReason::{DiskFull, FileBusy, FileDamaged, StoreFailed};
    loop {
        match engine.app_state().await {
            AppState::SignedIn { account, .. } => return Ok(account.me.id),
            AppState::SignedOut { reason: Some(DiskFull | FileBusy | FileDamaged | StoreFailed), .. } => {
                tokio::time::sleep(OPEN_AGAIN).await;
                engine.try_again().await;
                continue;
            }
            AppState::SignedOut { .. } | AppState::Locked { .. } => {}
        }
        let (server, name) = (arguments.server.clone(), arguments.name.clone());
        let password = PASSWORD.to_owned();
        let tried = if arguments.is_new {
            engine.sign_up(server, name.clone(), password, name, None).await
        } else {
            engine.sign_in(server, name, password).await
        };
        match tried {
            Ok(_) => {}
            Err(ClientError::Offline | ClientError::RefusedFor { .. }) => {
                tokio::time::sleep(SIGN_IN_AGAIN).await
            }
            Err(error) => return Err(error.into()),
        }
    }
}

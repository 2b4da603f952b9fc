//! `kith sign-in`: signs a profile in without a window, for the demo and for scripts.

use crate::{options::Options, shell};
use kith_client::{
    ClientError, Engine, EngineOptions,
    secrets::KeyringSecrets,
    view::{AppState, KeyStore},
};
use kith_protocol::ErrorCode;
use std::{
    io::{self, BufRead as _},
    process::ExitCode,
    sync::Arc,
};
use url::Url;

/// Signs in with the password from the standard input, and says in a sentence why if that fails.
pub(crate) fn run(options: &Options, username: &str) -> ExitCode {
    let mut password = String::new();
    if let Err(error) = io::stdin().lock().read_line(&mut password) {
        eprintln!("The password cannot be read: {error}.");
        return ExitCode::FAILURE;
    }
    let password = password.trim_end_matches(['\r', '\n']).to_owned();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("Kith cannot start: {error}.");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(sign_in(options, username, password)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("{sentence}");
            ExitCode::FAILURE
        }
    }
}

async fn sign_in(options: &Options, username: &str, password: String) -> Result<(), String> {
    let engine = Engine::open(EngineOptions {
        profile: options.profile.clone(),
        data_dir: options.data_dir(),
        ca_file: options.ca_file.clone(),
        app: shell::APP.to_owned(),
        device_name: shell::device_name(),
        secrets: Arc::new(KeyringSecrets::default()),
    })
    .await
    .map_err(|error| sentence(&error))?;
    let outcome = sign_in_with(&engine, options.server.clone(), username, password).await;
    engine.shutdown().await;
    outcome
}

async fn sign_in_with(
    engine: &Engine,
    server: Option<String>,
    username: &str,
    password: String,
) -> Result<(), String> {
    let server = match (server, engine.app_state().await) {
        (server, AppState::SignedIn { account, .. }) => {
            return already(&account.me.username, &account.server, username, server.as_deref());
        }
        (Some(server), AppState::SignedOut { .. })
        | (None, AppState::SignedOut { server: Some(server), .. }) => server,
        (_, AppState::Locked { .. }) => {
            return Err("This profile is locked with a passphrase: unlock it in its window first.".to_owned());
        }
        (None, AppState::SignedOut { server: None, .. }) => {
            return Err("Say which server: --server URL.".to_owned());
        }
    };
    engine.sign_in(server, username.to_owned(), password).await.map_err(|error| sentence(&error))?;
    match engine.app_state().await {
        AppState::SignedIn { account, .. } if account.key_store != KeyStore::SessionOnly => Ok(()),
        AppState::SignedIn { .. } => {
            Err("The secret store cannot be used, so the sign-in cannot be kept.".to_owned())
        }
        AppState::SignedOut { .. } | AppState::Locked { .. } => {
            Err("The server took the sign-in, but it could not be kept.".to_owned())
        }
    }
}

/// Signed in already: done if it is as that user on that server.
fn already(
    username: &str,
    server: &str,
    wanted_username: &str,
    wanted_server: Option<&str>,
) -> Result<(), String> {
    let same = |wanted: &str| Url::parse(wanted).is_ok_and(|wanted| Url::parse(server) == Ok(wanted));
    if username == wanted_username && wanted_server.is_none_or(same) {
        return Ok(());
    }
    Err(format!("This profile is signed in as {username} on {server}. Sign out in its window first."))
}

fn sentence(error: &ClientError) -> String {
    match error {
        ClientError::Refused(ErrorCode::CredentialsInvalid) => {
            "The user name or the password is wrong.".to_owned()
        }
        ClientError::Offline => "The server cannot be reached.".to_owned(),
        ClientError::ProfileLocked => "The profile is in use: quit its window first.".to_owned(),
        ClientError::SecretStore => "The secret store cannot be used.".to_owned(),
        other => format!("Signing in failed: {other}."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signed_in_elsewhere_is_no_success() {
        let at = |username, server| already("ada", "https://kith.example", username, server).is_ok();
        assert!(at("ada", None) && at("ada", Some("https://kith.example/")));
        assert!(!at("bo", None) && !at("ada", Some("https://other.example")));
    }
}

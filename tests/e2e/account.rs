//! Accounts, secrets and files: who signs in where, what stays, and what is never replaced.

use anyhow::{Context, Result};
use kith_client::{
    EngineEvent,
    view::{AppState, KeyStore, LinkView, SignedOutReason},
};
use kith_protocol::{ErrorCode, limits};
use kith_server::config::Config;
use kith_tests::{Client, Proxy, TestServer, client::PASSWORD, until};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut todo) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            todo.extend(fs::read_dir(&path).expect("a folder").map(|entry| entry.expect("an entry").path()));
        } else {
            found.push(path);
        }
    }
    found
}

fn databases(folder: &Path) -> Vec<PathBuf> {
    files(folder).into_iter().filter(|path| path.extension().is_some_and(|end| end == "db")).collect()
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// The session's tokens, as the secret store holds them.
fn tokens(client: &Client) -> Result<serde_json::Value> {
    let entries = client.secrets().stored("session");
    Ok(serde_json::from_slice(&entries.first().context("a session is stored")?.1)?)
}

/// Nothing that is secret is on the disk in a readable form, neither while the app runs nor after it quit.
#[tokio::test]
async fn the_profiles_folder_holds_neither_token_nor_text() -> Result<()> {
    let server = TestServer::start().await?;
    let [mut alice, bob] = server.people(["alice", "bob"]).await?;
    let talk = alice.write(&bob, "Rhododendron in the greenhouse").await?;
    alice.sent().await;
    bob.send(talk, "Philodendron in the hallway").await?;
    alice.until_messages(talk, "the answer arrives", |m| m.len() == 2).await;
    alice.engine().set_draft(talk, "Calceolaria on the shelf".to_owned()).await?;
    let stored = tokens(&alice)?;
    let key = alice.secrets().stored("key").first().context("a key is stored")?.1.clone();
    assert_eq!(key.len(), 32);
    let mut secrets: Vec<Vec<u8>> =
        ["Rhododendron", "Philodendron", "Calceolaria", PASSWORD, "SQLite format 3"].map(Into::into).into();
    for token in ["access_token", "refresh_token"] {
        secrets.push(stored[token].as_str().context("a token")?.into());
    }
    secrets.push(key);
    for running in [true, false] {
        if !running {
            alice.quit().await;
        }
        let files = files(alice.folder());
        assert!(files.iter().any(|file| file.extension().is_some_and(|end| end == "db")));
        for file in files {
            let bytes = fs::read(&file)?;
            for secret in &secrets {
                let name = String::from_utf8_lossy(secret);
                assert!(!contains(&bytes, secret), "{} holds {name}", file.display());
            }
        }
    }
    Ok(())
}

/// Signing out removes the session alone; the same user finds history and queue again, and the queue leaves.
#[tokio::test]
async fn signing_in_again_finds_history_and_queue() -> Result<()> {
    let server = TestServer::start().await?;
    let [alice, bob] = server.people(["alice", "bob"]).await?;
    let talk = alice.write(&bob, "history").await?;
    alice.sent().await;
    alice.go_offline().await;
    alice.send(talk, "queued").await?;
    let preview = alice.engine().sign_out_preview().await?;
    assert_eq!((preview.unsent, preview.messages), (1, 1));
    alice.engine().sign_out(false).await?;
    assert!(alice.secrets().stored("session").is_empty());
    assert_eq!(alice.secrets().stored("key").len(), 1);
    assert!(alice.engine().conversations().await.is_err(), "signed out, nothing is shown");
    alice.proxy().up();
    alice.sign_in().await?;
    assert_eq!(alice.texts(talk).await, ["history", "queued"]);
    bob.until_texts(talk, &["history", "queued"]).await;
    Ok(())
}

/// Key and file go only when the user chose to wipe.
#[tokio::test]
async fn wiping_removes_key_and_file() -> Result<()> {
    let server = TestServer::start().await?;
    let [alice, bob] = server.people(["alice", "bob"]).await?;
    let talk = alice.write(&bob, "on the server").await?;
    alice.sent().await;
    alice.engine().sign_out(true).await?;
    assert!(alice.secrets().stored("").is_empty());
    assert!(databases(alice.folder()).is_empty());
    // What the server has comes back.
    alice.sign_in().await?;
    alice.until_texts(talk, &["on the server"]).await;
    Ok(())
}

/// S9: another user of the same profile gets another file; nothing of one is seen by the other.
#[tokio::test]
async fn s9_another_user_opens_another_file() -> Result<()> {
    let server = TestServer::start().await?;
    let [alice, bob] = server.people(["alice", "bob"]).await?;
    let talk = alice.write(&bob, "between the two of us").await?;
    alice.sent().await;
    let engine = alice.engine();
    engine.sign_out(false).await?;
    let (url, name) = (alice.proxy().url(), "cleo".to_owned());
    engine.sign_up(url.clone(), name.clone(), PASSWORD.to_owned(), name, None).await?;
    alice.connected().await;
    assert!(engine.conversations().await?.is_empty());
    assert!(engine.search("between".to_owned(), None, 10).await?.hits.is_empty());
    assert_eq!(databases(alice.folder()).len(), 2);
    // Signing in over an open account works as well.
    alice.sign_in().await?;
    assert_eq!(alice.texts(talk).await, ["between the two of us"]);
    Ok(())
}

/// A database whose key was lost stays closed and untouched; a session until quit serves meanwhile, and with the key
/// back everything is there.
#[tokio::test]
async fn a_database_without_its_key_is_never_replaced() -> Result<()> {
    let server = TestServer::start().await?;
    let [mut alice, bob] = server.people(["alice", "bob"]).await?;
    let talk = alice.write(&bob, "history").await?;
    alice.sent().await;
    alice.quit().await;
    let file = databases(alice.folder()).pop().context("a database")?;
    let before = fs::read(&file)?;
    let lost = alice.secrets().lose("key");
    alice.restart().await?;
    match alice.engine().app_state().await {
        AppState::SignedOut { reason, secret_store_usable, .. } => {
            assert_eq!((reason, secret_store_usable), (Some(SignedOutReason::KeyMissing), true));
        }
        other => panic!("opened without its key: {other:?}"),
    }
    alice.sign_in().await?;
    assert_eq!(alice.account().await.key_store, KeyStore::SessionOnly);
    alice.until_texts(talk, &["history"]).await;
    assert!(alice.secrets().stored("key").is_empty(), "no other key takes the lost one's place");
    alice.quit().await;
    assert_eq!(fs::read(&file)?, before);
    assert_eq!(databases(alice.folder()), [file], "the temporary database is gone");
    for (name, secret) in lost {
        alice.secrets().put(&name, &secret);
    }
    alice.restart().await?;
    assert_eq!(alice.account().await.key_store, KeyStore::SecretStore);
    assert_eq!(alice.texts(talk).await, ["history"]);
    Ok(())
}

/// A database that a newer version wrote is refused with that reason, and left as it is.
#[tokio::test]
async fn a_newer_versions_database_is_refused_and_left_alone() -> Result<()> {
    let server = TestServer::start().await?;
    let [mut alice] = server.people(["alice"]).await?;
    alice.quit().await;
    let file = databases(alice.folder()).pop().context("a database")?;
    let key = alice.secrets().stored("key").pop().context("a key")?.1;
    let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let database = rusqlite::Connection::open(&file)?;
    database.execute_batch(&format!("PRAGMA key = \"x'{key}'\"; PRAGMA user_version = 99;"))?;
    database.close().map_err(|(_, error)| error)?;
    let before = fs::read(&file)?;
    alice.restart().await?;
    let refused = alice.sign_in().await.expect_err("refused");
    assert!(refused.to_string().contains("schema 99"), "{refused}");
    let state = alice.engine().app_state().await;
    let newer = Some(SignedOutReason::NewerFile);
    assert!(matches!(state, AppState::SignedOut { reason, .. } if reason == newer), "{state:?}");
    assert_eq!(fs::read(&file)?, before);
    Ok(())
}

/// A30 without a passphrase store: no usable secret store is said, and a session lasts until quit.
#[tokio::test]
async fn a30_without_a_secret_store_a_session_lasts_until_quit() -> Result<()> {
    let server = TestServer::start().await?;
    let [bob] = server.people(["bob"]).await?;
    let secrets = Arc::new(kith_tests::TestSecrets::default());
    secrets.set_broken(true);
    let mut alice = Client::with_secrets("alice", Proxy::start(server.address()).await?, secrets).await?;
    let state = alice.engine().app_state().await;
    assert!(
        matches!(state, AppState::SignedOut { secret_store_usable: false, reason: None, .. }),
        "{state:?}"
    );
    let mut events = alice.engine().subscribe();
    alice.sign_up().await?;
    loop {
        match tokio::time::timeout(kith_tests::until::PATIENCE, events.next()).await?.context("told")? {
            EngineEvent::Problem { .. } => break,
            _ => continue,
        }
    }
    assert_eq!(alice.account().await.key_store, KeyStore::SessionOnly);
    let talk = alice.write(&bob, "until I quit").await?;
    bob.until_texts(talk, &["until I quit"]).await;
    alice.restart().await?;
    assert!(matches!(alice.engine().app_state().await, AppState::SignedOut { .. }));
    assert!(databases(alice.folder()).is_empty(), "nothing stays behind that nobody could read");
    Ok(())
}

/// S11, S1: started with an access token that ended long ago, the app renews it by itself, without asking to sign in.
#[tokio::test]
async fn s11_a_token_that_ended_is_renewed() -> Result<()> {
    let server = TestServer::start().await?;
    let [mut alice, bob] = server.people(["alice", "bob"]).await?;
    let talk = alice.write(&bob, "before").await?;
    alice.sent().await;
    alice.quit().await;
    let (name, secret) = alice.secrets().stored("session").pop().context("a session")?;
    let mut session: serde_json::Value = serde_json::from_slice(&secret)?;
    let token = session["access_token"].as_str().context("a token")?;
    session["access_token"] = server.ended(token).await?.into();
    alice.secrets().put(&name, session.to_string().as_bytes());
    alice.proxy().down();
    alice.restart().await?;
    assert_eq!(alice.texts(talk).await, ["before"]);
    alice.send(talk, "after").await?;
    assert!(!matches!(alice.status().await.link, LinkView::SignInNeeded));
    alice.go_online().await?;
    bob.until_texts(talk, &["before", "after"]).await;
    assert_ne!(tokens(&alice)?["refresh_token"], session["refresh_token"]);
    Ok(())
}

/// S11: while connected the token is renewed again and again in-band; what is said goes on.
#[tokio::test]
async fn s11_tokens_are_renewed_while_connected() -> Result<()> {
    let config =
        Config { access_token: limits::AUTH_EXPIRING_BEFORE + Duration::from_secs(2), ..Config::for_tests() };
    let server = TestServer::start_with(config).await?;
    let [alice, bob] = server.people(["alice", "bob"]).await?;
    let talk = alice.write(&bob, "before").await?;
    let mut seen = tokens(&alice)?["refresh_token"].clone();
    for _ in 0..2 {
        let look = || async { tokens(&alice).ok().map(|tokens| tokens["refresh_token"].clone()) };
        let next =
            until("the token is renewed", look, |token| token.as_ref().is_some_and(|t| *t != seen)).await;
        seen = next.context("a token")?;
    }
    alice.send(talk, "after").await?;
    bob.until_texts(talk, &["before", "after"]).await;
    assert!(matches!(alice.status().await.link, LinkView::Connected { polling: false }));
    Ok(())
}

/// Names, passwords, devices; people are found here and on the server, never oneself.
#[tokio::test]
async fn account_devices_and_people() -> Result<()> {
    let server = TestServer::start().await?;
    let [mut alice, bob] = server.people(["alice", "bob"]).await?;
    let alice2 = server.device_of(&alice).await?;
    let found = alice.engine().find_people("b".to_owned()).await?;
    assert_eq!(found.iter().map(|person| person.username.as_str()).collect::<Vec<_>>(), ["bob"]);
    assert!(bob.engine().find_people("bob".to_owned()).await?.is_empty(), "never oneself");
    bob.engine().set_display_name("Bob B.".to_owned()).await?;
    let person = || async { alice.engine().find_people("bob".to_owned()).await.unwrap_or_default() };
    until("the new name is known", person, |p| p.first().is_some_and(|p| p.display_name == "Bob B.")).await;
    assert_eq!(alice.engine().person(bob.me().await).await?.display_name, "Bob B.");
    alice.go_offline().await;
    assert_eq!(alice.engine().find_people("bo".to_owned()).await?.len(), 1, "known here, offline too");
    alice.go_online().await?;

    let sessions = alice.engine().sessions().await?;
    assert_eq!((sessions.len(), sessions.iter().filter(|session| session.current).count()), (2, 1));
    let wrong = alice.engine().change_password("wrong wrong".to_owned(), "new and long".to_owned()).await;
    assert_eq!(wrong.map_err(|error| error.code()), Err(ErrorCode::CredentialsInvalid.as_str()));
    alice.engine().change_password(PASSWORD.to_owned(), "new and long".to_owned()).await?;
    until("the other device is out", || alice2.status(), |s| s.link == LinkView::SignInNeeded).await;
    alice.restart().await?;
    alice.connected().await;
    Ok(())
}

/// What a sign-in refuses: a wrong password, a name that is taken, plain text over a network, nobody there.
#[tokio::test]
async fn what_a_sign_in_refuses() -> Result<()> {
    let server = TestServer::start().await?;
    let [alice] = server.people(["alice"]).await?;
    let stranger = Client::new("stranger", Proxy::start(server.address()).await?).await?;
    let engine = stranger.engine();
    let url = stranger.proxy().url();
    let sign_in = |url: &str, password: &str| {
        engine.sign_in(url.to_owned(), alice.name().to_owned(), password.to_owned())
    };
    let code = |result: Result<(), kith_client::ClientError>| result.expect_err("refused").code();
    assert_eq!(code(sign_in(&url, "not the password").await), "credentials_invalid");
    assert_eq!(code(sign_in("http://chat.example.org", PASSWORD).await), "insecure_server");
    let again = engine.sign_up(url.clone(), "alice".into(), PASSWORD.into(), "Alice".into(), None);
    assert_eq!(code(again.await), "name_taken");
    stranger.proxy().down();
    assert_eq!(code(sign_in(&url, PASSWORD).await), "offline");
    assert!(stranger.secrets().stored("").is_empty());
    Ok(())
}

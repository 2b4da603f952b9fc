//! The server set back to a backup, as an operator does it (docs/operate/backup.md): what clients hold comes back with the
//! same ids, nothing is twice, everybody sees one order, and nobody is signed out (I12, S6, S7, S11).

use anyhow::{Context, Result, ensure};
use kith_client::view::{LinkView, MessageView};
use kith_pgbox::{Cluster, Durability, Options, testing::TestDb};
use kith_protocol::{ConversationId, EventId, limits};
use kith_server::config::Config;
use kith_tests::{Client, TestServer, server::Row, until};
use std::{collections::BTreeSet, path::Path, process::Command, time::Duration};

/// The dump of a running server.
fn dump(url: &str, file: &Path) -> Result<()> {
    run(Command::new(kith_pgbox::program("pg_dump")?).args(["--format=custom", "--file"]).arg(file).arg(url))
}

/// The dump in a database of its own.
async fn restored(file: &Path) -> Result<TestDb> {
    let db = kith_pgbox::testing::fresh_database("bare", |_| async { Ok(()) }).await?;
    let restore = kith_pgbox::program("pg_restore")?;
    run(Command::new(restore).args(["--no-owner", "--exit-on-error", "--dbname", db.url()]).arg(file))?;
    Ok(db)
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("running {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// The refresh token that somebody's secret store holds.
fn refresh_token(client: &Client) -> Option<String> {
    let (_, secret) = client.secrets().stored("session").pop()?;
    let session: serde_json::Value = serde_json::from_slice(&secret).ok()?;
    session["refresh_token"].as_str().map(str::to_owned)
}

async fn until_renewed(client: &Client, before: &Option<String>) {
    let look = || async { refresh_token(client) };
    until("the session is renewed", look, |token| token.is_some() && token != before).await;
}

/// Tokens that are renewed every two seconds while connected.
fn short_tokens() -> Config {
    Config { access_token: limits::AUTH_EXPIRING_BEFORE + Duration::from_secs(2), ..Config::for_tests() }
}

fn ids(rows: &[Row]) -> BTreeSet<EventId> {
    rows.iter().filter(|row| row.kind == "message").map(|row| row.id).collect()
}

/// Waits until the server has these messages and all clients show its log; then nothing may be twice or out of order.
async fn judge(
    server: &TestServer,
    clients: &[&Client],
    talk: ConversationId,
    wanted: &BTreeSet<EventId>,
) -> Result<()> {
    let look = || async { server.log(talk).await.unwrap_or_default() };
    let rows = until("the server has all again", look, |rows| ids(rows).is_superset(wanted)).await;
    assert!(rows.iter().enumerate().all(|(at, row)| row.seq == at as u64 + 1), "dense: {rows:#?}");
    let messages: Vec<Row> = rows.into_iter().filter(|row| row.kind == "message").collect();
    assert_eq!(messages.len(), wanted.len(), "nothing twice, nothing new: {messages:#?}");
    for client in clients {
        let what = format!("{} sees the server's order", client.name());
        until(&what, || client.log(talk), |log| *log == messages).await;
        client.sent().await;
        assert!(matches!(client.status().await.link, LinkView::Connected { .. }), "{}", client.name());
    }
    Ok(())
}

/// I12, S6, S7, S11: a dump is restored into another database while the clients went on; one of them was away with
/// messages that only it and the lost future know, one device signed in only after the dump.
#[tokio::test]
async fn i12_s6_s11_after_a_restored_dump_clients_bring_back_what_they_hold() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("kith.dump");
    let mut server = TestServer::start_with(short_tokens()).await?;
    let [alice, bob, cleo] = server.people(["alice", "bob", "cleo"]).await?;
    let talk = alice.engine().create_group("All".to_owned(), vec![bob.me().await, cleo.me().await]).await?;
    alice.send(talk, "before").await?;
    for client in [&bob, &cleo] {
        client.until_texts(talk, &["before"]).await;
    }
    let tokens = [&alice, &bob, &cleo].map(refresh_token);
    dump(server.database_url(), &file)?;
    let late = server.device_of(&bob).await?;
    for (client, token) in [&alice, &bob, &cleo].into_iter().zip(&tokens) {
        until_renewed(client, token).await;
        client.send(talk, &format!("{} after the dump", client.name())).await?;
    }
    late.until_messages(talk, "all four", |m| m.len() == 4 && m.iter().all(|m| m.seq.is_some())).await;
    late.send(talk, "from the late device").await?;
    let begun = bob.write(&cleo, "a talk that the dump does not know").await?;
    cleo.until_texts(begun, &["a talk that the dump does not know"]).await;
    cleo.send(begun, "an answer").await?;
    cleo.sent().await;
    let all = [&alice, &bob, &late, &cleo];
    for client in all {
        client.until_messages(talk, "all five", |m| m.len() == 5 && m.iter().all(|m| m.seq.is_some())).await;
    }
    alice.go_offline().await;
    alice.send(talk, "written while away").await?;
    let (group, direct) = (ids(&server.log(talk).await?), ids(&server.log(begun).await?));

    server.stop().await?;
    let database = restored(&file).await?;
    let tokens = all.map(refresh_token);
    server.restart_on(database.url()).await?;
    for client in all {
        client.proxy().up();
        client.engine().network_changed().await?;
    }
    for (client, token) in all.into_iter().zip(&tokens) {
        until_renewed(client, token).await;
    }
    let look = || async { server.log(talk).await.unwrap_or_default() };
    let rows = until("six are there", look, |rows| ids(rows).len() >= 6).await;
    let mut wanted = ids(&rows);
    wanted.retain(|id| !group.contains(id));
    assert_eq!(wanted.len(), 1, "the one that was written while away");
    wanted.extend(group);
    judge(&server, &all, talk, &wanted).await?;
    judge(&server, &[&bob, &cleo], begun, &direct).await?;
    assert_eq!(alice.engine().sessions().await?.len(), 1);
    assert_eq!(bob.engine().sessions().await?.len(), 2, "the late device is known again");
    Ok(())
}

/// I12, S7: a copy of the private cluster's folder is put back. The lineage is the same; the chains tell.
#[tokio::test]
async fn i12_s7_a_copy_of_the_cluster_put_back_loses_nothing_that_clients_hold() -> Result<()> {
    let folder = tempfile::Builder::new().prefix("kith-copy-").tempdir()?;
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let (data, copy) = (folder.path().join("pg"), folder.path().join("copy"));
    let start = || Cluster::start(Options { durability: Durability::Throwaway, ..Options::new(&data) });
    let cluster = start().await?;
    cluster.ensure_database("kith").await?;
    let mut server = TestServer::start_on(&cluster.url("kith"), Config::for_tests()).await?;
    let [alice, bob] = server.people(["alice", "bob"]).await?;
    let talk = alice.write(&bob, "before").await?;
    bob.until_texts(talk, &["before"]).await;
    alice.sent().await;
    server.stop().await?;
    cluster.stop().await?;
    run(Command::new("cp").arg("-a").args([&data, &copy]))?;

    let cluster = start().await?;
    server.restart_on(&cluster.url("kith")).await?;
    for client in [&alice, &bob] {
        client.engine().network_changed().await?;
        client.connected().await;
        client.send(talk, &format!("{} after the copy", client.name())).await?;
    }
    for client in [&alice, &bob] {
        client.until_messages(talk, "all three", |m| m.len() == 3 && m.iter().all(|m| m.seq.is_some())).await;
    }
    let wanted = ids(&server.log(talk).await?);
    alice.go_offline().await;
    server.stop().await?;
    cluster.stop().await?;
    std::fs::remove_dir_all(&data)?;
    run(Command::new("cp").arg("-a").args([&copy, &data]))?;

    let cluster = start().await?;
    server.restart_on(&cluster.url("kith")).await?;
    assert_eq!(ids(&server.log(talk).await?).len(), 1, "the server was set back");
    bob.engine().network_changed().await?;
    // Until its author's device is back, what the server has lost stays where it was, and is told apart (S7).
    let is_lost = |message: &MessageView| message.lost && message.seq.is_none();
    let texts = |messages: &Vec<MessageView>| {
        let lost = messages.iter().filter(|message| is_lost(message)).map(|message| message.text.clone());
        (messages.len(), lost.collect::<Vec<_>>())
    };
    let expected = (3, vec!["alice after the copy".to_owned()]);
    bob.until_messages(talk, "alice's is not on the server", |m| texts(m) == expected).await;
    bob.sent().await;
    alice.go_online().await?;
    judge(&server, &[&alice, &bob], talk, &wanted).await?;
    for client in [&alice, &bob] {
        assert_eq!(texts(&client.messages(talk).await), (3, Vec::new()), "{}", client.name());
    }
    drop(server);
    cluster.stop().await?;
    Ok(())
}

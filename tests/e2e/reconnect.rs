//! Cut connections, restarted servers, a restarted PostgreSQL: nothing lost, nothing twice, one order.

use anyhow::Result;
use kith_pgbox::{Cluster, Durability, Options};
use kith_server::config::Config;
use kith_tests::{Client, TestServer};
use std::time::Duration;

const MESSAGES: usize = 2_000;
const CUTS: usize = 100;

/// The story of the main job: four devices of three people, 2,000 messages, the socket cut 100 times, PostgreSQL
/// restarted once. Every SQLite equals PostgreSQL: 0 lost, 0 double, 0 out of order (I1–I3, I5, I6).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_devices_through_a_hundred_cuts() -> Result<()> {
    let folder = tempfile::Builder::new().prefix("kith-cuts-").tempdir()?;
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let options = Options { durability: Durability::Throwaway, ..Options::new(folder.path().join("pg")) };
    let cluster = Cluster::start(options).await?;
    cluster.ensure_database("kith").await?;
    let server = TestServer::start_on(&cluster.url("kith"), Config::for_tests()).await?;
    let [alice, bob, cleo] = server.people(["alice", "bob", "cleo"]).await?;
    let bob2 = server.device_of(&bob).await?;
    let members = vec![bob.me().await, cleo.me().await];
    let group = alice.engine().create_group("Everybody".to_owned(), members).await?;
    alice.send(group, "begin").await?;
    let all = [&alice, &bob, &bob2, &cleo];
    for client in all {
        client.until_texts(group, &["begin"]).await;
    }
    let each = MESSAGES / all.len();
    for number in 0..each {
        for (who, client) in all.iter().enumerate() {
            client.send(group, &format!("{who} {number}")).await?;
        }
        if number % (each / (CUTS / all.len())) == 0 {
            for client in all {
                client.proxy().cut();
            }
        }
        if number == each / 2 {
            cluster.restart().await?;
        }
        tokio::time::sleep(Duration::from_millis(2)).await; // a pace of writing, not a wait for anything
    }
    for client in all {
        client.sent().await;
        client
            .until_messages(group, "all are here", |m| {
                m.len() == MESSAGES + 1 && m.iter().all(|m| m.seq.is_some())
            })
            .await;
    }
    judge(&server, &all, group, each).await?;
    drop(server);
    cluster.stop().await?;
    Ok(())
}

async fn judge(
    server: &TestServer,
    all: &[&Client],
    group: kith_protocol::ConversationId,
    each: usize,
) -> Result<()> {
    let rows = server.log(group).await?;
    assert!(rows.iter().enumerate().all(|(index, row)| row.seq == index as u64 + 1), "seqs are dense");
    let messages: Vec<_> = rows.into_iter().filter(|row| row.kind == "message").collect();
    assert_eq!(messages.len(), each * all.len() + 1, "none lost, none double");
    for (who, client) in all.iter().enumerate() {
        assert_eq!(client.log(group).await, messages, "{} equals PostgreSQL", client.name());
        let prefix = format!("{who} ");
        let own: Vec<_> = messages.iter().filter_map(|row| row.text.strip_prefix(&prefix)).collect();
        let expected: Vec<_> = (0..each).map(|number| number.to_string()).collect();
        assert_eq!(own, expected, "{} in the order of writing", client.name());
    }
    Ok(())
}

/// 001-13: the server restarts; both sides wrote meanwhile.
#[tokio::test]
async fn server_restart_loses_nothing() -> Result<()> {
    let mut server = TestServer::start().await?;
    let [alice, bob] = server.people(["alice", "bob"]).await?;
    let talk = alice.write(&bob, "before").await?;
    bob.until_texts(talk, &["before"]).await;
    server.stop().await?;
    alice.send(talk, "from alice").await?;
    bob.send(talk, "from bob").await?;
    server.restart().await?;
    for client in [&alice, &bob] {
        client.engine().network_changed().await?;
        client.until_messages(talk, "all three", |m| m.len() == 3 && m.iter().all(|m| m.seq.is_some())).await;
    }
    assert_eq!(alice.log(talk).await, bob.log(talk).await);
    Ok(())
}

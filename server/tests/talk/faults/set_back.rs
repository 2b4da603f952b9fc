//! A data folder that is set back to an earlier state while the server runs: the lineage stays the same, the log does not.

use super::until;
use crate::support::{Person, World, message};
use kith_pgbox::{Cluster, Durability, Options};
use kith_protocol::{ConversationId, error::close};
use kith_server::{Config, config::BusConfig, connect, migrate, testing::TestServer};
use std::path::Path;

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    let output = std::process::Command::new("cp").arg("-a").arg(from).arg(to).output()?;
    if output.status.success() { Ok(()) } else { Err(std::io::Error::other(format!("{output:?}"))) }
}

/// A server on a PostgreSQL of its own, with a relay whose bus nobody answers on.
async fn start(cluster: &Cluster) -> World {
    cluster.ensure_database("kith").await.unwrap();
    let url = cluster.url("kith");
    let pool = connect(&url, 2).await.unwrap();
    migrate(&pool).await.unwrap();
    pool.close().await;
    let bus = BusConfig {
        url: "nats://127.0.0.1:1".parse().unwrap(),
        prefix: "kith-test".to_owned(),
        ca_file: None,
    };
    let config = Config { bus: Some(bus), ..Config::for_tests() };
    World {
        server: TestServer::start_on(&url, &url, None, config).await.unwrap(),
        http: reqwest::Client::new(),
    }
}

/// The database answers the server's people again.
async fn is_back(world: &World, person: &Person) {
    until("it is back", async || {
        let answer = person.ask(reqwest::Method::GET, "/v1/me", None).await;
        answer.0 == 200
            && reqwest::get(world.server.url("/readyz")).await.is_ok_and(|one| one.status() == 200)
    })
    .await;
}

/// As if another instance had removed somebody from the group.
async fn remove_elsewhere(world: &World, group: ConversationId, person: &Person) {
    for sql in [
        "UPDATE members SET is_active = false WHERE user_id = $2
         AND conversation_key = (SELECT key FROM conversations WHERE id = $1)",
        "UPDATE conversation_head SET access_version = access_version + 1 WHERE conversation_id = $1
         AND $2::uuid IS NOT NULL",
    ] {
        sqlx::query(sql)
            .bind(group.as_uuid())
            .bind(person.user.as_uuid())
            .execute(&world.server.pool)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn s6_w1_l4_a_folder_that_was_set_back_leaves_nothing_behind_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    #[cfg(unix)]
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let options = Options { durability: Durability::Throwaway, ..Options::new(dir.path().join("pg")) };
    let cluster = Cluster::start(options).await.unwrap();
    let world = start(&cluster).await;
    let [ada, bo, cy] = world.people(["ada", "bo", "cy"]).await;
    let mut line = ada.online().await;
    let group = line.start_group(&[bo.user]).await;
    line.ok(group, message("1")).await;

    let backup = dir.path().join("backup");
    let to = backup.clone();
    cluster.restart_after(move |data| copy(data, &to)).await.unwrap();
    assert_eq!(line.closed().await, close::EPOCH, "it was started again: nobody knows with what");
    is_back(&world, &ada).await;
    let (mut line, mut bo_line) = (ada.online_as(1).await, bo.online().await);
    assert_eq!(line.ok(group, message("2, lost later")).await, 2);
    assert_eq!(line.ok(group, crate::support::member(cy.user, "added")).await, 3);
    assert_eq!(line.ok(group, message("4, lost later")).await, 4);
    bo_line.events_to(group, 4).await;

    let from = backup.clone();
    cluster
        .restart_after(move |data| {
            std::fs::remove_dir_all(data)?;
            copy(&from, data)
        })
        .await
        .unwrap();
    assert_eq!((line.closed().await, bo_line.closed().await), (close::EPOCH, close::EPOCH));
    is_back(&world, &ada).await;
    // The version rises to the one at which this server had remembered that cy is in it, and bo too.
    remove_elsewhere(&world, group, &cy).await;
    let (mut line, mut bo_line) = (ada.online_as(2).await, bo.online_as(1).await);
    let mut cy_line = cy.online().await;
    assert_eq!(cy_line.refused(group, message("I was never added")).await, "not_member");
    bo_line.everything().await;
    assert_eq!(line.ok(group, message("2 again, and another one")).await, 2);
    let events = bo_line.events_to(group, 2).await;
    assert_eq!(events.len(), 1, "a place that was handed on before is handed on again: {events:?}");
    drop(world);
}

//! Instances of different databases, and of different incarnations of one, on the same bus (S6).

use super::*;
use crate::support::{World, message};
use kith_pgbox::{Cluster, Durability, Options};
use kith_protocol::error::close;
use kith_server::{
    connect, migrate,
    testing::{self, TestServer},
};
use serde_json::{Value, json};

const OTHER: &str = "kith_bus_messages_total{outcome=\"other_database\"}";

/// Copies all rows of a table to another database.
async fn copy(table: &str, from: &sqlx::PgPool, to: &sqlx::PgPool) {
    let rows: Value = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
        "SELECT coalesce(jsonb_agg(to_jsonb({table})), '[]') FROM {table}"
    )))
    .fetch_one(from)
    .await
    .unwrap();
    sqlx::query(sqlx::AssertSqlSafe(format!(
        "INSERT INTO {table} SELECT * FROM jsonb_populate_recordset(NULL::{table}, $1)"
    )))
    .bind(rows)
    .execute(to)
    .await
    .unwrap();
}

#[tokio::test]
async fn s6_l4_messages_of_an_instance_with_another_database_are_not_taken() {
    let Some(nats) = Nats::start().await else { return };
    let world = World::start_with(nats.config()).await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    // The same keys and people, as after a restore elsewhere: all that the bus checks fits.
    let database = testing::database().await.unwrap();
    let pool = connect(database.url(), 2).await.unwrap();
    sqlx::raw_sql("TRUNCATE server_keys").execute(&pool).await.unwrap();
    for table in ["server_keys", "users", "devices"] {
        copy(table, &world.server.pool, &pool).await;
    }
    let other = Instance::start(database.url(), &nats).await;
    let mut at_a = ada.online().await;
    let chat = at_a.start_chat(bo.user, "hello").await;
    let mut elsewhere = bo.at(other.address).online().await;
    at_a.write(&json!({"type": "presence.watch", "users": [bo.user]})).await;
    until("they hear each other", async || other.metric(OTHER).await > 0).await;
    let seen = other.metric(OTHER).await;
    at_a.ok(chat, message("not for there")).await;
    at_a.call(json!({"type": "state", "conversation": chat, "pin": true})).await;
    until("they hear each other for long", async || other.metric(OTHER).await > seen + 4).await;
    let frames = elsewhere.everything().await;
    assert!(frames.iter().all(|frame| frame["type"] != "events"), "{frames:?}");
    let frames = at_a.everything().await;
    let is_online = |frame: &Value| {
        frame["presence"].as_array().is_some_and(|all| all.iter().any(|one| one[1] != "offline"))
    };
    assert!(!frames.iter().any(is_online), "{frames:?}");
}

#[tokio::test]
async fn s6_l4_instances_hear_each_other_again_in_the_next_incarnation() {
    let Some(nats) = Nats::start().await else { return };
    let dir = tempfile::tempdir().unwrap();
    #[cfg(unix)]
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let options = Options { durability: Durability::Throwaway, ..Options::new(dir.path().join("pg")) };
    let cluster = Cluster::start(options).await.unwrap();
    cluster.ensure_database("kith").await.unwrap();
    let url = cluster.url("kith");
    let pool = connect(&url, 2).await.unwrap();
    migrate(&pool).await.unwrap();
    pool.close().await;
    let server = TestServer::start_on(&url, &url, None, nats.config()).await.unwrap();
    let world = World { server, http: reqwest::Client::new() };
    let other = Instance::start(&url, &nats).await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let (mut at_a, mut at_b) = (ada.online().await, bo.at(other.address).online().await);
    let chat = at_a.start_chat(bo.user, "hello").await;
    at_b.events_to(chat, 1).await;
    cluster.restart().await.unwrap();
    assert_eq!((at_a.closed().await, at_b.closed().await), (close::EPOCH, close::EPOCH));
    for address in [world.server.address, other.address] {
        until("it is back", async || {
            reqwest::get(format!("http://{address}/readyz")).await.is_ok_and(|one| one.status() == 200)
        })
        .await;
    }
    let (mut at_a, mut at_b) = (ada.online_as(1).await, bo.at(other.address).online_as(1).await);
    at_a.write(&json!({"type": "presence.watch", "users": [bo.user]})).await;
    let is_online = |frame: &Value| frame["presence"].as_array().is_some_and(|all| all[0][1] == "online");
    at_a.until(is_online).await;
    at_b.write(&json!({"type": "typing", "conversation": chat, "on": true})).await;
    at_a.until(|frame| frame["typing"].is_array()).await;
    let seq = at_a.ok(chat, message("after the restart")).await;
    at_b.events_to(chat, seq).await;
}

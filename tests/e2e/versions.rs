//! An engine and a server of different releases.

use anyhow::Result;
use kith_server::Config;
use kith_tests::TestServer;

/// The engine talks with a server whose `welcome` names no abilities, as the first ones did, and with one that offers some
/// that the engine has never heard of.
#[tokio::test]
async fn an_engine_talks_with_servers_that_know_less_or_more() -> Result<()> {
    let config = Config { offered: &["files.v1", "later.v9"], ..Config::for_tests() };
    let server = TestServer::start_with(config).await?;
    let [alice, bob] = server.people(["alice", "bob"]).await?;
    let talk = alice.write(&bob, "with a later server").await?;
    bob.until_texts(talk, &["with a later server"]).await;
    // From here on alice's engine reads a field that it does not know in its place.
    alice.proxy().replace("\"capabilities\":[", "\"capability_z\":[");
    alice.go_offline().await;
    alice.send(talk, "with an earlier one").await?;
    alice.go_online().await?;
    alice.sent().await;
    bob.until_texts(talk, &["with a later server", "with an earlier one"]).await;
    bob.send(talk, "and back").await?;
    alice.until_texts(talk, &["with a later server", "with an earlier one", "and back"]).await;
    assert!(alice.proxy().replaced() > 0, "the welcome passed as it was");
    Ok(())
}

//! What the app tells of its own state of sync.

use anyhow::Result;
use kith_client::view::{Counter, DiagnosticsView, LinkView};
use kith_tests::{Client, TestServer, until};

fn count(view: &DiagnosticsView, counter: Counter) -> u32 {
    view.counters.iter().find(|one| one.counter == counter).map_or(0, |one| one.count)
}

async fn diagnostics(client: &Client) -> DiagnosticsView {
    client.engine().diagnostics().await.expect("signed in")
}

/// S7: everything is compared on demand, with a sound file and a sound server nothing is found, and it says up to where
/// it is in sync.
#[tokio::test]
async fn s7_a_check_finds_a_sound_file_in_sync() -> Result<()> {
    let server = TestServer::start().await?;
    let [alice, bob] = server.people(["alice", "bob"]).await?;
    let talk = alice.write(&bob, "0").await?;
    bob.until_texts(talk, &["0"]).await;
    for number in 1..40 {
        let writer = if number % 3 == 0 { &bob } else { &alice };
        writer.send(talk, &number.to_string()).await?;
        if number % 10 == 0 {
            bob.while_offline(async { alice.send(talk, "meanwhile").await }).await?;
        }
    }
    for client in [&alice, &bob] {
        client.sent().await;
        client.until_messages(talk, "all is here", |messages| messages.len() == 43).await;
        assert_eq!(diagnostics(client).await.checked_at, None);
        client.engine().check_now().await?;
        let view = until("it was checked", || diagnostics(client), |view| view.checked_at.is_some()).await;
        assert_eq!((view.conversations, view.incomplete, view.waiting, view.parked), (1, 0, 0, 0));
        assert_eq!((view.logs[0].in_sync_to, view.logs[0].missing), (view.logs[0].head, 0));
        assert_eq!((count(&view, Counter::Repairs), count(&view, Counter::Forks)), (0, 0));
        assert!(count(&view, Counter::Checks) >= 1 && view.file_bytes > 0.0);
        assert_eq!(view.link, LinkView::Connected { polling: false });
    }
    let full = count(&diagnostics(&bob).await, Counter::FullHeads);
    assert!((1..4).contains(&full), "of four connections those after the first showed a cursor (S5): {full}");
    Ok(())
}

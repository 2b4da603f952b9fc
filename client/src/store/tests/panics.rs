//! A panic in one read or write ends that one alone.

use super::*;
use crate::{
    store::{drafts, tidy, verify},
    view::Counter,
};
use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};
use tokio::time::timeout;

const WITHIN: Duration = Duration::from_secs(30);

async fn restarts(fixture: &Fixture) -> u32 {
    let (counters, _) = fixture.read(verify::counters).await;
    counters.iter().find(|one| one.counter == Counter::WriterRestarts).unwrap().count
}

async fn panicking_write(fixture: &Fixture) -> Result<(), ClientError> {
    let written = fixture.store.write(|tx| {
        drafts::set(tx, Fixture::CID, "half done")?;
        panic!("injected");
    });
    written.await.map(|((), _)| ())
}

#[tokio::test]
async fn a_panic_in_a_write_undoes_it_and_the_next_write_is_carried_out() {
    let mut fixture = Fixture::new().await;
    for restarted in 1..=3 {
        assert!(matches!(panicking_write(&fixture).await, Err(ClientError::Panicked)));
        assert_eq!(fixture.row().await.draft, None);
        fixture.send("written behind it").await;
        assert_eq!(restarts(&fixture).await, restarted);
    }
    assert_eq!(fixture.texts().await.len(), 3);
    fixture.reopen().await;
    assert_eq!((fixture.texts().await.len(), restarts(&fixture).await), (3, 3), "all of it is in the file");
}

#[tokio::test]
async fn writes_that_wait_behind_a_panic_are_carried_out() {
    let fixture = Fixture::new().await;
    let (failed, ..) = tokio::join!(panicking_write(&fixture), fixture.send("first"), fixture.send("second"));
    assert!(matches!(failed, Err(ClientError::Panicked)));
    assert_eq!(fixture.texts().await, ["first", "second"]);
}

#[tokio::test]
async fn a_writer_that_panics_again_and_again_is_given_up_and_everything_ends_cleanly() {
    let fixture = Fixture::new().await;
    fixture.send("kept").await;
    let panics = async { while matches!(panicking_write(&fixture).await, Err(ClientError::Panicked)) {} };
    timeout(WITHIN, panics).await.expect("it ends");
    timeout(WITHIN, fixture.store.writer_gave_up()).await.expect("it is told");
    let refused = fixture.store.write(|tx| drafts::set(tx, Fixture::CID, "too late")).await;
    assert!(matches!(refused, Err(ClientError::Closed)));
    assert_eq!(fixture.texts().await, ["kept"], "reading goes on");
    timeout(WITHIN, fixture.store.close()).await.expect("closing does not hang");
}

#[tokio::test]
async fn a_panic_in_a_read_takes_no_reader_away() {
    let fixture = Fixture::new().await;
    fixture.send("still here").await;
    for _ in 0..8 {
        let read = fixture.store.read::<()>(|_| panic!("injected"));
        assert!(matches!(timeout(WITHIN, read).await.unwrap(), Err(ClientError::Panicked)));
    }
    assert_eq!(timeout(WITHIN, fixture.texts()).await.unwrap(), ["still here"]);
}

#[tokio::test]
async fn a_panic_in_a_step_of_tidying_does_not_end_the_tidying() {
    static STEPS: AtomicUsize = AtomicUsize::new(0);
    fn step(upkeep: tidy::Upkeep, _: &rusqlite::Connection) -> (bool, tidy::Upkeep) {
        assert!(STEPS.fetch_add(1, Ordering::Relaxed) > 0, "injected");
        (false, upkeep)
    }
    let fixture = Fixture::new().await;
    let (writer, readers) = (fixture.store.writer.downgraded(), fixture.store.readers.clone());
    tokio::spawn(tidy::when_quiet(writer, readers, step));
    let steps = async {
        while STEPS.load(Ordering::Relaxed) < 2 {
            // One for each of the two that tidy here; then it is quiet.
            tokio::join!(fixture.send("wakes one"), fixture.send("wakes the other"));
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
    };
    timeout(WITHIN, steps).await.expect("it goes on after the failure");
    fixture.send("and so do writes").await;
}

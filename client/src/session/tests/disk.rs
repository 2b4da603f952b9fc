//! Disks that are full, read-only, damaged or somebody else's: each is said with its own code, and nothing is lost.

use super::*;
use crate::{store::below, view::MendedView};
use std::{fs, process::Command};
use tokio::time::{Instant, timeout};

const WAIT: Duration = Duration::from_secs(20);

/// Ends a test that cannot mount anything: as left out where the runner has said so, else as failed.
fn leave_out() {
    let is_expected = std::env::var_os("KITH_TEST_WITHOUT_DISKS").is_some();
    assert!(is_expected, "cannot mount: run as root, or set KITH_TEST_WITHOUT_DISKS=1");
    eprintln!("SKIPPED: nothing can be mounted here");
}

/// A small disk of its own below the computer's folder; goes with the test.
struct Disk(PathBuf);

impl Disk {
    /// `None` where the runner has said that nothing can be mounted here, and then reports the test as left out.
    ///
    /// # Panics
    /// If mounting fails: a test that checks nothing must not pass.
    fn mount(computer: &Computer, kilobytes: u32) -> Option<Self> {
        let at = computer.dir.path().join("ada");
        fs::create_dir(&at).unwrap();
        let size = format!("size={kilobytes}k");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&at).status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self(at));
        }
        leave_out();
        None
    }

    fn remount(&self, how: &str) {
        let done =
            Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(&self.0).status().unwrap();
        assert!(done.success());
    }

    /// Takes all the space there is.
    fn fill(&self) -> PathBuf {
        use std::io::Write as _;
        let ballast = self.0.join("ballast");
        let mut file = fs::File::create(&ballast).unwrap();
        while file.write_all(&[0; 4_096]).is_ok() {}
        ballast
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn code<T>(result: Result<T, ClientError>) -> &'static str {
    result.map_or_else(|error| error.code(), |_| "done")
}

/// The next problem that is told.
async fn problem(events: &mut crate::EventStream) -> Problem {
    let told = async {
        loop {
            if let EngineEvent::Problem { problem } = events.next().await.unwrap() {
                return problem;
            }
        }
    };
    timeout(WAIT, told).await.unwrap()
}

#[tokio::test]
async fn o1_a_full_disk_refuses_what_it_cannot_keep_and_goes_on_when_there_is_space() {
    let computer = Computer::new().await;
    let Some(disk) = Disk::mount(&computer, 2_048) else { return };
    let engine = computer.signed_in().await;
    let talk = engine.start_direct(UserId::mint(), "before".into()).await.unwrap();
    let mut events = engine.subscribe();
    let ballast = disk.fill();
    // What fits into the pages that are there is kept; then there is no more.
    let (mut kept, mut refused) = (1, None);
    while refused.is_none() && kept < 2_000 {
        match engine.send_message(talk, "x".repeat(2_000), None).await {
            Ok(_) => kept += 1,
            Err(error) => refused = Some(error.code()),
        }
    }
    assert_eq!(refused, Some("disk_full"));
    assert_eq!(problem(&mut events).await, Problem::DiskFull);
    assert_eq!(unsent(&engine).await, kept + 1, "with the conversation itself");
    fs::remove_file(ballast).unwrap();
    engine.send_message(talk, "after".into(), None).await.unwrap();
    assert_eq!(unsent(&engine).await, kept + 2);
    engine.shutdown().await;
    drop(engine);
    let engine = computer.open().await;
    assert_eq!(unsent(&engine).await, kept + 2);
    engine.shutdown().await;
}

#[tokio::test]
async fn a_start_on_a_full_disk_says_so_and_can_be_tried_again() {
    let computer = Computer::new().await;
    let Some(disk) = Disk::mount(&computer, 2_048) else { return };
    let engine = computer.signed_in().await;
    engine.start_direct(UserId::mint(), "kept".into()).await.unwrap();
    engine.shutdown().await;
    drop(engine);
    let ballast = disk.fill();
    let engine = computer.open().await;
    let state = engine.app_state().await;
    assert!(
        matches!(state, AppState::SignedOut { reason: Some(SignedOutReason::DiskFull), .. }),
        "{state:?}"
    );
    fs::remove_file(ballast).unwrap();
    engine.try_again().await;
    assert!(matches!(engine.app_state().await, AppState::SignedIn { mended: None, .. }));
    assert_eq!(unsent(&engine).await, 2);
    engine.shutdown().await;
}

#[tokio::test]
async fn a_read_only_disk_is_said_and_nothing_is_lost() {
    let computer = Computer::new().await;
    let Some(disk) = Disk::mount(&computer, 4_096) else { return };
    let engine = computer.signed_in().await;
    engine.start_direct(UserId::mint(), "kept".into()).await.unwrap();
    engine.shutdown().await;
    drop(engine);
    disk.remount("ro");
    assert_eq!(code(computer.try_open().await), "read_only");
    disk.remount("rw");
    let engine = computer.open().await;
    assert_eq!(unsent(&engine).await, 2);
    engine.shutdown().await;
}

#[tokio::test]
async fn a_read_only_file_is_read_and_refuses_what_is_written() {
    let computer = Computer::new().await;
    let engine = computer.signed_in().await;
    let talk = engine.start_direct(UserId::mint(), "kept".into()).await.unwrap();
    engine.shutdown().await;
    drop(engine);
    let file = computer.database();
    // Root may write what is read-only by its mode; a mount from itself onto itself it may not.
    let bind = |how: &[&str]| Command::new("mount").args(how).arg(&file).arg(&file).status();
    if !bind(&["--bind"]).is_ok_and(|status| status.success()) {
        return leave_out();
    }
    let mount = Disk(file.clone());
    mount.remount("ro,bind");
    let engine = computer.open().await;
    assert_eq!(unsent(&engine).await, 2, "{:?}", engine.app_state().await);
    let mut events = engine.subscribe();
    assert_eq!(code(engine.send_message(talk, "refused".into(), None).await), "read_only");
    assert_eq!(problem(&mut events).await, Problem::ReadOnly);
    engine.shutdown().await;
    drop(engine);
    drop(mount);
    let engine = computer.open().await;
    engine.send_message(talk, "taken".into(), None).await.unwrap();
    assert_eq!(unsent(&engine).await, 3);
    engine.shutdown().await;
}

#[tokio::test]
async fn a_second_engine_on_the_same_profile_is_refused_and_the_first_goes_on() {
    let computer = Computer::new().await;
    let engine = computer.signed_in().await;
    assert_eq!(code(computer.try_open().await), "profile_locked");
    engine.start_direct(UserId::mint(), "goes on".into()).await.unwrap();
    engine.shutdown().await;
    drop(engine);
    assert_eq!(unsent(&computer.open().await).await, 2);
}

#[tokio::test]
async fn a_newer_file_is_refused_and_stays_as_it_is() {
    let computer = Computer::new().await;
    let engine = computer.signed_in().await;
    let session = engine.session().unwrap();
    session.store.write(below::make_newer).await.unwrap();
    drop(session);
    engine.shutdown().await;
    drop(engine);
    let before = fs::read(computer.database()).unwrap();
    let engine = computer.open().await;
    let state = engine.app_state().await;
    assert!(
        matches!(state, AppState::SignedOut { reason: Some(SignedOutReason::NewerFile), .. }),
        "{state:?}"
    );
    let again = engine.sign_in(computer.server.clone(), "ada".into(), "password".into()).await;
    assert_eq!(code(again), "newer_file");
    assert_eq!(fs::read(computer.database()).unwrap(), before);
}

async fn mended(engine: &Engine) -> Option<MendedView> {
    match engine.app_state().await {
        AppState::SignedIn { mended, .. } => mended,
        AppState::SignedOut { .. } | AppState::Locked { .. } => None,
    }
}

/// Corrupts pages of the file itself.
fn corrupt(file: &std::path::Path, pages: impl IntoIterator<Item = usize>) {
    let mut bytes = fs::read(file).unwrap();
    for page in pages {
        bytes[(page - 1) * 4_096 + 64..(page - 1) * 4_096 + 128].iter_mut().for_each(|byte| *byte ^= 0x55);
    }
    fs::write(file, bytes).unwrap();
}

#[tokio::test]
async fn a_file_that_is_damaged_while_it_is_open_is_replaced_and_what_is_unsent_goes_on() {
    for locked in [false, true] {
        let computer = Computer::new().await;
        computer.secrets.set_locked(locked);
        let engine = computer.signed_in().await;
        let talk = engine.start_direct(UserId::mint(), "unsent".into()).await.unwrap();
        let session = engine.session().unwrap();
        let pages = session.store.read(below::pages_of_events).await.unwrap();
        below::into_the_file(&session.store);
        let file = session.file.clone();
        drop(session);
        corrupt(&file, pages);
        // A read of a corrupted page reports the damage.
        let met = engine.session().unwrap().store.read(below::read_events).await;
        assert_eq!(code(met), "file_damaged");
        let deadline = Instant::now() + WAIT;
        let said = loop {
            if let Some(said) = mended(&engine).await {
                break said;
            }
            assert!(Instant::now() < deadline, "nobody was told");
            tokio::task::yield_now().await;
        };
        assert_eq!((said.salvaged, said.lost, said.is_complete), (2, 0, true));
        assert!(fs::exists(&said.file).unwrap());
        assert_eq!(unsent(&engine).await, 2);
        engine.send_message(talk, "goes on".into(), None).await.unwrap();
        engine.mended_seen().await.unwrap();
        assert_eq!(mended(&engine).await, None);
        engine.shutdown().await;
        drop(engine);
        if !locked {
            assert_eq!(unsent(&computer.open().await).await, 3);
        }
    }
}

//! The window on its desktop: notifications, keyring, tray, links, one instance, and what the page may not do.

use anyhow::{Context, Result};
use kith_tests::{
    until,
    window::{Notification, Shown, Stage, Window, is_running, password, run, windows_of},
};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::time::timeout;

async fn start_chat(window: &Window, username: &str, text: &str) -> Result<()> {
    window.click("new-chat-button").await?;
    window.fill("new-chat-query", username).await?;
    window.click(&format!("person-row[data-username=\"{username}\"]")).await?;
    window.fill("first-message", text).await?;
    window.click("first-message-send").await?;
    window.find("composer-input").await.map(drop)
}

fn has(text: &'static str) -> impl Fn(&[Shown]) -> bool {
    move |shown| shown.iter().any(|message| message.text == text)
}

async fn two(stage: &Stage) -> Result<(Window, Window)> {
    let (ada, bob) = tokio::try_join!(stage.window("ada"), stage.window("bob"))?;
    stage.sign_up(&ada, "ada", "Ada Lindqvist").await?;
    stage.sign_up(&bob, "bob", "Bob Tran").await?;
    Ok((ada, bob))
}

async fn title_is(window: &Window, title: &str) {
    let look = || async { windows_of(window.pid()).await.unwrap_or_default() };
    until("the window's title", look, |windows| windows.iter().any(|(_, text)| text == title)).await;
}

/// A28, and the same unread number in list and title: a message that is not in view is announced, a click opens its
/// conversation, reading withdraws it; one from before a restart still leads there.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "opens real windows: cargo xtask test windows"]
async fn sec_068_a28_a_notification_leads_to_its_message_also_after_a_restart() -> Result<()> {
    let stage = Stage::set().await?;
    let (ada, bob) = two(&stage).await?;
    Notification::clear().await?;
    ada.focus().await?;
    start_chat(&ada, "bob", "Is <b>Tuesday</b> & \"noon\" fine?").await?;
    Notification::until_displayed(1).await;
    title_is(&bob, "(1) Kith").await;
    bob.find("conversation-row[data-unread=\"1\"]").await?;
    Notification::click().await?;
    bob.shows("the announced message", has("Is <b>Tuesday</b> & \"noon\" fine?")).await?;
    title_is(&bob, "Kith").await;
    Notification::until_displayed(0).await;
    let history = Notification::history().await?;
    let shown = history.first().context("the daemon has shown something")?;
    assert_eq!(shown.summary, "Ada Lindqvist");
    assert!(shown.body.contains("Tuesday") && !shown.body.contains("<b>"), "{shown:?}");

    // One conversation, one notification, whatever comes; and it outlives the app.
    ada.focus().await?;
    ada.say("one more").await?;
    Notification::until_displayed(1).await;
    ada.say("and another").await?;
    title_is(&bob, "(2) Kith").await;
    Notification::until_displayed(1).await;
    bob.quit().await?;
    let bob = stage.window("bob").await?;
    ada.focus().await?;
    bob.link_is("connected").await?;
    Notification::until_displayed(1).await;
    Notification::click().await?;
    bob.shows("the newest message", has("and another")).await?;
    title_is(&bob, "Kith").await;
    bob.quit().await?;
    ada.quit().await
}

/// The token is in the Secret Service; in the profile's folder neither it nor any message can be read.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "opens real windows: cargo xtask test windows"]
async fn sec_084_the_token_is_in_the_keyring_and_the_folder_tells_nothing() -> Result<()> {
    const TEXT: &str = "The offer is 71,500 and stays between us";
    let stage = Stage::set().await?;
    let (ada, bob) = two(&stage).await?;
    start_chat(&ada, "bob", TEXT).await?;
    bob.sees("conversation-preview", "71,500").await?;
    ada.say("written in one window, drafted in the other").await?;
    bob.sees("conversation-preview", "drafted in the other").await?;

    for window in [&ada, &bob] {
        let session = session_secret(&stage, window).await?;
        let tokens: Vec<&str> = ["access", "refresh"]
            .into_iter()
            .filter_map(|name| session.as_object()?.iter().find(|(key, _)| key.contains(name))?.1.as_str())
            .collect();
        assert_eq!(tokens.len(), 2, "two tokens in the session's entry");
        let mut files = 0;
        for path in files_under(&window.profile_dir()) {
            // The database is written while this reads: one that went away has nothing to tell.
            let Ok(bytes) = fs::read(&path) else { continue };
            files += 1;
            for secret in tokens.iter().copied().chain([TEXT, "71,500", "drafted in the other"]) {
                assert!(!contains(&bytes, secret.as_bytes()), "{secret:?} stands in {}", path.display());
            }
        }
        assert!(files > 2, "the profile has a database");
    }
    ada.quit().await?;
    bob.quit().await
}

/// The `session` entry of a window's profile.
pub(crate) async fn session_secret(stage: &Stage, window: &Window) -> Result<Value> {
    let folder = fs::read_to_string(window.profile_dir().join("id"))?;
    let service = format!("kith/{}.{folder}/{}", window.profile(), stage.url());
    Ok(serde_json::from_str(
        &run("secret-tool", &["lookup", "service", &service, "username", "session"]).await?,
    )?)
}

fn files_under(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let paths = entries.flatten().map(|entry| entry.path());
    paths.flat_map(|path| if path.is_dir() { files_under(&path) } else { vec![path] }).collect()
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

/// `kith sign-in` needs no window, says in a sentence what is wrong, and the window opens signed in afterwards.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "opens real windows: cargo xtask test windows"]
async fn a_profile_signed_in_by_the_command_line_opens_signed_in() -> Result<()> {
    let stage = Stage::set().await?;
    stage.account("ada", "Ada Lindqvist").await?;
    let (worked, said) = stage.sign_in("ada", "ada", "not the password").await?;
    assert!(!worked && said.contains("The user name or the password is wrong."), "{said}");
    let (worked, said) = stage.sign_in("ada", "ada", &password("ada")).await?;
    assert!(worked, "{said}");
    let window = stage.window("ada").await?;
    window.find("new-chat-button").await?;
    window.link_is("connected").await?;
    let (worked, said) = stage.sign_in("ada", "ada", &password("ada")).await?;
    assert!(!worked && said.contains("in use"), "{said}");
    window.quit().await
}

/// An engine whose writer fails again and again is given up, and the app ends with a code that says so.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "opens real windows: cargo xtask test windows"]
async fn an_engine_that_is_given_up_ends_the_app() -> Result<()> {
    let stage = Stage::set().await?;
    stage.account("ada", "Ada Lindqvist").await?;
    let (worked, said) = stage.sign_in("ada", "ada", &password("ada")).await?;
    assert!(worked, "{said}");
    let panics = format!("{}=panic", kith_failpoint::places::STORE_BEFORE_COMMIT);
    let mut app = stage.start("ada", &[(kith_failpoint::VARIABLE, panics)])?;
    let ended = timeout(Duration::from_secs(60), app.wait()).await.context("the app went on")??;
    assert_eq!(ended.code(), Some(1));
    stage.window("ada").await?.quit().await
}

/// A37: a link reaches the running window and opens no second one; after a cold start it is followed too.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "opens real windows: cargo xtask test windows"]
async fn sec_056_a37_a_link_opens_in_the_one_window_cold_and_warm() -> Result<()> {
    let stage = Stage::set().await?;
    stage.account("bob", "Bob Tran").await?;
    stage.account("cyd", "Cyd Okafor").await?;
    stage.account("dia", "Dia Novak").await?;
    let ada = stage.window("ada").await?;
    stage.sign_up(&ada, "ada", "Ada Lindqvist").await?;
    start_chat(&ada, "bob", "Hello Bob").await?;
    let with_bob = opened(&ada, None).await;
    start_chat(&ada, "cyd", "Hello Cyd").await?;
    let with_cyd = opened(&ada, Some(&with_bob)).await;

    let link = format!("kith://c/{with_bob}");
    assert!(stage.start_again("ada", &[&link]).await?.success());
    assert_eq!(opened(&ada, Some(&with_cyd)).await, with_bob);
    assert_eq!(windows_of(ada.pid()).await?.len(), 1);

    // A link that is not valid changes nothing. Read less strictly, the last three would open Cyd's conversation.
    for bad in [
        "kith://c/../../etc/passwd".to_owned(),
        format!("kith://c/x/../{with_cyd}"),
        format!("kith://c/{with_cyd}#message"),
        "kith://start?with=cyd&with=cyd".to_owned(),
    ] {
        assert!(stage.start_again("ada", &[&bad]).await?.success());
        // The second process ends once the first has its link; a valid one is followed at once.
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(ada.open_conversation().await?.as_deref(), Some(with_bob.as_str()), "{bad}");
        ada.sees_no("new-chat-query").await?;
    }
    assert_eq!(windows_of(ada.pid()).await?.len(), 1);

    // A person's link opens the conversation that exists.
    assert!(stage.start_again("ada", &["kith://start?with=cyd"]).await?.success());
    assert_eq!(opened(&ada, Some(&with_bob)).await, with_cyd);

    // With somebody new a chat begins about what the link names, and stays about it after a restart.
    assert!(stage.start_again("ada", &["kith://start?with=dia&context=job:J-7"]).await?.success());
    ada.sees("new-chat-about", "About job J-7").await?;
    ada.fill("first-message", "Hello Dia").await?;
    ada.click("first-message-send").await?;
    ada.sees("header-context", "job J-7").await?;
    let with_dia = opened(&ada, Some(&with_cyd)).await;
    ada.quit().await?;
    let about_job = format!("kith://c/{with_dia}");
    let ada = stage.window_with("ada", &[&about_job]).await?;
    ada.sees("header-context", "job J-7").await?;

    ada.quit().await?;
    let ada = stage.window_with("ada", &[&link]).await?;
    let look = || async { ada.open_conversation().await.ok().flatten() };
    until("the link's conversation", look, |open| open.as_deref() == Some(&with_bob)).await;
    ada.quit().await
}

/// The conversation that is open, once it is another than that one.
async fn opened(window: &Window, before: Option<&str>) -> String {
    let look = || async { window.open_conversation().await.ok().flatten() };
    let open =
        until("another conversation is open", look, |open| open.is_some() && open.as_deref() != before).await;
    open.unwrap_or_default()
}

/// A34: without a tray, closing the window ends the process; with one it hides, and a second start brings it back.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "opens real windows: cargo xtask test windows"]
async fn a34_closing_never_leaves_an_invisible_process() -> Result<()> {
    let stage = Stage::set().await?;
    let window = stage.window("ada").await?;
    close(&window).await?;
    window.ended().await;

    let tray = tray::host().await?;
    let window = stage.window("ada").await?;
    close(&window).await?;
    let pid = window.pid();
    let look = || async { windows_of(pid).await.unwrap_or_default().len() };
    until("the window is hidden", look, |count| *count == 0).await;
    assert!(is_running(pid));
    assert!(stage.start_again("ada", &[]).await?.success());
    until("the window is back", look, |count| *count == 1).await;
    window.quit().await?;
    drop(tray);
    Ok(())
}

async fn close(window: &Window) -> Result<()> {
    let pid = window.pid();
    let windows =
        until("a window", || async { windows_of(pid).await.unwrap_or_default() }, |seen| !seen.is_empty())
            .await;
    run("wmctrl", &["-i", "-c", &windows[0].0]).await.map(drop)
}

mod tray {
    //! A tray host that accepts every icon and shows none.

    use anyhow::Result;
    use zbus::{connection::Builder, interface};

    struct Watcher;

    #[interface(name = "org.kde.StatusNotifierWatcher")]
    impl Watcher {
        fn register_status_notifier_item(&self, _service: &str) {}
        fn register_status_notifier_host(&self, _service: &str) {}

        #[zbus(property)]
        fn is_status_notifier_host_registered(&self) -> bool {
            true
        }

        #[zbus(property)]
        fn registered_status_notifier_items(&self) -> Vec<String> {
            Vec::new()
        }

        #[zbus(property)]
        fn protocol_version(&self) -> i32 {
            0
        }
    }

    pub(super) async fn host() -> Result<zbus::Connection> {
        let name = "org.kde.StatusNotifierWatcher";
        Ok(Builder::session()?.name(name)?.serve_at("/StatusNotifierWatcher", Watcher)?.build().await?)
    }
}

/// Two people share a name: the notification names the handle of the one who wrote.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "opens real windows: cargo xtask test windows"]
async fn a_notification_tells_people_who_share_a_name_apart() -> Result<()> {
    let stage = Stage::set().await?;
    let (ada, bob) = two(&stage).await?;
    stage.account("other.ada", "ADA  Lindqvist").await?;
    bob.focus().await?;
    start_chat(&bob, "other.ada", "hello").await?;
    Notification::clear().await?;
    ada.focus().await?;
    start_chat(&ada, "bob", "somebody shares my name").await?;
    Notification::until_displayed(1).await;
    Notification::clear().await?;
    let newest = Notification::history().await?.into_iter().next().context("a notification was shown")?;
    assert_eq!(newest.summary, "Ada Lindqvist (@ada)");
    bob.quit().await?;
    ada.quit().await
}

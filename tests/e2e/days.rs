//! Days without a network, by a clock that is set ahead. The clock is the whole process's, so these tests take turns.

use anyhow::Result;
use kith_client::view::{MessageView, OutboxItemView, OutboxState, SendState};
use kith_failpoint::clock;
use kith_protocol::{ConversationId, ErrorCode};
use kith_server::config::Config;
use kith_tests::{TestServer, client::Client, until};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};
use tokio::sync::{Mutex, MutexGuard};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// From the network's return to the next try.
const TRY_WITHIN: Duration = Duration::from_secs(5);

static TURN: Mutex<()> = Mutex::const_new(());

/// A clock that is right again afterwards.
struct Clock(#[expect(dead_code, reason = "held, never read")] MutexGuard<'static, ()>);

impl Clock {
    async fn take() -> Self {
        Self(TURN.lock().await)
    }

    fn set(&self, ahead_ms: i64) {
        clock::set_wrong(ahead_ms);
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        clock::set_wrong(0);
    }
}

/// Alice's outbox in one conversation, messages only.
async fn waiting(alice: &Client, talk: ConversationId) -> Result<Vec<OutboxItemView>> {
    let mut items = alice.engine().outbox().await?;
    items.retain(|item| item.conversation == Some(talk));
    Ok(items)
}

/// Gives the network back; the engine must try within [`TRY_WITHIN`].
async fn network_returns(client: &Client) -> Result<()> {
    let before = client.proxy().accepted();
    let since = Instant::now();
    client.proxy().up();
    client.engine().network_changed().await?;
    until("the server is tried", || async { client.proxy().accepted() }, |count| *count > before).await;
    assert!(since.elapsed() < TRY_WITHIN, "tried after {:?}", since.elapsed());
    client.connected().await;
    Ok(())
}

/// What alice wrote in an hour, as it stands in the end.
fn text_of(hour: i64) -> String {
    let edited = if hour % 3 == 2 { ", edited" } else { "" };
    format!("alice {hour}{edited}")
}

/// An hour of alice's: she writes, every third hour she edits what she wrote before, every fifth she changes her mind
/// about a reaction.
async fn an_hour(alice: &Client, talk: ConversationId, hour: i64) -> Result<()> {
    alice.send(talk, &format!("alice {hour}")).await?;
    let messages = alice.messages(talk).await;
    if hour % 3 == 0 {
        let before = &messages[messages.len() - 2];
        alice.engine().edit_message(talk, before.id, text_of(hour - 1)).await?;
    }
    if hour % 5 == 0 {
        let (edited, on) = (format!("history, hour {hour}"), hour % 2 == 0);
        alice.engine().edit_message(talk, messages[0].id, edited).await?;
        alice.engine().react(talk, messages[1].id, "🎉".to_owned(), on).await?;
    }
    Ok(())
}

/// A07, S10, O4, O6, I1–I6: three days pass without a network, alice quits and starts again every day, bob writes on.
/// When the network is back it is tried within five seconds, everything arrives once and in order for both, and nobody
/// is asked about anything.
#[tokio::test]
async fn a07_s10_o4_seventy_two_hours_offline_arrive_once_and_in_order() -> Result<()> {
    let clock = Clock::take().await;
    let config = Config { access_token: Duration::from_secs(1), ..Config::for_tests() };
    let server = TestServer::start_with(config).await?;
    let [mut alice, bob] = server.people(["alice", "bob"]).await?;
    let talk = alice.write(&bob, "history").await?;
    bob.until_texts(talk, &["history"]).await;
    bob.send(talk, "bob 0").await?;
    alice.until_texts(talk, &["history", "bob 0"]).await;
    alice.sent().await;
    alice.go_offline().await;
    for hour in 1..=72 {
        clock.set(hour * HOUR_MS);
        an_hour(&alice, talk, hour).await?;
        if hour % 2 == 0 {
            bob.send(talk, &format!("bob {hour}")).await?;
        }
        if hour % 24 == 0 {
            alice.restart().await?;
        }
    }
    bob.sent().await;
    let status = alice.status().await;
    // 72 messages, one edit and one reaction: what was never tried is changed in its row (O7).
    assert_eq!((status.unsent, status.parked), (72 + 2, 0));
    network_returns(&alice).await?;
    alice.sent().await;

    let mut texts = vec!["history, hour 70".to_owned(), "bob 0".to_owned()];
    texts.extend((1..=36).map(|half| format!("bob {}", 2 * half)));
    texts.extend((1..=72).map(text_of));
    let all = |seen: &Vec<MessageView>| seen.iter().map(|one| one.text.as_str()).eq(texts.iter());
    for client in [&alice, &bob] {
        let seen = client.until_messages(talk, "everything once and in order", all).await;
        let is_at_peace = |one: &MessageView| {
            !matches!(one.send_state, Some(SendState::Queued | SendState::Failed { .. })) && one.seq.is_some()
        };
        assert!(seen.iter().all(is_at_peace), "{seen:#?}");
        assert_eq!(
            seen[1].reactions.len(),
            1,
            "the last of fourteen changes of mind: {:?}",
            seen[1].reactions
        );
    }
    assert_eq!(alice.log(talk).await, bob.log(talk).await);
    let numbered: BTreeSet<_> = server.log(talk).await?.iter().map(|row| row.id).collect();
    // Two before, 36 of bob's, and alice's.
    assert_eq!(numbered.len(), 2 + 36 + 72 + 2);
    bob.send(talk, "and on").await?;
    alice
        .until_messages(talk, "what comes then", |seen| seen.last().is_some_and(|m| m.text == "and on"))
        .await;
    Ok(())
}

/// O6, S10: a clock that jumps back by weeks while the network is away leaves no wait of weeks behind.
#[tokio::test]
async fn o6_s10_a_clock_that_jumps_back_delays_nothing() -> Result<()> {
    let clock = Clock::take().await;
    let server = TestServer::start().await?;
    let [alice, bob] = server.people(["alice", "bob"]).await?;
    let talk = alice.write(&bob, "before").await?;
    alice.sent().await;
    clock.set(20 * DAY_MS);
    alice.go_offline().await;
    alice.send(talk, "weeks ahead").await?;
    clock.set(-20 * DAY_MS);
    alice.send(talk, "weeks behind").await?;
    // Nobody tells of the network's return.
    alice.proxy().up();
    alice.connected().await;
    bob.until_texts(talk, &["before", "weeks ahead", "weeks behind"]).await;
    alice.sent().await;
    assert_eq!(alice.log(talk).await, bob.log(talk).await);
    Ok(())
}

/// O5: what has waited for 31 days does not leave unasked, over a restart too; what was written behind it waits with it.
/// Nothing is lost whatever the answer is, and everything else goes on.
#[tokio::test]
async fn o5_after_thirty_one_days_offline_the_user_is_asked() -> Result<()> {
    let clock = Clock::take().await;
    let server = TestServer::start().await?;
    let [mut alice, bob, cleo] = server.people(["alice", "bob", "cleo"]).await?;
    let with_bob = alice.write(&bob, "before").await?;
    let with_cleo = alice.write(&cleo, "before").await?;
    alice.sent().await;
    alice.go_offline().await;
    alice.send(with_bob, "old").await?;
    alice.send(with_cleo, "old").await?;
    clock.set(31 * DAY_MS);
    alice.send(with_bob, "new").await?;
    alice.send(with_cleo, "new").await?;
    bob.send(with_bob, "from bob").await?;
    network_returns(&alice).await?;
    until("the user is asked", || alice.status(), |status| status.parked == 2).await;
    alice.until_texts(with_bob, &["before", "from bob", "old", "new"]).await;
    alice.restart().await?;
    alice.connected().await;
    let mut asked = Vec::new();
    for talk in [with_bob, with_cleo] {
        let items = waiting(&alice, talk).await?;
        let states: Vec<_> = items.iter().map(|item| item.state).collect();
        assert_eq!(
            states,
            [OutboxState::Parked { code: ErrorCode::TooOld }, OutboxState::Held],
            "{items:#?}"
        );
        asked.push(items[0].item);
    }
    assert_eq!(bob.texts(with_bob).await, ["before", "from bob"]);
    assert_eq!(cleo.texts(with_cleo).await, ["before"]);
    // It is to go, and it is not.
    alice.engine().retry(asked[0]).await?;
    alice.engine().cancel(asked[1]).await?;
    bob.until_texts(with_bob, &["before", "from bob", "old", "new"]).await;
    cleo.until_texts(with_cleo, &["before", "new"]).await;
    alice.sent().await;
    assert_eq!(alice.log(with_bob).await, bob.log(with_bob).await);
    assert_eq!(alice.log(with_cleo).await, cleo.log(with_cleo).await);
    assert_eq!((server.log(with_bob).await?.len(), server.log(with_cleo).await?.len()), (4, 2));
    Ok(())
}

//! The announcer outlives what panics in it.

use super::*;
use crate::domain::publish::Reply;
use sqlx::postgres::PgPoolOptions;
use tokio::{sync::oneshot, time::timeout};

/// A commit of a conversation that is told to a new member first.
fn commit(conversation: ConversationId, reply: Reply) -> (Vec<(UserId, ConversationId)>, Answers) {
    let sender = UserId::mint();
    let since = std::time::Instant::now();
    let job = Job { conversation, sender, items: Vec::new(), is_over_quota: false, since, reply };
    (vec![(sender, conversation)], vec![(job, Ok(Vec::new()))])
}

#[tokio::test]
async fn a_batch_that_panics_is_settled_and_the_next_one_is_announced() {
    // Nobody is connected, so the database is never asked.
    let nowhere = PgPoolOptions::new().connect_lazy("postgres://localhost/nowhere").unwrap();
    let connection = LaneConnection::new(nowhere, Duration::from_secs(1));
    let (announcer, task) = Announcer::new(Hub::default(), Metrics::default(), connection);
    let running = tokio::spawn(task);

    let (broken, whole) = (ConversationId::mint(), ConversationId::mint());
    let (announce, answers) = commit(broken, Reply::new(|_| panic!("on purpose")));
    announcer.publish(announce, Vec::new(), answers);
    tokio::task::yield_now().await;
    let (reply, answered) = oneshot::channel();
    let (announce, answers) = commit(whole, Reply::new(move |results| drop(reply.send(results))));
    announcer.publish(announce, Vec::new(), answers);

    let results = timeout(Duration::from_secs(20), answered).await.unwrap().unwrap();
    assert!(results.is_ok(), "{results:?}");
    {
        let state = lock(&announcer.state);
        assert_eq!(state.doubts.all, BTreeSet::from([broken]));
        assert!(state.held.is_empty(), "{:?}", state.held);
    }
    drop(announcer);
    timeout(Duration::from_secs(20), running).await.unwrap().unwrap();
}

#[test]
fn a_conversation_that_cannot_be_settled_holds_up_no_other() {
    let mut doubts = Doubts::default();
    let all: BTreeSet<_> = (0..3 * SETTLED_TOGETHER_MAX).map(|_| ConversationId::mint()).collect();
    let broken = *all.first().unwrap();
    doubts.add(all.iter().copied());
    let mut tries = 0;
    while doubts.all.len() > 1 {
        let next = doubts.next();
        if !next.contains(&broken) {
            doubts.settled(&next);
        }
        tries += 1;
        assert!(tries < 100, "{} are left", doubts.all.len());
    }
    assert_eq!(doubts.all, BTreeSet::from([broken]));
}

//! The store against itself: what is damaged is found, given up and fetched anew.

use super::*;
use crate::{store::verify, view::Counter};

async fn filled(messages: u64) -> Fixture {
    let mut fixture = Fixture::new().await;
    let bo = fixture.bo;
    for at in 1..=messages {
        fixture.says(bo, &format!("m{at}"));
    }
    fixture.apply(vec![fixture.heads(true), fixture.append(1, messages)]).await;
    fixture
}

impl Fixture {
    fn verify(&self) -> StoreOp {
        StoreOp::Verify { conversation: self.conversation, salt: 12_345 }
    }

    async fn count_of(&self, counter: Counter) -> u32 {
        let (counters, _) = self.read(verify::counters).await;
        counters.iter().find(|one| one.counter == counter).unwrap().count
    }

    async fn damage(&self, sql: &'static str) {
        self.write(move |tx| Ok(tx.conn.execute(sql, [])?)).await;
    }
}

#[tokio::test]
async fn c2_a_sound_log_is_left_alone() {
    let fixture = filled(1_200).await;
    let before = fixture.dump().await;
    for salt in 0..20 {
        let stored = fixture
            .apply(vec![StoreOp::Verify { conversation: fixture.conversation, salt: salt * 77 }])
            .await;
        assert_eq!(stored.repaired, []);
    }
    assert_eq!(fixture.dump().await, before);
    assert_eq!((fixture.count_of(Counter::Checks).await, fixture.count_of(Counter::Repairs).await), (20, 0));
}

#[tokio::test]
async fn c2_a_row_that_is_gone_is_noticed_and_comes_again() {
    let fixture = filled(9).await;
    fixture.damage("DELETE FROM events WHERE seq = 5").await;
    let stored = fixture.apply(vec![fixture.verify()]).await;
    let ends = |ranges: &[kith_sync::ops::LocalRange]| {
        ranges.iter().map(|range| (range.low.0, range.high.0)).collect::<Vec<_>>()
    };
    assert_eq!(ends(&stored.repaired[0].ranges), [(1, 4)]);
    fixture.apply(vec![fixture.append(5, 9)]).await;
    assert_eq!(fixture.apply(vec![fixture.verify()]).await.repaired, []);
    assert_eq!(fixture.texts().await, (1..=9).map(|at| format!("m{at}")).collect::<Vec<_>>());
    assert_eq!(fixture.count_of(Counter::Repairs).await, 1);
}

#[tokio::test]
async fn w8_a_row_of_another_event_or_chain_is_noticed() {
    for (sql, sound) in [
        ("UPDATE events SET chain = x'0102030405060708' WHERE seq = 3", 2),
        ("UPDATE events SET id = randomblob(16) WHERE seq = 7", 6),
        ("UPDATE log_range SET chain_high = x'0102030405060708'", 8),
        ("DELETE FROM events WHERE seq = 9", 8),
        ("DELETE FROM events", 0),
    ] {
        let fixture = filled(9).await;
        fixture.damage(sql).await;
        let stored = fixture.apply(vec![fixture.verify()]).await;
        let high = stored.repaired[0].ranges.last().map_or(0, |range| range.high.0);
        assert_eq!(high, sound, "{sql}");
    }
}

#[tokio::test]
async fn diagnostics_tell_what_is_missing_and_what_is_older() {
    let mut fixture = Fixture::new().await;
    let bo = fixture.bo;
    for at in 1..=30 {
        fixture.says(bo, &format!("m{at}"));
    }
    fixture.apply(vec![fixture.heads(true), fixture.append(6, 10), fixture.append(21, 25)]).await;
    let log = fixture.read(verify::logs).await.remove(0);
    assert_eq!((log.in_sync_to, log.head, log.missing, log.older), (Seq(25), Seq(30), 15, 5));
    fixture.apply(vec![fixture.append(1, 30)]).await;
    let log = fixture.read(verify::logs).await.remove(0);
    assert_eq!((log.in_sync_to, log.head, log.missing, log.older), (Seq(30), Seq(30), 0, 0));
}

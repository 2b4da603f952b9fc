//! What the bus has lost is read from the database: the holes before what came, and, every second, all that committed and
//! was not handed on here (L4).

use crate::{
    db::{
        self,
        lanes::within,
        missed::{StandRow, StretchRow},
    },
    domain::{announce, epoch::Epoch},
    hub::{Hub, Published},
    metrics::Metrics,
};
use kith_protocol::{ConversationId, Seq, UserId, limits};
use sqlx::{PgConnection, PgPool};
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tokio::{
    sync::Notify,
    time::{MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;

/// How often the database is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What is on its way gets this long to arrive before it counts as lost.
const GRACE: Duration = Duration::from_millis(200);
/// Conversations of one look; the rest is found by the next event of each.
const STRETCHES_MAX: i64 = 20_000;
/// Stretches that wait to be read. What finds no room is found by the next event of its conversation.
const SUSPECTS_MAX: usize = 2 * STRETCHES_MAX as usize;
/// Bytes of one read.
const READ_BYTES_MAX: i64 = 256 * 1024;

/// Up to where the database was read.
#[derive(Debug)]
struct Stand {
    row: StandRow,
    incarnation: u64,
}

impl Stand {
    /// The last stand, if what was written since can be told from it. Another incarnation of the database begins anew: its
    /// clients come back and compare heads.
    fn after<'a>(&self, last: Option<&'a Stand>) -> Option<&'a StandRow> {
        last.filter(|last| last.incarnation == self.incarnation && last.row.xmax <= self.row.xmax)
            .map(|last| &last.row)
    }
}

/// Reads what was lost.
#[derive(Debug, Clone)]
pub(super) struct Repair {
    pub pool: PgPool,
    /// The longest that one snapshot, or one read, waits for the database.
    pub limit: Duration,
    pub hub: Hub,
    pub metrics: Metrics,
    pub epoch: Epoch,
    /// Something was lost, or the bus is back: the next look is due at once.
    pub due: Arc<Notify>,
}

impl Repair {
    /// Looks every second, and when it is due, until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut last, mut suspects) = (None, VecDeque::new());
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => {}
                () = self.due.notified() => {}
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.look(&mut last, &mut suspects) => {}
            }
        }
    }

    /// Hands on what committed since the last look and nobody has handed on. Each read has its own deadline: the time
    /// of all of them grows with what was missed. Suspects that a fault leaves over come first in the next look.
    async fn look(&self, last: &mut Option<Stand>, suspects: &mut VecDeque<StretchRow>) {
        match within(self.limit, self.written(last.as_ref())).await {
            Ok((stand, written)) => {
                // Keys of another incarnation may be other conversations'.
                if last.as_ref().is_some_and(|last| last.incarnation != stand.incarnation) {
                    suspects.clear();
                }
                *last = Some(stand);
                suspects.extend(written.into_iter().filter(|row| !self.missing(row).is_empty()));
                suspects.truncate(SUSPECTS_MAX);
            }
            Err(error) => {
                tracing::debug!(%error, "could not look for what the bus has lost");
                return;
            }
        }
        if !suspects.is_empty() {
            sleep(GRACE).await;
        }
        while let Some(row) = suspects.pop_front() {
            for missing in self.missing(&row) {
                let conversation = ConversationId::from_uuid(row.id);
                let read = async {
                    let mut conn = self.pool.acquire().await?;
                    self.read(&mut conn, row.key, conversation, missing).await
                };
                if let Err(error) = within(self.limit, read).await {
                    // The clients of this one notice the hole with the next event and ask for it (C1).
                    tracing::debug!(%error, "could not read what the bus has lost");
                    return;
                }
            }
        }
    }

    /// Where the database stands, and what was written since `last`.
    async fn written(&self, last: Option<&Stand>) -> Result<(Stand, Vec<StretchRow>), sqlx::Error> {
        let mut tx = db::begin_snapshot(&self.pool).await?;
        let row = db::missed::stand(&mut tx).await?;
        self.epoch.look_at(&mut tx).await?;
        let stand = Stand { row, incarnation: self.epoch.incarnation() };
        let written = match stand.after(last) {
            Some(last) => db::missed::since(&mut tx, last, stand.row.xmax, STRETCHES_MAX).await?,
            None => Vec::new(),
        };
        tx.commit().await?;
        Ok((stand, written))
    }

    fn missing(&self, row: &StretchRow) -> Vec<(Seq, Seq)> {
        let (low, high) = (Seq::from_i64(row.low), Seq::from_i64(row.high));
        self.hub
            .relay()
            .map_or_else(Vec::new, |relay| relay.missing(ConversationId::from_uuid(row.id), low, high))
    }

    /// Hands on a run with what is missing between it and what was handed on.
    pub async fn bridge(&self, run: &[Published]) {
        let (Some(first), Some(last), Some(relay)) = (run.first(), run.last(), self.hub.relay()) else {
            return;
        };
        for missing in relay.missing(first.conversation, first.seq, last.seq) {
            if let Err(error) = within(self.limit, self.read_of(first.conversation, missing)).await {
                // The clients notice the hole and ask for it (C1).
                tracing::debug!(%error, "could not read what the bus has lost");
            }
        }
        self.hub.hand_on(run, true);
    }

    async fn read_of(&self, conversation: ConversationId, missing: (Seq, Seq)) -> Result<(), sqlx::Error> {
        let mut conn = self.pool.acquire().await?;
        match db::missed::key(&mut conn, conversation.as_uuid()).await? {
            Some(key) => self.read(&mut conn, key, conversation, missing).await,
            None => Ok(()),
        }
    }

    /// Reads a part of a log and hands it on to whoever may see it (R6); whoever joins by it gets heads first.
    async fn read(
        &self,
        conn: &mut PgConnection,
        key: i64,
        conversation: ConversationId,
        (low, high): (Seq, Seq),
    ) -> Result<(), sqlx::Error> {
        let sees = db::missed::who_sees(conn, key, low.as_i64(), high.as_i64()).await?;
        if !sees.iter().any(|row| self.hub.is_connected(UserId::from_uuid(row.user_id))) {
            // What was handed on here says nothing once somebody comes back.
            if let Some(relay) = self.hub.relay() {
                relay.forget(conversation);
            }
            return Ok(());
        }
        let joined = sees.iter().filter(|row| row.from_seq >= low.as_i64());
        self.announce(conn, joined.map(|row| (UserId::from_uuid(row.user_id), conversation))).await?;
        let limit = i64::try_from(limits::PAGE_EVENTS_MAX).unwrap_or(i64::MAX);
        let mut next = low.as_i64();
        while next <= high.as_i64() {
            let rows = db::events::forward(conn, key, next, high.as_i64(), limit, READ_BYTES_MAX).await?;
            if rows.is_empty() {
                break;
            }
            let mut events = Vec::with_capacity(rows.len());
            let mut audience: Arc<[UserId]> = Arc::new([]);
            for row in rows {
                let event = row.into_event(conversation);
                let at = event.seq.as_i64();
                let is_in =
                    |row: &&db::missed::SeesRow| row.from_seq <= at && row.to_seq.is_none_or(|to| at <= to);
                let users: Vec<UserId> =
                    sees.iter().filter(is_in).map(|row| UserId::from_uuid(row.user_id)).collect();
                if *audience != *users {
                    audience = users.into();
                }
                next = at + 1;
                let json = serde_json::to_string(&event).unwrap_or_default().into();
                events.push(Published {
                    conversation,
                    seq: event.seq,
                    json,
                    audience: Arc::clone(&audience),
                });
            }
            self.metrics.bus.repaired.inc_by(events.len() as u64);
            self.hub.hand_on(&events, true);
        }
        Ok(())
    }

    /// As [`Self::announce`], on a connection of the pool.
    pub async fn announce_all(&self, all: &[(UserId, ConversationId)]) -> Result<(), sqlx::Error> {
        within(self.limit, async {
            let mut conn = self.pool.acquire().await?;
            self.announce(&mut conn, all.iter().copied()).await
        })
        .await
    }

    /// Sends heads of a conversation to those who are connected here.
    async fn announce(
        &self,
        conn: &mut PgConnection,
        all: impl Iterator<Item = (UserId, ConversationId)>,
    ) -> Result<(), sqlx::Error> {
        let pairs: Vec<_> = all.filter(|(user, _)| self.hub.is_connected(*user)).collect();
        announce::tell(&self.hub, conn, &pairs).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s6_l4_a_stand_counts_for_one_incarnation() {
        let stand = |incarnation, xmax| Stand { row: StandRow { xmax, open: Vec::new() }, incarnation };
        assert!(stand(1, 9).after(Some(&stand(1, 7))).is_some());
        assert!(stand(1, 9).after(Some(&stand(0, 7))).is_none(), "set back, and written to since");
        assert!(stand(1, 6).after(Some(&stand(1, 7))).is_none());
        assert!(stand(1, 9).after(None).is_none());
    }
}

//! What a reader confirms, as the protocol asks: delivered and read, at most every 500 ms (R2).

use super::{Connection, Pair};
use anyhow::Result;
use kith_protocol::{
    ClientFrame, ConversationId, Seq,
    frame::{Delivered, StateChange},
};
use std::{future::pending, time::Duration};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

const EVERY: Duration = Duration::from_millis(500);

/// The markers of one reader.
pub struct Receipts {
    ticks: Option<Interval>,
    conversation: ConversationId,
    high: Seq,
    told: Seq,
}

impl Receipts {
    /// Markers that are told if the pair's are.
    pub fn of(pair: &Pair) -> Self {
        let ticks = pair.has_receipts.then(|| {
            // People do not look at the same moment.
            let mut ticks = interval_at(Instant::now() + EVERY.mul_f64(rand::random::<f64>()), EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        });
        Self { ticks, conversation: pair.conversation, high: Seq::ZERO, told: Seq::ZERO }
    }

    /// An event was stored and seen.
    pub fn note(&mut self, seq: Seq) {
        self.high = self.high.max(seq);
    }

    /// Waits until markers may be told again.
    pub async fn due(&mut self) {
        match &mut self.ticks {
            Some(ticks) => {
                ticks.tick().await;
            }
            None => pending().await,
        }
    }

    /// Tells the markers, if they have risen.
    pub async fn tell(&mut self, reader: &mut Connection) -> Result<()> {
        if self.ticks.is_none() || self.high == self.told {
            return Ok(());
        }
        let (conversation, seq) = (self.conversation, self.high);
        self.told = seq;
        reader.send(ClientFrame::Delivered(Delivered { markers: vec![(conversation, seq)] }), None).await?;
        let read = StateChange {
            conversation,
            read: Some(seq),
            unread_flag: None,
            mute: None,
            pin: None,
            archive: None,
            hidden: None,
            draft: None,
        };
        reader.send(ClientFrame::State(read), Some(seq.0)).await
    }
}

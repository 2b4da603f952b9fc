//! Through the system's own notification centre, where nothing is told about clicks by number.

use super::{Announced, Announcement, Order, Shown};
use kith_protocol::{ConversationId, EventId};
use tokio::sync::mpsc;

/// The task that talks to the notification centre.
pub(super) struct Daemon;

impl Daemon {
    /// Carries out orders until there is nobody left to give them.
    pub(super) async fn run<F: Fn((ConversationId, EventId)) + Send>(
        mut orders: mpsc::Receiver<Order>,
        mut announced: Announced,
        _on_click: F,
    ) {
        while let Some(order) = orders.recv().await {
            match order {
                Order::Announce(announcement) => {
                    announced
                        .insert(announcement.conversation, Shown { id: 0, message: announcement.message });
                    show(announcement).await;
                }
                // The centre keeps what an earlier start has shown.
                Order::TakeOver(_) => {}
                Order::Withdraw(conversation) => drop(announced.remove(conversation)),
                Order::WithdrawAll => announced.forget_all(),
            }
        }
    }
}

async fn show(announcement: Announcement) {
    let (summary, body) = announcement.lines();
    let shown = tokio::task::spawn_blocking(move || {
        notify_rust::Notification::new().appname("Kith").summary(&summary).body(&body).show().map(drop)
    });
    if let Ok(Err(error)) = shown.await {
        tracing::debug!(%error, "the notification centre did not take it");
    }
}

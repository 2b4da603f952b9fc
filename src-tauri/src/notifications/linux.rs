//! Over D-Bus (the Desktop Notifications Specification), asked directly: numbers to replace and close by, and clicks.

use super::{Announced, Announcement, Order, Shown, escaped};
use futures_util::{Stream, StreamExt as _, stream};
use kith_protocol::{ConversationId, EventId};
use std::{collections::HashMap, future::Future, time::Duration};
use tokio::{sync::mpsc, time::timeout};
use zbus::zvariant::Value;

/// No answer of the daemon is waited for longer.
const LIMIT: Duration = Duration::from_secs(5);
/// A click on the notification itself.
const DEFAULT_ACTION: &str = "default";
/// The daemon's reason when the user has closed it.
const REASON_DISMISSED: u32 = 2;

#[zbus::proxy(
    interface = "org.freedesktop.Notifications",
    default_service = "org.freedesktop.Notifications",
    default_path = "/org/freedesktop/Notifications",
    gen_blocking = false
)]
trait Notifications {
    #[expect(clippy::too_many_arguments, reason = "the specification's")]
    fn notify(
        &self,
        app_name: &str,
        replaces_id: u32,
        app_icon: &str,
        summary: &str,
        body: &str,
        actions: &[&str],
        hints: HashMap<&str, &Value<'_>>,
        expire_timeout: i32,
    ) -> zbus::Result<u32>;
    fn close_notification(&self, id: u32) -> zbus::Result<()>;
    fn get_capabilities(&self) -> zbus::Result<Vec<String>>;
    #[zbus(signal)]
    fn action_invoked(&self, id: u32, action_key: String) -> zbus::Result<()>;
    #[zbus(signal)]
    fn notification_closed(&self, id: u32, reason: u32) -> zbus::Result<()>;
}

/// What the daemon tells.
enum Told {
    Clicked(u32),
    Closed { id: u32, reason: u32 },
}

/// The task that talks to the daemon.
pub(super) struct Daemon<F> {
    bus: NotificationsProxy<'static>,
    announced: Announced,
    on_click: F,
}

impl<F: Fn((ConversationId, EventId)) + Send> Daemon<F> {
    /// Carries out orders until there is nobody left to give them. Without a bus they are dropped.
    pub(super) async fn run(mut orders: mpsc::Receiver<Order>, mut announced: Announced, on_click: F) {
        let bus = match connect().await {
            Ok(bus) => bus,
            Err(error) => {
                tracing::info!(%error, "no notifications: there is no session bus");
                while let Some(order) = orders.recv().await {
                    if matches!(order, Order::WithdrawAll) {
                        announced.forget_all();
                    }
                }
                return;
            }
        };
        let mut told = match listen(&bus).await {
            Ok(told) => told,
            Err(error) => {
                tracing::warn!(%error, "clicks on notifications will not be heard");
                stream::pending().boxed()
            }
        };
        let mut daemon = Self { bus, announced, on_click };
        loop {
            tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => daemon.carry_out(order).await,
                    None => return,
                },
                Some(told) = told.next() => daemon.hear(told),
            }
        }
    }

    async fn carry_out(&mut self, order: Order) {
        match order {
            Order::Announce(announcement) | Order::TakeOver(announcement) => {
                self.announce(&announcement).await
            }
            Order::Withdraw(conversation) => self.withdraw(conversation).await,
            Order::WithdrawAll => {
                let all: Vec<_> = self.announced.by_conversation.keys().copied().collect();
                for conversation in all {
                    self.withdraw(conversation).await;
                }
            }
        }
    }

    async fn announce(&mut self, announcement: &Announcement) {
        let (summary, body) = announcement.lines();
        let capabilities = limited(self.bus.get_capabilities()).await.unwrap_or_default();
        let body = if capabilities.iter().any(|name| name == "body-markup") { escaped(&body) } else { body };
        let replaces = self.announced.get(announcement.conversation).map_or(0, |shown| shown.id);
        let (entry, category) = (Value::from("Kith"), Value::from("im.received"));
        let hints = HashMap::from([("desktop-entry", &entry), ("category", &category)]);
        let actions = [DEFAULT_ACTION, "Open"];
        match limited(self.bus.notify("Kith", replaces, "Kith", &summary, &body, &actions, hints, -1)).await {
            Ok(id) => {
                self.announced.insert(announcement.conversation, Shown { id, message: announcement.message });
            }
            Err(error) => tracing::debug!(%error, "no notification daemon took it"),
        }
    }

    async fn withdraw(&mut self, conversation: ConversationId) {
        if let Some(shown) = self.announced.remove(conversation)
            && let Err(error) = limited(self.bus.close_notification(shown.id)).await
        {
            tracing::debug!(%error, "the daemon did not close a notification");
        }
    }

    fn hear(&mut self, told: Told) {
        match told {
            Told::Clicked(id) => {
                if let Some(place) = self.announced.find(id) {
                    (self.on_click)(place);
                }
            }
            // A click closes too, and either may be told first, so the place stays known; but what the user has dismissed
            // is not shown again after a restart.
            Told::Closed { id, reason: REASON_DISMISSED } => self.announced.dismissed(id),
            Told::Closed { .. } => {}
        }
    }
}

async fn connect() -> zbus::Result<NotificationsProxy<'static>> {
    let bus = limited(zbus::Connection::session()).await?;
    NotificationsProxy::new(&bus).await
}

async fn listen(bus: &NotificationsProxy<'static>) -> zbus::Result<stream::BoxStream<'static, Told>> {
    let clicks = bus.receive_action_invoked().await?.filter_map(|signal| async move {
        let args = signal.args().ok()?;
        (args.action_key == DEFAULT_ACTION).then_some(Told::Clicked(args.id))
    });
    let closed = bus.receive_notification_closed().await?.filter_map(|signal| async move {
        let args = signal.args().ok()?;
        Some(Told::Closed { id: args.id, reason: args.reason })
    });
    Ok(merged(clicks, closed))
}

fn merged(
    one: impl Stream<Item = Told> + Send + 'static,
    other: impl Stream<Item = Told> + Send + 'static,
) -> stream::BoxStream<'static, Told> {
    stream::select(one, other).boxed()
}

async fn limited<T>(call: impl Future<Output = zbus::Result<T>>) -> zbus::Result<T> {
    match timeout(LIMIT, call).await {
        Ok(answer) => answer,
        Err(_) => Err(zbus::Error::Failure("no answer in time".to_owned())),
    }
}

//! The bus between the instances of one database (L4): what one of them tells its connections, the others tell theirs.
//!
//! It is a latency device. It may lose anything at any time; what it loses of the logs is read from PostgreSQL
//! ([`repair`]), and nothing is stored here. It imports `hub` and `presence`, which do not know it; nobody imports it but
//! whoever starts the server and looks at its health.

mod inward;
mod nats;
mod outward;
mod peers;
mod repair;
mod route;
mod wire;

pub use nats::reach;

use crate::{hub::Relay, state::AppState};
use kith_protocol::UserId;
use repair::Repair;
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
    time::Instant,
};
use tokio::sync::Notify;
use uuid::Uuid;

/// People who came to other instances and are to be told recent facts there. Those beyond it see them with their next heads.
const NEWCOMERS_MAX: usize = 65_536;

/// What the parts of the bus share.
#[derive(Clone)]
struct Shared {
    state: AppState,
    me: Uuid,
    /// The subject of messages to all instances. That of messages to one of them ends with its id.
    subject: String,
    /// A look into the database is due.
    due: Arc<Notify>,
    /// The instances that are to be asked who is connected there until they have said it, and when they were asked last.
    asks: Arc<Mutex<HashMap<Uuid, Option<Instant>>>>,
    /// The others are to be told who is connected here.
    tells: Arc<AtomicBool>,
    /// Who has come to which other instance. Facts about them may have been sent before this was known.
    newcomers: Arc<Mutex<HashSet<(UserId, Uuid)>>>,
}

impl Shared {
    /// Something of an instance was lost, or it has come: a look into the database is due, and that instance alone says who
    /// is there.
    fn begin_anew(&self, from: Uuid) {
        self.due.notify_one();
        self.asks().insert(from, None);
    }

    /// An instance works with another incarnation of the database: who is there counts for nothing until both work with the
    /// same one again, and it has said it anew.
    fn end(&self, from: Uuid) {
        self.state.presence.gone(from);
        self.asks().entry(from).or_default();
    }

    /// The subject of messages to one instance alone.
    fn subject_of(&self, instance: Uuid) -> String {
        format!("{}.{}", self.subject, instance.simple())
    }

    /// The instances of which it is not known who is connected to them: they are sent everything.
    fn unknown(&self) -> Vec<Uuid> {
        self.asks().keys().copied().collect()
    }

    /// Notes that somebody has come to another instance.
    fn has_come(&self, user: UserId, instance: Uuid) {
        let mut newcomers = self.newcomers();
        if newcomers.len() < NEWCOMERS_MAX {
            newcomers.insert((user, instance));
        }
    }

    fn newcomers(&self) -> MutexGuard<'_, HashSet<(UserId, Uuid)>> {
        self.newcomers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn asks(&self) -> MutexGuard<'_, HashMap<Uuid, Option<Instant>>> {
        self.asks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Begins to tell the other instances and to hear them, if a bus is set. They are served whether it answers or not.
pub fn start(state: &AppState) {
    let Some(config) = state.config.bus.clone() else { return };
    let (relay, outward, held) = Relay::new();
    state.hub.connect_relay(relay);
    let shared = Shared {
        state: state.clone(),
        me: Uuid::new_v4(),
        subject: format!("{}.v3", config.prefix),
        due: Arc::new(Notify::new()),
        asks: Arc::default(),
        tells: Arc::default(),
        newcomers: Arc::default(),
    };
    let repair = Repair {
        pool: state.pool.clone(),
        limit: state.config.database_within,
        hub: state.hub.clone(),
        metrics: state.metrics.clone(),
        epoch: state.publisher.epoch.clone(),
        due: Arc::clone(&shared.due),
    };
    state.tasks.spawn(repair.clone().run(state.shutdown.clone()));
    state.tasks.spawn(async move {
        let Some(client) = nats::connect(&shared, &config).await else { return };
        let speaking = shared.state.tasks.spawn(outward::run(shared.clone(), client.clone(), outward));
        inward::run(shared, client, repair, held).await;
        // It ends by itself, after the last words.
        let _ = speaking.await;
    });
}

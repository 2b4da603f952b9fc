//! Numbering and storing events (W1–W6).

use crate::hub::Hub;
use sqlx::PgPool;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The lanes that write the log; a handle that is cheap to clone.
#[derive(Debug, Clone)]
pub struct Publisher;

impl Publisher {
    /// Starts the lanes. They end, with their queues drained, some time after `shutdown`.
    pub fn start(pool: PgPool, hub: Hub, tasks: &TaskTracker, shutdown: CancellationToken) -> Self {
        let _ = (pool, hub, tasks, shutdown);
        Self
    }
}

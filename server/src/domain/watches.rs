//! Whoever shares no conversation any more with somebody watches them no longer (R5).

use crate::{
    db::{self, lanes::within},
    state::AppState,
};
use kith_protocol::UserId;
use std::collections::HashSet;
use uuid::Uuid;

/// Ends presence between those who have left a conversation and those with whom they share none now. Each instance does so
/// for its own connections.
pub async fn end(state: &AppState) {
    let mut leavers = state.hub.take_leavers();
    while let Some(user) = leavers.iter().next().copied() {
        if let Err(error) = within(state.config.database_within, end_for(state, user)).await {
            tracing::warn!(%error, "could not look at who still shares a conversation");
            state.hub.keep_leavers(leavers);
            return;
        }
        leavers.remove(&user);
    }
}

async fn end_for(state: &AppState, user: UserId) -> Result<(), sqlx::Error> {
    let met: Vec<Uuid> = state.presence.met(user).into_iter().map(|other| other.as_uuid()).collect();
    if met.is_empty() {
        return Ok(());
    }
    let rows = db::contacts::watchable(&mut *state.pool.acquire().await?, user, &met).await?;
    let may_stay: HashSet<Uuid> = rows.into_iter().map(|row| row.id).collect();
    for other in met.into_iter().filter(|other| !may_stay.contains(other)) {
        state.presence.part([user, UserId::from_uuid(other)]);
    }
    Ok(())
}

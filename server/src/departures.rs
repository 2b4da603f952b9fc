//! When users were last seen, noted together: after a network has failed, thousands go at once, and come back at once.

use crate::db::{self, lanes::within};
use kith_protocol::UserId;
use sqlx::PgPool;
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Users of one statement.
const ROWS: usize = 1_000;

/// Whose last connection ended, and when (ms since 1970), as far as it is not noted yet.
#[derive(Debug, Default)]
pub struct Departures(Mutex<HashMap<UserId, i64>>);

impl Departures {
    fn gone(&self) -> MutexGuard<'_, HashMap<UserId, i64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A user's last connection has ended.
    pub fn add(&self, user: UserId, at: i64) {
        self.gone().insert(user, at);
    }

    /// Notes them, each thousand within `limit`. What cannot be noted is not tried again: the next departure counts.
    pub async fn note(&self, pool: &PgPool, limit: Duration) {
        let gone = std::mem::take(&mut *self.gone());
        let gone: Vec<_> = gone.into_iter().collect();
        for part in gone.chunks(ROWS) {
            let (users, times): (Vec<_>, Vec<_>) =
                part.iter().map(|(user, at)| (user.as_uuid(), *at)).unzip();
            let noting =
                async { db::contacts::note_last_seen(&mut *pool.acquire().await?, &users, &times).await };
            if let Err(error) = within(limit, noting).await {
                tracing::debug!(%error, "could not note when users were last seen");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn r5_those_who_left_are_noted_with_their_times_and_once() {
        let database = crate::testing::database().await.unwrap();
        let pool = crate::connect(database.url(), 1).await.unwrap();
        let departures = Departures::default();
        let people = [(); 3].map(|()| UserId::mint());
        for (number, user) in people.iter().enumerate() {
            let mut conn = pool.acquire().await.unwrap();
            db::users::insert(&mut conn, *user, &format!("user{number}"), "somebody", "").await.unwrap();
        }
        departures.add(people[0], 1_000);
        departures.add(people[1], 2_000);
        departures.add(people[1], 3_000);
        departures.add(UserId::mint(), 4_000);
        departures.note(&pool, Duration::from_secs(10)).await;
        assert!(departures.gone().is_empty());
        let ids: Vec<_> = people.iter().map(|user| user.as_uuid()).collect();
        let seen: Vec<Option<i64>> = sqlx::query_scalar(
            "SELECT (extract(epoch FROM last_seen) * 1000)::bigint FROM UNNEST($1::uuid[]) WITH ORDINALITY AS asked (id, at)
             JOIN users USING (id) ORDER BY at",
        )
        .bind(&ids)
        .fetch_all(&pool)
        .await
        .unwrap();
        assert_eq!(seen, [Some(1_000), Some(3_000), None]);
    }
}

//! Removes rows that nobody can use any more, a bounded step a minute: several instances may do it at the same time.

use crate::{
    config::Config,
    db::{self, cleaning::DeviceRow, lanes::within},
};
use sqlx::{PgConnection, PgPool};
use std::time::Duration;
use uuid::Uuid;

/// Devices, or invitations, of one step.
const STEP: i64 = 1_000;
/// Refresh tokens that one step removes.
const TOKENS_MAX: i64 = 10_000;
/// The longest step: as long as the database gives a statement.
const STEP_WITHIN: Duration = Duration::from_secs(30);
/// A device stays known for longer than any of its tokens could be taken for one from before a restore (S11): by then each
/// is older than the longest session.
const DEVICE_DAYS: i32 = Config::SESSION_ABSOLUTE_DAYS + 10;
/// Tokens of a device that was signed out. Whoever shows one later learns of the sign-out by the device.
const TOKENS_DAYS: i32 = 30;
/// Invitations after their end, used or not.
const INVITE_DAYS: i32 = 90;

/// How far the steps have come, in the order of keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    device: Uuid,
    invite: Vec<u8>,
}

/// Takes one step. Returns where the next one begins, which is the beginning again after the last.
///
/// # Errors
/// When the database fails, or leaves the step unanswered for 30 s.
pub async fn step(pool: &PgPool, from: &Place) -> Result<Place, sqlx::Error> {
    let cleaned = async {
        let mut conn = pool.acquire().await?;
        let device = devices(&mut conn, from.device).await?;
        let invite = db::cleaning::invites(&mut conn, &from.invite, STEP, INVITE_DAYS).await?;
        Ok(Place { device, invite: invite.unwrap_or_default() })
    };
    within(STEP_WITHIN, cleaned).await
}

/// Removes devices and tokens of one step. Returns where the next step begins. If tokens may be left, that is the same
/// place.
async fn devices(conn: &mut PgConnection, from: Uuid) -> Result<Uuid, sqlx::Error> {
    let rows = db::cleaning::devices(conn, from, STEP, DEVICE_DAYS, TOKENS_DAYS).await?;
    let ids =
        |is: fn(&DeviceRow) -> bool| rows.iter().filter(|row| is(row)).map(|row| row.id).collect::<Vec<_>>();
    let removed = db::cleaning::remove_tokens(
        conn,
        &ids(|row| row.are_tokens_over),
        TOKENS_MAX,
        DEVICE_DAYS,
        TOKENS_DAYS,
    )
    .await?;
    if i64::try_from(removed).is_ok_and(|removed| removed >= TOKENS_MAX) {
        return Ok(from);
    }
    db::cleaning::remove_devices(conn, &ids(|row| row.is_over), DEVICE_DAYS).await?;
    Ok(rows.last().map_or(Uuid::nil(), |row| row.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn s11_what_nobody_can_use_is_removed_and_the_rest_stays() {
        let database = crate::testing::database().await.unwrap();
        let pool = db::connect(database.url(), 2).await.unwrap();
        sqlx::raw_sql(
            "INSERT INTO users (id, username, display_name, password_hash)
                 VALUES ('00000000-0000-0000-0000-000000000001', 'ada', '', '');
             INSERT INTO devices (id, user_id, name, last_seen, revoked_at)
                 SELECT lpad(n::text, 32, '0')::uuid, '00000000-0000-0000-0000-000000000001', 'desk',
                        now() - make_interval(days => seen), now() - make_interval(days => gone)
                 FROM (VALUES (1, 0, NULL), (2, 189, NULL), (3, 191, NULL), (4, 300, 29), (5, 300, 31), (6, 300, 191))
                      AS d (n, seen, gone);
             INSERT INTO refresh_tokens (hash, device_id) SELECT uuid_send(id), id FROM devices;
             INSERT INTO invites (hash, expires_at)
                 SELECT int4send(n), now() - make_interval(days => n) FROM (VALUES (-1), (89), (91)) AS i (n);",
        )
        .execute(&pool)
        .await
        .unwrap();
        let next = step(&pool, &Place::default()).await.unwrap();
        assert_eq!(next.device, Uuid::from_u128(6));
        assert_eq!(step(&pool, &next).await.unwrap(), Place::default(), "from the beginning again");
        let left = |sql: &'static str| sqlx::query_scalar::<_, String>(sql).fetch_all(&pool);
        let devices = "SELECT right(id::text, 1) FROM devices ORDER BY 1";
        assert_eq!(left(devices).await.unwrap(), ["1", "2", "4", "5"]);
        let tokens = "SELECT right(device_id::text, 1) FROM refresh_tokens ORDER BY 1";
        assert_eq!(left(tokens).await.unwrap(), ["1", "2", "4"]);
        assert_eq!(left("SELECT hash::text FROM invites").await.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn s11_many_tokens_are_removed_in_bounded_steps_and_their_device_after_them() {
        let database = crate::testing::database().await.unwrap();
        let pool = db::connect(database.url(), 2).await.unwrap();
        sqlx::raw_sql(
            "INSERT INTO users (id, username, display_name, password_hash)
                 VALUES ('00000000-0000-0000-0000-000000000001', 'ada', '', '');
             INSERT INTO devices (id, user_id, name, last_seen)
                 VALUES ('00000000-0000-0000-0000-000000000002', '00000000-0000-0000-0000-000000000001', 'desk',
                         now() - make_interval(days => 191));
             INSERT INTO refresh_tokens (hash, device_id)
                 SELECT int4send(n), '00000000-0000-0000-0000-000000000002' FROM generate_series(1, 10001) AS n;",
        )
        .execute(&pool)
        .await
        .unwrap();
        let left = async || {
            let sql = "SELECT (SELECT count(*) FROM refresh_tokens), (SELECT count(*) FROM devices)";
            sqlx::query_as::<_, (i64, i64)>(sql).fetch_one(&pool).await.unwrap()
        };
        let next = step(&pool, &Place::default()).await.unwrap();
        assert_eq!((next.device, left().await), (Uuid::nil(), (1, 1)), "the same place again");
        let next = step(&pool, &next).await.unwrap();
        assert_eq!((next.device, left().await), (Uuid::from_u128(2), (0, 0)));
    }
}

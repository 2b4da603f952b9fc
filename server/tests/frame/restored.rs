//! Refresh tokens that were given out after the backup which the server's database was set back to (S11).

use crate::support::World;
use kith_protocol::{DeviceId, ErrorCode};
use serde_json::Value;
use std::time::Duration;

/// Sets the books back to before this device signed in.
async fn forget(world: &World, device: DeviceId) {
    let done = sqlx::query("DELETE FROM devices WHERE id = $1")
        .bind(device.as_uuid())
        .execute(&world.server.pool)
        .await
        .unwrap();
    assert_eq!(done.rows_affected(), 1);
}

/// Waits until this many statements of the server wait for a lock.
async fn until_waiting(world: &World, count: i64) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
        )
        .fetch_one(&world.server.pool)
        .await
        .unwrap();
        if waiting >= count {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{waiting} wait, not {count}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn s11_two_refreshes_at_once_with_a_token_from_before_a_restore_get_one_successor() {
    let world = World::start().await;
    let ada = world.person("ada").await;
    forget(&world, ada.device.id).await;
    // Both look the token up before either may enter the device again.
    let mut gate = world.server.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE devices IN SHARE MODE").execute(&mut *gate).await.unwrap();
    let open = async {
        until_waiting(&world, 2).await;
        gate.rollback().await.unwrap();
    };
    let (one, two, ()) = tokio::join!(world.refresh(&ada), world.refresh(&ada), open);
    assert_eq!(one.session().refresh_token, two.session().refresh_token);
    assert!(world.is_live(&two.session()).await);
}

#[tokio::test]
async fn s8_s11_a_copied_profile_whose_device_came_back_by_a_newer_token_is_refused() {
    let world = World::start().await;
    let copied = world.person("ada").await;
    let parted = world.refresh_with(&copied.refresh_token, Value::Null).await.session();
    let newer = world.refresh(&parted).await.session();
    forget(&world, parted.device.id).await;
    let back = world.refresh(&newer).await.session();
    assert_eq!(back.device.id, parted.device.id);
    let again = world.refresh_with(&copied.refresh_token, Value::Null).await;
    again.refused(401, ErrorCode::TokenInvalid);
    assert!(world.is_live(&back).await);
    world.refresh(&back).await.session();
}

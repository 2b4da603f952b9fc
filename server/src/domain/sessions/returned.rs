//! Refresh tokens from before a restore (S11): the server gave them out, and its database was set back to a backup that
//! does not know them. Nobody is signed out for that.

use crate::{auth::Told, db};
use sqlx::PgConnection;

/// Takes a token back into the books that bears this server's mark and is newer than any the database knows of its
/// device. Older tokens of the device count as exchanged from then on, so that a second holder is found out as ever.
/// One that is not newer is left as it is, and so is one of an unknown user.
///
/// # Errors
/// When the database fails.
pub(super) async fn take_back(conn: &mut PgConnection, told: Told, hash: &[u8]) -> Result<(), sqlx::Error> {
    if !db::devices::take_back(conn, told.device, told.user, told.number).await? {
        return Ok(());
    }
    db::refresh_tokens::exchange_all_of_device(conn, told.device).await?;
    db::refresh_tokens::insert(conn, hash, told.device).await?;
    tracing::info!(user.id = %told.user, device.id = %told.device, "a session of before the restore goes on");
    Ok(())
}

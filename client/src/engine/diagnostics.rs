//! The state of sync, and a check of it on demand.

use super::Engine;
use crate::{
    ClientError,
    store::{self, verify},
    view::DiagnosticsView,
};

impl Engine {
    /// How well what is stored agrees with the server.
    ///
    /// # Errors
    /// [`ClientError::SignedOut`], [`ClientError::Store`].
    pub async fn diagnostics(&self) -> Result<DiagnosticsView, ClientError> {
        let session = self.session()?;
        let read =
            session.store.read(|db| Ok((verify::counters(db)?, verify::epoch(db)?, verify::logs(db)?)));
        let ((counters, checked_at), epoch, logs) = read.await?;
        let status = session.live.status().await;
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Ok(DiagnosticsView {
            app: self.inner.profile.options.app.clone(),
            server: session.account.server.clone(),
            device: session.account.device,
            epoch,
            link: status.link,
            at: store::now(),
            checked_at,
            file_bytes: session.file_bytes(),
            waiting: status.unsent.saturating_sub(status.parked),
            parked: status.parked,
            conversations: number(logs.len()),
            incomplete: number(logs.iter().filter(|log| log.missing > 0).count()),
            logs: verify::named(logs),
            counters,
        })
    }

    /// Compares everything that is stored with itself and with the server, as soon as there is a connection; what is
    /// damaged or of another log is fetched anew. It goes on after this returns.
    ///
    /// # Errors
    /// [`ClientError::SignedOut`].
    pub async fn check_now(&self) -> Result<(), ClientError> {
        self.session()?.driver.check_now();
        Ok(())
    }
}

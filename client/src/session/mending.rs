//! A database that turns out to be damaged while it is open: everything stops, it is set aside, and the session goes
//! on with a new one that has what was unsent.

use super::{Open, Profile, Session, database::Opened, reason_of};
use crate::{
    ClientError,
    events::{EngineEvent, Problem},
};

impl Profile {
    /// Mends the open database if it is damaged for certain.
    pub(crate) async fn mend(&self) {
        let _changing = self.changing.lock().await;
        let Ok(session) = self.session() else { return };
        if !session.store.is_suspect() {
            return; // an alarm of the file that was mended meanwhile
        }
        if !session.store.is_damaged().await {
            tracing::warn!("the database seemed to be damaged, and is not");
            self.hub.tell(EngineEvent::Problem { problem: Problem::StoreFailed });
            return;
        }
        session.stop().await;
        if let Err(error) = self.go_on_mended(&session).await {
            tracing::error!(code = error.code(), "the damaged database could not be mended");
            let server = Some(session.account.server.clone());
            self.set(Open::Nobody { server, reason: Some(reason_of(&error)) });
            self.hub.tell(EngineEvent::AppChanged);
        }
    }

    async fn go_on_mended(&self, session: &Session) -> Result<(), ClientError> {
        let opened = Opened {
            store: session.store.mended().await?,
            file: session.file.clone(),
            key_store: session.account.key_store,
            is_temporary: session.is_temporary,
        };
        let account = session.last_account();
        self.start(account, session.tokens.secret().await, opened, None)
    }
}

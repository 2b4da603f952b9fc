//! Signing out.

use super::{Open, Profile, Session};
use crate::{
    ClientError,
    events::EngineEvent,
    profile::{Folder, LastAccount},
    view::KeyStore,
};
use std::time::Duration;

/// How long a sign-out waits for the server.
const SERVER_HEARS_WITHIN: Duration = Duration::from_secs(5);

impl Profile {
    /// Signs out: the session's entry goes, and with `wipe` key and database too.
    pub(crate) async fn sign_out(&self, wipe: bool) -> Result<(), ClientError> {
        let _changing = self.changing.lock().await;
        let session = self.session()?;
        let server = session.account.server.clone();
        self.tell_server(&session).await;
        self.note_device(&session);
        // First of all, and without the secret store: the next start is not signed in, whatever fails below.
        let noted = self.folder.note_signed_out();
        session.tokens.sign_out().await;
        self.end().await;
        let forgotten = match self.vault.delete_session(&server).await {
            // It was never in the store.
            Err(_) if session.account.key_store == KeyStore::SessionOnly => Ok(()),
            other => other.map_err(ClientError::from),
        };
        // A temporary database went with its session; the one that is closed for want of its key is never touched.
        let wiped = if wipe && !session.is_temporary { self.wipe(&session).await } else { Ok(()) };
        self.set(Open::Nobody { server: Some(server), reason: None });
        self.hub.tell(EngineEvent::AppChanged);
        noted.and(wiped).and(forgotten)
    }

    /// The server forgets the device if it can be reached; if not, the session ends there by itself.
    async fn tell_server(&self, session: &Session) {
        let tokens = &session.tokens;
        let forget = tokens.authorised(|token| async move {
            tokens.api().change(reqwest::Method::DELETE, "/v1/sessions/current", None::<&()>, &token).await
        });
        let told = tokio::time::timeout(SERVER_HEARS_WITHIN, forget).await;
        if let Err(error) = told.unwrap_or(Err(ClientError::Offline)) {
            tracing::info!(code = error.code(), "the server was not told of the sign-out");
        }
    }

    /// Removes key and database. The key goes first: without it a file that cannot be removed is worth nothing.
    async fn wipe(&self, session: &Session) -> Result<(), ClientError> {
        let account = &session.account;
        let key = self.vault.delete_key(&account.server, account.me.id).await;
        let file = Folder::remove_database(&session.file);
        self.drop_empty_file();
        key.map_err(ClientError::from).and(file)
    }

    /// A file of secrets without any is not asked for at the next start.
    fn drop_empty_file(&self) {
        let Some(file) = self.vault.file() else { return };
        if file.is_open() && file.entries().is_empty() {
            match file.remove() {
                Ok(()) => self.vault.switch(None),
                Err(error) => tracing::warn!(%error, "an empty file of secrets could not be removed"),
            }
        }
    }

    /// Notes how much is unsent, for the case that the history cannot be opened any more.
    pub(super) async fn note_unsent(&self, session: &Session) {
        let last = self.folder.last_account().filter(|last| session.is_of(last));
        let (Some(last), false) = (last, session.is_temporary) else { return };
        if let Ok(numbers) = session.store.numbers().await {
            self.note(&LastAccount { unsent: Some(numbers.unsent), ..last });
        }
    }

    /// Notes which device this is. A copy of a profile that signed in as the original would end the original's session (S8).
    pub(super) fn note_device(&self, session: &Session) {
        let Some(device) = session.tokens.device_at_hand() else { return };
        let last = self.folder.last_account().filter(|last| session.is_of(last) && last.device != device);
        if let Some(last) = last {
            self.note(&LastAccount { device, ..last });
        }
    }

    /// Notes something about the account that can be done without.
    pub(super) fn note(&self, account: &LastAccount) {
        if let Err(error) = self.folder.set_last_account(account) {
            tracing::warn!(%error, "profile.json could not be written");
        }
    }
}

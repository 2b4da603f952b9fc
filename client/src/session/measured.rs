//! An account that no server has let in, for measurements.

use super::Profile;
use crate::{ClientError, profile::LastAccount, tokens::SessionSecret};
use kith_protocol::api;

impl Profile {
    /// Opens the database of an account as a sign-in does once the server has answered.
    pub(crate) async fn begin_unasked(&self, server: &str, answer: api::Session) -> Result<(), ClientError> {
        let _changing = self.changing.lock().await;
        let account = LastAccount::new(server.to_owned(), answer.device.id, answer.user.clone());
        self.begin(account, SessionSecret::from(answer)).await
    }
}

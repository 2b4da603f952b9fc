//! Blocking people. The server keeps the list and enforces it, so these commands need a connection and say so at once:
//! a block that waited in the outbox would seem to protect and would not.

use super::Engine;
use crate::{
    ClientError,
    secrets::Hidden,
    store::{conversations, members, people},
    view::PersonView,
};
use kith_protocol::{
    ConversationId, ErrorCode, UserId,
    api::{List, Profile},
    limits,
};
use reqwest::Method;

impl Engine {
    /// Blocks a person: neither opens a conversation with the other, adds them to a group, or writes in the direct one.
    ///
    /// # Errors
    /// [`ClientError::Offline`]; [`ClientError::Refused`] with `too_large` above [`limits::BLOCKS_MAX`], `target_missing`
    /// for an unknown person, `invalid` for oneself.
    pub async fn block(&self, user: UserId) -> Result<(), ClientError> {
        self.change_block(Method::PUT, user).await
    }

    /// Removes a block. Without one, nothing changes.
    ///
    /// # Errors
    /// [`ClientError::Offline`], [`ClientError::Refused`].
    pub async fn unblock(&self, user: UserId) -> Result<(), ClientError> {
        self.change_block(Method::DELETE, user).await
    }

    /// Blocks a person, then leaves a group. If the block fails, nothing is changed.
    ///
    /// # Errors
    /// As [`Engine::block`] and [`Engine::leave`].
    pub async fn leave_and_block(
        &self,
        conversation: ConversationId,
        user: UserId,
    ) -> Result<(), ClientError> {
        let in_it = move |db: &crate::store::Db<'_>| {
            let cid = conversations::known(db, conversation)?;
            members::own_role(db, cid)
        };
        if self.session()?.store.read(in_it).await?.is_none() {
            return Err(ClientError::Refused(ErrorCode::NotMember));
        }
        self.block(user).await?;
        self.leave(conversation).await
    }

    /// The people whom the user has blocked, by name, as the server lists them.
    ///
    /// # Errors
    /// [`ClientError::Offline`], [`ClientError::Refused`].
    pub async fn blocked_people(&self) -> Result<Vec<PersonView>, ClientError> {
        let session = self.session()?;
        let tokens = &session.tokens;
        let most = usize::try_from(limits::BLOCKS_MAX).unwrap_or_default();
        let (mut profiles, mut after): (Vec<Profile>, Option<String>) = (Vec::new(), None);
        while profiles.len() < most {
            let parameters: Vec<(&str, &str)> = after.iter().map(|after| ("after", after.as_str())).collect();
            let ask = |token: Hidden<String>| {
                let parameters = &parameters;
                async move { tokens.api().get::<List<Profile>>("/v1/blocks", parameters, &token).await }
            };
            let part = tokens.authorised(ask).await?;
            let is_last = part.items.is_empty();
            profiles.extend(part.items);
            match part.next {
                Some(next) if !is_last => after = Some(next),
                _ => break,
            }
        }
        profiles.truncate(most);
        let ids: Vec<UserId> = profiles.iter().map(|profile| profile.id).collect();
        session.store.write(move |tx| people::put(tx, &profiles)).await?;
        let read = move |db: &crate::store::Db<'_>| {
            ids.into_iter().map(|id| people::get(db, id)).collect::<Result<Vec<_>, ClientError>>()
        };
        let mut blocked = session.store.read(read).await?;
        blocked.sort_by_cached_key(|person| (person.display_name.to_lowercase(), person.id));
        Ok(blocked)
    }

    async fn change_block(&self, method: Method, user: UserId) -> Result<(), ClientError> {
        let tokens = &self.session()?.tokens;
        let path = &format!("/v1/blocks/{user}");
        let ask = |token: Hidden<String>| {
            let method = method.clone();
            async move { tokens.api().change(method, path, None::<&()>, &token).await }
        };
        tokens.authorised(ask).await
    }
}

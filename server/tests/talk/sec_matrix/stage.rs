//! The people of the matrix and what they ask about.

use crate::support::{Line, Person, World, member, message};
use kith_protocol::{ConversationId, DeviceId, UserId};

/// Said while the ex-member was there.
pub const BEFORE: &str = "said before the removal";
pub const AFTER: &str = "said after the removal";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    Owner,
    Member,
    ExMember,
    Stranger,
    /// A member whom the operator has disabled.
    Disabled,
    /// Nobody: no token.
    Anonymous,
    /// The owner, with a token that has ended.
    Expired,
}

impl Who {
    /// The columns, in the order of the rows' answers.
    pub const ALL: [Self; 7] = [
        Self::Owner,
        Self::Member,
        Self::ExMember,
        Self::Stranger,
        Self::Disabled,
        Self::Anonymous,
        Self::Expired,
    ];

    pub fn is_signed_in(self) -> bool {
        matches!(self, Self::Owner | Self::Member | Self::ExMember | Self::Stranger)
    }
}

/// A server with everybody who asks.
pub struct Stage {
    pub world: World,
    pub owner: Person,
    member: Person,
    ex_member: Person,
    stranger: Person,
    disabled: Person,
    /// Somebody who asks nothing and is in no conversation.
    pub bystander: Person,
}

/// What one person asks about.
pub struct Cell {
    /// The group that the owner and the member are in.
    pub group: ConversationId,
    pub owner: UserId,
    /// A device of the owner's, and its token.
    pub device: DeviceId,
    pub owner_token: String,
    pub username: String,
    pub refresh_token: String,
    /// On a device of the cell's own; nobody without a token.
    pub person: Option<Person>,
    /// The owner's connection, which is told what happens.
    pub watching: Option<Line>,
}

impl Cell {
    /// The same questions about what does not exist.
    pub fn somewhere_else(&self) -> Self {
        let person = self.person.as_ref().map(|person| person.with(person.device, person.token.clone()));
        Self {
            group: ConversationId::mint(),
            owner: UserId::mint(),
            device: DeviceId::mint(),
            owner_token: self.owner_token.clone(),
            username: self.username.clone(),
            refresh_token: self.refresh_token.clone(),
            person,
            watching: None,
        }
    }
}

impl Stage {
    pub async fn build() -> Self {
        let world = World::start().await;
        let [owner, member, ex_member, stranger, disabled, bystander] =
            world.people(["owner", "member", "exmember", "stranger", "disabled", "bystander"]).await;
        Self { world, owner, member, ex_member, stranger, disabled, bystander }
    }

    fn account(&self, who: Who) -> &Person {
        match who {
            Who::Owner | Who::Expired | Who::Anonymous => &self.owner,
            Who::Member => &self.member,
            Who::ExMember => &self.ex_member,
            Who::Stranger => &self.stranger,
            Who::Disabled => &self.disabled,
        }
    }

    /// A fresh group, and whoever asks about it on a fresh device.
    pub async fn cell(&self, who: Who) -> Cell {
        let (watcher, target) =
            tokio::join!(self.world.device_of(&self.owner), self.world.device_of(&self.owner));
        let mut watching = watcher.online().await;
        let group = watching.start_group(&[self.member.user, self.ex_member.user, self.disabled.user]).await;
        let events = [message(BEFORE), member(self.ex_member.user, "removed"), message(AFTER)];
        let results = watching.send(group, &events).await;
        assert!(results.iter().all(|one| one["status"] == "ok"), "{results:?}");
        let person = match who {
            Who::Anonymous => None,
            Who::Expired => Some(self.world.ended(&self.owner, 3_000).await),
            _ => Some(self.world.device_of(self.account(who)).await),
        };
        let owner_token = match (&person, who) {
            (Some(person), Who::Owner) => person.token.clone(),
            _ => target.token.clone(),
        };
        Cell {
            group,
            owner: self.owner.user,
            device: target.device,
            owner_token,
            username: if who == Who::Anonymous {
                "nobody.test".to_owned()
            } else {
                self.account(who).session.user.username.clone()
            },
            refresh_token: "made up".to_owned(),
            person,
            watching: Some(watching),
        }
    }

    /// A refresh token that has not been used.
    pub async fn fresh_refresh_token(&self, who: Who) -> String {
        match who {
            Who::Anonymous => "made up".to_owned(),
            _ => {
                let name = self.account(who).session.user.username.clone();
                self.world.sign_in(&name).await.session.refresh_token
            }
        }
    }

    /// Disables the disabled one while the question is asked.
    pub async fn enter(&self, who: Who, begins: bool) {
        if who == Who::Disabled {
            sqlx::query("UPDATE users SET disabled_at = CASE WHEN $2 THEN now() END WHERE id = $1")
                .bind(self.disabled.user.as_uuid())
                .bind(begins)
                .execute(&self.world.server.pool)
                .await
                .unwrap();
        }
    }

    /// Everything that a question might change.
    pub async fn state_of(&self, cell: &Cell) -> String {
        sqlx::query_scalar(
            "SELECT concat_ws('|', h.head, h.countable, h.access_version, c.title, c.closed_at,
                (SELECT string_agg(m::text, ';' ORDER BY m.user_id) FROM members m
                 WHERE m.conversation_key = h.conversation_key),
                (SELECT count(*) FROM conversations),
                (SELECT count(*) FROM devices WHERE revoked_at IS NULL),
                (SELECT count(*) FROM blocks),
                (SELECT string_agg(concat_ws(',', id, password_hash, display_name), ';' ORDER BY id) FROM users))
             FROM conversation_head h JOIN conversations c ON c.key = h.conversation_key
             WHERE h.conversation_id = $1",
        )
        .bind(cell.group.as_uuid())
        .fetch_one(&self.world.server.pool)
        .await
        .unwrap()
    }
}

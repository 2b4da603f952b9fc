//! `kith-server keys …`

use super::Common;
use crate::domain::keys::{self, OldKeys};
use clap::Subcommand;

#[derive(Subcommand)]
pub(super) enum KeysCommand {
    /// Makes another key sign access tokens
    ///
    /// The old one is good until its tokens have ended, within eleven minutes. Running servers follow within seconds;
    /// nobody is signed out.
    Rotate {
        /// Removes the old keys at once, those of refresh tokens as well: for when somebody else may have them. All access
        /// tokens end with them; devices stay signed in and fetch fresh ones by themselves.
        #[arg(long)]
        drop_old: bool,
        #[command(flatten)]
        common: Common,
    },
}

pub(super) async fn run(command: KeysCommand) -> anyhow::Result<()> {
    let KeysCommand::Rotate { drop_old, common } = command;
    let database = common.ready_database().await?;
    let old = if drop_old { OldKeys::Drop } else { OldKeys::Outlive };
    let dropped = keys::rotate(&database.pool, old).await?;
    say!("access tokens are signed with a fresh key; old keys removed: {dropped}");
    database.close().await
}

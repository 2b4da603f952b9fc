//! `kith-server migrate`

use super::Common;

pub(super) async fn run(common: &Common, is_dry: bool) -> anyhow::Result<()> {
    let database = common.database().await?;
    let missing = crate::migrate::missing(&database.pool).await?;
    if missing.is_empty() {
        say!("the schema is up to date");
    } else if is_dry {
        say!("{} to be done:", missing.len());
        for (version, description) in &missing {
            say!("  {version} {description}");
        }
    } else {
        crate::migrate(&database.pool).await?;
        say!("{} done; the schema is up to date", missing.len());
    }
    database.close().await
}

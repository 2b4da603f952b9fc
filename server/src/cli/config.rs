//! `kith-server config …`

use super::{Common, database};
use crate::{settings, tls::Tls};
use anyhow::Context;

/// Everything that can be known without a database or a listener.
pub(super) fn check(common: &Common) -> anyhow::Result<()> {
    let settings = common.settings()?;
    settings.config()?;
    database::address(&settings)?;
    if let (Some(certificate), Some(key)) = (&settings.tls_cert, &settings.tls_key) {
        Tls::load(certificate, key)?;
    }
    crate::telemetry::filter(settings.log.as_deref()).context("the setting log")?;
    say!("the settings are well");
    Ok(())
}

pub(super) fn print(common: &Common) -> anyhow::Result<()> {
    let (said, file) = common.layers()?;
    let defaults = settings::Settings::defaults();
    let layers = [("flag or environment", &said), ("file", &file), ("default", &defaults)];
    say!("{}", settings::with_origins(&layers).trim_end());
    Ok(())
}

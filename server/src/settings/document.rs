//! What the settings are called and what they mean, as text: `docs/operate/configuration.md`, and `config print`.

use super::Settings;
use clap::Args as _;
use std::fmt::Write as _;

const HEAD: &str = "# Settings of the server

A test generates this page from `server/src/settings.rs`: `KITH_DOCS=write cargo test -p kith-server --lib settings`.

The server reads each setting from four places. A flag overrides the environment variable, which overrides the settings file, which overrides the default. The settings file is TOML. \
`--config` or `KITH_CONFIG` names it; without them, the server reads `/etc/kith/server.toml` if it exists. The server rejects unknown keys with file and line.

| Command | Purpose |
|---|---|
| `kith-server config check` | Reports invalid settings |
| `kith-server config print` | Prints the effective settings and the origin of each, without secrets |

```toml
# /etc/kith/server.toml
database_url_file = \"/etc/kith/database-url\"
listen = \"0.0.0.0:7480\"
tls_cert = \"/etc/kith/fullchain.pem\"
tls_key = \"/etc/kith/key.pem\"
signup = \"invite\"
```

The server rejects example passwords such as `changeme`. For a remote database, it also rejects words such as `password` and `kith`. It rejects secret files that every user of the machine can read, and a settings file that holds the address of the database or a password of the bus.

| Key | Flag | Environment variable | Default | Description |
|---|---|---|---|---|
";

/// `docs/operate/configuration.md`.
pub fn document() -> String {
    let defaults = table(&Settings::defaults());
    let command = Settings::augment_args(clap::Command::new("kith-server"));
    let mut text = HEAD.to_owned();
    for arg in command.get_arguments() {
        let key = arg.get_id().as_str();
        let flag = arg.get_long().unwrap_or_default();
        let env = arg.get_env().unwrap_or_default().to_string_lossy();
        let default = defaults.get(key).map_or_else(String::new, |value| format!("`{value}`"));
        let values = arg.get_value_names().unwrap_or_default();
        let value = values.first().map_or("", |name| name.as_str()).replace('|', "\\|");
        let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|");
        // Writing into a text has no way to fail.
        let _ = writeln!(text, "| `{key}` | `--{flag} {value}` | `{env}` | {default} | {help} |");
    }
    text
}

/// The settings that hold as TOML, each with where it was said; `layers` from the strongest on, with their names.
pub fn with_origins(layers: &[(&str, &Settings)]) -> String {
    let tables: Vec<_> = layers.iter().map(|(name, settings)| (*name, table(settings))).collect();
    let whole =
        layers.iter().rev().fold(Settings::default(), |lower, (_, settings)| (*settings).clone().over(lower));
    let mut text = String::new();
    for (key, value) in table(&whole) {
        let origin = tables.iter().find(|(_, table)| table.contains_key(&key)).map_or("", |(name, _)| name);
        let _ = writeln!(text, "{key} = {value}  # {origin}");
    }
    text
}

fn table(settings: &Settings) -> toml::Table {
    toml::Table::try_from(settings).unwrap_or_default()
}

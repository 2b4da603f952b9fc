//! Logs and request ids. Never a body, a token or a name.

use crate::config::LogFormat;
use std::io::IsTerminal;
use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter,
    filter::{FilterFn, ParseError, filter_fn},
    fmt,
    layer::SubscriberExt,
    registry::LookupSpan,
    util::SubscriberInitExt,
};

tokio::task_local! {
    static CURRENT_REQUEST: String;
}

/// The id of the request that the current task serves.
pub fn request_id() -> Option<String> {
    CURRENT_REQUEST.try_with(Clone::clone).ok()
}

/// Serves the request with this id.
pub(crate) async fn serve<T>(id: String, served: impl Future<Output = T>) -> T {
    CURRENT_REQUEST.scope(id, served).await
}

/// Reads what is to be logged.
///
/// # Errors
/// When it is no filter.
pub fn filter(text: Option<&str>) -> Result<EnvFilter, ParseError> {
    EnvFilter::builder().parse(text.unwrap_or("info,sqlx=warn"))
}

/// Starts the log on standard error.
///
/// # Errors
/// When `wanted` is no filter.
pub fn init(wanted: Option<&str>, format: LogFormat) -> Result<(), ParseError> {
    let registry = filtered(filter(wanted)?);
    let is_text = match format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let started = if is_text {
        registry.with(fmt::layer().with_writer(std::io::stderr)).try_init()
    } else {
        registry.with(fmt::layer().json().flatten_event(true).with_writer(std::io::stderr)).try_init()
    };
    // Only a second start in one process fails, and then the first log serves.
    drop(started);
    Ok(())
}

/// What every log starts from: the wanted lines, without those that no setting may ask for.
fn filtered(wanted: EnvFilter) -> impl Subscriber + for<'span> LookupSpan<'span> + Send + Sync {
    tracing_subscriber::registry().with(wanted).with(only_ours_in_detail())
}

/// Whatever is wanted of the log, only Kith's own crates say more than `info`: others would log frames with their texts
/// and requests with their tokens.
fn only_ours_in_detail() -> FilterFn {
    filter_fn(|metadata| metadata.target().starts_with("kith") || *metadata.level() <= tracing::Level::INFO)
}

/// Logs all that can be logged into a file of `KITH_TEST_LOGS`, if tests are to be looked through for secrets.
pub(crate) fn init_for_tests() {
    let Some(folder) = std::env::var_os("KITH_TEST_LOGS") else { return };
    let path = std::path::Path::new(&folder).join(format!("{}.log", std::process::id()));
    let Ok(file) = std::fs::File::options().create(true).append(true).open(path) else { return };
    // Only a second start in one process fails, and then the first log serves.
    drop(most_detailed(std::sync::Mutex::new(file)).try_init());
}

/// All that can be logged.
pub(crate) fn most_detailed<W>(writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'w> fmt::MakeWriter<'w> + Send + Sync + 'static,
{
    let log = fmt::layer().json().flatten_event(true).with_writer(writer);
    filtered(EnvFilter::new("trace")).with(log)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec_089_no_log_level_makes_others_log_tokens_and_texts() {
        for wanted in ["trace", "tungstenite=trace", "debug,tungstenite::protocol=trace"] {
            tracing::subscriber::with_default(filtered(filter(Some(wanted)).unwrap()), || {
                assert!(
                    !tracing::enabled!(target: "tungstenite::protocol", tracing::Level::DEBUG),
                    "{wanted}"
                );
                assert!(
                    tracing::enabled!(target: "tungstenite::protocol", tracing::Level::INFO),
                    "{wanted}: the filter lets the rest pass"
                );
            });
        }
    }
}

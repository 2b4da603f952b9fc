//! Fetching, up to a limit.

use super::Failure;
use reqwest::{Client, StatusCode};
use url::Url;

/// What a server answered.
pub(super) struct Fetched {
    pub(super) body: Vec<u8>,
    /// It said that there is nothing (204).
    pub(super) is_empty: bool,
}

/// Fetches at most `max` bytes; `told` hears how many there are, and of how many.
pub(super) async fn fetch(
    client: &Client,
    url: &Url,
    max: u64,
    mut told: impl FnMut(u64, Option<u64>),
) -> Result<Fetched, Failure> {
    let mut answer = client.get(url.clone()).send().await.map_err(|error| failure(&error))?;
    if !answer.status().is_success() {
        return Err(Failure::Unreachable);
    }
    let is_empty = answer.status() == StatusCode::NO_CONTENT;
    let total = answer.content_length();
    if total.is_some_and(|total| total > max) {
        return Err(Failure::TooLarge(max));
    }
    let mut body = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(|error| failure(&error))? {
        body.extend_from_slice(&part);
        let done = body.len() as u64;
        if done > max {
            return Err(Failure::TooLarge(max));
        }
        told(done, total);
    }
    Ok(Fetched { body, is_empty })
}

fn failure(error: &reqwest::Error) -> Failure {
    if kith_client::is_about_certificate(error) {
        Failure::BadCertificate
    } else if error.url().is_some_and(|url| url.scheme() != "https") {
        // The client speaks HTTPS only: it was sent on to elsewhere.
        Failure::Insecure
    } else {
        Failure::Unreachable
    }
}

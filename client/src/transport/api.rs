//! The HTTP interface, as far as accounts and people go (section 11).

use super::{
    body::{self, BodyError},
    is_safe,
    tls::{Trust, is_about_certificate},
};
use crate::ClientError;
use kith_protocol::{ErrorCode, api::ErrorBody, limits};
use kith_sync::delays;
use reqwest::{Method, RequestBuilder};
use serde::{Serialize, de::DeserializeOwned};
use url::Url;

/// The longest answer, bytes: a list of 200 people is a fraction of it.
const ANSWER_BYTES_MAX: usize = limits::HTTP_BODY_BYTES_MAX;

#[derive(Debug, Clone)]
pub(crate) struct Api {
    client: reqwest::Client,
    server: Url,
}

/// Reads a server's address as somebody types it.
///
/// Without a scheme it is `https://`, or `http://` for this computer. Plain HTTP goes to this computer only.
///
/// # Errors
/// [`ClientError::BadAddress`], [`ClientError::InsecureServer`].
pub(crate) fn parse_server(text: &str) -> Result<Url, ClientError> {
    let text = text.trim();
    let with_scheme = if text.contains("://") {
        text.to_owned()
    } else {
        let guess = Url::parse(&format!("http://{text}")).map_err(|_| ClientError::BadAddress)?;
        format!("{}://{text}", if is_safe(&guess) { "http" } else { "https" })
    };
    let url = Url::parse(&with_scheme).map_err(|_| ClientError::BadAddress)?;
    let plain = url.query().is_none() && url.fragment().is_none() && url.path() == "/";
    if !plain || !url.username().is_empty() || url.password().is_some() || url.host().is_none() {
        return Err(ClientError::BadAddress);
    }
    match url.scheme() {
        "https" | "http" if is_safe(&url) => Ok(url),
        "http" => Err(ClientError::InsecureServer),
        _ => Err(ClientError::BadAddress),
    }
}

/// The address as it is shown and stored: without a trailing slash.
pub(crate) fn server_text(server: &Url) -> String {
    server.as_str().trim_end_matches('/').to_owned()
}

impl Api {
    pub(crate) fn new(server: Url, trust: &Trust) -> Self {
        Self { client: trust.api_client(), server }
    }

    pub(crate) fn server(&self) -> &Url {
        &self.server
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
    ) -> Result<RequestBuilder, ClientError> {
        let address = self.server.join(path).map_err(|_| ClientError::BadAddress)?;
        let request = self.client.request(method, address);
        Ok(match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        })
    }

    /// Sends a body and reads an answer.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let request = self.request(Method::POST, path, None)?.json(body);
        read(send(request).await?).await
    }

    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
        token: &str,
    ) -> Result<T, ClientError> {
        let mut address = self.server.join(path).map_err(|_| ClientError::BadAddress)?;
        if !query.is_empty() {
            address.query_pairs_mut().extend_pairs(query);
        }
        read(send(self.client.get(address).bearer_auth(token)).await?).await
    }

    /// Changes something; the answer's body, if any, does not matter.
    pub(crate) async fn change(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
        token: &str,
    ) -> Result<(), ClientError> {
        let request = self.request(method, path, Some(token))?;
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        send(request).await.map(|_| ())
    }
}

async fn send(request: RequestBuilder) -> Result<reqwest::Response, ClientError> {
    let answer = request.send().await.map_err(|error| match is_about_certificate(&error) {
        true => ClientError::BadCertificate,
        false => ClientError::Offline,
    })?;
    if answer.status().is_success() {
        return Ok(answer);
    }
    let status = answer.status();
    let body = body::read(answer, ANSWER_BYTES_MAX).await.ok();
    match body.and_then(|body| serde_json::from_slice::<ErrorBody>(&body).ok()) {
        Some(ErrorBody { code, retry_after_ms: Some(retry_after_ms), .. }) => {
            Err(ClientError::RefusedFor { code, retry_after_ms: delays::capped(code, retry_after_ms) })
        }
        Some(ErrorBody { code, .. }) => Err(ClientError::Refused(code)),
        // Not one of ours: a proxy in between, or another server altogether.
        None if status.is_server_error() => Err(ClientError::Refused(ErrorCode::Unavailable)),
        None => Err(ClientError::BadAddress),
    }
}

async fn read<T: DeserializeOwned>(answer: reqwest::Response) -> Result<T, ClientError> {
    let bytes = body::read(answer, ANSWER_BYTES_MAX).await.map_err(|error| match error {
        BodyError::Cut => ClientError::Offline,
        BodyError::TooLarge => ClientError::BadAddress,
    })?;
    serde_json::from_slice(&bytes).map_err(|_| ClientError::BadAddress)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_without_an_end_is_no_answer_of_a_server() {
        let refused = "HTTP/1.1 403 Forbidden\r\ntransfer-encoding: chunked\r\n\r\n";
        for head in [body::tests::CHUNKED, refused] {
            let server = parse_server(&body::tests::endless(head).await).unwrap();
            let api = Api::new(server, &Trust::load(None).unwrap());
            let answer = api.get::<serde_json::Value>("/v1/users", &[], "token").await;
            assert!(matches!(answer, Err(ClientError::BadAddress)), "{answer:?}");
        }
    }

    #[test]
    fn sec_026_plain_text_goes_to_this_computer_only() {
        let text =
            |input: &str| parse_server(input).map(|url| server_text(&url)).map_err(|error| error.code());
        assert_eq!(text("chat.example.org"), Ok("https://chat.example.org".to_owned()));
        assert_eq!(text(" https://chat.example.org/ "), Ok("https://chat.example.org".to_owned()));
        assert_eq!(text("localhost:7480"), Ok("http://localhost:7480".to_owned()));
        assert_eq!(text("127.0.0.1:7480"), Ok("http://127.0.0.1:7480".to_owned()));
        assert_eq!(text("http://[::1]:7480"), Ok("http://[::1]:7480".to_owned()));
        assert_eq!(text("http://chat.example.org"), Err("insecure_server"));
        for bad in
            ["", "ftp://x", "https://a@b", "https://x/path", "https://x?q", "https://", "javascript://x"]
        {
            assert_eq!(text(bad), Err("bad_address"), "{bad}");
        }
    }
}

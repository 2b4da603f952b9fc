//! The exchange: frames there and back in one HTTP request (S12).

use super::{
    INBOUND_BYTES_MAX, body,
    tls::{Trust, is_about_certificate},
    ws::refusal,
};
use kith_protocol::{
    ClientFrame, ServerFrame,
    api::{ErrorBody, ExchangeAnswer, ExchangeRequest},
    limits,
};
use kith_sync::ConnectError;

/// Carries frames to a server and its answers back.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    client: reqwest::Client,
    address: url::Url,
}

impl Exchange {
    /// For the server whose `/v1/exchange` is `address`.
    pub(crate) fn new(address: url::Url, trust: &Trust) -> Self {
        Self { client: trust.exchange_client(), address }
    }

    pub(crate) async fn run(
        &self,
        token: &str,
        frames: &[(ClientFrame, Option<u64>)],
    ) -> Result<Vec<ServerFrame>, ConnectError> {
        let mut body = ExchangeRequest { frames: Vec::new(), wait_ms: None };
        let mut bytes = 0;
        for (frame, request) in frames {
            let text = frame.encode(*request);
            bytes += text.len() + 1;
            if bytes > limits::HTTP_BODY_BYTES_MAX - 1024 {
                break; // what is not answered is sent with the next one
            }
            body.frames.extend(serde_json::from_str::<serde_json::Value>(&text).ok());
        }
        let sent = self.client.post(self.address.clone()).bearer_auth(token).json(&body).send().await;
        let answer = sent.map_err(|error| match is_about_certificate(&error) {
            true => ConnectError::BadCertificate,
            false => ConnectError::Unreachable,
        })?;
        let status = answer.status();
        let named =
            answer.headers().get("retry-after").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let text = body::read(answer, INBOUND_BYTES_MAX).await.map_err(|_| ConnectError::Unreachable)?;
        if !status.is_success() {
            let body = serde_json::from_slice::<ErrorBody>(&text).ok();
            return Err(refusal(status.as_u16(), body.as_ref(), named.as_deref()));
        }
        // A proxy's page of its own, and no word of this server: only a code says what is wrong with this version.
        let answer: ExchangeAnswer = serde_json::from_slice(&text).map_err(|_| ConnectError::Unreachable)?;
        let read = |frame: serde_json::Value| ServerFrame::decode(&frame.to_string()).ok();
        Ok(answer.frames.into_iter().filter_map(read).map(|received| received.frame).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn s12_an_answer_without_an_end_is_given_up() {
        let server = body::tests::endless(body::tests::CHUNKED).await;
        let address = url::Url::parse(&format!("{server}/v1/exchange")).unwrap();
        let exchange = Exchange::new(address, &Trust::load(None).unwrap());
        assert_eq!(exchange.run("t", &[]).await, Err(ConnectError::Unreachable));
    }

    #[tokio::test]
    async fn s12_a_server_that_says_nothing_is_given_up() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/v1/exchange", listener.local_addr().unwrap());
        let exchange = Exchange::new(url::Url::parse(&address).unwrap(), &Trust::load(None).unwrap());
        let asked = tokio::spawn(async move { exchange.run("t", &[]).await });
        let (mut tcp, _) = listener.accept().await.unwrap();
        assert!(tcp.read(&mut [0; 4096]).await.unwrap() > 0, "it was asked");
        tokio::time::pause();
        tokio::time::advance(std::time::Duration::from_secs(31)).await;
        tokio::time::resume();
        let answer = tokio::time::timeout(std::time::Duration::from_secs(10), asked).await;
        assert_eq!(answer.expect("it is given up").unwrap(), Err(ConnectError::Unreachable));
    }

    #[tokio::test]
    async fn s12_a_page_of_a_proxy_is_no_answer_of_the_server() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let proxy = tokio::spawn(async move {
            let (mut tcp, _) = listener.accept().await?;
            let _request = tcp.read(&mut [0; 4096]).await?;
            let page =
                b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 13\r\n\r\n<html></html>";
            tcp.write_all(page).await
        });
        let exchange = Exchange::new(
            url::Url::parse(&format!("http://{address}/v1/exchange")).unwrap(),
            &Trust::load(None).unwrap(),
        );
        assert_eq!(exchange.run("t", &[]).await, Err(ConnectError::Unreachable));
        proxy.await.unwrap().unwrap();
    }
}

//! The exchange: frames there and back in one HTTP request (S12).

use super::ws::refusal;
use crate::sync::ConnectError;
use kith_protocol::{
    ClientFrame, ErrorCode, ServerFrame,
    api::{ErrorBody, ExchangeAnswer, ExchangeRequest},
    limits,
};
use std::time::Duration;

/// An exchange that waits for nothing is answered within this.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Carries frames to a server and its answers back.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    client: reqwest::Client,
    address: url::Url,
}

impl Exchange {
    /// For the server whose `/v1/exchange` is `address`.
    pub(crate) fn new(address: url::Url) -> Self {
        let client = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(20))
            .timeout(ANSWER_WITHIN)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap_or_default();
        Self { client, address }
    }

    /// One exchange.
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
        let answer = sent.map_err(|_| ConnectError::Unreachable)?;
        let status = answer.status();
        let text = answer.bytes().await.map_err(|_| ConnectError::Unreachable)?;
        if !status.is_success() {
            return Err(refusal(status.as_u16(), serde_json::from_slice::<ErrorBody>(&text).ok().as_ref()));
        }
        let answer: ExchangeAnswer =
            serde_json::from_slice(&text).map_err(|_| ConnectError::Refused(ErrorCode::UpgradeRequired))?;
        let read = |frame: serde_json::Value| ServerFrame::decode(&frame.to_string()).ok();
        Ok(answer.frames.into_iter().filter_map(read).map(|received| received.frame).collect())
    }
}

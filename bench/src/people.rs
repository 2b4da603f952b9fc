//! Real accounts with real sessions.

use anyhow::{Context, Result, bail};
use futures_util::{StreamExt, TryStreamExt, stream};
use kith_protocol::{DeviceId, UserId, api};
use std::{net::Ipv4Addr, sync::Arc, time::Duration};

/// Somebody with an account and one session.
#[derive(Clone)]
pub struct Person {
    pub user: UserId,
    pub device: DeviceId,
    pub token: Arc<str>,
    refresh: Arc<str>,
    pub username: String,
    from: Ipv4Addr,
}

pub const PASSWORD: &str = "correct horse battery";

/// A client that calls from its own loopback address, so that limits per address stay on and do not matter.
fn http(from: Ipv4Addr) -> Result<reqwest::Client> {
    Ok(reqwest::Client::builder()
        .local_address(Some(from.into()))
        .timeout(Duration::from_secs(60))
        .build()?)
}

async fn post<T: serde::de::DeserializeOwned>(
    from: Ipv4Addr,
    url: String,
    body: &impl serde::Serialize,
) -> Result<T> {
    let client = http(from)?;
    loop {
        let answer = client.post(&url).json(body).send().await?;
        if answer.status().is_success() {
            return Ok(answer.json().await?);
        }
        let status = answer.status();
        let error: api::ErrorBody = answer.json().await.context("no error body")?;
        match (error.code.is_retryable(), error.retry_after_ms) {
            (true, wait) => tokio::time::sleep(Duration::from_millis(wait.unwrap_or(200))).await,
            (false, _) => bail!("{url}: {status} {}", error.code),
        }
    }
}

async fn session(server: &str, username: &str, from: Ipv4Addr, device: &str) -> Result<api::Session> {
    let sign_in = api::SignIn {
        username: username.to_owned(),
        password: PASSWORD.to_owned(),
        device: api::DeviceRequest { id: None, name: device.to_owned() },
    };
    post(from, format!("{server}/v1/sessions"), &sign_in).await
}

/// Whether a sign-in succeeds; each `number` calls from another address.
pub async fn try_sign_in(server: &str, username: &str, password: &str, number: usize) -> Result<bool> {
    let from = Ipv4Addr::new(127, 2, (number / 250) as u8, (number % 250) as u8 + 1);
    let sign_in = api::SignIn {
        username: username.to_owned(),
        password: password.to_owned(),
        device: api::DeviceRequest { id: None, name: "bench".to_owned() },
    };
    let answer = http(from)?.post(format!("{server}/v1/sessions")).json(&sign_in).send().await?;
    Ok(answer.status().is_success())
}

/// Makes `count` accounts and signs each in once.
pub async fn sign_up(server: &str, count: usize) -> Result<Vec<Person>> {
    stream::iter(0..count)
        .map(|index| async move {
            let from = Ipv4Addr::new(127, 1, (index / 250) as u8, (index % 250) as u8 + 1);
            let account = api::CreateAccount {
                username: format!("bench{index}"),
                password: PASSWORD.to_owned(),
                display_name: format!("Bench {index}"),
                invite: None,
            };
            let created: api::AccountCreated = post(from, format!("{server}/v1/accounts"), &account).await?;
            let session = session(server, &account.username, from, "bench").await?;
            anyhow::Ok(Person {
                user: created.user.id,
                device: session.device.id,
                token: session.access_token.into(),
                refresh: session.refresh_token.into(),
                username: account.username,
                from,
            })
        })
        .buffered(4)
        .try_collect()
        .await
}

/// Renews the tokens of all: a run may outlast an access token.
pub async fn renew(server: &str, people: &[Person]) -> Result<Vec<Person>> {
    let renewed = stream::iter(people).map(|person| person.renewed(server));
    renewed.buffered(8).try_collect().await
}

impl Person {
    async fn renewed(&self, server: &str) -> Result<Self> {
        let body =
            api::Refresh { refresh_token: self.refresh.as_ref().to_owned(), device: Some(self.device) };
        let session: api::Session = post(self.from, format!("{server}/v1/sessions/refresh"), &body).await?;
        let (token, refresh) = (session.access_token.into(), session.refresh_token.into());
        Ok(Self { token, refresh, ..self.clone() })
    }

    /// Somebody of whom the token is all that is needed.
    pub fn known(user: UserId, device: DeviceId, token: String) -> Self {
        let (username, refresh) = (String::new(), "".into());
        Self { user, device, token: token.into(), refresh, username, from: Ipv4Addr::LOCALHOST }
    }

    /// Signs in on one more device.
    pub async fn another_device(&self, server: &str, number: usize) -> Result<Self> {
        let session = session(server, &self.username, self.from, &format!("idle {number}")).await?;
        let (token, refresh) = (session.access_token.into(), session.refresh_token.into());
        Ok(Self { device: session.device.id, token, refresh, ..self.clone() })
    }
}

//! Somebody with an engine, behind a network that can be cut.

use crate::{Proxy, TestSecrets, server::Row, until};
use anyhow::Result;
use kith_client::{
    Engine, EngineOptions,
    view::{
        AccountView, Anchor, AppState, ConversationDetail, LinkView, MessageView, StatusView, TimelineItem,
    },
};
use kith_protocol::{ConversationId, EventId, UserId};
use std::{future::Future, sync::Arc};

pub const PASSWORD: &str = "correct horse battery";

pub struct Client {
    name: String,
    engine: Option<Engine>,
    proxy: Proxy,
    folder: tempfile::TempDir,
    secrets: Arc<TestSecrets>,
}

impl Client {
    /// Opens an engine on an empty profile.
    pub async fn new(name: &str, proxy: Proxy) -> Result<Self> {
        Self::with_secrets(name, proxy, Arc::default()).await
    }

    /// The same with a secret store of a test's own.
    pub async fn with_secrets(name: &str, proxy: Proxy, secrets: Arc<TestSecrets>) -> Result<Self> {
        let mut client =
            Self { name: name.to_owned(), engine: None, proxy, folder: tempfile::tempdir()?, secrets };
        client.open().await?;
        Ok(client)
    }

    async fn open(&mut self) -> Result<()> {
        let options = EngineOptions {
            profile: "default".to_owned(),
            data_dir: self.folder.path().to_owned(),
            app: "kith-tests/1".to_owned(),
            device_name: format!("{}'s computer", self.name),
            ca_file: None,
            secrets: self.secrets.clone(),
        };
        self.engine = Some(Engine::open(options).await?);
        Ok(())
    }

    pub async fn quit(&mut self) {
        if let Some(engine) = self.engine.take() {
            engine.shutdown().await;
        }
    }

    /// Quits and starts again, on the same profile.
    pub async fn restart(&mut self) -> Result<()> {
        self.quit().await;
        self.open().await
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    pub fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    pub fn secrets(&self) -> &TestSecrets {
        &self.secrets
    }

    /// The engine.
    ///
    /// # Panics
    /// After [`Self::quit`].
    pub fn engine(&self) -> &Engine {
        self.engine.as_ref().expect("the engine is open")
    }

    pub async fn sign_up(&self) -> Result<()> {
        let name = self.name.clone();
        self.engine().sign_up(self.proxy.url(), name.clone(), PASSWORD.to_owned(), name, None).await?;
        self.connected().await;
        Ok(())
    }

    pub async fn sign_in(&self) -> Result<()> {
        self.engine().sign_in(self.proxy.url(), self.name.clone(), PASSWORD.to_owned()).await?;
        self.connected().await;
        Ok(())
    }

    /// The account that is open.
    pub async fn account(&self) -> AccountView {
        match self.engine().app_state().await {
            AppState::SignedIn { account, .. } => account,
            other => panic!("{} is not signed in: {other:?}", self.name),
        }
    }

    pub async fn me(&self) -> UserId {
        self.account().await.me.id
    }

    pub async fn status(&self) -> StatusView {
        self.engine().status().await
    }

    /// Waits until the engine is connected and in sync.
    pub async fn connected(&self) {
        until(
            &format!("{} connects", self.name),
            || self.status(),
            |status| matches!(status.link, LinkView::Connected { .. }),
        )
        .await;
    }

    /// Waits until nothing is left to be sent.
    pub async fn sent(&self) {
        until(&format!("{} has sent all", self.name), || self.status(), |status| status.unsent == 0).await;
    }

    /// Takes the network away and waits until the engine says so.
    pub async fn go_offline(&self) {
        self.proxy.down();
        until(
            &format!("{} notices that the network is gone", self.name),
            || self.status(),
            |status| !matches!(status.link, LinkView::Connected { .. } | LinkView::CatchingUp { .. }),
        )
        .await;
    }

    /// Gives the network back and waits until all is in sync.
    pub async fn go_online(&self) -> Result<()> {
        self.proxy.up();
        self.engine().network_changed().await?;
        self.connected().await;
        Ok(())
    }

    /// Writes to somebody; the conversation is the direct one.
    pub async fn write(&self, to: &Client, text: &str) -> Result<ConversationId> {
        crate::secrets::note(text);
        Ok(self.engine().start_direct(to.me().await, text.to_owned()).await?)
    }

    pub async fn send(&self, conversation: ConversationId, text: &str) -> Result<EventId> {
        crate::secrets::note(text);
        Ok(self.engine().send_message(conversation, text.to_owned(), None).await?)
    }

    /// Every message that is stored here, oldest first; asks for older pages as somebody does who scrolls up.
    pub async fn messages(&self, conversation: ConversationId) -> Vec<MessageView> {
        let Ok(mut page) = self.engine().timeline(conversation, Anchor::Newest, 200).await else {
            return Vec::new();
        };
        let mut items = page.items;
        while !page.at_start && !page.loading {
            let Some(order) = items.first().map(order_of) else { break };
            let Ok(older) = self.engine().timeline(conversation, Anchor::Before { order }, 200).await else {
                break;
            };
            if older.items.is_empty() {
                break;
            }
            items.splice(0..0, older.items.iter().cloned());
            page = older;
        }
        items
            .into_iter()
            .filter_map(|item| match item {
                TimelineItem::Message(message) => Some(message),
                TimelineItem::Notice(_) | TimelineItem::Gap(_) => None,
            })
            .collect()
    }

    /// The texts of [`Self::messages`].
    pub async fn texts(&self, conversation: ConversationId) -> Vec<String> {
        self.messages(conversation).await.into_iter().map(|message| message.text).collect()
    }

    /// Waits for these texts, exactly and in this order.
    pub async fn until_texts(&self, conversation: ConversationId, texts: &[&str]) {
        until(&format!("{} sees {texts:?}", self.name), || self.texts(conversation), |seen| *seen == texts)
            .await;
    }

    /// Waits for a fact about the messages.
    pub async fn until_messages(
        &self,
        conversation: ConversationId,
        what: &str,
        fact: impl Fn(&Vec<MessageView>) -> bool,
    ) -> Vec<MessageView> {
        until(&format!("{}: {what}", self.name), || self.messages(conversation), fact).await
    }

    /// Waits for a fact about a conversation's row and members.
    pub async fn until_conversation(
        &self,
        conversation: ConversationId,
        what: &str,
        fact: impl Fn(&ConversationDetail) -> bool,
    ) {
        let look = || async { self.engine().conversation(conversation).await.ok() };
        until(&format!("{}: {what}", self.name), look, |detail| detail.as_ref().is_some_and(&fact)).await;
    }

    /// The numbered messages as rows, to be compared with the server's.
    pub async fn log(&self, conversation: ConversationId) -> Vec<Row> {
        let messages = self.messages(conversation).await;
        let numbered = messages.into_iter().filter_map(|message| {
            let seq = message.seq?.0;
            Some(Row { seq, id: message.id, kind: "message".to_owned(), text: message.text })
        });
        numbered.collect()
    }

    /// Runs something while the network is away.
    pub async fn while_offline<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.go_offline().await;
        let done = work.await;
        self.go_online().await?;
        done
    }
}

fn order_of(item: &TimelineItem) -> f64 {
    match item {
        TimelineItem::Message(message) => message.order,
        TimelineItem::Notice(notice) => notice.order,
        TimelineItem::Gap(gap) => gap.order,
    }
}

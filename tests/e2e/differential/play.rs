//! One seed: people, their devices, both servers, and the comparison.

use super::{
    ground::Ground,
    line::{Incoming, Line},
    plain::{brief, differing, plain, told},
};
use anyhow::{Context, Result, ensure};
use kith_model::{Random, Server};
use kith_protocol::{ClientFrame, ConversationId, DeviceId, Seq, ServerFrame, UserId};
use serde::Serialize;
use serde_json::{Value, json};

/// People of a seed.
const PEOPLE: usize = 4;
/// Whose each device is.
const DEVICES: [usize; 6] = [0, 0, 1, 1, 2, 3];

pub(super) struct Device {
    pub user: UserId,
    pub id: DeviceId,
    token: String,
    /// Its connection with the real server, and that one's number with the model.
    line: Option<(u64, Line)>,
    /// Every generation that a `welcome` gave, from 0.
    pub generations: Vec<u64>,
}

impl Device {
    pub fn is_online(&self) -> bool {
        self.line.is_some()
    }
}

pub(super) enum Operation {
    /// A frame on a device's connection.
    Frame(usize, Value),
    /// A device says `hello` on another connection, with its old one still open or not.
    Hello { device: usize, hello: Value, leaves_first: bool },
    /// A device goes away.
    Leave(usize),
    /// Somebody blocks another person over HTTP, or ends that.
    Block { device: usize, user: UserId, on: bool },
}

pub(super) struct Play<'a> {
    ground: &'a Ground,
    pub random: Random,
    pub model: Server,
    pub users: Vec<UserId>,
    pub devices: Vec<Device>,
    /// Ids that were opened or tried.
    pub conversations: Vec<ConversationId>,
    /// Events that were sent, accepted or not.
    pub sent: Vec<(ConversationId, Value)>,
    connections: u64,
    request: u64,
    story: Vec<String>,
}

impl<'a> Play<'a> {
    /// Plays a seed.
    ///
    /// # Errors
    /// Where the two differ, with all that was done.
    pub async fn run(ground: &'a Ground, seed: u64, operations: u64) -> Result<()> {
        let mut play = Self::begin(ground, seed).await?;
        let outcome = play.all(operations).await;
        outcome.with_context(|| format!("step {} of\n{}", play.story.len(), play.story.join("\n")))
    }

    async fn begin(ground: &'a Ground, seed: u64) -> Result<Self> {
        let mut play = Self {
            ground,
            random: Random::new(seed),
            model: Server::default(),
            users: Vec::new(),
            devices: Vec::new(),
            conversations: Vec::new(),
            sent: Vec::new(),
            connections: 0,
            request: 0,
            story: Vec::new(),
        };
        for _ in 0..PEOPLE {
            let user = UserId::from_uuid(play.uuid_v7());
            ground.person(user).await?;
            play.model.sign_up(user);
            play.users.push(user);
        }
        for user in DEVICES.map(|user| play.users[user]) {
            let id = DeviceId::from_uuid(play.uuid_v7());
            let token = ground.device(user, id).await?;
            play.devices.push(Device { user, id, token, line: None, generations: vec![0] });
        }
        Ok(play)
    }

    async fn all(&mut self, operations: u64) -> Result<()> {
        for device in 0..self.devices.len() {
            let hello = self.hello(device);
            self.step(Operation::Hello { device, hello, leaves_first: true }).await?;
        }
        for number in 0..operations {
            let operation = self.choose(number);
            self.step(operation).await?;
        }
        for device in
            (0..self.devices.len()).filter(|device| !self.devices[*device].is_online()).collect::<Vec<_>>()
        {
            let hello = self.hello(device);
            self.step(Operation::Hello { device, hello, leaves_first: true }).await?;
        }
        self.look_at_everything().await
    }

    /// Does something with both; compares.
    async fn step(&mut self, operation: Operation) -> Result<()> {
        match operation {
            Operation::Frame(device, frame) => self.frame(device, frame).await,
            Operation::Hello { device, hello, leaves_first } => {
                if leaves_first {
                    self.leave(device);
                }
                self.connect(device, hello).await
            }
            Operation::Leave(device) => {
                self.tell(device, "leaves");
                self.leave(device);
                Ok(())
            }
            Operation::Block { device, user, on } => self.block(device, user, on).await,
        }
    }

    fn tell(&mut self, device: usize, what: &str) {
        let user = self.users.iter().position(|user| *user == self.devices[device].user);
        let line = format!(
            "{:3} device {device} of user {}: {what}",
            self.story.len() + 1,
            user.unwrap_or_default()
        );
        self.story.push(line);
    }

    fn leave(&mut self, device: usize) {
        if let Some((number, _)) = self.devices[device].line.take() {
            self.model.disconnect(number);
        }
    }

    async fn connect(&mut self, device: usize, mut hello: Value) -> Result<()> {
        self.request += 1;
        hello["request"] = self.request.into();
        self.tell(device, &brief(&hello));
        let mut line = Line::dial(&self.ground.url(), &self.devices[device].token).await?;
        line.write(&hello).await?;
        let mut real = Vec::new();
        let is_last = |frame: &Value| frame["type"] == "heads" && frame["more"] != true;
        while !real.last().is_some_and(is_last) {
            match line.read().await? {
                Incoming::Frame(frame) => real.push(frame),
                Incoming::Closed(_) => break,
            }
        }
        self.connections += 1;
        let number = self.connections;
        let one = &self.devices[device];
        self.model.connect(number, one.user, one.id);
        let received = ClientFrame::decode(&hello.to_string()).context("a good frame")?;
        self.model.handle(number, received.frame, received.request);
        let model = self.model_frames(number);
        let pure = |frames: &[Value]| frames.iter().map(plain).collect::<Vec<_>>();
        compare("the handshake", pure(&real), pure(&model))?;
        if real[0]["type"] != "welcome" {
            self.model.disconnect(number);
            return self.settle().await;
        }
        let generation = real[0]["generation"].as_u64().context("no generation")?;
        self.devices[device].generations.push(generation);
        let older = self.devices[device].line.replace((number, line));
        let closed = std::mem::take(&mut self.model.closed);
        if let Some((number, mut older)) = older {
            compare("the close", vec![(number, older.closed().await?)], closed)?;
        }
        self.settle().await
    }

    async fn block(&mut self, device: usize, user: UserId, on: bool) -> Result<()> {
        self.tell(device, &format!("{} {user}", if on { "blocks" } else { "unblocks" }));
        let one = &self.devices[device];
        self.ground.block(&one.token, user, on).await?;
        self.model.block(one.user, user, on);
        self.settle().await
    }

    async fn frame(&mut self, device: usize, frame: Value) -> Result<()> {
        let (_, pushed) = self.ask(device, frame).await?;
        self.others(device, pushed).await
    }

    /// Compares the answers to a frame. Returns it, and what came before it.
    async fn ask(&mut self, device: usize, mut frame: Value) -> Result<(Value, Vec<Value>)> {
        self.request += 1;
        let request = self.request;
        frame["request"] = request.into();
        self.tell(device, &brief(&frame));
        let (number, line) = self.devices[device].line.as_mut().context("it is offline")?;
        let number = *number;
        line.write(&frame).await?;
        let (pushed, real) = line.until_answer(request).await?;
        self.model.now = time_of(&real).unwrap_or(self.model.now);
        let received = ClientFrame::decode(&frame.to_string()).context("a good frame")?;
        self.model.handle(number, received.frame, received.request);
        let is_answer = |(to, frame): &(u64, ServerFrame)| *to == number && frame.reply_to() == Some(request);
        let index = self.model.out.iter().position(is_answer).context("the model does not answer")?;
        let (_, model) = self.model.out.remove(index);
        let model: Value = serde_json::from_str(&model.encode())?;
        compare("the answer", plain(&real), plain(&model))?;
        Ok((real, pushed))
    }

    async fn settle(&mut self) -> Result<()> {
        self.others(0, Vec::new()).await
    }

    /// Compares what every connection was told; `pushed` came to `device` already.
    ///
    /// Whatever the server decided to send before it answered is in front of the answer to a later frame: one that
    /// asks for nothing.
    async fn others(&mut self, device: usize, pushed: Vec<Value>) -> Result<()> {
        self.request += 1;
        let request = self.request;
        let nothing =
            json!({"type": "send", "request": request, "conversation": ConversationId::mint(), "events": []});
        for (_, line) in self.devices.iter_mut().filter_map(|one| one.line.as_mut()) {
            line.write(&nothing).await?;
        }
        for other in 0..self.devices.len() {
            let Some((number, line)) = self.devices[other].line.as_mut() else { continue };
            let number = *number;
            let (more, _) = line.until_answer(request).await?;
            let mut real = if other == device { pushed.clone() } else { Vec::new() };
            real.extend(more);
            let model = self.model_frames(number);
            compare(&format!("what device {other} is told"), told(&real), told(&model))?;
        }
        ensure!(self.model.out.is_empty(), "the model tells more: {:?}", self.model.out);
        Ok(())
    }

    /// What the model has sent to a connection.
    fn model_frames(&mut self, number: u64) -> Vec<Value> {
        let out = std::mem::take(&mut self.model.out);
        let (mine, others): (Vec<_>, Vec<_>) = out.into_iter().partition(|(to, _)| *to == number);
        self.model.out = others;
        let read = |(_, frame): (u64, ServerFrame)| serde_json::from_str(&frame.encode()).expect("JSON");
        mine.into_iter().map(read).collect()
    }

    /// In the end every user's heads, members, markers and whole logs are the same, and what PostgreSQL holds.
    async fn look_at_everything(&mut self) -> Result<()> {
        for device in 0..self.devices.len() {
            self.ask(device, json!({"type": "heads", "full": true})).await?;
        }
        for conversation in self.conversations.clone() {
            for device in (0..PEOPLE).filter_map(|user| DEVICES.iter().position(|of| *of == user)) {
                self.ask(device, json!({"type": "members", "conversation": conversation, "max": 200}))
                    .await?;
                self.ask(device, json!({"type": "markers", "conversation": conversation})).await?;
                self.whole_log(device, conversation).await?;
            }
            self.stored(conversation).await?;
        }
        Ok(())
    }

    async fn whole_log(&mut self, device: usize, conversation: ConversationId) -> Result<()> {
        let user = self.devices[device].user;
        let known = self.model.conversations.get(&conversation);
        let visible = known.and_then(|one| one.visible.get(&user)).cloned().unwrap_or_default();
        for (low, _) in visible {
            let mut from = low.0;
            loop {
                let pull = json!({"type": "pull", "conversation": conversation, "from": from, "direction": "forward", "max": 50});
                let (page, _) = self.ask(device, pull).await?;
                from = page["high"].as_u64().context("no page")? + 1;
                if page["end"] == true {
                    break;
                }
            }
        }
        Ok(())
    }

    async fn stored(&mut self, conversation: ConversationId) -> Result<()> {
        let rows = self.ground.stored(conversation).await?;
        let real: Vec<_> = rows
            .into_iter()
            .map(|(seq, id, kind, body)| {
                json!([seq, id, kind, body.map(|text| serde_json::from_str::<Value>(&text).ok())])
            })
            .collect();
        let log = self.model.conversations.get(&conversation).map_or(&[][..], |one| &one.log);
        let model: Vec<_> =
            log.iter().map(|event| json!([event.seq, event.id, event.kind, event.body])).collect();
        compare("what is stored", real, model)
    }

    /// The head of a conversation with the model.
    pub fn head(&self, conversation: ConversationId) -> Seq {
        self.model.conversations.get(&conversation).map_or(Seq::ZERO, |one| Seq(one.log.len() as u64))
    }
}

/// The time that the server gave to what it numbered: the model's clock shows the same.
fn time_of(answer: &Value) -> Option<u64> {
    let results = answer["results"].as_array().into_iter().flatten();
    let numbered = results.filter(|result| result["status"] == "ok").map(|result| &result["ts"]);
    let opened = answer["items"].as_array().into_iter().flatten().map(|item| &item["last_ts"]);
    numbered.chain(opened).filter_map(Value::as_u64).max()
}

fn compare(what: &str, real: impl Serialize, model: impl Serialize) -> Result<()> {
    let differing = differing(&serde_json::to_value(real)?, &serde_json::to_value(model)?);
    ensure!(differing.is_empty(), "{what} differs\n{}", differing.join("\n"));
    Ok(())
}

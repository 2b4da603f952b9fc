//! Socket.IO on Node with node-postgres, and the part of its wire that the load needs.

use super::{database, until_asked_to_end};
use anyhow::{Context, Result, ensure};
use kith_protocol::{
    ClientFrame, ConversationId, Event, EventId, Seq, ServerFrame, TimestampMs, UserId,
    frame::{Ack, AckResult, AckStatus, Events},
};
use serde_json::{Value, json};
use std::{path::Path, process::Stdio};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

/// Starts Node beside a PostgreSQL, says where it listens, and ends both when it is asked to.
pub(super) async fn serve(folder: &Path, script: &Path) -> Result<()> {
    let (cluster, url) = database(folder).await?;
    let mut node = Command::new("node")
        .arg("server.js")
        .current_dir(script)
        .env("DATABASE_URL", url)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("starting node")?;
    let mut lines = BufReader::new(node.stdout.take().context("its output")?).lines();
    let line = lines.next_line().await?.context("node said nothing")?;
    println!("{line}");
    until_asked_to_end().await?;
    node.kill().await?;
    drop(lines);
    Ok(cluster.stop().await?)
}

/// The first packets of a connection: the server's, and the client's answer to it.
pub const HANDSHAKE: char = '0';
pub const CONNECT: &str = "40";

/// What a client sends; `None` for what Socket.IO's side has no word for.
pub fn encode(frame: &ClientFrame, request: Option<u64>) -> Option<String> {
    let request = request.map(|request| request.to_string()).unwrap_or_default();
    let packet = |name: &str, argument: Value| Some(format!("42{request}{}", json!([name, argument])));
    match frame {
        ClientFrame::Open(open) => packet("join", json!(open.conversation)),
        ClientFrame::Send(send) => {
            let event = send.events.first()?;
            packet(
                "message",
                json!({ "conversation": send.conversation, "id": event["id"], "content": event["body"]["text"] }),
            )
        }
        _ => None,
    }
}

/// What a server sent: a frame of the load's, or what is to be answered.
pub enum Packet {
    Frame(ServerFrame),
    Answer(&'static str),
    Nothing,
}

/// Reads a packet.
pub fn decode(text: &str) -> Result<Packet> {
    if text == "2" {
        return Ok(Packet::Answer("3"));
    }
    if let Some(rest) = text.strip_prefix("43") {
        let digits = rest.find('[').context("an acknowledgement")?;
        let reply_to = rest[..digits].parse().ok();
        let answer: Value = serde_json::from_str(&rest[digits..])?;
        let answer = &answer[0];
        ensure!(answer["ok"] == true, "refused: {answer}");
        let result = AckResult {
            id: answer["id"].as_str().and_then(|id| id.parse().ok()),
            status: AckStatus::Ok,
            seq: answer["seq"].as_u64().map(Seq),
            ts: None,
            countable: None,
            chain: None,
            code: None,
            retry_after_ms: None,
        };
        return Ok(Packet::Frame(ServerFrame::Ack(Ack { reply_to, results: vec![result] })));
    }
    let Some(rest) = text.strip_prefix("42") else { return Ok(Packet::Nothing) };
    let message: Value = serde_json::from_str(rest)?;
    let message = &message[1];
    let conversation: ConversationId = serde_json::from_value(message["conversation"].clone())?;
    let id: EventId = serde_json::from_value(message["id"].clone())?;
    let seq = message["seq"].as_u64().context("no number")?;
    let event = Event {
        seq: Seq(seq),
        id,
        kind: "message".to_owned(),
        sender: UserId::mint(),
        ts: TimestampMs(0),
        written_at: None,
        countable: seq,
        chain: kith_protocol::Chain::empty(conversation),
        target: None,
        body: Some(json!({ "text": message["content"] })),
        redacted: false,
    };
    Ok(Packet::Frame(ServerFrame::Events(Events { conversation, events: vec![event] })))
}

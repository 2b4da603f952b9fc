//! Plain HTTP to this machine, with JSON in both directions: enough for the server's interface and for a WebDriver.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// A request that gets no answer in this time has failed.
const LIMIT: Duration = Duration::from_secs(90);

/// A status and a body.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Answer {
    /// The body, if the request succeeded.
    pub fn ok(self, what: &str) -> Result<Value> {
        if !(200..300).contains(&self.status) {
            bail!("{what}: {} {}", self.status, self.body);
        }
        Ok(self.body)
    }
}

/// Sends one request to `host:port` and reads the whole answer.
pub fn request(
    method: &str,
    address: &str,
    path: &str,
    token: Option<&str>,
    body: Option<&Value>,
) -> Result<Answer> {
    let mut stream = TcpStream::connect(address).with_context(|| format!("connecting to {address}"))?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    if let Some(token) = token {
        head.push_str(&format!("Authorization: Bearer {token}\r\n"));
    }
    let body = body.map(Value::to_string).unwrap_or_default();
    if !body.is_empty() {
        head.push_str("Content-Type: application/json\r\n");
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    stream.write_all(format!("{head}{body}").as_bytes())?;
    let bytes = read_answer(&mut stream).with_context(|| format!("reading the answer to {method} {path}"))?;
    parse(&bytes).with_context(|| format!("the answer to {method} {path}"))
}

/// Reads until the body is complete; some servers keep the connection open although they were asked not to.
fn read_answer(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = stream.read(&mut buffer)?;
        bytes.extend_from_slice(&buffer[..count]);
        if count == 0 || whole_length(&bytes).is_some_and(|length| bytes.len() >= length) {
            return Ok(bytes);
        }
    }
}

fn whole_length(bytes: &[u8]) -> Option<usize> {
    let split = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..split]).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"))?;
    Some(split + 4 + length.trim().parse::<usize>().ok()?)
}

fn parse(bytes: &[u8]) -> Result<Answer> {
    let split = bytes.windows(4).position(|four| four == b"\r\n\r\n").context("no end of the head")?;
    let head = String::from_utf8_lossy(&bytes[..split]).to_lowercase();
    let status =
        head.split_whitespace().nth(1).and_then(|status| status.parse().ok()).context("no status")?;
    let body = &bytes[split + 4..];
    let body = if head.contains("transfer-encoding: chunked") { joined(body)? } else { body.to_vec() };
    let text = String::from_utf8(body).context("a body in UTF-8")?;
    let body = if text.trim().is_empty() {
        Value::Null
    } else {
        serde_json::from_str(&text).unwrap_or(Value::String(text))
    };
    Ok(Answer { status, body })
}

/// Puts the chunks of a body together.
fn joined(mut rest: &[u8]) -> Result<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n").context("no size of a chunk")?;
        let size = std::str::from_utf8(&rest[..end])?.split(';').next().unwrap_or_default();
        let size = usize::from_str_radix(size.trim(), 16).context("the size of a chunk")?;
        if size == 0 {
            return Ok(whole);
        }
        whole.extend_from_slice(rest.get(end + 2..end + 2 + size).context("a whole chunk")?);
        rest = rest.get(end + 2 + size + 2..).context("the end of a chunk")?;
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn answers_of_both_forms_are_read() {
        let plain = b"HTTP/1.1 201 Created\r\nContent-Length: 9\r\n\r\n{\"a\": 17}";
        let answer = parse(plain).unwrap();
        assert_eq!((answer.status, answer.body["a"].as_i64()), (201, Some(17)));
        let chunked =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n{\"a\"\r\n4;x=y\r\n: 1}\r\n0\r\n\r\n";
        assert_eq!(parse(chunked).unwrap().body["a"], 1);
        assert_eq!(whole_length(plain), Some(plain.len()));
        assert_eq!(whole_length(chunked), None);
        let empty = b"HTTP/1.1 204 No Content\r\n\r\n";
        assert_eq!(parse(empty).unwrap().body, Value::Null);
    }
}

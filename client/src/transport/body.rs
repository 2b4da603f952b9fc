//! Bodies of HTTP answers, read up to a limit: the other side decides how much it sends.

use reqwest::Response;

/// Why a body was not read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyError {
    /// The connection ended, or the time was over.
    Cut,
    /// It is longer than the limit. What came of it was dropped.
    TooLarge,
}

/// Reads a whole body of at most `bytes_max`. A body that announces more is not read at all.
pub(super) async fn read(mut answer: Response, bytes_max: usize) -> Result<Vec<u8>, BodyError> {
    let announced = answer.content_length().unwrap_or_default();
    if announced > bytes_max as u64 {
        return Err(BodyError::TooLarge);
    }
    // Within the limit, so the announced length cannot reserve more than that.
    let mut body = Vec::with_capacity(announced as usize);
    while let Some(part) = answer.chunk().await.map_err(|_| BodyError::Cut)? {
        if body.len() + part.len() > bytes_max {
            return Err(BodyError::TooLarge);
        }
        body.extend_from_slice(&part);
    }
    Ok(body)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    /// A server that answers one request with this head, and then with a body that never ends. Returns its address.
    pub(in crate::transport) async fn endless(head: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut tcp, _) = listener.accept().await.unwrap();
            let _request = tcp.read(&mut [0; 4096]).await.unwrap();
            tcp.write_all(head.as_bytes()).await.unwrap();
            // A JSON text that could still become a whole one. It ends when the other side has had enough.
            let part = format!("{:x}\r\n{}\r\n", 64 * 1024, " ".repeat(64 * 1024));
            while tcp.write_all(part.as_bytes()).await.is_ok() {}
        });
        address
    }

    /// Chunks of unknown total length.
    pub(in crate::transport) const CHUNKED: &str =
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";

    async fn answer(head: &'static str) -> Response {
        reqwest::get(endless(head).await).await.unwrap()
    }

    #[tokio::test]
    async fn a_body_that_does_not_end_is_given_up() {
        assert_eq!(read(answer(CHUNKED).await, 100_000).await, Err(BodyError::TooLarge));
    }

    #[tokio::test]
    async fn a_body_that_announces_too_much_is_not_read() {
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 100001\r\n\r\n";
        assert_eq!(read(answer(head).await, 100_000).await, Err(BodyError::TooLarge));
    }

    #[tokio::test]
    async fn a_body_of_the_limit_is_read_whole() {
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n";
        assert_eq!(read(answer(head).await, 100_000).await.map(|body| body.len()), Ok(100_000));
    }
}

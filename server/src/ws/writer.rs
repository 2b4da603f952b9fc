//! The writing half of a socket: takes what waits, writes it together, flushes once (L3).

use crate::hub::Outbox;
use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures_util::{SinkExt, stream::SplitSink};
use kith_protocol::{ServerFrame, error::close, frame::Bye, limits};
use std::{future::Future, sync::Arc, time::Duration};
use tokio::time::{MissedTickBehavior, interval, timeout};

/// A connection that ends gets this long to take the rest.
const LAST_WORDS_WITHIN: Duration = Duration::from_secs(2);

type Sink = SplitSink<WebSocket, Message>;

struct Ended {
    /// No byte was taken for too long.
    is_slow: bool,
}

/// Writes `first`, then whatever comes into the outbox, until it is closed or the socket breaks.
///
/// A write that takes longer than `deadline` ends the connection.
pub async fn run(mut sink: Sink, outbox: Arc<Outbox>, first: Vec<ServerFrame>, deadline: Duration) {
    if let Err(ended) = write_on(&mut sink, &outbox, first, deadline).await {
        if ended.is_slow {
            outbox.given_up();
        }
        // The reader learns of it by the outbox, whatever the reason was.
        outbox.close(close::SLOW);
    }
    let code = outbox.closing().unwrap_or(close::NORMAL);
    let farewell = async {
        if code != close::SLOW && code != close::TOO_LARGE && code != close::INVALID_UTF8 {
            // Whoever is signed out gets nothing further of what was written.
            let rest = if code == close::REVOKED { Vec::new() } else { outbox.take_all() };
            for frame in rest {
                sink.feed(text(&frame)).await?;
            }
            let bye = ServerFrame::Bye(Bye { code, after_ms: outbox.back_after_ms() });
            sink.feed(Message::Text(bye.encode().into())).await?;
        }
        sink.send(Message::Close(Some(CloseFrame { code, reason: "".into() }))).await
    };
    if !matches!(timeout(LAST_WORDS_WITHIN, farewell).await, Ok(Ok(()))) {
        tracing::debug!(code, "a socket went without a farewell");
    }
}

async fn write_on(
    sink: &mut Sink,
    outbox: &Outbox,
    first: Vec<ServerFrame>,
    deadline: Duration,
) -> Result<(), Ended> {
    for frame in first {
        within(outbox, deadline, sink.feed(Message::Text(frame.encode().into()))).await?;
    }
    within(outbox, deadline, sink.flush()).await?;
    let mut pings = interval(limits::PING_EVERY);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pings.tick().await;
    while outbox.closing().is_none() {
        tokio::select! {
            () = outbox.ready() => {
                for frame in outbox.take() {
                    within(outbox, deadline, sink.feed(text(&frame))).await?;
                }
            }
            _ = pings.tick() => {
                outbox.forget_floors();
                within(outbox, deadline, sink.feed(Message::Ping(Default::default()))).await?;
            }
        }
        within(outbox, deadline, sink.flush()).await?;
        outbox.written();
    }
    Ok(())
}

fn text(frame: &str) -> Message {
    Message::Text(frame.into())
}

/// No byte until the deadline ends the connection (L2), and so does a close: a write that stands still is given up.
async fn within<E>(
    outbox: &Outbox,
    deadline: Duration,
    writing: impl Future<Output = Result<(), E>>,
) -> Result<(), Ended> {
    tokio::select! {
        biased;
        written = timeout(deadline, writing) => match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Ended { is_slow: false }),
            Err(_) => Err(Ended { is_slow: true }),
        },
        () = outbox.closed() => Err(Ended { is_slow: false }),
    }
}

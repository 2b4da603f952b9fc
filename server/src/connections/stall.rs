//! A stream whose writes have a deadline: a client that takes its answer a byte at a time does not hold it for ever.

use super::Entered;
use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

/// From the first write that has to wait until everything is written. Bytes on the way do not extend it.
const WRITTEN_WITHIN: Duration = Duration::from_secs(30);

/// Lifts the deadline of a stream, for a socket: its writer has a deadline of its own (L2).
#[derive(Debug, Clone, Default)]
pub struct Unstalled(Arc<AtomicBool>);

impl Unstalled {
    /// From here on writes have no deadline.
    pub fn lift(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A stream whose writes end with an error when they are not done in [`WRITTEN_WITHIN`].
#[derive(Debug)]
pub struct Stall<S> {
    stream: S,
    lifted: Unstalled,
    /// A socket outlives the request that asked for it, so its place is kept here.
    _entered: Entered,
    within: Duration,
    /// Runs while something waits to be written.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> Stall<S> {
    /// Wraps a stream, which is counted until it is closed.
    pub fn new(stream: S, entered: Entered) -> Self {
        Self {
            stream,
            lifted: Unstalled::default(),
            _entered: entered,
            within: WRITTEN_WITHIN,
            deadline: None,
        }
    }

    /// What lifts the deadline.
    pub fn lifted(&self) -> Unstalled {
        self.lifted.clone()
    }

    /// A write has to wait: not beyond the deadline.
    fn waits(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.lifted.0.load(Ordering::Relaxed) {
            self.deadline = None;
            return Ok(());
        }
        let deadline =
            self.deadline.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + self.within)));
        match deadline.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }

    /// Waiting, or the error of a wait that is too long. Also called where bytes went, so that they do not extend it.
    fn limited<T>(&mut self, cx: &mut Context<'_>, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if (done.is_pending() || self.deadline.is_some())
            && let Err(error) = self.waits(cx)
        {
            return Poll::Ready(Err(error));
        }
        done
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Stall<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Stall<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.limited(cx, done)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.limited(cx, done)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Called when all that there was is written: the next write begins anew.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_flush(cx);
        if done.is_ready() {
            self.deadline = None;
            return done;
        }
        self.limited(cx, done)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.limited(cx, done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Config, connections::Connections};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, duplex},
        time::{interval, timeout},
    };

    const WITHIN: Duration = Duration::from_millis(400);

    fn stall<S>(stream: S) -> Stall<S> {
        Stall {
            within: WITHIN,
            ..Stall::new(stream, Connections::new(&Config::for_tests()).enter(None).unwrap())
        }
    }

    /// Takes a byte every 10 ms, at most so many.
    async fn dribbling(mut reader: impl AsyncRead + Unpin, bytes: usize) {
        let mut ticks = interval(Duration::from_millis(10));
        for _ in 0..bytes {
            ticks.tick().await;
            if reader.read_u8().await.is_err() {
                return;
            }
        }
    }

    #[tokio::test]
    async fn sec_028_a_reader_who_takes_a_byte_at_a_time_does_not_extend_the_deadline() {
        let (near, far) = duplex(16);
        let mut stream = stall(near);
        let begun = Instant::now();
        let written = async {
            let written = stream.write_all(&[0; 1 << 20]).await;
            drop(stream);
            written
        };
        let both = async { tokio::join!(written, dribbling(far, 1 << 20)) };
        let (written, ()) = timeout(Duration::from_secs(20), both).await.expect("held");
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() >= WITHIN);
    }

    #[tokio::test]
    async fn each_answer_has_the_whole_time_and_a_socket_as_much_as_it_needs() {
        for (is_lifted, pieces) in [(false, 10), (true, 1)] {
            let (near, far) = duplex(1);
            let mut stream = stall(near);
            if is_lifted {
                stream.lifted().lift();
            }
            let written = async {
                for _ in 0..pieces {
                    stream.write_all(&vec![0; 80 / pieces]).await?;
                    stream.flush().await?;
                }
                Ok::<(), io::Error>(())
            };
            let (written, ()) = tokio::join!(written, dribbling(far, 80));
            written.unwrap();
        }
    }
}

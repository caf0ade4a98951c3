//! What clients may hold before anybody knows them: connections, and answers that they do not take.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::AbortHandle;
use tokio::time::{Sleep, sleep};

/// Most connections that are open at the same time. A further one ends the oldest that nothing is read or followed for.
pub const CONNECTIONS: usize = 256;
/// Time after which a connection ends whose client takes nothing of an answer.
pub const STALLED: Duration = Duration::from_secs(30);

/// Mark of a connection that has to stay, shared by it and the list of all: it has an admitted request that is being
/// answered, or the stream of one.
#[derive(Clone, Debug, Default)]
pub struct Kept(Arc<AtomicBool>);

impl Kept {
    /// Says if the connection has to stay.
    pub fn set(&self, is_kept: bool) {
        self.0.store(is_kept, Ordering::Relaxed);
    }

    fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The open connections, the oldest first.
#[derive(Debug, Default)]
pub struct Connections(VecDeque<(AbortHandle, Kept)>);

impl Connections {
    /// Makes room for one more. Returns false if each has to stay.
    pub fn make_room(&mut self) -> bool {
        self.0.retain(|(task, _)| !task.is_finished());
        if self.0.len() < CONNECTIONS {
            return true;
        }
        let oldest = self.0.iter().position(|(_, kept)| !kept.get());
        oldest.and_then(|oldest| self.0.remove(oldest)).inspect(|(task, _)| task.abort()).is_some()
    }

    /// Adds the newest.
    pub fn push(&mut self, task: AbortHandle, kept: Kept) {
        self.0.push_back((task, kept));
    }
}

/// A connection, the writes of which fail once its client has taken nothing for [`STALLED`].
pub struct Impatient<T> {
    io: T,
    /// Runs while a write waits.
    until: Option<Pin<Box<Sleep>>>,
}

impl<T> Impatient<T> {
    /// Wraps a connection.
    pub fn new(io: T) -> Self {
        Self { io, until: None }
    }

    fn wait_for(&mut self, written: Poll<io::Result<usize>>, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.until = None;
            return written;
        }
        let until = self.until.get_or_insert_with(|| Box::pin(sleep(STALLED)));
        until.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Impatient<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Impatient<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(context, bytes);
        self.wait_for(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(context, parts);
        self.wait_for(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn a_write_fails_once_nothing_was_taken_for_a_while() {
        let (mut client, server) = duplex(4);
        let begun = Instant::now();
        let written = tokio::spawn(async move { Impatient::new(server).write_all(&[1; 16]).await });
        for _ in 0..2 {
            sleep(STALLED / 2 + Duration::from_secs(1)).await;
            client.read_exact(&mut [0; 4]).await.unwrap();
        }
        let error = written.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed().as_secs(), 2 * STALLED.as_secs() + 2, "each byte that is taken counts");
    }

    #[tokio::test]
    async fn the_oldest_goes_that_nothing_is_done_for() {
        let mut open = Connections::default();
        let mut tasks = Vec::new();
        for number in 0..CONNECTIONS {
            assert!(open.make_room());
            let (task, kept) = (tokio::spawn(std::future::pending::<()>()), Kept::default());
            kept.set(number != 3);
            open.push(task.abort_handle(), kept);
            tasks.push(task);
        }
        assert!(open.make_room());
        assert!(tasks.remove(3).await.unwrap_err().is_cancelled());
        let kept = Kept::default();
        kept.set(true);
        open.push(tokio::spawn(std::future::pending::<()>()).abort_handle(), kept);
        assert!(!open.make_room(), "all have to stay");
        tasks[0].abort();
        assert!(tasks.remove(0).await.unwrap_err().is_cancelled());
        assert!(open.make_room(), "one has ended");
    }
}

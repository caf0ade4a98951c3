//! Accepts connections of HTTP, and bounds what clients may hold before anybody knows them: connections, and answers that
//! they do not take.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::TokioTimer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio::time::{Sleep, sleep};
use tracing::warn;

/// Time after which a connection ends whose client takes nothing of an answer.
pub const STALLED: Duration = Duration::from_secs(30);
/// Most bytes of a request, and of an answer, that a connection keeps. Twice the longest token.
pub const BUFFER: usize = 32 * 1_024;
/// Wait after a connection could not be accepted, for example since there are no more file descriptors.
const AFTER_ERROR: Duration = Duration::from_secs(1);

/// Gives each connection of a listener to `converse`, until this future is dropped; connections that are open then end
/// with the runtime. At most `most` are open at the same time: a further one ends the oldest that does not have to stay,
/// and if all have to, it is closed itself.
pub async fn accept<C, F>(listener: TcpListener, most: usize, converse: C) -> Infallible
where
    C: Fn(Impatient<TcpStream>, Kept) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    accept_from(|context| listener.poll_accept(context).map_ok(|(stream, _)| stream), most, converse).await
}

async fn accept_from<T, A, C, F>(mut poll_accept: A, most: usize, converse: C) -> Infallible
where
    A: FnMut(&mut Context<'_>) -> Poll<io::Result<T>>,
    C: Fn(Impatient<T>, Kept) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let mut open = Connections::new(most);
    loop {
        match std::future::poll_fn(&mut poll_accept).await {
            Ok(stream) if open.make_room() => {
                let kept = Kept::default();
                let task = tokio::spawn(converse(Impatient::new(stream), kept.clone()));
                open.push(task.abort_handle(), kept);
            }
            Ok(_) => {}
            Err(error) => {
                warn!(%error, "failed to accept a connection");
                sleep(AFTER_ERROR).await;
            }
        }
    }
}

/// Returns what answers the requests of a connection. A client has this time to send the headers of its next request.
pub fn http(headers_within: Duration) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(headers_within).max_buf_size(BUFFER);
    http
}

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

/// The open connections.
#[derive(Debug)]
struct Connections {
    /// The oldest first.
    open: VecDeque<(AbortHandle, Kept)>,
    most: usize,
}

impl Connections {
    fn new(most: usize) -> Self {
        Self { open: VecDeque::new(), most }
    }

    /// Makes room for one more. Returns false if each has to stay.
    fn make_room(&mut self) -> bool {
        self.open.retain(|(task, _)| !task.is_finished());
        if self.open.len() < self.most {
            return true;
        }
        let oldest = self.open.iter().position(|(_, kept)| !kept.get());
        oldest.and_then(|oldest| self.open.remove(oldest)).inspect(|(task, _)| task.abort()).is_some()
    }

    /// Adds the newest.
    fn push(&mut self, task: AbortHandle, kept: Kept) {
        self.open.push_back((task, kept));
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
        const MOST: usize = 8;
        let mut open = Connections::new(MOST);
        let mut tasks = Vec::new();
        for number in 0..MOST {
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

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_can_not_be_accepted_is_no_end_and_keeps_no_processor_busy() {
        let begun = Instant::now();
        let (mut asked, (told, mut conversed)) = (0, tokio::sync::mpsc::unbounded_channel());
        let next = |_: &mut Context<'_>| {
            asked += 1;
            match asked {
                1 | 3 => Poll::Ready(Err(io::Error::other("too many open files"))),
                2 | 4 => Poll::Ready(Ok(duplex(1).0)),
                _ => Poll::Pending,
            }
        };
        let converse = |_, _| {
            let told = told.clone();
            async move { told.send(Instant::now()).unwrap_or_default() }
        };
        let accepting = accept_from(next, 1, converse);
        let two = async {
            for seconds in [1, 2] {
                assert_eq!((conversed.recv().await.unwrap() - begun).as_secs(), seconds);
            }
        };
        tokio::select! {
            _ = accepting => {}
            () = two => {}
        }
    }
}

//! Answers requests for the page and its data.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, Stream, StreamExt};
use hyper::body::{Body as _, Bytes, Frame, Incoming};
use hyper::header::{AUTHORIZATION, CONNECTION, HOST, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use migration_program::connections::{self, Kept};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};
use tracing::debug;

use crate::answer::{self, Answer};
use crate::assets::asset;
use crate::board::{Board, Seen};
use crate::events::events;
use crate::export::export;
use crate::follow;
use crate::guard::{Guard, Refusal, bearer};
use crate::readings::{ReadingError, Readings, Shares};
use crate::route::{FailureForm, Route, RouteError};
use crate::source::{FailureQuery, Source, SourceError};
use crate::view::JobName;

/// Most connections that are open at the same time. A further one ends the oldest that nothing is read or followed for.
const CONNECTIONS: usize = 256;
/// Most streams of events that are open at the same time.
const STREAMS: u32 = 64;
/// Most exports that are open at the same time: each keeps a page of failures in memory.
const EXPORTS: usize = 16;
/// Most streams of events and exports that are open at the same time for a token.
const STREAMS_OF_TOKEN: usize = 8;
/// Time for which a request waits for its turn to read failures.
const TURN_WITHIN: Duration = Duration::from_secs(10);
/// Time in which a client has to send the headers of its next request.
const HEADERS_WITHIN: Duration = Duration::from_secs(15);

/// The page of a board.
pub struct Site<G, S> {
    guard: G,
    board: Board,
    readings: Arc<Readings<S>>,
    streams: Arc<Semaphore>,
    exports: Arc<Semaphore>,
    /// By a digest of the token.
    of_tokens: Shares<[u8; 32]>,
}

impl<G: Guard, S: Source> Site<G, S> {
    /// Creates the page of a board, whose failures are read from `source`.
    pub fn new(guard: G, source: Arc<S>, board: Board) -> Self {
        let streams = Arc::new(Semaphore::new(usize::try_from(STREAMS).unwrap_or(1)));
        Self {
            guard,
            board,
            readings: Arc::new(Readings::new(source)),
            streams,
            exports: Arc::new(Semaphore::new(EXPORTS)),
            of_tokens: Shares::new(STREAMS_OF_TOKEN),
        }
    }

    /// Serves the page until it is dropped; connections that are open then end with the runtime.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) -> Infallible {
        connections::accept(listener, CONNECTIONS, |stream, kept| self.clone().converse(stream, kept)).await
    }

    /// Waits until no stream of events is open, which they are for some seconds after the board was closed.
    pub async fn drained(&self) {
        let _ = self.streams.acquire_many(STREAMS).await;
    }

    async fn converse<T>(self: Arc<Self>, stream: T, kept: Kept)
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let service = service_fn(|request: Request<Incoming>| {
            let (site, kept, (head, _)) = (self.clone(), kept.clone(), request.into_parts());
            async move {
                let mut answer = site.answer(&head, &kept).await;
                let is_stream = answer.body().size_hint().exact().is_none();
                kept.set(is_stream);
                if is_stream {
                    // What has to stay ends with the stream.
                    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(answer)
            }
        });
        let http = connections::http(HEADERS_WITHIN);
        if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
            debug!(%error, "failed to answer an HTTP request");
        }
    }

    /// Answers a request. Nothing is read for it before it is admitted.
    async fn answer(&self, request: &Parts, kept: &Kept) -> Answer {
        let header = |name: HeaderName| request.headers.get(name).and_then(|value| value.to_str().ok());
        if !header(HOST).is_some_and(|host| self.guard.is_host(host)) {
            return answer::error(StatusCode::MISDIRECTED_REQUEST, "this host is not served here");
        }
        if request.method != Method::GET && request.method != Method::HEAD {
            return answer::error(StatusCode::METHOD_NOT_ALLOWED, "this page only reads");
        }
        let token = header(AUTHORIZATION).and_then(bearer);
        let route = match Route::parse(request.uri.path(), request.uri.query().unwrap_or_default()) {
            Ok(route) => route,
            // Who has no token does not learn what there is.
            Err(_) if token.is_none() => return answer::refused(&Refusal::Unauthenticated),
            Err(error @ RouteError::Path) => return answer::error(StatusCode::NOT_FOUND, &error.to_string()),
            Err(error @ RouteError::Parameter(_)) => return answer::error(StatusCode::BAD_REQUEST, &error.to_string()),
        };
        if let Some(wanted) = route.wanted() {
            let Some(token) = token else { return answer::refused(&Refusal::Unauthenticated) };
            if let Err(refusal) = self.guard.admit(token, wanted).await {
                return answer::refused(&refusal);
            }
            kept.set(true);
        }
        self.admitted(route, token).await
    }

    async fn admitted(&self, route: Route, token: Option<&str>) -> Answer {
        match route {
            Route::File(path) => match asset(&path) {
                Some(page) if path == "/" && token.is_none() => answer::file(self.guard.page_without_token(), page),
                Some(file) => answer::file(StatusCode::OK, file),
                None => answer::error(StatusCode::NOT_FOUND, &RouteError::Path.to_string()),
            },
            Route::Jobs { namespace, follow: false } => answer::json(self.board.list(namespace.as_deref())),
            Route::Jobs { namespace, follow: true } => self.follow(token, follow::jobs(self.board.clone(), namespace)),
            // A job that was not read yet is not one that is gone. A list says that it is not complete.
            Route::Job { .. } | Route::Scan(_) | Route::Failures { .. } if !self.board.is_complete() => {
                answer::error(StatusCode::SERVICE_UNAVAILABLE, "the jobs are being read: try again")
            }
            Route::Job { job, follow: false } => self.board.page(&job).map_or_else(no_job, answer::json),
            // A client does not try again what it is told to be gone.
            Route::Job { job, follow: true } if self.board.job(&job).is_none() => no_job(),
            Route::Job { job, follow: true } => self.follow(token, follow::job(self.board.clone(), job)),
            Route::Scan(job) | Route::Failures { job, .. } if self.board.job(&job).is_none() => no_job(),
            Route::Scan(job) => match self.readings.scan(&job, TURN_WITHIN).await {
                Ok(scan) => answer::json(scan.json()),
                Err(error) => unread(&error),
            },
            Route::Failures { job, query, form } => self.failures(job, query, form, token).await,
        }
    }

    fn follow(&self, token: Option<&str>, look: impl FnMut() -> Seen + Send + 'static) -> Answer {
        match (self.streams.clone().try_acquire_owned(), self.place(token)) {
            (Ok(permit), Ok(place)) => answer::events(holding(events(self.board.subscribe(), permit, look), place)),
            _ => answer::error(StatusCode::SERVICE_UNAVAILABLE, "too many pages are open: close some"),
        }
    }

    /// Takes a place of those that the bearer of a token may have at the same time.
    fn place(&self, token: Option<&str>) -> Result<OwnedSemaphorePermit, TryAcquireError> {
        self.of_tokens.of(Sha256::digest(token.unwrap_or_default()).into()).try_acquire_owned()
    }

    async fn failures(&self, job: JobName, query: FailureQuery, form: FailureForm, token: Option<&str>) -> Answer {
        let read = match form {
            FailureForm::Rows => {
                self.readings.page(&job, &query, TURN_WITHIN).await.map(|page| answer::json(page.rows()))
            }
            FailureForm::Counts => {
                self.readings.page(&job, &query, TURN_WITHIN).await.map(|page| answer::json(page.counts()))
            }
            FailureForm::Csv => {
                let (Ok(permit), Ok(place)) = (self.exports.clone().try_acquire_owned(), self.place(token)) else {
                    return answer::error(StatusCode::SERVICE_UNAVAILABLE, "too many files are being saved: try again");
                };
                let file = export(self.readings.clone(), job, query, TURN_WITHIN).await;
                file.map(|file| answer::csv(holding(file, (permit, place))))
            }
        };
        read.unwrap_or_else(|error| unread(&error))
    }
}

/// Returns the answer to a request for something of a ledger that could not be read.
fn unread(error: &ReadingError) -> Answer {
    let status = match error {
        ReadingError::Busy => StatusCode::SERVICE_UNAVAILABLE,
        ReadingError::Late => StatusCode::GATEWAY_TIMEOUT,
        ReadingError::Source(SourceError::NoRun) => StatusCode::NOT_FOUND,
        ReadingError::Source(SourceError::Ledger(_)) => StatusCode::BAD_GATEWAY,
    };
    answer::error(status, &error.to_string())
}

fn no_job() -> Answer {
    answer::error(StatusCode::NOT_FOUND, "there is no such job")
}

/// Returns a stream that holds something as long as it is open.
fn holding<P: Send + 'static>(
    stream: impl Stream<Item = io::Result<Frame<Bytes>>> + Send + 'static,
    permit: P,
) -> impl Stream<Item = io::Result<Frame<Bytes>>> + Send + 'static {
    stream::unfold((Box::pin(stream), permit), |(mut stream, permit)| async move {
        let frame = stream.next().await?;
        Some((frame, (stream, permit)))
    })
}

#[cfg(test)]
mod tests;

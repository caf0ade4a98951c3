//! The thread that executes all requests to the database, many in one transaction.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use futures::executor::block_on;
use migration_core::error::ServiceError;
use migration_core::ports::Operation;
use rusqlite::types::FromSqlError;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};
use tracing::error;

use super::error::{OpenError, closed, damaged, rolled_back, service_error};

/// Requests that may wait; further callers wait to hand in theirs.
const WAITING: usize = 256;

type Requests = mpsc::Receiver<Box<dyn Execute>>;

/// Why work in a transaction failed. Its own changes are undone, those of other requests are not.
#[derive(Debug)]
pub(crate) enum WorkError<E> {
    /// `SQLite` failed.
    Database(rusqlite::Error),
    /// A row is not as it was written.
    Damaged(String),
    /// The request was answered with an error.
    Answer(E),
}

impl<E> From<rusqlite::Error> for WorkError<E> {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

/// A column has a type that is never written.
impl<E> From<FromSqlError> for WorkError<E> {
    fn from(error: FromSqlError) -> Self {
        Self::Damaged(error.to_string())
    }
}

/// Sends requests to the thread. Clones use the same thread.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    requests: mpsc::Sender<Box<dyn Execute>>,
    path: Arc<Path>,
}

impl Database {
    /// Executes work in a transaction and returns its result after the commit. Sees all that was answered before. If
    /// the operation only reads, so must the work.
    pub(crate) async fn execute<T, E, F>(&self, operation: Operation, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<ServiceError> + Send + 'static,
        F: FnOnce(&Connection) -> Result<T, WorkError<E>> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let path = Arc::clone(&self.path);
        let request = Request { operation, path, work: Some(work), outcome: None, answer };
        let closed = || E::from(closed(operation, &self.path));
        self.requests.send(Box::new(request)).await.map_err(|_| closed())?;
        answered.await.unwrap_or_else(|_| Err(closed()))
    }
}

/// The thread. Dropping it executes the requests that wait, and closes the database.
pub(super) struct DatabaseThread {
    database: Database,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl DatabaseThread {
    pub(super) fn start(connection: Connection, path: PathBuf) -> Result<Self, OpenError> {
        let (requests, received) = mpsc::channel(WAITING);
        let (stop, stopped) = oneshot::channel();
        let run = move || run(connection, received, stopped);
        let thread = std::thread::Builder::new().name("state".into()).spawn(run);
        let database = Database { requests, path: path.as_path().into() };
        let thread = thread.map_err(|source| OpenError::File { path, source })?;
        Ok(Self { database, stop: Some(stop), thread: Some(thread) })
    }

    pub(super) fn database(&self) -> Database {
        self.database.clone()
    }
}

impl Drop for DatabaseThread {
    fn drop(&mut self) {
        drop(self.stop.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            error!("failed to end the thread of the state: it panicked");
        }
    }
}

/// Executes requests until it is stopped, then those that are left.
fn run(mut connection: Connection, mut requests: Requests, mut stopped: oneshot::Receiver<()>) {
    loop {
        let next = block_on(async {
            tokio::select! {
                _ = &mut stopped => None,
                request = requests.recv() => request,
            }
        });
        let Some(first) = next else { break };
        commit(&mut connection, waiting(first, &mut requests));
    }
    requests.close();
    while let Ok(first) = requests.try_recv() {
        commit(&mut connection, waiting(first, &mut requests));
    }
    if let Err((_, error)) = connection.close() {
        error!(%error, "failed to close the state");
    }
}

/// Returns the first request and all that wait behind it.
fn waiting(first: Box<dyn Execute>, requests: &mut Requests) -> Vec<Box<dyn Execute>> {
    let mut group = vec![first];
    while group.len() < WAITING
        && let Ok(request) = requests.try_recv()
    {
        group.push(request);
    }
    group
}

/// Executes requests in one transaction, and answers them after its commit.
fn commit(connection: &mut Connection, mut group: Vec<Box<dyn Execute>>) {
    let end = transact(connection, &mut group);
    for request in group {
        request.answer(&end);
    }
}

/// How a transaction ended.
enum End {
    Committed,
    /// `SQLite` rolled all of it back when a request failed.
    RolledBack,
    Failed(rusqlite::Error),
}

fn transact(connection: &mut Connection, group: &mut [Box<dyn Execute>]) -> End {
    let writes = group.iter().any(|request| request.writes());
    let behavior = if writes { TransactionBehavior::Immediate } else { TransactionBehavior::Deferred };
    let mut transaction = match connection.transaction_with_behavior(behavior) {
        Ok(transaction) => transaction,
        Err(error) => return End::Failed(error),
    };
    for request in group {
        request.execute(&mut transaction);
        if transaction.is_autocommit() {
            return End::RolledBack;
        }
    }
    transaction.commit().map_or_else(End::Failed, |()| End::Committed)
}

/// A request of any type.
trait Execute: Send {
    /// Returns true if it may change the database.
    fn writes(&self) -> bool;

    /// Executes it in an open transaction, and keeps the outcome.
    fn execute(&mut self, transaction: &mut Transaction<'_>);

    /// Answers it after the end of the transaction.
    fn answer(self: Box<Self>, end: &End);
}

struct Request<T, E, F> {
    operation: Operation,
    path: Arc<Path>,
    work: Option<F>,
    outcome: Option<Result<T, WorkError<E>>>,
    answer: oneshot::Sender<Result<T, E>>,
}

impl<T, E, F> Execute for Request<T, E, F>
where
    T: Send,
    E: From<ServiceError> + Send,
    F: FnOnce(&Connection) -> Result<T, WorkError<E>> + Send,
{
    fn writes(&self) -> bool {
        self.operation.writes()
    }

    fn execute(&mut self, transaction: &mut Transaction<'_>) {
        let Some(work) = self.work.take() else { return };
        self.outcome = Some(if self.writes() { in_savepoint(transaction, work) } else { work(transaction) });
    }

    /// What a request found is not true if the transaction was rolled back: it may have seen the writes of others.
    fn answer(self: Box<Self>, end: &End) {
        let Self { operation, path, outcome, answer, .. } = *self;
        let answered = match (outcome, end) {
            (Some(Err(WorkError::Database(error))), _) => Err(service_error(operation, &path, &error).into()),
            (_, End::Failed(error)) => Err(service_error(operation, &path, error).into()),
            (_, End::RolledBack) | (None, _) => Err(rolled_back(operation, &path).into()),
            (Some(Err(WorkError::Damaged(detail))), _) => Err(damaged(operation, &path, &detail).into()),
            (Some(Err(WorkError::Answer(error))), _) => Err(error),
            (Some(Ok(value)), End::Committed) => Ok(value),
        };
        // The caller may have gone away.
        let _ = answer.send(answered);
    }
}

/// Does work that is undone as a whole if it fails.
fn in_savepoint<T, E>(
    transaction: &mut Transaction<'_>,
    work: impl FnOnce(&Connection) -> Result<T, WorkError<E>>,
) -> Result<T, WorkError<E>> {
    let savepoint = transaction.savepoint()?;
    let value = work(&savepoint)?;
    savepoint.commit()?;
    Ok(value)
}

#[cfg(test)]
#[path = "database/tests.rs"]
mod tests;

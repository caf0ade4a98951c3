//! Writes of the index, on a thread of their own: whatever waits is written in one transaction.

use std::fs::File;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::directory::Directory;
use super::index::{Batch, commit};

/// Most messages of one transaction.
const GROUP: usize = 1_000;

/// The thread that writes the index. Dropping it writes what was sent.
#[derive(Debug)]
pub(super) struct Journal {
    sender: Option<Sender<Message>>,
    thread: Option<JoinHandle<()>>,
    /// Why the index can't be written any more.
    failure: Arc<OnceLock<String>>,
}

enum Message {
    Batch(Batch),
    /// Asks for an answer when all batches before it are committed, or can't be.
    Flush(oneshot::Sender<()>),
}

impl Journal {
    pub(super) fn start(connection: Connection, directory: &Arc<Directory>) -> std::io::Result<Self> {
        let (sender, receiver) = channel();
        let failure = Arc::new(OnceLock::new());
        let told = failure.clone();
        let thread = thread::Builder::new().name("s3-index".into());
        let names = directory.names()?;
        let directory = Arc::downgrade(directory);
        let run = move || {
            let freeze = || {
                if let Some(directory) = directory.upgrade() {
                    directory.freeze();
                }
            };
            write(connection, &names, &receiver, &told, freeze);
        };
        Ok(Self { sender: Some(sender), thread: Some(thread.spawn(run)?), failure })
    }

    /// Adds changes. They are committed together, after all that were added before.
    pub(super) fn add(&self, batch: Batch) {
        self.send(Message::Batch(batch));
    }

    fn send(&self, message: Message) {
        if let Some(sender) = &self.sender {
            // The thread ends before the sender only if it panics; then a flush has no answer.
            let _ = sender.send(message);
        }
    }

    /// Waits until all that was added is committed. Returns why not if it can't be.
    pub(super) async fn flush(&self) -> Result<(), String> {
        let (answer, answered) = oneshot::channel();
        self.send(Message::Flush(answer));
        let is_answered = answered.await.is_ok();
        match self.failure() {
            Some(failure) => Err(failure.to_owned()),
            None if is_answered => Ok(()),
            None => Err("its thread has ended".to_owned()),
        }
    }

    /// Returns why the index can't be written any more.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            // A panic was reported by the thread itself.
            let _ = thread.join();
        }
    }
}

/// Writes what comes, until the journal is dropped. Contents that were removed are let go after their transaction, and
/// never if it failed: the index still names them.
fn write(
    mut connection: Connection,
    names: &File,
    receiver: &Receiver<Message>,
    failure: &OnceLock<String>,
    freeze: impl Fn(),
) {
    while let Ok(first) = receiver.recv() {
        let (mut batches, mut answers) = (Vec::new(), Vec::new());
        for message in std::iter::once(first).chain(receiver.try_iter().take(GROUP)) {
            match message {
                Message::Batch(batch) => batches.push(batch),
                Message::Flush(answer) => answers.push(answer),
            }
        }
        if failure.get().is_none()
            && !batches.is_empty()
            && let Err(error) = commit_named(&mut connection, names, &batches)
        {
            tracing::error!("failed to write index: {error}");
            freeze();
            let _ = failure.set(error);
        }
        drop(batches);
        for answer in answers {
            // Nobody waits any more.
            let _ = answer.send(());
        }
    }
}

/// Writes batches in one transaction, after the names of the files that they name. The files themselves are on the disk
/// already.
fn commit_named(connection: &mut Connection, names: &File, batches: &[Batch]) -> Result<(), String> {
    names.sync_all().map_err(|error| error.to_string())?;
    commit(connection, batches.iter().flat_map(|batch| &batch.rows)).map_err(|error| error.to_string())
}

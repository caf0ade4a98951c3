//! Sends the parts of an upload concurrently, verifies each, and records the verified ones at intervals.

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use migration_core::ports::{CompletedPart, Write};
use tracing::warn;

use super::error::TransferError;
use super::part::SentPart;
use super::source::Opened;
use super::upload::Upload;
use crate::{Services, traces};

impl<P: Services> Upload<'_, P> {
    /// Sends and verifies these parts, or has the service copy them. Returns the destination's response to each.
    pub(super) async fn send_parts(
        &self,
        numbers: impl Iterator<Item = u32>,
        mut first: Option<Opened>,
    ) -> Result<Vec<CompletedPart>, TransferError> {
        let mut missing = numbers.filter_map(|number| self.layout.part(number));
        if self.server_side {
            let next = || missing.next().map(|part| traces::part(part, self.copy_part(part), TransferError::reason));
            return self.work_on_parts(next).await;
        }
        let next = || {
            let part = missing.next()?;
            let opened = if part.number == 1 { first.take() } else { None };
            Some(traces::part(part, self.send_part(part, opened), TransferError::reason))
        };
        self.work_on_parts(next).await
    }

    /// Processes parts concurrently, remembers the verified ones, and returns the destination's response to each. After
    /// a failure, or when the process stops, starts no more parts, waits for those in flight, and records the verified
    /// ones, so that they are not sent again by the next attempt.
    async fn work_on_parts<F>(&self, mut next: impl FnMut() -> Option<F>) -> Result<Vec<CompletedPart>, TransferError>
    where
        F: Future<Output = Result<SentPart, TransferError>>,
    {
        let process = self.transfer.process;
        let at_once = process.config.transfer.parts_per_file as usize;
        let (mut in_flight, mut recording) = (FuturesUnordered::new(), FuturesUnordered::new());
        let (mut sent, mut failed) = (Vec::new(), None);
        loop {
            while failed.is_none() && in_flight.len() < at_once {
                if process.runtime.stop.is_cancelled() {
                    failed = Some(TransferError::Stopped);
                    break;
                }
                let Some(part) = next() else { break };
                in_flight.push(part);
            }
            if in_flight.is_empty() {
                break;
            }
            tokio::select! {
                biased;
                Some(done) = in_flight.next() => match done {
                    Ok(done) => {
                        self.verified.insert(&done);
                        sent.push(done.part);
                        self.transfer.has_in_place(self.there.len() + sent.len());
                    }
                    Err(error) => { failed.get_or_insert(error); }
                },
                Some(()) = recording.next() => {}
                () = self.verified.due(), if recording.is_empty() => recording.push(self.record_verified()),
            }
        }
        while recording.next().await.is_some() {}
        let Some(failed) = failed else { return Ok(sent) };
        self.record_verified().await;
        Err(failed)
    }

    /// Records the verified parts that the ledger does not contain. If this fails, these parts may be sent again
    /// needlessly.
    async fn record_verified(&self) {
        let Some(write) = self.verified_write() else { return };
        if let Err(error) = self.transfer.process.write(&[write]).await {
            warn!(key = self.transfer.source.key, %error, "failed to record verified parts");
            self.verified.put_back();
        }
    }

    /// Returns the write that records the verified parts, or `None` if the ledger contains all of them.
    pub(super) fn verified_write(&self) -> Option<Write> {
        let unrecorded = self.verified.take_unrecorded()?;
        Some(self.transfer.records.verified_write(&self.id, unrecorded))
    }
}

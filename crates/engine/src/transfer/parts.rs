//! The parts of an upload: many at once, verified one by one, and now and then recorded as verified.

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use migration_core::ports::{CompletedPart, Write};
use tracing::warn;

use super::error::TransferError;
use super::source::Opened;
use super::upload::Upload;
use crate::Services;

impl<P: Services> Upload<'_, P> {
    /// Sends these parts, each verified, or has the service copy them. Gives what the destination answered to each.
    pub(super) async fn send_parts(
        &self,
        numbers: impl Iterator<Item = u32>,
        mut first: Option<Opened>,
    ) -> Result<Vec<CompletedPart>, TransferError> {
        let mut missing = numbers.filter_map(|number| self.layout.part(number));
        if self.server_side {
            return self.work_on_parts(|| missing.next().map(|part| self.copy_part(part))).await;
        }
        let next = || {
            let part = missing.next()?;
            let opened = if part.number == 1 { first.take() } else { None };
            Some(self.send_part(part, opened))
        };
        self.work_on_parts(next).await
    }

    /// Does the work of parts, several at once, gives what the destination answered to each, and remembers which were
    /// verified. When one fails, or the process ends, no new ones are begun, those in flight are waited for, and what was
    /// verified is recorded: who comes next does not send it again.
    async fn work_on_parts<F>(&self, mut next: impl FnMut() -> Option<F>) -> Result<Vec<CompletedPart>, TransferError>
    where
        F: Future<Output = Result<CompletedPart, TransferError>>,
    {
        let process = self.transfer.process;
        let at_once = process.config.transfer.parts_per_file as usize;
        let (mut in_flight, mut recording) = (FuturesUnordered::new(), FuturesUnordered::new());
        let (mut sent, mut failed) = (Vec::new(), None);
        loop {
            while failed.is_none() && in_flight.len() < at_once {
                if process.stop.is_cancelled() {
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
                    Ok(part) => {
                        self.verified.insert(part.number, &part.etag);
                        sent.push(part);
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

    /// Tells the ledger which parts were verified, where it does not know. Where that fails, parts are sent again that
    /// need not be.
    async fn record_verified(&self) {
        let Some(write) = self.verified_write() else { return };
        if let Err(error) = self.transfer.process.write(&[write]).await {
            warn!(key = self.transfer.source.key, %error, "the parts that were verified are not recorded");
            self.verified.put_back();
        }
    }

    /// The write that tells the ledger which parts were verified; none where it knows.
    pub(super) fn verified_write(&self) -> Option<Write> {
        let (first, digests) = self.verified.take_unrecorded()?;
        Some(self.transfer.records.verified_write(&self.id, first, digests))
    }
}

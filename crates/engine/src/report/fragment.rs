//! Writes a worker's fragment of a report.

use md5::{Digest, Md5};
use migration_core::error::ErrorClass;
use migration_core::message::Batch;
use migration_core::outcome::EntryOutcome;
use migration_core::ports::{Attributes, ObjectStore, PutRequest, Tags, WriteCondition};
use migration_core::report::{ReportLine, piece_name};
use tracing::warn;

use crate::{Interruption, Process, Services};

/// Tries to write an object of a report.
pub(super) const TRIES: u32 = 5;

/// Writes the results of a batch, if the report wants them, and returns the fragment's name. A fragment that cannot be
/// written is missing from the report, which says so: objects are not transferred again for it. One that the process
/// has no time for when it stops is left to the next delivery of the batch.
pub(crate) async fn write_fragment<P: Services>(
    process: &Process<P>,
    batch: &Batch,
    outcomes: &[EntryOutcome],
    now: i64,
) -> Result<Option<String>, Interruption> {
    let Some(settings) = process.config.report.as_ref().filter(|settings| settings.wants(batch)) else {
        return Ok(None);
    };
    let lines = batch.objects.iter().zip(outcomes);
    let lines = lines.filter_map(|(entry, outcome)| ReportLine::of_outcome(batch, entry, outcome, now));
    let body: String = lines.map(|line| line.json()).collect();
    if body.is_empty() {
        return Ok(None);
    }
    let name = piece_name(batch, &process.next_name(), now);
    let key = format!("{}{name}", settings.root(&process.config.job, &batch.run));
    let written = put(process, &settings.bucket, &key, body.into(), "application/x-ndjson").await;
    match written {
        Ok(()) => Ok(Some(name)),
        Err(Interruption::Service(error)) => {
            warn!(%error, bucket = settings.bucket, key, "the results of a batch will be missing from the report");
            Ok(None)
        }
        Err(Interruption::Stopped) => Err(Interruption::Stopped),
    }
}

/// Writes an object of a report. Not through the destination's gate: a denied bucket of reports must not pause
/// transfers to other buckets.
pub(super) async fn put<P: Services>(
    process: &Process<P>,
    bucket: &str,
    key: &str,
    body: bytes::Bytes,
    content_type: &str,
) -> Result<(), Interruption> {
    let attributes = Attributes { content_type: Some(content_type.to_owned()), ..Attributes::default() };
    let md5 = Md5::digest(&body).into();
    let (condition, tags) = (WriteCondition::Any, Tags::default());
    let mut tries = 0;
    loop {
        let request = PutRequest {
            bucket,
            key,
            body: body.clone(),
            md5,
            attributes: &attributes,
            tags: &tags,
            condition: &condition,
        };
        let Err(error) = process.reports().put(request).await else { return Ok(()) };
        tries += 1;
        match error.class {
            ErrorClass::Stopped => return Err(Interruption::Stopped),
            _ if !error.is_retryable() || tries == TRIES => return Err(error.into()),
            _ => process.back_off(tries - 1).await?,
        }
    }
}

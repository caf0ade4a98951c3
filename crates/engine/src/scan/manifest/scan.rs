//! Scans the rows of a pair: looks up many at once and processes the results in order, so that a checkpoint is a
//! position in the list.

use std::collections::VecDeque;
use std::sync::Arc;

use migration_core::manifest::Position;
use migration_core::operation::RequestInfo;
use migration_core::pair::BucketPair;
use migration_core::ports::{ListRequest, ObjectStore, Operation};
use migration_core::records::ScanCounts;
use tokio_util::task::AbortOnDropHandle;

use super::super::ScanError;
use super::super::merge::{Scan, Scanner};
use super::super::range::OpenRange;
use super::lookup::{Looked, look};
use super::rows::Rows;
use super::{Manifest, ManifestError};
use crate::log_context::inherit;
use crate::{Process, Services};

/// Rows of a pair looked up at once: about 1,300 rows a second at 50 ms per request.
const AT_ONCE: usize = 64;

type Lookup = AbortOnDropHandle<Result<Looked, ScanError>>;

/// Scans the rows of a range's pair to the end and returns the counts.
pub(in super::super) async fn scan_rows<P: Services>(
    scanner: &Arc<Scanner<P>>,
    manifest: &Arc<Manifest>,
    range: &Arc<OpenRange>,
) -> Result<ScanCounts, ScanError> {
    let process = &scanner.process;
    let behind = begin_of(manifest, range)?;
    prove_buckets(process, &range.pair).await?;
    let pairs: Arc<[BucketPair]> = scanner.run.record().await.pairs.into();
    let mut rows = Rows::open(process.clone(), manifest.clone(), pairs, range.pair.clone(), behind);
    let mut scan = Scan::new(scanner, range);
    let mut looks: VecDeque<(Position, Lookup)> = VecDeque::new();
    loop {
        while looks.len() < AT_ONCE {
            let Some((position, row)) = rows.next().await? else { break };
            let look = tokio::spawn(inherit(look(scanner.clone(), range.clone(), row)));
            looks.push_back((position, AbortOnDropHandle::new(look)));
        }
        let Some((position, look)) = looks.pop_front() else { break };
        let looked = look.await.map_err(|error| ScanError::Broken(error.to_string()))??;
        let is_due = scan.is_checkpoint_due();
        scan.take(looked).await?;
        if is_due {
            scan.checkpoint(position.to_string()).await?;
        } else {
            scan.tell_counts();
        }
    }
    scan.end().await
}

/// Returns the position after which to continue after a jobsender was killed.
fn begin_of(manifest: &Manifest, range: &OpenRange) -> Result<Option<Position>, ScanError> {
    let Some(begin) = &range.begin else { return Ok(None) };
    let position = begin.parse::<Position>().ok().filter(|position| position.list == manifest.list);
    let (bucket, key) = (manifest.location.bucket.clone(), manifest.location.key.clone());
    position.map(Some).ok_or_else(|| ManifestError::Replaced { bucket, key }.into())
}

/// Checks that both buckets exist and answer, since a HEAD reports objects of a missing bucket as absent.
async fn prove_buckets<P: Services>(process: &Process<P>, pair: &BucketPair) -> Result<(), ScanError> {
    let one = |bucket| ListRequest { bucket, prefix: "", start_after: None, continuation: None, max_keys: Some(1) };
    let (source, destination) = (one(&pair.source_bucket), one(&pair.destination_bucket));
    tokio::try_join!(
        process.source(RequestInfo::whole(Operation::ListObjects, source.bucket), || process.ports.source.list(source)),
        process.destination(RequestInfo::whole(Operation::ListObjects, destination.bucket), || process
            .ports
            .destination
            .list(destination)),
    )?;
    Ok(())
}

impl<P: Services> Scan<'_, P> {
    async fn take(&mut self, looked: Looked) -> Result<(), ScanError> {
        match looked {
            Looked::Judged { source, there, verdict } => self.act(source, there, verdict).await,
            Looked::Hidden(object) => {
                self.hide(&object);
                Ok(())
            }
            Looked::Gone(object) => {
                self.pass_over(&object);
                Ok(())
            }
            Looked::Unmovable(object, failure) => self.leave_out(&object, failure).await,
        }
    }
}

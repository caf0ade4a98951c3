//! Compares one object with its copy, by listings and further requests where they do not suffice.

use bytes::{Buf, Bytes};
use futures::StreamExt;
use migration_core::compare::{
    CompareContext, Difference, Evidence, Verdict, compare, compare_checksums, compare_version,
};
use migration_core::error::ServiceError;
use migration_core::object::ListedObject;
use migration_core::operation::RequestInfo;
use migration_core::pair::BucketPair;
use migration_core::ports::{
    ByteStream, Checksum, GetRequest, GetResponse, HeadRequest, ObjectHead, ObjectStore, Operation, Span,
};
use migration_core::verification::{Judgement, VerifyMethod, judge, judge_checksums};
use tokio::sync::Semaphore;
use tracing::warn;

use super::ScanError;
use crate::{Interruption, Process, Services};

/// Tries to read both bodies to their end.
const READS: u32 = 5;

/// Objects of all ranges that are read at once, each with its copy: connections hold up to half a MiB of a body, so this
/// is 16 MiB at most.
pub(super) const READ_AT_ONCE: usize = 16;

/// Result of comparing two bodies, as far as they were read.
enum Compared {
    /// This many bytes are equal, and both bodies end there.
    Same(u64),
    /// They differ.
    Different,
    /// This many bytes are equal; then a body broke off.
    Broken(u64),
}

/// Results of earlier runs for an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Memory {
    /// True if the last run failed to transfer it.
    pub(super) failed_last: bool,
    /// The version copied last, if versions are compared.
    pub(super) version_id: Option<String>,
}

/// Compares the objects of one pair.
pub(super) struct Judge<'a, P: Services> {
    pub(super) process: &'a Process<P>,
    pub(super) pair: &'a BucketPair,
    pub(super) context: CompareContext,
    /// The method, if only content is compared.
    pub(super) verify: Option<VerifyMethod>,
    /// Places for verdicts that read an object and its copy.
    pub(super) reading: &'a Semaphore,
}

impl<P: Services> Judge<'_, P> {
    /// Returns the context for comparing an object.
    pub(super) fn context(&self, memory: &Memory) -> CompareContext {
        CompareContext { failed_last: memory.failed_last, ..self.context }
    }

    /// Returns the verdict about an object if it takes no request.
    pub(super) fn at_once(
        &self,
        source: &ListedObject,
        there: Option<&ListedObject>,
        memory: &Memory,
    ) -> Option<Verdict> {
        if let Some(method) = self.verify {
            return match (judge(source, there, method, self.context.opaque_etags), there) {
                (Judgement::Differs(difference), _) => Some(Verdict::Transfer(difference)),
                (Judgement::Same(evidence), _) => Some(Verdict::InPlace(evidence)),
                (Judgement::AskForChecksums | Judgement::Read, Some(_)) => None,
                (Judgement::AskForChecksums | Judgement::Read, None) => Some(Verdict::Transfer(Difference::Missing)),
            };
        }
        let verdict = self.compared(source, there, memory);
        (verdict != Verdict::AskForChecksums || there.is_none()).then_some(verdict)
    }

    fn compared(&self, source: &ListedObject, there: Option<&ListedObject>, memory: &Memory) -> Verdict {
        let context = self.context(memory);
        if self.process.config.versioning.compare_version_id {
            compare_version(source, there, memory.version_id.as_deref(), context)
        } else {
            compare(source, there, context)
        }
    }

    /// Returns the verdict about an object, after the requests that it needs.
    pub(super) async fn verdict(
        &self,
        source: &ListedObject,
        there: Option<&ListedObject>,
        memory: &Memory,
    ) -> Result<Verdict, ScanError> {
        if let Some(verdict) = self.at_once(source, there, memory) {
            return Ok(verdict);
        }
        let Some(there) = there else { return Ok(Verdict::Transfer(Difference::Missing)) };
        let Some(method) = self.verify else {
            let checksums = self.checksums(source, there).await?;
            return Ok(compare_checksums(source, there, checksums, self.context(memory)));
        };
        match judge(source, Some(there), method, self.context.opaque_etags) {
            Judgement::Read => self.read_both(source, there).await,
            _ => Ok(judge_checksums(self.checksums(source, there).await?)),
        }
    }

    /// Requests the checksums of the listed objects; `None` for an object whose content has changed.
    async fn checksums(
        &self,
        source: &ListedObject,
        there: &ListedObject,
    ) -> Result<(Option<Checksum>, Option<Checksum>), ScanError> {
        let (process, pair) = (self.process, self.pair);
        let ask = |bucket, key| HeadRequest { checksum: true, ..HeadRequest::new(bucket, key) };
        let at_source = ask(&pair.source_bucket, &source.key);
        let at_destination = ask(&pair.destination_bucket, &there.key);
        let (at_source, at_destination) =
            tokio::join!(process.look_at_source(at_source), process.look_at_destination(at_destination),);
        Ok((checksum_of(at_source, source)?, checksum_of(at_destination, there)?))
    }

    /// Compares an object and its copy, of equal size, byte by byte while both are read. Resumes a body that breaks
    /// off. If one of them cannot be read, only the equal size is known.
    async fn read_both(&self, source: &ListedObject, there: &ListedObject) -> Result<Verdict, ScanError> {
        // Never closed.
        let _place = self.reading.acquire().await;
        let mut equal = 0;
        for attempt in 0..READS {
            if equal == source.size {
                return Ok(Verdict::InPlace(Evidence::Content));
            }
            let Some((a, b)) = self.open_both(source, there, equal).await? else { break };
            match compare_bodies(a, b).await {
                Compared::Different => return Ok(Verdict::Transfer(Difference::Content)),
                Compared::Same(more) | Compared::Broken(more) => equal += more,
            }
            if equal < source.size {
                self.process.back_off(attempt).await?;
            }
        }
        if equal == source.size {
            return Ok(Verdict::InPlace(Evidence::Content));
        }
        warn!(bucket = self.pair.source_bucket, key = source.key, "failed to read an object and its copy to the end");
        Ok(Verdict::InPlace(Evidence::Size))
    }

    /// Opens both bodies from an offset. Returns `None` if one of the objects has changed or cannot be read.
    async fn open_both(
        &self,
        source: &ListedObject,
        there: &ListedObject,
        offset: u64,
    ) -> Result<Option<(ByteStream, ByteStream)>, ScanError> {
        let (process, pair) = (self.process, self.pair);
        let span = if offset == 0 { Span::Whole } else { Span::Range { offset, len: source.size - offset } };
        let a = GetRequest {
            bucket: &pair.source_bucket,
            key: &source.key,
            span,
            if_match: source.etag.as_ref(),
            version_id: None,
        };
        let b = GetRequest {
            bucket: &pair.destination_bucket,
            key: &there.key,
            span,
            if_match: there.etag.as_ref(),
            version_id: None,
        };
        let (a, b) = tokio::join!(
            process.source(RequestInfo::object(Operation::GetObject, a.bucket, a.key), || process.ports.source.get(a)),
            process.destination(RequestInfo::object(Operation::GetObject, b.bucket, b.key), || process
                .ports
                .destination
                .get(b)),
        );
        match (a, b) {
            // A cache may ignore the condition and answer with another content than the listed one.
            (Ok(a), Ok(b)) if is_another(&a, source) || is_another(&b, there) => Ok(None),
            (Ok(a), Ok(b)) => Ok(Some((a.body, b.body))),
            (Err(error), _) | (_, Err(error)) if is_of_one_object(&error) => Ok(None),
            (Err(error), _) | (_, Err(error)) => Err(error.into()),
        }
    }
}

/// Returns true if an answer has another ETag than the listed object.
fn is_another(answer: &GetResponse, listed: &ListedObject) -> bool {
    answer.head.etag.is_some() && listed.etag.is_some() && answer.head.etag != listed.etag
}

/// Returns true if an error concerns one object only, so that the others continue.
pub(super) fn is_of_one_object(error: &Interruption) -> bool {
    matches!(error, Interruption::Service(error) if !error.is_retryable())
}

async fn compare_bodies(mut a: ByteStream, mut b: ByteStream) -> Compared {
    let (mut x, mut y) = (Bytes::new(), Bytes::new());
    let mut equal = 0;
    loop {
        let (more_x, more_y) = tokio::join!(fill(&mut a, &mut x), fill(&mut b, &mut y));
        let (Ok(()), Ok(())) = (more_x, more_y) else { return Compared::Broken(equal) };
        let common = x.len().min(y.len());
        if common == 0 {
            return if x.is_empty() && y.is_empty() { Compared::Same(equal) } else { Compared::Broken(equal) };
        }
        if x.get(..common) != y.get(..common) {
            return Compared::Different;
        }
        x.advance(common);
        y.advance(common);
        equal += common as u64;
    }
}

/// Reads until the piece has bytes or the body ends.
async fn fill(body: &mut ByteStream, piece: &mut Bytes) -> Result<(), ServiceError> {
    while piece.is_empty() {
        match body.next().await {
            Some(next) => *piece = next?,
            None => return Ok(()),
        }
    }
    Ok(())
}

/// Returns the checksum from an object's metadata, or `None` if the content is not the listed one or access to this
/// object is denied.
fn checksum_of(
    head: Result<Option<ObjectHead>, Interruption>,
    listed: &ListedObject,
) -> Result<Option<Checksum>, Interruption> {
    match head {
        Ok(head) => {
            Ok(head.filter(|head| head.etag == listed.etag && head.size == listed.size).and_then(|h| h.checksum))
        }
        Err(error) if is_of_one_object(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

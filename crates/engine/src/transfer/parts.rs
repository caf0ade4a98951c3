//! The parts of an upload: each is one ranged GET whose body passes into one `UploadPart`, many at once, verified one by
//! one.

use bytes::Bytes;
use migration_core::error::ErrorClass;
use migration_core::etag::{ETag, Md5Digest};
use migration_core::integrity::{self, Proof};
use migration_core::mutants::{Mutant, is_active};
use migration_core::object::SourceIdentity;
use migration_core::operation::RequestInfo;
use migration_core::part::Part;
use migration_core::ports::{Body, Checksum, CompletedPart, ObjectStore, Operation, PutPart, Span, UploadRef, Written};
use migration_core::records::{Ability, Support};

use super::fetch::Opened;
use super::hashing_body::{Passed, hashing_body};
use super::upload::Upload;
use super::{Transfer, TransferError, transfer_error};
use crate::hash::Digests;
use crate::uploads::abort;
use crate::{Interruption, Services};

/// Tries of a part besides the first: the only layer of them, since a body that passes through can't be sent twice.
const RETRIES: u32 = 4;

/// A part that is in memory.
#[derive(Clone, Copy)]
struct HeldPart<'a> {
    upload: &'a Upload,
    part: Part,
    bytes: &'a Bytes,
    /// Whether it is sent with the checksum that the upload names.
    checksum: bool,
}

/// How a part's bytes get to the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Means {
    /// As they arrive.
    Streamed,
    /// Held whole, with Content-MD5.
    Held,
    /// The same without the checksum that the upload names.
    Bare,
}

impl Means {
    /// How to send what was refused: each lacks what may have been refused of the one before.
    fn after_refusal(self, checksum: bool) -> Option<Self> {
        match self {
            Self::Streamed => Some(Self::Held),
            Self::Held if checksum => Some(Self::Bare),
            Self::Held | Self::Bare => None,
        }
    }
}

impl<P: Services> Transfer<'_, P> {
    /// Sends these parts, each verified, or has the service copy them. Gives what the destination answered to each.
    pub(super) async fn send_parts(
        &self,
        upload: &Upload,
        source: &SourceIdentity,
        numbers: impl Iterator<Item = u32>,
        mut first: Option<Opened>,
    ) -> Result<Vec<CompletedPart>, TransferError> {
        let mut missing = numbers.filter_map(|number| upload.layout.part(number));
        if upload.server_side {
            return self
                .work_on_parts(upload, || missing.next().map(|part| self.copy_part(upload, part, source)))
                .await;
        }
        let next = || {
            let part = missing.next()?;
            let opened = if part.number == 1 { first.take() } else { None };
            Some(self.send_part(upload, part, opened, source))
        };
        self.work_on_parts(upload, next).await
    }

    /// Tries a part until it is verified, or until it is clear that it won't be. A refusal is a suspicion of how it was
    /// sent, since a wrong secret and a sick proxy answer so too: the part is held, and if that helps, all others are.
    async fn send_part(
        &self,
        upload: &Upload,
        part: Part,
        mut opened: Option<Opened>,
        source: &SourceIdentity,
    ) -> Result<CompletedPart, TransferError> {
        let bucket = self.pair.destination_bucket.as_str();
        let mut other: Option<Means> = None;
        let (mut retries, mut damaged) = (0, 0);
        loop {
            let (service, now) = (self.process.bucket(bucket).await?, self.process.clock.now());
            let known = service.support(Ability::StreamedParts, now);
            let proven_by_md5 = service.support(Ability::ContentMd5, now) == Support::Yes;
            let usual = if known == Support::No || proven_by_md5 { Means::Held } else { Means::Streamed };
            let means = other.unwrap_or(usual);
            let result = match means {
                Means::Streamed => self.stream_part(upload, part, opened.take(), source).await,
                Means::Held | Means::Bare => {
                    // Its memory first: a part that is held may need all that there is.
                    drop(opened.take());
                    self.hold_part(upload, part, source, means == Means::Held && upload.record.checksum).await
                }
            };
            let failed = match result {
                Ok(Written { etag, checksum, .. }) => {
                    self.learn_means(upload, known, other, means).await?;
                    self.process.activity.moved(part.len);
                    return Ok(CompletedPart { number: part.number, etag, checksum });
                }
                Err(failed) => failed,
            };
            match &failed {
                // The gate holds the next try up until the side is mended: that is no try of this part.
                TransferError::Service(error) if matches!(error.class, ErrorClass::Side(_)) => continue,
                TransferError::Service(error)
                    if error.class == ErrorClass::Refused && !self.process.writes_to_amazon() =>
                {
                    let Some(next) = means.after_refusal(upload.record.checksum) else { return Err(failed) };
                    other = Some(next);
                }
                TransferError::Damaged(_) => {
                    damaged += 1;
                    // What worked before may have been a lie, or work no more.
                    if means == Means::Streamed && (known == Support::Unknown || damaged > 1) {
                        other = Some(Means::Held);
                    }
                }
                TransferError::Service(error) if error.is_retryable() => {}
                _ => return Err(failed),
            }
            if retries == RETRIES {
                return Err(failed);
            }
            self.process.back_off(retries).await?;
            retries += 1;
        }
    }

    /// What a part that went through says of the service; `other` is how it was sent after a refusal.
    ///
    /// An upload whose checksum turned out not to be taken is given up: without the checksums of its parts it may not be
    /// completed.
    async fn learn_means(
        &self,
        upload: &Upload,
        known: Support,
        other: Option<Means>,
        means: Means,
    ) -> Result<(), TransferError> {
        let bucket = &self.pair.destination_bucket;
        match (means, other) {
            (Means::Streamed, _) if known == Support::Unknown => {
                self.process.learn(bucket, Ability::StreamedParts, Support::Yes).await?;
            }
            (Means::Held, Some(_)) => self.process.learn(bucket, Ability::StreamedParts, Support::No).await?,
            (Means::Bare, _) => {
                self.process.learn(bucket, Ability::Checksums, Support::No).await?;
                abort(self.process, self.upload_ref(&upload.id)).await?;
                return Err(TransferError::UploadGone);
            }
            _ => {}
        }
        if !upload.record.checksum && self.process.is_suspected(bucket, Ability::Checksums) {
            self.process.learn(bucket, Ability::Checksums, Support::No).await?;
        }
        Ok(())
    }

    /// Passes a part through once.
    async fn stream_part(
        &self,
        upload: &Upload,
        part: Part,
        opened: Option<Opened>,
        source: &SourceIdentity,
    ) -> Result<Written, TransferError> {
        let opened = match opened {
            Some(opened) => opened,
            None => self.open_part(upload, part, source).await?,
        };
        let Opened { body, memory, .. } = opened;
        let (stream, tap) = hashing_body(body, part.len, self.process.hashing.stream(), self.progress.clone());
        let body = Body::Streamed { stream, len: part.len };
        let access = RequestInfo::object(Operation::PutPart, &self.pair.destination_bucket, &self.destination_key);
        let store = &self.process.ports.destination;
        let request = PutPart {
            upload: self.upload_ref(&upload.id),
            number: part.number,
            body,
            checksum: upload.record.checksum,
        };
        let result = self.process.destination_once(access.carrying(part.len), store.put_part(request)).await;
        let passed = tap.finish().await;
        if is_active(Mutant::BudgetLeak) && result.is_err() {
            std::mem::forget(memory);
        } else {
            drop(memory);
        }
        // Where the source broke, what the destination says of it is no word of its own.
        if let Passed::Broken(error) = passed {
            let access = RequestInfo::object(Operation::GetObject, &self.pair.source_bucket, self.key);
            return Err(TransferError::Service(self.process.source_failed(error, access)));
        }
        let written = result.map_err(part_error)?;
        match passed {
            Passed::Whole(digests) => match self.proof_of(upload, &written, &digests) {
                Proof::Same => Ok(written),
                Proof::None => Err(TransferError::Damaged(format!(
                    "part {} can't be verified: its ETag is no MD5, and the destination gives no checksum",
                    part.number
                ))),
                Proof::Other => Err(other_bytes(part, &written, &digests)),
            },
            _ => Err(TransferError::Damaged(format!("part {} was answered before its bytes were sent", part.number))),
        }
    }

    /// Holds a part and sends it with Content-MD5.
    async fn hold_part(
        &self,
        upload: &Upload,
        part: Part,
        source: &SourceIdentity,
        checksum: bool,
    ) -> Result<Written, TransferError> {
        let span = Span::Range { offset: part.offset, len: part.len };
        let want = self.want_of(Some(&source.etag), source.version_id.as_deref(), span);
        let fetched = self.hold(want, part.len).await?;
        if fetched.head.size != upload.layout.size {
            return Err(TransferError::SourceChanged);
        }
        let sent = HeldPart { upload, part, bytes: &fetched.bytes, checksum };
        let written = self.put_held(sent, fetched.digests.md5).await.map_err(part_error)?;
        self.progress.touch();
        match self.proof_of(upload, &written, &fetched.digests) {
            // The service has compared the bytes with the MD5 that came with them.
            Proof::Same | Proof::None => Ok(written),
            Proof::Other if written.checksum.is_some_and(|said| said.0 != fetched.digests.crc64) => {
                Err(other_bytes(part, &written, &fetched.digests))
            }
            Proof::Other => self.proven_by_md5(sent, &written, &fetched.digests).await,
        }
    }

    async fn put_held(&self, sent: HeldPart<'_>, md5: Md5Digest) -> Result<Written, Interruption> {
        let HeldPart { upload, part, bytes, checksum } = sent;
        let access = RequestInfo::object(Operation::PutPart, &self.pair.destination_bucket, &self.destination_key);
        let request = || {
            let body = Body::Held { bytes: bytes.clone(), md5 };
            let target = self.upload_ref(&upload.id);
            self.process.ports.destination.put_part(PutPart { upload: target, number: part.number, body, checksum })
        };
        self.process.destination(access.carrying(part.len), request).await
    }

    /// A part whose ETag is the digest of other bytes is damaged, unless ETags there are no digests: then a wrong
    /// Content-MD5 is refused, and the right one gets the same ETag again. Found out with this part, once a bucket.
    async fn proven_by_md5(
        &self,
        sent: HeldPart<'_>,
        written: &Written,
        digests: &Digests,
    ) -> Result<Written, TransferError> {
        let bucket = self.pair.destination_bucket.as_str();
        let damaged = || other_bytes(sent.part, written, digests);
        let taken = |written: Written| {
            sent.upload.verified.saw_other();
            written
        };
        if sent.upload.verified.has_digests() || self.process.has_digests(bucket) {
            return Err(damaged());
        }
        if self.process.support(bucket, Ability::ContentMd5).await? == Support::Yes {
            return Ok(taken(written.clone()));
        }
        let wrong = digests.md5.map(|byte| !byte);
        match self.put_held(sent, wrong).await {
            Err(Interruption::Service(error)) if integrity::is_digest_refused(&error) => {}
            Err(other) => return Err(part_error(other)),
            Ok(_) => return Err(damaged()),
        }
        let again = self.put_held(sent, digests.md5).await.map_err(part_error)?;
        match self.proof_of(sent.upload, &again, digests) {
            Proof::Same => Ok(again),
            _ if again.etag != written.etag => Err(damaged()),
            Proof::Other | Proof::None => {
                self.process.learn(bucket, Ability::ContentMd5, Support::Yes).await?;
                Ok(taken(again))
            }
        }
    }

    /// What the answer to a part proves.
    fn proof_of(&self, upload: &Upload, written: &Written, digests: &Digests) -> Proof {
        if written.etag.md5() == Some(digests.md5) {
            upload.verified.saw_digest();
            self.process.saw_digest(&self.pair.destination_bucket);
        }
        integrity::written(written, &digests.md5, Checksum(digests.crc64))
    }

    /// Opens the body of one part of the content that the upload carries.
    pub(super) async fn open_part(
        &self,
        upload: &Upload,
        part: Part,
        source: &SourceIdentity,
    ) -> Result<Opened, TransferError> {
        let span = Span::Range { offset: part.offset, len: part.len };
        let opened = self.open_body(self.want_of(Some(&source.etag), source.version_id.as_deref(), span)).await?;
        if opened.head.size == upload.layout.size && opened.len == part.len {
            Ok(opened)
        } else {
            Err(TransferError::SourceChanged)
        }
    }

    pub(super) fn upload_ref<'b>(&'b self, upload_id: &'b str) -> UploadRef<'b> {
        UploadRef { bucket: &self.pair.destination_bucket, key: &self.destination_key, upload_id }
    }
}

fn part_error(error: Interruption) -> TransferError {
    transfer_error(error, || TransferError::DestinationChanged(None))
}

fn other_bytes(part: Part, written: &Written, digests: &Digests) -> TransferError {
    TransferError::Damaged(format!(
        "part {} has ETag {} at the destination and its bytes have MD5 {}",
        part.number,
        written.etag.as_str(),
        ETag::of_content(&digests.md5).as_str()
    ))
}

//! Copies one part of an upload: streams one ranged GET into one `UploadPart` and retries until the part is verified,
//! or has the service copy the part.

use bytes::Bytes;
use migration_core::error::{ErrorClass, Rejected};
use migration_core::etag::{ETag, Md5Digest};
use migration_core::integrity::{self, Proof};
use migration_core::mutants::{Mutant, is_active};
use migration_core::part::Part;
use migration_core::ports::{Ability, Body, Checksum, CompletedPart, Support, Written};

use super::Transfer;
use super::error::{TransferError, transfer_error};
use super::hashing_body::{Passed, hashing_body};
use super::source::Opened;
use super::upload::Upload;
use crate::hash::Digests;
use crate::{Interruption, Services};

/// Maximum number of retries of a part. There are no others below it, since a streamed body cannot be sent twice.
const RETRIES: u32 = 4;

/// How often a part is sent again to show that its ETag is not the MD5 of damaged bytes. A service that damages every
/// n-th part, always in the same way, must hit all of them.
const PROOFS: u32 = 3;

/// A part held in memory.
#[derive(Clone, Copy)]
struct HeldPart<'a> {
    part: Part,
    bytes: &'a Bytes,
    /// True if the part is sent with the checksum algorithm of the upload.
    checksum: bool,
}

/// A part that is at the destination and verified.
#[derive(Clone, Debug)]
pub(super) struct SentPart {
    /// The destination's response.
    pub(super) part: CompletedPart,
    /// Checksum of the bytes that were read at the source; `None` if the service copied the part.
    pub(super) read: Option<Checksum>,
}

/// How the bytes of a part are sent to the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Means {
    /// Streamed as they arrive from the source.
    Streamed,
    /// Held in memory, and sent with Content-MD5.
    Held,
    /// Like `Held`, but without the checksum algorithm of the upload.
    Bare,
}

impl Means {
    /// Returns how to send a rejected part next, and the ability that the service lacks if that succeeds.
    fn after_refusal(self, checksum: bool) -> Option<(Self, Ability)> {
        match self {
            Self::Streamed => Some((Self::Held, Ability::StreamedParts)),
            Self::Held if checksum => Some((Self::Bare, Ability::Checksums)),
            Self::Held | Self::Bare => None,
        }
    }
}

impl<P: Services> Upload<'_, P> {
    /// Sends a part until it is verified or cannot succeed. A rejection may be due to the way the part was sent, but
    /// also to a wrong secret or a faulty proxy. The part is then sent from memory, and if that succeeds, so are all
    /// later parts.
    pub(super) async fn send_part(&self, part: Part, mut opened: Option<Opened>) -> Result<SentPart, TransferError> {
        let (process, bucket) = (self.transfer.process, self.transfer.destination.bucket);
        let mut other: Option<Means> = None;
        let (mut retries, mut damaged) = (0, 0);
        loop {
            let (service, now) = (process.bucket(bucket).await?, process.runtime.clock.now());
            let known = service.support(Ability::StreamedParts, now);
            let proven_by_md5 = service.support(Ability::ContentMd5, now) == Support::Yes;
            let usual = if known == Support::No || proven_by_md5 { Means::Held } else { Means::Streamed };
            let means = other.unwrap_or(usual);
            let result = match means {
                Means::Streamed => self.stream_part(part, opened.take()).await,
                Means::Held | Means::Bare => {
                    // Frees its memory first, because a held part may need the whole budget.
                    drop(opened.take());
                    self.hold_part(part, means == Means::Held && self.record.checksum).await
                }
            };
            let failed = match result {
                Ok((Written { etag, checksum, .. }, read)) => {
                    self.learn_means(known, other, means).await?;
                    process.runtime.moved(self.transfer.destination.name(), part.len);
                    let part = CompletedPart { number: part.number, etag, checksum };
                    return Ok(SentPart { part, read: Some(read) });
                }
                Err(error) => error,
            };
            match &failed {
                // The gate delays the next request until the side has recovered, so this does not count as a retry.
                TransferError::Service(error) if matches!(error.class, ErrorClass::Service(_)) => continue,
                TransferError::Service(error) if error.class == ErrorClass::Refused => {
                    let next = means.after_refusal(self.record.checksum);
                    let Some((next, _)) = next.filter(|(_, ability)| !process.is_sure_of(*ability)) else {
                        return Err(failed);
                    };
                    other = Some(next);
                }
                TransferError::Damaged(_) => {
                    damaged += 1;
                    // The recorded support for streamed parts may be wrong or out of date.
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
            process.back_off(retries).await?;
            retries += 1;
        }
    }

    /// Records what a successful part shows about the service. `other` is how the part was sent after a rejection.
    ///
    /// Aborts the upload if its checksum algorithm turned out to be unsupported, since without the checksums of its
    /// parts it may not be possible to complete it.
    async fn learn_means(&self, known: Support, other: Option<Means>, means: Means) -> Result<(), TransferError> {
        let destination = &self.transfer.destination;
        match (means, other) {
            (Means::Streamed, _) if known == Support::Unknown => {
                destination.learn(Ability::StreamedParts, Support::Yes).await?;
            }
            (Means::Held, Some(_)) => destination.learn(Ability::StreamedParts, Support::No).await?,
            (Means::Bare, _) => {
                destination.learn(Ability::Checksums, Support::No).await?;
                destination.abort(&self.id).await?;
                return Err(TransferError::UploadGone);
            }
            _ => {}
        }
        if !self.record.checksum && self.transfer.process.is_suspected(destination.bucket, Ability::Checksums) {
            destination.learn(Ability::Checksums, Support::No).await?;
        }
        // A part that got its MD5 refutes what a damaged one seemed to prove.
        if self.verified.has_digests() && destination.support(Ability::ContentMd5).await? == Support::Yes {
            destination.learn(Ability::ContentMd5, Support::Unknown).await?;
        }
        Ok(())
    }

    /// Streams a part once. Returns the response, and the checksum of what was read.
    async fn stream_part(&self, part: Part, opened: Option<Opened>) -> Result<(Written, Checksum), TransferError> {
        let Transfer { process, source, destination, progress, .. } = self.transfer;
        let opened = match opened {
            Some(opened) => opened,
            None => source.open_part(&self.source, &self.layout, part).await?,
        };
        let Opened { body, memory, .. } = opened;
        let (stream, tap) = hashing_body(body, part.len, process.hashing.stream(), progress.clone());
        let body = Body::Streamed { stream, len: part.len };
        let result = destination.stream_part_once(&self.id, part.number, (body, &tap), self.record.checksum).await;
        let passed = tap.finish().await;
        if is_active(Mutant::BudgetLeak) && result.is_err() {
            std::mem::forget(memory);
        } else {
            drop(memory);
        }
        // If reading the source failed, the destination's error is only a consequence.
        if let Passed::Broken(error) = passed {
            return Err(source.broke(error));
        }
        let written = result.map_err(part_error)?;
        match passed {
            Passed::Whole(digests) => match self.proof_of(&written, &digests) {
                Proof::Same => Ok((written, Checksum(digests.crc64))),
                Proof::None => Err(TransferError::Damaged(format!(
                    "part {} can't be verified: its ETag is no MD5, and the destination gives no checksum",
                    part.number
                ))),
                Proof::Other => Err(other_bytes(part, &written, &digests)),
            },
            _ => Err(TransferError::Damaged(format!("part {} was answered before its bytes were sent", part.number))),
        }
    }

    /// Reads a part into memory and sends it with Content-MD5. Returns the response, and the checksum of what was read.
    async fn hold_part(&self, part: Part, checksum: bool) -> Result<(Written, Checksum), TransferError> {
        let fetched = self.transfer.source.hold_part(&self.source, &self.layout, part).await?;
        let sent = HeldPart { part, bytes: &fetched.bytes, checksum };
        let written = self.put_held(sent, fetched.digests.md5).await.map_err(part_error)?;
        self.transfer.progress.touch();
        let written = match self.proof_of(&written, &fetched.digests) {
            // The service has verified the bytes against Content-MD5.
            Proof::Same | Proof::None => written,
            Proof::Other if written.checksum.is_some_and(|said| said.0 != fetched.digests.crc64) => {
                return Err(other_bytes(part, &written, &fetched.digests));
            }
            Proof::Other => self.proven_by_md5(sent, &written, &fetched.digests).await?,
        };
        Ok((written, Checksum(fetched.digests.crc64)))
    }

    async fn put_held(&self, sent: HeldPart<'_>, md5: Md5Digest) -> Result<Written, Interruption> {
        let HeldPart { part, bytes, checksum } = sent;
        self.transfer.destination.put_part_held(&self.id, part.number, (bytes, md5), checksum).await
    }

    /// Decides whether a part whose ETag is not the MD5 of its bytes is damaged, or whether the service's ETags are not
    /// MD5s. In the latter case, a wrong Content-MD5 is rejected and the right one yields the same ETag again, each of
    /// [`PROOFS`] times. This is tested with the first such part of each bucket.
    async fn proven_by_md5(
        &self,
        sent: HeldPart<'_>,
        written: &Written,
        digests: &Digests,
    ) -> Result<Written, TransferError> {
        let destination = &self.transfer.destination;
        let damaged = || other_bytes(sent.part, written, digests);
        let taken = |written: Written| {
            self.verified.saw_other();
            written
        };
        if self.has_digests() {
            return Err(damaged());
        }
        if destination.support(Ability::ContentMd5).await? == Support::Yes {
            return Ok(taken(written.clone()));
        }
        let wrong = digests.md5.map(|byte| !byte);
        match self.put_held(sent, wrong).await {
            Err(Interruption::Service(error)) if error.rejects(&Rejected::Digest) => {}
            Err(other) => return Err(part_error(other)),
            Ok(_) => return Err(damaged()),
        }
        for _ in 0..PROOFS {
            let again = self.put_held(sent, digests.md5).await.map_err(part_error)?;
            self.transfer.progress.touch();
            if self.proof_of(&again, digests) == Proof::Same {
                return Ok(again);
            }
            // Other parts were sent meanwhile, and may have got their MD5s.
            if again.etag != written.etag || self.has_digests() {
                return Err(damaged());
            }
        }
        destination.learn(Ability::ContentMd5, Support::Yes).await?;
        Ok(taken(written.clone()))
    }

    /// Returns true if another part of the upload, or recently of the bucket, got its MD5 as ETag.
    fn has_digests(&self) -> bool {
        self.verified.has_digests() || self.transfer.process.has_digests(self.transfer.destination.bucket)
    }

    /// Returns what the response to a part proves about its bytes.
    fn proof_of(&self, written: &Written, digests: &Digests) -> Proof {
        if written.etag.md5() == Some(digests.md5) {
            self.verified.saw_digest();
            self.transfer.process.saw_digest(self.transfer.destination.bucket);
        }
        integrity::written(written, &digests.md5, Checksum(digests.crc64))
    }

    /// Has the service copy a part.
    pub(super) async fn copy_part(&self, part: Part) -> Result<SentPart, TransferError> {
        let Transfer { process, source, destination, progress, .. } = self.transfer;
        let written = destination.copy_part(&self.id, part, source.copy_source(&self.source)).await?;
        progress.touch();
        process.runtime.moved(destination.name(), part.len);
        let part = CompletedPart { number: part.number, etag: written.etag, checksum: written.checksum };
        Ok(SentPart { part, read: None })
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

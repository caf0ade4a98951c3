//! One part of an upload: one ranged GET whose body passes into one `UploadPart`, tried until it is verified; or one copy
//! by the service.

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

/// Tries of a part besides the first: the only layer of them, since a body that passes through can't be sent twice.
const RETRIES: u32 = 4;

/// A part that is in memory.
#[derive(Clone, Copy)]
struct HeldPart<'a> {
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
    /// How to send what was refused, and what the service lacks where that helps.
    fn after_refusal(self, checksum: bool) -> Option<(Self, Ability)> {
        match self {
            Self::Streamed => Some((Self::Held, Ability::StreamedParts)),
            Self::Held if checksum => Some((Self::Bare, Ability::Checksums)),
            Self::Held | Self::Bare => None,
        }
    }
}

impl<P: Services> Upload<'_, P> {
    /// Tries a part until it is verified, or until it is clear that it won't be. A refusal is a suspicion of how it was
    /// sent, since a wrong secret and a sick proxy answer so too: the part is held, and if that helps, all others are.
    pub(super) async fn send_part(
        &self,
        part: Part,
        mut opened: Option<Opened>,
    ) -> Result<CompletedPart, TransferError> {
        let (process, bucket) = (self.transfer.process, self.transfer.destination.bucket);
        let mut other: Option<Means> = None;
        let (mut retries, mut damaged) = (0, 0);
        loop {
            let (service, now) = (process.bucket(bucket).await?, process.clock.now());
            let known = service.support(Ability::StreamedParts, now);
            let proven_by_md5 = service.support(Ability::ContentMd5, now) == Support::Yes;
            let usual = if known == Support::No || proven_by_md5 { Means::Held } else { Means::Streamed };
            let means = other.unwrap_or(usual);
            let result = match means {
                Means::Streamed => self.stream_part(part, opened.take()).await,
                Means::Held | Means::Bare => {
                    // Its memory first: a part that is held may need all that there is.
                    drop(opened.take());
                    self.hold_part(part, means == Means::Held && self.record.checksum).await
                }
            };
            let failed = match result {
                Ok(Written { etag, checksum, .. }) => {
                    self.learn_means(known, other, means).await?;
                    process.activity.moved(part.len);
                    return Ok(CompletedPart { number: part.number, etag, checksum });
                }
                Err(error) => error,
            };
            match &failed {
                // The gate holds the next try up until the side is mended: that is no try of this part.
                TransferError::Service(error) if matches!(error.class, ErrorClass::Side(_)) => continue,
                TransferError::Service(error) if error.class == ErrorClass::Refused => {
                    let next = means.after_refusal(self.record.checksum);
                    let Some((next, _)) = next.filter(|(_, ability)| !process.is_sure_of(*ability)) else {
                        return Err(failed);
                    };
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
            process.back_off(retries).await?;
            retries += 1;
        }
    }

    /// What a part that went through says of the service; `other` is how it was sent after a refusal.
    ///
    /// An upload whose checksum turned out not to be taken is given up: without the checksums of its parts it may not be
    /// completed.
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
        Ok(())
    }

    /// Passes a part through once.
    async fn stream_part(&self, part: Part, opened: Option<Opened>) -> Result<Written, TransferError> {
        let Transfer { process, source, destination, progress, .. } = self.transfer;
        let opened = match opened {
            Some(opened) => opened,
            None => source.open_part(&self.source, &self.layout, part).await?,
        };
        let Opened { body, memory, .. } = opened;
        let (stream, tap) = hashing_body(body, part.len, process.hashing.stream(), progress.clone());
        let body = Body::Streamed { stream, len: part.len };
        let result = destination.put_part_once(&self.id, part.number, body, self.record.checksum).await;
        let passed = tap.finish().await;
        if is_active(Mutant::BudgetLeak) && result.is_err() {
            std::mem::forget(memory);
        } else {
            drop(memory);
        }
        // Where the source broke, what the destination says of it is no word of its own.
        if let Passed::Broken(error) = passed {
            return Err(source.broke(error));
        }
        let written = result.map_err(part_error)?;
        match passed {
            Passed::Whole(digests) => match self.proof_of(&written, &digests) {
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
    async fn hold_part(&self, part: Part, checksum: bool) -> Result<Written, TransferError> {
        let fetched = self.transfer.source.hold_part(&self.source, &self.layout, part).await?;
        let sent = HeldPart { part, bytes: &fetched.bytes, checksum };
        let written = self.put_held(sent, fetched.digests.md5).await.map_err(part_error)?;
        self.transfer.progress.touch();
        match self.proof_of(&written, &fetched.digests) {
            // The service has compared the bytes with the MD5 that came with them.
            Proof::Same | Proof::None => Ok(written),
            Proof::Other if written.checksum.is_some_and(|said| said.0 != fetched.digests.crc64) => {
                Err(other_bytes(part, &written, &fetched.digests))
            }
            Proof::Other => self.proven_by_md5(sent, &written, &fetched.digests).await,
        }
    }

    async fn put_held(&self, sent: HeldPart<'_>, md5: Md5Digest) -> Result<Written, Interruption> {
        let HeldPart { part, bytes, checksum } = sent;
        self.transfer.destination.put_part_held(&self.id, part.number, (bytes, md5), checksum).await
    }

    /// A part whose ETag is the digest of other bytes is damaged, unless ETags there are no digests: then a wrong
    /// Content-MD5 is refused, and the right one gets the same ETag again. Found out with this part, once a bucket.
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
        if self.verified.has_digests() || self.transfer.process.has_digests(destination.bucket) {
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
        let again = self.put_held(sent, digests.md5).await.map_err(part_error)?;
        match self.proof_of(&again, digests) {
            Proof::Same => Ok(again),
            _ if again.etag != written.etag => Err(damaged()),
            Proof::Other | Proof::None => {
                destination.learn(Ability::ContentMd5, Support::Yes).await?;
                Ok(taken(again))
            }
        }
    }

    /// What the answer to a part proves.
    fn proof_of(&self, written: &Written, digests: &Digests) -> Proof {
        if written.etag.md5() == Some(digests.md5) {
            self.verified.saw_digest();
            self.transfer.process.saw_digest(self.transfer.destination.bucket);
        }
        integrity::written(written, &digests.md5, Checksum(digests.crc64))
    }

    /// Has the service copy a part.
    pub(super) async fn copy_part(&self, part: Part) -> Result<CompletedPart, TransferError> {
        let Transfer { process, source, destination, progress, .. } = self.transfer;
        let written = destination.copy_part(&self.id, part, source.copy_source(&self.source)).await?;
        progress.touch();
        process.activity.moved(part.len);
        Ok(CompletedPart { number: part.number, etag: written.etag, checksum: written.checksum })
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

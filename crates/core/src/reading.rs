//! Checks bytes read from a source against the ETag they came with.

use crate::etag::{ETag, Md5Digest};
use crate::ports::ObjectHead;

/// The result of reading an object again after its bytes contradicted its ETag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecondRead {
    /// The bytes match the ETag: the first read was corrupted or mixed.
    Right,
    /// The same bytes with the same ETag: the ETags of this service are not digests.
    NoDigest,
    /// Other bytes, or another ETag: the answers mix contents, or are corrupted.
    Mixture,
}

/// Returns true if an object's bytes contradict its ETag: the ETag has the form of an MD5, is one by the service's
/// rules (neither SSE-KMS nor a customer's key), and differs from the MD5 of the bytes.
///
/// | ETag | encryption | bytes have this MD5 | contradicted |
/// |---|---|---|---|
/// | an MD5 | none, SSE-S3 | yes | no |
/// | an MD5 | none, SSE-S3 | no | yes |
/// | an MD5 | SSE-KMS, DSSE-KMS, SSE-C | any | no |
/// | of parts, none, anything else | any | any | no |
pub fn is_contradicted(head: &ObjectHead, md5: &Md5Digest) -> bool {
    head.etag_is_md5 && head.etag.as_ref().and_then(ETag::md5).is_some_and(|digest| digest != *md5)
}

/// Returns the MD5 that an object's ETag names: it has the form of one, and is one by the service's rules.
pub fn named_md5(head: &ObjectHead) -> Option<Md5Digest> {
    head.etag.as_ref().filter(|etag| head.etag_is_md5 && !etag.is_weak()).and_then(ETag::md5)
}

/// Evaluates a second read. Each read consists of the returned ETag and the MD5 of the bytes.
///
/// | ETag of the second read | its bytes | result |
/// |---|---|---|
/// | any | have that MD5 | `Right` |
/// | as before | as before | `NoDigest` |
/// | as before | others | `Mixture` |
/// | another | contradict it too | `Mixture` |
pub fn second_read(first: (Option<&ETag>, &Md5Digest), head: &ObjectHead, md5: &Md5Digest) -> SecondRead {
    if !is_contradicted(head, md5) {
        SecondRead::Right
    } else if first.0 == head.etag.as_ref() && first.1 == md5 {
        SecondRead::NoDigest
    } else {
        SecondRead::Mixture
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Md5Digest = [1; 16];
    const TWO: Md5Digest = [2; 16];

    fn head(etag: Option<ETag>, etag_is_md5: bool) -> ObjectHead {
        ObjectHead { etag, etag_is_md5, ..ObjectHead::default() }
    }

    #[test]
    fn only_what_is_a_digest_is_contradicted() {
        let of = |md5: &Md5Digest| Some(ETag::of_content(md5));
        for (head, expected) in [
            (head(of(&ONE), true), false),
            (head(of(&TWO), true), true),
            (head(of(&TWO), false), false),
            (head(Some(ETag::of_parts(&[TWO])), true), false),
            (head(Some(ETag::new("abc")), true), false),
            (head(None, true), false),
        ] {
            assert_eq!(is_contradicted(&head, &ONE), expected, "{head:?}");
        }
    }

    #[test]
    fn a_second_read_tells_what_the_table_says() {
        let (one, two, three) = (ETag::of_content(&ONE), ETag::of_content(&TWO), ETag::of_content(&[3; 16]));
        for (etag, md5, expected) in [
            (&three, [3; 16], SecondRead::Right),
            (&two, ONE, SecondRead::NoDigest),
            (&two, [4; 16], SecondRead::Mixture),
            (&three, ONE, SecondRead::Mixture),
            (&one, TWO, SecondRead::Mixture),
        ] {
            let read = second_read((Some(&two), &ONE), &head(Some(etag.clone()), true), &md5);
            assert_eq!(read, expected, "{etag:?} {md5:?}");
        }
    }
}

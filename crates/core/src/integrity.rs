//! Checks from a service's answer whether it received the bytes that were sent.

use crate::etag::{ETag, Md5Digest};
use crate::mutants::{Mutant, is_active};
use crate::ports::{Checksum, Written};

/// What an answer proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The service received these bytes.
    Same,
    /// The service received other bytes.
    Other,
    /// Nothing: the ETag is not an MD5, and there is no checksum.
    None,
}

/// Evaluates the answer to a write. An ETag is taken as an MD5 if the service's rules make it one
/// ([`Written::etag_is_md5`]) and it has the form of one; some services number contents in another way without
/// indicating it in a header.
///
/// | ETag is the MD5 sent | ETag cannot be an MD5 | checksum | proof |
/// |---|---|---|---|
/// | yes | | the one sent, or none | same |
/// | yes | | another | other |
/// | no | | any | other |
/// | | yes | the one sent | same |
/// | | yes | another | other |
/// | | yes | none | none |
pub fn written(answer: &Written, md5: &Md5Digest, checksum: Checksum) -> Proof {
    if is_active(Mutant::PartNotVerified) {
        return Proof::Same;
    }
    if answer.checksum.is_some_and(|said| said != checksum) {
        return Proof::Other;
    }
    match (answer.etag_is_md5, answer.checksum) {
        (true, _) if answer.etag == ETag::of_content(md5) => Proof::Same,
        (true, _) if answer.etag.md5().is_some() => Proof::Other,
        (_, Some(_)) => Proof::Same,
        (_, None) => Proof::None,
    }
}

/// Returns true if the ETag of a completed object contradicts the ETags of its parts. It must be strong and have the
/// form of an ETag made of parts: some services tag completed objects in their own way, although their parts' ETags are
/// MD5s.
///
/// | ETag | contradicts |
/// |---|---|
/// | the one that the parts yield | no |
/// | another digest with a number of parts | yes |
/// | anything else: a digest without a number of parts; a weak one; one that is not an MD5 by the service's rules | no |
pub fn contradicts_parts(answer: &Written, of_parts: &ETag) -> bool {
    let made_of_parts = answer.etag_is_md5 && !answer.etag.is_weak() && answer.etag.parts().is_some();
    made_of_parts && answer.etag != *of_parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_etag_that_is_made_of_parts_contradicts_them() {
        let of_parts = ETag::of_parts(&[[7; 16], [8; 16]]);
        let other = ETag::of_parts(&[[7; 16], [9; 16]]);
        let weak = ETag::new(&format!("W/\"{}\"", other.as_str()));
        let upper = ETag::new(&of_parts.as_str().to_ascii_uppercase());
        let answer =
            |etag: &ETag, etag_is_md5| Written { etag: etag.clone(), etag_is_md5, checksum: None, version_id: None };
        for (etag, etag_is_md5, expected) in [
            (&of_parts, true, false),
            (&upper, true, false),
            (&other, true, true),
            (&other, false, false),
            (&weak, true, false),
            (&ETag::of_content(&[7; 16]), true, false),
            (&ETag::new("0x8D4BCC2E4835CD0"), true, false),
        ] {
            assert_eq!(contradicts_parts(&answer(etag, etag_is_md5), &of_parts), expected, "{etag:?} {etag_is_md5}");
        }
    }

    #[test]
    fn an_answer_proves_what_the_table_says() {
        let md5 = [7; 16];
        let (own, other) = (ETag::of_content(&md5), ETag::of_content(&[8; 16]));
        let upper = ETag::new(&own.as_str().to_ascii_uppercase());
        let [opaque, weak, weak_own] = ["2f-9", "W/\"x\"", &format!("W/\"{}\"", own.as_str())].map(ETag::new);
        for (etag, etag_is_md5, checksum, expected) in [
            (&own, true, None, Proof::Same),
            (&own, true, Some(1), Proof::Same),
            (&own, true, Some(2), Proof::Other),
            (&other, true, Some(1), Proof::Other),
            (&other, false, Some(1), Proof::Same),
            (&other, false, Some(2), Proof::Other),
            (&other, false, None, Proof::None),
            (&upper, true, None, Proof::Same),
            (&opaque, true, None, Proof::None),
            (&opaque, true, Some(1), Proof::Same),
            (&opaque, true, Some(2), Proof::Other),
            (&weak, true, None, Proof::None),
            (&weak_own, true, None, Proof::Same),
        ] {
            let answer =
                Written { etag: etag.clone(), etag_is_md5, checksum: checksum.map(Checksum), version_id: None };
            assert_eq!(written(&answer, &md5, Checksum(1)), expected, "{answer:?}");
        }
    }
}

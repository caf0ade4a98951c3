//! Whether what a service says of bytes written proves that they are the ones sent.

use crate::etag::{ETag, Md5Digest};
use crate::planted::{Defect, is_planted};
use crate::ports::{Checksum, Written};

/// What an answer proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The service has these bytes.
    Same,
    /// The service has others.
    Other,
    /// Neither: the ETag is no MD5, and there is no checksum.
    None,
}

/// What the answer to bytes that were sent proves. An ETag is taken for an MD5 where the service's rules make it one
/// ([`Written::etag_is_md5`]) and it has the form of one: services number their contents in other ways too, without saying
/// so in any header.
///
/// | ETag is their MD5 | ETag can be no MD5 | checksum | proof |
/// |---|---|---|---|
/// | yes | | theirs, or none | same |
/// | yes | | another | other |
/// | no | | any | other |
/// | | yes | theirs | same |
/// | | yes | another | other |
/// | | yes | none | none |
pub fn written(answer: &Written, md5: &Md5Digest, checksum: Checksum) -> Proof {
    if is_planted(Defect::PartNotVerified) {
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

#[cfg(test)]
mod tests {
    use super::*;

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

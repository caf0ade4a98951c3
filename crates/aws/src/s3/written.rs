//! Responses to writes.

use aws_sdk_s3::types::{ChecksumType, ServerSideEncryption};
use migration_core::error::ServiceError;
use migration_core::etag::ETag;
use migration_core::ports::{Checksum, Written};

use super::encoding::{decode_checksum, version_id};
use super::headers::Answered;
use crate::error::no_answer;

/// Returns true if the ETag of a response is made of MD5s.
///
/// | encryption in the response | the ETag is an MD5 |
/// |---|---|
/// | none, `AES256` | yes |
/// | `aws:kms`, `aws:kms:dsse`, others | no |
/// | a customer's key | no |
///
/// Source: "Object" in the S3 API reference, member `ETag`.
pub(super) fn etag_is_md5(encryption: Option<&ServerSideEncryption>, customer_key: Option<&str>) -> bool {
    encryption.is_none_or(|algorithm| *algorithm == ServerSideEncryption::Aes256) && customer_key.is_none()
}

/// Returns the checksum of the whole content; `None` if it is composed of the parts' checksums or of unknown type.
pub(super) fn whole_checksum(text: Option<&str>, kind: Option<&ChecksumType>) -> Option<Checksum> {
    text.filter(|_| kind == Some(&ChecksumType::FullObject)).and_then(decode_checksum)
}

/// Returns the checksum of content sent in one request, which covers all of it unless marked composite.
pub(super) fn sent_checksum(text: Option<&str>, kind: Option<&ChecksumType>) -> Option<Checksum> {
    text.filter(|_| kind != Some(&ChecksumType::Composite)).and_then(decode_checksum)
}

/// Members of a response that make up a [`Written`].
#[derive(Debug, Default)]
pub(super) struct Answer<'a> {
    pub etag: Option<&'a str>,
    pub encryption: Option<&'a ServerSideEncryption>,
    pub customer_key: Option<&'a str>,
    pub checksum: Option<Checksum>,
    pub version_id: Option<&'a str>,
}

/// Reads the headers of a response to a write.
pub(super) fn written(answered: &Answered, operation: &str) -> Result<Written, ServiceError> {
    let kind = answered.text("x-amz-checksum-type").map(ChecksumType::from);
    Answer {
        etag: answered.text("etag"),
        encryption: answered.text("x-amz-server-side-encryption").map(ServerSideEncryption::from).as_ref(),
        customer_key: answered.text("x-amz-server-side-encryption-customer-algorithm"),
        checksum: sent_checksum(answered.text("x-amz-checksum-crc64nvme"), kind.as_ref()),
        version_id: answered.text("x-amz-version-id"),
    }
    .written(operation)
}

impl Answer<'_> {
    pub(super) fn written(self, operation: &str) -> Result<Written, ServiceError> {
        let etag = self.etag.map(ETag::new).ok_or_else(|| no_answer(operation, "ETag"))?;
        Ok(Written {
            etag,
            etag_is_md5: etag_is_md5(self.encryption, self.customer_key),
            checksum: self.checksum,
            version_id: version_id(self.version_id),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use migration_core::error::ErrorClass;

    #[test]
    fn only_plain_etags_are_digests() {
        use ServerSideEncryption::{Aes256, AwsKms, AwsKmsDsse};
        for (encryption, customer_key, expected) in [
            (None, None, true),
            (Some(Aes256), None, true),
            (Some(AwsKms), None, false),
            (Some(AwsKmsDsse), None, false),
            (Some(ServerSideEncryption::from("aws:new")), None, false),
            (None, Some("AES256"), false),
        ] {
            let encryption = encryption.as_ref();
            let answer = Answer { etag: Some("\"e\""), encryption, customer_key, ..Answer::default() };
            let written = answer.written("put object").unwrap();
            assert_eq!((written.etag.as_str(), written.etag_is_md5), ("e", expected), "{encryption:?}");
        }
        assert_eq!(Answer::default().written("put object").unwrap_err().class, ErrorClass::NoAnswer);
    }

    #[test]
    fn checksums_of_checksums_are_none() {
        let (sum, other) = ("rosUhgp5mIg=", ChecksumType::from("OTHER"));
        let check = Some(Checksum(0xae8b_1486_0a79_9888));
        for (text, kind, whole, sent) in [
            (Some(sum), Some(&ChecksumType::FullObject), check, check),
            (Some(sum), Some(&ChecksumType::Composite), None, None),
            (Some(sum), Some(&other), None, check),
            (Some(sum), None, None, check),
            (Some("rosUhgp5mIg=-2"), Some(&ChecksumType::FullObject), None, None),
            (None, Some(&ChecksumType::FullObject), None, None),
        ] {
            assert_eq!((whole_checksum(text, kind), sent_checksum(text, kind)), (whole, sent), "{text:?} {kind:?}");
        }
    }
}

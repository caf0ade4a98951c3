//! What is known of an S3 service before anything is asked of it.

use migration_core::config::{Encryption, WriteSettings};
use migration_core::ports::{Ability, Capabilities, UploadRef};

use crate::access::is_amazon;

/// What Amazon's own service has.
const OF_AMAZON: &[Ability] = &[
    Ability::PutIfNoneMatch,
    Ability::PutIfMatch,
    Ability::CompleteIfNoneMatch,
    Ability::CompleteIfMatch,
    Ability::Checksums,
    Ability::StreamedParts,
    Ability::ChecksMd5,
];

/// What is known of the service at an endpoint, and of what is written there with these settings.
///
/// | the service | abilities, checksums enforced | keeps attributes |
/// |---|---|---|
/// | Amazon's, by the region's own endpoint | known | yes |
/// | Amazon's, by another of its endpoints | known | not known |
/// | another | found out | not known |
///
/// Whether an object that was written in parts has its tags Amazon shows only to who may read them: so nothing is asked
/// there. Under a key of KMS the service gives ETags that look like digests of the content and are none.
/// Source: "Object" in the S3 API reference, member `ETag`.
pub(super) fn capabilities(endpoint: Option<&str>, settings: &WriteSettings) -> Capabilities {
    let is_amazon = is_amazon(endpoint);
    Capabilities {
        has: if is_amazon { OF_AMAZON } else { &[] },
        lacks: if is_amazon { &[Ability::ContentMd5] } else { &[] },
        enforces_checksums: is_amazon,
        keeps_attributes: endpoint.is_none(),
        has_opaque_etags: matches!(settings.encryption, Some(Encryption::Kms { .. } | Encryption::DualKms { .. })),
        tag_reading_rights: "s3:GetObjectTagging and s3:GetObjectVersionTagging",
    }
}

/// Returns the AWS CLI command that aborts an upload.
pub(super) fn abort_command(endpoint: Option<&str>, upload: UploadRef<'_>) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    let endpoint = endpoint.map(|url| format!(" --endpoint-url {}", quoted(url))).unwrap_or_default();
    format!(
        "aws s3api abort-multipart-upload{endpoint} --bucket {} --key {} --upload-id {}",
        quoted(upload.bucket),
        quoted(upload.key),
        quoted(upload.upload_id)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use migration_core::ports::Support;

    #[test]
    fn amazon_has_everything_and_others_are_found_out() {
        let of = |endpoint: Option<&str>| capabilities(endpoint, &WriteSettings::default());
        let (region, vpc, other) =
            (of(None), of(Some("https://s3.eu-west-1.amazonaws.com")), of(Some("http://minio:9000")));
        assert!(region.is_complete() && vpc.is_complete() && !other.is_complete());
        for ability in Ability::ALL {
            let expected = if ability == Ability::ContentMd5 { Support::No } else { Support::Yes };
            assert_eq!(region.support(ability), expected, "{ability:?}");
            assert_eq!(other.support(ability), Support::Unknown, "{ability:?}");
        }
        assert_eq!([region, vpc, other].map(|known| known.enforces_checksums), [true, true, false]);
        assert_eq!([region, vpc, other].map(|known| known.keeps_attributes), [true, false, false]);
    }

    #[test]
    fn etags_under_keys_of_kms_are_opaque() {
        for (encryption, expected) in [
            (None, false),
            (Some(Encryption::S3), false),
            (Some(Encryption::Kms { kms_key_id: None }), true),
            (Some(Encryption::DualKms { kms_key_id: None }), true),
        ] {
            let settings = WriteSettings { encryption, ..WriteSettings::default() };
            assert_eq!(capabilities(None, &settings).has_opaque_etags, expected, "{settings:?}");
        }
    }

    #[test]
    fn the_command_survives_a_shell_whatever_the_key_holds() {
        let odd = UploadRef { bucket: "b", key: "it's; $(rm) \"a\"", upload_id: "id" };
        assert_eq!(
            abort_command(Some("http://minio:9000"), odd),
            r#"aws s3api abort-multipart-upload --endpoint-url 'http://minio:9000' --bucket 'b' --key 'it'\''s; $(rm) "a"' --upload-id 'id'"#
        );
        let plain = "aws s3api abort-multipart-upload --bucket 'b' --key 'k' --upload-id 'id'";
        assert_eq!(abort_command(None, UploadRef { bucket: "b", key: "k", upload_id: "id" }), plain);
    }
}

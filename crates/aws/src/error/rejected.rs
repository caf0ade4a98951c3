//! What of a request an error says that the service does not take.

use migration_core::error::{ContentHeader, ErrorClass, Rejected, ServiceError};

use super::Api;

/// Terms by which services name user metadata as a whole.
const METADATA: &[&str] = &["x-amz-meta", "user metadata", "metadata headers"];
/// Terms for tags: the header, and the missing permission.
const TAGS: &[&str] = &["x-amz-tagging", "putobjecttagging", "putobjectversiontagging", "object tag"];
/// Terms for the storage class.
const CLASS: &[&str] = &["x-amz-storage-class"];
/// Terms for retention and legal hold.
const LOCK: &[&str] = &[
    "x-amz-object-lock",
    "object lock",
    "objectlock",
    "retain until date",
    "putobjectretention",
    "putobjectlegalhold",
];
/// Headers that are named one by one.
const HEADERS: &[(&str, ContentHeader)] = &[
    ("x-amz-website-redirect-location", ContentHeader::WebsiteRedirect),
    ("content-language", ContentHeader::ContentLanguage),
    ("content-disposition", ContentHeader::ContentDisposition),
    ("content-encoding", ContentHeader::ContentEncoding),
    ("cache-control", ContentHeader::CacheControl),
    ("content-type", ContentHeader::ContentType),
    ("expires", ContentHeader::Expires),
];
/// Codes by which `DynamoDB`, and the SDK in front of it, refuse what a record says. In other words it may be a proxy that
/// refuses, and that may pass.
const OF_RECORDS: &[&str] =
    &["ValidationException", "ValidationError", "ItemCollectionSizeLimitExceededException", "InvalidRequest"];

/// What of a request an error says that the service does not take.
///
/// | service | class | code | names | rejected |
/// |---|---|---|---|---|
/// | `DynamoDB` | refused | `ValidationException`, `ItemCollectionSizeLimitExceededException`, … | | record |
/// | S3 | any | `InvalidRange` | | range |
/// | S3 | any | `BadDigest`, `InvalidDigest` | | digest |
/// | S3 | refused, denied | `InvalidTag` | | tags |
/// | S3 | refused, denied | `InvalidStorageClass` | | storage class |
/// | S3 | refused, denied | `MetadataTooLarge` | | metadata |
/// | S3 | refused, denied | `ObjectLockConfigurationNotFoundError`, `InvalidRetentionPeriod` | | lock |
/// | S3 | refused, denied | any | `x-amz-tagging`, or the right to write tags | tags |
/// | S3 | refused, denied | any | `x-amz-object-lock-…`, or the rights to write locks | lock |
/// | S3 | refused | any | `x-amz-storage-class` | storage class |
/// | S3 | refused | any | `x-amz-meta-NAME`, or user metadata as a whole | metadata, by that name |
/// | S3 | refused | any | another header of the object | that header |
///
/// What is named is read from the message, which has the members `Header` and `ArgumentName` of the error document too.
/// Sources: "Error responses" in the S3 API reference; the 501s of Cloudflare R2 ("Header 'x-amz-tagging' with value … not
/// implemented") and the 400s of Backblaze B2 ("Unsupported header 'x-amz-tagging' received for this API call");
/// "Error handling" in the `DynamoDB` developer guide.
pub(crate) fn rejected(service: Api, error: &ServiceError) -> Option<Rejected> {
    match service {
        Api::S3 => by_s3(error),
        Api::Sqs | Api::Sts | Api::Sns => None,
        Api::DynamoDb => {
            let is_record = error.class == ErrorClass::Refused && OF_RECORDS.contains(&error.code.as_str());
            is_record.then_some(Rejected::Record)
        }
    }
}

fn by_s3(error: &ServiceError) -> Option<Rejected> {
    let refused = error.class == ErrorClass::Refused;
    let text = error.message.to_ascii_lowercase();
    let names = |words: &[&str]| words.iter().any(|word| text.contains(word));
    match error.code.as_str() {
        "InvalidRange" => Some(Rejected::Range),
        "BadDigest" | "InvalidDigest" => Some(Rejected::Digest),
        _ if !refused && error.class != ErrorClass::AccessDenied => None,
        "InvalidTag" => Some(Rejected::Tags),
        "InvalidStorageClass" => Some(Rejected::StorageClass),
        "MetadataTooLarge" => Some(Rejected::Metadata(Vec::new())),
        "ObjectLockConfigurationNotFoundError" | "InvalidRetentionPeriod" => Some(Rejected::Lock),
        _ if names(TAGS) => Some(Rejected::Tags),
        _ if names(LOCK) => Some(Rejected::Lock),
        _ if !refused => None,
        _ if names(CLASS) => Some(Rejected::StorageClass),
        _ if names(METADATA) => Some(Rejected::Metadata(metadata_names(&text))),
        _ => HEADERS.iter().find(|(name, _)| text.contains(name)).map(|(_, header)| Rejected::Header(*header)),
    }
}

/// The names behind `x-amz-meta-` in a text. Where one ends can't be told, since a name may hold what encloses it: so
/// what stands before each character that is neither a letter, a digit, `-` nor `_` is one, up to what no name holds.
/// Source: "Tokens" in RFC 9110, section 5.6.2.
fn metadata_names(text: &str) -> Vec<String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let is_token = |c: char| is_plain(c) || "!#$%&'*+.^`|~".contains(c);
    let mut names = Vec::new();
    for (_, rest) in text.match_indices("x-amz-meta-").filter_map(|(at, word)| Some((at, text.get(at + word.len()..)?)))
    {
        let end = rest.find(|c| !is_token(c)).unwrap_or(rest.len());
        let ends = rest.char_indices().map(|(at, c)| (at, !is_plain(c))).chain([(rest.len(), true)]);
        names
            .extend(ends.filter(|(at, is_end)| *is_end && (1..=end).contains(at)).filter_map(|(at, _)| rest.get(..at)));
    }
    names.into_iter().map(ToOwned::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ErrorClass::{AccessDenied, Refused, Transient};

    fn of(service: Api, class: ErrorClass, code: &str, message: &str) -> Option<Rejected> {
        rejected(service, &ServiceError::new(class, "put object", code, message))
    }

    #[test]
    fn what_s3_names_is_read_as_the_table_says() {
        let header = |header| Some(Rejected::Header(header));
        let metadata = || Some(Rejected::Metadata(Vec::new()));
        for (class, code, message, expected) in [
            (Refused, "InvalidTag", "The tag provided was not a valid tag.", Some(Rejected::Tags)),
            (Refused, "InvalidStorageClass", "", Some(Rejected::StorageClass)),
            (Refused, "MetadataTooLarge", "", metadata()),
            (Refused, "InvalidRequest", "your metadata headers exceed the maximum", metadata()),
            (Refused, "ObjectLockConfigurationNotFoundError", "", Some(Rejected::Lock)),
            (
                Refused,
                "NotImplemented",
                "Header 'x-amz-tagging' with value 't=v' not implemented",
                Some(Rejected::Tags),
            ),
            (
                Refused,
                "InvalidArgument",
                "Unsupported header 'x-amz-tagging' received for this API call.",
                Some(Rejected::Tags),
            ),
            (Refused, "NotImplemented", "not implemented; Header: x-amz-storage-class", Some(Rejected::StorageClass)),
            (
                Refused,
                "NotImplemented",
                "not implemented; Header: x-amz-website-redirect-location",
                header(ContentHeader::WebsiteRedirect),
            ),
            (
                Refused,
                "NotImplemented",
                "not implemented; Header: Content-Language",
                header(ContentHeader::ContentLanguage),
            ),
            (Refused, "InvalidRequest", "Bucket is missing Object Lock Configuration", Some(Rejected::Lock)),
            (Refused, "InvalidArgument", "The retain until date must be in the future!", Some(Rejected::Lock)),
            (
                AccessDenied,
                "AccessDenied",
                "not authorized to perform: s3:PutObjectTagging on resource",
                Some(Rejected::Tags),
            ),
            (AccessDenied, "AccessDenied", "not authorized to perform: s3:PutObjectRetention", Some(Rejected::Lock)),
            (AccessDenied, "AccessDenied", "Access Denied", None),
            (AccessDenied, "AccessDenied", "Access Denied; Header: Cache-Control", None),
            (Refused, "NotImplemented", "a header you provided implies functionality that is not implemented", None),
            (Transient, "InternalError", "x-amz-tagging", None),
            (Refused, "InvalidRange", "", Some(Rejected::Range)),
            (Transient, "BadDigest", "", Some(Rejected::Digest)),
            (Refused, "InvalidDigest", "", Some(Rejected::Digest)),
        ] {
            assert_eq!(of(Api::S3, class, code, message), expected, "{code} {message}");
        }
    }

    #[test]
    fn metadata_is_named_by_what_may_be_its_name() {
        for (message, expected) in [
            ("Header 'x-amz-meta-A-b' not implemented", &["a-b", "a-b'"][..]),
            ("Header x-amz-meta-a.b: too long", &["a", "a.b"]),
            ("x-amz-meta-a and x-amz-meta-c", &["a", "c"]),
            ("x-amz-meta- of no name", &[]),
            ("too much user metadata", &[]),
        ] {
            let names = expected.iter().map(|name| (*name).to_owned()).collect();
            let found = of(Api::S3, Refused, "NotImplemented", message);
            assert_eq!(found, Some(Rejected::Metadata(names)), "{message}");
        }
    }

    #[test]
    fn the_ledger_refuses_records_in_its_own_words_only() {
        for (class, code, expected) in [
            (Refused, "ValidationException", Some(Rejected::Record)),
            (Refused, "InvalidRequest", Some(Rejected::Record)),
            (Refused, "Http400", None),
            (Transient, "ValidationException", None),
        ] {
            assert_eq!(of(Api::DynamoDb, class, code, "x-amz-tagging"), expected, "{code}");
        }
        assert_eq!(of(Api::Sqs, Refused, "InvalidRequest", ""), None);
    }
}

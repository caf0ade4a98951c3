//! Drops attributes that the destination rejects.

use crate::error::{ErrorClass, ServiceError};
use crate::outcome::NotPreserved;
use crate::ports::{Attributes, ObjectLock, Tags};

/// The attributes to write with an object, and those dropped so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Headers, metadata, storage class and lock.
    pub attributes: Attributes,
    /// Tags.
    pub tags: Tags,
    /// True if the storage class comes from the object. One set by the job is never dropped.
    pub own_class: bool,
    /// The attributes dropped so far.
    pub losses: NotPreserved,
}

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
/// Headers that are dropped one by one if named.
const HEADERS: &[&str] = &[
    "x-amz-website-redirect-location",
    "content-language",
    "content-disposition",
    "content-encoding",
    "cache-control",
    "content-type",
    "expires",
];

/// Drops the attribute that an error names as rejected, and counts it. Returns false if the error names none, or one
/// that was not sent: a retry would then fail in the same way.
///
/// | code | named in the message | dropped |
/// |---|---|---|
/// | `InvalidTag` | | tags |
/// | `InvalidStorageClass` | | the object's own storage class |
/// | `MetadataTooLarge` | | user metadata |
/// | `ObjectLockConfigurationNotFoundError`, `InvalidRetentionPeriod` | | lock |
/// | any rejection or denial | `x-amz-tagging`, or the permission to write tags | tags |
/// | any rejection | `x-amz-storage-class` | the object's own storage class |
/// | any rejection or denial | `x-amz-object-lock-…`, or the permissions to write locks | lock |
/// | any rejection | `x-amz-meta-NAME` | that value; all user metadata if no value has this name |
/// | any rejection | another header of the object | that header |
///
/// The adapter appends the members `Header` and `ArgumentName` of the error document to the message. Sources: "Error
/// responses" in the S3 API reference; the 501s of Cloudflare R2 ("Header 'x-amz-tagging' with value … not
/// implemented") and the 400s of Backblaze B2 ("Unsupported header 'x-amz-tagging' received for this API call").
pub fn reduce(carried: &mut Carried, error: &ServiceError) -> bool {
    if !matches!(error.class, ErrorClass::Refused | ErrorClass::AccessDenied) {
        return false;
    }
    let text = error.message.to_ascii_lowercase();
    let names = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let refused = error.class == ErrorClass::Refused;
    match error.code.as_str() {
        "InvalidTag" => carried.leave_tags(),
        "InvalidStorageClass" => carried.leave_class(),
        "MetadataTooLarge" => carried.leave_metadata(None),
        "ObjectLockConfigurationNotFoundError" | "InvalidRetentionPeriod" => carried.leave_lock(),
        _ if names(TAGS) => carried.leave_tags(),
        _ if names(LOCK) => carried.leave_lock(),
        _ if !refused => false,
        _ if names(CLASS) => carried.leave_class(),
        _ if names(METADATA) => carried.leave_metadata(Some(&text)),
        _ => HEADERS.iter().find(|header| text.contains(**header)).is_some_and(|header| carried.leave_header(header)),
    }
}

impl Carried {
    fn leave_tags(&mut self) -> bool {
        let some = !self.tags.is_empty();
        self.tags.clear();
        self.losses.lost_tags |= u64::from(some);
        some
    }

    fn leave_class(&mut self) -> bool {
        let some = self.own_class && self.attributes.storage_class.take().is_some();
        self.losses.lost_classes |= u64::from(some);
        some
    }

    fn leave_lock(&mut self) -> bool {
        let some = !self.attributes.lock.is_none();
        self.attributes.lock = ObjectLock::default();
        self.losses.lost_locks |= u64::from(some);
        some
    }

    /// Drops the value whose name occurs in `text`, or all values if none does or `text` is `None`.
    fn leave_metadata(&mut self, text: Option<&str>) -> bool {
        let metadata = &mut self.attributes.metadata;
        let named = |name: &&String| {
            let header = format!("x-amz-meta-{}", name.to_ascii_lowercase());
            text.is_some_and(|text| {
                text.match_indices(&header).any(|(at, _)| {
                    let next = text.get(at + header.len()..).and_then(|rest| rest.chars().next());
                    !next.is_some_and(|next| next.is_ascii_alphanumeric() || next == '-' || next == '_')
                })
            })
        };
        let some = !metadata.is_empty();
        match metadata.keys().find(named).cloned() {
            Some(name) => drop(metadata.remove(&name)),
            None => metadata.clear(),
        }
        self.losses.lost_metadata |= u64::from(some);
        some
    }

    fn leave_header(&mut self, header: &str) -> bool {
        let attributes = &mut self.attributes;
        let value = match header {
            "x-amz-website-redirect-location" => &mut attributes.website_redirect,
            "content-language" => &mut attributes.content_language,
            "content-disposition" => &mut attributes.content_disposition,
            "content-encoding" => &mut attributes.content_encoding,
            "cache-control" => &mut attributes.cache_control,
            "content-type" => &mut attributes.content_type,
            _ => &mut attributes.expires,
        };
        let some = value.take().is_some();
        self.losses.lost_metadata |= u64::from(some);
        some
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carried() -> Carried {
        let attributes = Attributes {
            content_language: Some("de".into()),
            cache_control: Some("no-store".into()),
            website_redirect: Some("/".into()),
            metadata: [("a".to_owned(), "1".to_owned()), ("a-b".to_owned(), "2".to_owned())].into(),
            storage_class: Some("STANDARD_IA".into()),
            lock: ObjectLock { retention: None, legal_hold: true },
            ..Attributes::default()
        };
        let tags = vec![("t".to_owned(), "v".to_owned())];
        Carried { attributes, tags, own_class: true, losses: NotPreserved::default() }
    }

    const NONE: NotPreserved =
        NotPreserved { lost_tags: 0, lost_locks: 0, lost_metadata: 0, lost_classes: 0, lost_encryption: 0 };
    const TAGS: NotPreserved = NotPreserved { lost_tags: 1, ..NONE };
    const CLASS: NotPreserved = NotPreserved { lost_classes: 1, ..NONE };
    const METADATA: NotPreserved = NotPreserved { lost_metadata: 1, ..NONE };
    const LOCK: NotPreserved = NotPreserved { lost_locks: 1, ..NONE };

    #[test]
    fn what_an_error_names_is_left_behind_and_counted_once() {
        use ErrorClass::{AccessDenied, Refused, Transient};
        for (class, code, message, lost) in [
            (Refused, "InvalidTag", "The tag provided was not a valid tag.", TAGS),
            (Refused, "InvalidStorageClass", "", CLASS),
            (Refused, "MetadataTooLarge", "", METADATA),
            (Refused, "ObjectLockConfigurationNotFoundError", "", LOCK),
            (Refused, "NotImplemented", "Header 'x-amz-tagging' with value 't=v' not implemented", TAGS),
            (Refused, "InvalidArgument", "Unsupported header 'x-amz-tagging' received for this API call.", TAGS),
            (Refused, "NotImplemented", "not implemented; Header: x-amz-storage-class", CLASS),
            (Refused, "NotImplemented", "not implemented; Header: x-amz-website-redirect-location", METADATA),
            (Refused, "NotImplemented", "not implemented; Header: Content-Language", METADATA),
            (Refused, "InvalidRequest", "Bucket is missing Object Lock Configuration", LOCK),
            (Refused, "InvalidArgument", "The retain until date must be in the future!", LOCK),
            (AccessDenied, "AccessDenied", "not authorized to perform: s3:PutObjectTagging on resource", TAGS),
            (AccessDenied, "AccessDenied", "not authorized to perform: s3:PutObjectRetention", LOCK),
            (AccessDenied, "AccessDenied", "Access Denied", NONE),
            (AccessDenied, "AccessDenied", "Access Denied; Header: Cache-Control", NONE),
            (Refused, "NotImplemented", "a header you provided implies functionality that is not implemented", NONE),
            (Refused, "NotImplemented", "not implemented; Header: Content-Disposition", NONE),
            (Transient, "InternalError", "x-amz-tagging", NONE),
        ] {
            let (mut carried, error) = (carried(), ServiceError::new(class, "put object", code, message));
            assert_eq!(reduce(&mut carried, &error), lost != NONE, "{code} {message}");
            assert_eq!(carried.losses, lost, "{code} {message}");
            if lost != METADATA {
                assert!(!reduce(&mut carried, &error), "nothing is left to leave behind: {code} {message}");
            }
            assert_eq!(carried.losses, lost, "{code} {message}");
        }
    }

    #[test]
    fn one_value_is_left_behind_where_one_is_named() {
        let error = |name: &str| {
            let message = format!("Header 'x-amz-meta-{name}' not implemented");
            ServiceError::new(ErrorClass::Refused, "put object", "NotImplemented", message)
        };
        let names = |carried: &Carried| carried.attributes.metadata.keys().cloned().collect::<Vec<_>>();
        let mut some = carried();
        assert!(reduce(&mut some, &error("a-b")));
        assert_eq!(names(&some), ["a"]);
        assert!(reduce(&mut some, &error("unknown")), "named by a name that nobody gave: all of them");
        assert!(names(&some).is_empty());
        assert!(!reduce(&mut some, &error("a")));
    }

    #[test]
    fn a_class_that_the_job_sets_is_not_left_out() {
        let mut set = Carried { own_class: false, ..carried() };
        let error = ServiceError::new(ErrorClass::Refused, "put object", "InvalidStorageClass", "");
        assert!(!reduce(&mut set, &error));
        assert!(set.attributes.storage_class.is_some());
    }
}

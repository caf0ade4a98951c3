//! Drops attributes that the destination rejects.

use crate::error::{ContentHeader, ErrorClass, Rejected, ServiceError};
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

/// Drops the attribute that an error names as rejected, and counts it. Returns false if the error names none, or one
/// that was not sent: a retry would then fail in the same way.
///
/// | refused or denied | left behind |
/// |---|---|
/// | tags | tags |
/// | storage class | the object's own, not the job's |
/// | lock | retention and legal hold |
/// | metadata, by a name that the object has | that value |
/// | metadata, by no such name | all user metadata |
/// | a header | that header |
/// | anything else | nothing |
pub fn reduce(carried: &mut Carried, error: &ServiceError) -> bool {
    if !matches!(error.class, ErrorClass::Refused | ErrorClass::AccessDenied) {
        return false;
    }
    match error.rejected.as_deref() {
        Some(Rejected::Tags) => carried.leave_tags(),
        Some(Rejected::StorageClass) => carried.leave_class(),
        Some(Rejected::Lock) => carried.leave_lock(),
        Some(Rejected::Metadata(names)) => carried.leave_metadata(names),
        Some(Rejected::Header(header)) => carried.leave_header(*header),
        Some(Rejected::Condition | Rejected::Range | Rejected::Digest | Rejected::Record) | None => false,
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

    /// The one value that has one of these names, in lower case; all of them where none has.
    fn leave_metadata(&mut self, names: &[String]) -> bool {
        let metadata = &mut self.attributes.metadata;
        let some = !metadata.is_empty();
        match metadata.keys().find(|name| names.contains(&name.to_ascii_lowercase())).cloned() {
            Some(name) => drop(metadata.remove(&name)),
            None => metadata.clear(),
        }
        self.losses.lost_metadata |= u64::from(some);
        some
    }

    fn leave_header(&mut self, header: ContentHeader) -> bool {
        let attributes = &mut self.attributes;
        let value = match header {
            ContentHeader::WebsiteRedirect => &mut attributes.website_redirect,
            ContentHeader::ContentLanguage => &mut attributes.content_language,
            ContentHeader::ContentDisposition => &mut attributes.content_disposition,
            ContentHeader::ContentEncoding => &mut attributes.content_encoding,
            ContentHeader::CacheControl => &mut attributes.cache_control,
            ContentHeader::ContentType => &mut attributes.content_type,
            ContentHeader::Expires => &mut attributes.expires,
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

    fn error(class: ErrorClass, rejected: Option<Rejected>) -> ServiceError {
        ServiceError::new(class, "put object", "NotImplemented", "").rejecting(rejected)
    }

    #[test]
    fn what_an_error_names_is_left_behind_and_counted_once() {
        use ErrorClass::{AccessDenied, Refused, Transient};
        for (class, rejected, lost) in [
            (Refused, Some(Rejected::Tags), TAGS),
            (AccessDenied, Some(Rejected::Tags), TAGS),
            (Refused, Some(Rejected::StorageClass), CLASS),
            (Refused, Some(Rejected::Lock), LOCK),
            (AccessDenied, Some(Rejected::Lock), LOCK),
            (Refused, Some(Rejected::Metadata(Vec::new())), METADATA),
            (Refused, Some(Rejected::Header(ContentHeader::WebsiteRedirect)), METADATA),
            (Refused, Some(Rejected::Header(ContentHeader::ContentLanguage)), METADATA),
            (Refused, Some(Rejected::Header(ContentHeader::ContentDisposition)), NONE),
            (Refused, Some(Rejected::Condition), NONE),
            (Refused, None, NONE),
            (AccessDenied, None, NONE),
            (Transient, Some(Rejected::Tags), NONE),
        ] {
            let (mut carried, error) = (carried(), error(class, rejected));
            assert_eq!(reduce(&mut carried, &error), lost != NONE, "{error:?}");
            assert_eq!(carried.losses, lost, "{error:?}");
            assert!(!reduce(&mut carried, &error), "nothing is left to leave behind: {error:?}");
            assert_eq!(carried.losses, lost, "{error:?}");
        }
    }

    #[test]
    fn one_value_is_left_behind_where_one_is_named() {
        let error = |name: &str| error(ErrorClass::Refused, Some(Rejected::Metadata(vec![name.to_owned()])));
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
        assert!(!reduce(&mut set, &error(ErrorClass::Refused, Some(Rejected::StorageClass))));
        assert!(set.attributes.storage_class.is_some());
    }
}

//! Detects attributes that the destination dropped.

use crate::config::{Encryption, STANDARD, WriteSettings};
use crate::outcome::NotPreserved;
use crate::ports::{Attributes, ObjectHead, ObjectLock};

/// The attributes that an object was written with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Headers, metadata, storage class and lock.
    pub attributes: Attributes,
    /// Number of tags.
    pub tags: u32,
}

/// Compares the HEAD of a written object with the attributes sent, and returns those that are missing; a service may
/// silently ignore headers that it does not support. A service may return more than was sent, in other case and with
/// other spacing; non-ASCII metadata may come back encoded (RFC 2047) and is taken as preserved.
///
/// | attribute | missing if |
/// |---|---|
/// | headers | one that was sent is absent or differs |
/// | metadata | a value that was sent is absent or differs |
/// | tags | the count is lower |
/// | storage class | it differs from the one requested; `STANDARD` and none are the same |
/// | lock | mode or hold is absent, or the retention ends earlier |
/// | encryption | it differs from the one the job requests |
pub fn missing(asked: &Asked, settings: &WriteSettings, found: &ObjectHead) -> NotPreserved {
    let (sent, there) = (&asked.attributes, &found.attributes);
    let class = settings.storage_class.as_ref().or(sent.storage_class.as_ref());
    let encryption = settings.encryption.as_ref().map(Encryption::kind);
    let lost = |lost: bool| u64::from(lost);
    NotPreserved {
        lost_tags: lost(found.tag_count < asked.tags),
        lost_locks: lost(!holds(&sent.lock, &there.lock)),
        lost_metadata: lost(!headers_are_there(sent, there) || !metadata_is_there(sent, there)),
        lost_classes: lost(class.is_some_and(|class| of_class(Some(class)) != of_class(there.storage_class.as_ref()))),
        lost_encryption: lost(encryption.is_some() && found.encryption != encryption),
    }
}

fn of_class(class: Option<&String>) -> &str {
    class.map_or(STANDARD, String::as_str)
}

fn holds(asked: &ObjectLock, found: &ObjectLock) -> bool {
    let retention = match (asked.retention, found.retention) {
        (None, _) => true,
        // Headers have a resolution of one second.
        (Some(asked), Some(found)) => asked.mode == found.mode && asked.until / 1_000 <= found.until / 1_000,
        (Some(_), None) => false,
    };
    retention && (found.legal_hold || !asked.legal_hold)
}

fn headers_are_there(sent: &Attributes, there: &Attributes) -> bool {
    [
        (&sent.content_type, &there.content_type),
        (&sent.content_encoding, &there.content_encoding),
        (&sent.content_language, &there.content_language),
        (&sent.content_disposition, &there.content_disposition),
        (&sent.cache_control, &there.cache_control),
        (&sent.expires, &there.expires),
        (&sent.website_redirect, &there.website_redirect),
    ]
    .into_iter()
    .all(|(sent, there)| sent.as_ref().is_none_or(|sent| is_same(sent, there.as_deref())))
}

fn metadata_is_there(sent: &Attributes, there: &Attributes) -> bool {
    sent.metadata
        .iter()
        .all(|(name, value)| is_same(value, there.metadata.get(&name.to_ascii_lowercase()).map(String::as_str)))
}

fn is_same(sent: &str, there: Option<&str>) -> bool {
    let Some(there) = there else { return false };
    let plain = |text: &str| text.split_whitespace().collect::<String>().to_ascii_lowercase();
    !sent.is_ascii() || plain(sent) == plain(there)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::EncryptionKind;
    use crate::ports::{Retention, RetentionMode};

    const NONE: NotPreserved =
        NotPreserved { lost_tags: 0, lost_locks: 0, lost_metadata: 0, lost_classes: 0, lost_encryption: 0 };

    fn attributes() -> Attributes {
        let retention = Retention { mode: RetentionMode::Governance, until: 5_900 };
        Attributes {
            content_type: Some("text/html; charset=UTF-8".into()),
            expires: Some("0".into()),
            metadata: [("Name".to_owned(), "a b".to_owned()), ("city".to_owned(), "Zürich".to_owned())].into(),
            storage_class: Some("STANDARD_IA".into()),
            lock: ObjectLock { retention: Some(retention), legal_hold: true },
            ..Attributes::default()
        }
    }

    fn asked() -> Asked {
        Asked { attributes: attributes(), tags: 2 }
    }

    /// The HEAD as returned by a service that keeps everything.
    fn found() -> ObjectHead {
        let attributes = Attributes {
            content_type: Some("text/html;charset=utf-8".into()),
            cache_control: Some("added by the service".into()),
            metadata: [("name", "a b"), ("city", "=?UTF-8?B?WsO8cmljaA==?="), ("more", "x")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            ..attributes()
        };
        ObjectHead { tag_count: 2, encryption: Some(EncryptionKind::ManagedKey), attributes, ..ObjectHead::default() }
    }

    #[test]
    fn nothing_is_missing_where_more_or_the_same_in_other_words_is_there() {
        let kms = WriteSettings { encryption: Some(Encryption::Kms { kms_key_id: None }), ..WriteSettings::default() };
        assert_eq!(missing(&asked(), &kms, &found()), NONE);
        assert_eq!(missing(&Asked::default(), &WriteSettings::default(), &found()), NONE);
        let standard = Attributes { storage_class: Some("STANDARD".into()), ..Attributes::default() };
        let asked = Asked { attributes: standard, tags: 0 };
        assert_eq!(missing(&asked, &WriteSettings::default(), &ObjectHead::default()), NONE);
    }

    #[test]
    fn what_a_service_dropped_is_missing() {
        type Drop = fn(&mut ObjectHead);
        let kms = WriteSettings { encryption: Some(Encryption::Kms { kms_key_id: None }), ..WriteSettings::default() };
        let dropped: [(Drop, NotPreserved); 9] = [
            (|found| found.tag_count = 1, NotPreserved { lost_tags: 1, ..NONE }),
            (|found| found.attributes.content_type = None, NotPreserved { lost_metadata: 1, ..NONE }),
            (|found| found.attributes.expires = Some("1".into()), NotPreserved { lost_metadata: 1, ..NONE }),
            (|found| drop(found.attributes.metadata.remove("name")), NotPreserved { lost_metadata: 1, ..NONE }),
            (|found| found.attributes.storage_class = None, NotPreserved { lost_classes: 1, ..NONE }),
            (|found| found.attributes.lock.legal_hold = false, NotPreserved { lost_locks: 1, ..NONE }),
            (|found| found.attributes.lock.retention = None, NotPreserved { lost_locks: 1, ..NONE }),
            (|found| found.encryption = None, NotPreserved { lost_encryption: 1, ..NONE }),
            (|found| found.encryption = Some(EncryptionKind::ServiceKeys), NotPreserved { lost_encryption: 1, ..NONE }),
        ];
        for (number, (drop, lost)) in dropped.into_iter().enumerate() {
            let mut found = found();
            drop(&mut found);
            assert_eq!(missing(&asked(), &kms, &found), lost, "row {number}");
        }
        let set = WriteSettings { storage_class: Some("GLACIER_IR".into()), ..kms };
        assert_eq!(missing(&asked(), &set, &found()), NotPreserved { lost_classes: 1, ..NONE }, "the job's own class");
    }
}

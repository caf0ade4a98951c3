//! Decides which attributes of an object are preserved and which are not.

use crate::config::Preserve;
use crate::outcome::NotPreserved;
use crate::ports::{Attributes, ObjectHead, ObjectLock};

pub use found::{Asked, missing};
pub use refusal::{Carried, reduce};

mod found;
mod refusal;

/// The attributes to write with an object, and those left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PreservedAttributes {
    /// Headers, metadata, storage class and lock to write.
    pub attributes: Attributes,
    /// True if the tags have to be read and written.
    pub tags: bool,
    /// Everything left out, by the job's settings or because it cannot be transferred.
    pub losses: NotPreserved,
    /// The part of `losses` that the job's settings ask to preserve.
    pub unmet: NotPreserved,
}

/// Selects the attributes to write with an object.
///
/// | attribute | preserved | counted as not preserved |
/// |---|---|---|
/// | content headers, user metadata, website redirect | with `preserve.metadata` | otherwise, if the object has any |
/// | headers and metadata that cannot be transferred ([`Attributes::missing_metadata`]) | never | always |
/// | tags | with `preserve.tags` | otherwise, if the object has any |
/// | retention, legal hold | with `preserve.objectLock` | otherwise, if the object has any |
/// | storage class | unless the job sets another | later, if the destination does not have it |
pub fn preserved_attributes(head: &ObjectHead, preserve: Preserve) -> PreservedAttributes {
    let mut attributes = head.attributes.clone();
    let mut losses =
        NotPreserved { lost_metadata: u64::from(attributes.missing_metadata > 0), ..NotPreserved::default() };
    let unmet = if preserve.metadata { losses } else { NotPreserved::default() };
    if !preserve.metadata {
        let Attributes { storage_class, lock, .. } = attributes.clone();
        let bare = Attributes { storage_class, lock, ..Attributes::default() };
        losses.lost_metadata = u64::from(attributes != bare);
        attributes = bare;
    }
    if !preserve.object_lock && !attributes.lock.is_none() {
        attributes.lock = ObjectLock::default();
        losses.lost_locks = 1;
    }
    losses.lost_tags = u64::from(!preserve.tags && head.tag_count > 0);
    PreservedAttributes { attributes, tags: preserve.tags && head.tag_count > 0, losses, unmet }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::OnLoss;

    fn preserve(all: bool) -> Preserve {
        Preserve { metadata: all, tags: all, object_lock: all, on_loss: OnLoss::Count }
    }

    fn head() -> ObjectHead {
        let attributes = Attributes {
            content_type: Some("text/plain".into()),
            metadata: [("a".to_owned(), "b".to_owned())].into(),
            storage_class: Some("STANDARD_IA".into()),
            lock: ObjectLock { retention: None, legal_hold: true },
            ..Attributes::default()
        };
        ObjectHead { tag_count: 2, attributes, ..ObjectHead::default() }
    }

    #[test]
    fn everything_is_taken_where_everything_is_wanted() {
        let taken = preserved_attributes(&head(), preserve(true));
        assert_eq!(
            taken,
            PreservedAttributes { attributes: head().attributes, tags: true, ..PreservedAttributes::default() }
        );
    }

    #[test]
    fn what_is_left_behind_is_counted() {
        let taken = preserved_attributes(&head(), preserve(false));
        let lost = NotPreserved { lost_tags: 1, lost_locks: 1, lost_metadata: 1, ..NotPreserved::default() };
        assert_eq!((taken.losses, taken.unmet), (lost, NotPreserved::default()), "the job's choice");
        let class = Attributes { storage_class: Some("STANDARD_IA".into()), ..Attributes::default() };
        assert_eq!((taken.attributes, taken.tags), (class, false));
        let mut missing = head();
        missing.attributes.missing_metadata = 1;
        let taken = preserved_attributes(&missing, Preserve::default());
        assert_eq!((taken.losses.lost_metadata, taken.unmet.lost_metadata), (1, 1));
    }

    #[test]
    fn an_object_without_luggage_loses_nothing() {
        assert_eq!(preserved_attributes(&ObjectHead::default(), preserve(false)), PreservedAttributes::default());
    }
}

//! What is taken along with an object's bytes, and what is left behind.

use crate::config::Preserve;
use crate::outcome::Losses;
use crate::ports::{Attributes, ObjectHead};

/// What is taken along.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Luggage {
    /// What is written with the object.
    pub attributes: Attributes,
    /// Whether its tags have to be asked for.
    pub tags: bool,
    /// What is left behind.
    pub losses: Losses,
}

/// What is taken along with an object.
///
/// | what | taken along | counted as lost |
/// |---|---|---|
/// | content headers, user metadata, website redirect | with `preserve.metadata` | without, where the object has some |
/// | metadata that the service can't give (`x-amz-missing-meta`) | never | always |
/// | tags | with `preserve.tags` | without, where the object has some |
/// | retention, legal hold | with `preserve.objectLock` | without, where the object has one |
/// | storage class | unless the job sets another | by who finds that the destination does not have it |
pub fn luggage(head: &ObjectHead, preserve: Preserve) -> Luggage {
    let mut attributes = head.attributes.clone();
    let mut losses = Losses { lost_metadata: u64::from(attributes.missing_metadata > 0), ..Losses::default() };
    if !preserve.metadata {
        let Attributes { storage_class, lock, .. } = attributes.clone();
        let bare = Attributes { storage_class, lock, ..Attributes::default() };
        losses.lost_metadata = u64::from(attributes != bare);
        attributes = bare;
    }
    if !preserve.object_lock && !attributes.lock.is_none() {
        attributes.lock = crate::ports::ObjectLock::default();
        losses.lost_locks = 1;
    }
    losses.lost_tags = u64::from(!preserve.tags && head.tag_count > 0);
    Luggage { attributes, tags: preserve.tags && head.tag_count > 0, losses }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::ObjectLock;

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
        let taken = luggage(&head(), Preserve { metadata: true, tags: true, object_lock: true });
        assert_eq!(taken, Luggage { attributes: head().attributes, tags: true, losses: Losses::default() });
    }

    #[test]
    fn what_is_left_behind_is_counted() {
        let taken = luggage(&head(), Preserve { metadata: false, tags: false, object_lock: false });
        assert_eq!(taken.losses, Losses { lost_tags: 1, lost_locks: 1, lost_metadata: 1, lost_classes: 0 });
        let class = Attributes { storage_class: Some("STANDARD_IA".into()), ..Attributes::default() };
        assert_eq!((taken.attributes, taken.tags), (class, false));
        let mut missing = head();
        missing.attributes.missing_metadata = 1;
        assert_eq!(luggage(&missing, Preserve::default()).losses.lost_metadata, 1);
    }

    #[test]
    fn an_object_without_luggage_loses_nothing() {
        let nothing = Preserve { metadata: false, tags: false, object_lock: false };
        assert_eq!(luggage(&ObjectHead::default(), nothing), Luggage::default());
    }
}

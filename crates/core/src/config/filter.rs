//! Filters source objects by the size, time and storage class that a listing shows.

use serde::{Deserialize, Serialize};

use super::ConfigError;

/// Storage class of an object whose listing names none.
/// Source: "Object" in the S3 API reference, member `StorageClass`.
pub const STANDARD: &str = "STANDARD";

/// Bounds on size and modification time, and accepted storage classes. Objects outside are skipped and counted as
/// ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ObjectFilter {
    /// Minimum size, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_size: Option<u64>,
    /// Maximum size, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_size: Option<u64>,
    /// Earliest modification time, as Unix time in milliseconds, inclusive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modified_after: Option<i64>,
    /// Latest modification time, as Unix time in milliseconds, exclusive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modified_before: Option<i64>,
    /// Accepted storage classes; empty means all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub storage_classes: Vec<String>,
}

impl ObjectFilter {
    /// Returns true if nothing is filtered out.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Returns true if an object of `size` bytes, modified at `modified` (Unix milliseconds), passes the filter. No
    /// storage class means [`STANDARD`].
    pub fn keeps(&self, size: u64, modified: i64, storage_class: Option<&str>) -> bool {
        self.min_size.is_none_or(|least| size >= least)
            && self.max_size.is_none_or(|most| size <= most)
            && self.modified_after.is_none_or(|after| modified >= after)
            && self.modified_before.is_none_or(|before| modified < before)
            && (self.storage_classes.is_empty()
                || self.storage_classes.iter().any(|class| class == storage_class.unwrap_or(STANDARD)))
    }

    /// Rejects bounds that exclude every object.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let bounds = |field, value: String, bounds: String| Err(ConfigError::Bounds { field, value, bounds });
        if let (Some(least), Some(most)) = (self.min_size, self.max_size)
            && least > most
        {
            return bounds("filters.maxSize", most.to_string(), format!("at least {least}, the minSize"));
        }
        if let (Some(after), Some(before)) = (self.modified_after, self.modified_before)
            && after >= before
        {
            return bounds("filters.modifiedBefore", before.to_string(), format!("after {after}, the modifiedAfter"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_kept_as_the_bounds_say() {
        let all = ObjectFilter::default;
        let classes = || ObjectFilter { storage_classes: vec![STANDARD.into(), "STANDARD_IA".into()], ..all() };
        for (filter, size, modified, class, kept) in [
            (all(), 0, 0, Some("GLACIER"), true),
            (ObjectFilter { min_size: Some(5), ..all() }, 4, 0, None, false),
            (ObjectFilter { min_size: Some(5), ..all() }, 5, 0, None, true),
            (ObjectFilter { max_size: Some(5), ..all() }, 5, 0, None, true),
            (ObjectFilter { max_size: Some(5), ..all() }, 6, 0, None, false),
            (ObjectFilter { modified_after: Some(5), ..all() }, 0, 4, None, false),
            (ObjectFilter { modified_after: Some(5), ..all() }, 0, 5, None, true),
            (ObjectFilter { modified_before: Some(5), ..all() }, 0, 4, None, true),
            (ObjectFilter { modified_before: Some(5), ..all() }, 0, 5, None, false),
            (classes(), 0, 0, None, true),
            (classes(), 0, 0, Some("STANDARD_IA"), true),
            (classes(), 0, 0, Some("GLACIER"), false),
            (ObjectFilter { storage_classes: vec!["GLACIER".into()], ..all() }, 0, 0, None, false),
        ] {
            assert_eq!(filter.keeps(size, modified, class), kept, "{filter:?} {size} {modified} {class:?}");
        }
    }

    #[test]
    fn bounds_with_nothing_between_them_are_refused() {
        let filter = |min_size, max_size, modified_after, modified_before| {
            let storage_classes = Vec::new();
            ObjectFilter { min_size, max_size, modified_after, modified_before, storage_classes }.validate()
        };
        assert!(filter(Some(5), Some(5), Some(1), Some(2)).is_ok());
        assert!(filter(Some(6), Some(5), None, None).unwrap_err().to_string().contains("filters.maxSize is 5"));
        assert!(filter(None, None, Some(2), Some(2)).unwrap_err().to_string().contains("modifiedBefore is 2"));
    }
}

//! Ranges of keys. A listing is split into ranges that are listed in parallel and completed one by one.

use serde::{Deserialize, Serialize};

/// The keys after `after`, up to and including `until`, in byte order. A missing bound leaves that side open.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeyRange {
    /// Exclusive lower bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Inclusive upper bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

impl KeyRange {
    /// Returns true if the key is in the range.
    pub fn contains(&self, key: &str) -> bool {
        self.after.as_deref().is_none_or(|after| key > after) && !self.is_past(key)
    }

    /// Returns true if the key lies after the range.
    pub fn is_past(&self, key: &str) -> bool {
        self.until.as_deref().is_some_and(|until| key > until)
    }

    /// Ends the range at `at`, inclusive, and returns the rest, so that each key is in exactly one of them. Returns
    /// `None` and changes nothing if one of them would be empty.
    pub fn cut(&mut self, at: &str) -> Option<Self> {
        let within = self.contains(at) && self.until.as_deref() != Some(at);
        within.then(|| Self { after: Some(at.to_owned()), until: self.until.replace(at.to_owned()) })
    }
}

/// A gap or overlap between ranges.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to join key ranges: one ends at {until:?}, but the next begins after {after:?}")]
pub struct GapError {
    until: Option<String>,
    after: Option<String>,
}

/// Checks that ranges cover every key exactly once.
pub fn check_parts(ranges: &mut [KeyRange]) -> Result<(), GapError> {
    // A missing lower bound sorts first.
    ranges.sort_by(|a, b| a.after.cmp(&b.after));
    let mut end = None;
    for (place, range) in ranges.iter().enumerate() {
        let joins = if place == 0 { range.after.is_none() } else { end.is_some() && range.after == end };
        if !joins {
            return Err(GapError { until: end, after: range.after.clone() });
        }
        end.clone_from(&range.until);
    }
    if ranges.is_empty() || end.is_some() { Err(GapError { until: end, after: None }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(after: &str, until: &str) -> KeyRange {
        let bound = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        KeyRange { after: bound(after), until: bound(until) }
    }

    #[test]
    fn ranges_that_leave_keys_out_or_have_them_twice_are_refused() {
        for (ranges, fits) in [
            (vec![range("", "")], true),
            (vec![range("m", ""), range("", "m")], true),
            (vec![], false),
            (vec![range("", "m")], false),
            (vec![range("m", "")], false),
            (vec![range("", "l"), range("m", "")], false),
            (vec![range("", "n"), range("m", "")], false),
            (vec![range("", ""), range("m", "")], false),
            (vec![range("", ""), range("", "")], false),
        ] {
            assert_eq!(check_parts(&mut ranges.clone()).is_ok(), fits, "{ranges:?}");
        }
    }

    proptest! {
        #[test]
        fn cuts_partition_the_keys(
            cuts in prop::collection::vec("[a-c/é]{0,3}", 0..8),
            key in "[a-c/é\u{1f600}]{0,4}",
        ) {
            let mut ranges = vec![KeyRange::default()];
            for at in cuts {
                let rest = ranges.iter_mut().find_map(|range| range.cut(&at));
                ranges.extend(rest);
            }
            prop_assert_eq!(ranges.iter().filter(|range| range.contains(&key)).count(), 1);
            prop_assert_eq!(check_parts(&mut ranges), Ok(()));
        }
    }
}

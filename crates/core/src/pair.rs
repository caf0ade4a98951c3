//! Bucket pairs, and the mapping of keys between them.

use serde::{Deserialize, Serialize};

/// Maximum length of a key, in bytes of UTF-8.
/// Source: "Naming Amazon S3 objects" in the S3 user guide.
pub const MAX_KEY_BYTES: usize = 1024;

/// How the source prefix appears in the destination key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum PrefixMode {
    /// Destination key = destination prefix + whole source key, as in the predecessor.
    #[default]
    Append,
    /// Destination key = destination prefix + source key without the source prefix.
    Replace,
}

/// A source bucket and prefix, and the destination of its objects. Both prefixes are plain strings, as in S3.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BucketPair {
    /// The bucket to read from.
    pub source_bucket: String,
    /// Only keys that start with this are moved; empty means all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source_prefix: String,
    /// The bucket to write to.
    pub destination_bucket: String,
    /// Prepended to each destination key.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub destination_prefix: String,
    /// How the source prefix appears in the destination key.
    #[serde(default)]
    pub prefix_mode: PrefixMode,
}

/// Why a source key cannot be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapKeyError {
    /// The key is not under the pair's source prefix.
    #[error("failed to map key: it does not start with the pair's source prefix")]
    OutsidePrefix,
    /// The destination key would be empty: the key equals the source prefix, in mode `Replace` with an empty
    /// destination prefix.
    #[error("failed to map key: the destination key would be empty; set a destinationPrefix or prefixMode Append")]
    Empty,
    /// The destination key would exceed [`MAX_KEY_BYTES`].
    #[error(
        "failed to map key: the destination key would have {0} bytes and S3 takes {MAX_KEY_BYTES}; shorten destinationPrefix"
    )]
    TooLong(usize),
}

impl BucketPair {
    /// Returns the destination key of a source key. Keys are opaque: they are not normalized, joined with `/`, or
    /// decoded.
    pub fn map_key(&self, source_key: &str) -> Result<String, MapKeyError> {
        let rest = source_key.strip_prefix(self.source_prefix.as_str()).ok_or(MapKeyError::OutsidePrefix)?;
        let tail = match self.prefix_mode {
            PrefixMode::Append => source_key,
            PrefixMode::Replace => rest,
        };
        match self.destination_prefix.len() + tail.len() {
            0 => Err(MapKeyError::Empty),
            n if n > MAX_KEY_BYTES => Err(MapKeyError::TooLong(n)),
            n => {
                let mut key = String::with_capacity(n);
                key.push_str(&self.destination_prefix);
                key.push_str(tail);
                Ok(key)
            }
        }
    }

    /// Returns the source key that maps to a destination key, or `None` if no key of the pair does.
    pub fn source_key(&self, destination_key: &str) -> Option<String> {
        let rest = destination_key.strip_prefix(self.destination_range().as_str())?;
        Some(format!("{}{rest}", self.source_prefix))
    }

    /// Maps a bound of source keys to a bound of destination keys: a key follows the one if and only if its mapped key
    /// follows the other. A bound is not a key and may be longer. Returns `None` for a bound before all keys of the
    /// pair.
    pub fn map_bound(&self, bound: &str) -> Option<String> {
        let rest = bound.strip_prefix(self.source_prefix.as_str())?;
        Some(format!("{}{rest}", self.destination_range()))
    }

    /// Returns the prefix of all mapped keys, which is what has to be listed at the destination.
    pub fn destination_range(&self) -> String {
        match self.prefix_mode {
            PrefixMode::Append => format!("{}{}", self.destination_prefix, self.source_prefix),
            PrefixMode::Replace => self.destination_prefix.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pair(source_prefix: &str, destination_prefix: &str, prefix_mode: PrefixMode) -> BucketPair {
        BucketPair {
            source_bucket: "from".into(),
            source_prefix: source_prefix.into(),
            destination_bucket: "to".into(),
            destination_prefix: destination_prefix.into(),
            prefix_mode,
        }
    }

    #[test]
    fn maps_keys_as_plain_strings() {
        use PrefixMode::{Append, Replace};
        for (source, destination, mode, key, expected) in [
            ("", "", Append, "a//b", Ok("a//b")),
            ("", "p/", Append, "/a", Ok("p//a")),
            ("logs/", "copy/", Append, "logs/1", Ok("copy/logs/1")),
            ("logs/", "copy/", Replace, "logs/1", Ok("copy/1")),
            ("logs/", "copy", Replace, "logs/", Ok("copy")),
            ("logs/", "", Replace, "logs/", Err(MapKeyError::Empty)),
            ("logs/", "", Append, "log", Err(MapKeyError::OutsidePrefix)),
            ("", "", Append, "a/./../b%41+ ", Ok("a/./../b%41+ ")),
        ] {
            assert_eq!(pair(source, destination, mode).map_key(key).as_deref(), expected.as_ref().map(|k| *k), "{key}");
        }
    }

    #[test]
    fn a_key_of_1024_bytes_fits_under_an_empty_prefix_only() {
        let key = "é".repeat(512);
        assert_eq!(pair("", "", PrefixMode::Append).map_key(&key).as_deref(), Ok(key.as_str()));
        assert_eq!(pair("", "x", PrefixMode::Append).map_key(&key), Err(MapKeyError::TooLong(1025)));
    }

    proptest! {
        #[test]
        fn mapping_keeps_byte_order(a in "[a-c/%é]{0,6}", b in "[a-c/%é]{0,6}", d in "[a/]{0,2}", replace in any::<bool>()) {
            let pair = pair("s/", &d, if replace { PrefixMode::Replace } else { PrefixMode::Append });
            let (a, b) = (format!("s/{a}"), format!("s/{b}"));
            if let (Ok(x), Ok(y)) = (pair.map_key(&a), pair.map_key(&b)) {
                prop_assert_eq!(a.as_bytes().cmp(b.as_bytes()), x.as_bytes().cmp(y.as_bytes()));
                prop_assert!(x.starts_with(&pair.destination_range()));
                let bound = pair.map_bound(&a).unwrap();
                prop_assert_eq!(b.as_bytes() > a.as_bytes(), y.as_bytes() > bound.as_bytes());
                prop_assert_eq!(pair.source_key(&x), Some(a));
            }
        }

        #[test]
        fn keys_of_a_pair_never_collide(a in "[a-b/]{0,4}", b in "[a-b/]{0,4}", d in "[a/]{0,2}", replace in any::<bool>()) {
            let pair = pair("s/", &d, if replace { PrefixMode::Replace } else { PrefixMode::Append });
            let (a, b) = (format!("s/{a}"), format!("s/{b}"));
            if let (Ok(x), Ok(y)) = (pair.map_key(&a), pair.map_key(&b)) {
                prop_assert_eq!(a == b, x == y);
            }
        }
    }
}

//! Locations on the command line: `s3://bucket/prefix`.

use std::str::FromStr;

/// A bucket and a prefix in it, as given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The bucket.
    pub bucket: String,
    /// What follows the bucket and a slash; empty for the whole bucket.
    pub prefix: String,
}

/// A text that is no location.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    /// It has no scheme, so that it may be meant as a path.
    #[error(
        "local directories are not supported: s3migrate copies between S3 buckets; write s3://BUCKET or s3://BUCKET/PREFIX"
    )]
    Local,
    /// It has another scheme.
    #[error("{0}:// is not supported; write s3://BUCKET or s3://BUCKET/PREFIX")]
    Scheme(String),
    /// It has no bucket.
    #[error("the bucket is missing; write s3://BUCKET or s3://BUCKET/PREFIX")]
    NoBucket,
}

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, LocationError> {
        let Some((scheme, rest)) = text.split_once("://") else { return Err(LocationError::Local) };
        match scheme {
            "s3" => {}
            "file" => return Err(LocationError::Local),
            other => return Err(LocationError::Scheme(other.to_owned())),
        }
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(LocationError::NoBucket);
        }
        Ok(Self { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }
}

impl Location {
    /// Returns the prefix that keys start with: a directory, unless prefixes are taken as strings.
    ///
    /// | given | as a directory | as a string |
    /// |---|---|---|
    /// | `s3://b`, `s3://b/` | all keys | all keys |
    /// | `s3://b/photo` | `photo/` | `photo` |
    /// | `s3://b/photo/` | `photo/` | `photo/` |
    pub fn key_prefix(&self, as_string: bool) -> String {
        let mut prefix = self.prefix.clone();
        if !(as_string || prefix.is_empty() || prefix.ends_with('/')) {
            prefix.push('/');
        }
        prefix
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_read_as_the_tools_of_aws_do() {
        for (text, bucket, directory, string) in [
            ("s3://b", "b", "", ""),
            ("s3://b/", "b", "", ""),
            ("s3://b/photo", "b", "photo/", "photo"),
            ("s3://b/photo/", "b", "photo/", "photo/"),
            ("s3://b/a//c d", "b", "a//c d/", "a//c d"),
            ("s3://b//", "b", "/", "/"),
        ] {
            let location: Location = text.parse().unwrap();
            assert_eq!(location.bucket, bucket);
            assert_eq!((location.key_prefix(false), location.key_prefix(true)), (directory.into(), string.into()));
        }
    }

    #[test]
    fn what_is_no_bucket_is_refused_with_the_reason() {
        for (text, expected) in [
            ("photos", LocationError::Local),
            ("./photos", LocationError::Local),
            ("/data/photos", LocationError::Local),
            ("file:///data", LocationError::Local),
            ("gs://b/k", LocationError::Scheme("gs".into())),
            ("s3://", LocationError::NoBucket),
            ("s3:///k", LocationError::NoBucket),
        ] {
            assert_eq!(text.parse::<Location>(), Err(expected), "{text}");
        }
    }
}

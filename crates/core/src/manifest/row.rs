//! Rows of a work list.

use percent_encoding::percent_decode;

use super::columns::{Column, Columns};
use crate::etag::ETag;
use crate::pair::MAX_KEY_BYTES;

/// How keys are encoded in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// URL-encoded, with a space as `+` or `%20`. Used in CSV.
    Url,
    /// Not encoded. Used in Parquet.
    Plain,
}

/// An object that a run has to process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestRow {
    /// The source bucket.
    pub bucket: String,
    /// The source key.
    pub key: String,
    /// The version to use, if the list names one. Always `None` for inventories, whose rows stand for current objects.
    pub version_id: Option<String>,
    /// Size in bytes when the list was made.
    pub size: Option<u64>,
    /// ETag when the list was made.
    pub etag: Option<ETag>,
    /// True if the row comes from an inventory. Its object may have been deleted since, which is not an error.
    pub is_inventory: bool,
}

/// A row as read from its file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawRow {
    /// The bucket.
    pub bucket: Vec<u8>,
    /// The key, possibly encoded.
    pub key: Vec<u8>,
    /// The version ID.
    pub version_id: Option<String>,
    /// True if this is the latest version.
    pub is_latest: Option<bool>,
    /// True if this is a delete marker.
    pub is_delete_marker: Option<bool>,
    /// Size in bytes.
    pub size: Option<u64>,
    /// The ETag.
    pub etag: Option<String>,
    /// The result of the task, in a completion report.
    pub task_status: Option<String>,
}

/// Why a row cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// The number of columns matches no known format.
    #[error("it has {0} columns; expected are bucket,key or bucket,key,versionId, or the seven of a completion report")]
    Columns(usize),
    /// The number of columns does not match the inventory's schema.
    #[error("it has {found} columns, but the manifest's schema has {expected}")]
    OtherColumns {
        /// Number of columns in the row.
        found: usize,
        /// Number of columns in the schema.
        expected: usize,
    },
    /// The key cannot be decoded.
    #[error("its key {0:?} is not URL-encoded UTF-8")]
    Encoding(String),
    /// The key is empty or too long.
    #[error("its key has {0} bytes, outside 1 to {MAX_KEY_BYTES}")]
    Length(usize),
    /// A value cannot be parsed.
    #[error("its {column:?} is {value:?}, which is not valid")]
    Value {
        /// The column.
        column: Column,
        /// Its value.
        value: String,
    },
    /// A required value is missing.
    #[error("it has no {0:?}")]
    Missing(Column),
}

impl RawRow {
    /// Reads the fields of a CSV row.
    pub fn of_csv(fields: &[&[u8]], columns: Option<&Columns>) -> Result<Self, RowError> {
        let by_number;
        let columns = if let Some(columns) = columns {
            if columns.number() != fields.len() {
                return Err(RowError::OtherColumns { found: fields.len(), expected: columns.number() });
            }
            columns
        } else {
            by_number = Columns::by_number(fields.len()).ok_or(RowError::Columns(fields.len()))?;
            &by_number
        };
        let mut row = Self::default();
        for (place, column) in columns.known() {
            row.set(column, fields.get(place).copied().unwrap_or_default())?;
        }
        Ok(row)
    }

    fn set(&mut self, column: Column, value: &[u8]) -> Result<(), RowError> {
        let text = || Some(String::from_utf8_lossy(value).into_owned()).filter(|text| !text.is_empty());
        let wrong = |value: String| RowError::Value { column, value };
        match column {
            Column::Bucket => value.clone_into(&mut self.bucket),
            Column::Key => value.clone_into(&mut self.key),
            Column::VersionId => self.version_id = text(),
            Column::ETag => self.etag = text(),
            Column::TaskStatus => self.task_status = text(),
            Column::IsLatest => {
                self.is_latest = text().map(|text| truth(&text).ok_or_else(|| wrong(text))).transpose()?;
            }
            Column::IsDeleteMarker => {
                self.is_delete_marker = text().map(|text| truth(&text).ok_or_else(|| wrong(text))).transpose()?;
            }
            Column::Size => self.size = text().map(|text| text.parse().map_err(|_| wrong(text))).transpose()?,
        }
        Ok(())
    }

    /// Returns the object that a run has to process. Returns `None` for an older version, a delete marker, or a task
    /// that succeeded.
    pub fn read(self, encoding: Encoding, is_inventory: bool) -> Result<Option<ManifestRow>, RowError> {
        let status = self.task_status.as_deref();
        if self.is_latest == Some(false) || self.is_delete_marker == Some(true) || status == Some("succeeded") {
            return Ok(None);
        }
        if let Some(status) = status.filter(|status| *status != "failed") {
            return Err(RowError::Value { column: Column::TaskStatus, value: status.to_owned() });
        }
        let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let bucket = String::from_utf8(self.bucket)
            .map_err(|e| RowError::Value { column: Column::Bucket, value: lossy(e.as_bytes()) })?;
        if bucket.is_empty() {
            return Err(RowError::Missing(Column::Bucket));
        }
        let key = match encoding {
            Encoding::Url => decode(&self.key).ok_or_else(|| RowError::Encoding(lossy(&self.key)))?,
            Encoding::Plain => String::from_utf8(self.key).map_err(|e| RowError::Encoding(lossy(e.as_bytes())))?,
        };
        if key.is_empty() || key.len() > MAX_KEY_BYTES {
            return Err(RowError::Length(key.len()));
        }
        let version_id = self.version_id.filter(|version| version != "null" && !is_inventory);
        let etag = self.etag.as_deref().map(ETag::new);
        Ok(Some(ManifestRow { bucket, key, version_id, size: self.size, etag, is_inventory }))
    }
}

fn truth(text: &str) -> Option<bool> {
    match text {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// Decodes a URL-encoded key. A `%` without two hexadecimal digits means that the list holds plain keys, which decoding
/// would corrupt.
fn decode(text: &[u8]) -> Option<String> {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
        let digits = rest.get(at + 1..at + 3)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        rest = rest.get(at + 3..)?;
    }
    let spaces: Vec<u8> = text.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    percent_decode(&spaces).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;

    fn row(fields: &[&str], schema: Option<&str>) -> Result<Option<ManifestRow>, RowError> {
        let columns = schema.map(|schema| Columns::parse(schema).unwrap());
        let fields: Vec<&[u8]> = fields.iter().map(|field| field.as_bytes()).collect();
        RawRow::of_csv(&fields, columns.as_ref())?.read(Encoding::Url, schema.is_some())
    }

    #[test]
    fn rows_of_a_list_name_objects_or_versions() {
        let named = |fields: &[&str]| row(fields, None).unwrap().map(|row| (row.bucket, row.key, row.version_id));
        let own = |bucket: &str, key: &str, version: Option<&str>| {
            Some((bucket.to_owned(), key.to_owned(), version.map(ToOwned::to_owned)))
        };
        assert_eq!(named(&["a", "x+y%2Bz%C3%A9"]), own("a", "x y+zé", None));
        assert_eq!(named(&["a", "k", "v1"]), own("a", "k", Some("v1")));
        assert_eq!(named(&["a", "k", ""]), own("a", "k", None));
        assert_eq!(named(&["a", "k", "null"]), own("a", "k", None));
        assert_eq!(named(&["a", "k", "", "failed", "403", "AccessDenied", "no"]), own("a", "k", None));
        assert_eq!(named(&["a", "k", "", "succeeded", "", "200", "Successful"]), None);
    }

    #[test]
    fn rows_of_an_inventory_mean_current_objects() {
        let schema = "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, ETag";
        let found = row(&["a", "k", "v", "true", "false", "7", "e"], Some(schema)).unwrap().unwrap();
        assert_eq!((found.size, found.etag, found.version_id), (Some(7), Some(ETag::new("e")), None));
        assert_eq!(row(&["a", "k", "v", "false", "false", "7", "e"], Some(schema)), Ok(None));
        assert_eq!(row(&["a", "k", "v", "true", "true", "", ""], Some(schema)), Ok(None));
        assert_eq!(row(&["a", "k", "", "", "", "", ""], Some(schema)).unwrap().unwrap().size, None);
    }

    #[test]
    fn what_can_not_be_meant_is_named() {
        let long = "k".repeat(1025);
        for (fields, schema, expected) in [
            (&["a"][..], None, "it has 1 columns; expected are bucket,key"),
            (&["a", "k", "", "5"], None, "it has 4 columns"),
            (&["a", "k", "x"], Some("Bucket, Key"), "3 columns, but the manifest's schema has 2"),
            (&["a", "100%"], None, "\"100%\" is not URL-encoded"),
            (&["a", "%zz"], None, "not URL-encoded"),
            (&["a", "%FF"], None, "not URL-encoded UTF-8"),
            (&["a", ""], None, "0 bytes"),
            (&["a", &long], None, "1025 bytes"),
            (&["", "k"], None, "no Bucket"),
            (&["a", "k", "many"], Some("Bucket, Key, Size"), "its Size is \"many\""),
            (&["a", "k", "yes"], Some("Bucket, Key, IsLatest"), "its IsLatest is \"yes\""),
            (&["a", "k", "", "unknown", "", "", ""], None, "its TaskStatus is \"unknown\""),
        ] {
            let error = row(fields, schema).unwrap_err().to_string();
            assert!(error.contains(expected), "{fields:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_key_survives_its_encoding(key in "\\PC{1,40}") {
            let encoded = utf8_percent_encode(&key, NON_ALPHANUMERIC).to_string();
            let found = row(&["a", &encoded], None).unwrap().unwrap();
            prop_assert_eq!(&found.key, &key);
            let spaces = encoded.replace("%20", "+");
            prop_assert_eq!(row(&["a", &spaces], None).unwrap().unwrap().key, key);
        }
    }
}

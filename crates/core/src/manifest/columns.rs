//! Columns of a work list.

/// A column that a run uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// The source bucket.
    Bucket,
    /// The source key.
    Key,
    /// The version ID.
    VersionId,
    /// True if the row's version is the latest.
    IsLatest,
    /// True if the row is a delete marker.
    IsDeleteMarker,
    /// Size in bytes.
    Size,
    /// The ETag.
    ETag,
    /// The result of the task, in a completion report.
    TaskStatus,
}

impl Column {
    /// Returns the column with this name, in the spelling of CSV inventories (`VersionId`) or Parquet ones
    /// (`version_id`). Returns `None` for columns that a run does not use.
    pub fn named(name: &str) -> Option<Self> {
        let name: String = name.chars().filter(|c| *c != '_').map(|c| c.to_ascii_lowercase()).collect();
        Some(match name.as_str() {
            "bucket" => Self::Bucket,
            "key" => Self::Key,
            "versionid" => Self::VersionId,
            "islatest" => Self::IsLatest,
            "isdeletemarker" => Self::IsDeleteMarker,
            "size" => Self::Size,
            "etag" => Self::ETag,
            "taskstatus" => Self::TaskStatus,
            _ => return None,
        })
    }
}

/// The columns of a CSV file, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns(Vec<Option<Column>>);

/// Schema of a completion report.
/// Source: "Examples: S3 Batch Operations completion reports" in the S3 user guide.
pub const REPORT_SCHEMA: &str = "Bucket, Key, VersionId, TaskStatus, ErrorCode, HTTPStatusCode, ResultMessage";

impl Columns {
    /// Parses a schema of comma-separated names. Returns `None` if it has no bucket or no key.
    pub fn parse(schema: &str) -> Option<Self> {
        let columns: Vec<_> = schema.split(',').map(|name| Column::named(name.trim())).collect();
        let has = |column| columns.contains(&Some(column));
        (has(Column::Bucket) && has(Column::Key)).then_some(Self(columns))
    }

    /// Returns the columns of a completion report.
    pub fn of_report() -> Self {
        Self::of(&[
            Some(Column::Bucket),
            Some(Column::Key),
            Some(Column::VersionId),
            Some(Column::TaskStatus),
            None,
            None,
            None,
        ])
    }

    /// Returns the columns of a file without a schema, by their number: those accepted by S3 Batch Operations (2 or 3),
    /// or those of a completion report (7).
    pub fn by_number(number: usize) -> Option<Self> {
        match number {
            2 => Some(Self::of(&[Some(Column::Bucket), Some(Column::Key)])),
            3 => Some(Self::of(&[Some(Column::Bucket), Some(Column::Key), Some(Column::VersionId)])),
            7 => Some(Self::of_report()),
            _ => None,
        }
    }

    fn of(columns: &[Option<Column>]) -> Self {
        Self(columns.to_vec())
    }

    /// Returns the number of columns.
    pub fn number(&self) -> usize {
        self.0.len()
    }

    /// Returns the columns that a run uses, each with its index.
    pub fn known(&self) -> impl Iterator<Item = (usize, Column)> + '_ {
        self.0.iter().enumerate().filter_map(|(place, column)| Some((place, (*column)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_known_by_name_or_by_number() {
        let known = |columns: Columns| columns.known().collect::<Vec<_>>();
        let inventory =
            Columns::parse("Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, LastModifiedDate, ETag").unwrap();
        assert_eq!(known(inventory).last(), Some(&(7, Column::ETag)));
        assert_eq!(Column::named("is_delete_marker"), Some(Column::IsDeleteMarker));
        assert_eq!(Columns::parse(REPORT_SCHEMA), Columns::by_number(7));
        assert_eq!(known(Columns::by_number(3).unwrap()).len(), 3);
        assert_eq!((Columns::by_number(1), Columns::by_number(4), Columns::parse("Key, Size")), (None, None, None));
    }
}

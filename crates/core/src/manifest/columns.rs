//! What the columns of a work list are.

/// A column that says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// The source bucket.
    Bucket,
    /// The source key.
    Key,
    /// The version.
    VersionId,
    /// Whether it is the newest version.
    IsLatest,
    /// Whether it is a delete marker.
    IsDeleteMarker,
    /// Bytes.
    Size,
    /// The ETag.
    ETag,
    /// What became of the task of a report.
    TaskStatus,
}

impl Column {
    /// The column of this name, as inventories spell it in CSV (`VersionId`) or Parquet (`version_id`); none for those
    /// that say nothing to a run.
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

/// The columns of a CSV file, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns(Vec<Option<Column>>);

/// The columns of a completion report.
/// Source: "Examples: S3 Batch Operations completion reports" in the S3 user guide.
pub const REPORT_SCHEMA: &str = "Bucket, Key, VersionId, TaskStatus, ErrorCode, HTTPStatusCode, ResultMessage";

impl Columns {
    /// Reads a schema, names with commas between; none where it has no bucket or no key.
    pub fn parse(schema: &str) -> Option<Self> {
        let columns: Vec<_> = schema.split(',').map(|name| Column::named(name.trim())).collect();
        let has = |column| columns.contains(&Some(column));
        (has(Column::Bucket) && has(Column::Key)).then_some(Self(columns))
    }

    /// The columns of a completion report.
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

    /// The columns of a file that does not say what they are, by their number: those that S3 Batch Operations takes, or
    /// those of a completion report.
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

    /// How many there are.
    pub fn number(&self) -> usize {
        self.0.len()
    }

    /// Each with its place.
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

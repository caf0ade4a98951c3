//! Work lists that replace a listing: the files they consist of and the rows in them.
//!
//! | the object named by the job | format | rows |
//! |---|---|---|
//! | begins with `{`, has `files` | `manifest.json` of S3 Inventory | every current object, from CSV or Parquet files |
//! | begins with `{`, has `Results` | `manifest.json` of a completion report | every task that failed |
//! | anything else | CSV as accepted by S3 Batch Operations, plain or gzipped | bucket, key[, versionId]; for a report's result file every task that failed |
//!
//! Sources: "Locating your inventory list", "Specifying a manifest" and "Examples: S3 Batch Operations completion
//! reports" in the S3 user guide.

use serde::{Deserialize, Serialize};

use crate::etag::Md5Digest;

mod columns;
mod position;
mod row;

pub use columns::{Column, Columns, REPORT_SCHEMA};
pub use position::Position;
pub use row::{Encoding, ManifestRow, RawRow, RowError};

/// The side whose service and credentials are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum BucketSide {
    /// The source side.
    #[default]
    Source,
    /// The destination side.
    Destination,
}

/// Location of a work list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ManifestLocation {
    /// The side that holds all of its files.
    #[serde(default)]
    pub side: BucketSide,
    /// Bucket of the list.
    pub bucket: String,
    /// Key of the list, or of its `manifest.json`.
    pub key: String,
}

/// Maximum size of a `manifest.json`, in bytes. That of an inventory with a hundred thousand files has about 20 MB.
pub const MAX_INDEX_BYTES: u64 = 64 << 20;

/// The format of a file of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileForm {
    /// CSV without a header, plain or gzipped.
    Csv,
    /// Parquet.
    Parquet,
}

/// A file of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestFile {
    /// Bucket of the file.
    pub bucket: String,
    /// Key of the file.
    pub key: String,
    /// Size in bytes, if known.
    pub size: Option<u64>,
    /// MD5, if known.
    pub md5: Option<Md5Digest>,
}

/// The files of a work list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestIndex {
    /// Format of all files.
    pub form: FileForm,
    /// Columns of the CSV files. `None` means that they follow from the number of columns of each row.
    pub columns: Option<Columns>,
    /// The files, in order.
    pub files: Vec<ManifestFile>,
    /// True for an inventory: its rows stand for current objects whatever version they name, and objects may have been
    /// deleted since.
    pub is_inventory: bool,
}

/// Why a `manifest.json` cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// It is not valid JSON.
    #[error("it begins like JSON and is none, or has wrong members: {0}")]
    NotJson(String),
    /// It is neither an inventory nor a completion report.
    #[error("it is JSON, but neither the manifest.json of an inventory (files) nor of a completion report (Results)")]
    Unknown,
    /// The file format is not supported.
    #[error("its files are {0}, which is not supported; configure the inventory to write CSV or Parquet")]
    Form(String),
    /// Required columns are missing.
    #[error("its schema {0:?} lacks the columns Bucket and Key")]
    Columns(String),
    /// A digest is malformed.
    #[error("the MD5 {0:?} of one of its files is not 32 hexadecimal digits")]
    Md5(String),
    /// A bucket ARN is malformed.
    #[error("its destinationBucket {0:?} is not a bucket ARN")]
    Bucket(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Inventory {
    destination_bucket: String,
    file_format: String,
    file_schema: String,
    files: Vec<InventoryFile>,
}

#[derive(Deserialize)]
struct InventoryFile {
    key: String,
    size: Option<u64>,
    #[serde(rename = "MD5checksum")]
    md5: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Report {
    report_schema: String,
    results: Vec<ReportFile>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ReportFile {
    task_execution_status: String,
    bucket: String,
    key: String,
    #[serde(rename = "MD5Checksum")]
    md5: Option<String>,
}

impl ManifestIndex {
    /// Returns the index of a list that consists of one CSV file.
    pub fn of_csv(location: &ManifestLocation) -> Self {
        let file = ManifestFile { bucket: location.bucket.clone(), key: location.key.clone(), size: None, md5: None };
        Self { form: FileForm::Csv, columns: None, files: vec![file], is_inventory: false }
    }

    /// Returns true if an object with this beginning is a `manifest.json`. No CSV begins with a brace, since bucket
    /// names cannot.
    pub fn is_index(beginning: &[u8]) -> bool {
        beginning.trim_ascii_start().starts_with(b"{")
    }

    /// Parses a `manifest.json`.
    pub fn parse(text: &[u8]) -> Result<Self, IndexError> {
        let value: serde_json::Value =
            serde_json::from_slice(text).map_err(|error| IndexError::NotJson(error.to_string()))?;
        let not_json = |error: serde_json::Error| IndexError::NotJson(error.to_string());
        if value.get("files").is_some() {
            of_inventory(serde_json::from_value(value).map_err(not_json)?)
        } else if value.get("Results").is_some() {
            of_report(serde_json::from_value(value).map_err(not_json)?)
        } else {
            Err(IndexError::Unknown)
        }
    }
}

fn of_inventory(inventory: Inventory) -> Result<ManifestIndex, IndexError> {
    let Inventory { destination_bucket, file_format, file_schema, files } = inventory;
    let bucket = destination_bucket
        .rsplit_once(":::")
        .map(|(_, bucket)| bucket.to_owned())
        .filter(|bucket| !bucket.is_empty())
        .ok_or(IndexError::Bucket(destination_bucket))?;
    let (form, columns) = match file_format.to_ascii_uppercase().as_str() {
        "CSV" => (FileForm::Csv, Some(Columns::parse(&file_schema).ok_or(IndexError::Columns(file_schema))?)),
        // Parquet files contain their schema.
        "PARQUET" => (FileForm::Parquet, None),
        _ => return Err(IndexError::Form(file_format)),
    };
    let files = files.into_iter().map(|InventoryFile { key, size, md5 }| {
        Ok(ManifestFile { bucket: bucket.clone(), key, size, md5: md5.as_deref().map(digest).transpose()? })
    });
    Ok(ManifestIndex { form, columns, files: files.collect::<Result<_, _>>()?, is_inventory: true })
}

/// Skips the files of succeeded tasks, for which a run has nothing to do.
fn of_report(report: Report) -> Result<ManifestIndex, IndexError> {
    let Report { report_schema, results } = report;
    let columns = Columns::parse(&report_schema).ok_or(IndexError::Columns(report_schema))?;
    let failed = results.into_iter().filter(|file| file.task_execution_status != "succeeded");
    let files = failed.map(|ReportFile { bucket, key, md5, .. }| {
        Ok(ManifestFile { bucket, key, size: None, md5: md5.as_deref().map(digest).transpose()? })
    });
    let files = files.collect::<Result<_, _>>()?;
    Ok(ManifestIndex { form: FileForm::Csv, columns: Some(columns), files, is_inventory: false })
}

fn digest(text: &str) -> Result<Md5Digest, IndexError> {
    let mut digest = Md5Digest::default();
    hex::decode_to_slice(text, &mut digest).map_err(|_| IndexError::Md5(text.to_owned()))?;
    Ok(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MD5: &str = "f11166069f1990abeb9c97ace9cdfabc";

    fn inventory(format: &str, schema: &str) -> String {
        format!(
            r#"{{"sourceBucket":"example-source-bucket","destinationBucket":"arn:aws-cn:s3:::lists","version":"2016-11-30",
                "creationTimestamp":"1514944800000","fileFormat":"{format}","fileSchema":"{schema}",
                "files":[{{"key":"Inventory/a.csv.gz","size":2147,"MD5checksum":"{MD5}"}},{{"key":"Inventory/b.csv.gz"}}]}}"#
        )
    }

    #[test]
    fn an_inventory_names_its_files_and_columns() {
        let index = ManifestIndex::parse(inventory("CSV", "Bucket, Key, Size, ETag").as_bytes()).unwrap();
        assert_eq!((index.form, index.files.len()), (FileForm::Csv, 2));
        let first = &index.files[0];
        assert_eq!((first.bucket.as_str(), first.key.as_str()), ("lists", "Inventory/a.csv.gz"));
        assert_eq!((first.size, first.md5.map(hex::encode).as_deref()), (Some(2147), Some(MD5)));
        assert_eq!(index.columns, Columns::parse("Bucket,Key,Size,ETag"));
        let index = ManifestIndex::parse(inventory("Parquet", "message s3.inventory { }").as_bytes()).unwrap();
        assert_eq!((index.form, index.columns), (FileForm::Parquet, None));
    }

    #[test]
    fn of_a_report_only_what_failed_is_read() {
        let text = r#"{"Format":"Report_CSV_20180820","ReportCreationDate":"2019-04-05T17:48:39.725Z","Results":[
            {"TaskExecutionStatus":"succeeded","Bucket":"r","MD5Checksum":"83b1c4cbe93fc893f54053697e10fd6e","Key":"job/results/a.csv"},
            {"TaskExecutionStatus":"failed","Bucket":"r","MD5Checksum":"22ee037f3515975f7719699e5c416eaa","Key":"job/results/b.csv"}],
            "ReportSchema":"Bucket, Key, VersionId, TaskStatus, ErrorCode, HTTPStatusCode, ResultMessage"}"#;
        let index = ManifestIndex::parse(text.as_bytes()).unwrap();
        assert_eq!(index.files.iter().map(|file| file.key.as_str()).collect::<Vec<_>>(), ["job/results/b.csv"]);
        assert_eq!(index.columns, Some(Columns::of_report()));
    }

    #[test]
    fn what_is_no_manifest_is_refused_with_what_to_do() {
        for (text, expected) in [
            ("{".to_owned(), "is none"),
            ("{}".to_owned(), "neither the manifest.json"),
            (inventory("ORC", "struct<bucket:string>"), "files are ORC, which is not supported; configure"),
            (inventory("CSV", "Bucket, Size"), "lacks the columns Bucket and Key"),
            (inventory("CSV", "Bucket, Key").replace("arn:aws-cn:s3:::lists", "lists"), "not a bucket ARN"),
            (inventory("CSV", "Bucket, Key").replace(MD5, "zz"), "\"zz\""),
            (r#"{"files":7}"#.to_owned(), "is none"),
        ] {
            let error = ManifestIndex::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn a_list_is_told_from_an_index_by_how_it_begins() {
        for (beginning, index) in [(&b" \n{"[..], true), (b"a,b", false), (b"\"a\",\"b\"", false), (b"\x1f\x8b", false)]
        {
            assert_eq!(ManifestIndex::is_index(beginning), index, "{beginning:?}");
        }
    }
}

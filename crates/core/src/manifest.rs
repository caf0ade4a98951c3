//! A work list in place of a listing: what its files are, and what their rows say.
//!
//! | the object that is named | what it is | its rows |
//! |---|---|---|
//! | begins with `{`, has `files` | `manifest.json` of S3 Inventory | every current object, of CSV or Parquet files |
//! | begins with `{`, has `Results` | `manifest.json` of a completion report | every task that failed |
//! | anything else | CSV as S3 Batch Operations takes it, gzipped or not | bucket, key[, versionId]; or of a report's result file every task that failed |
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

/// Which side's service and credentials have something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum BucketSide {
    /// The source's.
    #[default]
    Source,
    /// The destination's.
    Destination,
}

/// Where a work list is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ManifestLocation {
    /// Who reads it: all of its files are at this side.
    #[serde(default)]
    pub side: BucketSide,
    /// The bucket.
    pub bucket: String,
    /// The key of the list, or of its `manifest.json`.
    pub key: String,
}

/// The most bytes of a `manifest.json`: that of an inventory of a hundred thousand files has some 20 MB.
pub const MAX_INDEX_BYTES: u64 = 64 << 20;

/// In what form a file has its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileForm {
    /// CSV without a header, gzipped or not.
    Csv,
    /// Parquet.
    Parquet,
}

/// A file of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestFile {
    /// Its bucket.
    pub bucket: String,
    /// Its key.
    pub key: String,
    /// Its bytes, where that is said.
    pub size: Option<u64>,
    /// Its MD5, where that is said.
    pub md5: Option<Md5Digest>,
}

/// The files of a work list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestIndex {
    /// The form of all files.
    pub form: FileForm,
    /// What the columns of CSV files are; none where the number of a row's columns says so.
    pub columns: Option<Columns>,
    /// The files, in their order.
    pub files: Vec<ManifestFile>,
    /// Whether it is an inventory: it names versions and means objects, and what it names may be gone by now.
    pub is_inventory: bool,
}

/// Why a `manifest.json` can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// Not what it looks like.
    #[error("it begins like JSON and is none: {0}")]
    NotJson(String),
    /// Neither of the two.
    #[error("it is JSON, and neither the manifest.json of an inventory (files) nor of a completion report (Results)")]
    Unknown,
    /// A form that is not read.
    #[error("its files are {0}; configure the inventory to write CSV or Parquet")]
    Form(String),
    /// Columns are missing.
    #[error("its schema {0:?} has no columns Bucket and Key")]
    Columns(String),
    /// A digest that is none.
    #[error("the MD5 {0:?} of one of its files is not 32 hexadecimal digits")]
    Md5(String),
    /// A bucket that is none.
    #[error("its destinationBucket {0:?} is not the ARN of a bucket")]
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
    /// The index of a list that is one CSV file.
    pub fn of_csv(location: &ManifestLocation) -> Self {
        let file = ManifestFile { bucket: location.bucket.clone(), key: location.key.clone(), size: None, md5: None };
        Self { form: FileForm::Csv, columns: None, files: vec![file], is_inventory: false }
    }

    /// Whether an object that begins so is a `manifest.json`, which no CSV can: no bucket's name begins with a brace.
    pub fn is_index(beginning: &[u8]) -> bool {
        beginning.trim_ascii_start().starts_with(b"{")
    }

    /// Reads a `manifest.json`.
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
        // A Parquet file has its schema with it.
        "PARQUET" => (FileForm::Parquet, None),
        _ => return Err(IndexError::Form(file_format)),
    };
    let files = files.into_iter().map(|InventoryFile { key, size, md5 }| {
        Ok(ManifestFile { bucket: bucket.clone(), key, size, md5: md5.as_deref().map(digest).transpose()? })
    });
    Ok(ManifestIndex { form, columns, files: files.collect::<Result<_, _>>()?, is_inventory: true })
}

/// Only what failed is read: the other files say nothing that a run would have to do.
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
            (inventory("ORC", "struct<bucket:string>"), "files are ORC; configure the inventory"),
            (inventory("CSV", "Bucket, Size"), "no columns Bucket and Key"),
            (inventory("CSV", "Bucket, Key").replace("arn:aws-cn:s3:::lists", "lists"), "not the ARN"),
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

//! Failures as CSV, page by page, so that a file of any length takes bounded memory.

use std::io;
use std::sync::Arc;

use futures::stream::{self, Stream};
use hyper::body::{Bytes, Frame};
use jiff::Timestamp;
use serde::Serialize;

use crate::source::{FailureQuery, FailureRow, RunFailures, Source, SourceError};
use crate::text::{cell, encoded};
use crate::view::JobName;

/// A line. Texts are safe in a terminal and a spreadsheet; `keyEncoded` is the exact key.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    bucket: String,
    key: String,
    key_encoded: String,
    size: u64,
    class: &'static str,
    attempts: u32,
    at: String,
    message: String,
    request_ids: String,
}

impl From<FailureRow<'_>> for Line {
    fn from(row: FailureRow<'_>) -> Self {
        let at = Timestamp::from_millisecond(row.at).map(|at| at.strftime("%FT%TZ").to_string());
        Self {
            bucket: cell(row.bucket),
            key: cell(row.key),
            key_encoded: encoded(row.key),
            size: row.size,
            class: row.class,
            attempts: row.attempts,
            at: at.unwrap_or_default(),
            message: cell(row.message),
            request_ids: cell(&row.request_ids.join(" ")),
        }
    }
}

/// Returns the lines of a page; with the header if it is the first one. An export without failures has the header alone.
pub fn lines(failures: &RunFailures, is_first: bool) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    if is_first {
        writer.write_record([
            "bucket",
            "key",
            "keyEncoded",
            "size",
            "class",
            "attempts",
            "at",
            "message",
            "requestIds",
        ])?;
    }
    for failure in &failures.page.failures {
        writer.serialize(Line::from(FailureRow::new(failure, &failures.pairs)))?;
    }
    writer.into_inner().map_err(|error| csv::Error::from(error.into_error()))
}

/// Reads the first page, and returns the file as a stream that reads the others when they are wanted. A page that can't
/// be read then ends the stream with an error, so that the file is not taken for whole.
pub async fn export<S: Source>(
    source: Arc<S>,
    job: JobName,
    query: FailureQuery,
) -> Result<impl Stream<Item = io::Result<Frame<Bytes>>> + Send + 'static, SourceError> {
    let first = source.failures(&job, &query).await?;
    // A run that begins meanwhile must not end up in the file.
    let query = FailureQuery { run: Some(first.run.clone()), ..query };
    Ok(stream::try_unfold(Some((first, true)), move |state| {
        let (source, job, query) = (source.clone(), job.clone(), query.clone());
        async move {
            let Some((page, is_first)) = state else { return Ok::<_, io::Error>(None) };
            let text = lines(&page, is_first).map_err(io::Error::other)?;
            let following = match page.page.next.clone() {
                Some(from) => {
                    let query = FailureQuery { from, ..query };
                    Some((source.failures(&job, &query).await.map_err(io::Error::other)?, false))
                }
                None => None,
            };
            Ok(Some((Frame::data(Bytes::from(text)), following)))
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use migration_core::outcome::FailureClass;
    use migration_core::records::FailureRecord;
    use migration_ledger::failures::FailurePage;

    #[test]
    fn a_hostile_key_is_in_its_cell_and_harmless() {
        let hostile = "=cmd|' /C calc'!A0\"\n<script>alert(1)</script>\u{1b}[2J";
        let failure = FailureRecord {
            pair: 7,
            key: hostile.into(),
            size: 3,
            class: FailureClass::Refused,
            message: "@SUM(1)\r\nno".into(),
            batch: None,
            attempts: 2,
            request_ids: vec!["-1".into(), "b".into()],
            at: 0,
        };
        let page = FailurePage { failures: vec![failure], ..FailurePage::default() };
        let text = lines(&RunFailures { run: "r".into(), pairs: vec![], page }, true).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let row = reader.records().next().unwrap().unwrap();
        assert_eq!(&row[1], "'=cmd|' /C calc'!A0\"\\n<script>alert(1)</script>\\u{1b}[2J");
        let exact = percent_encoding::percent_decode_str(&row[2]).decode_utf8().unwrap();
        assert_eq!(exact, hostile);
        assert_eq!((&row[0], &row[6], &row[7], &row[8]), ("", "1970-01-01T00:00:00Z", "'@SUM(1)\\r\\nno", "'-1 b"));
    }
}

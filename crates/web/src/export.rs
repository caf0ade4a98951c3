//! Failures as CSV, page by page, so that a file of any length takes bounded memory.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, Stream, StreamExt};
use hyper::body::{Bytes, Frame};
use jiff::Timestamp;
use serde::Serialize;

use crate::readings::{ReadingError, Readings};
use crate::source::{FailureQuery, FailureRow, RunFailures, Source};
use crate::text::{cell, encoded};
use crate::view::JobName;

/// Most failures of a page. Each export keeps one page in memory, which waits for its client.
const MOST: usize = 200;
/// Time for which a page after the first one waits for its turn: the client has begun to save the file.
const TURN_WITHIN: Duration = Duration::from_mins(5);

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
pub(crate) async fn export<S: Source>(
    readings: Arc<Readings<S>>,
    job: JobName,
    mut query: FailureQuery,
    turn_within: Duration,
) -> Result<impl Stream<Item = io::Result<Frame<Bytes>>> + Send + 'static, ReadingError> {
    query.bounds.failures = query.bounds.failures.min(MOST);
    let first = readings.page(&job, &query, turn_within).await?;
    // A run that begins meanwhile must not end up in the file.
    query.run = Some(first.run.clone());
    let from = first.page.next.clone();
    let first = lines(&first, true).map(|text| Frame::data(Bytes::from(text))).map_err(io::Error::other);
    let others = stream::try_unfold(from, move |from| {
        let (readings, job, query) = (readings.clone(), job.clone(), query.clone());
        async move {
            let Some(from) = from else { return Ok::<_, io::Error>(None) };
            let page = readings.page(&job, &FailureQuery { from, ..query }, TURN_WITHIN).await;
            let page = page.map_err(io::Error::other)?;
            let text = lines(&page, false).map_err(io::Error::other)?;
            Ok(Some((Frame::data(Bytes::from(text)), page.page.next)))
        }
    });
    Ok(stream::iter([first]).chain(others))
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

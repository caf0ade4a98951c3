//! The predecessor's lines about transfers, of which its `CloudWatch` metric filters sum up the bytes.
//!
//! | form | line | filter of "Amazon S3 resumable upload" 0.98 |
//! |---|---|---|
//! | `Cluster` | `2026-01-31 08:00:00,123 INFO - --->Complete 5242880 bucket/key` | `[date, time, info, hs, p="--->Complete", bytes, key]` |
//! | `Serverless` | `[INFO] 2026-01-31T08:00:00.123Z - --->Complete 5242880 bucket/key` | `[info, date, sn, p="--->Complete", bytes, key]` |
//!
//! Each has as many fields as its filter. Keys are percent-encoded: a space would be one field more, and quotes and brackets
//! would join fields. The predecessor wrote `Bytes` and more words after the number; no filter reads them.

use std::io::Write as _;

use clap::ValueEnum;
use jiff::Timestamp;
use migration_engine::telemetry::transfer_lines::TRANSFER_LINE;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tracing::field::{Field, Visit};
use tracing::{Event, Level};
use tracing_subscriber::Registry;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, Layer};

/// Form of the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TransferLines {
    /// As on the predecessor's EC2 instances: seven fields.
    Cluster,
    /// As of its Lambda functions: six fields.
    Serverless,
}

impl TransferLines {
    /// Returns the value of the argument.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Serverless => "serverless",
        }
    }

    fn line(self, at: Timestamp, moved: &Moved) -> String {
        let Moved { way, bytes, bucket, key } = moved;
        let (bucket, key) = (utf8_percent_encode(bucket, ENCODED), utf8_percent_encode(key, ENCODED));
        let begin = match self {
            Self::Cluster => at.strftime("%Y-%m-%d %H:%M:%S,%3f INFO -"),
            Self::Serverless => at.strftime("[INFO] %Y-%m-%dT%H:%M:%S.%3fZ -"),
        };
        format!("{begin} --->{way} {bytes} {bucket}/{key}\n")
    }
}

/// Characters that are encoded: all but those that a URL has in paths.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Returns the layer that writes the lines.
pub(super) fn layer<W>(form: TransferLines, writer: W) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let only = Targets::new().with_target(TRANSFER_LINE, Level::INFO);
    TransferLayer { form, writer }.with_filter(only).boxed()
}

struct TransferLayer<W> {
    form: TransferLines,
    writer: W,
}

impl<W> Layer<Registry> for TransferLayer<W>
where
    W: for<'a> MakeWriter<'a> + 'static,
{
    fn on_event(&self, event: &Event<'_>, _: Context<'_, Registry>) {
        let mut moved = Moved::default();
        event.record(&mut moved);
        let line = self.form.line(Timestamp::now(), &moved);
        // There is no other place to tell that the log can't be written.
        let _ = self.writer.make_writer_for(event.metadata()).write_all(line.as_bytes());
    }
}

/// The fields of an event.
#[derive(Debug, Default, PartialEq, Eq)]
struct Moved {
    way: String,
    bytes: u64,
    bucket: String,
    key: String,
}

impl Visit for Moved {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "bytes" {
            self.bytes = value;
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let member = match field.name() {
            "way" => &mut self.way,
            "bucket" => &mut self.bucket,
            "key" => &mut self.key,
            _ => return,
        };
        value.clone_into(member);
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_fields_of_its_filter() {
        let at = "2026-01-31T08:00:00.1239Z".parse().unwrap();
        let moved =
            Moved { way: "Complete".into(), bytes: 5, bucket: "b".into(), key: "a b\n[\"é\u{1b}]/c-_.~".into() };
        let key = "b/a%20b%0A%5B%22%C3%A9%1B%5D/c-_.~";
        let cluster = TransferLines::Cluster.line(at, &moved);
        assert_eq!(cluster, format!("2026-01-31 08:00:00,123 INFO - --->Complete 5 {key}\n"));
        assert_eq!(cluster.split_whitespace().count(), 7);
        let serverless = TransferLines::Serverless.line(at, &moved);
        assert_eq!(serverless, format!("[INFO] 2026-01-31T08:00:00.123Z - --->Complete 5 {key}\n"));
        assert_eq!(serverless.split_whitespace().count(), 6);
    }
}

//! Spans for traces: of each object or range of parts, of its parts, and of the requests that these cause. `docs/traces.md`
//! lists them.
//!
//! They have a target of their own, [`TARGET`], which no log shows. While nothing asks for it, a span costs a comparison
//! and allocates nothing, and its attributes are not computed.

use std::borrow::Cow;

use futures::FutureExt;
use migration_core::config::JobIdentity;
use migration_core::error::Service;
use migration_core::message::PartRange;
use migration_core::operation::Operation;
use migration_core::outcome::EntryOutcome;
use migration_core::pair::BucketPair;
use migration_core::part::Part;
use tracing::{Instrument, Level, Span, field, span};

/// Target of all spans for traces.
pub const TARGET: &str = "s3_migration_traces";
/// Name of the span of an object.
pub const OBJECT: &str = "object";
/// Name of the span of a range of parts of a distributed object, whose parts many workers carry.
pub const RANGE: &str = "range";

/// Values of `otel.status_code`. Source: "Special fields" in the documentation of tracing-opentelemetry.
const OK: &str = "OK";
const ERROR: &str = "ERROR";

/// Begins the span of an object. Its key is an attribute, with control characters escaped, and never a name.
pub(crate) fn object(job: &JobIdentity, pair: &BucketPair, key: &str, bytes: u64) -> Span {
    span!(
        target: TARGET,
        Level::TRACE,
        OBJECT,
        job_namespace = job.namespace,
        job_name = job.name,
        aws.s3.bucket = pair.source_bucket,
        aws.s3.key = %key.escape_debug(),
        destination_bucket = pair.destination_bucket,
        bytes,
        outcome = field::Empty,
        otel.status_code = field::Empty,
        otel.status_description = field::Empty,
    )
}

/// Records what became of an object.
pub(crate) fn object_ended(span: &Span, outcome: &EntryOutcome) {
    if span.is_disabled() {
        return;
    }
    let (name, failure) = match outcome {
        EntryOutcome::Done(_) => ("done", None),
        EntryOutcome::Gone => ("gone", None),
        EntryOutcome::Interrupted => ("interrupted", None),
        EntryOutcome::Failed(failure) => ("failed", Some(failure)),
        EntryOutcome::Retry(failure) => ("retry", Some(failure)),
    };
    span.record("outcome", name);
    ended(span, failure.map(|failure| failure.message.as_str()));
}

/// Begins the span of a range of parts.
pub(crate) fn range(job: &JobIdentity, range: &PartRange) -> Span {
    span!(
        target: TARGET,
        Level::TRACE,
        RANGE,
        job_namespace = job.namespace,
        job_name = job.name,
        aws.s3.bucket = range.pair.source_bucket,
        aws.s3.key = %range.source.key.escape_debug(),
        destination_bucket = range.pair.destination_bucket,
        aws.s3.upload_id = %range.upload_id.escape_debug(),
        first_part = range.first,
        last_part = range.last,
        otel.status_code = field::Empty,
        otel.status_description = field::Empty,
    )
}

/// Records what became of a part or range, with what its failure is about.
pub(crate) fn failed_if(span: &Span, failure: Option<&str>) {
    if !span.is_disabled() {
        ended(span, failure);
    }
}

/// Does the work on a part within a span of its own. `reason` returns what a failure is about.
pub(crate) fn part<T, E>(
    part: Part,
    work: impl Future<Output = Result<T, E>>,
    reason: fn(&E) -> Cow<'_, str>,
) -> impl Future<Output = Result<T, E>> {
    let span = span!(
        target: TARGET,
        Level::TRACE,
        "part",
        aws.s3.part_number = part.number,
        bytes = part.len,
        otel.status_code = field::Empty,
        otel.status_description = field::Empty,
    );
    let of_part = span.clone();
    work.instrument(span).inspect(move |result| failed_if(&of_part, result.as_ref().err().map(reason).as_deref()))
}

/// Begins the span of a request, below what causes it.
pub(crate) fn request(side: Service, operation: Operation) -> Span {
    span!(
        target: TARGET,
        Level::TRACE,
        "request",
        otel.name = operation.as_str(),
        otel.kind = "client",
        side = side.as_str(),
        status = field::Empty,
        otel.status_code = field::Empty,
    )
}

/// Records what became of a request, and if that is a failure.
pub(crate) fn request_ended(span: &Span, status: &'static str, is_failure: bool) {
    if span.is_disabled() {
        return;
    }
    span.record("status", status);
    if is_failure {
        span.record("otel.status_code", ERROR);
    }
}

/// Records success, or a failure. What a service says may contain keys.
fn ended(span: &Span, failure: Option<&str>) {
    let Some(failure) = failure else {
        span.record("otel.status_code", OK);
        return;
    };
    span.record("otel.status_code", ERROR);
    span.record("otel.status_description", field::display(failure.escape_debug()));
}

#[cfg(test)]
mod tests {
    use std::fmt::{Debug, Write as _};
    use std::sync::{Arc, Mutex};

    use migration_core::etag::ETag;
    use migration_core::message::{Batch, BatchId, MESSAGE_VERSION};
    use migration_core::object::SourceIdentity;
    use migration_core::part::PartLayout;
    use migration_testkit::samples::bucket_pair;
    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Metadata, Subscriber};

    use super::*;

    /// Keeps the attributes of spans.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<String>>);

    struct Fields<'a>(&'a mut String);

    impl Visit for Fields<'_> {
        fn record_str(&mut self, field: &Field, value: &str) {
            writeln!(self.0, "{}={value}", field.name()).unwrap();
        }

        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            writeln!(self.0, "{}={value:?}", field.name()).unwrap();
        }
    }

    impl Subscriber for Kept {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, span: &Attributes<'_>) -> Id {
            span.record(&mut Fields(&mut self.0.lock().unwrap()));
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn event(&self, _: &Event<'_>) {}
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    #[test]
    fn what_a_message_or_service_says_is_escaped() {
        let job = JobIdentity { namespace: "n".into(), name: "j".into(), uid: "u".into() };
        let source =
            SourceIdentity { bucket: "from".into(), key: "k\u{1b}[31m".into(), etag: ETag::new("e"), version_id: None };
        let batch = Batch {
            version: MESSAGE_VERSION,
            job: "u".into(),
            run: "r".into(),
            id: BatchId::new(0, 1, 0),
            scanned: 1,
            pair: bucket_pair("from"),
            attempts: 0,
            objects: Vec::new(),
        };
        let layout = PartLayout { size: 25, part_size: 10 };
        let range = PartRange::whole(&batch, source, "k", ("id\n\u{1b}[31m", layout, true));
        let kept = Kept::default();
        tracing::subscriber::with_default(kept.clone(), || drop(super::range(&job, &range)));
        let found = kept.0.lock().unwrap().clone();
        assert!(found.contains("aws.s3.key=k\\u{1b}[31m\n"), "{found:?}");
        assert!(found.contains("aws.s3.upload_id=id\\n\\u{1b}[31m\n"), "{found:?}");
    }
}

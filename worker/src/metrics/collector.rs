//! Writes the numbers of the engine as metrics.

use std::fmt;

use migration_core::error::{Blocked, Service, ServiceFault};
use migration_core::operation::Operation;
use migration_core::outcome::FailureClass;
use migration_engine::gauges::ProcessState;
use migration_engine::limits::Shares;
use migration_engine::telemetry::{OperationCounters, RequestStatus, Telemetry};
use migration_engine::transfer::TransferLimits;
use migration_program::metrics::{Metric, NO_LABELS};
use prometheus_client::collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::Sources;

const DOWNLOADED: Metric = Metric::bytes("downloaded", "Bytes of bodies read, by the side that sent them");
const UPLOADED: Metric = Metric::bytes(
    "uploaded",
    "Bytes in requests that succeeded, by the side that took them; copies by a service itself have none",
);
const COMPLETED: Metric = Metric::bytes(
    "completed",
    "Bytes of objects whose end is recorded and that are at the destination, copied now or found there",
);
const OBJECTS: Metric = Metric::new("objects", "Objects whose end is recorded, by result");
const FAILURES: Metric = Metric::new(
    "object_failures",
    "Objects that this worker recorded as failed for good, by the class in their records",
);
const RETRIES: Metric = Metric::new("object_retries", "Objects that are tried again, by the reason");
const OBJECT_DURATION: Metric = Metric::seconds("object_duration", "Time of the last attempt of each copied object");
const LAST_END: Metric = Metric::seconds(
    "last_end_timestamp",
    "When this process last recorded the end of a batch, in seconds since 1970; absent before the first",
);
const LISTED: Metric =
    Metric::new("listed_keys", "Keys in pages of listings, by side; those of probes for split points too");
const FOUND: Metric = Metric::new("scanned_objects", "Findings of scans, by what a run does about them");
const REQUESTS: Metric = Metric::new(
    "requests",
    "Requests that ended, by side, operation and what became of them; repetitions by the SDK within a request count \
     once",
);
const REQUEST_DURATION: Metric = Metric::seconds(
    "request_duration",
    "Time to the answer of a request: of a GET to its headers, of receive_messages with the wait for messages",
);
const IN_FLIGHT: Metric =
    Metric::new("requests_in_flight", "Requests under way; put_part and copy_part are the parts in flight");
const REPEATED: Metric =
    Metric::new("request_retries", "Requests sent again, by side and by what became of the try before");
const PAUSED: Metric =
    Metric::new("side_paused", "1 for a service that is paused, with the reason; absent while it works");
const REQUEST_LIMIT: Metric = Metric::new(
    "concurrency_limit_requests",
    "Requests that may be in flight to a bucket that throttles; absent for buckets that don't",
);
const BANDWIDTH_SHARE: Metric = Metric::new(
    "bandwidth_share_bytes_per_second",
    "What this process may read now of spec.transfer.bandwidthLimit; absent while nothing is limited",
);
const REQUEST_SHARE: Metric = Metric::new(
    "request_share_requests_per_second",
    "What this process may send now of spec.transfer.requestLimit to a side; absent while nothing is limited",
);
const MESSAGES: Metric = Metric::new("held_messages", "Messages of the queue that this process works on");
const MEMORY: Metric = Metric::bytes("memory_used", "Bytes of objects and parts held in memory");
const MEMORY_MOST: Metric = Metric::bytes("memory_used_peak", "Most bytes of objects and parts held at once so far");
const MEMORY_LIMIT: Metric = Metric::bytes("memory_limit", "The bound of these bytes: spec.transfer.memoryLimit");
const AT_ONCE: Metric = Metric::new("objects_in_flight", "Objects being moved");
const AT_ONCE_LIMIT: Metric = Metric::new("concurrency_limit_objects", "Objects that may be moved at once now");

const SPANS: Metric = Metric::new(
    "trace_spans",
    "Spans of traces by what became of them: exported, failed (the collector did not take them), or dropped (too many \
     waited); 0 while traces are off",
);

/// Writes all metrics of a program.
pub(super) struct Collector(pub(super) Sources);

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").finish_non_exhaustive()
    }
}

impl collector::Collector for Collector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        objects(&self.0.telemetry, &mut encoder)?;
        requests(&self.0.telemetry, &mut encoder)?;
        SPANS.counters(&mut encoder, self.0.spans.read().map(|(result, number)| ([("result", result)], number)))?;
        state(&(self.0.state)(), &mut encoder)?;
        self.0.transfers.as_deref().map_or(Ok(()), |transfers| held(transfers, &mut encoder))
    }
}

fn objects(telemetry: &Telemetry, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let by_side = |(side, number): (Service, u64)| ([("side", side.as_str())], number);
    let is_s3 = |(side, _): &(Service, u64)| matches!(side, Service::Source | Service::Destination);
    DOWNLOADED.counters(to, telemetry.downloaded.read().filter(is_s3).map(by_side))?;
    UPLOADED.counters(to, telemetry.uploaded.read().filter(is_s3).map(by_side))?;
    COMPLETED.counters(to, [(NO_LABELS, telemetry.completed.get(()))])?;
    OBJECTS.counters(to, telemetry.objects.read().map(|(result, number)| ([("result", result.as_str())], number)))?;
    let failures = telemetry.failures.read().filter(|(class, number)| *number > 0 || is_workers(*class));
    FAILURES.counters(to, failures.map(|(class, number)| ([("class", class.as_str())], number)))?;
    RETRIES.counters(to, telemetry.retries.read().map(|(reason, number)| ([("reason", reason.as_str())], number)))?;
    OBJECT_DURATION.histograms(to, [(NO_LABELS, telemetry.object_duration.read())])?;
    #[allow(clippy::cast_precision_loss, reason = "exact for some hundred thousand years")]
    let last_end = telemetry.last_end().map(|millis| (NO_LABELS, millis as f64 / 1_000.0));
    LAST_END.gauges(to, last_end)?;
    LISTED.counters(to, telemetry.listed.read().filter(is_s3).map(by_side))?;
    FOUND.counters(to, telemetry.found.read().map(|(action, number)| ([("action", action.as_str())], number)))
}

/// Writes what was requested. Operations that this process never used are left out.
fn requests(telemetry: &Telemetry, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let used: Vec<_> = telemetry
        .requests
        .read()
        .map(|(side, operation, counters)| (side.as_str(), name(operation), counters))
        .filter(|(_, _, counters)| is_used(counters))
        .collect();
    let each_status = used.iter().flat_map(|(side, operation, counters)| {
        let ended = counters.ended.read().filter(|(status, number)| *number > 0 || is_always(*status));
        ended.map(move |(status, number)| {
            ([("side", *side), ("operation", operation), ("status", status.as_str())], number)
        })
    });
    REQUESTS.counters(to, each_status)?;
    let labels = |side: &&'static str, operation| [("side", *side), ("operation", operation)];
    REQUEST_DURATION.histograms(
        to,
        used.iter().map(|(side, name, counters)| (labels(side, name.as_str()), counters.duration.read())),
    )?;
    IN_FLIGHT
        .gauges(to, used.iter().map(|(side, name, counters)| (labels(side, name.as_str()), counters.in_flight())))?;
    let repeated = telemetry.repeated.read().filter(|(_, number)| *number > 0);
    REPEATED.counters(
        to,
        repeated.map(|((side, status), number)| ([("side", side.as_str()), ("reason", status.as_str())], number)),
    )
}

fn is_used(counters: &OperationCounters) -> bool {
    counters.in_flight() > 0 || counters.ended.read().any(|(_, number)| number > 0)
}

/// Returns true if alerts and panels are about a status: the first such request has to be an increase.
const fn is_always(status: RequestStatus) -> bool {
    use RequestStatus as Status;
    match status {
        Status::Ok
        | Status::Throttled
        | Status::Transient
        | Status::NoAnswer
        | Status::AccessDenied
        | Status::CredentialsRefused
        | Status::SignatureMismatch
        | Status::Refused
        | Status::ServiceFault => true,
        Status::NotFound
        | Status::NoSuchUpload
        | Status::PreconditionFailed
        | Status::Conflict
        | Status::Archived
        | Status::Cancelled => false,
    }
}

/// Returns false for classes of objects that only scans and the operator record.
const fn is_workers(class: FailureClass) -> bool {
    !matches!(class, FailureClass::NotFound | FailureClass::OldVersion | FailureClass::DeadLetter)
}

/// Returns the name of an operation as a label: `put_part`.
fn name(operation: Operation) -> String {
    operation.as_str().replace(' ', "_")
}

fn state(state: &ProcessState, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let labels = |blocked: &Blocked| [("side", blocked.side.as_str()), ("fault", fault(blocked.fault))];
    PAUSED.gauges(to, state.paused.iter().map(|blocked| (labels(blocked), 1_u32)))?;
    let limits = state.request_limits.iter();
    let limits = limits.map(|(side, bucket, limit)| ([("side", side.as_str()), ("bucket", bucket)], *limit));
    REQUEST_LIMIT.gauges(to, limits)?;
    let Shares { bandwidth, source, destination } = state.shares;
    BANDWIDTH_SHARE.gauges(to, bandwidth.map(|share| (NO_LABELS, share)))?;
    let sides = [(Service::Source, source), (Service::Destination, destination)].into_iter();
    let shares = sides.filter_map(|(side, share)| Some(([("side", side.as_str())], share?)));
    REQUEST_SHARE.gauges(to, shares)?;
    MESSAGES.gauges(to, [(NO_LABELS, state.messages)])
}

fn held(transfers: &TransferLimits, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let TransferLimits { budget, permits, .. } = transfers;
    MEMORY.gauges(to, [(NO_LABELS, budget.used())])?;
    MEMORY_MOST.gauges(to, [(NO_LABELS, budget.most_used())])?;
    MEMORY_LIMIT.gauges(to, [(NO_LABELS, budget.limit())])?;
    AT_ONCE.gauges(to, [(NO_LABELS, permits.in_use())])?;
    AT_ONCE_LIMIT.gauges(to, [(NO_LABELS, permits.limit())])
}

const fn fault(fault: ServiceFault) -> &'static str {
    match fault {
        ServiceFault::CredentialsInvalid => "credentials_invalid",
        ServiceFault::CredentialsExpired => "credentials_expired",
        ServiceFault::CredentialsMissing => "credentials_missing",
        ServiceFault::AccessDenied => "access_denied",
        ServiceFault::NotFound => "not_found",
        ServiceFault::WrongRegion => "wrong_region",
        ServiceFault::ClockSkewed => "clock_skewed",
        ServiceFault::Unreachable => "unreachable",
        ServiceFault::Throttled => "throttled",
    }
}

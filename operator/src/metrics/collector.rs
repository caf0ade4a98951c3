//! Writes the numbers of all jobs as metrics.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use migration_api::Reason;
use migration_api::status::{Counts, LimitsStatus, Phase, Receiver};
use migration_program::metrics::{Metric, NO_LABELS};
use prometheus_client::collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::Shared;
use super::job::{JobNumbers, LastReading};
use crate::notify::decide::DeliveryResult;

const LEADER: Metric = Metric::new("leader", "1 if this operator acts, 0 if it is a standby");
const BACKLOG: Metric = Metric::new(
    "queue_backlog_messages",
    "Messages in the queue of a job: visible, delayed and in flight. Absent while the queue does not answer",
);
const WANTED: Metric = Metric::new(
    "workers_wanted",
    "Workers that this backlog needs, within the limits of spec.scaling and without delay",
);
const DESIRED: Metric = Metric::new("workers_desired", "Workers that the job has or will have");
const READY: Metric = Metric::new("workers_ready", "Workers that are running and ready");
const QUEUE: Metric = Metric::new(
    "queue_messages",
    "Messages of the job by state: visible (delayed ones too), in_flight, dead. Absent while the queue does not answer",
);
const CONDITION: Metric =
    Metric::new("job_condition", "1 for the status that a condition has: true, false or unknown; 0 for the others");
const DEGRADED: Metric =
    Metric::new("job_degraded", "1 for each reason why the job is degraded; all reasons of pods are Pod");
const PHASE: Metric = Metric::new("job_phase", "1 for the phase of the job, 0 for the others");
const RUN_OBJECTS: Metric = Metric::new(
    "run_objects",
    "Objects of the live run, or the last one, by result: total is what the scan has found to copy so far",
);
const RUN_BYTES: Metric = Metric::bytes("run", "Bytes of these objects");
const RUN_RATE: Metric = Metric::new(
    "run_rate_bytes_per_second",
    "Bytes per second that the workers of the live run write; absent without a live run, and once the job could not be \
     reconciled for a minute",
);
const RUN_ETA: Metric = Metric::seconds("run_eta", "Time until the rest is copied at this rate; absent if unknown");
const RUN_COST: Metric = Metric::new(
    "run_cost",
    "What the live run has cost so far by spec.prices, or the last one in all, in its currency; absent until a process has \
     recorded what it sent",
);
const COST_LIMIT: Metric =
    Metric::new("run_cost_limit", "spec.limits.cost of that run, in its currency; absent without one");
const RUN_START: Metric = Metric::seconds(
    "run_start_timestamp",
    "When the live run began to list, in seconds since 1970; absent without one",
);
const LAST_PROGRESS: Metric = Metric::seconds(
    "run_last_progress_timestamp",
    "When the live run last found or ended an object or wrote bytes, in seconds since 1970; absent without one, and once \
     the job could not be reconciled for a minute",
);
const UNDONE_SINCE: Metric = Metric::seconds(
    "undone_since_timestamp",
    "Since when there has been a live run or a message in the queue without a break, in seconds since 1970: the oldest \
     undone work is no older. Absent if there is none, and once the job could not be reconciled for a minute",
);
const BANDWIDTH_LIMIT: Metric = Metric::new(
    "bandwidth_limit_bytes_per_second",
    "spec.transfer.bandwidthLimit as it holds now for all processes together; absent while nothing is limited or moved",
);
const REQUEST_LIMIT: Metric = Metric::new(
    "request_limit_requests_per_second",
    "spec.transfer.requestLimit as it holds now for each side and all processes together; absent while nothing is \
     limited or moved",
);
const LIMIT_HOLDERS: Metric = Metric::new(
    "limit_holders",
    "Processes that hold a share of a limit, as the ledger said within about a minute; absent while nothing is limited \
     or moved",
);
const EVENT_OBJECTS: Metric = Metric::new("event_objects", "Objects of messages that belong to no run, by result");
const MISSED: Metric = Metric::new(
    "missed_schedules",
    "Times of the schedule at which no run was started before its deadline, as this operator saw it; several between \
     two looks count once",
);
const NEXT_SCHEDULE: Metric = Metric::seconds(
    "next_schedule_timestamp",
    "When the next scheduled run is due, in seconds since 1970; absent without a schedule",
);
const PENDING: Metric = Metric::new(
    "notifications_pending",
    "Events that a receiver of spec.notify does not have yet; absent without spec.notify",
);
const NOTIFICATIONS: Metric = Metric::new(
    "notifications",
    "Attempts to deliver an event, by receiver and result: delivered, failed, or given_up after the last attempt",
);

/// Writes all metrics of the operator.
#[derive(Debug)]
pub(super) struct Collector(pub(super) Arc<Shared>);

type Labels<'a, const N: usize> = [(&'static str, &'a str); N];

/// A job with its name.
struct Job<'a> {
    namespace: &'a str,
    name: &'a str,
    numbers: &'a JobNumbers,
}

impl<'a> Job<'a> {
    /// Returns the labels of a job. Prometheus uses `job` and `namespace` itself, for those of the scraped pod.
    fn labels(&self) -> Labels<'a, 2> {
        [("job_namespace", self.namespace), ("job_name", self.name)]
    }

    fn with(&self, label: &'static str, value: &'a str) -> Labels<'a, 3> {
        let [namespace, name] = self.labels();
        [namespace, name, (label, value)]
    }

    fn last(&self) -> Option<&'a LastReading> {
        self.numbers.last.as_ref()
    }
}

impl collector::Collector for Collector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let to = &mut encoder;
        LEADER.gauges(to, [(NO_LABELS, u32::from(self.0.leads.load(Ordering::Relaxed)))])?;
        // Reconciliations don't wait while it is written.
        let all = self.0.jobs().clone();
        let jobs: Vec<_> = all.iter().map(|((namespace, name), numbers)| Job { namespace, name, numbers }).collect();
        scaling(&jobs, to)?;
        state(&jobs, to)?;
        runs(&jobs, to)?;
        costs(&jobs, to)?;
        limits(&jobs, to)?;
        times(&jobs, to)?;
        notifications(&jobs, to)
    }
}

fn scaling(jobs: &[Job<'_>], to: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let numbers = || jobs.iter().filter_map(|job| Some((job.labels(), job.numbers.scaling?)));
    BACKLOG.gauges(to, numbers().map(|(labels, (messages, _))| (labels, messages)))?;
    WANTED.gauges(to, numbers().map(|(labels, (_, workers))| (labels, workers)))?;
    let workers = || jobs.iter().filter_map(|job| Some((job.labels(), job.last()?.status.workers?)));
    DESIRED.gauges(to, workers().map(|(labels, workers)| (labels, workers.desired)))?;
    READY.gauges(to, workers().map(|(labels, workers)| (labels, workers.ready)))?;
    let queues = jobs.iter().filter_map(|job| Some((job, job.last()?.queue?)));
    let states = queues.flat_map(|(job, queue)| {
        let states = [("visible", queue.visible), ("in_flight", queue.in_flight), ("dead", queue.dead_letters)];
        states.map(|(state, messages)| (job.with("state", state), messages))
    });
    QUEUE.gauges(to, states)
}

fn state(jobs: &[Job<'_>], to: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let read = || jobs.iter().filter_map(|job| Some((job, job.last()?)));
    let conditions = read().flat_map(|(job, last)| last.status.conditions.iter().map(move |one| (job, one)));
    let conditions = conditions.flat_map(|(job, condition)| {
        ["true", "false", "unknown"].map(|status| {
            let [namespace, name, kind] = job.with("condition", &condition.type_);
            ([namespace, name, kind, ("status", status)], u32::from(condition.status.eq_ignore_ascii_case(status)))
        })
    });
    CONDITION.gauges(to, conditions)?;
    let reasons: Vec<_> = read().flat_map(|(job, last)| reasons(last).into_iter().map(move |r| (job, r))).collect();
    DEGRADED.gauges(to, reasons.iter().map(|(job, reason)| (job.with("reason", reason), 1_u32)))?;
    let phases = read().filter_map(|(job, last)| Some((job, last.status.phase?)));
    let each = phases
        .flat_map(|(job, phase)| Phase::ALL.map(|one| (job.with("phase", one.as_str()), u32::from(one == phase))));
    PHASE.gauges(to, each)
}

/// Returns the reasons why a job is degraded, each once. Those of pods are Kubernetes' own, of which there are many.
fn reasons(last: &LastReading) -> Vec<String> {
    let name = |reason: &Reason| match reason {
        Reason::Pod(_) => "Pod".to_owned(),
        other => other.to_string(),
    };
    let mut names: Vec<_> = last.degraded.iter().map(name).collect();
    names.sort();
    names.dedup();
    names
}

fn runs(jobs: &[Job<'_>], to: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let progress = || jobs.iter().filter_map(|job| Some((job, job.last()?.status.progress.as_ref()?)));
    let results = |counts: &Counts| {
        [("total", counts.total), ("done", counts.done), ("skipped", counts.skipped), ("failed", counts.failed)]
    };
    RUN_OBJECTS.gauges(
        to,
        progress().flat_map(|(job, found)| results(&found.objects).map(|(result, n)| (job.with("result", result), n))),
    )?;
    RUN_BYTES.gauges(
        to,
        progress().flat_map(|(job, found)| results(&found.bytes).map(|(result, n)| (job.with("result", result), n))),
    )?;
    let is_live = |job: &Job<'_>| !job.numbers.is_old && job.last().is_some_and(|last| last.live_since.is_some());
    let live = || progress().filter(move |(job, _)| is_live(job));
    RUN_RATE.gauges(to, live().filter_map(|(job, found)| Some((job.labels(), found.rate_bytes_per_second?))))?;
    RUN_ETA.gauges(to, live().filter_map(|(job, found)| Some((job.labels(), found.eta_seconds?))))?;
    let events = jobs.iter().filter_map(|job| Some((job, job.last()?.status.events.as_ref()?.objects)));
    let results = events.flat_map(|(job, events)| {
        [("done", events.done), ("failed", events.failed), ("skipped", events.skipped)]
            .map(|(result, n)| (job.with("result", result), n))
    });
    EVENT_OBJECTS.gauges(to, results)
}

fn costs(jobs: &[Job<'_>], to: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let known = || jobs.iter().filter_map(|job| Some((job, job.last()?.status.cost.as_ref()?)));
    let recorded = known().filter(|(_, cost)| cost.as_of.is_some());
    RUN_COST.gauges(to, recorded.map(|(job, cost)| (job.with("currency", &cost.currency), cost.total.as_f64())))?;
    let limits = known().filter_map(|(job, cost)| Some((job.with("currency", &cost.currency), cost.limit?.as_f64())));
    COST_LIMIT.gauges(to, limits)
}

fn limits(jobs: &[Job<'_>], to: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let read = jobs.iter().filter(|job| !job.numbers.is_old);
    let all: Vec<_> = read.filter_map(|job| Some((job, job.last()?.status.limits?))).collect();
    let bandwidth = all.iter().filter_map(|(job, limits)| Some((job.labels(), limits.bandwidth?.per_second)));
    BANDWIDTH_LIMIT.gauges(to, bandwidth)?;
    let requests = all.iter().filter_map(|(job, limits)| Some((job.labels(), limits.requests?.per_second)));
    REQUEST_LIMIT.gauges(to, requests)?;
    let holders = all.iter().flat_map(|(job, LimitsStatus { bandwidth, requests })| {
        let each = [("bandwidth", bandwidth), ("requests", requests)];
        each.map(|(limit, status)| status.and_then(|status| Some((job.with("limit", limit), status.holders?))))
    });
    LIMIT_HOLDERS.gauges(to, holders.flatten())
}

fn times(jobs: &[Job<'_>], to: &mut DescriptorEncoder<'_>) -> fmt::Result {
    #[allow(clippy::cast_precision_loss, reason = "exact for some hundred thousand years")]
    let seconds = |millis: i64| millis as f64 / 1_000.0;
    let each = |time: fn(&JobNumbers) -> Option<i64>| {
        jobs.iter().filter_map(move |job| Some((job.labels(), seconds(time(job.numbers)?))))
    };
    RUN_START.gauges(to, each(|numbers| numbers.last.as_ref()?.live_since))?;
    LAST_PROGRESS.gauges(to, each(|numbers| numbers.last_progress.filter(|_| !numbers.is_old)))?;
    UNDONE_SINCE.gauges(to, each(|numbers| numbers.undone_since.filter(|_| !numbers.is_old)))?;
    NEXT_SCHEDULE.gauges(to, each(|numbers| numbers.last.as_ref()?.next_schedule))?;
    let read = jobs.iter().filter(|job| job.last().is_some());
    MISSED.counters(to, read.map(|job| (job.labels(), job.numbers.schedule.missed)))
}

fn notifications(jobs: &[Job<'_>], to: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let notifying = || jobs.iter().filter_map(|job| Some((job, job.last()?.status.notifications.as_ref()?)));
    PENDING.gauges(
        to,
        notifying().map(|(job, state)| (job.labels(), u64::try_from(state.pending.len()).unwrap_or(u64::MAX))),
    )?;
    let each = Receiver::ALL.iter().flat_map(|to| DeliveryResult::ALL.map(|result| (*to, result)));
    let each: Vec<_> = each.collect();
    let counted = notifying().flat_map(|(job, _)| {
        each.iter().map(move |(to, result)| {
            let [namespace, name, receiver] = job.with("receiver", to.as_str());
            let number = job.numbers.notified.get(&(*to, *result)).copied().unwrap_or_default();
            ([namespace, name, receiver, ("result", result.as_str())], number)
        })
    });
    NOTIFICATIONS.counters(to, counted)
}

//! Has the source buckets configured to send their events to the queue, by a Job with the rights of workers.
//!
//! What may be in a bucket is in the status before the Job that puts it there is created. So it is found again, whatever
//! ends in between.

mod decide;

use std::collections::BTreeSet;

use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use kube::api::ListParams;
use migration_api::trigger::EventTriggerStatus;
use migration_api::{MigrationJob, MigrationJobSpec, Reason};
use migration_core::events::region_of_arn;
use tracing::info;

use crate::job_controller::apply::{self, ApplyError, JobCreation, or_problem};
use crate::job_controller::build;
use crate::job_controller::context::Context;
use crate::job_controller::dereference::Observed;
use crate::job_controller::dereference::cluster::{JobState, state};
use crate::job_controller::kubernetes::{self, RequestError};
use crate::job_controller::ownership::Owner;
use crate::job_controller::validate::ValidatedJob;
use crate::job_controller::validate::run_configs::RunConfigs;
use crate::names::{self, Component};
use crate::problem::Problem;
pub use decide::{Decision, DecisionInput, decide};

/// The output of the step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventsOutcome {
    /// The next `status.eventTrigger`.
    pub status: Option<EventTriggerStatus>,
    /// Nothing is left to configure: runs may start.
    pub is_ready: bool,
    /// Something is still to be configured or taken away, and nothing tells when that becomes possible.
    pub is_pending: bool,
    /// A scan is due, so that what was written before the events began is copied too.
    pub needs_scan: bool,
    /// Why nothing new starts.
    pub problems: Vec<Problem>,
    /// Other problems.
    pub notices: Vec<Problem>,
}

/// A job that follows no events.
impl Default for EventsOutcome {
    fn default() -> Self {
        Self {
            status: None,
            is_ready: true,
            is_pending: false,
            needs_scan: false,
            problems: Vec::new(),
            notices: Vec::new(),
        }
    }
}

/// Brings the configuration of the buckets forward by one step. Creates nothing while there is a problem (`is_blocked`) or
/// the job is suspended.
pub async fn advance(
    job: &MigrationJob,
    observed: &Observed,
    configs: Option<&RunConfigs>,
    is_blocked: bool,
    context: &Context,
) -> Result<EventsOutcome, ApplyError> {
    let old = job.status.as_ref().and_then(|status| status.event_trigger.as_ref());
    let is_enabled = job.spec.trigger.events.enabled;
    let arn = observed.services.as_ref().and_then(|services| services.queue_and_table.queue_arn.as_deref());
    let misplaced = observed.services.as_ref().and_then(|_| misplaced(&job.spec, arn));
    let Some(configs) = configs.filter(|_| misplaced.is_none()) else {
        let is_ready = !is_enabled;
        return Ok(outcome(job, old.cloned(), is_ready, misplaced));
    };
    let wanted = configs.next.notifications.as_ref();
    let input = DecisionInput {
        wanted,
        old,
        notifiers: &observed.cluster.notifiers,
        job: &job.name_any(),
        generation: job.metadata.generation.unwrap_or_default(),
    };
    let configured = |status: EventTriggerStatus| EventTriggerStatus { scan_started: was_scanned(old), ..status };
    let next = |status: EventTriggerStatus, is_ready, problem| {
        let is_needed = is_enabled || !status.buckets.is_empty();
        outcome(job, is_needed.then(|| configured(status)), is_ready || wanted.is_none(), problem)
    };
    let old = || old.cloned().unwrap_or_default();
    let decision = decide(&input);
    let is_open = matches!(decision, Decision::Wait | Decision::Announce(_) | Decision::Create(_));
    let outcome = match decision {
        Decision::Settled => next(old(), true, None),
        Decision::Wait => next(old(), false, None),
        Decision::Announce(status) => next(status, false, None),
        Decision::Done(status) => next(status, true, None),
        Decision::Failed(message) => next(old(), false, Some(not_configured(&message))),
        // What was read before may lack a Job that was created since then.
        Decision::Create(_) if is_blocked || job.spec.suspend || !observed.fresh.cluster => next(old(), false, None),
        Decision::Create(name) => {
            let problem = create(job, &configs.next, name, context).await?;
            next(old(), false, problem)
        }
    };
    Ok(EventsOutcome { is_pending: is_open && !job.spec.suspend, ..outcome })
}

/// A scan belongs to the time for which events are enabled.
fn was_scanned(old: Option<&EventTriggerStatus>) -> bool {
    old.is_some_and(|old| old.scan_started)
}

fn outcome(
    job: &MigrationJob,
    status: Option<EventTriggerStatus>,
    is_ready: bool,
    problem: Option<Problem>,
) -> EventsOutcome {
    let events = &job.spec.trigger.events;
    // If events are disabled, what is left in a bucket is no reason to wait.
    let (problems, notices) = if events.enabled {
        (problem.into_iter().collect(), Vec::new())
    } else {
        (Vec::new(), problem.into_iter().collect())
    };
    let status = status.map(|status| EventTriggerStatus {
        scan_started: events.enabled && (status.scan_started || !events.initial_scan),
        ..status
    });
    let needs_scan = events.enabled && events.initial_scan && !was_scanned(status.as_ref());
    EventsOutcome { status, is_ready, is_pending: false, needs_scan, problems, notices }
}

/// Returns why S3 cannot send events to the queue, if the job is to configure that.
fn misplaced(spec: &MigrationJobSpec, queue_arn: Option<&str>) -> Option<Problem> {
    let events = &spec.trigger.events;
    if !events.enabled || !events.configure_bucket_notifications {
        return None;
    }
    let Some(arn) = queue_arn else {
        let text = "the service of the queue tells no ARN, which a notification entry needs; write \
                    trigger.events.configureBucketNotifications: false and send the events to the queue by other means";
        return Some(Problem::new(Reason::EventsNotConfigured, text));
    };
    // Services other than AWS put a region of their own into ARNs.
    let found = region_of_arn(arn).filter(|_| spec.queue.endpoint.is_none()).unwrap_or(&spec.queue.region);
    if found == spec.source.region {
        return None;
    }
    let text = format!(
        "S3 sends events only to queues in the region and partition of the bucket: the source is in {} and the queue in \
         {found}; use a queue in {}, or write trigger.events.configureBucketNotifications: false and route the events to the \
         queue through EventBridge",
        spec.source.region, spec.source.region
    );
    Some(Problem::new(Reason::EventsQueueElsewhere, text))
}

fn not_configured(message: &str) -> Problem {
    let minutes = build::notify::KEEP_SECONDS / 60;
    let text = format!(
        "the source buckets are not configured: {message}; correct this; it is tried again after {minutes} minutes, or at once \
         when the Job of component notifier is deleted"
    );
    Problem::new(Reason::EventsNotConfigured, text)
}

/// Creates the Job, unless another resource's Job may be changing one of the buckets.
async fn create(
    job: &MigrationJob,
    config: &ValidatedJob,
    name: String,
    context: &Context,
) -> Result<Option<Problem>, ApplyError> {
    let status = job.status.as_ref().and_then(|status| status.event_trigger.as_ref());
    let buckets = status.map(|status| status.buckets.clone()).unwrap_or_default();
    let _turn = context.notifying.lock().await;
    match or_problem(busy(job, &buckets, context).await.map_err(ApplyError::from))? {
        Ok(None) => {}
        Ok(Some(other)) => {
            info!(other, "waiting for another job to configure a bucket");
            return Ok(None);
        }
        Err(problem) => return Ok(Some(problem)),
    }
    let wanted = build::notify::build(config, name, &buckets);
    let jobs = context.api::<Job>(&job.namespace().unwrap_or_default());
    Ok(match or_problem(apply::create_job(&jobs, &wanted, &Owner::of(job)).await)? {
        Ok(JobCreation::Created) => {
            info!(name = wanted.name_any(), "created the Job that configures source buckets");
            None
        }
        Ok(JobCreation::NameTaken(conflict)) => Some(conflict.problem()),
        Err(problem) => Some(problem),
    })
}

/// Returns the unfinished Job of another resource that may change the notifications of one of these buckets.
pub async fn busy(job: &MigrationJob, buckets: &[String], context: &Context) -> Result<Option<String>, RequestError> {
    let buckets: BTreeSet<&str> = buckets.iter().map(String::as_str).collect();
    for watched in context.watched_jobs() {
        let Ok(other) = &watched.0 else { continue };
        if other.uid() == job.uid() || buckets_of(other).is_disjoint(&buckets) {
            continue;
        }
        let api = context.api::<Job>(&other.namespace().unwrap_or_default());
        let of_notifier = ListParams::default().labels(&names::of_component(&other.name_any(), Component::Notifier));
        let found = kubernetes::list(&api, &of_notifier).await?;
        if let Some(found) = found.iter().find(|found| state(found, || None) == JobState::Unfinished) {
            return Ok(Some(format!("{}/{}", found.namespace().unwrap_or_default(), found.name_any())));
        }
    }
    Ok(None)
}

/// Returns the buckets whose notifications a resource may change.
fn buckets_of(job: &MigrationJob) -> BTreeSet<&str> {
    let status = job.status.as_ref().and_then(|status| status.event_trigger.as_ref());
    let before = status.into_iter().flat_map(|status| &status.buckets);
    let pairs = job.spec.buckets.iter().map(|pair| &pair.source_bucket);
    before.chain(pairs).map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job_controller::validate::tests::resource;

    fn job(yaml: &str) -> MigrationJob {
        let mut job = resource();
        job.spec.trigger.events = serde_yaml::from_str(yaml).unwrap();
        job
    }

    #[test]
    fn a_queue_must_be_where_s3_can_send_to() {
        let reason = |region: &str, endpoint: Option<&str>, arn: Option<&str>, events: &str| {
            let mut job = job(events);
            job.spec.source.region = "cn-north-1".into();
            (job.spec.queue.region, job.spec.queue.endpoint) = (region.into(), endpoint.map(Into::into));
            misplaced(&job.spec, arn).map(|problem| problem.reason.to_string())
        };
        let (on, elsewhere) = ("{enabled: true}", Some("EventsQueueElsewhere".to_owned()));
        let (here, there) = (Some("arn:aws-cn:sqs:cn-north-1:1:q"), Some("arn:aws:sqs:us-east-1:1:q"));
        assert_eq!(reason("cn-north-1", None, here, on), None);
        assert_eq!(reason("us-east-1", None, there, on), elsewhere);
        assert_eq!(reason("cn-north-1", None, there, on), elsewhere, "the queue's ARN tells where it is");
        assert_eq!(reason("cn-north-1", Some("http://sqs"), there, on), None, "another service's ARN means nothing");
        assert_eq!(reason("us-east-1", Some("http://sqs"), here, on), elsewhere);
        assert_eq!(reason("cn-north-1", None, None, on).as_deref(), Some("EventsNotConfigured"));
        for off in ["{}", "{enabled: true, configureBucketNotifications: false}"] {
            assert_eq!(reason("us-east-1", None, there, off), None, "{off}");
        }
    }

    #[test]
    fn a_scan_is_due_once_for_the_time_that_events_are_enabled() {
        let of = |events: &str, scan_started| {
            let status = Some(EventTriggerStatus { scan_started, ..EventTriggerStatus::default() });
            let outcome = outcome(&job(events), status, true, None);
            (outcome.needs_scan, outcome.status.unwrap().scan_started)
        };
        assert_eq!(of("{enabled: true}", false), (true, false));
        assert_eq!(of("{enabled: true}", true), (false, true));
        assert_eq!(of("{enabled: true, initialScan: false}", false), (false, true));
        assert_eq!(of("{enabled: false}", true), (false, false), "enabled again, they need another scan");
    }

    #[test]
    fn what_is_left_of_events_that_are_disabled_holds_up_nothing() {
        let problem = || Some(not_configured("no"));
        assert_eq!(outcome(&job("{enabled: true}"), None, false, problem()).problems.len(), 1);
        let disabled = outcome(&job("{}"), None, true, problem());
        assert_eq!((disabled.problems.len(), disabled.notices.len(), disabled.is_ready), (0, 1, true));
    }
}

//! Settings of a resource that have no meaning without a cluster.

use migration_api::MigrationJobSpec;
use migration_api::logs::Logs;
use migration_api::pods::PodSettings;
use migration_api::scaling::Scaling;
use migration_api::spec::DeletionPolicy;
use migration_api::transfer::Trigger;

/// Returns the names of the fields that a run on one machine does not use, of those that are set to something else than
/// their default. `queue` and `ledger` are required, so they are always among them.
///
/// Destructures without `..`, so that a new field does not compile until it is decided here.
pub fn not_used(spec: &MigrationJobSpec) -> Vec<&'static str> {
    let MigrationJobSpec {
        queue: _,
        ledger: _,
        scaling,
        worker,
        jobsender,
        logs,
        deletion_policy,
        runs_history_limit,
        ttl_seconds_after_finished,
        trigger: Trigger { starting_deadline_seconds, manual, schedule: _, time_zone: _, events: _ },
        buckets: _,
        source: _,
        destination: _,
        filters: _,
        compare: _,
        versioning: _,
        manifest: _,
        report: _,
        verify: _,
        mirror: _,
        transfer: _,
        limits: _,
        prices: _,
        notify,
        suspend: _,
    } = spec;
    let set = [
        ("queue", true),
        ("ledger", true),
        ("scaling", *scaling != Scaling::default()),
        ("worker", *worker != PodSettings::default()),
        ("jobsender", *jobsender != PodSettings::default()),
        ("notify", notify.is_some()),
        ("logs", *logs != Logs::default()),
        ("runsHistoryLimit", *runs_history_limit != 3),
        ("ttlSecondsAfterFinished", ttl_seconds_after_finished.is_some()),
        ("deletionPolicy", *deletion_policy != DeletionPolicy::default()),
        ("trigger.startingDeadlineSeconds", starting_deadline_seconds.is_some()),
        ("trigger.manual", manual.is_some()),
    ];
    set.into_iter().filter_map(|(name, is_set)| is_set.then_some(name)).collect()
}

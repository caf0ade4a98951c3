//! Conformance suite of [`BucketAdmin`].

use std::ops::AsyncFn;

use migration_core::error::{ErrorClass, ServiceFault};
use migration_core::events::{
    EventTypes, FilterRule, NotificationConfig, NotificationEntry, NotificationTarget, WantedEntries, merge,
};
use migration_core::ports::BucketAdmin;

use super::report::{CaseResult, Deviation, Failure, Report};
use super::{BucketOwner, ensure, ensure_class, ensure_eq, run_cases};

/// The settings of an empty bucket, which never had versioning, and its owner.
pub struct BucketUnderTest<B, O> {
    /// Implementation under test.
    pub admin: B,
    /// Name of the bucket.
    pub bucket: String,
    /// Owner of the bucket.
    pub owner: O,
    /// ARNs of queues that the service may send to.
    pub queues: [String; 2],
    /// Entries of other targets, which the service accepts.
    pub others: Vec<NotificationEntry>,
    /// The service knows `EventBridge`.
    pub event_bridge: bool,
}

/// Runs all cases, each on a bucket from `make`.
pub async fn bucket_suite<B: BucketAdmin, O: BucketOwner>(
    make: impl AsyncFn() -> Result<BucketUnderTest<B, O>, Failure>,
    deviations: &[Deviation],
) -> Report {
    let mut report = Report::new("buckets", deviations);
    run_cases!(
        report,
        make,
        [
            cases::a_bucket_begins_without_notifications,
            cases::entries_are_returned_as_they_were_put,
            cases::what_others_put_there_survives_a_job_that_comes_and_goes,
            cases::a_bucket_that_is_missing_is_told_apart,
            cases::versioning_is_told,
        ]
    );
    report
}

impl<B, O> BucketUnderTest<B, O> {
    /// Returns a configuration of every kind that the service accepts.
    fn foreign(&self) -> NotificationConfig {
        let rule = |name: &str, value: &str| FilterRule { name: name.to_owned(), value: value.to_owned() };
        let queue = NotificationEntry {
            target: NotificationTarget::Queue,
            id: Some("theirs, with <odd> & \"characters\"".to_owned()),
            arn: self.queues[0].clone(),
            events: vec!["s3:ObjectCreated:Put".to_owned(), "s3:ObjectRemoved:*".to_owned()],
            filter: vec![rule("prefix", "theirs/"), rule("suffix", ".jpg")],
        };
        let entries = [queue].into_iter().chain(self.others.clone()).collect();
        NotificationConfig { entries, event_bridge: self.event_bridge }
    }

    fn wanted(&self) -> WantedEntries<'_> {
        WantedEntries { job: "u-1", queue_arn: &self.queues[1], prefixes: &["ours/"], types: EventTypes::Created }
    }
}

/// Returns a configuration with its entries in one order, and names of rules in one case.
fn sorted(mut config: NotificationConfig) -> NotificationConfig {
    for entry in &mut config.entries {
        entry.events.sort();
        for rule in &mut entry.filter {
            rule.name.make_ascii_lowercase();
        }
        entry.filter.sort();
    }
    config.entries.sort_by(|a, b| (a.target, &a.id).cmp(&(b.target, &b.id)));
    config
}

mod cases {
    use super::{
        BucketAdmin, BucketOwner, BucketUnderTest, CaseResult, ErrorClass, Failure, NotificationConfig, ServiceFault,
        WantedEntries, ensure, ensure_class, ensure_eq, merge, sorted,
    };

    pub(super) async fn a_bucket_begins_without_notifications<B: BucketAdmin, O>(
        t: &BucketUnderTest<B, O>,
    ) -> CaseResult {
        ensure_eq!(t.admin.notifications(&t.bucket).await?, NotificationConfig::default(), "the configuration");
        Ok(())
    }

    pub(super) async fn entries_are_returned_as_they_were_put<B: BucketAdmin, O>(
        t: &BucketUnderTest<B, O>,
    ) -> CaseResult {
        for config in [t.foreign(), NotificationConfig::default()] {
            t.admin.put_notifications(&t.bucket, &config).await?;
            ensure_eq!(sorted(t.admin.notifications(&t.bucket).await?), sorted(config), "the configuration");
        }
        Ok(())
    }

    pub(super) async fn what_others_put_there_survives_a_job_that_comes_and_goes<B: BucketAdmin, O>(
        t: &BucketUnderTest<B, O>,
    ) -> CaseResult {
        t.admin.put_notifications(&t.bucket, &t.foreign()).await?;
        let before = t.admin.notifications(&t.bucket).await?;
        let with = merge(&before, &t.wanted()).ok_or_else(|| Failure::new("the job has its entry already"))?;
        t.admin.put_notifications(&t.bucket, &with).await?;
        let during = t.admin.notifications(&t.bucket).await?;
        ensure_eq!(merge(&during, &t.wanted()), None, "what is left to do");
        let none = WantedEntries { prefixes: &[], ..t.wanted() };
        let without = merge(&during, &none).ok_or_else(|| Failure::new("the job has no entry"))?;
        ensure_eq!(sorted(without.clone()), sorted(before.clone()), "the entries of others");
        t.admin.put_notifications(&t.bucket, &without).await?;
        ensure_eq!(sorted(t.admin.notifications(&t.bucket).await?), sorted(before), "the configuration at the end");
        Ok(())
    }

    pub(super) async fn a_bucket_that_is_missing_is_told_apart<B: BucketAdmin, O>(
        t: &BucketUnderTest<B, O>,
    ) -> CaseResult {
        const NONE: &str = "a-bucket-that-nobody-has";
        for error in [
            t.admin.notifications(NONE).await.map(|_| ()),
            t.admin.put_notifications(NONE, &NotificationConfig::default()).await,
            t.admin.keeps_versions(NONE).await.map(|_| ()),
        ] {
            ensure_class!(
                error,
                ErrorClass::Service(ServiceFault::NotFound),
                "a request about a bucket that does not exist"
            );
        }
        Ok(())
    }

    pub(super) async fn versioning_is_told<B: BucketAdmin, O: BucketOwner>(t: &BucketUnderTest<B, O>) -> CaseResult {
        ensure!(!t.admin.keeps_versions(&t.bucket).await?, "a new bucket keeps versions");
        for enabled in [true, false] {
            t.owner.set_versioning(&t.bucket, enabled).await?;
            ensure_eq!(t.admin.keeps_versions(&t.bucket).await?, enabled, "the versioning");
        }
        Ok(())
    }
}

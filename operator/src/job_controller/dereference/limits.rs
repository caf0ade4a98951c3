//! The limits that a resource sets.

use migration_api::MigrationJob;
use migration_core::config::RateLimits;

/// Returns the limits of bytes and requests; none where the resource has a text that is no limit, which validation
/// reports.
pub fn rate_limits(job: &MigrationJob) -> RateLimits {
    let transfer = &job.spec.transfer;
    let requests = transfer.request_limit.as_ref().map(|limit| limit.0.as_str());
    RateLimits::parse(transfer.bandwidth_limit.as_deref(), requests).unwrap_or_default()
}

/// Returns true if something is limited, at any time of the week.
pub fn is_limited(job: &MigrationJob) -> bool {
    rate_limits(job) != RateLimits::default()
}

//! Objects by their results.

use std::time::Duration;

use migration_core::outcome::{Cause, EntryOutcome, Failure, FailureClass};

use super::Telemetry;
use super::counters::{Counters, label};

/// The result of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectResult {
    /// It was copied and verified.
    Copied,
    /// It was at the destination already.
    InPlace,
    /// The source no longer has it.
    Gone,
    /// It failed for good.
    Failed,
}

impl ObjectResult {
    /// All values, in their order.
    pub const ALL: [Self; 4] = [Self::Copied, Self::InPlace, Self::Gone, Self::Failed];

    /// Returns the name used in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Copied => "copied",
            Self::InPlace => "in_place",
            Self::Gone => "gone",
            Self::Failed => "failed",
        }
    }
}

/// Why an object is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryReason {
    /// The object was throttled.
    Throttled,
    /// A whole service does not work.
    Service,
    /// The source object changed during the attempt.
    SourceChanging,
    /// Another client changed the destination object during the attempt.
    DestinationChanging,
    /// Other bytes arrived than were sent.
    ChecksumMismatch,
    /// The worker stops, or lost the message.
    Interrupted,
    /// Anything else.
    Failed,
}

impl RetryReason {
    /// All values, in their order.
    pub const ALL: [Self; 7] = [
        Self::Throttled,
        Self::Service,
        Self::SourceChanging,
        Self::DestinationChanging,
        Self::ChecksumMismatch,
        Self::Interrupted,
        Self::Failed,
    ];

    /// Returns the name used in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::Service => "service",
            Self::SourceChanging => "source_changing",
            Self::DestinationChanging => "destination_changing",
            Self::ChecksumMismatch => "checksum_mismatch",
            Self::Interrupted => "interrupted",
            Self::Failed => "failed",
        }
    }

    const fn of(failure: &Failure) -> Self {
        match (failure.cause, failure.class) {
            (Cause::Throttled, _) => Self::Throttled,
            (Cause::WholeService, _) => Self::Service,
            (_, FailureClass::SourceChanging) => Self::SourceChanging,
            (_, FailureClass::DestinationChanging) => Self::DestinationChanging,
            (_, FailureClass::ChecksumMismatch) => Self::ChecksumMismatch,
            _ => Self::Failed,
        }
    }
}

label!(ObjectResult, RetryReason);

/// The outcomes of a batch, to be counted once its end is recorded.
#[derive(Debug, Default)]
pub struct ObjectTally {
    results: Counters<ObjectResult>,
    failures: Vec<FailureClass>,
    retries: Vec<RetryReason>,
    copied_in: Vec<Duration>,
    completed: u64,
}

impl ObjectTally {
    /// Sums up outcomes.
    pub fn of(outcomes: &[EntryOutcome]) -> Self {
        let mut tally = Self::default();
        for outcome in outcomes {
            match outcome {
                EntryOutcome::Done(delivery) => {
                    tally.completed += delivery.bytes;
                    if delivery.copied {
                        tally.copied_in.push(Duration::from_millis(delivery.millis));
                    }
                    let result = if delivery.copied { ObjectResult::Copied } else { ObjectResult::InPlace };
                    tally.results.add(result, 1);
                }
                EntryOutcome::Gone => tally.results.add(ObjectResult::Gone, 1),
                EntryOutcome::Failed(failure) => {
                    tally.results.add(ObjectResult::Failed, 1);
                    tally.failures.push(failure.class);
                }
                EntryOutcome::Retry(failure) => tally.retries.push(RetryReason::of(failure)),
                EntryOutcome::Interrupted => tally.retries.push(RetryReason::Interrupted),
            }
        }
        tally
    }

    pub(super) fn add_to(&self, telemetry: &Telemetry) {
        self.results.read().for_each(|(result, number)| telemetry.objects.add(result, number));
        self.failures.iter().for_each(|class| telemetry.failures.add(*class, 1));
        self.retries.iter().for_each(|reason| telemetry.retries.add(*reason, 1));
        self.copied_in.iter().for_each(|time| telemetry.object_duration.observe(*time));
        telemetry.completed.add((), self.completed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use migration_core::outcome::Delivery;

    #[test]
    fn every_outcome_is_counted_once() {
        let done = |copied| EntryOutcome::Done(Delivery { bytes: 10, copied, millis: 30, ..Delivery::default() });
        let failure = |class, cause| Failure { cause, ..Failure::new(class, "x") };
        let outcomes = [
            done(true),
            done(true),
            done(false),
            EntryOutcome::Gone,
            EntryOutcome::Failed(failure(FailureClass::Archived, Cause::Own)),
            EntryOutcome::Retry(failure(FailureClass::Exhausted, Cause::Throttled)),
            EntryOutcome::Retry(failure(FailureClass::ChecksumMismatch, Cause::Progress(1))),
            EntryOutcome::Interrupted,
        ];
        let telemetry = Telemetry::default();
        assert_eq!(telemetry.last_end(), None);
        telemetry.ended(&ObjectTally::of(&outcomes), 5);
        assert_eq!(telemetry.objects.read().map(|(_, number)| number).collect::<Vec<_>>(), [2, 1, 1, 1]);
        assert_eq!(telemetry.completed.get(()), 30);
        assert_eq!(telemetry.failures.get(FailureClass::Archived), 1);
        let retries: Vec<_> = telemetry.retries.read().filter(|(_, number)| *number > 0).collect();
        let expected = [RetryReason::Throttled, RetryReason::ChecksumMismatch, RetryReason::Interrupted];
        assert_eq!(retries, expected.map(|reason| (reason, 1)));
        assert_eq!(telemetry.object_duration.read().count, 2);
        assert_eq!(telemetry.last_end(), Some(5));
    }
}

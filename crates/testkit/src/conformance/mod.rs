//! The rules that every implementation of a port keeps, as suites that run against any of them.
//!
//! A suite takes a maker of fresh implementations and gives a [`Report`]. Where a service is known not to keep a rule,
//! the case is named beforehand as a [`Deviation`]: it is run all the same, and the report fails if the case passes,
//! so that the list of deviations stays true.

mod ledger;
mod queue;
mod report;
mod store;

use std::pin::Pin;

pub use ledger::ledger_suite;
pub use queue::{MAX_RECEIVES, TestQueue, queue_suite};
pub use report::{CaseResult, Deviation, Failure, Outcome, Report};
pub use store::{BucketOwner, ODD_KEYS, OwnedBucket, StoreUnderTest, odd_keys, store_suite, version_suite};

/// Ends a case with a failure where a condition does not hold.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::conformance::Failure::new(format!($($message)+)));
        }
    };
}

/// Ends a case with a failure where two values differ.
macro_rules! ensure_eq {
    ($found:expr, $expected:expr, $($what:tt)+) => {
        match (&$found, &$expected) {
            (found, expected) => {
                if *found != *expected {
                    let what = format!($($what)+);
                    return Err($crate::conformance::Failure::new(format!(
                        "{what}: found {found:?}, expected {expected:?}"
                    )));
                }
            }
        }
    };
}

/// Ends a case with a failure where a result is not an error of this class.
macro_rules! ensure_class {
    ($result:expr, $class:pat, $($what:tt)+) => {
        match $result {
            Err(error) if matches!(error.class, $class) => {}
            Err(error) => {
                let what = format!($($what)+);
                return Err($crate::conformance::Failure::new(format!(
                    "{what}: expected an error of class {}, found {:?}: {error}", stringify!($class), error.class
                )));
            }
            Ok(_) => {
                let what = format!($($what)+);
                return Err($crate::conformance::Failure::new(format!(
                    "{what}: expected an error of class {}, and it succeeded", stringify!($class)
                )));
            }
        }
    };
}

/// Makes a future off the caller's stack: all the cases of a suite, with a real service's store, are more than a test's
/// stack holds.
fn boxed<F: Future>(make: impl FnOnce() -> F) -> Pin<Box<F>> {
    Box::pin(make())
}

/// Runs cases, each with a fresh implementation, and reports them by their names.
macro_rules! run_cases {
    ($report:expr, $make:expr, [$($module:ident::$case:ident),+ $(,)?]) => {
        $(
            let result = match $crate::conformance::boxed(|| $make()).await {
                Ok(under_test) => $crate::conformance::boxed(|| $module::$case(&under_test)).await,
                Err(failure) => Err(failure),
            };
            $report.add(stringify!($case), result);
        )+
    };
}

pub(crate) use {ensure, ensure_class, ensure_eq, run_cases};

#[cfg(test)]
mod tests;

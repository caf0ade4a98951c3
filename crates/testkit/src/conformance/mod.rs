//! One conformance suite per port, for every implementation of it.
//!
//! A suite takes a constructor of fresh implementations and returns a [`Report`]. If a service is known to break a
//! rule, the case is declared as a [`Deviation`]. It still runs, and the report fails if it passes, so the list stays
//! accurate.

mod bucket;
mod ledger;
mod queue;
mod report;
mod store;

use std::pin::Pin;

pub use bucket::{BucketUnderTest, bucket_suite};
pub use ledger::ledger_suite;
pub use queue::{MAX_RECEIVES, TestQueue, queue_suite};
pub use report::{CaseResult, Deviation, Failure, Outcome, Report};
pub use store::{BucketOwner, ODD_KEYS, OwnedBucket, StoreUnderTest, odd_keys, store_suite, version_suite};

/// Fails the case if a condition is false.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::conformance::Failure::new(format!($($message)+)));
        }
    };
}

/// Fails the case if two values differ.
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

/// Fails the case unless a result is an error of this class.
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

/// Ends a case with a failure where a result is not an error of this class that says that this is what is not taken.
macro_rules! ensure_rejected {
    ($result:expr, $class:pat, $rejected:expr, $($what:tt)+) => {{
        let result = $result;
        let told = result.as_ref().err().and_then(|error| error.rejected.as_deref().cloned());
        ensure_class!(result, $class, $($what)+);
        ensure_eq!(told, Some($rejected), "what is not taken of {}", format!($($what)+));
    }};
}

/// Puts a future on the heap: all cases of a suite, on the store of a real service, exceed a test's stack.
fn boxed<F: Future>(make: impl FnOnce() -> F) -> Pin<Box<F>> {
    Box::pin(make())
}

/// Runs cases, each on a fresh implementation, and reports them by name.
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

pub(crate) use {ensure, ensure_class, ensure_eq, ensure_rejected, run_cases};

#[cfg(test)]
mod tests;

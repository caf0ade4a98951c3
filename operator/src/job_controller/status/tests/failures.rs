//! Failures of objects, and records that cannot be read.

use super::*;
use migration_api::status::RecordKind;
use migration_core::outcome::FailureClass;
use migration_core::ports::LedgerKey;
use migration_core::records::{FailureRecord, RecordError};

#[test]
fn failures_name_bucket_key_and_kind() {
    let mut ledger = view(record(true, None), 2);
    let run = ledger.run.as_mut().unwrap();
    run.record.pairs = vec![(&crate::job_controller::validate::tests::resource().spec.buckets[0]).into()];
    ledger.failures.records = vec![FailureRecord {
        pair: 0,
        key: "k".into(),
        size: 1,
        class: FailureClass::KeyNotMappable,
        message: "too long".into(),
        batch: None,
        attempts: 1,
        request_ids: vec![],
        at: 0,
    }];
    let status = compute(&MigrationJobStatus::default(), &input(Some(&ledger), &[]));
    let failure = &status.failures[0];
    assert_eq!((failure.bucket.as_str(), failure.key.as_str(), failure.class.as_str()), ("a", "k", "KeyNotMappable"));
}

fn error(sort: &str) -> RecordError {
    RecordError { key: LedgerKey::new("p", sort), member: Some("m".into()), reason: "no".into() }
}

/// A live run with a heartbeat and two failures that cannot be read.
fn unreadable() -> LedgerView {
    let mut ledger = view(record(true, None), 2);
    ledger.unreadable_heartbeats.add(error("beat"));
    ledger.failures.unreadable.add(error("one"));
    ledger.failures.unreadable.add(error("two"));
    ledger
}

#[test]
fn records_that_cannot_be_read_are_counted_and_hold_up_nothing() {
    let ledger = unreadable();
    let status = compute(&MigrationJobStatus::default(), &input(Some(&ledger), &[]));
    let counted: Vec<_> = status.unreadable.iter().map(|records| (records.kind, records.number)).collect();
    assert_eq!(counted, [(RecordKind::Heartbeat, 1), (RecordKind::Failure, 2)]);
    assert_eq!(status.unreadable[1].message, "failed to read ledger record p one: m: no");
    assert_eq!(status.progress.as_ref().unwrap().rate_bytes_per_second, Some(1 << 30), "the others are shown");
    let (degraded, condition) = status.condition(ConditionType::Degraded).unwrap();
    assert!(degraded && condition.reason == Reason::LedgerRecordsLeftOut.to_string(), "{condition:?}");
    assert!(condition.message.contains("missing from status.failures: 2; the first: failed to"), "{condition:?}");
    assert!(status.condition(ConditionType::Progressing).unwrap().0);
    let blocking = [Problem::new(Reason::SecretMissing, "Secret k")];
    let input = StatusInput { blocking: &blocking, ..input(Some(&ledger), &[]) };
    let reasons: Vec<_> = conditions::degrading(&input, &status).into_iter().map(|problem| problem.reason).collect();
    assert_eq!(reasons, [Reason::SecretMissing, Reason::LedgerRecordsLeftOut, Reason::LedgerRecordsLeftOut]);
}

#[test]
fn failures_that_cannot_be_read_stay_in_the_status_until_the_next_run() {
    let first = compute(&MigrationJobStatus::default(), &input(Some(&unreadable()), &[]));
    // The run has ended, and its failures are not read again.
    let mut ended = view(record(true, Some(RunResult::Complete)), 4);
    ended.run.as_mut().unwrap().tally = None;
    let later = compute(&first, &input(Some(&ended), &[]));
    assert_eq!(later.unreadable.iter().map(|records| records.kind).collect::<Vec<_>>(), [RecordKind::Failure]);
    let silent = compute(&later, &input(None, &[]));
    assert_eq!(silent.unreadable, later.unreadable, "a ledger that does not answer takes nothing back");
    let next = compute(&later, &input(Some(&view(record(true, None), 0)), &[]));
    assert_eq!((next.unreadable.len(), next.condition(ConditionType::Degraded).unwrap().0), (0, false));
}

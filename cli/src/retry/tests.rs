//! Which failures a retry takes.

use clap::Parser;
use migration_core::etag::ETag;
use migration_core::records::{RunEnd, RunResult};
use migration_testkit::samples::run_record;

use super::*;
use crate::manifest::LocalSettings;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    which: WhichArgs,
}

fn which(words: &[&str]) -> Result<WhichArgs, String> {
    let line = Line::try_parse_from([&["retry"], words].concat());
    line.map(|line| line.which).map_err(|error| error.to_string())
}

fn job(fields: &str) -> LocalJob {
    let yaml = format!(
        "{{apiVersion: s3migration.dev/v1alpha1, kind: MigrationJob, metadata: {{name: job}}, spec: {{buckets: \
         [{{sourceBucket: photos, destinationBucket: copies}}], source: {{region: r}}, destination: {{region: r}}, queue: \
         {{region: r}}, ledger: {{region: r}}{fields}}}}}"
    );
    let documents = manifest::load(&["-".into()], &mut yaml.as_bytes()).unwrap();
    let jobs = manifest::validate(&documents, &[]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let settings = LocalSettings { source_profile: None, destination_profile: None, ca_directory: directory.path() };
    manifest::local_jobs(&documents, jobs, &settings).unwrap().remove(0)
}

fn ended() -> RunRecord {
    let end = RunEnd { at: 1, result: RunResult::PartiallyFailed, message: None, cause: None };
    RunRecord { run: "r2".into(), end: Some(end), ..run_record(true) }
}

fn live(list: Option<&str>) -> RunRecord {
    let list = list.map(ETag::new);
    RunRecord { run: "r2".into(), end: None, listed_by_manifest: list.is_some(), list, ..run_record(true) }
}

/// Selects with options, after a retry of run `r1` with `--key a/*`.
fn selected(last: Option<&RunRecord>, words: &[&str]) -> Result<Option<Selection>, String> {
    let began_with = Selection { run: "r1".into(), keys: vec!["a/*".into()], classes: vec![] };
    select(last, Some(began_with), &job(""), &which(words).unwrap()).map_err(|error| error.to_string())
}

#[test]
fn the_last_run_decides_what_is_retried() {
    let run_of = |last: &RunRecord, words: &[&str]| selected(Some(last), words).map(|found| found.unwrap().run);
    let retry = live(Some("s3migrate-retry-x"));
    assert_eq!(selected(None, &[]), Ok(None));
    assert!(selected(None, &["--run", "r0"]).unwrap_err().contains("failed to find run r0"));
    assert_eq!(run_of(&ended(), &[]).as_deref(), Ok("r2"));
    assert_eq!(run_of(&ended(), &["--run", "r0"]).as_deref(), Ok("r0"));
    for words in [&[][..], &["--key", "a/*"], &["--run", "r1", "--key", "a/*"]] {
        assert_eq!(run_of(&retry, words).as_deref(), Ok("r1"), "{words:?}");
    }
    for words in [&["--key", "b/*"][..], &["--class", "Archived"], &["--run", "r1"], &["--run", "r2", "--key", "a/*"]] {
        let error = run_of(&retry, words).unwrap_err();
        assert!(error.contains("run r2 is a retry of other objects"), "{words:?}: {error}");
    }
    for other in [live(None), live(Some("of-a-job"))] {
        let error = run_of(&other, &[]).unwrap_err();
        assert!(error.contains("run r2 has not ended; s3migrate run"), "{error}");
    }
    let gone = select(Some(&retry), None, &job(""), &WhichArgs::default()).unwrap_err();
    assert!(matches!(gone, RetryError::NoSelection(_)));
}

#[test]
fn options_select_failures() {
    let found = selected(Some(&ended()), &["--key", "a/x*", "--key", "*.tmp", "--class", "Archived"]).unwrap();
    let expected = Selection {
        run: "r2".into(),
        keys: vec!["a/x*".into(), "*.tmp".into()],
        classes: vec![FailureClass::Archived],
    };
    assert_eq!(found, Some(expected));
    let error = which(&["--class", "Arhived"]).err().unwrap();
    assert!(error.contains("DeadLetter") && error.contains("Archived"), "the classes are listed: {error}");
}

#[test]
fn a_retry_replaces_the_list_of_the_job_and_deletes_nothing() {
    let mirrors = job(", mirror: {deleteExtraneous: true, maxDeletes: 7}");
    assert!(mirrors.config.mirror.is_some());
    let config = with_list(&mirrors.config).unwrap();
    assert_eq!((config.mirror, config.manifest.as_ref()), (None, Some(&stores::location())));
    let listed = job(", manifest: {bucket: lists, key: a.csv}");
    assert_eq!(with_list(&listed.config).unwrap().manifest, Some(stores::location()));
    assert!(check_buckets(&mirrors.config, &["photos".to_owned()].into()).is_ok());
    let error = check_buckets(&mirrors.config, &["photos".to_owned(), "z".to_owned()].into()).unwrap_err();
    assert!(error.to_string().contains("objects of bucket z failed"), "{error}");
}

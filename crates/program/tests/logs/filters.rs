//! `CloudWatch`'s metric filters of the predecessor, over the log of a run.

use std::collections::BTreeMap;

use migration_core::error::{ErrorClass, Service};
use migration_program::{LogFormat, TransferLines};
use migration_testkit::{Fault, Operation};

use crate::HOSTILE;
use crate::world::{Log, World};

/// The filters of the EC2 instances and of the Lambda functions, without the way.
const CLUSTER: &str = "[date, time, info, hs, p=\"--->WAY\", bytes, key]";
const SERVERLESS: &str = "[info, date, sn, p=\"--->WAY\", bytes, key]";

/// A filter for space-delimited events. Source: "Filter pattern syntax for metric filters", `CloudWatch` Logs.
///
/// An event with more or fewer fields does not match, which is the strictest reading.
struct Pattern(Vec<(String, Option<String>)>);

impl Pattern {
    fn new(text: &str) -> Self {
        let fields = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap().split(',').map(str::trim);
        let field = |field: &str| match field.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.trim_matches('"').to_owned())),
            None => (field.to_owned(), None),
        };
        Self(fields.map(field).collect())
    }

    /// Returns the fields of an event that matches, by their names.
    fn fields(&self, event: &str) -> Option<BTreeMap<&str, String>> {
        let found = split(event);
        let matches = found.len() == self.0.len()
            && self
                .0
                .iter()
                .zip(&found)
                .all(|((_, wanted), found)| wanted.as_ref().is_none_or(|wanted| wanted == found));
        matches.then(|| self.0.iter().map(|(name, _)| name.as_str()).zip(found).collect())
    }

    /// Returns the sum of the metric value `$bytes`.
    fn sum(&self, events: &[String]) -> u64 {
        let values = events.iter().filter_map(|event| Some(self.fields(event)?["bytes"].clone()));
        values.map(|bytes| bytes.parse::<u64>().expect("a metric value is a number")).sum()
    }
}

/// Returns the fields of an event: separated by spaces, but one each in double quotes and in brackets.
fn split(event: &str) -> Vec<String> {
    let (mut fields, mut field, mut until, mut open) = (Vec::new(), String::new(), None, false);
    for c in event.chars() {
        match (until, c) {
            (Some(end), c) if c == end => until = None,
            (None, '"') => (until, open) = (Some('"'), true),
            (None, '[') => (until, open) = (Some(']'), true),
            (None, ' ' | '\t') => {
                if open || !field.is_empty() {
                    fields.push(std::mem::take(&mut field));
                }
                open = false;
            }
            (_, c) => field.push(c),
        }
    }
    if open || !field.is_empty() {
        fields.push(field);
    }
    fields
}

#[test]
fn fields_are_those_of_the_predecessors_own_lines() {
    let lambda = "[INFO]\t2026-01-31T08:00:00.123Z\t5f0c\t--->Uploading 7 b/k";
    let pattern = Pattern::new(&SERVERLESS.replace("WAY", "Uploading"));
    let fields = pattern.fields(lambda).unwrap();
    assert_eq!((fields["info"].as_str(), fields["sn"].as_str(), fields["bytes"].as_str()), ("INFO", "5f0c", "7"));
    let ec2 = "2026-01-31 08:00:00,123 INFO - --->Complete 7 b/k";
    assert_eq!(Pattern::new(&CLUSTER.replace("WAY", "Complete")).sum(&[ec2.to_owned()]), 7);
    assert!(Pattern::new(&CLUSTER.replace("WAY", "Uploading")).fields(ec2).is_none());
    assert!(Pattern::new(&CLUSTER.replace("WAY", "Complete")).fields(&format!("{ec2} x")).is_none());
    assert_eq!(split("a \"b c\" [d e] \"\" f"), ["a", "b c", "d e", "", "f"]);
}

#[tokio::test(start_paused = true)]
async fn the_predecessors_filters_sum_up_to_the_bytes_of_a_run() {
    for (form, pattern) in [(TransferLines::Cluster, CLUSTER), (TransferLines::Serverless, SERVERLESS)] {
        for format in [LogFormat::Text, LogFormat::Json] {
            let world = World::new();
            let objects = [("small", 10), ("empty", 0), ("in parts", 130), ("by ranges", 1_000)];
            world.put(objects.into_iter().chain(HOSTILE.map(|key| (key, 33))));
            world.put([("refused", 5)]);
            // A GET that is cut off is read again, and a PUT that is throttled is sent again.
            world.plan.at(Operation::GetObject, 2, Fault::Truncate(3));
            world.plan.at(Operation::PutObject, 2, Fault::Fail(ErrorClass::Throttled));
            let refused = |call: &migration_testkit::Call| {
                call.operation == Operation::GetObject && call.subject.ends_with("/refused")
            };
            world.plan.when(refused, Fault::Fail(ErrorClass::Refused), u32::MAX);
            let log = Log::start(format, "info", Some(form));
            let counted = world.run().await;
            let lines = log.lines();
            let sum = |way: &str| Pattern::new(&pattern.replace("WAY", way)).sum(&lines);
            let bytes: usize = objects.iter().map(|(_, size)| size).sum::<usize>() + 33 * HOSTILE.len();
            assert_eq!((sum("Complete"), counted.completed.get(())), (bytes as u64, bytes as u64), "{form:?}");
            assert_eq!(sum("Uploading"), bytes as u64, "{form:?}");
            let downloaded = counted.downloaded.get(Service::Source);
            assert_eq!((sum("Downloading"), downloaded > bytes as u64), (downloaded, true), "{form:?}");
            // The filters of errors and warnings look for these words, which two of the keys have, too.
            let records: Vec<_> = lines.iter().filter(|line| !line.contains(" --->")).collect();
            let with = |word: &str| records.iter().filter(|line| line.contains(word)).count();
            assert_eq!((with("ERROR"), with("object failed")), (1, 1), "{lines:#?}");
            assert_eq!(with("WARN"), with("WARNING"), "{lines:#?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_tells_of_transfers_unless_it_is_asked_for() {
    let world = World::new();
    world.put([("small", 10), ("in parts", 130)]);
    let log = Log::start(LogFormat::Text, "trace", None);
    world.run().await;
    assert!(!log.text().contains("--->") && !log.text().contains("transfer_line"), "{}", log.text());
}

//! Checks of a finished history.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use migration_core::etag::ETagComparison;
use migration_core::progress::progress;
use migration_core::records::{self, RUN_PREFIX, RunRecord, UploadRecord};
use migration_ledger::{Pager, view};
use migration_testkit::ConditionalWrites;

use super::lies::{Excuses, Habit};
use super::reference::Reference;
use crate::world::{DESTINATION, JOB, SOURCE, World};

/// A check that failed.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Name of the check.
    pub check: &'static str,
    pub detail: String,
}

impl Violation {
    pub fn new(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, detail: detail.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.check, self.detail)
    }
}

type Checked = Result<(), Violation>;

fn require(holds: bool, check: &'static str, detail: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(Violation::new(check, detail())) }
}

/// Every object of the source is at the destination, with its bytes, tags and preserved attributes. Where objects may
/// fail, it may have a failure record in this run instead.
pub fn same(world: &World, reference: &Reference, excuses: Excuses, may_fail: Option<(&RunRecord, Habit)>) -> Checked {
    for key in world.source.keys(SOURCE) {
        let source = world.source.object(SOURCE, &key).unwrap();
        let fails = |(run, habit): (&RunRecord, Habit)| {
            habit.may_fail(&key, source.content.len(), reference) && super::judge::has_failed(world, &run.run, &key)
        };
        if may_fail.is_some_and(fails) {
            continue;
        }
        let Some(found) = world.destination.object(DESTINATION, &key) else {
            return Err(Violation::new("same", format!("{key} is missing at the destination")));
        };
        let comparable = source.etag.compare(&found.etag) != ETagComparison::NotComparable;
        let taken_for_it = excuses.compared
            && !comparable
            && source.content.len() == found.content.len()
            && (reference.generation_of(&key, &found.content).is_some() || reference.is_damaged(&key, &found.content));
        if source.content != found.content && taken_for_it {
            continue;
        }
        require(source.content == found.content, "same", || format!("{key} has another content"))?;
        let carried = (&source.tags, &source.attributes) == (&found.tags, &found.attributes);
        require(carried || excuses.carried, "carried", || {
            format!("{key} has {:?} for {:?}", found.attributes, source.attributes)
        })?;
    }
    Ok(())
}

/// Only contents of the source or foreign ones became visible, and no older content over a newer one where the service
/// honours conditions.
pub fn visible(world: &World, reference: &Reference, conditions: ConditionalWrites, excuses: Excuses) -> Checked {
    let mut now: BTreeMap<&str, Bytes> = BTreeMap::new();
    let mut removed = reference.removed.iter().peekable();
    let log = world.destination.write_log(DESTINATION);
    for (place, entry) in log.iter().enumerate() {
        while let Some((key, _)) = removed.next_if(|(_, after)| *after <= place) {
            now.remove(key.as_str());
        }
        let (key, bytes) = (entry.key.as_str(), &entry.content);
        if !reference.is_foreign(key, bytes) {
            let Some(generation) = reference.generation_of(key, bytes) else {
                if excuses.damaged && reference.is_damaged(key, bytes) {
                    continue;
                }
                let what = format!("write {place}: {key} became {} bytes that it never was", bytes.len());
                return Err(Violation::new("mixture", what));
            };
            // All empty contents are equal: none of them is older than another.
            let before = now.get(key).filter(|before| !before.is_empty());
            let before = before.and_then(|before| reference.generation_of(key, before));
            let kept = conditions == ConditionalWrites::Kept && !excuses.order;
            let backwards = kept && before.is_some_and(|before| before > generation);
            require(!backwards, "order", || {
                format!("write {place}: {key} went back from content {before:?} to {generation}")
            })?;
        }
        now.insert(key, bytes.clone());
    }
    Ok(())
}

/// The open uploads are the foreign ones, which are untouched, and those that the ledger records or announces. A
/// recorded one may be left by a duplicate whose worker was stopped after its message was gone. The next message of the
/// object continues or aborts it, and so does the deletion of the job.
pub async fn uploads(world: &World, reference: &Reference) -> Checked {
    let mut open = world.destination.open_uploads(DESTINATION);
    let mut foreign: Vec<_> = reference.uploads.iter().map(|(key, id, _)| (key.clone(), id.clone())).collect();
    open.sort();
    foreign.sort();
    let lost: Vec<_> = foreign.iter().filter(|upload| !open.contains(upload)).collect();
    require(lost.is_empty(), "foreign upload", || format!("foreign uploads are gone: {lost:?}"))?;
    let records = view::uploads(&world.ledger, JOB).await.unwrap().records;
    let is_named = |(key, id): &(String, String)| {
        let names = |record: &UploadRecord| {
            record.destination_key == *key && record.upload_id.as_ref().is_none_or(|recorded| recorded == id)
        };
        records.iter().any(names)
    };
    let ours: Vec<_> = open.iter().filter(|upload| !foreign.contains(upload) && !is_named(upload)).collect();
    require(ours.is_empty(), "open upload", || format!("uploads of ours are open: {ours:?}"))?;
    for (key, id, bytes) in &reference.uploads {
        let found = crate::world::foreign::part_sizes(&world.destination, DESTINATION, key, id).await;
        require(found == [*bytes], "foreign upload", || format!("a foreign upload of {key} has parts {found:?}"))?;
    }
    Ok(())
}

/// Every run is over, every batch of it ended once, every object was counted once.
pub async fn counted(world: &World) -> Checked {
    for run in runs(world).await {
        let tally = view::tally(&world.ledger, JOB, &run).await.unwrap();
        let counted = tally.counted();
        let name = &run.run;
        require(run.scan.closed && run.end.is_some(), "counted", || format!("{name} is not over"))?;
        let batches = run.scan.counts.batches + counted.remainders;
        require(batches == counted.batches, "counted", || {
            format!("{name} has {batches} batches and {} ends: {run:?} {tally:?}", counted.batches)
        })?;
        let ends = counted.counts.done + counted.counts.gone + counted.counts.failed;
        require(ends == run.scan.counts.objects, "counted", || {
            format!("{name} has {} objects and {ends} ends: {tally:?}", run.scan.counts.objects)
        })?;
        let progress = progress(&run, &tally);
        require(progress.open_batches == 0, "counted", || format!("{name} has open batches: {progress:?}"))?;
    }
    Ok(())
}

pub async fn runs(world: &World) -> Vec<RunRecord> {
    let items = Pager::all(records::job_partition(JOB), RUN_PREFIX).rest(&world.ledger).await.unwrap();
    items.iter().map(|item| item.read().unwrap()).collect()
}

/// Returns the failure records of a run as text.
pub async fn failures(world: &World, run: Option<&RunRecord>) -> Vec<String> {
    let Some(run) = run else { return Vec::new() };
    let failures = view::failures(&world.ledger, JOB, run, 10).await.unwrap().records;
    failures.into_iter().map(|failure| format!("{}: {}", failure.key, failure.message)).collect()
}

/// The queue and the dead letters are empty.
pub fn drained(world: &World) -> Checked {
    let stats = world.queue.stats();
    let left = stats.visible + stats.in_flight + stats.delayed + stats.dead_letters;
    require(left == 0, "drained", || format!("{stats:?} {:?}", world.queue.dead_letters()))
}

//! Checks every deletion of a message: by then each of its objects must be at the destination, have a failure record,
//! be gone from the source, or have been sent again.

use std::sync::{Arc, Mutex};

use futures::FutureExt;
use migration_core::message::{Batch, BatchId, Entry, Message, PartRange};
use migration_core::ports::{Item, Ledger, LedgerKey};
use migration_core::records::{self, BatchEnd, RunRecord, UploadRecord};
use migration_testkit::{Operation, WriteLogEntry};

use super::{Excuses, Reference};
use crate::world::{DESTINATION, JOB, World};

/// Maximum number of calls in a history; more mean a loop in which no time passes.
const MOST_CALLS: u64 = 100_000;

/// Violations found so far.
pub type Findings = Arc<Mutex<Vec<String>>>;

/// Checks every call through the world's ports, and stops everything after too many calls.
pub fn watch(world: &Arc<World>, reference: &Arc<Mutex<Reference>>, findings: &Findings, excuses: Excuses) {
    // The world owns the plan, and so this closure: an owner in turn would keep the memory of every history.
    let (seen, reference, findings) = (Arc::downgrade(world), reference.clone(), findings.clone());
    let ranges = Mutex::new(Vec::<String>::new());
    let watch = move |call: &migration_testkit::Call| {
        let Some(seen) = seen.upgrade() else { return false };
        if call.subject.contains("parts/") {
            ranges.lock().unwrap().push(call.subject.clone());
        }
        if call.operation == Operation::DeleteMessage {
            let wrong = seen.queue.messages().into_iter().find(|m| m.receipt.as_deref() == Some(call.subject.as_str()));
            let wrong = wrong.and_then(|message| {
                judge(&seen, &reference.lock().unwrap(), &ranges.lock().unwrap(), &message.body, excuses)
            });
            findings.lock().unwrap().extend(wrong);
        }
        if call.number == MOST_CALLS {
            findings.lock().unwrap().push("there are more calls than there should be".to_owned());
        }
        call.number >= MOST_CALLS
    };
    world.plan.when(watch, migration_testkit::Fault::Crash, u32::MAX);
}

fn read(world: &World, key: &LedgerKey) -> Option<Item> {
    // The in-memory ledger answers immediately.
    world.ledger.get(key).now_or_never()?.ok().flatten()
}

/// Returns why a message may not be deleted yet.
fn judge(world: &World, reference: &Reference, ranges: &[String], body: &str, excuses: Excuses) -> Option<String> {
    let ours = match Message::parse(body) {
        Ok(Message::Batch(batch)) if batch.job == JOB => batch,
        Ok(Message::PartRange(range)) if range.job == JOB => return open_range(world, ranges, &range),
        _ => return no_dead_letter(world, body),
    };
    let Some(end) = read(world, &records::batch_key(&ours)).and_then(|item| item.read::<BatchEnd>().ok()) else {
        // A message whose deliveries are used up is replaced before it is deleted.
        let sent_anew = in_queue(world, &ours, &ours.id) > 1;
        return if sent_anew { None } else { no_dead_letter(world, body) };
    };
    let rest = end.remainder.iter().map(|place| usize::try_from(*place).unwrap_or(usize::MAX)).collect::<Vec<_>>();
    if !rest.is_empty() && !is_known(world, &ours, &ours.id.remainder()) {
        return Some(format!("batch {} is removed and its remainder was never sent", ours.id.as_str()));
    }
    let entries = ours.objects.iter().enumerate().filter(|(place, _)| !rest.contains(place));
    let mut open = entries.filter(|(_, entry)| !is_over(world, reference, &ours, entry, excuses));
    open.next().map(|(_, entry)| format!("{} of batch {} is acknowledged and not there", entry.key, ours.id.as_str()))
}

/// Checks a range of parts. It is over if its end is or was recorded (a coordinator removes what may succeed at another
/// try), or if its upload is no longer recorded.
fn open_range(world: &World, ranges: &[String], range: &PartRange) -> Option<String> {
    let (bucket, key, id) = (&range.pair.destination_bucket, &range.destination_key, &range.upload_id);
    let upload = read(world, &records::upload_key(JOB, bucket, key)).and_then(|item| item.read::<UploadRecord>().ok());
    let recorded = upload.is_some_and(|upload| upload.upload_id.as_ref() == Some(id));
    let record = records::part_range_key(JOB, bucket, key, id, range.first);
    let written = format!("{} {}", record.partition, record.sort);
    let ended = read(world, &record).is_some() || ranges.iter().filter(|call| call.contains(&written)).count() > 1;
    (recorded && !ended).then(|| format!("parts from {} of {key} are acknowledged and not recorded", range.first))
}

fn no_dead_letter(world: &World, body: &str) -> Option<String> {
    let dead = world.queue.dead_letters().iter().any(|letter| letter.body == body);
    (!dead).then(|| format!("a message is removed that neither ended nor is a dead letter: {body}"))
}

/// Returns true if a batch with this ID is in the queue or has ended.
fn is_known(world: &World, batch: &Batch, id: &BatchId) -> bool {
    let other = Batch { id: id.clone(), ..batch.clone() };
    read(world, &records::batch_key(&other)).is_some() || in_queue(world, batch, id) > 0
}

/// Returns the number of messages in the queue for the batch with this ID.
fn in_queue(world: &World, batch: &Batch, id: &BatchId) -> usize {
    let is_it = |body: &str| matches!(Message::parse(body), Ok(Message::Batch(b)) if b.id == *id && b.run == batch.run);
    world.queue.messages().iter().filter(|message| is_it(&message.body)).count()
}

/// Returns true if an object has a failure record in a run.
pub fn has_failed(world: &World, run: &str, key: &str) -> bool {
    read(world, &LedgerKey::new(records::failure_partition(JOB, run, 0), key)).is_some()
}

fn is_over(world: &World, reference: &Reference, batch: &Batch, entry: &Entry, excuses: Excuses) -> bool {
    // Objects sent again are recorded by their new batch.
    let run = read(world, &records::run_key(JOB, &batch.run)).and_then(|item| item.read::<RunRecord>().ok());
    if has_failed(world, &batch.run, &entry.key) || run.is_some_and(|run| run.is_stale(&batch.id)) {
        return true;
    }
    let etag = entry.etag.as_ref().map(|etag| world.source_lies.real(etag));
    // If it is unclear which content was listed, some content of the source must still be present.
    let listed = if excuses.acknowledged { Some(0) } else { reference.generation_of_etag(&entry.key, etag.as_ref()) };
    let Some(listed) = listed else { return false };
    let is_content = |log: &WriteLogEntry| {
        reference.generation_of(&log.key, &log.content).is_some_and(|found| found >= listed)
            || excuses.damaged && reference.is_damaged(&log.key, &log.content)
    };
    let arrived = |log: &WriteLogEntry| log.key == entry.key && is_content(log);
    reference.was_absent_after(&entry.key, listed) || world.destination.write_log(DESTINATION).iter().any(arrived)
}

//! Tracks the activity of a process and writes it to the ledger.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use migration_core::congestion::RefusedAlgorithm;
use migration_core::error::{Blocked, Service};
use migration_core::ports::{Condition, Item, Ledger, Write};
use migration_core::records::{self, HEARTBEAT_EVERY_MS, Heartbeat};
use migration_core::reopen::QUIET_MS;
use migration_ledger::view;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::spending::{Due, Spender};
use crate::{Interruption, Process, Services};

/// Time that a heartbeat stays in the ledger, in milliseconds.
const KEEP_MS: i64 = 24 * 3600 * 1000;
/// Time that a heartbeat with a pause stays, in milliseconds: as long as it matters for whether a run is quiet.
const KEEP_PAUSE_MS: i64 = KEEP_MS + QUIET_MS;
/// Shortest time over which a rate is computed.
const SHORTEST_WINDOW: Duration = Duration::from_secs(1);

/// Counters shared by all tasks of a process.
#[derive(Debug, Default)]
pub struct Activity {
    messages: AtomicU32,
    bytes: AtomicU64,
    blocked: Mutex<Vec<Blocked>>,
    ranges: Mutex<BTreeSet<String>>,
    /// Runs, and how many of their messages this process holds.
    runs: Mutex<BTreeMap<String, u32>>,
    /// Runs that were worked for since the last look at what was sent.
    seen: Mutex<BTreeSet<String>>,
    /// The run that a jobsender scans.
    scanned: OnceLock<String>,
    refused: OnceLock<RefusedAlgorithm>,
    changed: Notify,
}

/// Marks a range as in work until dropped.
#[derive(Debug)]
pub struct AtRange<'a> {
    activity: &'a Activity,
    name: String,
}

impl Drop for AtRange<'_> {
    fn drop(&mut self) {
        self.activity.ranges.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
    }
}

/// Marks a message of a run as held until dropped.
#[derive(Debug)]
pub struct AtRun<'a> {
    activity: &'a Activity,
    run: String,
}

impl Drop for AtRun<'_> {
    fn drop(&mut self) {
        let mut runs = self.activity.runs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(messages) = runs.get_mut(&self.run) {
            *messages -= 1;
            if *messages == 0 {
                runs.remove(&self.run);
            }
        }
    }
}

impl Activity {
    /// Records that a message of a run is held, so that it is not taken for lost.
    pub fn at_run(&self, run: &str) -> AtRun<'_> {
        *self.runs.lock().unwrap_or_else(PoisonError::into_inner).entry(run.to_owned()).or_default() += 1;
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(run.to_owned());
        AtRun { activity: self, run: run.to_owned() }
    }

    /// Records that this process scans for a run. Only the first call counts, since a jobsender has one run.
    pub fn scans(&self, run: &str) {
        self.scanned.get_or_init(|| run.to_owned());
    }

    /// Returns the runs that were worked for since the last call.
    pub(crate) fn take_runs(&self) -> BTreeSet<String> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // What is held now may be done before the next call.
        let held: BTreeSet<_> = self.runs().into_iter().chain(self.scanned.get().cloned()).collect();
        let mut worked_for = std::mem::replace(&mut *seen, held);
        worked_for.extend(seen.iter().cloned());
        worked_for
    }

    fn runs(&self) -> Vec<String> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// Records that a message was received.
    pub fn took_message(&self) {
        if self.messages.fetch_add(1, Ordering::Relaxed) == 0 {
            self.changed.notify_one();
        }
    }

    /// Records that a message was returned or is done.
    pub fn left_message(&self) {
        self.messages.fetch_sub(1, Ordering::Relaxed);
    }

    /// Returns the number of messages that are held.
    pub fn messages(&self) -> u32 {
        self.messages.load(Ordering::Relaxed)
    }

    /// Records that a range of a distributed transfer is in work; its coordinator sees that in the heartbeats.
    pub fn at_range(&self, name: String) -> AtRange<'_> {
        self.ranges.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone());
        self.changed.notify_one();
        AtRange { activity: self, name }
    }

    /// Records that bytes were written at the destination.
    pub fn moved(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Records that a side is paused.
    pub fn blocked(&self, blocked: Blocked) {
        let mut all = self.blocked.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.iter().any(|b| b.side == blocked.side && b.message == blocked.message);
        all.retain(|b| b.side != blocked.side);
        all.push(blocked);
        if !known {
            self.changed.notify_one();
        }
    }

    /// Records that a side is not paused any more.
    pub fn unblocked(&self, side: Service) {
        self.blocked.lock().unwrap_or_else(PoisonError::into_inner).retain(|b| b.side != side);
        self.changed.notify_one();
    }

    /// Records that this process's node refuses the TCP congestion control that the job asks for. Only the first call
    /// counts, since a process asks once.
    pub fn refused(&self, refused: RefusedAlgorithm) {
        self.refused.get_or_init(|| refused);
    }

    fn ranges(&self) -> Vec<String> {
        self.ranges.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Returns the paused services, with the reasons.
    pub fn paused(&self) -> Vec<Blocked> {
        self.blocked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The ranges of distributed objects in work, by the heartbeats of all workers.
#[derive(Debug, Default)]
pub(crate) struct RangesAtWork(tokio::sync::Mutex<Option<(Instant, Arc<HashSet<String>>)>>);

impl RangesAtWork {
    /// Returns the ranges as they were at most `age` ago. One task reads them, the others wait for the result.
    pub(crate) async fn read<P: Services>(
        &self,
        process: &Process<P>,
        age: Duration,
    ) -> Result<Arc<HashSet<String>>, Interruption> {
        let mut known = self.0.lock().await;
        if let Some((_, ranges)) = known.as_ref().filter(|(at, _)| at.elapsed() < age) {
            return Ok(ranges.clone());
        }
        let at = Instant::now();
        // Unreadable heartbeats are ignored. At worst, the ranges of those workers are sent twice.
        let beats = view::heartbeats(process, &process.config.job.uid, process.runtime.clock.now()).await?;
        let ranges: Arc<HashSet<String>> = Arc::new(beats.records.into_iter().flat_map(|beat| beat.ranges).collect());
        *known = Some((at, ranges.clone()));
        Ok(ranges)
    }
}

/// Does work while writing heartbeats, and returns its result after the last one.
pub async fn during<P: Services, T>(process: &Arc<Process<P>>, work: impl Future<Output = T>) -> T {
    let end = CancellationToken::new();
    let beating = tokio::spawn({
        let (process, end) = (process.clone(), end.clone());
        async move { beat(&process, end).await }
    });
    let done = work.await;
    end.cancel();
    // The task has no result, and a panic in it has already been printed.
    let _ = beating.await;
    done
}

/// Writes heartbeats until `end` is cancelled: immediately when a side is paused or resumed, every 5 s while there is
/// work or a paused side, once when the process becomes idle, and then not at all. Records as often what was sent for a
/// run, and once more at the end.
pub async fn beat<P: Services>(process: &Process<P>, end: CancellationToken) {
    let every = Duration::from_millis(u64::try_from(HEARTBEAT_EVERY_MS).unwrap_or_default());
    let activity = &process.runtime.activity;
    let (mut bytes, mut at, mut idle, mut rate) = (0, Instant::now(), false, 0);
    let (mut paused, mut spender) = (None, Spender::default());
    loop {
        tokio::select! {
            biased;
            () = end.cancelled() => return spender.look(process, Due::Now).await,
            () = activity.changed.notified() => {}
            () = tokio::time::sleep(every) => {}
        }
        let (messages, blocked) = (activity.messages(), activity.paused());
        let quiet = messages == 0 && blocked.is_empty();
        spender.look(process, if quiet { Due::Now } else { Due::InTime }).await;
        if quiet && idle {
            continue;
        }
        idle = quiet;
        // Heartbeats in quick succession repeat the last rate: too little moved in between to compute one.
        if at.elapsed() >= SHORTEST_WINDOW {
            let total = activity.bytes.load(Ordering::Relaxed);
            rate = (total - bytes) * 1_000 / u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX);
            (bytes, at) = (total, Instant::now());
        }
        let now = process.runtime.clock.now();
        if !blocked.is_empty() {
            paused = Some(now);
        }
        let (name, ranges, runs) = (process.runtime.name.clone(), activity.ranges(), activity.runs());
        let refused_algorithm = activity.refused.get().copied();
        let beat = Heartbeat { name, at: now, messages, rate, ranges, blocked, paused, runs, refused_algorithm };
        let item = Item::of(records::heartbeat_key(&process.config.job.uid, &process.runtime.name), &beat);
        let keep = if paused.is_some() { KEEP_PAUSE_MS } else { KEEP_MS };
        let write = Write::Put { item: item.expiring(now + keep), condition: Condition::Always };
        // Not through the ledger's gate: the next heartbeat follows soon and is more current than a late one.
        if let Err(error) = process.ports.ledger.write(&[write]).await {
            warn!(%error, "failed to write heartbeat");
        }
    }
}

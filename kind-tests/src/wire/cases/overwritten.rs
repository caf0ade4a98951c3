//! A source object overwritten with other bytes of the same size, at every moment of its transfer.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use aws_sdk_s3::Client;

use super::is;
use crate::programs::Program;
use crate::proxy::log::{Event, Hook, Moment};
use crate::seeded;
use crate::wire::case::Case;
use crate::wire::config::{DESTINATION, SOURCE};

const LIMIT: Duration = Duration::from_mins(3);
const SMALL: usize = 100_000;
/// Four parts, the last one of one byte.
const LARGE: usize = (15 << 20) + 1;
/// More moments than any of these transfers has.
const MOST: u32 = 400;

/// Overwrites a small and a large object at each moment before a request of scan or transfer is forwarded, and before
/// its response is.
pub async fn source_overwritten_under_way(case: &mut Case) -> anyhow::Result<()> {
    case.settings.part_size = "5Mi".into();
    case.settings.multipart_threshold = "5Mi".into();
    let mut workers = [case.start_worker().await?];
    for (what, size) in [("small", SMALL), ("large", LARGE)] {
        let mut seen = Seen::default();
        for moment in 1.. {
            ensure!(moment < MOST, "the transfer of a {what} object has no end");
            let attempt = Attempt { key: format!("{what}/{moment:03}"), size, seed: u64::from(moment) * 2, moment };
            if !attempt.run(case, &mut workers, &mut seen).await? {
                break;
            }
        }
        ensure!(seen.moments > 0, "no moment of a {what} object was met");
        case.note(format!("{what} object: {seen}"));
    }
    case.no_open_uploads().await
}

/// Contents found after the first runs.
#[derive(Debug, Default)]
struct Seen {
    moments: u32,
    old: u32,
    new: u32,
    operations: BTreeMap<String, u32>,
}

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let operations: Vec<String> = self.operations.iter().map(|(o, n)| format!("{n} {o}")).collect();
        let Self { moments, old, new, .. } = self;
        write!(
            f,
            "overwritten at {moments} moments ({}): {old} times wholly the old content, {new} times wholly the new; after \
             the next run the new one each time",
            operations.join(", ")
        )
    }
}

/// One object, overwritten once at one moment.
struct Attempt {
    key: String,
    size: usize,
    seed: u64,
    moment: u32,
}

impl Attempt {
    /// Returns false if the transfer ended before the moment.
    async fn run(&self, case: &mut Case, workers: &mut [Program], seen: &mut Seen) -> anyhow::Result<bool> {
        let (old, new) = (seeded::bytes(self.seed, self.size), seeded::bytes(self.seed + 1, self.size));
        let source = case.source.s3();
        seeded::put(&source, SOURCE, &self.key, old.clone()).await?;
        let overwritten = self.hook(case, source.clone(), new.clone());
        case.send().await?;
        case.complete(workers, LIMIT).await?;
        case.log.set_hook(None);
        let done = overwritten.lock().unwrap_or_else(PoisonError::into_inner).take();
        let found = self.destination(case).await?;
        let Some(operation) = done.transpose()? else {
            ensure!(found == old, "{} is not the source's content, which has not been changed", self.key);
            self.clear(case).await?;
            return Ok(false);
        };
        ensure!(
            found == old || found == new,
            "{} has neither the old nor the new content after it was overwritten at {operation}",
            self.key
        );
        seen.moments += 1;
        *(if found == old { &mut seen.old } else { &mut seen.new }) += 1;
        *seen.operations.entry(operation.clone()).or_default() += 1;
        case.send().await?;
        case.complete(workers, LIMIT).await?;
        let found = self.destination(case).await?;
        ensure!(found == new, "{} has not the new content after the next run: {operation}", self.key);
        self.clear(case).await?;
        Ok(true)
    }

    /// Overwrites the source at the moment, before the request continues; stores which request that was.
    fn hook(&self, case: &Case, source: Client, new: Vec<u8>) -> Arc<Mutex<Option<anyhow::Result<String>>>> {
        let (done, count) = (Arc::new(Mutex::new(None)), AtomicU32::new(0));
        let (key, at, slot) = (self.key.clone(), self.moment, done.clone());
        case.log.set_hook(Some(Hook::new(move |moment, event| {
            let counts = event.request.key == key || is(event, "ListObjectsV2");
            if !counts || count.fetch_add(1, Ordering::Relaxed) + 1 != at {
                return Box::pin(std::future::ready(()));
            }
            let (source, key, new, slot) = (source.clone(), key.clone(), new.clone(), slot.clone());
            let what = name(moment, event);
            Box::pin(async move {
                let result = seeded::put(&source, SOURCE, &key, new).await.map(|()| what);
                *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
            })
        })));
        done
    }

    async fn destination(&self, case: &Case) -> anyhow::Result<Vec<u8>> {
        let found = seeded::read(&case.destination.s3(), DESTINATION, &self.key).await?;
        found.with_context(|| format!("{} is not at the destination after a complete run", self.key))
    }

    async fn clear(&self, case: &Case) -> anyhow::Result<()> {
        for (client, bucket) in [(case.source.s3(), SOURCE), (case.destination.s3(), DESTINATION)] {
            client.delete_object().bucket(bucket).key(&self.key).send().await.context("failed to delete an object")?;
        }
        Ok(())
    }
}

fn name(moment: Moment, event: &Event) -> String {
    let side = event.side.split(' ').next().unwrap_or_default();
    let when = match moment {
        Moment::Arrived => "before",
        Moment::Answered => "after",
    };
    format!("{when} {} at the {side}", event.request.operation)
}

//! A small tree copied by the real programs under one quirk of a service or proxy at a time.

mod table;
mod tree;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures::StreamExt as _;

use crate::seeded;
use crate::tree::Object;
use crate::tree::upload::put_all;
use crate::wait::until;
use crate::wire::case::{Case, run};
use crate::wire::config::{DESTINATION, SOURCE};
use crate::wire::services::Kind::MiniStack;
use table::{Ends, Row};

/// Time limit of a tree.
const LIMIT: Duration = Duration::from_mins(6);
/// Time limit of the objects that a quirk does not affect.
const OTHERS: Duration = Duration::from_mins(1);
const INTERVAL: Duration = Duration::from_millis(200);
/// Trees copied concurrently, each with its own servers: most of their time is waiting.
const AT_ONCE: usize = 4;

/// Runs all rows, or those whose names contain the environment variable `QUIRK`; fails at the end if one failed.
pub async fn run_all() -> anyhow::Result<()> {
    let word = std::env::var("QUIRK").unwrap_or_default();
    let rows = table::ROWS.iter().filter(|row| row.name.contains(&word));
    let failed: Vec<String> = futures::stream::iter(rows)
        .map(|row| async move {
            let name = format!("quirk: {}", row.name);
            let ended = run(&name, (MiniStack, MiniStack), async |case| quirk(case, row).await).await;
            ended.err().map(|error| format!("{name}: {error:#}"))
        })
        .buffer_unordered(AT_ONCE)
        .filter_map(std::future::ready)
        .collect()
        .await;
    ensure!(failed.is_empty(), "{} of {} quirks failed:\n{}", failed.len(), table::ROWS.len(), failed.join("\n"));
    Ok(())
}

/// Copies the tree under a quirk: every object arrives or has a failure record, and no upload stays open.
async fn quirk(case: &mut Case, row: &Row) -> anyhow::Result<()> {
    let objects = tree::objects().await?;
    put_all(&case.source.s3(), SOURCE, &objects).await?;
    tree::put_old(&case.destination.s3()).await?;
    case.settings.part_size = "5Mi".into();
    case.settings.multipart_threshold = "5Mi".into();
    case.settings.max_attempts = 3;
    row.quirks.iter().for_each(|quirk| case.quirks.set(*quirk));
    let began = Instant::now();
    let mut workers = [case.start_worker().await?];
    case.send().await?;
    if let Ends::WhenOthersArrived(key) = row.ends {
        others_arrived(case, &objects, key).await?;
        case.note(format!("all others arrived after {:.1} s", began.elapsed().as_secs_f64()));
        case.quirks.clear();
    }
    let end = case.over(&mut workers, LIMIT).await?;
    case.note(format!("the run ended {:?} after {:.1} s", end.result, began.elapsed().as_secs_f64()));
    judge(case, row, &objects).await?;
    case.note(format!("met {} times", case.quirks.met()));
    ensure!(case.quirks.met() > 0, "the quirk was never met");
    Ok(())
}

/// Waits until all objects except one are at the destination.
async fn others_arrived(case: &Case, objects: &[Object], but: &str) -> anyhow::Result<()> {
    let client = case.destination.s3();
    until("all other objects to arrive", OTHERS, INTERVAL, async || {
        let listed = client.list_objects_v2().bucket(DESTINATION).send().await.context("failed to list")?;
        let there: BTreeSet<(&str, i64)> =
            listed.contents().iter().filter_map(|o| Some((o.key()?, o.size()?))).collect();
        let arrived = |o: &Object| i64::try_from(o.size).is_ok_and(|size| there.contains(&(o.key.as_str(), size)));
        Ok(objects.iter().filter(|o| o.key != but).all(arrived).then_some(()))
    })
    .await
}

/// Checks that objects which did not arrive have a failure record with a reason, and are expected to fail.
async fn judge(case: &mut Case, row: &Row, objects: &[Object]) -> anyhow::Result<()> {
    let failures = case.ledger.failures().await?;
    let failed: BTreeSet<&str> = failures.iter().map(|failure| failure.key.as_str()).collect();
    let expected: BTreeSet<&str> = objects.iter().map(|o| o.key.as_str()).filter(|key| (row.fails)(key)).collect();
    for failure in &failures {
        ensure!(!failure.message.is_empty(), "{} failed without a reason", failure.key);
    }
    let unexpected: Vec<String> = failures
        .iter()
        .filter(|failure| !expected.contains(failure.key.as_str()))
        .map(|failure| format!("{} ({:?}: {})", failure.key, failure.class, failure.message))
        .collect();
    ensure!(unexpected.is_empty(), "these failed, and should have arrived: {}", unexpected.join("; "));
    ensure!(failed == expected, "failure records are missing of {:?}", expected.difference(&failed));
    if let Some(failure) = failures.first() {
        case.note(format!("{} failed: {:?}: {}", failures.len(), failure.class, failure.message));
    }
    let apart: Vec<String> = expected_apart(row, objects, &failed);
    for key in &apart {
        settle_apart(case, key, failed.contains(key.as_str())).await?;
    }
    case.settings.ignore = apart.iter().map(|key| format!("{SOURCE}/{key}")).collect();
    let open = case.no_open_uploads().await;
    let checked = case.check()?;
    case.note(checked);
    open
}

/// Returns the keys that the checker must leave out: those that failed, and those that lose their tags.
fn expected_apart(row: &Row, objects: &[Object], failed: &BTreeSet<&str>) -> Vec<String> {
    let apart = objects.iter().filter(|o| failed.contains(o.key.as_str()) || (row.untagged)(&o.key));
    apart.map(|o| o.key.clone()).collect()
}

/// Compares the bytes of an object that arrived without its tags, then removes it so that the checker ignores it.
async fn settle_apart(case: &Case, key: &str, failed: bool) -> anyhow::Result<()> {
    let (source, destination) = (case.source.s3(), case.destination.s3());
    if !failed {
        let sides = (seeded::read(&source, SOURCE, key).await?, seeded::read(&destination, DESTINATION, key).await?);
        ensure!(sides.0 == sides.1, "{key} is not at the destination as it is at the source");
    }
    let deleted = destination.delete_object().bucket(DESTINATION).key(key).send().await;
    deleted.map(drop).with_context(|| format!("failed to delete {key}"))
}

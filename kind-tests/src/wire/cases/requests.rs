//! Exact number of requests of a run.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::ensure;
use tokio::time::sleep;

use super::is;
use crate::cases::requests::{MOST_PROBES, in_words, listings_only, one_get_one_put};
use crate::proxy::log::Event;
use crate::seeded;
use crate::tree::upload::put_all;
use crate::tree::{Object, bytes_of};
use crate::wire::case::{Case, Service};
use crate::wire::config::SOURCE;

const LIMIT: Duration = Duration::from_mins(5);
const PART: u64 = 5 << 20;
/// Minimum age of a source before its copy to be up to date by size and time, plus one second for truncation.
const CLEARLY_OLDER: Duration = Duration::from_secs(6);
const SMALL_OBJECTS: u64 = 400;
/// Number of parts of the large objects, and whether they have tags.
const LARGE: [(u64, bool); 3] = [(4, true), (12, false), (33, false)];

/// Returns the number of S3 requests allowed for a large object: a GET and an `UploadPart` per part, 4 more, a page of
/// `ListParts` per 1,000 parts, one for tags if it has any, and one if checksums are compared.
pub fn large_object_requests(parts: u64, tags: bool, checksums: bool) -> u64 {
    2 * parts + 4 + parts.div_ceil(1_000) + u64::from(tags) + u64::from(checksums)
}

/// Many small objects and some large ones: each costs exactly its requests, and the second run only listings.
pub async fn requests_counted(case: &mut Case) -> anyhow::Result<()> {
    case.settings.part_size = "5Mi".into();
    case.settings.multipart_threshold = "5Mi".into();
    let mut workers = [case.start_worker().await?];
    let first = Object::of_bytes("first", "the first write to the bucket");
    put_all(&case.source.s3(), SOURCE, std::slice::from_ref(&first)).await?;
    case.send().await?;
    case.complete(&mut workers, LIMIT).await?;
    let probed: Vec<Event> = case.log.since(0, None).into_iter().filter(|e| e.request.key == first.key).collect();
    let refused = probed.iter().filter(|e| is(e, "CompleteMultipartUpload") && e.status == Some(412)).count();
    // If completions ignore conditions, both sides are checked after each.
    let guarded = refused == 2;
    case.note(format!(
        "the first object detects which conditions are honoured, those of completions {}: {}",
        if guarded { "are" } else { "are not" },
        in_words(&probed)
    ));
    // A GET, a PUT, the probes, and a check of both sides if PUT ignores conditions.
    let most = 2 + MOST_PROBES + 2;
    ensure!(probed.len() <= most, "the first object cost {} requests instead of at most {most}", probed.len());
    let (small, large) = (small_objects(), large_objects()?);
    for objects in [&small, &large] {
        put_all(&case.source.s3(), SOURCE, objects).await?;
    }
    // A large object has another ETag at the destination: the next run recognises it only if its source is clearly
    // older.
    sleep(CLEARLY_OLDER).await;
    let next = case.log.next();
    case.send().await?;
    case.complete(&mut workers, LIMIT).await?;
    let events = case.log.since(next, None);
    case.note(format!("{} objects, {} bytes", small.len() + large.len(), bytes_of(&small) + bytes_of(&large)));
    count_small(case, &small, &events)?;
    for object in &large {
        count_large(case, object, &events, guarded)?;
    }
    let next = case.log.next();
    case.send().await?;
    case.complete(&mut workers, LIMIT).await?;
    let pages = listings_only(&case.log.since(next, None))?;
    case.note(format!("second run: {pages} pages of listings and nothing else"));
    let checked = case.check()?;
    case.note(checked);
    Ok(())
}

fn small_objects() -> Vec<Object> {
    let object = |n: u64| {
        let len = usize::try_from(n * 211).unwrap_or_default();
        let mut object = Object::of_bytes(format!("small/{n:04}"), seeded::bytes(n, len));
        if n.is_multiple_of(10) {
            object.tags = vec![("team".into(), "storage".into())];
        }
        object
    };
    (0..SMALL_OBJECTS).map(object).collect()
}

fn large_objects() -> anyhow::Result<Vec<Object>> {
    let mut objects = Vec::new();
    for (parts, tags) in LARGE {
        let len = usize::try_from((parts - 1) * PART + 1)?;
        let mut object = Object::of_bytes(format!("large/{parts}"), seeded::bytes(parts, len));
        if tags {
            object.tags = vec![("team".into(), "storage".into())];
        }
        objects.push(object);
    }
    Ok(objects)
}

fn count_small(case: &mut Case, objects: &[Object], events: &[Event]) -> anyhow::Result<()> {
    let small: Vec<&Object> = objects.iter().collect();
    let of = |side: Service| -> Vec<Event> { events.iter().filter(|e| side.has(e)).cloned().collect() };
    let counted = one_get_one_put(&small, &of(Service::Source), &of(Service::Destination), 0, 1)?;
    let tagged = objects.iter().filter(|o| !o.tags.is_empty()).count();
    case.note(format!(
        "{} small objects: each 1 GET and 1 PUT, and {tagged} with tags 1 GET of them; {} PUT more for one",
        counted.objects, counted.tests
    ));
    Ok(())
}

fn count_large(case: &mut Case, object: &Object, events: &[Event], guarded: bool) -> anyhow::Result<()> {
    let mine: Vec<Event> = events.iter().filter(|e| e.request.key == object.key).cloned().collect();
    let (parts, tags) = (object.size.div_ceil(PART), !object.tags.is_empty());
    // Without conditions, a HEAD that finds nothing is confirmed once, and both sides are checked afterwards.
    let (looks, confirmed) = if guarded { (0, 0) } else { (2, 1) };
    let (seen, designed) = (mine.len() as u64, large_object_requests(parts, tags, true) + looks + confirmed);
    case.note(format!(
        "{parts} parts{}: {seen} requests of {designed}: {}",
        if tags { " and tags" } else { "" },
        in_words(&mine)
    ));
    let exact = BTreeMap::from([
        ("GetObject", parts + confirmed),
        ("UploadPart", parts),
        ("CreateMultipartUpload", 1),
        ("CompleteMultipartUpload", 1),
        ("ListParts", parts.div_ceil(1_000)),
        ("GetObjectTagging", u64::from(tags)),
        ("ListMultipartUploads", 0),
        // The destination before and after, and the source's checksum.
        ("HeadObject", 3 + looks),
    ]);
    for (operation, wanted) in exact {
        let found = mine.iter().filter(|e| is(e, operation)).count() as u64;
        ensure!(found == wanted, "{} cost {found} {operation} instead of {wanted}", object.key);
    }
    ensure!(seen == designed, "{} cost {seen} requests instead of {designed}", object.key);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_objects_cost_what_the_design_says() {
        assert_eq!(large_object_requests(1, false, false), 7);
        assert_eq!(large_object_requests(1_000, true, false), 2_006);
        assert_eq!(large_object_requests(1_001, false, true), 2_009);
    }
}

//! Rules of listings: order, completeness, pages.

use futures::{StreamExt, TryStreamExt, stream};
use migration_core::etag::ETag;
use migration_core::ports::{Attributes, ListRequest, ObjectStore, Tags, WriteCondition};

use super::{StoreUnderTest, md5};
use crate::conformance::report::CaseResult;
use crate::conformance::{ensure, ensure_eq};

/// Keys that bytes, UTF-16, locales and file systems sort differently.
const ORDERED: &[&str] =
    &["A", "B", "a", "a b", "a!", "a-b", "a.b", "a/b", "a0", "b", "é", "日", "\u{ffff}", "\u{1f600}"];

/// More than a page of 1,000.
const MANY: usize = 1_003;

async fn put_all<S: ObjectStore>(t: &StoreUnderTest<S>, keys: &[impl AsRef<str>]) -> CaseResult {
    let puts = stream::iter(keys).map(|key| t.put(key.as_ref(), "x")).buffer_unordered(16);
    puts.try_for_each(|_| async { Ok(()) }).await?;
    Ok(())
}

pub(super) async fn an_empty_bucket_lists_nothing<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    let page = t.store.list(t.list_request()).await?;
    ensure!(page.objects.is_empty() && page.continuation.is_none(), "an empty bucket lists {page:?}");
    Ok(())
}

pub(super) async fn keys_come_in_byte_order<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    put_all(t, &ORDERED.iter().rev().collect::<Vec<_>>()).await?;
    let pages = t.pages(t.list_request()).await?.concat();
    let keys: Vec<&str> = pages.iter().map(|object| object.key.as_str()).collect();
    ensure_eq!(keys, ORDERED, "keys in order");
    for object in &pages {
        ensure_eq!(object.size, 1, "listed size of {:?}", object.key);
        ensure_eq!(object.etag, Some(ETag::of_content(&md5(b"x"))), "listed ETag of {:?}", object.key);
        ensure!(object.modified > 0, "{:?} is listed as modified at {}", object.key, object.modified);
    }
    Ok(())
}

pub(super) async fn a_listing_tells_storage_classes<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    let of = |class: &str| Attributes { storage_class: Some(class.to_owned()), ..Attributes::default() };
    for (key, class) in [("infrequent", "STANDARD_IA"), ("standard", "STANDARD")] {
        t.put_with(key, "x", &of(class), &Tags::new(), &WriteCondition::Any).await?;
    }
    let objects = t.pages(t.list_request()).await?.concat();
    let classes: Vec<_> = objects.iter().map(|object| object.storage_class.as_deref()).collect();
    ensure_eq!(classes, [Some("STANDARD_IA"), None], "storage classes in a listing");
    Ok(())
}

pub(super) async fn a_prefix_is_plain_text<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    put_all(t, ORDERED).await?;
    for (prefix, expected) in [
        ("a", &["a", "a b", "a!", "a-b", "a.b", "a/b", "a0"][..]),
        ("a/", &["a/b"]),
        ("a ", &["a b"]),
        ("é", &["é"]),
        ("c", &[]),
    ] {
        let found = t.listed_keys(ListRequest { prefix, ..t.list_request() }).await?;
        ensure_eq!(found, expected, "keys under {prefix:?}");
    }
    Ok(())
}

pub(super) async fn listing_starts_after_a_key<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    put_all(t, ORDERED).await?;
    for (prefix, after, expected) in [
        ("", "日", &["\u{ffff}", "\u{1f600}"][..]),
        ("", "zzz", &["é", "日", "\u{ffff}", "\u{1f600}"]),
        ("", "\u{1f600}", &[]),
        ("a", "a b", &["a!", "a-b", "a.b", "a/b", "a0"]),
        ("a", "A", &["a", "a b", "a!", "a-b", "a.b", "a/b", "a0"]),
        ("a", "a/a+%41&#?", &["a/b", "a0"]),
        ("a", "b", &[]),
    ] {
        let request = ListRequest { prefix, start_after: Some(after), ..t.list_request() };
        ensure_eq!(t.listed_keys(request).await?, expected, "keys under {prefix:?} after {after:?}");
    }
    Ok(())
}

pub(super) async fn a_page_has_no_more_keys_than_asked_for<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    put_all(t, ORDERED).await?;
    for (prefix, after, expected, more) in [
        ("", "a/", &["a/b"][..], true),
        ("a", "a/", &["a/b"], true),
        ("a", "a/b", &["a0"], false),
        ("", "\u{1f600}", &[], false),
    ] {
        let request = ListRequest { prefix, start_after: Some(after), max_keys: Some(1), ..t.list_request() };
        let page = t.store.list(request).await?;
        let found: Vec<String> = page.objects.into_iter().map(|object| object.key).collect();
        ensure_eq!(found, expected, "one key under {prefix:?} after {after:?}");
        ensure_eq!(page.continuation.is_some(), more, "whether more follow {after:?} under {prefix:?}");
    }
    Ok(())
}

pub(super) async fn pages_hold_every_key_once<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    // Space, plus and percent occur at page boundaries.
    let keys: Vec<String> = (0..MANY).map(|number| format!("p/{number:04} +%41é")).collect();
    put_all(t, &keys).await?;
    put_all(t, &["o", "q"]).await?;
    for (after, expected) in [(None, keys.as_slice()), (Some("p/0001 +%41é"), keys.get(2..).unwrap_or_default())] {
        let request = ListRequest { prefix: "p/", start_after: after, ..t.list_request() };
        let pages = t.pages(request).await?;
        ensure!(pages.iter().all(|page| page.len() <= 1_000), "a page has more than 1,000 keys");
        ensure!(pages.len() > 1, "{} keys came in one page", expected.len());
        let found: Vec<String> = pages.concat().into_iter().map(|object| object.key).collect();
        ensure_eq!(found.len(), expected.len(), "number of keys over all pages, after {after:?}");
        ensure!(found == expected, "keys are missing, doubled or out of order over pages after {after:?}");
    }
    Ok(())
}

//! Rules of queries: order, completeness, pages.

use migration_core::ports::{Item, Ledger, LedgerKey};
use serde_json::json;

use super::{pages, put, write};
use crate::conformance::report::CaseResult;
use crate::conformance::{ensure, ensure_eq};

fn sorts(pages: &[Vec<Item>]) -> Vec<String> {
    pages.concat().into_iter().map(|item| item.key.sort).collect()
}

pub(super) async fn a_query_gives_its_prefix_in_byte_order<L: Ledger>(ledger: &L) -> CaseResult {
    let expected = ["range/A", "range/a", "range/a/b", "range/a0", "range/é", "range/\u{ffff}", "range/\u{1f600}"];
    for sort in expected.iter().rev().chain(&["rang", "range", "rangf", "heartbeat/x"]) {
        write(ledger, &[put(&LedgerKey::new("run/1", *sort), json!({"sort": sort}))]).await?;
    }
    for partition in ["run/", "run/10", "run/2"] {
        write(ledger, &[put(&LedgerKey::new(partition, "range/other"), json!({}))]).await?;
    }
    let found = pages(ledger, "run/1", "range/", 1_000).await?;
    ensure_eq!(sorts(&found), expected, "items under the prefix");
    for item in found.concat() {
        ensure_eq!(item.key.partition, "run/1", "partition of {:?}", item.key.sort);
        ensure_eq!(item.attributes.get("sort"), Some(&json!(item.key.sort)), "attributes of {:?}", item.key.sort);
    }
    ensure_eq!(sorts(&pages(ledger, "run/1", "none/", 10).await?).len(), 0, "items under a prefix of none");
    ensure_eq!(sorts(&pages(ledger, "run/3", "range/", 10).await?).len(), 0, "items of a partition of none");
    let all = ["heartbeat/x", "rang", "range"].into_iter().chain(expected).chain(["rangf"]).collect::<Vec<_>>();
    ensure_eq!(sorts(&pages(ledger, "run/1", "", 4).await?), all, "items without prefix");
    Ok(())
}

pub(super) async fn pages_hold_every_item_once<L: Ledger>(ledger: &L) -> CaseResult {
    let expected: Vec<String> = (0..12).map(|n| format!("batch/{n:02}")).collect();
    for sort in &expected {
        write(ledger, &[put(&LedgerKey::new("p", sort.clone()), json!({"a": 1}))]).await?;
    }
    write(ledger, &[put(&LedgerKey::new("p", "z"), json!({}))]).await?;
    for limit in [1, 5, 6, 12, 13] {
        let found = pages(ledger, "p", "batch/", limit).await?;
        let longest = found.iter().map(Vec::len).max().unwrap_or(0);
        ensure!(u32::try_from(longest).is_ok_and(|longest| longest <= limit), "a page of {longest} for {limit}");
        ensure_eq!(sorts(&found), expected, "items over pages of {limit}");
    }
    let after = ledger.query("p", "batch/", Some("batch/09"), 100).await?;
    ensure_eq!(sorts(&[after.items]), ["batch/10", "batch/11"], "items after a sort key");
    let between = ledger.query("p", "batch/", Some("batch/0999"), 1).await?;
    ensure_eq!(sorts(&[between.items]), ["batch/10"], "the item after a sort key of none");
    Ok(())
}

pub(super) async fn large_items_are_paged_too<L: Ledger>(ledger: &L) -> CaseResult {
    let expected: Vec<String> = (0..5).map(|n| format!("s{n}")).collect();
    for sort in &expected {
        write(ledger, &[put(&LedgerKey::new("p", sort.clone()), json!({"text": "x".repeat(350 << 10)}))]).await?;
    }
    ensure_eq!(sorts(&pages(ledger, "p", "s", 1_000).await?), expected, "items of 1.7 MiB together");
    Ok(())
}

pub(super) async fn a_query_sees_what_was_just_written<L: Ledger>(ledger: &L) -> CaseResult {
    for count in 1..=20 {
        write(ledger, &[put(&LedgerKey::new("p", format!("s{count:02}")), json!({"n": count}))]).await?;
        ensure_eq!(sorts(&pages(ledger, "p", "s", 100).await?).len(), count, "items after {count} writes");
    }
    Ok(())
}

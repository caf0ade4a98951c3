//! Rules of conditions, additions and transactions.

use futures::future::join_all;
use migration_core::error::ErrorClass;
use migration_core::ports::{Condition, Ledger, LedgerKey, Write, WriteError};
use serde_json::{Value, json};

use super::items::service_error;
use super::{attributes, ensure_condition, put, put_if, write};
use crate::conformance::report::{CaseResult, Failure};
use crate::conformance::{ensure, ensure_class, ensure_eq};

fn add(key: &LedgerKey, deltas: &[(&str, i64)]) -> Write {
    let deltas = deltas.iter().map(|(name, delta)| ((*name).to_owned(), *delta)).collect();
    Write::Add { key: key.clone(), deltas, expires_at: None }
}

pub(super) async fn absence_can_be_asked_for<L: Ledger>(ledger: &L) -> CaseResult {
    let key = LedgerKey::new("p", "s");
    write(ledger, &[put_if(&key, json!({"a": 1}), Condition::Absent)]).await?;
    let second = write(ledger, &[put_if(&key, json!({"a": 2}), Condition::Absent)]).await;
    ensure_condition(second, "a second put")?;
    ensure_eq!(attributes(ledger, &key).await?, Some(json!({"a": 1})), "the item");
    Ok(())
}

pub(super) async fn a_revision_can_be_asked_for<L: Ledger>(ledger: &L) -> CaseResult {
    let key = LedgerKey::new("p", "s");
    let none = write(ledger, &[put_if(&key, json!({"revision": 1}), Condition::Revision(0))]).await;
    ensure_condition(none, "a put over nothing")?;
    write(ledger, &[put(&key, json!({"revision": 1}))]).await?;
    let stale = write(ledger, &[put_if(&key, json!({"revision": 9}), Condition::Revision(2))]).await;
    ensure_condition(stale, "a put over another revision")?;
    write(ledger, &[put_if(&key, json!({"revision": 2}), Condition::Revision(1))]).await?;
    let again = write(ledger, &[put_if(&key, json!({"revision": 2}), Condition::Revision(1))]).await;
    ensure_condition(again, "the same put again")?;
    ensure_eq!(attributes(ledger, &key).await?, Some(json!({"revision": 2})), "the item");

    let bare = LedgerKey::new("p", "bare");
    write(ledger, &[put(&bare, json!({"a": 1}))]).await?;
    let bare = write(ledger, &[put_if(&bare, json!({"a": 2}), Condition::Revision(0))]).await;
    ensure_condition(bare, "a put over an item without revision")
}

/// Source: `TransactWriteItems` in the DynamoDB API reference, `CancellationReasons`.
pub(super) async fn the_writes_whose_conditions_fail_are_named<L: Ledger>(ledger: &L) -> CaseResult {
    let key = |sort: &str| LedgerKey::new("p", sort);
    write(ledger, &[put(&key("b"), json!({"a": 1})), put(&key("d"), json!({"a": 1}))]).await?;
    let absent = |sort: &str| put_if(&key(sort), json!({"a": 2}), Condition::Absent);
    let writes = [absent("a"), absent("b"), add(&key("c"), &[("n", 1)]), absent("d")];
    match write(ledger, &writes).await {
        Err(WriteError::Condition(places)) => ensure_eq!(places, [1, 3], "the writes that are named"),
        other => return Err(Failure::new(format!("expected that conditions fail, found {other:?}"))),
    }
    for sort in ["a", "c"] {
        ensure_eq!(attributes(ledger, &key(sort)).await?, None, "the item {sort}");
    }
    match write(ledger, &[absent("b")]).await {
        Err(WriteError::Condition(places)) => ensure_eq!(places, [0], "the write that is named"),
        other => return Err(Failure::new(format!("expected that the condition fails, found {other:?}"))),
    }
    Ok(())
}

pub(super) async fn a_deletion_can_ask_for_a_revision<L: Ledger>(ledger: &L) -> CaseResult {
    let key = LedgerKey::new("p", "s");
    write(ledger, &[put(&key, json!({"revision": 3}))]).await?;
    let delete = |revision| Write::Delete { key: key.clone(), condition: Condition::Revision(revision) };
    ensure_condition(write(ledger, &[delete(2)]).await, "deleting another revision")?;
    ensure_eq!(attributes(ledger, &key).await?, Some(json!({"revision": 3})), "the item");
    write(ledger, &[delete(3)]).await?;
    ensure_eq!(attributes(ledger, &key).await?, None, "the item after it was deleted");
    ensure_condition(write(ledger, &[delete(3)]).await, "deleting it again")
}

pub(super) async fn additions_make_and_change_items<L: Ledger>(ledger: &L) -> CaseResult {
    let key = LedgerKey::new("run/uid/1", "counter/worker-1");
    write(ledger, &[add(&key, &[("done", 3), ("bytes", i64::from(u32::MAX) * 1_000)])]).await?;
    write(ledger, &[add(&key, &[("done", -1), ("failed", 2), ("size", 0)])]).await?;
    let expected = json!({"done": 2, "bytes": i64::from(u32::MAX) * 1_000, "failed": 2, "size": 0});
    ensure_eq!(attributes(ledger, &key).await?, Some(expected), "the sums");
    let expiring = Write::Add { key: key.clone(), deltas: vec![("done".into(), 1)], expires_at: Some(4_102_444_800) };
    write(ledger, &[expiring]).await?;
    let found = ledger.get(&key).await?;
    ensure_eq!(found.as_ref().and_then(|item| item.expires_at), Some(4_102_444_800), "when it may be forgotten");
    ensure_eq!(found.and_then(|item| item.attributes.get("done").cloned()), Some(json!(3)), "the sum after it");

    let twice = LedgerKey::new("p", "twice");
    write(ledger, &[add(&twice, &[("done", 1), ("done", 4)])]).await?;
    ensure_eq!(attributes(ledger, &twice).await?, Some(json!({"done": 5})), "the sum of two additions in one write");
    let nothing = service_error(write(ledger, &[add(&twice, &[])]).await)?;
    ensure_class!(nothing, ErrorClass::Refused, "adding nothing");

    let text = LedgerKey::new("p", "text");
    write(ledger, &[put(&text, json!({"done": "many"}))]).await?;
    let added = service_error(write(ledger, &[add(&text, &[("done", 1)])]).await)?;
    ensure_class!(added, ErrorClass::Refused, "adding to a text");
    Ok(())
}

pub(super) async fn additions_at_once_all_count<L: Ledger>(ledger: &L) -> CaseResult {
    let key = LedgerKey::new("p", "sum");
    let additions = [add(&key, &[("done", 1)])];
    for result in join_all((0..25).map(|_| write(ledger, &additions))).await {
        result?;
    }
    ensure_eq!(attributes(ledger, &key).await?, Some(json!({"done": 25})), "the sum of 25 additions at once");
    Ok(())
}

pub(super) async fn all_writes_happen_or_none<L: Ledger>(ledger: &L) -> CaseResult {
    let [taken, free, counter, old] = ["taken", "free", "counter", "old"].map(|sort| LedgerKey::new("p", sort));
    write(ledger, &[put(&taken, json!({"a": 1})), put(&old, json!({"a": 1}))]).await?;
    let writes = |key: &LedgerKey| {
        [
            add(&counter, &[("n", 5)]),
            Write::Delete { key: old.clone(), condition: Condition::Always },
            put_if(key, json!({"a": 2}), Condition::Absent),
        ]
    };
    ensure_condition(write(ledger, &writes(&taken)).await, "writes of which one finds its item taken")?;
    ensure_eq!(attributes(ledger, &counter).await?, None, "the counter after refused writes");
    ensure_eq!(attributes(ledger, &old).await?, Some(json!({"a": 1})), "the item not deleted");
    ensure_eq!(attributes(ledger, &taken).await?, Some(json!({"a": 1})), "the item that was taken");
    write(ledger, &writes(&free)).await?;
    ensure_eq!(attributes(ledger, &counter).await?, Some(json!({"n": 5})), "the counter");
    ensure_eq!(attributes(ledger, &old).await?, None, "the item deleted");
    ensure_eq!(attributes(ledger, &free).await?, Some(json!({"a": 2})), "the item put");
    Ok(())
}

pub(super) async fn an_end_is_counted_once<L: Ledger>(ledger: &L) -> CaseResult {
    let counter = LedgerKey::new("run/uid/1", "counter/w");
    let ends: Vec<[Write; 2]> = (0..8)
        .map(|batch| {
            let end = LedgerKey::new("run/uid/1", format!("batch/{}", batch / 2));
            [put_if(&end, json!({"by": batch}), Condition::Absent), add(&counter, &[("batches", 1)])]
        })
        .collect();
    let results = join_all(ends.iter().map(|writes| write(ledger, writes))).await;
    ensure_eq!(results.iter().filter(|result| result.is_ok()).count(), 4, "ends that were the first of their batch");
    for result in results.into_iter().filter(Result::is_err) {
        ensure_condition(result, "the second end of a batch")?;
    }
    ensure_eq!(attributes(ledger, &counter).await?, Some(json!({"batches": 4})), "the counter");
    Ok(())
}

/// Eight writers take parts from one item into an item of their own, each on condition of both revisions; the last one
/// takes those of the first, whose late renewal then fails.
pub(super) async fn what_moves_between_items_is_neither_lost_nor_doubled<L: Ledger>(ledger: &L) -> CaseResult {
    let pool = LedgerKey::new("limits/1", "pool");
    let share = |writer: u64| LedgerKey::new("limits/1", format!("share/{writer}"));
    let number = |item: &Option<Value>, name: &str| item.as_ref().and_then(|item| item[name].as_u64()).unwrap_or(0);
    write(ledger, &[put(&pool, json!({"revision": 1, "free": 80}))]).await?;
    let take = async |writer: u64| {
        loop {
            let found = attributes(ledger, &pool).await?;
            let (revision, free) = (number(&found, "revision"), number(&found, "free"));
            let rest = json!({"revision": revision + 1, "free": free - 10});
            let writes = [
                put_if(&share(writer), json!({"revision": 1, "parts": 10}), Condition::Absent),
                put_if(&pool, rest, Condition::Revision(revision)),
            ];
            // A conflict that the service reported as such may have been one with an earlier try of the same request.
            let is_there = async || Ok::<_, Failure>(attributes(ledger, &share(writer)).await?.is_some());
            match write(ledger, &writes).await {
                Ok(()) => return Ok::<_, Failure>(()),
                Err(WriteError::Condition(_)) if is_there().await? => return Ok(()),
                Err(WriteError::Condition(_)) => {}
                Err(WriteError::Service(error)) => return Err(error.into()),
            }
        }
    };
    for result in join_all((0..8).map(take)).await {
        result?;
    }
    let found = attributes(ledger, &pool).await?;
    ensure_eq!((number(&found, "revision"), number(&found, "free")), (9, 0), "revision and rest of the pool");
    let takeover = [
        Write::Delete { key: share(0), condition: Condition::Revision(1) },
        put_if(&share(7), json!({"revision": 2, "parts": 20}), Condition::Revision(1)),
        put_if(&pool, json!({"revision": 10, "free": 0}), Condition::Revision(9)),
    ];
    write(ledger, &takeover).await?;
    let late = write(ledger, &[put_if(&share(0), json!({"revision": 2, "parts": 10}), Condition::Revision(1))]).await;
    ensure_condition(late, "the renewal of a share that was taken over")?;
    ensure_condition(write(ledger, &takeover).await, "taking it over again")?;
    let items = super::pages(ledger, "limits/1", "share/", 100).await?.concat();
    let parts: u64 = items.iter().filter_map(|item| item.attributes.get("parts")?.as_u64()).sum();
    ensure_eq!((items.len(), parts), (7, 80), "the shares and their parts");
    Ok(())
}

pub(super) async fn of_many_that_ask_for_absence_one_wins<L: Ledger>(ledger: &L) -> CaseResult {
    let key = LedgerKey::new("job/1", "current");
    let puts: Vec<[Write; 1]> = (0..8).map(|by| [put_if(&key, json!({"by": by}), Condition::Absent)]).collect();
    let results = join_all(puts.iter().map(|writes| write(ledger, writes))).await;
    let winners: Vec<usize> = (0..8).filter(|by| results.get(*by).is_some_and(Result::is_ok)).collect();
    ensure_eq!(winners.len(), 1, "writers that won");
    ensure_eq!(attributes(ledger, &key).await?, Some(json!({"by": winners.first()})), "the winner's item");
    Ok(())
}

pub(super) async fn a_hundred_writes_are_the_most<L: Ledger>(ledger: &L) -> CaseResult {
    let writes: Vec<Write> = (0..101).map(|n| put(&LedgerKey::new("p", format!("s{n:03}")), json!({"n": n}))).collect();
    let all = service_error(write(ledger, &writes).await)?;
    ensure_class!(all, ErrorClass::Refused, "101 writes");
    ensure_eq!(super::pages(ledger, "p", "s", 1_000).await?.concat().len(), 0, "items after that");
    write(ledger, writes.get(1..).unwrap_or_default()).await?;
    ensure_eq!(super::pages(ledger, "p", "s", 1_000).await?.concat().len(), 100, "items after 100 writes");
    Ok(())
}

pub(super) async fn one_item_is_written_once_in_a_request<L: Ledger>(ledger: &L) -> CaseResult {
    let key = LedgerKey::new("p", "s");
    let twice = service_error(write(ledger, &[put(&key, json!({"a": 1})), add(&key, &[("a", 1)])]).await)?;
    ensure_class!(twice, ErrorClass::Refused, "two writes of one item");
    ensure_eq!(attributes(ledger, &key).await?, None, "the item");
    Ok(())
}

pub(super) async fn one_item_is_put_once_in_a_request<L: Ledger>(ledger: &L) -> CaseResult {
    let [twice, other] = ["s", "other"].map(|sort| LedgerKey::new("p", sort));
    let puts = [put(&twice, json!({"a": 1})), put(&other, json!({"a": 1})), put(&twice, json!({"a": 1}))];
    ensure_class!(service_error(write(ledger, &puts).await)?, ErrorClass::Refused, "two equal puts of one item");
    let delete = Write::Delete { key: twice.clone(), condition: Condition::Always };
    let written = service_error(write(ledger, &[put(&twice, json!({"a": 1})), delete]).await)?;
    ensure_class!(written, ErrorClass::Refused, "a put and a deletion of one item");
    ensure_eq!(attributes(ledger, &other).await?, None, "the other item");
    Ok(())
}

pub(super) async fn a_request_over_four_megabytes_is_refused<L: Ledger>(ledger: &L) -> CaseResult {
    let puts = |count: usize| -> Vec<Write> {
        let key = |n| LedgerKey::new("p", format!("s{n:02}"));
        (0..count).map(|n| put(&key(n), json!({"text": "x".repeat(390 << 10)}))).collect()
    };
    let written = service_error(write(ledger, &puts(12)).await)?;
    ensure_class!(written, ErrorClass::Refused, "12 items of 390 KiB");
    ensure_eq!(attributes(ledger, &LedgerKey::new("p", "s00")).await?, None, "the first of them");
    for request in migration_core::records::requests(puts(12)) {
        write(ledger, &request).await?;
    }
    ensure!(attributes(ledger, &LedgerKey::new("p", "s11")).await?.is_some(), "the last of them is not there");
    Ok(())
}

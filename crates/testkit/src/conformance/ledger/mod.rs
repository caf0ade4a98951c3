//! Conformance suite of [`Ledger`].

mod items;
mod queries;
mod writes;

use std::ops::AsyncFn;

use migration_core::ports::{Condition, Item, Ledger, LedgerKey, Write, WriteError};
use serde_json::{Map, Value};

use super::report::{Deviation, Failure, Report};
use super::{ensure, run_cases};

/// Runs all cases, each on an empty table from `make`.
pub async fn ledger_suite<L: Ledger>(make: impl AsyncFn() -> Result<L, Failure>, deviations: &[Deviation]) -> Report {
    let mut report = Report::new("ledger", deviations);
    run_cases!(
        report,
        make,
        [
            items::an_item_is_put_and_got,
            items::values_come_back_as_they_were,
            items::names_that_the_table_uses_are_refused,
            items::a_second_put_replaces_the_first,
            items::keys_are_opaque,
            items::keys_beyond_their_bounds_are_refused,
            items::items_over_400_kib_are_refused,
            writes::absence_can_be_asked_for,
            writes::a_revision_can_be_asked_for,
            writes::the_writes_whose_conditions_fail_are_named,
            writes::a_deletion_can_ask_for_a_revision,
            writes::additions_make_and_change_items,
            writes::additions_at_once_all_count,
            writes::all_writes_happen_or_none,
            writes::an_end_is_counted_once,
            writes::what_moves_between_items_is_neither_lost_nor_doubled,
            writes::of_many_that_ask_for_absence_one_wins,
            writes::a_hundred_writes_are_the_most,
            writes::one_item_is_written_once_in_a_request,
            writes::one_item_is_put_once_in_a_request,
            writes::a_request_over_four_megabytes_is_refused,
            queries::a_query_gives_its_prefix_in_byte_order,
            queries::pages_hold_every_item_once,
            queries::large_items_are_paged_too,
            queries::a_query_sees_what_was_just_written,
        ]
    );
    report
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => Map::from_iter([("value".to_owned(), other)]),
    }
}

fn item(key: &LedgerKey, attributes: Value) -> Item {
    Item { key: key.clone(), attributes: object(attributes), expires_at: None }
}

fn put(key: &LedgerKey, attributes: Value) -> Write {
    put_if(key, attributes, Condition::Always)
}

fn put_if(key: &LedgerKey, attributes: Value, condition: Condition) -> Write {
    Write::Put { item: item(key, attributes), condition }
}

/// Writes; retries while another write of the same items is in progress.
async fn write(ledger: &impl Ledger, writes: &[Write]) -> Result<(), WriteError> {
    let mut tries = 0;
    loop {
        match ledger.write(writes).await {
            Err(WriteError::Service(error)) if error.is_retryable() && tries < 100 => tries += 1,
            result => return result,
        }
    }
}

/// Fails the case unless a write was rejected by its condition.
fn ensure_condition(result: Result<(), WriteError>, what: &str) -> Result<(), Failure> {
    match result {
        Err(WriteError::Condition(_)) => Ok(()),
        other => Err(Failure::new(format!("{what}: expected that the condition fails, found {other:?}"))),
    }
}

async fn attributes(ledger: &impl Ledger, key: &LedgerKey) -> Result<Option<Value>, Failure> {
    Ok(ledger.get(key).await?.map(|item| Value::Object(item.attributes)))
}

/// Reads all pages of a query.
async fn pages(ledger: &impl Ledger, partition: &str, prefix: &str, limit: u32) -> Result<Vec<Vec<Item>>, Failure> {
    let mut pages = Vec::new();
    let mut after = None;
    loop {
        let page = ledger.query(partition, prefix, after.as_deref(), limit).await?;
        pages.push(page.items);
        after = page.next;
        if after.is_none() {
            return Ok(pages);
        }
        ensure!(pages.len() < 100, "the query does not end");
    }
}

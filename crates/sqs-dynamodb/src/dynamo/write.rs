//! Writes of one item and of several items in a transaction.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{AttributeValue, CancellationReason, Delete, Put, TransactWriteItem, Update};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::error::operation::BuildError;
use migration_aws::error::{Api, classify, naming, service_error};
use migration_core::error::{ErrorClass, ServiceError};
use migration_core::ports::{Condition, Item, LedgerKey, Write, WriteError};

use super::value::map_from_json;
use super::{PARTITION, SORT, TTL, key_of};

const WRITE: &str = "write ledger record";

/// An expression with the names and values behind its placeholders.
#[derive(Clone, Debug, Default, PartialEq)]
struct Expression {
    text: Option<String>,
    names: Option<HashMap<String, String>>,
    values: Option<HashMap<String, AttributeValue>>,
}

/// Applies all writes or none.
///
/// A single put or delete is sent as a plain request. Several writes go into a transaction, and so does a single
/// addition: the SDK may resend a request whose response was lost, and only a transaction carries a token that prevents
/// adding twice.
pub(super) async fn all(client: &Client, table: &str, writes: &[Write]) -> Result<(), WriteError> {
    match writes {
        [] => Ok(()),
        [Write::Put { item, condition }] => put(client, table, item, condition).await,
        [Write::Delete { key, condition }] => delete(client, table, key, condition).await,
        writes => transact(client, table, writes).await,
    }
}

async fn put(client: &Client, table: &str, item: &Item, condition: &Condition) -> Result<(), WriteError> {
    let Expression { text, names, values } = expression(condition);
    let put = client
        .put_item()
        .table_name(table)
        .set_item(Some(attributes(item)?))
        .set_condition_expression(text)
        .set_expression_attribute_names(names)
        .set_expression_attribute_values(values);
    put.send().await.map(|_| ()).map_err(|error| refused(service_error(Api::DynamoDb, WRITE, &error), vec![0]))
}

async fn delete(client: &Client, table: &str, key: &LedgerKey, condition: &Condition) -> Result<(), WriteError> {
    let Expression { text, names, values } = expression(condition);
    let delete = client
        .delete_item()
        .table_name(table)
        .set_key(Some(key_of(key)))
        .set_condition_expression(text)
        .set_expression_attribute_names(names)
        .set_expression_attribute_values(values);
    delete.send().await.map(|_| ()).map_err(|error| refused(service_error(Api::DynamoDb, WRITE, &error), vec![0]))
}

async fn transact(client: &Client, table: &str, writes: &[Write]) -> Result<(), WriteError> {
    let items = writes.iter().map(|write| transaction_item(table, write)).collect::<Result<_, _>>()?;
    let sent = client.transact_write_items().set_transact_items(Some(items)).send().await;
    sent.map(|_| ()).map_err(|error| cancelled(&error))
}

fn transaction_item(table: &str, write: &Write) -> Result<TransactWriteItem, ServiceError> {
    let unbuilt = |error: BuildError| invalid(error.to_string());
    let item = TransactWriteItem::builder();
    Ok(match write {
        Write::Put { item: put, condition } => {
            let Expression { text, names, values } = expression(condition);
            let put = Put::builder()
                .table_name(table)
                .set_item(Some(attributes(put)?))
                .set_condition_expression(text)
                .set_expression_attribute_names(names)
                .set_expression_attribute_values(values);
            item.put(put.build().map_err(unbuilt)?)
        }
        Write::Delete { key, condition } => {
            let Expression { text, names, values } = expression(condition);
            let delete = Delete::builder()
                .table_name(table)
                .set_key(Some(key_of(key)))
                .set_condition_expression(text)
                .set_expression_attribute_names(names)
                .set_expression_attribute_values(values);
            item.delete(delete.build().map_err(unbuilt)?)
        }
        Write::Add { key, deltas, expires_at } => {
            let Expression { text, names, values } = addition(deltas, *expires_at)
                .ok_or_else(|| invalid(format!("the addition to {} has neither deltas nor an expiry", key.sort)))?;
            let update = Update::builder()
                .table_name(table)
                .set_key(Some(key_of(key)))
                .set_update_expression(text)
                .set_expression_attribute_names(names)
                .set_expression_attribute_values(values);
            item.update(update.build().map_err(unbuilt)?)
        }
    }
    .build())
}

/// Returns all attributes of an item, keys and expiry included.
fn attributes(item: &Item) -> Result<HashMap<String, AttributeValue>, ServiceError> {
    if let Some(name) = [PARTITION, SORT, TTL].into_iter().find(|name| item.attributes.contains_key(*name)) {
        return Err(invalid(format!("a record may have no attribute {name}: the table uses it")));
    }
    let mut all = map_from_json(&item.attributes);
    all.extend(key_of(&item.key));
    all.extend(item.expires_at.map(|time| (TTL.to_owned(), AttributeValue::N(time.to_string()))));
    Ok(all)
}

fn expression(condition: &Condition) -> Expression {
    let (text, name, value) = match condition {
        Condition::Always => return Expression::default(),
        Condition::Absent => ("attribute_not_exists(#0)", PARTITION, None),
        Condition::Revision(revision) => ("#0 = :0", "revision", Some(AttributeValue::N(revision.to_string()))),
    };
    Expression {
        text: Some(text.to_owned()),
        names: Some(HashMap::from([("#0".to_owned(), name.to_owned())])),
        values: value.map(|value| HashMap::from([(":0".to_owned(), value)])),
    }
}

/// Returns the update expression of an addition; `None` if there is nothing to add and no expiry to set, since DynamoDB
/// has no empty update. Sums the deltas of each attribute, because an expression may name an attribute only once.
fn addition(deltas: &[(String, i64)], expires_at: Option<i64>) -> Option<Expression> {
    let mut sums = BTreeMap::new();
    for (name, delta) in deltas {
        let sum: &mut i64 = sums.entry(name.as_str()).or_default();
        *sum = sum.saturating_add(*delta);
    }
    let (mut names, mut values) = (HashMap::new(), HashMap::new());
    let mut place = |name: &str, value: i64| {
        let n = names.len();
        names.insert(format!("#{n}"), name.to_owned());
        values.insert(format!(":{n}"), AttributeValue::N(value.to_string()));
        n
    };
    let added: Vec<String> = sums.iter().map(|(name, sum)| place(name, *sum)).map(|n| format!("#{n} :{n}")).collect();
    let expiry = expires_at.map(|time| place(TTL, time)).map(|n| format!("SET #{n} = :{n}"));
    let added = (!added.is_empty()).then(|| format!("ADD {}", added.join(", ")));
    let text: Vec<String> = added.into_iter().chain(expiry).collect();
    let text = Some(text.join(" ")).filter(|text| !text.is_empty())?;
    Some(Expression { text: Some(text), names: Some(names), values: Some(values) })
}

fn invalid(message: String) -> ServiceError {
    naming(Api::DynamoDb, ServiceError::new(ErrorClass::Refused, WRITE, "InvalidRequest", message))
}

/// Returns the error of a write. `places` are the writes whose conditions don't hold, if that is the error.
fn refused(error: ServiceError, places: Vec<usize>) -> WriteError {
    if error.class == ErrorClass::PreconditionFailed {
        WriteError::Condition(places)
    } else {
        WriteError::Service(error)
    }
}

fn cancelled(error: &SdkError<TransactWriteItemsError, HttpResponse>) -> WriteError {
    let told = service_error(Api::DynamoDb, WRITE, error);
    let reasons = match error.as_service_error() {
        Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => cancelled.cancellation_reasons(),
        _ => return refused(told, Vec::new()),
    };
    judge(reasons, told)
}

/// Maps the cancellation reasons of a transaction to one error, by severity: a failed condition first, because the
/// transaction must then not be applied at all; then permanent rejections; then throttling and transient errors, which
/// can be retried.
fn judge(reasons: &[CancellationReason], told: ServiceError) -> WriteError {
    let class = |reason: &CancellationReason| {
        let message = reason.message().unwrap_or_default();
        classify(Api::DynamoDb, reason.code(), 400, message)
    };
    let rank = |class: ErrorClass| match class {
        ErrorClass::PreconditionFailed => 0,
        ErrorClass::Throttled => 2,
        ErrorClass::Transient => 3,
        _ => 1,
    };
    let given = reasons.iter().filter(|reason| !matches!(reason.code(), None | Some("None")));
    let Some(worst) = given.min_by_key(|reason| rank(class(reason))) else {
        return WriteError::Service(ServiceError { class: ErrorClass::Transient, ..told });
    };
    // One reason for each write, in their order.
    let failed = reasons.iter().enumerate().filter(|(_, reason)| class(reason) == ErrorClass::PreconditionFailed);
    let places = failed.map(|(place, _)| place).collect();
    let error = ServiceError {
        class: class(worst),
        code: worst.code().unwrap_or_default().to_owned(),
        message: worst.message().unwrap_or("the transaction was cancelled").to_owned(),
        ..told
    };
    refused(naming(Api::DynamoDb, error), places)
}

#[cfg(test)]
#[path = "write/tests.rs"]
mod tests;

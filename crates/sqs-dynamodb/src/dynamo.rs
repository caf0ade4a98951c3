//! [`Ledger`] on Amazon DynamoDB.
//!
//! An item has the attributes [`PARTITION`] and [`SORT`], [`TTL`] if it expires, and those of its record. Expressions
//! use the placeholders `#n` for all names, so that no reserved word can clash. All reads are strongly consistent.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::Builder;
use aws_sdk_dynamodb::types::AttributeValue;
use migration_aws::error::{Api, OwnSuccess, invalid_response, service_error};
use migration_aws::sdk::SdkConfig;
use migration_aws::{Access, CredentialSource};
use migration_core::config::LedgerConfig;
use migration_core::error::ServiceError;
use migration_core::ports::{Item, Ledger, LedgerKey, QueryPage, Write, WriteError};

use crate::guard::Guard;
use crate::shared::Shared;
use query::Start;

mod query;
mod value;
mod write;

/// Name of the partition key, a string.
pub const PARTITION: &str = "pk";
/// Name of the sort key, a string.
pub const SORT: &str = "sk";
/// Name of the time-to-live attribute, in seconds since 1970.
pub const TTL: &str = "ttl";

const GET: &str = "get ledger record";
const QUERY: &str = "query ledger records";

/// Ledger of a job. Clones share connections and credentials.
#[derive(Clone, Debug)]
pub struct DynamoLedger {
    client: Shared<Client>,
    table: String,
}

pub(crate) fn client(config: &SdkConfig, access: &Access, guard: &Guard) -> Client {
    let mut config = Builder::from(config).interceptor(OwnSuccess::Json).interceptor(guard.clone());
    if let Some(endpoint) = &access.endpoint {
        config = config.endpoint_url(endpoint);
    }
    if access.credentials == CredentialSource::Anonymous {
        config = config.allow_no_auth();
    }
    Client::from_conf(config.build())
}

impl DynamoLedger {
    /// Creates a client for the ledger of a job. Sends no request.
    pub async fn new(config: &LedgerConfig) -> Self {
        Self::at(&Access::from(&config.service), config.table.clone()).await
    }

    /// Creates a client with the given access. Sends no request.
    pub async fn at(access: &Access, table: String) -> Self {
        Self::with(Shared::alone(access, client).await, table)
    }

    pub(crate) fn with(client: Shared<Client>, table: String) -> Self {
        Self { client, table }
    }
}

impl Ledger for DynamoLedger {
    async fn get(&self, key: &LedgerKey) -> Result<Option<Item>, ServiceError> {
        let get = self.client.get_item().table_name(&self.table).consistent_read(true).set_key(Some(key_of(key)));
        let output = get.send().await.map_err(|error| service_error(Api::DynamoDb, GET, &error))?;
        output.item.map(|attributes| item_of(GET, attributes)).transpose()
    }

    async fn query(
        &self,
        partition: &str,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<QueryPage, ServiceError> {
        let start = match query::start(prefix, after) {
            Start::First => None,
            Start::After(sort) => Some(key_of(&LedgerKey::new(partition, sort))),
            Start::PastEnd => return Ok(QueryPage::default()),
        };
        let mut query = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .set_exclusive_start_key(start)
            .key_condition_expression(query::condition(prefix))
            .expression_attribute_names("#0", PARTITION)
            .expression_attribute_values(":0", AttributeValue::S(partition.to_owned()));
        // DynamoDB rejects names and values that no expression uses.
        if !prefix.is_empty() {
            query = query
                .expression_attribute_names("#1", SORT)
                .expression_attribute_values(":1", AttributeValue::S(prefix.to_owned()));
        }
        let output = query.send().await.map_err(|error| service_error(Api::DynamoDb, QUERY, &error))?;
        let next = output.last_evaluated_key.map(|mut key| text(QUERY, &mut key, SORT)).transpose()?;
        let items = output.items.unwrap_or_default().into_iter().map(|attributes| item_of(QUERY, attributes));
        Ok(QueryPage { items: items.collect::<Result<_, _>>()?, next })
    }

    async fn write(&self, writes: &[Write]) -> Result<(), WriteError> {
        write::all(&self.client, &self.table, writes).await
    }
}

fn key_of(key: &LedgerKey) -> HashMap<String, AttributeValue> {
    HashMap::from([
        (PARTITION.to_owned(), AttributeValue::S(key.partition.clone())),
        (SORT.to_owned(), AttributeValue::S(key.sort.clone())),
    ])
}

/// Removes a string attribute from an item and returns it.
fn text(operation: &str, attributes: &mut HashMap<String, AttributeValue>, name: &str) -> Result<String, ServiceError> {
    match attributes.remove(name) {
        Some(AttributeValue::S(text)) => Ok(text),
        _ => Err(invalid_response(operation, format!("an item has no text in {name}"))),
    }
}

fn item_of(operation: &str, mut attributes: HashMap<String, AttributeValue>) -> Result<Item, ServiceError> {
    let key = LedgerKey::new(text(operation, &mut attributes, PARTITION)?, text(operation, &mut attributes, SORT)?);
    let expires_at = match attributes.remove(TTL) {
        None => None,
        Some(AttributeValue::N(number)) if number.parse::<i64>().is_ok() => number.parse().ok(),
        Some(_) => return Err(value::unreadable(operation, &key, TTL)),
    };
    let read = |(name, attribute): (String, AttributeValue)| match value::to_json(attribute) {
        Some(json) => Ok((name, json)),
        None => Err(value::unreadable(operation, &key, &name)),
    };
    let attributes = attributes.into_iter().map(read).collect::<Result<_, _>>()?;
    Ok(Item { key, attributes, expires_at })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn attributes(more: &[(&str, AttributeValue)]) -> HashMap<String, AttributeValue> {
        let mut all = key_of(&LedgerKey::new("p", "s"));
        all.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        all
    }

    #[test]
    fn items_come_back_with_their_key_and_expiry() {
        let item = item_of(
            GET,
            attributes(&[(TTL, AttributeValue::N("1700000000".into())), ("n", AttributeValue::N("-1".into()))]),
        )
        .unwrap();
        assert_eq!((item.key, item.expires_at), (LedgerKey::new("p", "s"), Some(1_700_000_000)));
        assert_eq!(serde_json::Value::Object(item.attributes), json!({"n": -1}));
        assert_eq!(item_of(GET, attributes(&[])).unwrap().expires_at, None);
    }

    #[test]
    fn what_is_no_record_names_its_place() {
        for (name, value) in [(TTL, AttributeValue::S("soon".into())), ("x", AttributeValue::Ss(vec!["a".into()]))] {
            let error = item_of(GET, attributes(&[(name, value)])).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("p / s"), "{error}");
        }
        assert!(item_of(GET, HashMap::new()).is_err());
    }
}

//! Creation, inspection and deletion of the ledger's table.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType, TableDescription, TableStatus,
    Tag, TimeToLiveSpecification, TimeToLiveStatus,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::error::operation::BuildError;
use migration_aws::Access;
use migration_aws::error::{Api, invalid_response, service_error};
use migration_core::error::{ErrorClass, ServiceError, ServiceFault};
use tokio::time::{Instant, sleep};

use crate::dynamo::{self, PARTITION, SORT, TTL};
use crate::shared::Shared;

const DESCRIBE: &str = "describe table";
const CREATE: &str = "create table";
const SET_TTL: &str = "set time to live of table";
const TAG: &str = "tag table";
const DELETE: &str = "delete table";

/// Interval between checks of a table that is being created.
const POLL: Duration = Duration::from_millis(500);

/// Creates, inspects and deletes tables. Clones share connections and credentials.
#[derive(Clone, Debug)]
pub struct TableAdmin {
    client: Shared<Client>,
}

/// Desired state of a ledger's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableSpec {
    /// Name of the table: 3 … 255 letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// Tags of the table.
    pub tags: BTreeMap<String, String>,
}

impl TableAdmin {
    /// Creates a client for the tables of one account and region. Sends no request.
    pub async fn new(access: &Access) -> Self {
        Self::with(Shared::alone(access, dynamo::client).await)
    }

    pub(crate) fn with(client: Shared<Client>) -> Self {
        Self { client }
    }

    /// Creates the table, billed by request, if it is absent, and waits until it is active: at most for `patience`,
    /// then fails with a transient error. An existing table is kept; one with other keys is rejected.
    pub async fn ensure(&self, spec: &TableSpec, patience: Duration) -> Result<(), ServiceError> {
        if self.describe(&spec.name).await?.is_none() {
            self.create(spec).await?;
        }
        let table = self.active(&spec.name, Instant::now() + patience).await?;
        self.ensure_ttl(&spec.name).await?;
        self.ensure_tags(&table, &spec.tags).await
    }

    /// Checks that a table exists, is active and has the ledger's keys.
    pub async fn check(&self, name: &str) -> Result<(), ServiceError> {
        let table = self.describe(name).await?.ok_or_else(|| absent(name))?;
        check_keys(name, &table)?;
        if usable(&table) { Ok(()) } else { Err(not_active(name, &table)) }
    }

    /// Deletes a table. An absent table, or one that is being deleted, is no error.
    pub async fn delete(&self, name: &str) -> Result<(), ServiceError> {
        match self.client.delete_table().table_name(name).send().await.map_err(|error| told(DELETE, &error)) {
            Ok(_) => Ok(()),
            Err(error) if error.class == ErrorClass::Service(ServiceFault::NotFound) => Ok(()),
            Err(error) if error.class == ErrorClass::Conflict => match self.describe(name).await? {
                Some(table) if table.table_status() != Some(&TableStatus::Deleting) => Err(error),
                _ => Ok(()),
            },
            Err(error) => Err(error),
        }
    }

    async fn describe(&self, name: &str) -> Result<Option<TableDescription>, ServiceError> {
        match self.client.describe_table().table_name(name).send().await.map_err(|error| told(DESCRIBE, &error)) {
            Ok(output) => Ok(output.table),
            Err(error) if error.class == ErrorClass::Service(ServiceFault::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn create(&self, spec: &TableSpec) -> Result<(), ServiceError> {
        let unbuilt =
            |error: BuildError| ServiceError::new(ErrorClass::Refused, CREATE, "InvalidRequest", error.to_string());
        let mut create = self.client.create_table().table_name(&spec.name).billing_mode(BillingMode::PayPerRequest);
        for (name, kind) in [(PARTITION, KeyType::Hash), (SORT, KeyType::Range)] {
            let key = KeySchemaElement::builder().attribute_name(name).key_type(kind);
            let definition = AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S);
            create = create.key_schema(key.build().map_err(unbuilt)?);
            create = create.attribute_definitions(definition.build().map_err(unbuilt)?);
        }
        let create = create.set_tags(tags(&spec.tags).map_err(unbuilt)?);
        match create.send().await.map_err(|error| told(CREATE, &error)) {
            // Another client created it in the meantime.
            Err(error) if error.class != ErrorClass::Conflict => Err(error),
            _ => Ok(()),
        }
    }

    /// Waits until the table is active.
    async fn active(&self, name: &str, deadline: Instant) -> Result<TableDescription, ServiceError> {
        loop {
            let late = Instant::now() >= deadline;
            match self.describe(name).await? {
                Some(table) => {
                    check_keys(name, &table)?;
                    if usable(&table) {
                        return Ok(table);
                    }
                    if late {
                        return Err(not_active(name, &table));
                    }
                }
                // A new table may not be visible everywhere yet.
                None if late => return Err(absent(name)),
                None => {}
            }
            sleep(POLL).await;
        }
    }

    async fn ensure_ttl(&self, name: &str) -> Result<(), ServiceError> {
        let state = self.client.describe_time_to_live().table_name(name).send().await;
        let state = state.map_err(|error| told("describe time to live of table", &error))?;
        if state.time_to_live_description().is_some_and(|ttl| {
            let on = [TimeToLiveStatus::Enabled, TimeToLiveStatus::Enabling];
            ttl.attribute_name() == Some(TTL) && ttl.time_to_live_status().is_some_and(|status| on.contains(status))
        }) {
            return Ok(());
        }
        let specification = TimeToLiveSpecification::builder().enabled(true).attribute_name(TTL).build();
        let specification = specification
            .map_err(|error| ServiceError::new(ErrorClass::Refused, SET_TTL, "InvalidRequest", error.to_string()))?;
        let update = self.client.update_time_to_live().table_name(name).time_to_live_specification(specification);
        update.send().await.map(|_| ()).map_err(|error| told(SET_TTL, &error))
    }

    async fn ensure_tags(
        &self,
        table: &TableDescription,
        wanted: &BTreeMap<String, String>,
    ) -> Result<(), ServiceError> {
        let arn = table.table_arn().ok_or_else(|| invalid_response(DESCRIBE, "the table has no ARN"))?;
        let listed = self.client.list_tags_of_resource().resource_arn(arn).send().await;
        let listed = listed.map_err(|error| told("list tags of table", &error))?;
        let has = |name: &str, value: &str| listed.tags().iter().any(|tag| tag.key() == name && tag.value() == value);
        if wanted.iter().all(|(name, value)| has(name, value)) {
            return Ok(());
        }
        let tags = tags(wanted)
            .map_err(|error| ServiceError::new(ErrorClass::Refused, TAG, "InvalidRequest", error.to_string()))?;
        let tag = self.client.tag_resource().resource_arn(arn).set_tags(tags);
        tag.send().await.map(|_| ()).map_err(|error| told(TAG, &error))
    }
}

fn told<E>(operation: &str, error: &SdkError<E, HttpResponse>) -> ServiceError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    service_error(Api::DynamoDb, operation, error)
}

fn tags(tags: &BTreeMap<String, String>) -> Result<Option<Vec<Tag>>, BuildError> {
    let tags = tags.iter().map(|(name, value)| Tag::builder().key(name).value(value).build());
    Ok(Some(tags.collect::<Result<Vec<_>, _>>()?).filter(|tags| !tags.is_empty()))
}

/// Returns true if a table can be read and written, also while its settings or indexes change.
fn usable(table: &TableDescription) -> bool {
    matches!(table.table_status(), Some(TableStatus::Active | TableStatus::Updating))
}

fn not_active(name: &str, table: &TableDescription) -> ServiceError {
    let status = table.table_status().map_or("unknown", TableStatus::as_str);
    let message = format!("the table {name} can't be used yet: its status is {status}");
    ServiceError::new(ErrorClass::Transient, DESCRIBE, "TableNotActive", message)
}

fn absent(name: &str) -> ServiceError {
    let message = format!("there is no table {name}; create it, or leave its name out to have one made");
    ServiceError::new(ErrorClass::Service(ServiceFault::NotFound), DESCRIBE, "ResourceNotFoundException", message)
}

/// Checks that a table has the ledger's keys. The keys of a table can't be changed.
fn check_keys(name: &str, table: &TableDescription) -> Result<(), ServiceError> {
    let has_type = |name: &str| {
        let definition = table.attribute_definitions().iter().find(|definition| definition.attribute_name() == name);
        definition.is_some_and(|definition| *definition.attribute_type() == ScalarAttributeType::S)
    };
    let keys: Vec<_> = table.key_schema().iter().map(|key| (key.attribute_name(), key.key_type().clone())).collect();
    let expected = [(PARTITION, KeyType::Hash), (SORT, KeyType::Range)];
    if keys == expected && has_type(PARTITION) && has_type(SORT) {
        return Ok(());
    }
    let message = format!(
        "the table {name} has other keys: its partition key must be {PARTITION} (string) and its sort key {SORT} \
         (string); name another table"
    );
    Err(ServiceError::new(ErrorClass::Refused, DESCRIBE, "WrongKeySchema", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(keys: &[(&str, KeyType, ScalarAttributeType)]) -> TableDescription {
        keys.iter()
            .fold(TableDescription::builder(), |table, (name, kind, scalar)| {
                let key = KeySchemaElement::builder().attribute_name(*name).key_type(kind.clone()).build().unwrap();
                let definition = AttributeDefinition::builder().attribute_name(*name).attribute_type(scalar.clone());
                table.key_schema(key).attribute_definitions(definition.build().unwrap())
            })
            .build()
    }

    #[test]
    fn only_a_table_with_the_ledgers_keys_will_do() {
        use KeyType::{Hash, Range};
        use ScalarAttributeType::{N, S};
        assert!(check_keys("t", &table(&[("pk", Hash, S), ("sk", Range, S)])).is_ok());
        for keys in [
            &[("pk", Hash, S)][..],
            &[("pk", Hash, S), ("sk", Range, N)],
            &[("pk", Hash, N), ("sk", Range, S)],
            &[("id", Hash, S), ("sk", Range, S)],
            &[("sk", Hash, S), ("pk", Range, S)],
        ] {
            let error = check_keys("t", &table(keys)).unwrap_err();
            assert!(
                error.message.contains("partition key must be pk (string) and its sort key sk (string)"),
                "{error}"
            );
        }
    }
}

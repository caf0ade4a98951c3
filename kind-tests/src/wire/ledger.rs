//! The operator's use of the ledger: checks the progress of the run and ends it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use aws_sdk_dynamodb::types::{AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType};
use migration_aws::{Access, CredentialSource, StaticKeys};
use migration_core::message::EVENTS_RUN;
use migration_core::progress::RunProgress;
use migration_core::records::{Counters, FailureRecord, RunEnd};
use migration_engine::run::end::{Terms, end_if_over};
use migration_engine::run::look;
use migration_ledger::view;
use migration_sqs_dynamodb::{DynamoLedger, TableAdmin, TableSpec};

use super::config::{JOB, TABLE};
use super::services::KEYS;
use crate::services::REGION;

/// How long the table may take to be made.
const PATIENCE: Duration = Duration::from_secs(30);
/// Failures that a case looks at.
const FAILURES: u32 = 10_000;

/// Ledger of a case.
#[derive(Clone, Debug)]
pub struct Ledger {
    table: DynamoLedger,
}

impl Ledger {
    /// Makes the table at a service that takes no tags.
    pub async fn create_without_tags(endpoint: String) -> anyhow::Result<Self> {
        let (id, secret) = KEYS;
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(aws_sdk_dynamodb::config::BehaviorVersion::latest())
            .region(aws_sdk_dynamodb::config::Region::new(REGION))
            .endpoint_url(&endpoint)
            .credentials_provider(aws_credential_types::Credentials::from_keys(id, secret, None))
            .build();
        let mut create = aws_sdk_dynamodb::Client::from_conf(config).create_table().table_name(TABLE);
        for (name, kind) in [("pk", KeyType::Hash), ("sk", KeyType::Range)] {
            let text = AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S);
            let key = KeySchemaElement::builder().attribute_name(name).key_type(kind);
            create = create.attribute_definitions(text.build()?).key_schema(key.build()?);
        }
        create.billing_mode(BillingMode::PayPerRequest).send().await.context("failed to make the table")?;
        Ok(Self { table: DynamoLedger::at(&access(endpoint), TABLE.to_owned()).await })
    }

    /// Makes the table at a service.
    pub async fn create(endpoint: String) -> anyhow::Result<Self> {
        let access = access(endpoint);
        let spec = TableSpec { name: TABLE.to_owned(), tags: [].into() };
        TableAdmin::new(&access).await.ensure(&spec, PATIENCE).await.context("failed to make the table")?;
        Ok(Self { table: DynamoLedger::at(&access, spec.name).await })
    }

    /// Returns the progress of the last run; `None` before the first run.
    pub async fn progress(&self) -> anyhow::Result<Option<RunProgress>> {
        Ok(look::last(&self.table, JOB, None).await?.and_then(|view| view.progress()))
    }

    /// Ends the last run if it is over; returns its end.
    pub async fn end_run(&self) -> anyhow::Result<Option<RunEnd>> {
        Ok(end_if_over(&self.table, JOB, Terms::default(), now()?).await?)
    }

    /// Returns the counters of all events.
    pub async fn events(&self) -> anyhow::Result<Counters> {
        Ok(view::counters(&self.table, JOB, EVENTS_RUN).await?)
    }

    /// Returns the failures of the last run.
    pub async fn failures(&self) -> anyhow::Result<Vec<FailureRecord>> {
        let Some(run) = view::last_run(&self.table, JOB).await? else { return Ok(Vec::new()) };
        let failures = view::failures(&self.table, JOB, &run, FAILURES).await?;
        anyhow::ensure!(failures.unreadable.is_none(), "failures can't be read: {}", failures.unreadable);
        Ok(failures.records)
    }
}

fn access(endpoint: String) -> Access {
    let (id, secret) = KEYS;
    let keys = StaticKeys { access_key_id: id.into(), secret_access_key: secret.into(), session_token: None };
    Access { region: REGION.to_owned(), endpoint: Some(endpoint), credentials: CredentialSource::Static(keys) }
}

fn now() -> anyhow::Result<i64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).context("failed to read the clock")?;
    i64::try_from(since.as_millis()).context("failed to read the clock")
}

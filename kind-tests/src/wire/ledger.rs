//! The operator's use of the ledger: checks the progress of the run and ends it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use migration_aws::{Access, CredentialSource, StaticKeys};
use migration_core::progress::RunProgress;
use migration_core::records::{FailureRecord, RunEnd};
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
    /// Makes the table at a service.
    pub async fn create(endpoint: String) -> anyhow::Result<Self> {
        let (id, secret) = KEYS;
        let keys = StaticKeys { access_key_id: id.into(), secret_access_key: secret.into(), session_token: None };
        let credentials = CredentialSource::Static(keys);
        let access = Access { region: REGION.to_owned(), endpoint: Some(endpoint), credentials };
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

    /// Returns the failures of the last run.
    pub async fn failures(&self) -> anyhow::Result<Vec<FailureRecord>> {
        let Some(run) = view::last_run(&self.table, JOB).await? else { return Ok(Vec::new()) };
        let failures = view::failures(&self.table, JOB, &run, FAILURES).await?;
        anyhow::ensure!(failures.unreadable.is_none(), "failures can't be read: {}", failures.unreadable);
        Ok(failures.records)
    }
}

fn now() -> anyhow::Result<i64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).context("failed to read the clock")?;
    i64::try_from(since.as_millis()).context("failed to read the clock")
}

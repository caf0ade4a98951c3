//! The operator's part in a run: ends it when it is over.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use clap::Args;
use migration_aws::{Access, CredentialSource, StaticKeys};
use migration_engine::run::end::{Terms, end_if_over};
use migration_engine::run::look;
use migration_sqs_dynamodb::DynamoLedger;
use serde_json::json;

/// Time between two looks.
const INTERVAL: Duration = Duration::from_millis(20);

/// Which run.
#[derive(Debug, Args)]
pub struct Settings {
    /// URL of DynamoDB.
    #[arg(long)]
    endpoint: String,
    /// Region of the table.
    #[arg(long)]
    region: String,
    /// The ledger's table.
    #[arg(long)]
    table: String,
    /// UID of the job.
    #[arg(long)]
    job: String,
    /// Seconds after which to give up.
    #[arg(long, default_value_t = 3_600)]
    patience: u64,
    #[arg(long, env = "AWS_ACCESS_KEY_ID", hide = true, hide_env_values = true)]
    access: String,
    #[arg(long, env = "AWS_SECRET_ACCESS_KEY", hide = true, hide_env_values = true)]
    secret: String,
}

/// Waits for the end of the last run; prints `{"result": …, "done": …, "failed": …}`.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    let Settings { endpoint, region, table, job, patience, access, secret } = settings;
    let keys = StaticKeys { access_key_id: access, secret_access_key: secret, session_token: None };
    let access = Access { region, endpoint: Some(endpoint), credentials: CredentialSource::Static(keys) };
    let ledger = DynamoLedger::at(&access, table).await;
    let began = Instant::now();
    let end = loop {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).context("failed to read the clock")?;
        if let Some(end) = end_if_over(&ledger, &job, Terms::default(), i64::try_from(since.as_millis())?).await? {
            break end;
        }
        if began.elapsed() > Duration::from_secs(patience) {
            bail!("the run is not over after {patience} s");
        }
        tokio::time::sleep(INTERVAL).await;
    };
    let progress = look::last(&ledger, &job, None).await?.and_then(|view| view.progress());
    let progress = progress.context("failed to read the progress of the run")?;
    println!("{}", json!({"result": format!("{:?}", end.result), "done": progress.done, "failed": progress.failed}));
    Ok(())
}

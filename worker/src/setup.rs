//! Startup of both programs: arguments, logging, configuration, wiring, signals.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use migration_aws::{S3Store, SystemClock, congestion};
use migration_core::config::{ConfigError, JobConfig, RateLimits, WriteSettings};
use migration_core::error::Service;
use migration_core::ports::Clock;
use migration_engine::limits::{Fleet, Keeper, Limited, Limits, Stopping, UTC};
use migration_engine::telemetry::Metered;
use migration_engine::{Ports, Process, Runtime};
use migration_program::{ExtraLayer, LogFormat, LogLevel, LogSettings, TransferLines};
use migration_sqs_dynamodb::{DynamoLedger, SqsQueue};
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// Arguments of both programs.
#[derive(Debug, Args)]
pub struct Common {
    /// Job configuration in YAML, as written by the operator.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Name of this process in the ledger.
    #[arg(long, env = "POD_NAME", default_value = "local")]
    pub name: String,
    /// Name under which a restarted process resumes its run.
    #[arg(long, env = "JOB_NAME")]
    pub job_name: Option<String>,
    /// Log format.
    #[arg(long, env = "LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
    /// The least important records of the log. `RUST_LOG` sets it for each module.
    #[arg(long, env = "LOG_LEVEL", default_value = "info")]
    pub log_level: LogLevel,
    /// Lines with the bytes of each transfer for `CloudWatch`'s metric filters, in a form of the predecessor's.
    #[arg(long, env = "TRANSFER_LINES")]
    pub transfer_lines: Option<TransferLines>,
    /// Port that serves /metrics, at all addresses. 0 serves nothing.
    #[arg(long, env = "METRICS_PORT", default_value_t = 0)]
    pub metrics_port: u16,
}

impl Common {
    /// Listens for signals, reads the configuration, and starts logging to standard error, with the name of its job in each
    /// record, and to what `other` starts beside it. Returns a token that is cancelled at the first SIGTERM or SIGINT; if that can't be set up, the program goes on
    /// without.
    ///
    /// Called before anything else: as PID 1 of a container, a process is not terminated by signals without a handler, and
    /// one that arrives before it has one is lost. The pod would work on until the end of its grace period.
    pub fn begin(
        &self,
        other: impl FnOnce() -> Option<ExtraLayer>,
    ) -> (CancellationToken, Result<JobConfig, SetupError>) {
        let told = CancellationToken::new();
        let listening = migration_program::stop_on_signals(&told);
        let config = read(&self.config);
        let job = config.as_ref().ok().map(|config| format!("{}/{}", config.job.namespace, config.job.name));
        let (format, filter) = (self.log_format, self.log_level.filter());
        let settings = LogSettings { format, filter, job, transfer_lines: self.transfer_lines };
        migration_program::start_logging_with(&settings, other());
        if let Err(error) = listening {
            warn!(%error, "failed to listen for signals; only SIGKILL can stop the process");
        }
        (told, config)
    }
}

/// Failures to start a program.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The configuration can't be read.
    #[error("failed to read job config {path}: {source}")]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// The configuration is no valid YAML or has wrong fields.
    #[error("failed to read job config {path}: {source}")]
    Parse {
        /// Path of the file.
        path: PathBuf,
        /// Cause.
        source: serde_yaml::Error,
    },
    /// The configuration has invalid values.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// A process that uses the AWS adapters.
pub type AwsProcess =
    Process<(Limited<Metered<S3Store>>, Limited<Metered<S3Store>>, Metered<SqsQueue>, Metered<DynamoLedger>)>;

/// Keeps the share of this process of the job's limits; `None` if there are none.
pub type ShareKeeper = Option<Keeper<Metered<DynamoLedger>>>;

/// Whether a process waits for the limits of its job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Nothing passes while the keeper does not run.
    Limited,
    /// For a few requests that have to end soon.
    Unlimited,
}

/// Checks the configuration and connects the process to its services. Sends no request yet. `grace` is the time that work
/// in flight has to end when the process has to stop.
pub async fn connect(
    common: &Common,
    config: Result<JobConfig, SetupError>,
    pace: Pace,
    grace: Duration,
) -> Result<(AwsProcess, ShareKeeper), SetupError> {
    let config = config?.validate()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let none = RateLimits::default();
    let rates = if pace == Pace::Limited { config.rate_limits() } else { &none };
    let limits = Limits::new(rates, Fleet::Shared, &clock, UTC);
    let runtime = Runtime { grace, ..Runtime::new(&common.name, clock) };
    let stopping = Stopping::new(runtime.stop.clone(), grace);
    let (source, destination) = (Service::Source, Service::Destination);
    let choice = congestion::chosen(config.transfer.tcp_congestion_control);
    let telemetry = &runtime.telemetry;
    let store = async |side, settings, which| {
        let store = S3Store::new(side, settings, which, choice.algorithm).await;
        limits.limit(Metered::new(store, which, telemetry), which, &stopping)
    };
    let ledger = Metered::new(DynamoLedger::new(&config.ledger).await, Service::Ledger, telemetry);
    let keeper = Keeper::new(&limits, ledger.clone(), &config.job.uid, &common.name);
    let plain = WriteSettings::default();
    let ports = Ports::new(
        store(&config.source, &plain, source).await,
        store(&config.destination, &config.write, destination).await,
        Metered::new(SqsQueue::new(&config.queue).await, Service::Queue, telemetry),
        ledger,
    );
    let readable = WriteSettings { storage_class: None, acl: None, ..config.write.clone() };
    let reports = store(&config.destination, &readable, destination).await;
    if let Some(refused) = choice.refused {
        warn!("{refused}; the node's default is used");
        runtime.activity.refused(refused);
    }
    Ok((Process::new(ports, config, runtime).with_reports(reports).with_limits(limits), keeper))
}

fn read(path: &Path) -> Result<JobConfig, SetupError> {
    let text = std::fs::read_to_string(path).map_err(|source| SetupError::Read { path: path.into(), source })?;
    serde_yaml::from_str(&text).map_err(|source| SetupError::Parse { path: path.into(), source })
}

/// Stops a process when the program is told to.
pub fn stop_when_told(process: &AwsProcess, told: &CancellationToken) {
    let (told, stop) = (told.clone(), process.runtime.stop.clone());
    tokio::spawn(async move {
        told.cancelled().await;
        stop.cancel();
    });
}

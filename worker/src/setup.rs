//! What both programs begin with: arguments, logging, configuration, wiring, signals.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use migration_aws::{DynamoLedger, S3Store, SqsQueue, SystemClock};
use migration_core::config::{ConfigError, JobConfig, WriteSettings};
use migration_core::error::Side;
use migration_core::ignore::IgnoreList;
use migration_engine::{Ports, Process};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

/// Bytes of stack of each thread. Requests of the SDK, retried and counted, within transfers of many objects are states
/// of over a megabyte, which are on the stack while they are made; memory is used as far as it is touched.
const STACK: usize = 8 << 20;

/// Runs a program to its end, on a thread for each core.
pub fn run(program: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_multi_thread().enable_all().thread_stack_size(STACK).build() {
        Ok(runtime) => runtime.block_on(program),
        Err(error) => {
            eprintln!("failed to start threads: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Arguments of both programs.
#[derive(Debug, Args)]
pub struct Common {
    /// The job's configuration, as the operator writes it.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Name of this process in the ledger.
    #[arg(long, env = "POD_NAME", default_value = "local")]
    pub name: String,
    /// Name that stays the same when the process is started again.
    #[arg(long, env = "JOB_NAME")]
    pub job_name: Option<String>,
    /// Form of the log.
    #[arg(long, env = "LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

/// Forms of the log.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Common {
    /// Logs to standard error, `info` and above unless `RUST_LOG` says otherwise.
    pub fn start_logging(&self) {
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
        let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        match self.log_format {
            LogFormat::Text => log.with_ansi(false).init(),
            LogFormat::Json => log.json().init(),
        }
    }
}

/// Why a program can't begin.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The file can't be read.
    #[error("failed to read job config {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not what it should be.
    #[error("failed to read job config {path}: {source}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_yaml::Error,
    },
    /// It says what can't be.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// A process on AWS's services.
pub type AwsProcess = Process<(S3Store, S3Store, SqsQueue, DynamoLedger)>;

/// Reads the configuration and wires the process to the services that it names. No request is sent yet.
pub async fn boot(common: &Common) -> Result<(AwsProcess, IgnoreList), BootError> {
    let config = read(&common.config)?;
    let ignore = config.validate()?;
    let ports = Ports::new(
        S3Store::new(&config.source, &WriteSettings::default(), Side::Source).await,
        S3Store::new(&config.destination, &config.write, Side::Destination).await,
        SqsQueue::new(&config.queue).await,
        DynamoLedger::new(&config.ledger).await,
    );
    let readable = WriteSettings { storage_class: None, acl: None, ..config.write.clone() };
    let reports = S3Store::new(&config.destination, &readable, Side::Destination).await;
    let process = Process::new(ports, config, common.name.clone(), Arc::new(SystemClock));
    Ok((process.with_reports(reports), ignore))
}

fn read(path: &Path) -> Result<JobConfig, BootError> {
    let text = std::fs::read_to_string(path).map_err(|source| BootError::Read { path: path.into(), source })?;
    serde_yaml::from_str(&text).map_err(|source| BootError::Parse { path: path.into(), source })
}

/// Cancels the token at the first SIGTERM or SIGINT.
pub fn stop_on_signals(stop: &CancellationToken) {
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let stop = stop.clone();
        match signal(kind) {
            Ok(mut signals) => {
                tokio::spawn(async move {
                    if signals.recv().await.is_some() {
                        info!(signal = kind.as_raw_value(), "told to end");
                        stop.cancel();
                    }
                });
            }
            Err(error) => warn!(%error, "failed to listen for signals; the process ends only by force"),
        }
    }
}

//! Command line: arguments and commands.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand};
use hyper::Uri;
use kube::Client;
use migration_aws::SystemClock;
use migration_core::ports::Clock as _;
use migration_program::{self as program, LogFormat, LogLevel, LogSettings};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::check::{self, CheckError};
use crate::controller;
use crate::fence::{Fence, fenced};
use crate::health::{self, Readiness};
use crate::leader::{Election, LeaderError, Times};
use crate::metrics::Metrics;
use crate::page;
use crate::pod_defaults::PodDefaults;
use crate::policy::{Policy, PolicyError};

/// How long reconciliations in progress may take after the process was asked to end. Kubernetes kills it 30 s after
/// that.
const PATIENCE: Duration = Duration::from_secs(20);

/// Reconciles `MigrationJobs`.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Run,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch `MigrationJobs` and reconcile them (the default).
    Run(Run),
    /// Print the custom resource definition of `MigrationJob` as YAML.
    Crd,
    /// Succeed if the cluster serves `MigrationJobs` and an operator is ready: for helm test.
    Check(Check),
}

#[derive(Clone, Debug, Args)]
struct Check {
    /// URL of the operators' Service.
    #[arg(long)]
    operator: Uri,
    /// The namespace that the operator watches; default: all.
    #[arg(long)]
    namespace: Option<String>,
    /// Time to wait for it, in seconds.
    #[arg(long, default_value = "60")]
    seconds: u64,
}

#[derive(Clone, Debug, Args)]
struct Run {
    /// Image of workers and jobsenders, unless a `MigrationJob` names one.
    #[arg(long, env = "WORKER_IMAGE", default_value = concat!("s3-migration-worker:", env!("CARGO_PKG_VERSION")))]
    worker_image: String,
    /// Secret for pulling the image of workers and jobsenders, in the namespace of each job, unless a `MigrationJob` names
    /// others. May be repeated.
    #[arg(long = "image-pull-secret", value_name = "NAME")]
    image_pull_secrets: Vec<String>,
    /// Whether pods run as user and group 65532, unless a `MigrationJob` says otherwise. `false` leaves both to the
    /// cluster, as `OpenShift` asks for.
    #[arg(long, env = "FIXED_IDS", default_value_t = true, action = ArgAction::Set)]
    fixed_ids: bool,
    /// The namespace to watch; default: all.
    #[arg(long, env = "WATCH_NAMESPACE")]
    namespace: Option<String>,
    /// File with the policy: what authors of `MigrationJobs` may do. Absent = what RBAC allows them, and the operator's
    /// own identity on its own queues and tables only.
    #[arg(long, env = "POLICY_FILE")]
    policy: Option<PathBuf>,
    /// Format of the log, and of those of workers and jobsenders whose `MigrationJob` does not say otherwise.
    #[arg(long, env = "LOG_FORMAT", default_value = "text")]
    log_format: LogFormat,
    /// The least important records of the same logs. `RUST_LOG` sets it for each module.
    #[arg(long, env = "LOG_LEVEL", default_value = "info")]
    log_level: LogLevel,
    /// Address that serves /healthz, /readyz and /metrics.
    #[arg(long, env = "HEALTH_ADDRESS", default_value = "0.0.0.0:8080")]
    health_address: SocketAddr,
    /// Address that serves the web page of jobs, such as 0.0.0.0:8443. Every request needs a bearer token, whose user may
    /// read the job. Absent = no page. Plain HTTP: encrypt it before it leaves the pod's network.
    #[arg(long, env = "UI_ADDRESS")]
    ui_address: Option<SocketAddr>,
    /// Audience that these tokens must be for. Empty = the API server's.
    #[arg(long, env = "UI_AUDIENCE", default_value = "s3-migration")]
    ui_audience: String,
    /// Name of the Lease by which several operators elect the one that acts. Absent = this one acts, without asking.
    #[arg(long, env = "LEASE")]
    lease: Option<String>,
    /// Namespace of the Lease; default: that of the pod or of the kubeconfig.
    #[arg(long, env = "POD_NAMESPACE")]
    lease_namespace: Option<String>,
    /// Name of this process in the Lease, which no other process has; default: a random one.
    #[arg(long, env = "POD_NAME")]
    identity: Option<String>,
}

/// Why the program failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The definition could not be serialized.
    #[error("failed to write CRD: {0}")]
    Crd(#[from] serde_yaml::Error),
    /// No configuration of a Kubernetes client was found.
    #[error("failed to configure Kubernetes client: {0}; run in a pod with a service account, or set KUBECONFIG")]
    Kubernetes(#[from] kube::Error),
    /// The operator does not work.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// The policy cannot be used.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// This process does not lead any more.
    #[error(transparent)]
    Leader(#[from] LeaderError),
    /// Signals or the health address could not be set up.
    #[error("failed to {0}: {1}")]
    Io(&'static str, std::io::Error),
}

/// Runs the command that the arguments name.
pub async fn main(cli: Cli) -> Result<(), CliError> {
    match cli.command {
        Some(Command::Crd) => {
            print!("{}", migration_api::crd::yaml()?);
            Ok(())
        }
        Some(Command::Check(args)) => {
            let (client, limit) = (Client::try_default().await?, Duration::from_secs(args.seconds));
            check::check(&client, &args.operator, args.namespace.as_deref(), limit).await?;
            println!("MigrationJobs are served, and an operator is ready");
            Ok(())
        }
        Some(Command::Run(args)) => run(args).await,
        None => run(cli.run).await,
    }
}

async fn run(args: Run) -> Result<(), CliError> {
    program::start_logging(&LogSettings::new(args.log_format, args.log_level.filter()));
    let policy = args.policy.as_deref().map(Policy::read).transpose()?.unwrap_or_default();
    let client = Client::try_default().await?;
    let (ready, metrics, stop) = (Readiness::default(), Metrics::default(), CancellationToken::new());
    program::stop_on_signals(&stop).map_err(|e| CliError::Io("listen for signals", e))?;
    let election = args.election(&client);
    let page = args.ui_address.map(|address| page::Settings {
        address,
        namespace: args.namespace.clone(),
        audience: Some(args.ui_audience.clone()).filter(|audience| !audience.is_empty()),
        policy: policy.clone(),
    });
    let shown = Box::pin(page::serve(client.clone(), page));
    let (log_format, log_level) = (Some(args.log_format), Some(args.log_level));
    let Run { namespace, worker_image: image, image_pull_secrets, fixed_ids, health_address, .. } = args;
    info!(version = env!("CARGO_PKG_VERSION"), namespace, image, strict = policy.strict, "started");
    // A standby is ready, too: else a rolling update would wait for it for ever.
    tokio::spawn(controller::announce(client.clone(), namespace.clone(), ready.clone()));
    let pods = PodDefaults { image, image_pull_secrets, log_format, log_level, fixed_ids };
    let settings = controller::Settings { namespace, pods, policy };
    let operated = operate(client, election, settings, metrics.clone(), stop);
    tokio::select! {
        ended = operated => ended.inspect_err(|error| error!(%error, "ended")),
        ended = health::serve(health_address, ready, metrics) => ended.map_err(|e| CliError::Io("answer health requests", e)),
        ended = shown => ended.map_err(|e| CliError::Io("serve the page", e)),
    }
}

impl Run {
    fn election(&self, client: &Client) -> Option<Election> {
        let random = || format!("operator-{:016x}", SystemClock.random().to_bits());
        Some(Election {
            lease: self.lease.clone()?,
            namespace: self.lease_namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned()),
            identity: self.identity.clone().unwrap_or_else(random),
            times: Times::default(),
        })
    }
}

/// Waits until this process leads, and reconciles until `stop` is cancelled or it does not lead any more.
async fn operate(
    client: Client,
    election: Option<Election>,
    settings: controller::Settings,
    metrics: Metrics,
    stop: CancellationToken,
) -> Result<(), CliError> {
    let Some(election) = election else {
        metrics.set_leader(true);
        controller::run(client, settings, Fence::open(), metrics, stop).await;
        return Ok(());
    };
    metrics.set_leader(false);
    let Some(term) = election.win(&client, &stop).await else { return Ok(()) };
    metrics.set_leader(true);
    let patience = async {
        stop.cancelled().await;
        tokio::time::sleep(PATIENCE).await;
    };
    let writer = fenced(client, term.fence());
    tokio::select! {
        error = term.keep() => return Err(error.into()),
        () = controller::run(writer, settings, term.fence(), metrics, stop.clone()) => {}
        () = patience => warn!("reconciliations in progress did not end in time"),
    }
    term.release().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_optional() {
        for args in [&["operator", "--namespace", "a"][..], &["operator", "run", "--namespace", "a"]] {
            let cli = Cli::try_parse_from(args).unwrap();
            let run = match cli.command {
                Some(Command::Run(run)) => run,
                None => cli.run,
                other => panic!("{other:?}"),
            };
            assert_eq!(run.namespace.as_deref(), Some("a"));
            assert!(run.fixed_ids && run.image_pull_secrets.is_empty());
        }
        let run =
            Cli::try_parse_from(["operator", "--fixed-ids=false", "--image-pull-secret=a", "--image-pull-secret=b"]);
        let run = run.unwrap().run;
        assert_eq!((run.fixed_ids, run.image_pull_secrets), (false, vec!["a".to_owned(), "b".to_owned()]));
        assert!(Cli::try_parse_from(["operator", "--log-format", "xml"]).is_err());
    }
}

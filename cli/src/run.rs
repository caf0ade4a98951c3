//! `s3migrate run`: runs the jobs of manifests on this machine.

mod watch;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use jiff::SignedDuration;
use migration_api::MigrationJobSpec;
use migration_api::verify::VerifyMode;
use migration_aws::{S3Store, SystemClock};
use migration_core::config::WriteSettings;
use migration_core::cost::PriceTable;
use migration_core::error::{ErrorClass, Service, ServiceError};
use migration_core::ports::{ListRequest, ObjectStore};
use migration_core::printable::printable;
use migration_core::records::RunResult;
use migration_engine::GRACE;
use migration_engine::limits::Stopping;
use migration_ledger::{ReadError, view};
use migration_local::ledger::LocalLedger;
use migration_local::state::State;

use crate::display::{self, Display, DisplayArgs};
use crate::event::Event;
use crate::exit::Exit;
use crate::manifest::{self, Documents, LocalJob, LocalSettings, ManifestError};
use crate::migration::{self, Budget, Migration, MigrationError, RunSummary, RunTerms, Stop};
use crate::state_dir::{JobDirectory, StateArgs, StateError, StateRoot};
use crate::stores::{self, DestinationStore, LimitArgs, NetworkArgs, SourceStore, WithWorkList};
use crate::ui::{PageArgs, UiError};
use watch::{Watch, WatchError, Watched};

/// Arguments of `s3migrate run`.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// Manifests, as `kubectl apply` takes them: MigrationJobs, and the Secrets and ConfigMaps that they name. `-` is
    /// standard input.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Run each job when its schedule (spec.trigger) says so, again and again, until stopped. One job runs at a time;
    /// what comes due meanwhile is skipped.
    #[arg(long)]
    pub watch: bool,
    #[command(flatten)]
    pub page: PageArgs,
    #[command(flatten)]
    pub sides: SideArgs,
    #[command(flatten)]
    pub run: RunOptions,
}

/// Options of the credentials.
#[derive(Args, Clone, Debug, Default)]
pub struct SideArgs {
    /// Profile of ~/.aws for the source, instead of the credentials that the manifest names.
    #[arg(long, value_name = "NAME")]
    pub source_profile: Option<String>,
    /// Profile of ~/.aws for the destination.
    #[arg(long, value_name = "NAME")]
    pub destination_profile: Option<String>,
}

/// Options of every command that copies.
#[derive(Args, Clone, Debug, Default)]
pub struct RunOptions {
    #[command(flatten)]
    pub display: DisplayArgs,
    /// Time for which a service may fail before the program gives up, such as 90s or 2h.
    #[arg(long, value_name = "TIME", default_value = "15m")]
    pub patience: SignedDuration,
    #[command(flatten)]
    pub limits: LimitArgs,
    #[command(flatten)]
    pub network: NetworkArgs,
}

/// Why a job could not be run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The manifests can't be used.
    #[error(transparent)]
    Manifest(Box<ManifestError>),
    /// The state can't be used.
    #[error(transparent)]
    State(Box<StateError>),
    /// A side can't be listed.
    #[error("failed to reach the {side}, bucket {bucket}: {source}")]
    Unreachable {
        /// The side.
        side: Service,
        /// Its bucket.
        bucket: String,
        /// Cause.
        source: Box<ServiceError>,
    },
    /// The run did not end.
    #[error(transparent)]
    Migration(Box<MigrationError>),
    /// Signals can't be handled.
    #[error("failed to listen for signals: {0}")]
    Signals(io::Error),
    /// The page can't be served.
    #[error(transparent)]
    Ui(Box<UiError>),
    /// A job can't be run by its schedule.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// The last run can't be read.
    #[error(transparent)]
    Read(Box<ReadError>),
    /// The live run is a retry.
    #[error(
        "failed to start a run: run {0} is a retry that has not ended; s3migrate retry, with the same files, continues \
         it"
    )]
    RetryIsLive(String),
}

impl From<ReadError> for RunError {
    fn from(error: ReadError) -> Self {
        Self::Read(Box::new(error))
    }
}

impl From<ManifestError> for RunError {
    fn from(error: ManifestError) -> Self {
        Self::Manifest(Box::new(error))
    }
}

impl From<MigrationError> for RunError {
    fn from(error: MigrationError) -> Self {
        Self::Migration(Box::new(error))
    }
}

impl From<UiError> for RunError {
    fn from(error: UiError) -> Self {
        Self::Ui(Box::new(error))
    }
}

impl From<StateError> for RunError {
    fn from(error: StateError) -> Self {
        Self::State(Box::new(error))
    }
}

impl RunError {
    /// Returns the exit code of this error.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Manifest(_) | Self::Watch(_) | Self::RetryIsLive(_) => Exit::Usage,
            Self::Migration(error) if matches!(**error, MigrationError::Stopped) => Exit::Interrupted,
            Self::State(_)
            | Self::Unreachable { .. }
            | Self::Migration(_)
            | Self::Signals(_)
            | Self::Ui(_)
            | Self::Read(_) => Exit::Failed,
        }
    }
}

/// Runs the command.
pub async fn run(args: &RunArgs, state: &StateArgs) -> Result<Exit, RunError> {
    let documents = manifest::load(&args.files, &mut io::stdin().lock())?;
    let display = display::display(args.run.display);
    for skipped in documents.skipped() {
        display.show(&Event::Notice { message: skipped.to_string() });
    }
    let root = state.root()?;
    let jobs = local_jobs(&documents, &args.sides, &root)?;
    for message in jobs.iter().flat_map(|job| not_used(job, args.watch)) {
        display.show(&Event::Notice { message });
    }
    show_terms(&jobs, &args.run, display.as_ref());
    let stop = Stop::on_signals().map_err(RunError::Signals)?;
    let page = args.page.start(&root, jobs.iter().map(|job| &job.config.job)).await?;
    let ended = if args.watch {
        watch_jobs(jobs, &root, &args.run, &display, &stop).await
    } else {
        run_jobs(jobs, &root, &args.run, &display, &stop).await
    };
    if let Some(page) = page {
        page.end().await;
    }
    ended
}

/// Runs jobs one after the other, each once.
async fn run_jobs(
    jobs: Vec<LocalJob>,
    root: &StateRoot,
    options: &RunOptions,
    display: &Arc<dyn Display>,
    stop: &Stop,
) -> Result<Exit, RunError> {
    let mut exit = Exit::Done;
    for job in jobs {
        let directory = root.job(&job.config.job);
        exit = exit.and(run_job(job, &directory, options, display, stop).await?);
    }
    Ok(exit)
}

/// Returns what of a job is set and has no meaning here, in lines for people.
fn not_used(job: &LocalJob, watch: bool) -> Vec<String> {
    let name = &job.config.job.name;
    let fields = (!job.not_used.is_empty()).then(|| format!("not used on one machine: {}", job.not_used.join(", ")));
    let schedule = job.job.spec.trigger.schedule.as_ref().filter(|_| !watch);
    let schedule = schedule.map(|schedule| {
        format!("{name} runs once: its schedule, {schedule}, is not waited for; --watch runs it again and again")
    });
    fields.into_iter().chain(schedule).collect()
}

/// Shows the limits of jobs, and what this machine refuses them, if there is something.
pub fn show_terms(jobs: &[LocalJob], options: &RunOptions, display: &dyn Display) {
    for job in jobs {
        let limits = options.limits.describe(job.config.rate_limits());
        let refusal = options.network.refusal(job.config.transfer.tcp_congestion_control);
        for text in limits.into_iter().chain(refusal) {
            let message = if jobs.len() > 1 { format!("{}: {text}", job.config.job.name) } else { text };
            display.show(&Event::Notice { message });
        }
    }
}

/// Runs jobs by their schedules until stopped. Runs that were interrupted are continued first.
async fn watch_jobs(
    jobs: Vec<LocalJob>,
    root: &StateRoot,
    options: &RunOptions,
    display: &Arc<dyn Display>,
    stop: &Stop,
) -> Result<Exit, RunError> {
    let jobs: Vec<_> = jobs.into_iter().map(Watched::new).collect::<Result<_, _>>()?;
    let run = async |job: &LocalJob| {
        let directory = root.job(&job.config.job);
        Box::pin(run_job(job.clone(), &directory, options, display, stop)).await
    };
    for Watched { job, .. } in &jobs {
        if is_live(&root.job(&job.config.job), &job.config.job.uid).await? {
            run(job).await?;
        }
    }
    Ok(Watch { display: display.as_ref(), stop, clock: &SystemClock }.jobs(&jobs, run).await)
}

/// Returns true if a run of a job was interrupted.
async fn is_live(directory: &JobDirectory, uid: &str) -> Result<bool, RunError> {
    if directory.resource()?.is_none() {
        return Ok(false);
    }
    let last = view::last_run(&LocalLedger::new(&directory.attach()?), uid).await?;
    Ok(last.is_some_and(|run| run.end.is_none()))
}

/// Validates the jobs of documents against the schema and against the resources of their last runs.
pub fn local_jobs(documents: &Documents, sides: &SideArgs, root: &StateRoot) -> Result<Vec<LocalJob>, RunError> {
    let previous: Result<Vec<_>, _> = root.jobs()?.iter().map(JobDirectory::resource).collect();
    let previous: Vec<_> = previous?.into_iter().flatten().collect();
    let jobs = manifest::validate(documents, &previous)?;
    let settings = LocalSettings {
        source_profile: sides.source_profile.as_deref(),
        destination_profile: sides.destination_profile.as_deref(),
        ca_directory: &root.certificates(),
    };
    Ok(manifest::local_jobs(documents, jobs, &settings)?)
}

/// Runs one job to the end of a run, or continues one.
pub async fn run_job(
    job: LocalJob,
    directory: &JobDirectory,
    options: &RunOptions,
    display: &Arc<dyn Display>,
    stop: &Stop,
) -> Result<Exit, RunError> {
    let state = directory.open()?;
    let last = view::last_run(&LocalLedger::new(&state), &job.config.job.uid).await?;
    let live = last.filter(|run| run.end.is_none());
    if let Some(run) = live.filter(|run| stores::is_retry(run, job.config.manifest.is_some())) {
        return Err(RunError::RetryIsLive(run.run));
    }
    directory.write_resource(&job.job)?;
    let migration = connect(&job, state, options, stop).await;
    check_sides(&migration).await?;
    run_to_end(&migration, display, stop).await
}

/// Runs a migration to the end of its run.
pub async fn run_to_end(
    migration: &Migration<SourceStore, DestinationStore>,
    display: &Arc<dyn Display>,
    stop: &Stop,
) -> Result<Exit, RunError> {
    let result = migration.run(display, stop).await;
    display.end();
    Ok(exit_of(&result?))
}

/// Connects a job to its services, under the limits of the options until the stop. Sends no request yet.
pub async fn connect(
    job: &LocalJob,
    state: State,
    options: &RunOptions,
    stop: &Stop,
) -> Migration<SourceStore, DestinationStore> {
    let config = job.config.clone();
    let limits = options.limits.limits(config.rate_limits());
    let congestion = options.network.algorithm(config.transfer.tcp_congestion_control);
    let stopping = Stopping::new(stop.token(), GRACE);
    let store = async |settings: &WriteSettings, side: Service| {
        let (s3, credentials) = match side {
            Service::Source => (&config.source, &job.source),
            _ => (&config.destination, &job.destination),
        };
        let store = S3Store::with_credentials(s3, credentials.clone(), settings, side, congestion).await;
        limits.limit(store, side, &stopping)
    };
    let readable = WriteSettings { storage_class: None, acl: None, ..config.write.clone() };
    let spec = &job.job.spec;
    let terms = RunTerms {
        deadline_ms: spec.limits.run_deadline_ms(),
        patience: Duration::try_from(options.patience).unwrap_or_default(),
        verify: (spec.verify.mode == VerifyMode::Full).then_some(spec.verify.method),
        report: spec.report.is_some(),
    };
    Migration {
        source: WithWorkList::without(store(&WriteSettings::default(), Service::Source).await),
        destination: store(&config.write, Service::Destination).await,
        reports: store(&readable, Service::Destination).await,
        queue: migration::queue(&state),
        state,
        clock: Arc::new(SystemClock),
        terms,
        config,
        limits: limits.clone(),
        budget: budget(spec),
    }
}

/// Returns the prices and the budget of a job, or none if it has neither: who pays nothing wants to know nothing of it.
fn budget(spec: &MigrationJobSpec) -> Option<Budget> {
    let limit = spec.limits.cost;
    let prices = spec.prices.as_ref().map(|prices| PriceTable::of(&prices.into()));
    (prices.is_some() || limit.is_some()).then(|| Budget { prices: prices.unwrap_or_default(), limit })
}

/// Lists one key of each side of each pair, so that wrong names and keys are told at once. A run itself would wait for a
/// person to correct them.
pub async fn check_sides(migration: &Migration<SourceStore, DestinationStore>) -> Result<(), RunError> {
    for pair in &migration.config.buckets {
        // A work list is not listed, and its program may lack the right to list.
        if migration.config.manifest.is_none() {
            let (bucket, prefix) = (&pair.source_bucket, &pair.source_prefix);
            let listed = migration.source.list(first_key(bucket, prefix)).await;
            check_side(Service::Source, bucket, listed.err())?;
            let (bucket, prefix) = (&pair.destination_bucket, &pair.destination_prefix);
            let listed = migration.destination.list(first_key(bucket, prefix)).await;
            check_side(Service::Destination, bucket, listed.err())?;
        }
    }
    Ok(())
}

fn first_key<'a>(bucket: &'a str, prefix: &'a str) -> ListRequest<'a> {
    ListRequest { bucket, prefix, start_after: None, continuation: None, max_keys: Some(1) }
}

fn check_side(side: Service, bucket: &str, error: Option<ServiceError>) -> Result<(), RunError> {
    match error {
        None => Ok(()),
        Some(error) if error.class == ErrorClass::Stopped => Err(MigrationError::Stopped.into()),
        Some(source) => Err(RunError::Unreachable { side, bucket: bucket.to_owned(), source: Box::new(source) }),
    }
}

fn exit_of(summary: &RunSummary) -> Exit {
    let transferred = match summary.result() {
        RunResult::Complete => Exit::Done,
        RunResult::PartiallyFailed => Exit::SomeFailed,
        RunResult::Failed => Exit::Failed,
    };
    transferred.and(if summary.verified == Some(false) { Exit::Different } else { Exit::Done })
}

/// Prints an error for people.
pub fn print_error(error: &dyn std::error::Error) {
    eprintln!("s3migrate: {}", printable_lines(&error.to_string()));
}

/// Escapes control characters but keeps the lines of a message.
fn printable_lines(text: &str) -> String {
    text.lines().map(printable).collect::<Vec<_>>().join("\n")
}

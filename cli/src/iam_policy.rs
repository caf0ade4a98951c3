//! `s3migrate iam-policy`: prints policies that allow what a job sends, and nothing else.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use migration_api::MigrationJob;
use serde::Deserialize;
use serde_json::{Map, Value};

pub use error::PolicyError;
pub use explain::explain;
pub use input::{Input, QueueNames, Range, Settings, Side, Table, Topic};
pub use migration_core::permissions::Part;
pub use policy::{Policy, Statement, policies};
pub use queue_policy::queue_policy;
pub use role_policy::{role_policy, trust_policy};

mod arn;
mod error;
mod explain;
mod input;
mod policy;
mod queue_policy;
mod role_policy;

/// The policies to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Which {
    /// For the credentials that read the source
    Source,
    /// For the credentials that write the destination
    Destination,
    /// For jobsender and workers at the queue
    Queue,
    /// For jobsender and workers at the ledger
    Ledger,
    /// For the operator
    Operator,
    /// All of these, in one object
    All,
    /// The policy of the queue itself, by which S3 may send events to it
    QueuePolicy,
    /// For jobsender and workers to assume the roles of credentials.assumeRole
    AssumeRole,
    /// The trust policy of the role of source.credentials.assumeRole
    SourceTrust,
    /// The trust policy of the role of destination.credentials.assumeRole
    DestinationTrust,
}

/// Arguments of `s3migrate iam-policy`.
#[derive(Clone, Debug, clap::Args)]
pub struct IamPolicyArgs {
    /// The policy to print
    pub which: Which,

    /// File with a MigrationJob, whose settings decide what is needed; `-` reads standard input
    #[arg(short, long, value_name = "FILE")]
    #[arg(conflicts_with_all = ["source_bucket", "destination_bucket", "queue", "table"])]
    pub file: Option<PathBuf>,

    /// Name of the MigrationJob, if the file has several
    #[arg(long, requires = "file")]
    pub name: Option<String>,

    /// Source bucket, with the prefix of its keys if only those are copied. May be repeated
    #[arg(long, value_name = "BUCKET[/PREFIX]")]
    pub source_bucket: Vec<String>,

    /// Destination bucket, with the prefix of the copies' keys. May be repeated
    #[arg(long, value_name = "BUCKET[/PREFIX]")]
    pub destination_bucket: Vec<String>,

    /// Name of the queue
    #[arg(long, value_name = "NAME")]
    pub queue: Option<String>,

    /// Name of its dead letter queue. Default: the queue's name and -dlq; a MigrationJob with queue.url needs it
    #[arg(long, value_name = "NAME")]
    pub dead_letter_queue: Option<String>,

    /// Name of the ledger's table
    #[arg(long, value_name = "NAME")]
    pub table: Option<String>,

    /// Region of queue and table, and of both sides unless they have their own
    #[arg(long, default_value = "us-east-1")]
    pub region: String,

    /// Region of the source buckets
    #[arg(long, value_name = "REGION")]
    pub source_region: Option<String>,

    /// Region of the destination buckets
    #[arg(long, value_name = "REGION")]
    pub destination_region: Option<String>,

    /// Account of queue, table and KMS keys. Default: any
    #[arg(long)]
    pub account: Option<String>,

    /// Account of the source buckets, for queue-policy. Default: that of the queue
    #[arg(long, value_name = "ACCOUNT")]
    pub source_account: Option<String>,

    /// Partition of all ARNs: aws, aws-cn or aws-us-gov. Default: that of each region
    #[arg(long)]
    pub partition: Option<String>,

    /// KMS key of the source's objects: ID, ARN or alias/NAME
    #[arg(long, value_name = "KEY")]
    pub source_kms_key: Option<String>,

    /// KMS key of the destination's objects. Default: that of the MigrationJob
    #[arg(long, value_name = "KEY")]
    pub destination_kms_key: Option<String>,

    /// ARN of the identity of jobsender and workers, such as that of the role of their service account, for source-trust
    /// and destination-trust
    #[arg(long, value_name = "ARN")]
    pub identity: Option<String>,

    /// Print for each action which request needs it, instead of the policy
    #[arg(long)]
    pub explain: bool,
}

/// Prints the policies.
pub fn run(args: &IamPolicyArgs, out: &mut dyn Write) -> Result<(), PolicyError> {
    let input = input(args)?;
    if args.which == Which::QueuePolicy {
        return print(&queue_policy(&input, args.source_account.as_deref())?, out);
    }
    if let Some((name, document)) = of_roles(args, &input)? {
        return if args.explain {
            Ok(out.write_all(role_policy::explain(name).as_bytes())?)
        } else {
            print(&document, out)
        };
    }
    let chosen = chosen(args.which, policies(&input))?;
    if args.explain {
        let texts: Vec<_> = chosen.iter().map(|policy| explain(policy, &input)).collect();
        return Ok(out.write_all(texts.join("\n").as_bytes())?);
    }
    match (args.which, chosen.as_slice()) {
        (Which::All, policies) => {
            let document = |policy: &Policy| Ok((policy.part.as_str().to_owned(), policy.document()?));
            let mut all = policies.iter().map(document).collect::<Result<Map<_, _>, serde_json::Error>>()?;
            all.extend(role_policy(&input).map(|policy| (role_policy::ASSUME_ROLE.to_owned(), policy)));
            print(&Value::Object(all), out)
        }
        (_, policies) => policies.iter().try_for_each(|policy| print(&policy.document()?, out)),
    }
}

/// Returns the policy around roles that is asked for, if it is one.
fn of_roles(args: &IamPolicyArgs, input: &Input) -> Result<Option<(&'static str, Value)>, PolicyError> {
    let identity = args.identity.as_deref();
    let trust = |name, side| Ok(Some((name, trust_policy(name, side, identity)?)));
    match args.which {
        Which::AssumeRole => {
            let missing = "the job names no role in credentials.assumeRole of either side";
            let policy = role_policy(input).ok_or(PolicyError::Missing { part: role_policy::ASSUME_ROLE, missing })?;
            Ok(Some((role_policy::ASSUME_ROLE, policy)))
        }
        Which::SourceTrust => trust(role_policy::SOURCE_TRUST, &input.source),
        Which::DestinationTrust => trust(role_policy::DESTINATION_TRUST, &input.destination),
        _ => Ok(None),
    }
}

fn print(document: &Value, out: &mut dyn Write) -> Result<(), PolicyError> {
    Ok(writeln!(out, "{}", serde_json::to_string_pretty(document)?)?)
}

/// Returns the policies asked for. One without statements is about something unknown.
fn chosen(which: Which, policies: Vec<Policy>) -> Result<Vec<Policy>, PolicyError> {
    let part = which.part();
    let chosen: Vec<_> = policies.into_iter().filter(|policy| part.is_none_or(|part| policy.part == part)).collect();
    match chosen.iter().find(|policy| policy.statements.is_empty()) {
        Some(empty) => Err(PolicyError::Missing { part: empty.part.as_str(), missing: advice(empty.part) }),
        None => Ok(chosen),
    }
}

const fn advice(part: Part) -> &'static str {
    match part {
        Part::Source => "the source buckets are unknown; give --file or --source-bucket",
        Part::Destination => "the destination buckets are unknown; give --file or --destination-bucket",
        Part::Queue => "the queue is unknown; give --file or --queue",
        Part::Ledger => "the table is unknown; give --file or --table",
        Part::Operator => "queue and table are unknown; give --file, or --queue and --table",
    }
}

impl Which {
    const fn part(self) -> Option<Part> {
        match self {
            Self::Source => Some(Part::Source),
            Self::Destination => Some(Part::Destination),
            Self::Queue => Some(Part::Queue),
            Self::Ledger => Some(Part::Ledger),
            Self::Operator => Some(Part::Operator),
            Self::All | Self::QueuePolicy | Self::AssumeRole | Self::SourceTrust | Self::DestinationTrust => None,
        }
    }
}

fn input(args: &IamPolicyArgs) -> Result<Input, PolicyError> {
    let mut input = match &args.file {
        Some(path) => Input::of_job(&job(path, args.name.as_deref())?, args.dead_letter_queue.as_deref())?,
        None => of_flags(args),
    };
    input.partition.clone_from(&args.partition);
    input.account.clone_from(&args.account);
    input.source.kms_key.clone_from(&args.source_kms_key);
    if args.destination_kms_key.is_some() {
        input.destination.kms_key.clone_from(&args.destination_kms_key);
    }
    Ok(input)
}

/// Returns the input for a job with default settings.
fn of_flags(args: &IamPolicyArgs) -> Input {
    let side = |buckets: &[String], region: Option<&String>| Side {
        region: region.unwrap_or(&args.region).clone(),
        ranges: input::widest(buckets.iter().map(|text| Range::parse(text))),
        ..Side::default()
    };
    let queue = args.queue.as_ref().map(|name| QueueNames {
        region: args.region.clone(),
        account: None,
        name: name.clone(),
        dead_letters: args.dead_letter_queue.clone().unwrap_or_else(|| format!("{name}-dlq")),
    });
    Input {
        source: side(&args.source_bucket, args.source_region.as_ref()),
        destination: side(&args.destination_bucket, args.destination_region.as_ref()),
        queue,
        table: args.table.as_ref().map(|name| Table { region: args.region.clone(), name: name.clone() }),
        settings: Settings { tags: true, ..Settings::default() },
        ..Input::default()
    }
}

/// Reads the job of a file; other documents are skipped.
fn job(path: &Path, name: Option<&str>) -> Result<MigrationJob, PolicyError> {
    let failed = |source| PolicyError::Read { path: path.to_owned(), source };
    let text =
        if path == Path::new("-") { std::io::read_to_string(std::io::stdin()) } else { std::fs::read_to_string(path) };
    let text = text.map_err(failed)?;
    let mut jobs = Vec::new();
    for (document, number) in serde_yaml::Deserializer::from_str(&text).zip(1..) {
        let failed = |source| PolicyError::Job { path: path.to_owned(), document: number, source };
        let value = serde_yaml::Value::deserialize(document).map_err(failed)?;
        if value.get("kind").and_then(serde_yaml::Value::as_str) == Some("MigrationJob") {
            jobs.push(serde_yaml::from_value::<MigrationJob>(value).map_err(failed)?);
        }
    }
    let names: Vec<String> = jobs.iter().filter_map(|job| job.metadata.name.clone()).collect();
    jobs.retain(|job| name.is_none() || job.metadata.name.as_deref() == name);
    let problem = match jobs.len() {
        1 => None,
        0 if names.is_empty() => Some("it has none".to_owned()),
        _ => Some(format!("choose one of {} by --name", names.join(", "))),
    };
    match (problem, jobs.pop()) {
        (None, Some(job)) => Ok(job),
        (problem, _) => Err(PolicyError::NoJob { path: path.to_owned(), problem: problem.unwrap_or_default() }),
    }
}

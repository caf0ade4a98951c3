//! Why manifests can't be used.

use std::fmt;
use std::io;
use std::path::PathBuf;

use migration_core::config::ConfigError;

use super::object::Place;
use super::violation::Violation;

/// Why manifests can't be used. Messages name the file and what to do, and never hold the values of a Secret.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// A file can't be read.
    #[error("failed to read manifest {file}: {source}", file = .file.display())]
    Read {
        /// Path of the file.
        file: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// The path is a directory.
    #[error(
        "failed to read manifest {file}: it is a directory, and directories are not searched; name its files, as in \
         {file}/*.yaml",
        file = .file.display()
    )]
    Directory {
        /// Path of the directory.
        file: PathBuf,
    },
    /// Standard input was named twice.
    #[error("failed to read manifest -: standard input can be read only once; remove the second -")]
    StandardInputTwice,
    /// A document is no YAML.
    #[error("failed to parse {place}: {problem}")]
    Yaml {
        /// The document.
        place: Place,
        /// What is wrong, with line and column. Not the library's error, which may hold a value.
        problem: String,
    },
    /// A document is no object that Kubernetes would take.
    #[error("failed to read {place}: {problem}")]
    Object {
        /// The document.
        place: Place,
        /// What is wrong with it, and what to write instead.
        problem: String,
    },
    /// Two documents describe the same object.
    #[error("failed to read {second}: {kind} {name} is already in {first}; remove one of them")]
    Duplicate {
        /// Kind of the object.
        kind: &'static str,
        /// Its namespace and name.
        name: String,
        /// The first document.
        first: Place,
        /// The second document.
        second: Place,
    },
    /// There is nothing to run.
    #[error("failed to find a MigrationJob: none of the files has one; name a file with kind: MigrationJob")]
    NoJob,
    /// An API server would refuse a `MigrationJob`.
    #[error("{}", Lines(.0))]
    Refused(Vec<Refusal>),
    /// The schema of this program's own resource can't be used.
    #[error("failed to compile the schema of MigrationJob: {0}; this is a defect of this program, please report it")]
    Schema(String),
    /// The job is suspended.
    #[error("failed to run MigrationJob {0}: spec.suspend is true, so it is not to run; write false, or remove it")]
    Suspended(String),
    /// The job follows events, which S3 sends to a queue in SQS.
    #[error(
        "failed to run MigrationJob {0}: spec.trigger.events.enabled is true, and S3 can't send events to a run on one \
         machine, whose queue is in a file; write false and use --watch with spec.trigger.schedule, or apply it to a cluster"
    )]
    Events(String),
    /// What the job names is not in the files, or can't be used.
    #[error("failed to run MigrationJob {job}: {problem}")]
    Reference {
        /// Name of the job.
        job: String,
        /// What is missing, and what to do.
        problem: String,
    },
    /// The job breaks a rule that the schema can't express.
    #[error("failed to run MigrationJob {job}: {source}")]
    Config {
        /// Name of the job.
        job: String,
        /// Cause.
        source: ConfigError,
    },
    /// Certificates can't be written to a file.
    #[error("failed to write certificates to {file}: {source}", file = .file.display())]
    Certificates {
        /// Path of the file.
        file: PathBuf,
        /// Cause.
        source: io::Error,
    },
}

/// All that is wrong with one `MigrationJob`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Where it is.
    pub place: Place,
    /// Its name.
    pub job: String,
    /// What is wrong; at least one.
    pub violations: Vec<Violation>,
}

/// Shows refusals in one line per violation, below a line per resource.
struct Lines<'a>(&'a [Refusal]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, refusal) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}failed to validate MigrationJob {} in {}:", refusal.job, refusal.place)?;
            for violation in &refusal.violations {
                write!(f, "\n  {violation}")?;
            }
        }
        Ok(())
    }
}

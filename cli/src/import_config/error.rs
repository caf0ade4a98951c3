//! Why a configuration can't be imported.

use std::path::PathBuf;

/// Why a configuration can't be imported. Messages never contain secrets.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A file could not be read.
    #[error("failed to read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file could not be written.
    #[error("failed to write {path}: {source}")]
    Write {
        /// The file, or `-` for standard output.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not what the predecessor reads.
    #[error("failed to read {what}: {problem}")]
    Malformed {
        /// The file's purpose.
        what: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A setting has a value that the predecessor would not accept.
    #[error("failed to convert setting {name}: {value} is not {expected}")]
    Setting {
        /// Name of the setting.
        name: &'static str,
        /// Its value, without secrets.
        value: String,
        /// What it has to be.
        expected: &'static str,
    },
    /// No list of buckets was given, or nothing of it can be taken over.
    #[error(
        "failed to find buckets: {0}; give the list by --bucket-para, the value of the parameter \
         s3_migration_bucket_para, or by --app-py"
    )]
    NoBuckets(&'static str),
    /// The region of a side is unknown.
    #[error("failed to find region of {side}: {advice}")]
    NoRegion {
        /// The side.
        side: &'static str,
        /// What to do.
        advice: &'static str,
    },
    /// A region has another form than regions have.
    #[error(
        "failed to read region {0:?}: write its name in lower-case letters, digits and hyphens, such as eu-central-1"
    )]
    Region(String),
    /// The name can't be that of a job.
    #[error(
        "failed to name job {0:?}: write at most 40 lower-case letters, digits and hyphens, also for a number after it"
    )]
    Name(String),
    /// Both documents would go into one file.
    #[error("failed to write {0}: --output and --secrets name the same file; name two, or leave --secrets out")]
    OneFile(PathBuf),
}

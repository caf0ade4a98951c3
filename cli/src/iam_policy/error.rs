//! Why no policy can be written.

use std::path::PathBuf;

/// Why no policy can be written.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The file could not be read.
    #[error("failed to read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A document of the file is not a job.
    #[error("failed to read MigrationJob in {path}, document {document}: {source}")]
    Job {
        /// The file.
        path: PathBuf,
        /// Its place in the file, from 1.
        document: usize,
        /// Why.
        source: serde_yaml::Error,
    },
    /// The file has no job, or not the named one.
    #[error("failed to find MigrationJob in {path}: {problem}")]
    NoJob {
        /// The file.
        path: PathBuf,
        /// What to do.
        problem: String,
    },
    /// The job uses a queue that exists.
    #[error("failed to name the dead letter queue: the job uses a queue that exists; give --dead-letter-queue")]
    NoDeadLetters,
    /// Something that the policy is about is unknown.
    #[error("failed to write policy {part}: {missing}")]
    Missing {
        /// The policy.
        part: &'static str,
        /// What to give.
        missing: &'static str,
    },
    /// S3 can't send events to this queue.
    #[error(
        "failed to write policy queue-policy: the queue is in {queue} and the source in {bucket}; S3 sends events \
         only to queues in the bucket's region"
    )]
    OtherRegion {
        /// The queue's region.
        queue: String,
        /// The source's region.
        bucket: String,
    },
    /// The policy could not be serialized.
    #[error("failed to write policy: {0}")]
    Json(#[from] serde_json::Error),
    /// Standard output could not be written.
    #[error("failed to write output: {0}")]
    Output(#[from] std::io::Error),
}

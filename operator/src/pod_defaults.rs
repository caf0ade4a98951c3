//! Settings of pods that the person who installs the operator chooses.

use migration_program::{LogFormat, LogLevel};

/// What applies to pods whose job does not say otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodDefaults {
    /// Image of workers and jobsenders.
    pub image: String,
    /// Secrets for pulling it, in the job's namespace.
    pub image_pull_secrets: Vec<String>,
    /// Format of the logs; none for that of the programs.
    pub log_format: Option<LogFormat>,
    /// The least important records of the logs; none for the default of the programs.
    pub log_level: Option<LogLevel>,
    /// User and groups are fixed, rather than assigned by the cluster.
    pub fixed_ids: bool,
}

#[cfg(test)]
impl PodDefaults {
    /// Returns the defaults with an image, and nothing else to be set.
    pub fn new(image: impl Into<String>) -> Self {
        Self { image: image.into(), image_pull_secrets: Vec::new(), log_format: None, log_level: None, fixed_ids: true }
    }
}

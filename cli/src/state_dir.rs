//! Where the state of jobs is kept: one directory per job, below one root.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use migration_api::MigrationJob;
use migration_aws::SystemClock;
use migration_core::config::JobIdentity;
use migration_local::state::{OpenError, State};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::stores::Selection;

/// File with the resource of the last run. It names Secrets and holds none.
const RESOURCE: &str = "job.json";
/// File with what the last retry copies.
const SELECTION: &str = "retry.json";

/// File with the last plan.
const PLAN: &str = "plan.json";

/// A plan that was made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeptPlan {
    /// When, as Unix time in milliseconds.
    pub at: i64,
    /// The plan, as `s3migrate plan --output json` prints it.
    pub plan: serde_json::Value,
}

/// Option for the root of all state.
#[derive(Args, Clone, Debug, Default)]
pub struct StateArgs {
    /// Directory for the state of jobs. By default $XDG_STATE_HOME/s3migrate, or ~/.local/state/s3migrate.
    #[arg(long, value_name = "DIR", env = "S3MIGRATE_STATE_DIR", global = true)]
    pub state_dir: Option<PathBuf>,
}

/// Failures with the state of a job.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// No home directory.
    #[error("failed to find the directory for state: neither XDG_STATE_HOME nor HOME is set; use --state-dir")]
    NoHome,
    /// The state could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A file could not be read or written.
    #[error("failed to access {path}: {source}")]
    Io {
        /// Path of the file.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// The content of a file can't be read.
    #[error("failed to read {path}: {source}; it was written by another version, or changed by hand")]
    Json {
        /// Path of the file.
        path: PathBuf,
        /// Cause.
        source: serde_json::Error,
    },
    /// No job of this name.
    #[error("failed to find job {name:?} in {root}: {known}")]
    NoJob {
        /// The name that was given.
        name: String,
        /// The root of all state.
        root: PathBuf,
        /// The jobs that are there.
        known: String,
    },
}

/// The root of all state.
#[derive(Clone, Debug)]
pub struct StateRoot(PathBuf);

/// The directory of one job.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct JobDirectory {
    /// Namespace and name of the job, joined by a slash; the name alone in the namespace `default`.
    pub name: String,
    path: PathBuf,
}

impl StateArgs {
    /// Returns the root that the option or the environment names.
    pub fn root(&self) -> Result<StateRoot, StateError> {
        if let Some(directory) = &self.state_dir {
            return Ok(StateRoot(directory.clone()));
        }
        let variable = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let state = variable("XDG_STATE_HOME").or_else(|| Some(variable("HOME")?.join(".local/state")));
        Ok(StateRoot(state.ok_or(StateError::NoHome)?.join("s3migrate")))
    }
}

impl StateRoot {
    /// Returns the directory of a job.
    pub fn job(&self, identity: &JobIdentity) -> JobDirectory {
        let JobIdentity { namespace, name, .. } = identity;
        JobDirectory { name: shown(namespace, name), path: self.0.join(namespace).join(name) }
    }

    /// Returns the directories of all jobs, by name.
    pub fn jobs(&self) -> Result<Vec<JobDirectory>, StateError> {
        let mut jobs = Vec::new();
        for namespace in entries(&self.0)? {
            for path in entries(&namespace)? {
                if path.join(RESOURCE).is_file() {
                    let part = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    jobs.push(JobDirectory { name: shown(&part(&namespace), &part(&path)), path });
                }
            }
        }
        jobs.sort();
        Ok(jobs)
    }

    /// Returns the directory of the job with this name, or of the only job if no name is given.
    pub fn find(&self, name: Option<&str>) -> Result<JobDirectory, StateError> {
        let jobs = self.jobs()?;
        let found = match (name, &jobs[..]) {
            (None, [only]) => Some(only),
            (None, _) => None,
            (Some(name), jobs) => jobs.iter().find(|job| job.name == name),
        };
        found.cloned().ok_or_else(|| {
            let names: Vec<_> = jobs.iter().map(|job| job.name.as_str()).collect();
            let known = match &names[..] {
                [] => "there are none; `s3migrate run` makes one".to_owned(),
                names => format!("there are {}; give one of these names", names.join(", ")),
            };
            StateError::NoJob { name: name.unwrap_or_default().to_owned(), root: self.0.clone(), known }
        })
    }

    /// Returns the directory for certificates that resources contain.
    pub fn certificates(&self) -> PathBuf {
        self.0.join(".certificates")
    }
}

impl JobDirectory {
    /// Opens the state to run the job. Only one process at a time can.
    pub fn open(&self) -> Result<State, StateError> {
        Ok(State::open(&self.path, Arc::new(SystemClock))?)
    }

    /// Opens the state beside a process that may run the job.
    pub fn attach(&self) -> Result<State, StateError> {
        Ok(State::attach(&self.path, Arc::new(SystemClock))?)
    }

    /// Reads the resource of the last run. Returns `None` if there was none.
    pub fn resource(&self) -> Result<Option<MigrationJob>, StateError> {
        self.read(RESOURCE)
    }

    /// Writes the resource of a run.
    pub fn write_resource(&self, job: &MigrationJob) -> Result<(), StateError> {
        self.write(RESOURCE, job)
    }

    /// Reads which objects the last retry copies. Returns `None` if there was none.
    pub fn selection(&self) -> Result<Option<Selection>, StateError> {
        self.read(SELECTION)
    }

    /// Writes which objects a retry copies.
    pub fn write_selection(&self, selection: &Selection) -> Result<(), StateError> {
        self.write(SELECTION, selection)
    }

    /// Reads the last plan. Returns `None` if there was none.
    pub fn plan(&self) -> Result<Option<KeptPlan>, StateError> {
        self.read(PLAN)
    }

    /// Writes a plan in place of the last one.
    pub fn write_plan(&self, plan: &KeptPlan) -> Result<(), StateError> {
        self.write(PLAN, plan)
    }

    fn read<T: DeserializeOwned>(&self, file: &str) -> Result<Option<T>, StateError> {
        let path = self.path.join(file);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StateError::Io { path, source }),
        };
        serde_json::from_slice(&text).map(Some).map_err(|source| StateError::Json { path, source })
    }

    /// Replaces a file: whoever reads it sees the old content or the new one.
    fn write<T: Serialize>(&self, file: &str, value: &T) -> Result<(), StateError> {
        let path = self.path.join(file);
        let text = serde_json::to_vec(value).map_err(|source| StateError::Json { path: path.clone(), source })?;
        let new = self.path.join(format!("{file}.new"));
        let written = std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, &path));
        written.map_err(|source| StateError::Io { path, source })
    }
}

fn shown(namespace: &str, name: &str) -> String {
    if namespace == "default" { name.to_owned() } else { format!("{namespace}/{name}") }
}

/// Returns the entries of a directory; none if it does not exist or is a file.
fn entries(directory: &Path) -> Result<Vec<PathBuf>, StateError> {
    let failed = |source| StateError::Io { path: directory.to_owned(), source };
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(source) => return Err(failed(source)),
    };
    entries.map(|entry| entry.map(|entry| entry.path()).map_err(failed)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_found_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let root = StateRoot(directory.path().to_owned());
        assert!(root.find(None).unwrap_err().to_string().contains("there are none"));
        let identity = |namespace: &str, name: &str| JobIdentity {
            namespace: namespace.into(),
            name: name.into(),
            uid: "u".into(),
        };
        for (namespace, name) in [("default", "photos"), ("team", "photos")] {
            let job = root.job(&identity(namespace, name));
            std::fs::create_dir_all(&job.path).unwrap();
            std::fs::write(job.path.join(RESOURCE), "{}").unwrap();
        }
        assert_eq!(root.find(Some("team/photos")).unwrap(), root.job(&identity("team", "photos")));
        let error = root.find(None).unwrap_err().to_string();
        assert!(error.contains("there are photos, team/photos"), "{error}");
    }
}

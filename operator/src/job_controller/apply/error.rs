//! Why a child could not be written.

use crate::job_controller::kubernetes::RequestError;
use crate::job_controller::ownership::NameConflict;
use crate::problem::Problem;

/// Why a child could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The object under the child's name is not the resource's.
    #[error("failed to write child: {0}")]
    NameTaken(Box<NameConflict>),
    /// A request to the API server failed.
    #[error(transparent)]
    Kubernetes(#[from] RequestError),
}

impl ApplyError {
    /// Returns true if the object was changed or replaced after it was read. The next reconciliation reads it again.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Kubernetes(error) if error.is_conflict())
    }

    /// Returns the problem to report, or none if the request is to be retried first: the API server could not be reached,
    /// or somebody else was faster.
    pub fn problem(&self) -> Option<Problem> {
        match self {
            Self::NameTaken(conflict) => Some(conflict.problem()),
            Self::Kubernetes(error) => error.problem(),
        }
    }
}

/// Separates errors that are reported as a problem, and stop nothing else, from errors that end the reconciliation.
pub fn or_problem<T>(result: Result<T, ApplyError>) -> Result<Result<T, Problem>, ApplyError> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(error) => error.problem().map(Err).ok_or(error),
    }
}

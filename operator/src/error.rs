//! Why a reconciliation is given up and tried again.

use migration_api::reasons;
use migration_core::ports::WriteError;

use crate::apply::{self, ApplyError};
use crate::problem::Problem;

/// Conflicts in a row after which a person is told: a resource that is edited meanwhile has one.
const CONFLICTS: u32 = 3;

/// Why a look was cut short. It is repeated soon.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// Kubernetes.
    #[error("failed to reconcile MigrationJob: {0}")]
    Kubernetes(#[from] kube::Error),
    /// Something could not be applied, for now.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The end of a run, or that it is reopened, could not be written, for now.
    #[error("failed to write run record: {0}")]
    End(WriteError),
}

impl ReconcileError {
    /// What to tell a person; none where the look is to be repeated first. `conflicts` counts those in a row.
    pub fn problem(&self, conflicts: &mut u32) -> Option<Problem> {
        match self {
            Self::Kubernetes(error) if apply::is_refusal(error) => {
                Some(Problem::new(reasons::APPLY_FAILED, format!("failed to read children: {}", apply::said(error))))
            }
            Self::Apply(error) if error.is_conflict() => {
                *conflicts += 1;
                (*conflicts >= CONFLICTS).then(|| Problem::new(reasons::APPLY_FAILED, error.to_string()))
            }
            Self::Kubernetes(_) | Self::Apply(_) | Self::End(_) => None,
        }
    }
}

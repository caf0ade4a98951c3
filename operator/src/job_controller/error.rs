//! Why a reconciliation failed. It is retried soon.

use migration_api::Reason;

use crate::job_controller::apply::ApplyError;
use crate::job_controller::dereference::DereferenceError;
use crate::job_controller::kubernetes::RequestError;
use crate::job_controller::runs::RunsError;
use crate::job_controller::scale::ScaleError;
use crate::job_controller::status::StatusError;
use crate::problem::Problem;

/// Conflicts in a row after which a problem is reported. One is normal while a person edits the resource.
const CONFLICTS: u32 = 3;

/// The step that failed, and why. Validating and building never fail as a whole: their problems become a condition.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The resource itself could not be read.
    #[error(transparent)]
    Read(#[from] RequestError),
    /// The objects and services that the resource refers to could not be read.
    #[error(transparent)]
    Dereference(#[from] DereferenceError),
    /// A child could not be applied.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// A run could not be started, ended or reopened.
    #[error(transparent)]
    Runs(#[from] RunsError),
    /// The number of workers, or what sets it, could not be read or written.
    #[error(transparent)]
    Scale(#[from] ScaleError),
    /// The status could not be written.
    #[error(transparent)]
    Status(#[from] StatusError),
}

impl ReconcileError {
    /// Returns true if the resource or a child was changed or replaced between read and write.
    pub fn is_conflict(&self) -> bool {
        match self {
            Self::Apply(error) | Self::Runs(RunsError::Apply(error)) | Self::Scale(ScaleError::Apply(error)) => {
                error.is_conflict()
            }
            Self::Status(StatusError::Kubernetes(error)) => error.is_conflict(),
            Self::Read(_) | Self::Dereference(_) | Self::Runs(RunsError::Run(_)) | Self::Scale(ScaleError::Read(_)) => {
                false
            }
        }
    }

    /// Returns the problem to report, or none if the reconciliation is to be retried first. `conflicts` is the number of
    /// conflicts in a row, this one included.
    pub fn problem(&self, conflicts: u32) -> Option<Problem> {
        match self {
            Self::Read(error)
            | Self::Dereference(DereferenceError::Kubernetes(error))
            | Self::Scale(ScaleError::Read(error))
            | Self::Status(StatusError::Kubernetes(error)) => error.problem(),
            Self::Apply(_) | Self::Runs(_) | Self::Scale(_) => (self.is_conflict() && conflicts >= CONFLICTS)
                .then(|| Problem::new(Reason::ApplyFailed, self.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::apps::v1::Deployment;
    use k8s_openapi::api::core::v1::Pod;
    use kube::core::Status;

    fn request<K: kube::Resource<DynamicType = ()>>(code: u16) -> RequestError {
        let status = Status { code, message: "why".into(), ..Status::default() };
        RequestError::new::<K>("apply", "x", kube::Error::Api(status.boxed()))
    }

    #[test]
    fn one_conflict_is_retried_and_the_third_in_a_row_is_reported() {
        let error = ReconcileError::from(ApplyError::from(request::<Deployment>(409)));
        assert!(error.is_conflict());
        assert_eq!((error.problem(1), error.problem(2)), (None, None));
        assert_eq!(error.problem(3).unwrap().message, "failed to apply Deployment x: why");
    }

    #[test]
    fn a_refused_read_is_reported_at_once() {
        let error = ReconcileError::from(DereferenceError::from(request::<Pod>(403)));
        assert!(!error.is_conflict() && error.problem(0).is_some());
    }
}

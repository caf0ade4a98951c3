//! Why something could not be written to the cluster.

use kube::Resource;
use migration_api::reasons;

use crate::ownership::Taken;
use crate::problem::Problem;

/// Why something could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// What has the name is not the resource's.
    #[error("failed to write child: {0}")]
    Taken(Box<Taken>),
    /// Kubernetes, or the way to it.
    #[error("failed to {verb} {kind} {name}: {}", said(.source))]
    Kubernetes {
        /// What was tried.
        verb: &'static str,
        /// Of what kind the object is.
        kind: String,
        /// Its name.
        name: String,
        /// What the API server said.
        source: Box<kube::Error>,
    },
}

/// What the API server said, in its own words.
pub fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        error => error.to_string(),
    }
}

impl ApplyError {
    /// An error of Kubernetes.
    pub fn new<K: Resource<DynamicType = ()>>(verb: &'static str, name: &str, source: kube::Error) -> Self {
        Self::Kubernetes { verb, kind: K::kind(&()).into_owned(), name: name.to_owned(), source: Box::new(source) }
    }

    /// Whether the object is not the one that was looked at. The next look sees what is there now.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Kubernetes { source, .. } if is_conflict(source))
    }

    /// What to tell a person: the API server understood and refused, whatever code it, a quota or an admission webhook
    /// chose. None where it is to be tried again first: it can't be reached, or answers that somebody was faster.
    pub fn problem(&self) -> Option<Problem> {
        match self {
            Self::Taken(taken) => Some(taken.problem()),
            Self::Kubernetes { source, .. } if is_refusal(source) => {
                Some(Problem::new(reasons::APPLY_FAILED, self.to_string()))
            }
            Self::Kubernetes { .. } => None,
        }
    }
}

/// Whether the API server answered, and refused.
pub fn is_refusal(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(_)) && !is_conflict(error)
}

/// Whether an object was changed or replaced between a look and a write. A UID that is not the object's is answered with
/// 409 by deletions and by `/scale`, and as an invalid change of `metadata.uid` by patches.
fn is_conflict(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    status.code == 409 || (status.code == 422 && causes.into_iter().any(|cause| cause.field == "metadata.uid"))
}

/// Puts what a person must know with the other problems; gives back what is to be tried again.
pub fn told<T>(result: Result<T, ApplyError>, problems: &mut Vec<Problem>) -> Result<Option<T>, ApplyError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) => match error.problem() {
            Some(problem) => {
                problems.push(problem);
                Ok(None)
            }
            None => Err(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::batch::v1::Job;
    use kube::core::Status;

    fn error(status: Status) -> ApplyError {
        ApplyError::new::<Job>("apply", "j", kube::Error::Api(status.boxed()))
    }

    #[test]
    fn whatever_kubernetes_refuses_is_told() {
        let of = |code| error(Status { code, message: "why".into(), ..Status::default() });
        for code in [400, 403, 404, 422, 429, 500, 503] {
            let problem = of(code).problem().unwrap();
            assert_eq!(
                (problem.reason.as_str(), problem.message.as_str()),
                ("ApplyFailed", "failed to apply Job j: why")
            );
        }
        assert!(of(409).is_conflict() && of(409).problem().is_none(), "somebody was faster: the next look decides");
        let lost = ApplyError::new::<Job>("apply", "j", kube::Error::LinesCodecMaxLineLengthExceeded);
        assert!(lost.problem().is_none() && !lost.is_conflict());
    }

    #[test]
    fn another_uid_is_a_conflict() {
        let invalid = |field: &str| {
            let causes = serde_json::json!([{"reason": "FieldValueInvalid", "message": "no", "field": field}]);
            error(serde_json::from_value(serde_json::json!({"code": 422, "details": {"causes": causes}})).unwrap())
        };
        assert!(invalid("metadata.uid").is_conflict());
        assert!(!invalid("spec.replicas").is_conflict());
    }
}

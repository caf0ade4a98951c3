//! Requests to the API server, with errors that name what was requested.

use std::fmt::Debug;

use kube::api::ListParams;
use kube::{Api, Resource};
use migration_api::Reason;
use serde::de::DeserializeOwned;

use crate::problem::Problem;

/// A request that failed.
#[derive(Debug, thiserror::Error)]
#[error("failed to {verb} {object}: {}", answer(.source))]
pub struct RequestError {
    verb: &'static str,
    /// Kind and name of the object, or the plural of the kind.
    object: String,
    source: Box<kube::Error>,
}

impl RequestError {
    /// Describes a failed request for one object.
    pub fn new<K: Resource<DynamicType = ()>>(verb: &'static str, name: &str, source: kube::Error) -> Self {
        Self { verb, object: format!("{} {name}", K::kind(&())), source: Box::new(source) }
    }

    /// Describes a failed request for all objects of a kind.
    fn list<K: Resource<DynamicType = ()>>(source: kube::Error) -> Self {
        Self { verb: "list", object: format!("{}s", K::kind(&())), source: Box::new(source) }
    }

    /// Returns true if the object was changed or replaced after it was read. The next reconciliation reads it again.
    ///
    /// A UID precondition that does not hold is answered with 409 by deletions and by `/scale`, and with 422 for the
    /// field `metadata.uid` by patches.
    pub fn is_conflict(&self) -> bool {
        let kube::Error::Api(status) = &*self.source else { return false };
        let causes = status.details.iter().flat_map(|details| &details.causes);
        status.code == 409 || (status.code == 422 && causes.into_iter().any(|cause| cause.field == "metadata.uid"))
    }

    /// Returns true if the object does not exist.
    pub fn is_missing(&self) -> bool {
        matches!(&*self.source, kube::Error::Api(status) if status.is_not_found())
    }

    /// Returns true if the API server answered and refused, with whatever code it, a quota or an admission webhook chose.
    pub fn is_refusal(&self) -> bool {
        matches!(&*self.source, kube::Error::Api(_)) && !self.is_conflict()
    }

    /// Returns the problem to report if the API server refused. Other errors are retried first.
    pub fn problem(&self) -> Option<Problem> {
        self.is_refusal().then(|| Problem::new(Reason::ApplyFailed, self.to_string()))
    }
}

/// Returns the API server's own message, if it answered.
fn answer(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        error => error.to_string(),
    }
}

/// Gets an object, or none if it does not exist.
pub async fn get<K>(api: &Api<K>, name: &str) -> Result<Option<K>, RequestError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    api.get_opt(name).await.map_err(|error| RequestError::new::<K>("get", name, error))
}

/// Lists objects.
pub async fn list<K>(api: &Api<K>, params: &ListParams) -> Result<Vec<K>, RequestError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    Ok(api.list(params).await.map_err(RequestError::list::<K>)?.items)
}

/// Lists the metadata of objects.
pub async fn list_metadata<K>(api: &Api<K>, params: &ListParams) -> Result<Vec<kube::core::ObjectMeta>, RequestError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let found = api.list_metadata(params).await.map_err(RequestError::list::<K>)?;
    Ok(found.items.into_iter().map(|object| object.metadata).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::batch::v1::Job;
    use kube::core::Status;

    fn error(status: Status) -> RequestError {
        RequestError::new::<Job>("apply", "j", kube::Error::Api(status.boxed()))
    }

    #[test]
    fn whatever_kubernetes_refuses_is_reported() {
        let of = |code| error(Status { code, message: "why".into(), ..Status::default() });
        for code in [400, 403, 404, 422, 429, 500, 503] {
            let problem = of(code).problem().unwrap();
            assert_eq!((problem.reason, problem.message.as_str()), (Reason::ApplyFailed, "failed to apply Job j: why"));
        }
        assert!(of(409).is_conflict() && of(409).problem().is_none(), "the next reconciliation decides");
        let lost = RequestError::new::<Job>("apply", "j", kube::Error::LinesCodecMaxLineLengthExceeded);
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

    #[test]
    fn a_list_names_the_kind() {
        let forbidden = Status { code: 403, message: "pods is forbidden".into(), ..Status::default() };
        let error = RequestError::list::<k8s_openapi::api::core::v1::Pod>(kube::Error::Api(forbidden.boxed()));
        assert_eq!(error.to_string(), "failed to list Pods: pods is forbidden");
    }
}

//! Applies the autoscaler that a job needs.

use std::collections::HashMap;
use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::api::PostParams;
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::condition::State;
use super::{ScaleCache, Scaler, health};
use crate::job_controller::apply::{self, ApplyCache, ApplyError};
use crate::job_controller::autoscalers::Autoscalers;
use crate::job_controller::build::autoscaler::{self, Range, Workload};
use crate::job_controller::build::scaled_object;
use crate::job_controller::kubernetes::RequestError;
use crate::job_controller::ownership::{Child, Owner};

/// The objects that were sent, by kind: what was sent, and what the API server made of it.
///
/// Not by generation, as other children: a pause is an annotation, and a `HorizontalPodAutoscaler` has no generation before
/// Kubernetes 1.36.
#[derive(Clone, Debug, Default)]
pub struct SentObjects(HashMap<String, (Value, Value)>);

/// Creates or applies an object, unless it is as it was sent the last time. Returns it as it is now.
async fn keep<K>(
    api: &Api<K>,
    wanted: &K,
    found: Option<&K>,
    owner: &Owner,
    sent: &mut SentObjects,
) -> Result<Option<K>, ApplyError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Serialize + DeserializeOwned + Debug,
{
    let (kind, asked) = (K::kind(&()).into_owned(), content(wanted));
    let child = Child::of(found.cloned(), owner);
    if let Some(live) = child.ours()
        && sent.0.get(&kind).is_some_and(|known| *known == (asked.clone(), content(live)))
    {
        return Ok(Some(live.clone()));
    }
    // Whether it is needed was decided above.
    let applied = apply::one(api, wanted, &child, owner, &ApplyCache::default()).await?.map(|sent| sent.object);
    if let Some(applied) = &applied {
        sent.0.insert(kind, (asked, content(applied)));
    }
    Ok(applied)
}

/// Returns what makes an object another one for us. Labels and finalizers are KEDA's too, and the status is not ours.
fn content<K: Resource + Serialize>(object: &K) -> Value {
    let spec = serde_json::to_value(object).map(|mut object| object["spec"].take()).unwrap_or_default();
    let meta = object.meta();
    json!({"uid": meta.uid, "annotations": meta.annotations, "ownerReferences": meta.owner_references, "spec": spec})
}

/// Returns true if the API server takes a `HorizontalPodAutoscaler` that may scale to zero. Tried with a dry run, since it is
/// a feature gate of the cluster (`HPAScaleToZero`).
async fn takes_zero(api: &Api<HorizontalPodAutoscaler>, wanted: &HorizontalPodAutoscaler) -> Result<bool, ApplyError> {
    let name = wanted.name_any();
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let Err(error) = api.create(&params, wanted).await else { return Ok(true) };
    let is_invalid = |error: &kube::Error| {
        let kube::Error::Api(status) = error else { return false };
        let mut causes = status.details.iter().flat_map(|details| &details.causes);
        status.code == 422 && causes.any(|cause| cause.field == "spec.minReplicas")
    };
    match error {
        // What exists is looked for after the content was found valid.
        kube::Error::Api(status) if status.is_already_exists() => Ok(true),
        error if is_invalid(&error) => Ok(false),
        error => Err(RequestError::new::<HorizontalPodAutoscaler>("try", &name, error).into()),
    }
}

impl Scaler<'_> {
    /// Applies the objects of the driver Keda. Credentials that are not needed are removed by the resource's end.
    pub(super) async fn keep_keda(
        &self,
        found: &Autoscalers,
        range: Range,
        paused: bool,
        sent: &mut SentObjects,
    ) -> Result<State, ApplyError> {
        let (Some(queue_url), Some(workload)) = (self.queue_url(), self.workload(range)) else {
            return Ok(State::Unknown);
        };
        let (context, namespace, owner) = (self.context, self.namespace.as_str(), &self.owner);
        match scaled_object::authentication(&workload) {
            Some(wanted) => {
                let before = found.authentication.as_ref();
                keep(&context.api(namespace), &wanted, before, owner, sent).await?;
            }
            // The job names one of its own now.
            None => found.remove_authentication(context, namespace, owner).await?,
        }
        let wanted = scaled_object::build(&workload, queue_url, paused);
        let kept = keep(&context.api(namespace), &wanted, found.scaled_object.as_ref(), owner, sent).await?;
        Ok(State::Active { fault: kept.as_ref().and_then(health::of_keda), is_raised: false })
    }

    /// Applies the object of the driver Hpa, with a least number that the cluster takes.
    pub(super) async fn keep_hpa(
        &self,
        found: &Autoscalers,
        range: Range,
        cache: &mut ScaleCache,
    ) -> Result<State, ApplyError> {
        let api = self.context.api(&self.namespace);
        let build = |range| self.workload(range).and_then(|workload| autoscaler::build(&workload));
        let Some(mut wanted) = build(range) else { return Ok(State::Unknown) };
        let is_raised = range.min == 0 && !self.takes_zero(&wanted, cache).await?;
        if is_raised {
            wanted.spec.min_replicas = Some(1);
        }
        let kept = keep(&api, &wanted, found.hpa.as_ref(), &self.owner, &mut cache.sent).await?;
        Ok(State::Active { fault: kept.as_ref().and_then(health::of_hpa), is_raised })
    }

    async fn takes_zero(&self, wanted: &HorizontalPodAutoscaler, cache: &mut ScaleCache) -> Result<bool, ApplyError> {
        if let Some(known) = cache.takes_zero {
            return Ok(known);
        }
        let takes = takes_zero(&self.context.api(&self.namespace), wanted).await?;
        cache.takes_zero = Some(takes);
        Ok(takes)
    }

    /// Returns the URL of the queue: while it does not answer, that of the last time.
    fn queue_url(&self) -> Option<&str> {
        let now = self.observed.services.as_ref().map(|services| services.queue_and_table.queue_url.as_str());
        let known = self.job.status.as_ref().and_then(|status| status.resources.as_ref());
        now.or_else(|| known.and_then(|known| known.queue_url.as_deref()))
    }

    /// Returns what autoscalers are built of; none for a resource that does not come from an API server.
    fn workload(&self, range: Range) -> Option<Workload<'_>> {
        let owner = self.job.controller_owner_ref(&())?;
        Some(Workload { namespace: &self.namespace, job: &self.owner.name, owner, spec: &self.job.spec, range })
    }
}

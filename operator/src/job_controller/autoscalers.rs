//! The objects of Kubernetes and KEDA that set the number of workers: reads and removes them.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::api::DeleteParams;
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tracing::warn;

use crate::job_controller::apply::{self, ApplyError};
use crate::job_controller::context::Context;
use crate::job_controller::finalizers;
use crate::job_controller::keda::{self, ScaledObject, TriggerAuthentication};
use crate::job_controller::kubernetes::{self, RequestError};
use crate::job_controller::ownership::{Owner, is_controlled_by};
use crate::names;

/// How long KEDA is given to release an object that is deleted, in milliseconds.
///
/// KEDA's finalizer stops KEDA's own loop and nothing else, since the number of workers is not to be restored. So where
/// KEDA is gone, or does not answer, it can be removed without loss.
const RELEASE_AFTER_MS: i64 = 60_000;

/// The objects under the names of a job's autoscalers, whoever they belong to.
#[derive(Clone, Debug, Default)]
pub struct Autoscalers {
    /// The API server has KEDA's objects.
    pub keda_installed: bool,
    /// The object of the driver Keda.
    pub scaled_object: Option<ScaledObject>,
    /// Its credentials.
    pub authentication: Option<TriggerAuthentication>,
    /// What KEDA made of it.
    pub keda_hpa: Option<HorizontalPodAutoscaler>,
    /// The object of the driver Hpa.
    pub hpa: Option<HorizontalPodAutoscaler>,
}

/// Whether a job has the objects of a driver. Those of somebody else don't count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Presence {
    /// It has none.
    #[default]
    Absent,
    /// It has some.
    There,
    /// It has some, and one of them is being deleted, or is left over by KEDA.
    Going,
}

/// Reads the objects. Those of KEDA are asked for only where it is installed.
pub async fn read(context: &Context, namespace: &str, job: &str) -> Result<Autoscalers, RequestError> {
    let name = names::worker(job);
    let hpas = context.api::<HorizontalPodAutoscaler>(namespace);
    let hpa = kubernetes::get(&hpas, &name).await?;
    if !context.keda.is_installed(&context.client, context.now()).await? {
        return Ok(Autoscalers { hpa, ..Autoscalers::default() });
    }
    Ok(Autoscalers {
        keda_installed: true,
        scaled_object: kubernetes::get(&context.api(namespace), &name).await?,
        authentication: kubernetes::get(&context.api(namespace), &name).await?,
        keda_hpa: kubernetes::get(&hpas, &names::keda_hpa(job)).await?.filter(|hpa| is_of_keda(hpa, &name)),
        hpa,
    })
}

/// Returns true if KEDA made a `HorizontalPodAutoscaler` for this `ScaledObject`, which may be gone.
fn is_of_keda(hpa: &HorizontalPodAutoscaler, scaled_object: &str) -> bool {
    hpa.owner_references().iter().any(|owner| owner.kind == "ScaledObject" && owner.name == scaled_object)
}

impl Autoscalers {
    /// Returns the objects of the driver Keda that are the owner's.
    pub fn keda(&self, owner: &Owner) -> Presence {
        let (scaled_object, authentication) = (self.scaled_object.as_ref(), self.authentication.as_ref());
        match (presence(scaled_object, owner), presence(authentication, owner)) {
            (Presence::Absent, _) if self.keda_hpa.is_some() => Presence::Going,
            (one, other) => one.max(other),
        }
    }

    /// Returns the object of the driver Hpa, if it is the owner's.
    pub fn hpa(&self, owner: &Owner) -> Presence {
        presence(self.hpa.as_ref(), owner)
    }

    /// Removes the objects of the driver Keda. Returns what is left of them: KEDA scales until all of it is gone.
    pub async fn remove_keda(&self, context: &Context, namespace: &str, owner: &Owner) -> Result<Left, ApplyError> {
        let now = context.now();
        let scaled_object = remove(&context.api(namespace), self.scaled_object.as_ref(), owner, now).await?;
        let authentication = remove(&context.api(namespace), self.authentication.as_ref(), owner, now).await?;
        // Kubernetes removes it once its owner is gone.
        let hpa = self.keda_hpa.as_ref().map(|hpa| format!("HorizontalPodAutoscaler {} of KEDA", hpa.name_any()));
        let left: Vec<_> = [scaled_object, authentication, hpa].into_iter().flatten().collect();
        Ok((!left.is_empty()).then(|| left.join(", ")))
    }

    /// Removes the credentials of the driver Keda alone, without waiting.
    pub async fn remove_authentication(
        &self,
        context: &Context,
        namespace: &str,
        owner: &Owner,
    ) -> Result<(), ApplyError> {
        remove(&context.api(namespace), self.authentication.as_ref(), owner, context.now()).await.map(drop)
    }

    /// Removes the object of the driver Hpa. Returns what is left of it.
    pub async fn remove_hpa(&self, context: &Context, namespace: &str, owner: &Owner) -> Result<Left, ApplyError> {
        remove(&context.api(namespace), self.hpa.as_ref(), owner, context.now()).await
    }
}

/// The objects that are not gone yet, in words.
pub type Left = Option<String>;

fn is_own<K: Resource>(found: Option<&K>, owner: &Owner) -> bool {
    found.is_some_and(|found| is_controlled_by(found.meta(), &owner.uid))
}

fn presence<K: Resource>(found: Option<&K>, owner: &Owner) -> Presence {
    match found.filter(|found| is_own(Some(*found), owner)) {
        None => Presence::Absent,
        Some(found) if found.meta().deletion_timestamp.is_some() => Presence::Going,
        Some(_) => Presence::There,
    }
}

/// Deletes the object if it is the owner's, and removes KEDA's finalizer from it if KEDA has not done so for a while. Returns
/// the object until it is gone.
async fn remove<K>(api: &Api<K>, found: Option<&K>, owner: &Owner, now: i64) -> Result<Left, ApplyError>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let Some(found) = found.filter(|found| is_own(Some(*found), owner)) else { return Ok(None) };
    let name = found.name_any();
    let Some(deleted) = &found.meta().deletion_timestamp else {
        apply::delete(api, found, DeleteParams::background()).await?;
        return Ok(Some(format!("{} {name}", K::kind(&()))));
    };
    let is_held_by_keda = found.finalizers().iter().any(|finalizer| finalizer == keda::FINALIZER);
    if is_held_by_keda && now - deleted.0.as_millisecond() >= RELEASE_AFTER_MS {
        warn!(kind = %K::kind(&()), name, "KEDA does not release an object that is deleted: its finalizer is removed");
        release(api, found).await?;
    }
    let held = found.finalizers().join(", ");
    let held = if held.is_empty() { held } else { format!(", held by its finalizers ({held})") };
    Ok(Some(format!("{} {name}{held}", K::kind(&()))))
}

/// Removes KEDA's finalizer and leaves those of others.
async fn release<K>(api: &Api<K>, found: &K) -> Result<(), ApplyError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    match finalizers::remove(api, found, keda::FINALIZER).await {
        Err(error) if error.is_missing() => Ok(()),
        released => Ok(released?),
    }
}

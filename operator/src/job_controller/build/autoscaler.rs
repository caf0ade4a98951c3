//! The `HorizontalPodAutoscaler` of the driver Hpa, and what autoscalers have in common.

use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, ExternalMetricSource, HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscaler,
    HorizontalPodAutoscalerBehavior, HorizontalPodAutoscalerSpec, MetricIdentifier, MetricSpec, MetricTarget,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use migration_api::MigrationJobSpec;
use migration_api::scaling::ExternalMetric;

use crate::names::{self, Component};

/// Period of the policy by which workers are added, in seconds: a scale-up is not spread over several of them.
const SCALE_UP_PERIOD_SECONDS: i32 = 15;

/// Least and greatest number of workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Least number.
    pub min: u32,
    /// Greatest number, at least 1.
    pub max: u32,
}

/// A job whose workers are workload.
#[derive(Clone, Debug)]
pub struct Workload<'a> {
    /// Namespace of the job.
    pub namespace: &'a str,
    /// Name of the job.
    pub job: &'a str,
    /// The owner reference of its children.
    pub owner: OwnerReference,
    /// Its specification.
    pub spec: &'a MigrationJobSpec,
    /// The limits that hold now.
    pub range: Range,
}

/// Builds the `HorizontalPodAutoscaler`. None if the job names no metric, which the schema rejects.
pub fn build(workload: &Workload<'_>) -> Option<HorizontalPodAutoscaler> {
    let Workload { job, spec, range, .. } = workload;
    Some(HorizontalPodAutoscaler {
        metadata: metadata(workload),
        spec: HorizontalPodAutoscalerSpec {
            scale_target_ref: CrossVersionObjectReference {
                api_version: Some("apps/v1".to_owned()),
                kind: "Deployment".to_owned(),
                name: names::worker(job),
            },
            min_replicas: Some(int(range.min)),
            max_replicas: int(range.max),
            metrics: Some(vec![metric(spec.scaling.metric.as_ref()?, spec.scaling.target_batches_per_worker)]),
            behavior: Some(behavior(spec.scaling.scale_down_delay_seconds, range.max)),
        },
        status: None,
    })
}

fn metric(metric: &ExternalMetric, batches_per_worker: u32) -> MetricSpec {
    let ExternalMetric { name, selector, average_value } = metric;
    MetricSpec {
        type_: "External".to_owned(),
        external: Some(ExternalMetricSource {
            metric: MetricIdentifier {
                name: name.clone(),
                selector: selector.as_ref().map(|selector| LabelSelector {
                    match_labels: Some(selector.match_labels.clone()),
                    match_expressions: None,
                }),
            },
            target: MetricTarget {
                type_: "AverageValue".to_owned(),
                average_value: Some(Quantity(average_value.unwrap_or(batches_per_worker).to_string())),
                ..MetricTarget::default()
            },
        }),
        ..MetricSpec::default()
    }
}

/// Returns the behaviour of all drivers: more workers at once, fewer when they have sufficed for the delay.
pub fn behavior(delay_seconds: u32, max: u32) -> HorizontalPodAutoscalerBehavior {
    HorizontalPodAutoscalerBehavior {
        scale_up: Some(HPAScalingRules {
            stabilization_window_seconds: Some(0),
            select_policy: Some("Max".to_owned()),
            policies: Some(vec![HPAScalingPolicy {
                type_: "Pods".to_owned(),
                value: int(max),
                period_seconds: SCALE_UP_PERIOD_SECONDS,
            }]),
            ..HPAScalingRules::default()
        }),
        scale_down: Some(HPAScalingRules {
            stabilization_window_seconds: Some(int(delay_seconds)),
            ..HPAScalingRules::default()
        }),
    }
}

/// Returns the metadata of an autoscaler. All kinds have the name of the Deployment.
pub fn metadata(workload: &Workload<'_>) -> ObjectMeta {
    ObjectMeta {
        name: Some(names::worker(workload.job)),
        namespace: Some(workload.namespace.to_owned()),
        labels: Some(names::labels(workload.job, Component::Worker)),
        owner_references: Some(vec![workload.owner.clone()]),
        ..ObjectMeta::default()
    }
}

/// The schema bounds all of these far below.
fn int(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

#[cfg(test)]
pub mod tests {
    use kube::Resource;
    use migration_api::MigrationJob;
    use serde_json::json;

    use super::*;
    use crate::job_controller::validate::tests::resource;

    /// The job of [`resource`] with this `spec.scaling`.
    pub fn job(scaling: &str) -> MigrationJob {
        let mut job = resource();
        job.spec.scaling = serde_yaml::from_str(&format!("{{{scaling}}}")).unwrap();
        job
    }

    pub fn workload(job: &MigrationJob, min: u32, max: u32) -> Workload<'_> {
        Workload {
            namespace: "media",
            job: "photos",
            owner: job.controller_owner_ref(&()).unwrap(),
            spec: &job.spec,
            range: Range { min, max },
        }
    }

    #[test]
    fn the_metric_and_the_limits_are_those_of_the_job() {
        let job = job("driver: Hpa, maxReplicas: 6, scaleDownDelaySeconds: 20, \
             metric: {name: backlog, selector: {matchLabels: {job_name: photos}}, averageValue: 7}");
        let built = serde_json::to_value(build(&workload(&job, 1, 6)).unwrap()).unwrap();
        let metric = json!({
            "metric": {"name": "backlog", "selector": {"matchLabels": {"job_name": "photos"}}},
            "target": {"type": "AverageValue", "averageValue": "7"},
        });
        assert_eq!(built["spec"]["metrics"], json!([{"type": "External", "external": metric}]));
        assert_eq!((&built["spec"]["minReplicas"], &built["spec"]["maxReplicas"]), (&json!(1), &json!(6)));
        assert_eq!(built["spec"]["behavior"]["scaleDown"], json!({"stabilizationWindowSeconds": 20}));
        assert_eq!(built["spec"]["scaleTargetRef"]["name"], "photos-worker");
        assert_eq!(built["metadata"]["ownerReferences"][0]["controller"], true);
    }

    #[test]
    fn without_a_value_the_metric_counts_batches() {
        let job = job("driver: Hpa, targetBatchesPerWorker: 9, metric: {name: backlog}");
        let built = serde_json::to_value(build(&workload(&job, 0, 10)).unwrap()).unwrap();
        let external = &built["spec"]["metrics"][0]["external"];
        assert_eq!(
            (&external["target"]["averageValue"], &external["metric"]),
            (&json!("9"), &json!({"name": "backlog"}))
        );
        assert!(build(&workload(&resource(), 0, 10)).is_none());
    }
}

//! The `ScaledObject` of KEDA and its `TriggerAuthentication`.

use std::collections::BTreeMap;

use migration_api::MigrationJobSpec;
use migration_api::scaling::{AuthenticationKind, AuthenticationRef as ApiAuthenticationRef, Keda};
use migration_core::config::{ACCESS_KEY_FILE, SECRET_KEY_FILE, SESSION_TOKEN_FILE};

use super::autoscaler::{Workload, behavior, metadata};
use crate::job_controller::keda::{
    Advanced, AuthenticationRef, HpaConfig, PAUSED_REPLICAS, PodIdentity, ScaleTarget, ScaledObject, ScaledObjectSpec,
    SecretTargetRef, Trigger, TriggerAuthentication, TriggerAuthenticationSpec,
};
use crate::names;

/// Builds the `ScaledObject`. With `paused`, KEDA scales to zero and stays there.
///
/// Whoever set the number last keeps it when the object is deleted (`restoreToOriginalReplicaCount`): the next driver goes
/// on from there. Delayed messages count, since remainders of batches are delayed by up to five minutes.
pub fn build(workload: &Workload<'_>, queue_url: &str, paused: bool) -> ScaledObject {
    let Workload { spec, range, .. } = workload;
    let (keda, delay) = (keda(spec), spec.scaling.scale_down_delay_seconds);
    let name = names::worker(workload.job);
    // KEDA ignores both, and warns, where it does not scale to zero.
    let of_zero = |seconds: u32| (range.min == 0).then_some(seconds);
    let mut metadata = metadata(workload);
    metadata.annotations = paused.then(|| [(PAUSED_REPLICAS.to_owned(), "0".to_owned())].into());
    ScaledObject {
        metadata,
        spec: ScaledObjectSpec {
            scale_target_ref: ScaleTarget {
                api_version: "apps/v1".to_owned(),
                kind: "Deployment".to_owned(),
                name: name.clone(),
            },
            polling_interval: of_zero(keda.polling_interval_seconds),
            cooldown_period: of_zero(delay),
            min_replica_count: range.min,
            max_replica_count: range.max,
            advanced: Advanced {
                restore_to_original_replica_count: false,
                horizontal_pod_autoscaler_config: HpaConfig {
                    name: names::keda_hpa(workload.job),
                    behavior: behavior(delay, range.max),
                },
            },
            triggers: vec![Trigger {
                scaler: "aws-sqs-queue".to_owned(),
                metadata: trigger(spec, queue_url),
                authentication_ref: Some(authentication_ref(&keda, name)),
            }],
        },
        status: None,
    }
}

/// Returns the settings of the trigger. Source: `awsSqsQueueMetadata` of KEDA's scaler `aws-sqs-queue`.
fn trigger(spec: &MigrationJobSpec, queue_url: &str) -> BTreeMap<String, String> {
    let entries = [
        ("queueURL", queue_url.to_owned()),
        ("awsRegion", spec.queue.region.clone()),
        ("queueLength", spec.scaling.target_batches_per_worker.to_string()),
        ("scaleOnInFlight", true.to_string()),
        ("scaleOnDelayed", true.to_string()),
    ];
    let endpoint = spec.queue.endpoint.clone().map(|endpoint| ("awsEndpoint", endpoint));
    entries.into_iter().chain(endpoint).map(|(name, value)| (name.to_owned(), value)).collect()
}

fn keda(spec: &MigrationJobSpec) -> Keda {
    spec.scaling.keda.clone().unwrap_or_default()
}

fn authentication_ref(keda: &Keda, own: String) -> AuthenticationRef {
    let kind = |kind: AuthenticationKind| kind.as_str().to_owned();
    match &keda.authentication_ref {
        Some(ApiAuthenticationRef { name, kind: given }) => {
            AuthenticationRef { name: name.clone(), kind: kind(*given) }
        }
        None => AuthenticationRef { name: own, kind: kind(AuthenticationKind::default()) },
    }
}

/// Builds the `TriggerAuthentication`: the keys of the queue's Secret, else KEDA's own identity. None if the job names one.
///
/// KEDA takes a key that the Secret lacks as empty, so that a session token may be named always.
pub fn authentication(workload: &Workload<'_>) -> Option<TriggerAuthentication> {
    let keda = keda(workload.spec);
    if keda.authentication_ref.is_some() {
        return None;
    }
    let secret = workload.spec.queue.credentials.as_ref().map(|keys| keys.secret_ref.name.as_str());
    let spec = match secret {
        Some(secret) => TriggerAuthenticationSpec { pod_identity: None, secret_target_ref: keys_of(secret) },
        None => TriggerAuthenticationSpec {
            pod_identity: Some(PodIdentity { provider: "aws".to_owned(), role_arn: keda.role_arn }),
            secret_target_ref: Vec::new(),
        },
    };
    Some(TriggerAuthentication { metadata: metadata(workload), spec })
}

fn keys_of(secret: &str) -> Vec<SecretTargetRef> {
    let parameters = [
        ("awsAccessKeyID", ACCESS_KEY_FILE),
        ("awsSecretAccessKey", SECRET_KEY_FILE),
        ("awsSessionToken", SESSION_TOKEN_FILE),
    ];
    let one = |(parameter, key): (&str, &str)| SecretTargetRef {
        parameter: parameter.to_owned(),
        name: secret.to_owned(),
        key: key.to_owned(),
    };
    parameters.into_iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::job_controller::build::autoscaler::tests::{job, workload};

    #[test]
    fn the_scaled_object_reads_the_queue_of_the_job() {
        let job = job("driver: Keda, maxReplicas: 8, targetBatchesPerWorker: 3, scaleDownDelaySeconds: 40");
        let built = serde_json::to_value(build(&workload(&job, 0, 8), "http://sqs/000000000000/q", false)).unwrap();
        assert_eq!(
            built["spec"],
            json!({
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "photos-worker"},
                "pollingInterval": 10, "cooldownPeriod": 40, "minReplicaCount": 0, "maxReplicaCount": 8,
                "advanced": {
                    "restoreToOriginalReplicaCount": false,
                    "horizontalPodAutoscalerConfig": {
                        "name": "keda-hpa-photos-worker",
                        "behavior": {
                            "scaleUp": {
                                "stabilizationWindowSeconds": 0, "selectPolicy": "Max",
                                "policies": [{"type": "Pods", "value": 8, "periodSeconds": 15}],
                            },
                            "scaleDown": {"stabilizationWindowSeconds": 40},
                        },
                    },
                },
                "triggers": [{
                    "type": "aws-sqs-queue",
                    "metadata": {
                        "queueURL": "http://sqs/000000000000/q", "awsRegion": "us-east-1", "awsEndpoint": "http://sqs",
                        "queueLength": "3", "scaleOnInFlight": "true", "scaleOnDelayed": "true",
                    },
                    "authenticationRef": {"name": "photos-worker", "kind": "TriggerAuthentication"},
                }],
            })
        );
        assert_eq!(built["metadata"]["ownerReferences"][0]["uid"], "u-1");
        assert!(built["metadata"]["annotations"].is_null());
    }

    #[test]
    fn a_paused_one_is_at_zero_and_one_that_never_is_has_no_cooldown() {
        let job = job("driver: Keda, minReplicas: 2, keda: {pollingIntervalSeconds: 5}");
        let built = build(&workload(&job, 2, 10), "q", true);
        assert_eq!(built.metadata.annotations.unwrap()["autoscaling.keda.sh/paused-replicas"], "0");
        assert_eq!(
            (built.spec.min_replica_count, built.spec.cooldown_period, built.spec.polling_interval),
            (2, None, None)
        );
        assert_eq!(build(&workload(&job, 0, 1), "q", false).spec.polling_interval, Some(5));
    }

    #[test]
    fn keda_authenticates_as_the_job_says() {
        let spec = |scaling: &str, has_secret: bool| {
            let mut job = job(scaling);
            if !has_secret {
                job.spec.queue.credentials = None;
            }
            let workload = workload(&job, 0, 10);
            let reference = build(&workload, "q", false).spec.triggers[0].authentication_ref.clone().unwrap();
            (authentication(&workload).map(|made| serde_json::to_value(made.spec).unwrap()), reference)
        };
        let (made, reference) = spec("driver: Keda", true);
        let key = |parameter: &str, key: &str| json!({"parameter": parameter, "name": "queue", "key": key});
        let keys = json!([
            key("awsAccessKeyID", "AWS_ACCESS_KEY_ID"),
            key("awsSecretAccessKey", "AWS_SECRET_ACCESS_KEY"),
            key("awsSessionToken", "AWS_SESSION_TOKEN"),
        ]);
        assert_eq!(made, Some(json!({"secretTargetRef": keys})));
        assert_eq!((reference.name.as_str(), reference.kind.as_str()), ("photos-worker", "TriggerAuthentication"));
        assert_eq!(spec("driver: Keda", false).0, Some(json!({"podIdentity": {"provider": "aws"}})));
        let role = "arn:aws:iam::123456789012:role/keda";
        let (made, _) = spec(&format!("driver: Keda, keda: {{roleArn: '{role}'}}"), false);
        assert_eq!(made, Some(json!({"podIdentity": {"provider": "aws", "roleArn": role}})));
        let given = "driver: Keda, keda: {authenticationRef: {name: mine, kind: ClusterTriggerAuthentication}}";
        let (made, reference) = spec(given, true);
        assert_eq!(made, None);
        assert_eq!((reference.name.as_str(), reference.kind.as_str()), ("mine", "ClusterTriggerAuthentication"));
    }
}

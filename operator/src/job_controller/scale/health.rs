//! Reads from the status of an autoscaler whether it works.

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::ResourceExt;

use crate::job_controller::keda::ScaledObject;

/// Returns why KEDA does not scale, in its own words; none if it does.
pub fn of_keda(found: &ScaledObject) -> Option<String> {
    let condition = |kind: &str| {
        let conditions = found.status.iter().flat_map(|status| &status.conditions);
        conditions.into_iter().find(|condition| condition.kind == kind)
    };
    let says = |words: &str| Some(format!("ScaledObject {}: {}", found.name_any(), without_request_id(words)));
    match condition("Ready") {
        Some(ready) if ready.status == "True" => {}
        Some(ready) if ready.status == "False" => return says(&ready.message),
        _ => return says("KEDA has not answered yet; is its operator running?"),
    }
    condition("HPAActive").filter(|active| active.status == "False").and_then(|active| says(&active.message))
}

/// Returns why a `HorizontalPodAutoscaler` does not scale, in Kubernetes' words; none if it does, or would with workers.
pub fn of_hpa(found: &HorizontalPodAutoscaler) -> Option<String> {
    let says = |words: &str| Some(format!("HorizontalPodAutoscaler {}: {words}", found.name_any()));
    let mut conditions = found.status.iter().flat_map(|status| status.conditions.iter().flatten()).peekable();
    if conditions.peek().is_none() {
        return says("Kubernetes has not looked at it yet");
    }
    let is_fault = |kind: &str, status: &str, reason: Option<&str>| {
        status == "False" && ["AbleToScale", "ScalingActive"].contains(&kind) && reason != Some(DISABLED)
    };
    let fault = conditions.find(|found| is_fault(&found.type_, &found.status, found.reason.as_deref()))?;
    says(fault.message.as_deref().unwrap_or_default())
}

/// The reason of the condition `ScalingActive` for a target without replicas that the `HorizontalPodAutoscaler` did not scale
/// to zero itself. Source: `shouldComputeMetricsForZeroReplicas` in Kubernetes' `pkg/controller/podautoscaler`.
const DISABLED: &str = "ScalingDisabled";

/// Returns true if a `HorizontalPodAutoscaler` does nothing until there is a replica.
pub fn is_disabled(found: &HorizontalPodAutoscaler) -> bool {
    let conditions = found.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|found| found.type_ == "ScalingActive" && found.reason.as_deref() == Some(DISABLED))
}

/// Removes the ids of requests to AWS: an id that differs each time would change the status at each look.
fn without_request_id(words: &str) -> String {
    let mut parts = words.split("RequestID: ");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once(", ").map_or("", |(_, rest)| rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scaled_object(conditions: &str) -> ScaledObject {
        let text = format!("{{metadata: {{name: w}}, spec: {{}}, status: {{conditions: [{conditions}]}}}}");
        serde_yaml::from_str(&text).unwrap()
    }

    fn hpa(conditions: &str) -> HorizontalPodAutoscaler {
        let spec = "{maxReplicas: 1, scaleTargetRef: {kind: Deployment, name: w}}";
        let status = format!("{{desiredReplicas: 0, conditions: [{conditions}]}}");
        serde_yaml::from_str(&format!("{{metadata: {{name: w}}, spec: {spec}, status: {status}}}")).unwrap()
    }

    #[test]
    fn keda_works_when_it_says_so() {
        let ready = "{type: Ready, status: 'True', message: fine}";
        let inactive = "{type: HPAActive, status: 'False', message: 'HPA is not actively scaling: no metrics'}";
        let failed = "{type: Ready, status: 'False', message: 'https response error StatusCode: 403, RequestID: a1-b2, \
                      api error AccessDenied: no'}";
        let silent = "ScaledObject w: KEDA has not answered yet; is its operator running?";
        for (conditions, expected) in [
            (ready.to_owned(), None),
            (format!("{ready}, {{type: Active, status: 'False'}}"), None),
            (format!("{ready}, {inactive}"), Some("ScaledObject w: HPA is not actively scaling: no metrics")),
            (
                failed.to_owned(),
                Some("ScaledObject w: https response error StatusCode: 403, api error AccessDenied: no"),
            ),
            ("{type: Ready, status: Unknown}".to_owned(), Some(silent)),
            (String::new(), Some(silent)),
        ] {
            assert_eq!(of_keda(&scaled_object(&conditions)).as_deref(), expected, "{conditions}");
        }
    }

    #[test]
    fn a_horizontal_pod_autoscaler_without_replicas_is_disabled_and_not_at_fault() {
        let active = "{type: ScalingActive, status: 'True', reason: ValidMetricFound}";
        let able = "{type: AbleToScale, status: 'True'}";
        let disabled = "{type: ScalingActive, status: 'False', reason: ScalingDisabled}";
        let failed = "{type: ScalingActive, status: 'False', reason: FailedGetExternalMetric, message: no metric}";
        for (conditions, expected, is_off) in [
            (format!("{able}, {active}"), None, false),
            (format!("{able}, {disabled}"), None, true),
            (format!("{able}, {failed}"), Some("HorizontalPodAutoscaler w: no metric"), false),
            (
                "{type: AbleToScale, status: 'False', message: no target}".to_owned(),
                Some("HorizontalPodAutoscaler w: no target"),
                false,
            ),
            (String::new(), Some("HorizontalPodAutoscaler w: Kubernetes has not looked at it yet"), false),
        ] {
            let found = hpa(&conditions);
            assert_eq!((of_hpa(&found).as_deref(), is_disabled(&found)), (expected, is_off), "{conditions}");
        }
    }
}

//! One driver after another, and what KEDA and strangers leave in the way.

use super::*;
use crate::job_controller::JobController;
use crate::job_controller::cleanup::CleanupError;

#[tokio::test]
async fn the_objects_of_keda_go_before_the_operator_scales_again() {
    let mut bed = Bed::start("driver: Keda, targetBatchesPerWorker: 3", 1);
    bed.look(0).await;
    for path in [SCALED_OBJECT, AUTHENTICATION] {
        bed.hold(path);
    }
    bed.server.take_sent();
    bed.edit("driver: Operator, targetBatchesPerWorker: 3");
    let scaled = bed.look(0).await;
    let deleted = ["DELETE scaledobjects/photos-worker", "DELETE triggerauthentications/photos-worker"];
    assert_eq!(bed.server.take_writes(), deleted);
    assert_eq!((reason(&scaled), scaled.workers.desired), (said(false, "DriverChanging"), 1));
    // KEDA removes its finalizer, and Kubernetes what KEDA made.
    bed.release(SCALED_OBJECT);
    bed.release(AUTHENTICATION);
    let owner =
        json!([{"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": "photos-worker", "uid": "x"}]);
    let mut of_keda = foreign("autoscaling/v2", "HorizontalPodAutoscaler", "keda-hpa-photos-worker");
    of_keda["metadata"]["ownerReferences"] = owner;
    of_keda["spec"] = json!({"maxReplicas": 1, "scaleTargetRef": {"kind": "Deployment", "name": "photos-worker"}});
    bed.server.put(&of_keda);
    let scaled = bed.look(0).await;
    assert!(bed.server.take_writes().is_empty(), "KEDA's own still scales");
    assert!(scaled.condition.unwrap().message.contains("keda-hpa-photos-worker"));
    of_keda["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    bed.server.put(&of_keda);
    bed.server.finish_deletions();
    let scaled = bed.look(0).await;
    assert_eq!((scaled.workers.desired, reason(&scaled)), (3, None));
    assert_eq!(bed.server.take_writes(), ["PATCH deployments/photos-worker/scale"]);
    bed.server.take_sent();
    bed.look(0).await;
    assert!(bed.server.take_sent().is_empty(), "nothing is looked for again");
}

#[tokio::test]
async fn an_object_that_keda_does_not_release_is_released_after_a_minute() {
    let mut bed = Bed::start("driver: Keda", 1);
    bed.look(0).await;
    for path in [SCALED_OBJECT, AUTHENTICATION] {
        bed.hold(path);
    }
    bed.edit("driver: Fixed, replicas: 2");
    bed.look(0).await;
    bed.server.take_sent();
    let scaled = bed.look(MINUTE - 1).await;
    assert!(bed.server.take_writes().is_empty());
    let message = scaled.condition.unwrap().message;
    assert!(message.contains("ScaledObject photos-worker, held by its finalizers (finalizer.keda.sh)"), "{message}");
    assert_eq!(scaled.problems[0].reason, Reason::DriverChanging, "it takes long");
    bed.look(MINUTE).await;
    let sent = bed.server.take_sent();
    assert_eq!(body_of(&sent, SCALED_OBJECT)["metadata"]["finalizers"], json!([]));
    bed.server.finish_deletions();
    assert!(bed.server.get(AUTHENTICATION).is_none());
    assert_eq!(bed.look(MINUTE).await.workers.desired, 2);
}

#[tokio::test]
async fn objects_of_somebody_else_are_neither_changed_nor_removed() {
    let mut stranger = foreign("keda.sh/v1alpha1", "ScaledObject", "photos-worker");
    stranger["spec"] = json!({"triggers": []});
    let mut bed = Bed::start("driver: Keda", 1);
    bed.server.put(&stranger);
    let before = bed.server.get(SCALED_OBJECT);
    let scaled = bed.look(0).await;
    assert_eq!((scaled.problems[0].reason.clone(), reason(&scaled)), (Reason::NameTaken, said(false, "NameTaken")));
    bed.edit("driver: Operator, targetBatchesPerWorker: 3");
    bed.look(0).await;
    bed.server.finish_deletions();
    assert_eq!(bed.look(0).await.workers.desired, 3);
    assert_eq!(bed.server.get(SCALED_OBJECT), before);
}

#[tokio::test]
async fn a_webhook_that_refuses_makes_the_change_wait() {
    let mut bed = Bed::start("driver: Hpa, metric: {name: m}", 2);
    bed.look(0).await;
    bed.edit("driver: Keda");
    bed.server.take_sent();
    bed.look(0).await;
    assert_eq!(bed.server.take_writes(), ["DELETE horizontalpodautoscalers/photos-worker"]);
    bed.server.finish_deletions();
    let refusal = "admission webhook \"vscaledobject.kb.io\" denied the request: the workload 'photos-worker' of type \
                   'apps/v1.Deployment' is already managed by the hpa 'photos-worker'";
    bed.server.fail(Method::POST, "/scaledobjects", Fault::Refused(403, refusal), 2);
    let scaled = bed.look(1_000).await;
    assert!(scaled.problems.is_empty() && scaled.again.is_some());
    let condition = scaled.condition.unwrap();
    assert!(!condition.holds && condition.message.contains("already managed by the hpa"), "{condition:?}");
    let scaled = bed.look(31_000).await;
    assert!(scaled.problems[0].message.contains("already managed by the hpa"), "{:?}", scaled.problems);
    bed.look(32_000).await;
    assert!(bed.server.get(SCALED_OBJECT).is_some());
    assert!(!bed.server.take_writes().iter().any(|line| line.ends_with("/scale")), "the number stays");
}

#[tokio::test]
async fn a_deleted_job_waits_a_minute_for_keda_and_leaves_nothing() {
    let mut bed = Bed::start("driver: Keda", 0);
    bed.look(0).await;
    for path in [SCALED_OBJECT, AUTHENTICATION] {
        bed.hold(path);
    }
    bed.job.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
    let cleaned = async |after| JobController::new(bed.server.context_at(NOW + after)).cleanup(&bed.job).await;
    for after in [0, MINUTE - 1, MINUTE] {
        let CleanupError::Pending(what) = cleaned(after).await.unwrap_err() else { panic!() };
        assert!(what.contains("ScaledObject photos-worker") && what.contains("finalizer") == (after > 0), "{what}");
        let is_held = |found: Value| found["metadata"]["finalizers"] == json!(["finalizer.keda.sh"]);
        assert_eq!(bed.server.get(SCALED_OBJECT).is_some_and(is_held), after < MINUTE);
    }
    bed.server.finish_deletions();
    cleaned(MINUTE).await.unwrap();
    assert!(bed.server.get(SCALED_OBJECT).is_none() && bed.server.get(AUTHENTICATION).is_none());
}

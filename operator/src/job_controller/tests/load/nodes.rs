//! What the nodes of workers refuse.

use migration_core::congestion::{Algorithm, CongestionControl, Refusal};

use super::*;

#[tokio::test]
async fn what_a_node_refuses_is_in_degraded_and_holds_up_nothing() {
    let asks = |job: &mut migration_api::MigrationJob| {
        job.spec.transfer.tcp_congestion_control = CongestionControl::Bbr;
    };
    let mut world = World::start(1, asks).await;
    world.record(|record| record.scan.counts.batches = 9);
    let refused = RefusedAlgorithm { algorithm: Algorithm::Bbr, refusal: Refusal::NotAllowed };
    world.beat(Some(refused));
    world.pass(20_000, |_| ()).await;
    let condition = |world: &World, kind: &str| {
        let job = world.server.get("/migrationjobs/job-0").unwrap();
        let conditions = job["status"]["conditions"].as_array().unwrap().clone();
        conditions.into_iter().find(|condition| condition["type"] == kind).unwrap()
    };
    let degraded = condition(&world, "Degraded");
    assert_eq!((&degraded["status"], &degraded["reason"]), (&json!("True"), &json!("CongestionControlRefused")));
    let message = degraded["message"].as_str().unwrap();
    assert!(message.contains("pod w: ") && message.contains("net.ipv4.tcp_allowed_congestion_control"), "{message}");
    assert_eq!(condition(&world, "Ready")["status"], "True");
    assert_eq!(condition(&world, "Progressing")["status"], "True");
    world.beat(None);
    world.pass(60_000, |_| ()).await;
    assert_eq!(condition(&world, "Degraded")["status"], "False");
}

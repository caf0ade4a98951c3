//! What follows when a Secret that a job names changes.

use super::*;

/// Ends the Job of a preflight, and has it noticed.
async fn end_preflight(world: &mut World, number: u32, condition: &str) {
    let path = format!("/jobs/job-0-preflight-{number}");
    let mut job = world.server.get(&path).unwrap();
    job["status"] = json!({"conditions": [{"type": condition, "status": "True", "message": "no"}]});
    world.server.put(&job);
    world.watches.catch_up(&world.server);
    let after = world.reconcile("job-0").await;
    world.next.insert("job-0".to_owned(), world.now + i64::try_from(after.as_millis()).unwrap());
}

#[tokio::test]
async fn a_secret_that_is_corrected_repeats_a_failed_preflight_within_seconds() {
    let mut world = World::start(1, |_| ()).await;
    let made = |world: &World, number| world.server.get(&format!("/jobs/job-0-preflight-{number}")).is_some();
    world.pass(MINUTE, |_| ()).await;
    for number in 1..=4 {
        assert!(made(&world, number), "{number}");
        end_preflight(&mut world, number, "Failed").await;
        if number < 4 {
            world.pass(65_000, |_| ()).await;
        }
    }
    // The next one is due after two minutes.
    world.pass(50_000, |_| ()).await;
    world.aws.take_calls();
    world.server.take_sent();
    world.pass(20_000, |_| ()).await;
    let sent = world.server.take_sent();
    assert!(sent.len() >= 8 && sent.iter().all(|sent| sent.path.contains("/secrets/")), "{sent:?}");
    assert_eq!(world.aws.take_calls(), [], "queue and ledger are not looked at");

    let mut secret = world.server.get("/secrets/from").unwrap();
    secret["metadata"]["labels"] = json!({"refreshed": "now"});
    world.server.put(&secret);
    world.pass(10_000, |_| ()).await;
    assert!(!made(&world, 5), "its content is the same");
    secret["data"]["AWS_SECRET_ACCESS_KEY"] = json!("Y29ycmVjdA==");
    world.server.put(&secret);
    world.pass(10_000, |_| ()).await;
    assert!(made(&world, 5));
}

#[tokio::test]
async fn a_job_that_had_its_only_run_tries_nothing_when_its_secrets_change() {
    let mut world = World::start(1, |_| ()).await;
    world.pass(MINUTE, |_| ()).await;
    end_preflight(&mut world, 1, "Complete").await;
    world.record(ended);
    world.server.remove("/jobs/job-0-run-1");
    world.settle().await;
    let mut secret = world.server.get("/secrets/from").unwrap();
    secret["data"]["AWS_SECRET_ACCESS_KEY"] = json!("cm90YXRlZA==");
    world.server.put(&secret);
    world.server.take_writes();
    world.pass(2 * HOUR, |_| ()).await;
    let writes = world.server.take_writes();
    assert!(writes.iter().all(|write| !write.starts_with("POST jobs")), "{writes:?}");
    // A run that is asked for has its preflight first.
    let mut job = world.server.get("/migrationjobs/job-0").unwrap();
    job["spec"]["trigger"] = json!({"manual": "again"});
    job["metadata"]["generation"] = json!(4);
    world.server.put(&job);
    world.pass(10 * MINUTE, |_| ()).await;
    assert!(world.server.get("/jobs/job-0-preflight-2").is_some());
    assert!(world.server.get("/jobs/job-0-run-2").is_none(), "not before that has ended");
}

/// Returns how often a Secret was read, and how often everything was.
fn reads(world: &World) -> (usize, usize) {
    let sent = world.server.take_sent();
    let number = |end: &str| sent.iter().filter(|sent| sent.path.ends_with(end)).count();
    (number("/secrets/from"), number("/deployments/job-0-worker"))
}

/// Puts somebody else's object where the workers of the job are wanted.
fn take_name(world: &World) {
    let metadata = json!({"name": "job-0-worker", "namespace": "media", "uid": "other"});
    world.server.put(&json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata,
        "spec": {"selector": {}, "template": {}}}));
}

/// Returns the reason of the condition Degraded.
fn degraded(world: &World) -> Value {
    let status = world.server.get("/migrationjobs/job-0").unwrap()["status"].clone();
    let conditions = status["conditions"].as_array().unwrap().clone();
    conditions.into_iter().find(|found| found["type"] == "Degraded").unwrap()["reason"].clone()
}

#[tokio::test]
async fn what_no_secret_can_mend_has_no_secret_read() {
    let mut world = World::start(1, |_| ()).await;
    take_name(&world);
    world.pass(MINUTE, |_| ()).await;
    assert_eq!(degraded(&world), "NameTaken");
    world.server.take_sent();
    world.pass(2 * HOUR, |_| ()).await;
    let (secrets, whole) = reads(&world);
    assert!(secrets == whole && (24..120).contains(&whole), "{secrets} {whole}");
}

#[tokio::test]
async fn a_suspended_job_does_not_look_for_its_secrets_by_themselves() {
    let mut world = World::start(1, |job| job.spec.suspend = true).await;
    world.server.remove("/secrets/to");
    world.pass(MINUTE, |_| ()).await;
    assert_eq!(degraded(&world), "SecretMissing");
    world.server.take_sent();
    world.pass(2 * HOUR, |_| ()).await;
    let (secrets, whole) = reads(&world);
    assert!(secrets == whole && (24..120).contains(&whole), "{secrets} {whole}");
}

#[tokio::test]
async fn a_new_fault_of_a_job_that_has_long_been_degraded_is_followed_within_seconds() {
    let mut world = World::start(1, |_| ()).await;
    take_name(&world);
    world.pass(6 * HOUR, |_| ()).await;
    let secret = world.server.get("/secrets/to").unwrap();
    world.server.remove("/secrets/to");
    // Right after it was noticed, the next look at everything is minutes away.
    for _ in 0..60 {
        if degraded(&world) != "SecretMissing" {
            world.pass(5_000, |_| ()).await;
        }
    }
    assert_eq!(degraded(&world), "SecretMissing");
    world.server.put(&secret);
    world.pass(20_000, |_| ()).await;
    assert_eq!(degraded(&world), "NameTaken");
}

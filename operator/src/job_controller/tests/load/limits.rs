//! What the status says of a job's limits, and what that costs.

use migration_core::records::{Portions, ShareRecord};

use super::*;

/// Has workers renew an equal share of the bandwidth.
fn renew(world: &World, workers: u32) {
    let table = world.aws.table(&names::queue_and_table("job-0", "u-0"));
    for worker in 0..workers {
        let share = Portions { bytes: records::WHOLE / workers, requests: 0 };
        let key = records::share_key("u-0", &format!("w{worker}"));
        let record = ShareRecord { revision: 1, share, need: share };
        let migration_core::ports::Write::Put { item, .. } = record.write("u-0", &format!("w{worker}"), world.now)
        else {
            panic!("{key:?} is not put")
        };
        table.insert(item);
    }
}

fn limits(world: &World) -> Value {
    world.server.get("/migrationjobs/job-0").unwrap()["status"]["limits"].clone()
}

#[tokio::test]
async fn the_limits_in_force_are_shown_with_their_holders_within_the_reads_of_a_minute() {
    let limited = |job: &mut migration_api::MigrationJob| job.spec.transfer.bandwidth_limit = Some("1M".into());
    let mut world = World::start(1, limited).await;
    world.record(|record| record.scan.counts.batches = 9);
    world.aws.set_depth(&names::queue_and_table("job-0", "u-0"), 9);
    world.pass(MINUTE, |_| ()).await;
    let nobody = json!({"perSecond": 1 << 20, "heldPerSecond": 0, "holders": 0, "waiting": 0});
    assert_eq!(limits(&world), json!({"bandwidth": nobody}));
    // Shares that have just been got are seen soon.
    world.pass(MINUTE, |world| renew(world, 2)).await;
    let two = json!({"perSecond": 1 << 20, "heldPerSecond": 1 << 20, "holders": 2, "waiting": 0});
    assert_eq!(limits(&world), json!({"bandwidth": two}));
    world.aws.take_calls();
    world.pass(10 * MINUTE, |world| renew(world, 4)).await;
    let calls = world.aws.take_calls();
    assert!(most_reads_in_a_minute(&calls) <= 12, "{}", most_reads_in_a_minute(&calls));
    assert_eq!(limits(&world)["bandwidth"]["holders"], 4);
    // All of them die.
    world.pass(3 * MINUTE, |_| ()).await;
    assert_eq!(limits(&world), json!({"bandwidth": nobody}));
    world.record(ended);
    world.aws.set_depth(&names::queue_and_table("job-0", "u-0"), 0);
    world.pass(2 * MINUTE, |_| ()).await;
    assert_eq!(limits(&world), Value::Null);
}

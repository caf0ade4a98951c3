use super::*;

#[tokio::test]
async fn dead_letters_are_counted_until_they_are_gone_though_the_job_is_idle() {
    let mut world = World::start(1, |_| ()).await;
    let dead = names::queue_and_table("job-0", "u-0") + "-dlq";
    let seen =
        |world: &World| world.server.get("/migrationjobs/job-0").unwrap()["status"]["queue"]["deadLetters"].clone();
    world.aws.set_depth(&dead, 2);
    world.record(ended);
    world.pass(20 * MINUTE, |_| ()).await;
    assert_eq!(seen(&world), 2);
    world.aws.set_depth(&dead, 0);
    world.pass(11 * MINUTE, |_| ()).await;
    assert_eq!(seen(&world), 0);
    world.aws.take_calls();
    world.pass(HOUR, |_| ()).await;
    let calls = world.aws.take_calls();
    assert!(calls.is_empty(), "{calls:?}");
}

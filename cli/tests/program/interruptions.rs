//! Runs that are killed, stopped and continued.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::process::Command;

use crate::support::{World, ended};

/// Small objects of a tree.
const SMALL: usize = 300;
/// Kills of a run.
const KILLS: usize = 12;

async fn tree(world: &World) {
    for number in 0..SMALL {
        world.put(&format!("small/{number:04}"), vec![u8::try_from(number % 251).unwrap(); number * 7]).await;
    }
    for name in ["a large one", "z large one"] {
        let mut bytes = vec![0; 40 << 20];
        SmallRng::seed_from_u64(name.len() as u64).fill(&mut bytes[..]);
        world.put(name, bytes).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_killed_again_and_again_is_whole_in_the_end() {
    let world = World::start(Duration::from_millis(3)).await;
    tree(&world).await;
    let mut random = SmallRng::seed_from_u64(14);
    for kill in 0..KILLS {
        let mut run = world.program(&["run", "job.yaml"]);
        let there = SMALL * kill / KILLS + random.random_range(0..SMALL / KILLS);
        if !world.reaches(there, &mut run).await {
            break;
        }
        // SIGKILL.
        run.kill().await.unwrap();
    }
    let end = world.run(&["run", "job.yaml"]).await;
    assert_eq!(end.code, Some(0), "{end:?}");
    world.assert_whole();
    let runs = world.run(&["runs", "--output", "csv"]).await;
    assert_eq!(runs.out.lines().count(), 2, "all processes worked on one run: {}", runs.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_stops_a_run_which_the_next_one_continues() {
    let world = World::start(Duration::from_millis(3)).await;
    tree(&world).await;
    let mut run = world.program(&["run", "job.yaml"]);
    assert!(world.reaches(20, &mut run).await);
    let id = run.id().unwrap().to_string();
    let sent = Command::new("kill").args(["-INT", &id]).status().await.unwrap();
    assert!(sent.success());
    let end = ended(run).await;
    assert_eq!(end.code, Some(5), "{end:?}");
    assert!(end.err.contains("stopping") && end.err.contains("run the same command to continue"), "{}", end.err);
    let end = world.run(&["run", "job.yaml"]).await;
    assert_eq!(end.code, Some(0), "{end:?}");
    assert!(end.err.contains("continuing run"), "{}", end.err);
    world.assert_whole();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_is_told_of_the_first() {
    let world = World::start(Duration::from_millis(20)).await;
    tree(&world).await;
    let mut run = world.program(&["run", "job.yaml"]);
    assert!(world.reaches(1, &mut run).await);
    let end = world.run(&["run", "job.yaml"]).await;
    assert_eq!(end.code, Some(1), "{end:?}");
    assert!(end.err.contains(&run.id().unwrap().to_string()), "it names the process: {}", end.err);
    let status = world.run(&["status", "--output", "json"]).await;
    assert!(status.code == Some(0) && status.out.contains("\"job\":\"job\""), "{status:?}");
    assert_eq!(ended(run).await.code, Some(0));
    world.assert_whole();
}

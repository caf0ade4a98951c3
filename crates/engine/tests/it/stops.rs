//! What a stop does to work that waits for a limit, and what it lets go on.

use std::time::Duration;

use migration_core::config::{ReportScope, ReportSettings};
use migration_core::records::RunResult;
use migration_engine::limits::Keeper;
use migration_engine::scan::{SenderName, send};
use migration_ledger::view;
use migration_testkit::Operation;
use tokio::time::Instant;

use crate::limits::{Fleeted, Pod};
use crate::world::{DESTINATION, JOB, SOURCE, content};

/// Stops a worker after a while, and returns how long it takes to end.
async fn stopped_after(pod: Pod, seconds: u64) -> Duration {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    pod.stop.cancel();
    let begun = Instant::now();
    pod.task.await.unwrap();
    begun.elapsed()
}

/// Moves what is left without limits, and checks that nothing of it was given up or counted as an attempt.
async fn finish(fleet: &mut Fleeted) {
    let transfer = &mut fleet.world.config.transfer;
    (transfer.bandwidth_limit, transfer.request_limit) = (None, None);
    let stats = fleet.world.queue.stats();
    assert_eq!((stats.in_flight, stats.delayed), (0, 0), "messages were given back at once");
    assert!(fleet.world.queue.messages().iter().all(|message| !message.body.contains("attempts")));
    let end = fleet.world.work_until_over("jobsender").await;
    assert_eq!(end.result, RunResult::Complete);
    fleet.world.assert_same("after the stop");
    assert_eq!(fleet.world.destination.open_uploads(DESTINATION), []);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_waits_for_requests_ends_at_its_stop() {
    for (objects, bytes) in [(0, 100 << 20), (30, 1)] {
        let mut fleet = Fleeted::new(None, Some("1"), objects);
        fleet.world.source.insert(SOURCE, "other", content(bytes, 1));
        fleet.send().await;
        let sent = fleet.destination.log().len();
        let time = stopped_after(fleet.start("a"), 15).await;
        assert!(time <= Duration::from_secs(1), "{time:?}");
        assert!(fleet.done() <= objects && fleet.destination.log().len() > sent, "it was at work");
        finish(&mut fleet).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_waits_for_bytes_ends_at_its_stop_and_what_ends_in_time_goes_on() {
    // Parts of 5 MiB, of which none passes in 100 s.
    let mut fleet = Fleeted::new(Some("20k"), None, 0);
    fleet.world.source.insert(SOURCE, "large", content(40 << 20, 1));
    fleet.send().await;
    let pod = fleet.start("a");
    let time = stopped_after(pod, 20).await;
    assert!(time <= Duration::from_secs(1), "{time:?}");
    finish(&mut fleet).await;
    // Objects of 4 KiB, 16 of them in some seconds.
    let mut fleet = Fleeted::new(Some("20k"), None, 500);
    fleet.send().await;
    let (pod, lists) = (fleet.start("a"), fleet.source.count(Operation::ListObjects));
    let time = stopped_after(pod, 20).await;
    assert!(time <= Duration::from_secs(10), "{time:?}");
    let (done, reads) = (fleet.done(), fleet.source.log().len() - lists);
    assert!(done > 16 && done < 500 && reads == done, "{reads} reads for {done} objects");
    finish(&mut fleet).await;
}

#[tokio::test(start_paused = true)]
async fn a_jobsender_that_waits_ends_at_its_stop_and_the_next_one_goes_on() {
    let mut fleet = Fleeted::new(None, Some("1"), 6_000);
    let (process, keeper, _) = fleet.process("jobsender");
    let stop = process.runtime.stop.clone();
    let name = SenderName { started_by: "jobsender".into(), new_run: "run-1".into() };
    let sending = tokio::spawn(async move { Keeper::during(keeper, send(process, &name)).await });
    tokio::time::sleep(Duration::from_secs(4)).await;
    stop.cancel();
    let begun = Instant::now();
    let sent = sending.await.unwrap();
    assert!(sent.is_err() && begun.elapsed() <= Duration::from_secs(1), "{sent:?} after {:?}", begun.elapsed());
    let run = fleet.world.run().await.unwrap();
    assert!(run.end.is_none() && !run.scan.closed);
    fleet.world.config.transfer.request_limit = None;
    fleet.world.send("jobsender").await.unwrap();
    finish(&mut fleet).await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_is_no_outage_of_the_destination() {
    let mut fleet = Fleeted::new(Some("20k"), None, 0);
    for number in 0..6 {
        fleet.world.source.insert(SOURCE, &format!("large-{number}"), content(10 << 20, number));
    }
    fleet.send().await;
    let pod = fleet.start("a");
    let activity = pod.activity.clone();
    // Eight parts are in transfer, and no request to the destination has succeeded for longer than an outage takes.
    let time = stopped_after(pod, 40).await;
    assert!(time <= Duration::from_secs(1), "{time:?}");
    assert_eq!(fleet.destination.count(Operation::PutPart), 8, "those that the stop broke");
    assert_eq!(activity.paused(), []);
    let beats = view::all_heartbeats(&fleet.world.ledger, JOB).await.unwrap().records;
    let is_paused = |blocked: usize, paused: Option<i64>| blocked > 0 || paused.is_some();
    assert!(!beats.is_empty() && !beats.iter().any(|beat| is_paused(beat.blocked.len(), beat.paused)), "{beats:?}");
    finish(&mut fleet).await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_whose_objects_are_copied_ends_after_a_stop() {
    const REPORTS: &str = "reports";
    let mut fleet = Fleeted::new(None, Some("1"), 3);
    fleet.world.destination.create_bucket(REPORTS);
    fleet.world.config.report =
        Some(ReportSettings { bucket: REPORTS.into(), prefix: "r/".into(), scope: ReportScope::AllTasks });
    fleet.send().await;
    let pod = fleet.start("a");
    while fleet.done() < 3 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(fleet.world.destination.keys(REPORTS).len(), 0, "the results wait for their turn");
    // Its request for messages waits for 5 s.
    let time = stopped_after(pod, 0).await;
    assert!(time <= Duration::from_secs(6), "{time:?}");
    assert_eq!(fleet.world.destination.keys(REPORTS).len(), 1);
    assert_eq!(fleet.world.queue.messages().len(), 0, "the batch was not given back");
    assert_eq!(fleet.world.progress().await.done, 3);
    finish(&mut fleet).await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_read_after_a_stop_that_is_not_written() {
    const AT_ONCE: usize = 16;
    // One object begins each second, and all sixteen take 64 s, so that the last ones end within one second.
    let mut fleet = Fleeted::new(Some("1k"), Some("1"), 40);
    fleet.world.config.transfer.files_per_worker = u32::try_from(AT_ONCE).unwrap().into();
    fleet.send().await;
    let lists = fleet.source.count(Operation::ListObjects);
    let pod = fleet.start("a");
    while fleet.source.count(Operation::GetObject) < AT_ONCE {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(fleet.done(), 0, "all are in transfer");
    let time = stopped_after(pod, 0).await;
    assert!(time > Duration::from_secs(30) && time < Duration::from_secs(70), "{time:?}");
    let reads = fleet.source.log().len() - lists;
    assert_eq!((reads, fleet.done()), (AT_ONCE, AT_ONCE));
    finish(&mut fleet).await;
}

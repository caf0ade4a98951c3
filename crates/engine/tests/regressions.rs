//! Histories that once ended badly, each at its least, and what they looked for at every call around it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on fails")]

mod histories;
mod world;

use histories::{History, Setup, Step};
use migration_testkit::{Fault, StreamedBodies};

/// Plays `before`, kills the worker at each call in turn, and then lets `after` happen.
fn killed_at_any_call(before: &[Step], after: &[Step]) {
    for call in 1.. {
        let broken = Step::Break { after: call, fault: Fault::Crash };
        let start = [broken, Step::StartWorker, Step::Scan, Step::Settle];
        let steps = [before, &start, after].concat();
        let figures = History { seed: 0, setup: Setup::default(), steps }.run();
        let figures = figures.unwrap_or_else(|violation| panic!("killed at call {call}: {violation}"));
        if figures.injected == 0 {
            assert!(call > 30, "{call} calls only");
            return;
        }
    }
}

const LARGE: Step = Step::Put { key: "d", size: Some(200), in_parts: false };
const HUGE: Step = Step::Put { key: "d", size: Some(420), in_parts: false };

#[test]
fn an_object_that_goes_away_while_its_upload_is_open_leaves_no_upload() {
    for before in [LARGE, HUGE] {
        killed_at_any_call(&[before], &[Step::Delete { key: "d" }]);
    }
}

#[test]
fn an_object_that_becomes_small_while_its_upload_is_open_leaves_no_upload() {
    for before in [LARGE, HUGE] {
        killed_at_any_call(&[before], &[Step::Put { key: "d", size: Some(20), in_parts: false }]);
    }
}

#[test]
fn an_object_that_gets_another_size_while_its_upload_is_open_leaves_no_upload() {
    killed_at_any_call(&[HUGE], &[LARGE]);
    killed_at_any_call(&[LARGE], &[HUGE]);
}

#[test]
fn an_upload_whose_worker_died_before_recording_it_is_found_after_a_second_death() {
    for second in 1..12 {
        let again = [Step::Break { after: second, fault: Fault::Crash }, Step::StartWorker, Step::Settle];
        killed_at_any_call(&[LARGE], &again);
    }
}

#[test]
fn a_held_part_gets_the_memory_that_its_passing_body_had() {
    let setup = Setup { streamed_bodies: StreamedBodies::Refused, ..Setup::default() };
    let first = [LARGE, Step::StartWorker, Step::Scan, Step::Settle];
    let steps = [&first[..], &[HUGE, Step::Scan, Step::Settle, LARGE, Step::Scan, Step::Settle]].concat();
    History { seed: 0, setup, steps }.run().unwrap_or_else(|violation| panic!("{violation}"));
}

//! Minimal histories that once ended badly, with deaths at every call around them.

use std::time::Duration;

use crate::histories::lies::OBJECT_WRITES;
use crate::histories::{Habit, History, Liar, Setup, Step};
use migration_core::ports::Operation;
use migration_testkit::{ETagStyle, Fault, Header, Lie, Refusal, Scope, StreamedBodies};

/// Plays `before`, kills the worker at each call in turn, and then plays `after`.
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

const SMALL: Step = Step::Put { key: "z", size: Some(40), in_parts: false };
const READS: &[Operation] = &[Operation::GetObject, Operation::HeadObject];

fn played(what: &str, setup: Setup, steps: &[Step]) {
    let history = History { seed: 0, setup, steps: steps.to_vec() };
    history.run().unwrap_or_else(|violation| panic!("{what}: {violation}"));
}

/// Transfers every object twice: the second time over its copy.
fn moved_twice(what: &str, habit: Habit) {
    let setup = Setup { habit: Some(habit), ..Setup::default() };
    let first = [SMALL, LARGE, Step::StartWorker, Step::Scan, Step::Settle, Step::Wait(Duration::from_secs(10))];
    let second = [
        Step::Put { key: "z", size: Some(64), in_parts: false },
        Step::Put { key: "d", size: Some(300), in_parts: true },
        Step::Scan,
        Step::Settle,
    ];
    played(what, setup, &[&first[..], &second].concat());
}

#[test]
fn a_404_of_a_proxy_is_no_absence() {
    for integrity in [false, true] {
        let absent = |scope| Step::Lie { liar: Liar::Source, lie: Lie::Absent, scope };
        for lie in [absent(Scope::always().key("z")), absent(Scope::always().first(6))] {
            let setup = Setup { integrity, ..Setup::default() };
            played("404", setup, &[SMALL, lie, Step::StartWorker, Step::Scan, Step::Wait(Duration::from_mins(1))]);
        }
    }
}

#[test]
fn signatures_that_do_not_fit_one_key_fail_that_key_and_no_more() {
    for (liar, operations) in [(Liar::Source, READS), (Liar::Destination, OBJECT_WRITES)] {
        let scope = Scope::always().key("z").on(operations);
        let lie = Lie::Refuse(Refusal::SIGNATURE_DOES_NOT_MATCH);
        moved_twice("signatures", Habit { liar, lie, scope, fails: true });
    }
}

#[test]
fn a_key_that_is_refused_for_ever_fails_and_no_more() {
    for refusal in [Refusal::SLOW_DOWN, Refusal::INTERNAL_ERROR, Refusal::ACCESS_DENIED] {
        for (liar, operations) in [(Liar::Source, READS), (Liar::Destination, OBJECT_WRITES)] {
            for key in ["z", "d"] {
                let habit = Habit {
                    liar,
                    lie: Lie::Refuse(refusal),
                    scope: Scope::always().key(key).on(operations),
                    fails: true,
                };
                moved_twice(&format!("{liar:?} {refusal:?} {key}"), habit);
            }
        }
    }
}

#[test]
fn conditions_that_are_not_there_one_by_one_keep_nothing_from_moving() {
    for header in [Header::IfMatch, Header::IfNoneMatch] {
        for operation in [&[Operation::PutObject], &[Operation::CompleteUpload]] {
            for lie in [Lie::ConditionRefused(header), Lie::ConditionIgnored(header)] {
                let scope = Scope::always().on(operation);
                moved_twice(
                    &format!("{lie:?} {operation:?}"),
                    Habit { liar: Liar::Destination, lie, scope, fails: false },
                );
            }
        }
    }
}

#[test]
fn etags_of_any_look_are_understood() {
    let styles =
        [ETagStyle::UpperCase, ETagStyle::Weak, ETagStyle::Quoted, ETagStyle::NoDigest, ETagStyle::FalseDigest];
    for liar in [Liar::Source, Liar::Destination] {
        for style in styles {
            let habit = Habit { liar, lie: Lie::ETags(style), scope: Scope::always(), fails: false };
            moved_twice(&format!("{liar:?} {style:?}"), habit);
        }
    }
}

//! Minimal histories with lying services that once ended badly.

use std::time::Duration;

use crate::histories::lies::{COMPLETIONS, OBJECT_WRITES, PARTS};
use crate::histories::{Habit, History, Liar, Setup, Step};
use migration_core::ports::Operation;
use migration_testkit::{ConditionalWrites, Lie, Modified, Refusal, Scope, StreamedBodies, Told};

const LARGE: Step = Step::Put { key: "d", size: Some(200), in_parts: true };

fn lie(liar: Liar, lie: Lie, scope: Scope) -> Step {
    Step::Lie { liar, lie, scope }
}

/// Plays a history with several orders of its requests. Returns how many objects failed in all.
fn played(setup: Setup, steps: &[Step]) -> u64 {
    let failed = |seed| {
        let history = History { seed, setup, steps: steps.to_vec() };
        history.run().unwrap_or_else(|violation| panic!("seed {seed}: {violation}")).failed
    };
    (0..40).map(failed).sum()
}

#[test]
fn a_completion_that_is_done_later_leaves_no_upload_open() {
    let setup = Setup {
        source_versioned: true,
        streamed_bodies: StreamedBodies::Mangled,
        no_checksums: true,
        ..Setup::default()
    };
    let put = Step::Put { key: "z", size: Some(96), in_parts: false };
    let later = lie(Liar::Destination, Lie::DoneLater(Duration::from_millis(900)), Scope::always().on(COMPLETIONS));
    played(setup, &[put, Step::StartWorker, later, Step::Scan, Step::Wait(Duration::from_mins(8))]);
}

#[test]
fn a_completion_that_is_not_done_over_the_same_content_leaves_no_upload_open() {
    let put = Step::Put { key: "d", size: Some(200), in_parts: false };
    let not_done = lie(Liar::Destination, Lie::NotDone, Scope::always().on(COMPLETIONS).first(1));
    // The next run takes the object for a newer one.
    let late = lie(Liar::Source, Lie::Modified(Modified::Late), Scope::always());
    let first = [put, Step::StartWorker, Step::Scan, Step::Settle];
    let second = [late, not_done, Step::Scan, Step::Settle];
    played(Setup::default(), &[&first[..], &second].concat());
}

#[test]
fn parts_that_are_answered_and_not_done_teach_nothing_of_how_to_send_them() {
    for streamed_bodies in [StreamedBodies::Refused, StreamedBodies::Mangled] {
        let setup = Setup { streamed_bodies, ..Setup::default() };
        let not_done = lie(Liar::Destination, Lie::NotDone, Scope::always().on(PARTS).first(12));
        played(setup, &[LARGE, not_done, Step::StartWorker, Step::Scan, Step::Settle]);
    }
}

#[test]
fn an_object_whose_heads_are_answered_404_for_a_while_is_written_over() {
    let heads = Scope::always().on(&[Operation::HeadObject]).lasting(Duration::from_mins(2));
    let absent = lie(Liar::Destination, Lie::Absent, heads);
    let small = Step::Put { key: "a", size: Some(20), in_parts: false };
    let steps =
        [small, LARGE, Step::StartWorker, Step::Scan, Step::Settle, small, LARGE, absent, Step::Scan, Step::Settle];
    assert_eq!(played(Setup::default(), &steps), 0, "objects failed");
}

#[test]
fn conditions_that_seemed_to_be_kept_and_are_refused_keep_nothing_from_moving() {
    let setup = Setup { conditional_writes: ConditionalWrites::Refused, ..Setup::default() };
    let refused = Lie::Refuse(Refusal::PRECONDITION_FAILED);
    let refused = lie(Liar::Destination, refused, Scope::always().on(OBJECT_WRITES).every(2));
    let objects = ["a", "b/", "z"].map(|key| Step::Put { key, size: Some(64), in_parts: false });
    let rest = [LARGE, refused, Step::StartWorker, Step::Scan, Step::Wait(Duration::from_mins(5))];
    played(setup, &[&objects[..], &rest].concat());
}

#[test]
fn damaged_parts_are_not_taken_for_parts_whose_etags_are_no_digests() {
    let setup = Setup { no_checksums: true, ..Setup::default() };
    let damaged = lie(Liar::Destination, Lie::Damaged(Told::Stored), Scope::always().on(PARTS).every(3));
    let objects =
        [("a", 420), ("b/", 150), ("e//f", 300)].map(|(key, size)| Step::Put { key, size: Some(size), in_parts: true });
    let rest = [LARGE, damaged, Step::StartWorker, Step::Scan, Step::Settle];
    played(setup, &[&objects[..], &rest].concat());
}

#[test]
fn damage_that_repeats_while_other_parts_are_sent_is_not_taken_for_etags_that_are_no_digests() {
    let (liar, lie) = (Liar::Destination, Lie::Damaged(Told::Stored));
    let setup = Setup {
        destination_versioned: true,
        conditional_writes: ConditionalWrites::Ignored,
        streamed_bodies: StreamedBodies::Refused,
        integrity: true,
        no_checksums: true,
        habit: Some(Habit { liar, lie, scope: Scope::always().on(PARTS).every(3), fails: false }),
        ..Setup::default()
    };
    let put = |key, size| Step::Put { key, size: Some(size), in_parts: false };
    let (worker, wait) = (Step::StartWorker, Step::Wait(Duration::from_secs(8)));
    played(setup, &[put("b/", 420), put("a", 40), put("d", 200), worker, Step::Scan, worker, wait]);
    played(setup, &[put("b/", 420), put("a", 420), Step::Scan, worker, worker, worker, wait]);
}

#[test]
fn a_mixture_shows_though_the_source_denies_the_object_to_a_head() {
    let setup = Setup { opaque_etags: true, streamed_bodies: StreamedBodies::Mangled, ..Setup::default() };
    let absent = lie(Liar::Source, Lie::Absent, Scope::always().every(2));
    let mixed = lie(Liar::Source, Lie::Mixed, Scope::always().lasting(Duration::from_mins(12)));
    let first = [absent, Step::Put { key: "b/", size: Some(200), in_parts: false }, Step::StartWorker, Step::Scan];
    let second = [
        mixed,
        Step::Wait(Duration::from_secs(90)),
        Step::Put { key: "b/", size: None, in_parts: true },
        Step::Scan,
        Step::Wait(Duration::from_mins(7)),
    ];
    played(setup, &[&first[..], &second].concat());
}

#[test]
fn a_mixture_shows_though_the_destination_keeps_no_checksums() {
    for liar in [Lie::Mixed, Lie::RangeShifted] {
        for streamed_bodies in [StreamedBodies::Taken, StreamedBodies::Refused] {
            let setup = Setup { opaque_etags: true, no_checksums: true, streamed_bodies, ..Setup::default() };
            let put = |size| Step::Put { key: "b/", size, in_parts: true };
            let told = lie(Liar::Source, liar, Scope::always().lasting(Duration::from_mins(12)));
            // Workers that continue the upload know what the one before read.
            let (kill, wait) = (Step::KillWorker { nth: 0 }, Step::Wait(Duration::from_secs(90)));
            let first = [put(Some(200)), Step::StartWorker, Step::Scan, Step::Settle];
            let second = [told, put(None), Step::StartWorker, Step::Scan, kill, Step::StartWorker, wait];
            played(setup, &[&first[..], &second].concat());
        }
    }
}

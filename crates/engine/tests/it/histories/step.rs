//! Steps of a history.

use std::time::Duration;

use migration_core::error::{ErrorClass, ServiceFault};
use migration_testkit::{ConditionalWrites, Fault, Lie, Scope, StreamedBodies};

use super::Chance;
use super::lies::{Habit, Liar};

/// Keys of the source, which the mapping does not change.
pub const KEYS: [&str; 6] = ["a", "b/", "b/c +%41é", "d", "e//f", "z"];

/// Sizes of source objects: empty, small, at the threshold, above it, of several parts, distributed.
const SIZES: [u64; 10] = [0, 20, 40, 64, 65, 96, 130, 200, 300, 420];
/// Sizes of foreign objects at the destination, which no source object has. Of two contents of one size whose ETags are
/// not comparable, the newer is taken for a copy: that is documented and not tested here.
const FOREIGN_SIZES: [u64; 4] = [9, 33, 77, 150];
/// Part sizes that the settings change between.
const PART_SIZES: [u64; 4] = [32, 24, 50, 300];

/// Behaviour of the services in a history.
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is independent")]
pub struct Setup {
    /// The source has versioning.
    pub source_versioned: bool,
    /// The destination has versioning.
    pub destination_versioned: bool,
    /// The destination encrypts so that its ETags are not digests.
    pub opaque_etags: bool,
    /// Support of the destination for conditions.
    pub conditional_writes: ConditionalWrites,
    /// Support of the destination for streamed bodies.
    pub streamed_bodies: StreamedBodies,
    /// Versions are read before each copy and checked after it.
    pub integrity: bool,
    /// The destination does not support checksums.
    pub no_checksums: bool,
    /// A permanent lie of a service.
    pub habit: Option<Habit>,
}

impl Setup {
    /// Services that behave as documented.
    pub const PLAIN: Self = Self {
        source_versioned: false,
        destination_versioned: false,
        opaque_etags: false,
        conditional_writes: ConditionalWrites::Kept,
        streamed_bodies: StreamedBodies::Taken,
        integrity: false,
        no_checksums: false,
        habit: None,
    };

    pub fn random(chance: &mut Chance) -> Self {
        Self {
            source_versioned: chance.once_in(4),
            destination_versioned: chance.once_in(4),
            opaque_etags: chance.once_in(4),
            conditional_writes: chance.pick(&[
                ConditionalWrites::Kept,
                ConditionalWrites::Kept,
                ConditionalWrites::Kept,
                ConditionalWrites::Refused,
                ConditionalWrites::Ignored,
            ]),
            streamed_bodies: chance.pick(&[
                StreamedBodies::Taken,
                StreamedBodies::Taken,
                StreamedBodies::Refused,
                StreamedBodies::Mangled,
            ]),
            integrity: chance.once_in(5),
            no_checksums: false,
            habit: None,
        }
    }
}

/// One event.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// A foreign writer puts a source object, of another size or of the size that it has.
    Put { key: &'static str, size: Option<u64>, in_parts: bool },
    /// A foreign writer deletes a source object.
    Delete { key: &'static str },
    /// A foreign writer puts something at the destination, of a size that a small source object has, or of a size that
    /// none has.
    ForeignPut { key: &'static str, size: Option<u64>, in_parts: bool },
    /// A foreign writer deletes an object at the destination.
    ForeignDelete { key: &'static str },
    /// A foreign writer begins an upload of a key at the destination.
    ForeignUpload { key: &'static str },
    /// A lifecycle rule aborts the open uploads of ours.
    AbortUploads,
    /// A jobsender is started, and restarted until it ends well.
    Scan,
    /// The running jobsender is killed.
    KillSender,
    /// Another worker is started.
    StartWorker,
    /// A worker is told to stop.
    StopWorker { nth: usize },
    /// A worker is killed.
    KillWorker { nth: usize },
    /// A worker's machine is suspended.
    Freeze { nth: usize, time: Duration },
    /// The call this many calls from now breaks.
    Break { after: u64, fault: Fault },
    /// The next deliveries are made twice.
    Duplicate { count: u32 },
    /// The queue rejects the next messages that are sent.
    RefuseMessages { count: u32 },
    /// The queue's order changes.
    NewestFirst(bool),
    /// The queue loses everything.
    Forget,
    /// An earlier message is in the queue again.
    Replay { nth: usize },
    /// The part size is set, for processes started from now on.
    PartSize { bytes: u64 },
    /// A foreign writer puts another content of the same size at the source, right before the call this many calls from
    /// now.
    OverwriteAt { key: &'static str, after: u64 },
    /// A service lies to requests.
    Lie { liar: Liar, lie: Lie, scope: Scope },
    /// All lies end, except permanent ones.
    Truth,
    /// This much time passes.
    Wait(Duration),
    /// Time passes until the run is over, or until no worker is left.
    Settle,
}

/// Returns a fault of a call. Answers that would be lies, such as "no such key" for an object that is present, are not
/// among them.
fn fault(chance: &mut Chance) -> Fault {
    let class = chance.pick(&[
        ErrorClass::Transient,
        ErrorClass::NoAnswer,
        ErrorClass::Throttled,
        ErrorClass::Conflict,
        ErrorClass::AccessDenied,
        ErrorClass::Refused,
        ErrorClass::Service(ServiceFault::CredentialsExpired),
    ]);
    let lost = chance.pick(&[ErrorClass::Transient, ErrorClass::NoAnswer]);
    match chance.below(10) {
        0..3 => Fault::Crash,
        3..5 => Fault::CrashAfter,
        5 => Fault::Fail(class),
        6 => Fault::FailAfter(lost),
        7 => Fault::Truncate(chance.below(100)),
        _ => Fault::Delay(chance.time(6)),
    }
}

fn put(chance: &mut Chance) -> Step {
    let size = (!chance.once_in(3)).then(|| chance.pick(&SIZES));
    Step::Put { key: chance.pick(&KEYS), size, in_parts: chance.once_in(3) }
}

/// Generates the steps of a history: some objects, a scan, a worker, and random steps.
pub fn generate(chance: &mut Chance) -> Vec<Step> {
    let mut steps: Vec<Step> = (0..2 + chance.below(6)).map(|_| put(chance)).collect();
    steps.extend([Step::StartWorker, Step::Scan]);
    for _ in 0..4 + chance.below(40) {
        steps.push(Step::Wait(chance.time(6)));
        steps.push(random(chance));
    }
    steps
}

fn random(chance: &mut Chance) -> Step {
    let key = chance.pick(&KEYS);
    let nth = usize::try_from(chance.below(4)).unwrap_or_default();
    match chance.below(100) {
        0..18 => put(chance),
        18..23 => Step::Delete { key },
        23..29 => {
            let size = (!chance.once_in(3)).then(|| chance.pick(&FOREIGN_SIZES));
            Step::ForeignPut { key, size, in_parts: chance.once_in(3) }
        }
        29..32 => Step::ForeignDelete { key },
        32..35 => Step::ForeignUpload { key },
        35..37 => Step::AbortUploads,
        37..49 => Step::Scan,
        49..52 => Step::KillSender,
        52..58 => Step::StartWorker,
        58..61 => Step::StopWorker { nth },
        61..65 => Step::KillWorker { nth },
        65..70 => Step::Freeze { nth, time: Duration::from_secs(1 + chance.below(400)) },
        70..85 => Step::Break { after: 1 + chance.below(40), fault: fault(chance) },
        85..88 => Step::Duplicate { count: 1 + u32::try_from(chance.below(3)).unwrap_or_default() },
        88 => Step::RefuseMessages { count: 1 + u32::try_from(chance.below(4)).unwrap_or_default() },
        89..91 => Step::NewestFirst(chance.once_in(2)),
        91..96 => Step::Replay { nth: usize::try_from(chance.below(8)).unwrap_or_default() },
        _ => Step::PartSize { bytes: chance.pick(&PART_SIZES) },
    }
}

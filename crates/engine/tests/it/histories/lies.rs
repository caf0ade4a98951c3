//! Lies of the services in a history, and the checks that they excuse.
//!
//! Lies told by steps end when the history comes to rest: the next scan then has to repair everything. Habits are lies
//! told from the beginning to the end: the run must still end, and every object that did not arrive has a failure
//! record. In both cases only whole contents become visible, nothing is acknowledged that is not present, everything is
//! counted once, and no upload of ours stays open, except for what cannot be detected; see [`Excuses`].
//!
//! No history tells these lies, since no caller can detect them:
//!
//! - S3's own document answers `NoSuchKey` for an object that is present. That is the proof of absence.
//! - A GET that ignores `If-Match` answers with the requested ETag and another content.
//! - A deletion or an abort is answered but not done: checking would cost a request each.
//! - The source's object permanently seems older than it is, or the destination's newer: if their ETags are not
//!   comparable, the newer one of the same size is taken for a copy.
//! - Damage where neither checksums nor ETags that are digests show it. A mixture of the source's contents is shown,
//!   since sources keep checksums.
//! - A put is answered but not done, or done later: checking would cost a request for each small object. A completion
//!   is checked.

use std::time::Duration;

use migration_core::error::ErrorClass;
use migration_core::ports::Operation;
use migration_testkit::{Carried, ETagStyle, Fault, Header, Lie, Lies, Modified, Named, Refusal, Scope, Told};

use super::step::{KEYS, Setup, Step};
use super::{Chance, Reference};
use crate::world::TINY_LARGE;

/// The service that lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liar {
    Source,
    Destination,
}

/// A lie told from the beginning to the end.
#[derive(Clone, Copy, Debug)]
pub struct Habit {
    pub liar: Liar,
    pub lie: Lie,
    pub scope: Scope,
    /// True if objects may fail, each with its record; otherwise the last run has to be complete.
    pub fails: bool,
}

/// Checks that a history need not pass.
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is independent")]
pub struct Excuses {
    /// No older content over a newer one: the source showed older contents as its newest, or the destination ignored
    /// the condition of a write.
    pub order: bool,
    /// Preserved attributes: the destination dropped them. Other tests check that this is counted or repaired.
    pub carried: bool,
    /// Contents that are whole at every moment: the destination stored a damaged content and answered with the digests
    /// of the right one, so that only the visible object shows it.
    pub damaged: bool,
    /// Detection of a foreign object of the same size: ETags that do not look like digests are not comparable.
    pub foreign: bool,
    /// Equal contents if their ETags are not comparable: a damaged content has the right size, and an older content
    /// copied as the newest is newer than its original.
    pub compared: bool,
    /// Presence of the listed content when its message is deleted, if the source shows no ETag or an older content.
    /// Some content of the source must still be present.
    pub acknowledged: bool,
}

impl Excuses {
    fn of(liar: Liar, lie: Lie) -> Self {
        let none = Self::default();
        match (liar, lie) {
            // A scan may list a content that no read shows while the cache is outdated.
            (Liar::Source, Lie::Stale) => Self { order: true, compared: true, acknowledged: true, ..none },
            (Liar::Destination, Lie::Stale | Lie::ConditionIgnored(_) | Lie::ConditionRefused(_)) => {
                Self { order: true, ..none }
            }
            // A weak, missing or changing ETag cannot be used in a condition.
            (_, Lie::ETags(ETagStyle::Weak | ETagStyle::Missing | ETagStyle::Changing)) => {
                Self { order: true, foreign: true, acknowledged: liar == Liar::Source, ..none }
            }
            // The source's ETags are not compared once they are known not to be digests.
            (_, Lie::ETags(ETagStyle::Quoted | ETagStyle::NoDigest))
            | (Liar::Source, Lie::ETags(ETagStyle::FalseDigest)) => Self { foreign: true, ..none },
            // A mixture that is the same at each read looks like a content whose ETag is not a digest. One that has all
            // bytes of the older content is that content.
            (Liar::Source, Lie::Mixed) => Self { foreign: true, acknowledged: true, ..none },
            (_, Lie::Dropped(_)) => Self { carried: true, ..none },
            // It was seen to be checked before.
            (Liar::Destination, Lie::Md5Ignored) => Self { damaged: true, ..none },
            (_, Lie::Damaged(Told::Sent)) => {
                Self { damaged: true, compared: true, acknowledged: true, order: true, ..none }
            }
            _ => none,
        }
    }

    /// Returns the excuses for all lies of a history.
    pub fn of_all(setup: &Setup, steps: &[Step]) -> Self {
        let told = steps.iter().filter_map(|step| match step {
            Step::Lie { liar, lie, .. } => Some(Self::of(*liar, *lie)),
            // Unreadable tags are counted and left out.
            Step::Break { fault: Fault::Fail(ErrorClass::AccessDenied | ErrorClass::Refused), .. } => {
                Some(Self { carried: true, ..Self::default() })
            }
            _ => None,
        });
        told.chain(setup.habit.map(|habit| Self::of(habit.liar, habit.lie))).fold(Self::default(), |a, b| Self {
            order: a.order || b.order,
            carried: a.carried || b.carried,
            damaged: a.damaged || b.damaged,
            foreign: a.foreign || b.foreign,
            compared: a.compared || b.compared,
            acknowledged: a.acknowledged || b.acknowledged,
        })
    }
}

/// Returns true if a proxy in front of a service that behaves as AWS documents may answer in this way.
pub fn is_of_a_proxy(lie: Lie) -> bool {
    match lie {
        Lie::Absent | Lie::Page | Lie::BodyShort(_) | Lie::BodyLong(_) => true,
        Lie::Refuse(refusal) => REFUSALS[..3].contains(&refusal),
        Lie::RefuseAfter(refusal) => LOST.contains(&refusal),
        _ => false,
    }
}

impl Habit {
    /// Returns true if an object of this size may fail under the habit.
    pub fn may_fail(self, key: &str, size: usize, reference: &Reference) -> bool {
        match self.lie {
            Lie::Mixed => reference.contents(key) > 1,
            // An object sent in one request is proved by Content-MD5.
            Lie::ETags(ETagStyle::Missing) => self.liar == Liar::Source || size as u64 > TINY_LARGE,
            _ => self.scope.is_about(key),
        }
    }

    /// Makes the service lie from now on.
    pub fn begin(self, source: &Lies, destination: &Lies) {
        let lies = if self.liar == Liar::Source { source } else { destination };
        lies.tell(self.lie, self.scope);
    }
}

const OBJECT_READS: &[Operation] = &[Operation::GetObject, Operation::HeadObject];
pub const PARTS: &[Operation] = &[Operation::PutPart];
pub const COMPLETIONS: &[Operation] = &[Operation::CompleteUpload];
const PUTS: &[Operation] = &[Operation::PutObject];
const CREATIONS: &[Operation] = &[Operation::CreateUpload];
pub const OBJECT_WRITES: &[Operation] =
    &[Operation::PutObject, Operation::CreateUpload, Operation::PutPart, Operation::CompleteUpload];

/// Refusals that a service answers without a reason.
const REFUSALS: [Refusal; 6] = [
    Refusal::SLOW_DOWN,
    Refusal::INTERNAL_ERROR,
    Refusal::ACCESS_DENIED,
    Refusal::SIGNATURE_DOES_NOT_MATCH,
    Refusal::NOT_IMPLEMENTED,
    Refusal::PRECONDITION_FAILED,
];
/// Answers of a proxy in place of a success.
const LOST: [Refusal; 3] = [
    Refusal::INTERNAL_ERROR,
    Refusal { class: ErrorClass::NoAnswer, code: "UnexpectedAnswer", message: "<html>504 Gateway Time-out</html>" },
    Refusal::SLOW_DOWN,
];

/// Returns a lie of the source, and the operations concerned if not all.
fn of_source(chance: &mut Chance) -> (Lie, Option<&'static [Operation]>) {
    match chance.below(18) {
        0..3 => (Lie::Absent, None),
        3 => (Lie::Absent, Some(OBJECT_READS)),
        4 => (Lie::Page, None),
        5..7 => (Lie::Refuse(chance.pick(&REFUSALS[..4])), Some(OBJECT_READS)),
        7 => (Lie::IfMatchIgnored(Named::Own), None),
        8 => (chance.pick(&[Lie::RangeIgnored, Lie::RangeShifted]), None),
        9 => (chance.pick(&[Lie::BodyShort(1), Lie::BodyShort(40), Lie::BodyLong(1)]), None),
        10 => (Lie::Mixed, None),
        11 => (Lie::Stale, None),
        12..14 => (Lie::ETags(style(chance)), None),
        14 => (listing(chance), None),
        15 => (Lie::WrongChecksum, None),
        _ => (modified(chance), None),
    }
}

/// Returns a lie of the destination, and the operations concerned if not all.
fn of_destination(chance: &mut Chance) -> (Lie, Option<&'static [Operation]>) {
    match chance.below(25) {
        0..2 => (Lie::Absent, None),
        2 => (Lie::Absent, Some(&[Operation::HeadObject])),
        3 => (Lie::Page, None),
        4 => (Lie::Refuse(chance.pick(&REFUSALS)), Some(OBJECT_WRITES)),
        5 => (Lie::RefuseAfter(Refusal::NO_SUCH_UPLOAD), Some(COMPLETIONS)),
        6 => (Lie::RefuseAfter(chance.pick(&LOST)), Some(OBJECT_WRITES)),
        7 => (Lie::NotDone, Some(chance.pick(&[PARTS, COMPLETIONS]))),
        8 => (Lie::DoneLater(chance.time(4)), Some(chance.pick(&[PARTS, COMPLETIONS]))),
        9 => (Lie::Damaged(Told::Stored), Some(PARTS)),
        10 => (Lie::Damaged(Told::Sent), None),
        11..13 => (Lie::ConditionIgnored(header(chance)), Some(chance.pick(&[PUTS, COMPLETIONS]))),
        13..15 => (Lie::ConditionRefused(header(chance)), Some(chance.pick(&[PUTS, COMPLETIONS]))),
        15..17 => (Lie::ETags(style(chance)), None),
        17 => (Lie::PartsHidden, None),
        18 => (Lie::PartsForeign, None),
        19 => (listing(chance), None),
        20 => (Lie::Dropped(chance.pick(&[Carried::Tags, Carried::Metadata, Carried::StorageClass])), None),
        21 => (Lie::WrongChecksum, None),
        22 => (Lie::Stale, None),
        23 => (Lie::Md5Ignored, None),
        _ => (modified(chance), None),
    }
}

fn header(chance: &mut Chance) -> Header {
    chance.pick(&[Header::IfMatch, Header::IfNoneMatch])
}

fn style(chance: &mut Chance) -> ETagStyle {
    chance.pick(&[
        ETagStyle::UpperCase,
        ETagStyle::Weak,
        ETagStyle::Quoted,
        ETagStyle::NoDigest,
        ETagStyle::FalseDigest,
        ETagStyle::Changing,
        ETagStyle::Missing,
    ])
}

fn listing(chance: &mut Chance) -> Lie {
    chance.pick(&[Lie::Unordered, Lie::Duplicated, Lie::Cut, Lie::Loop])
}

fn modified(chance: &mut Chance) -> Lie {
    Lie::Modified(chance.pick(&[Modified::Missing, Modified::Late, Modified::Early]))
}

fn told(chance: &mut Chance) -> (Liar, Lie, Scope) {
    let liar = chance.pick(&[Liar::Source, Liar::Destination]);
    let (lie, operations) = if liar == Liar::Source { of_source(chance) } else { of_destination(chance) };
    let mut scope = Scope::always();
    if let Some(operations) = operations {
        scope = scope.on(operations);
    }
    if chance.once_in(3) {
        scope = scope.key(chance.pick(&KEYS));
    }
    (liar, lie, scope)
}

/// Returns a lie for a time or a number of requests.
fn step(chance: &mut Chance) -> Step {
    let (liar, lie, scope) = told(chance);
    let scope = match chance.below(4) {
        0 => scope,
        1 => scope.first(1 + chance.below(8)),
        2 => scope.every(2 + chance.below(3)),
        _ => scope.lasting(Duration::from_secs(1 + chance.below(900))),
    };
    Step::Lie { liar, lie, scope }
}

/// Returns a permanent lie.
fn habit(chance: &mut Chance) -> Habit {
    let any = Scope::always();
    let key = any.key(chance.pick(&KEYS));
    let harmless = |liar, lie, scope| Habit { liar, lie, scope, fails: false };
    let harmful = |liar, lie, scope| Habit { liar, lie, scope, fails: true };
    let liar = chance.pick(&[Liar::Source, Liar::Destination]);
    match chance.below(15) {
        0 => harmless(liar, Lie::ETags(ETagStyle::UpperCase), any),
        1 => harmless(liar, Lie::ETags(ETagStyle::NoDigest), any),
        2 => harmless(liar, Lie::ETags(ETagStyle::FalseDigest), any),
        3 => harmless(liar, Lie::ETags(ETagStyle::Weak), any),
        4 => harmful(liar, Lie::ETags(ETagStyle::Missing), any),
        // An object that seems older at the source, or newer at the destination, is taken for copied.
        5 => match liar {
            Liar::Source => harmless(liar, Lie::Modified(Modified::Late), any),
            Liar::Destination => harmless(liar, Lie::Modified(chance.pick(&[Modified::Missing, Modified::Early])), any),
        },
        6..8 => {
            let lie = chance.pick(&[Lie::ConditionIgnored, Lie::ConditionRefused])(header(chance));
            harmless(Liar::Destination, lie, any.on(chance.pick(&[PUTS, COMPLETIONS])))
        }
        8 => harmless(Liar::Source, Lie::IfMatchIgnored(Named::Own), any),
        9 => harmful(Liar::Source, Lie::Refuse(chance.pick(&REFUSALS[..4])), key.on(OBJECT_READS)),
        10 => harmful(Liar::Destination, Lie::Refuse(chance.pick(&REFUSALS[..4])), key.on(OBJECT_WRITES)),
        11 => harmless(Liar::Destination, Lie::Dropped(Carried::Tags), any.on(CREATIONS)),
        12 => harmful(Liar::Source, Lie::Mixed, any),
        13 => harmless(Liar::Destination, Lie::Md5Ignored, any),
        _ => harmless(Liar::Destination, Lie::Damaged(Told::Stored), any.on(PARTS).every(3)),
    }
}

/// Returns true if damage cannot be detected: the destination has no digests of its contents.
fn hides_damage(setup: &Setup, liar: Liar, lie: Lie) -> bool {
    match lie {
        Lie::Damaged(_) => liar == Liar::Destination && (setup.opaque_etags || setup.no_checksums),
        _ => false,
    }
}

/// Returns true if a lie cannot be detected together with a habit: contents that only ETags distinguish, where ETags
/// are not comparable, and damage that makes a destination seem to ignore Content-MD5 where nothing else proves parts.
fn hides_digests(setup: &Setup, liar: Liar, lie: Lie) -> bool {
    let Some(habit) = setup.habit else { return false };
    match (habit.liar, habit.lie, liar, lie) {
        (Liar::Destination, Lie::Damaged(_), Liar::Destination, Lie::ETags(_)) => setup.no_checksums,
        (_, Lie::ETags(_), Liar::Destination, Lie::Damaged(Told::Sent))
        | (Liar::Destination, Lie::ETags(_), Liar::Destination, Lie::Damaged(Told::Stored))
        | (Liar::Source, Lie::Mixed, Liar::Destination, Lie::Damaged(Told::Sent))
        | (Liar::Source, Lie::ETags(_), Liar::Source, Lie::Mixed | Lie::RangeShifted | Lie::Stale) => true,
        _ => false,
    }
}

/// Adds lies to a history.
pub fn add(chance: &mut Chance, setup: &mut Setup, steps: &mut Vec<Step>) {
    setup.no_checksums = chance.once_in(3);
    setup.habit = Some(habit(chance)).filter(|habit| {
        let plain_damage = matches!(habit.lie, Lie::Damaged(_)) && !setup.opaque_etags;
        chance.once_in(3) && (plain_damage || !hides_damage(setup, habit.liar, habit.lie))
    });
    for _ in 0..=chance.below(4) {
        let (place, lie) = (chance.below(1 + steps.len() as u64 / 2), step(chance));
        let hides = |liar, lie| hides_damage(setup, liar, lie) || hides_digests(setup, liar, lie);
        if !matches!(lie, Step::Lie { liar, lie, .. } if hides(liar, lie)) {
            steps.insert(usize::try_from(place).unwrap_or_default(), lie);
        }
    }
    if chance.once_in(2) {
        let place = usize::try_from(chance.below(steps.len() as u64)).unwrap_or_default();
        steps.insert(place, Step::Truth);
    }
}

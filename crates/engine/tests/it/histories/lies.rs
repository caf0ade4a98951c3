//! Lies of the services of a history, and what can't be asked of one that was told them.
//!
//! Lies are told by steps, and end when the history comes to rest: then the next scan has to make everything good. Or
//! they are told from the beginning to the end: then the run has to end all the same, and what did not arrive has a
//! failure record. Under both, nothing but whole contents becomes visible, nothing is acknowledged that is not there,
//! everything is counted once, and nothing of ours is left open; except for what nobody can find out, see [`Excuses`].
//!
//! Lies that no caller can find out, so that no history tells them:
//!
//! - S3's own document says `NoSuchKey` of an object that is there. That is the proof of absence.
//! - A GET that ignores `If-Match` names the content that was asked for, and not the one that it answers.
//! - A deletion or an abort that is answered and not done: to look again would be a request for each.
//! - The source's object seems older than it is, or the destination's younger, for ever: where contents can't be
//!   compared by their ETags, the younger one of the same size is taken for a copy.
//! - Damage, or a mixture that the source gives of its contents, where neither checksums nor ETags that are digests tell.
//! - A put that is answered and not done, or done later: to look again would be a request for each small object. A
//!   completion is looked at.

use std::time::Duration;

use migration_core::error::ErrorClass;
use migration_core::ports::Operation;
use migration_testkit::{Carried, ETagStyle, Fault, Header, Lie, Lies, Modified, Named, Refusal, Scope, Told};

use super::step::{KEYS, Setup, Step};
use super::{Chance, Reference};
use crate::world::TINY_LARGE;

/// Which service lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liar {
    Source,
    Destination,
}

/// A lie that is told from the beginning to the end.
#[derive(Clone, Copy, Debug)]
pub struct Habit {
    pub liar: Liar,
    pub lie: Lie,
    pub scope: Scope,
    /// Objects may fail under it, each with its record; otherwise the last run has to be complete.
    pub fails: bool,
}

/// What can't be asked of a history.
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a question of its own")]
pub struct Excuses {
    /// No older content over a newer one: the source showed older contents as its newest, or the destination wrote
    /// whatever the condition said.
    pub order: bool,
    /// What travels along: the destination dropped it. That it is counted or set by its own request is for other tests.
    pub carried: bool,
    /// Contents that are whole at every moment: the destination stored another one than it got, and told the digests of
    /// what was sent, so that it shows in the visible object only.
    pub damaged: bool,
    /// That a foreign object of the size of the source's is found: ETags that do not look like digests can't be compared.
    pub foreign: bool,
    /// That the contents are the same where their ETags can't be compared: what is stored damaged and told as sent is as
    /// long, and an older content that was copied as the newest is younger than that.
    pub compared: bool,
    /// That the very content which was listed is there when its message is removed, where the source shows no ETag of it,
    /// or an older content: some content of the source has to be.
    pub acknowledged: bool,
}

impl Excuses {
    fn of(liar: Liar, lie: Lie) -> Self {
        let none = Self::default();
        match (liar, lie) {
            // A content that a scan listed, and that no read shows as long as the cache does not know it.
            (Liar::Source, Lie::Stale) => Self { order: true, compared: true, acknowledged: true, ..none },
            (Liar::Destination, Lie::Stale | Lie::ConditionIgnored(_) | Lie::ConditionRefused(_)) => {
                Self { order: true, ..none }
            }
            // A weak tag is in no condition, and a missing or changing one can't be.
            (_, Lie::ETags(ETagStyle::Weak | ETagStyle::Missing | ETagStyle::Changing)) => {
                Self { order: true, foreign: true, acknowledged: liar == Liar::Source, ..none }
            }
            // Once those of the source are known to be no digests, they are not compared any more.
            (_, Lie::ETags(ETagStyle::Quoted | ETagStyle::NoDigest))
            | (Liar::Source, Lie::ETags(ETagStyle::FalseDigest)) => Self { foreign: true, ..none },
            // A mixture that is the same at each read looks like a content whose ETag is no digest, and one of which the
            // older content's bytes are all is that content.
            (Liar::Source, Lie::Mixed) => Self { foreign: true, acknowledged: true, ..none },
            (_, Lie::Dropped(_)) => Self { carried: true, ..none },
            (_, Lie::Damaged(Told::Sent)) => {
                Self { damaged: true, compared: true, acknowledged: true, order: true, ..none }
            }
            _ => none,
        }
    }

    /// Of all lies of a history.
    pub fn of_all(setup: &Setup, steps: &[Step]) -> Self {
        let told = steps.iter().filter_map(|step| match step {
            Step::Lie { liar, lie, .. } => Some(Self::of(*liar, *lie)),
            // Tags that may not be read are counted and left out.
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

/// Whether a proxy before a service that keeps all that AWS documents may answer so.
pub fn is_of_a_proxy(lie: Lie) -> bool {
    match lie {
        Lie::Absent | Lie::Page | Lie::BodyShort(_) | Lie::BodyLong(_) => true,
        Lie::Refuse(refusal) => REFUSALS[..3].contains(&refusal),
        Lie::RefuseAfter(refusal) => LOST.contains(&refusal),
        _ => false,
    }
}

impl Habit {
    /// Whether an object of so many bytes may fail under it.
    pub fn may_fail(self, key: &str, size: usize, reference: &Reference) -> bool {
        match self.lie {
            Lie::Mixed => reference.contents(key) > 1,
            // What was sent in one request is proved by Content-MD5.
            Lie::ETags(ETagStyle::Missing) => self.liar == Liar::Source || size as u64 > TINY_LARGE,
            _ => self.scope.is_about(key),
        }
    }

    /// Switches it on.
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
/// What a proxy answers in place of a success.
const LOST: [Refusal; 3] = [
    Refusal::INTERNAL_ERROR,
    Refusal { class: ErrorClass::NoAnswer, code: "UnexpectedAnswer", message: "<html>504 Gateway Time-out</html>" },
    Refusal::SLOW_DOWN,
];

/// A lie of the source, and the operations that it is told to, where not all.
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

/// The same for the destination.
fn of_destination(chance: &mut Chance) -> (Lie, Option<&'static [Operation]>) {
    match chance.below(24) {
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

/// A lie of some time or some requests.
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

/// What services do for ever.
fn habit(chance: &mut Chance) -> Habit {
    let any = Scope::always();
    let key = any.key(chance.pick(&KEYS));
    let harmless = |liar, lie, scope| Habit { liar, lie, scope, fails: false };
    let harmful = |liar, lie, scope| Habit { liar, lie, scope, fails: true };
    let liar = chance.pick(&[Liar::Source, Liar::Destination]);
    match chance.below(14) {
        0 => harmless(liar, Lie::ETags(ETagStyle::UpperCase), any),
        1 => harmless(liar, Lie::ETags(ETagStyle::NoDigest), any),
        2 => harmless(liar, Lie::ETags(ETagStyle::FalseDigest), any),
        3 => harmless(liar, Lie::ETags(ETagStyle::Weak), any),
        4 => harmful(liar, Lie::ETags(ETagStyle::Missing), any),
        // One that seems older than it is at the source, or younger at the destination, is taken for copied.
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
        _ => harmless(Liar::Destination, Lie::Damaged(Told::Stored), any.on(PARTS).every(3)),
    }
}

/// Whether damage can't be found out: the destination has no digests of what it stores.
fn hides_damage(setup: &Setup, liar: Liar, lie: Lie) -> bool {
    match lie {
        Lie::Damaged(_) => liar == Liar::Destination && (setup.opaque_etags || setup.no_checksums),
        Lie::Mixed | Lie::RangeShifted => setup.no_checksums,
        _ => false,
    }
}

/// Whether a lie can't be found out beside what a service does for ever: contents that ETags alone would tell, where
/// ETags tell nothing, and damage that makes a destination seem not to look at Content-MD5 where nothing else proves parts.
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

/// Lets the services of a history lie.
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

//! Deliberate bugs, to prove that the tests find them. They exist only in builds with `--cfg mutants`, which no
//! program is made of; elsewhere every question here is answered `false` at compile time.

/// A mutant: a deliberate bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mutant {
    /// A part found at the destination counts by its number, whatever its size.
    PartMatchedByNumber,
    /// The source is read without asking for the content that was listed.
    NoIfMatchAtSource,
    /// Objects are written whatever stands at the destination.
    UnconditionalWrite,
    /// A message is removed before its objects are verified.
    AckBeforeVerify,
    /// A listing that fails reads as one that ended.
    ListingErrorAsEnd,
    /// Memory that was reserved is not given back when a part fails.
    BudgetLeak,
    /// What the queue did not take of a batch of messages is forgotten.
    LostQueueEntry,
    /// Objects of a batch that failed for now are forgotten.
    LostRemainder,
    /// The last part is cut as long as the others.
    WrongLastPart,
    /// Any open upload of the key is carried on, whoever began it for whatever content.
    ForeignUploadAdopted,
    /// A batch that is delivered again is counted again.
    CountedTwice,
    /// A redelivered object counts as moved when something of its size is there.
    RedeliveryDoneBySize,
    /// A huge object is completed by whoever finds its ranges done, and counted by each.
    TwoCompletions,
    /// An upload is not announced before it is created.
    NoIntent,
    /// What a part was stored as is not compared with what was sent.
    PartNotVerified,
    /// The version of the source is not looked at again after the copy.
    VersionNotCheckedAgain,
    /// A checkpoint is written before what was found up to it is in the queue.
    CheckpointAhead,
    /// The key at which a range was cut is in neither of its parts.
    CutKeyLost,
    /// What the source refuses to say of an object counts as its absence.
    DenialAsAbsence,
    /// A mirror deletes however much is extra.
    MirrorUnbounded,
    /// What a HEAD does not find is absent, whoever answered.
    NotFoundIsAbsence,
    /// That one condition of one request is kept stands for all of them.
    OneAbilityForAllConditions,
    /// What an answer says of its own content is not looked at.
    AnswersETagIgnored,
    /// The source is looked at before the destination is.
    SourceLookedAtFirst,
    /// A part that is listed with its size counts as sent, though nothing proves its bytes.
    UnprovenPartAdopted,
    /// An object that goes in parts counts as moved when something of its size is there that was not listed.
    LargeDoneBySize,
    /// A few objects that are denied pause the side for ever.
    DenialsOfFewPauseASide,
    /// A try that moved something, or that a whole bucket throttled, counts like any other.
    EveryTryCounts,
}

/// Every mutant.
pub const ALL: [Mutant; 28] = [
    Mutant::PartMatchedByNumber,
    Mutant::NoIfMatchAtSource,
    Mutant::UnconditionalWrite,
    Mutant::AckBeforeVerify,
    Mutant::ListingErrorAsEnd,
    Mutant::BudgetLeak,
    Mutant::LostQueueEntry,
    Mutant::LostRemainder,
    Mutant::WrongLastPart,
    Mutant::ForeignUploadAdopted,
    Mutant::CountedTwice,
    Mutant::RedeliveryDoneBySize,
    Mutant::TwoCompletions,
    Mutant::NoIntent,
    Mutant::PartNotVerified,
    Mutant::VersionNotCheckedAgain,
    Mutant::CheckpointAhead,
    Mutant::CutKeyLost,
    Mutant::DenialAsAbsence,
    Mutant::MirrorUnbounded,
    Mutant::NotFoundIsAbsence,
    Mutant::OneAbilityForAllConditions,
    Mutant::AnswersETagIgnored,
    Mutant::SourceLookedAtFirst,
    Mutant::UnprovenPartAdopted,
    Mutant::LargeDoneBySize,
    Mutant::DenialsOfFewPauseASide,
    Mutant::EveryTryCounts,
];

#[cfg(mutants)]
mod activation {
    use std::cell::Cell;

    use super::Mutant;

    thread_local! {
        static ACTIVE: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// Activates one in this thread, or none. Tests run their engine on one thread.
    pub fn activate(mutant: Option<Mutant>) {
        ACTIVE.set(mutant);
    }

    /// Whether this one is active in this thread.
    pub fn is_active(mutant: Mutant) -> bool {
        ACTIVE.get() == Some(mutant)
    }
}

#[cfg(mutants)]
pub use activation::{activate, is_active};

/// Whether this one is active: never, in this build.
#[cfg(not(mutants))]
pub const fn is_active(_: Mutant) -> bool {
    false
}

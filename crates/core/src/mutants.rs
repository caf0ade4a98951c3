//! Mutants: deliberate bugs that prove that the tests detect them. They exist only in builds with `--cfg
//! mutants`, which is never used for a program; in all other builds [`is_active`] is the constant `false`.

/// A mutant: a deliberate bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mutant {
    /// A part found at the destination is accepted by its number, whatever its size.
    PartMatchedByNumber,
    /// Reads of the source do not require the listed content.
    NoIfMatchAtSource,
    /// Objects are written unconditionally.
    UnconditionalWrite,
    /// A message is acknowledged before its objects are verified.
    AckBeforeVerify,
    /// A failed listing is treated as one that ended.
    ListingErrorAsEnd,
    /// Reserved memory is not released when a part fails.
    BudgetLeak,
    /// Messages of a batch send that the queue rejected are dropped.
    LostQueueEntry,
    /// Objects of a batch that failed for now are dropped.
    LostRemainder,
    /// The last part has the length of the others.
    WrongLastPart,
    /// Any open upload of the key is continued, whoever began it for whatever content.
    ForeignUploadAdopted,
    /// A redelivered batch is counted twice.
    CountedTwice,
    /// A redelivered object counts as moved if the destination has an object of its size.
    RedeliveryDoneBySize,
    /// A distributed object is completed and counted by every worker that finds its ranges done.
    TwoCompletions,
    /// An upload is created without a recorded intent.
    NoIntent,
    /// The stored form of a part is not compared with what was sent.
    PartNotVerified,
    /// The source's version is not checked again after the copy.
    VersionNotCheckedAgain,
    /// A checkpoint is written before the findings up to it are in the queue.
    CheckpointAhead,
    /// The key at which a range was split is in neither part.
    CutKeyLost,
    /// Access denied at the source counts as absence.
    DenialAsAbsence,
    /// A mirror deletes any number of objects.
    MirrorUnbounded,
    /// Any 404 to a HEAD counts as absence, whoever sent it.
    NotFoundIsAbsence,
    /// Support for one condition of one request is taken as support for all.
    OneAbilityForAllConditions,
    /// The ETag of an answer is not checked.
    AnswersETagIgnored,
    /// The source is looked up before the destination.
    SourceLookedAtFirst,
    /// A listed part of the right size counts as sent without proof of its bytes.
    UnprovenPartAdopted,
    /// A multipart object counts as moved if an object of its size appeared after the listing.
    LargeDoneBySize,
    /// A few denied objects pause the side permanently.
    DenialsOfFewPauseASide,
    /// Attempts that made progress, or that were throttled with the whole bucket, count like others.
    EveryTryCounts,
    /// The revisions of each new upload record begin with 1.
    RevisionsRepeat,
}

/// Every mutant.
pub const ALL: [Mutant; 29] = [
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
    Mutant::RevisionsRepeat,
];

#[cfg(mutants)]
mod activation {
    use std::cell::Cell;

    use super::Mutant;

    thread_local! {
        static ACTIVE: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// Activates a mutant in this thread, or none. Tests run their engine on one thread.
    pub fn activate(mutant: Option<Mutant>) {
        ACTIVE.set(mutant);
    }

    /// Returns true if the mutant is active in this thread.
    pub fn is_active(mutant: Mutant) -> bool {
        ACTIVE.get() == Some(mutant)
    }
}

#[cfg(mutants)]
pub use activation::{activate, is_active};

/// Returns false: this build has no mutants.
#[cfg(not(mutants))]
pub const fn is_active(_: Mutant) -> bool {
    false
}

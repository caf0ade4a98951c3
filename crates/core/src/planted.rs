//! Deliberate bugs, to prove that the tests find them. They exist only in builds with `--cfg planted_defects`, which no
//! program is made of; elsewhere every question here is answered `false` at compile time.

/// A deliberate bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Defect {
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

/// Every defect.
pub const ALL: [Defect; 28] = [
    Defect::PartMatchedByNumber,
    Defect::NoIfMatchAtSource,
    Defect::UnconditionalWrite,
    Defect::AckBeforeVerify,
    Defect::ListingErrorAsEnd,
    Defect::BudgetLeak,
    Defect::LostQueueEntry,
    Defect::LostRemainder,
    Defect::WrongLastPart,
    Defect::ForeignUploadAdopted,
    Defect::CountedTwice,
    Defect::RedeliveryDoneBySize,
    Defect::TwoCompletions,
    Defect::NoIntent,
    Defect::PartNotVerified,
    Defect::VersionNotCheckedAgain,
    Defect::CheckpointAhead,
    Defect::CutKeyLost,
    Defect::DenialAsAbsence,
    Defect::MirrorUnbounded,
    Defect::NotFoundIsAbsence,
    Defect::OneAbilityForAllConditions,
    Defect::AnswersETagIgnored,
    Defect::SourceLookedAtFirst,
    Defect::UnprovenPartAdopted,
    Defect::LargeDoneBySize,
    Defect::DenialsOfFewPauseASide,
    Defect::EveryTryCounts,
];

#[cfg(planted_defects)]
mod planting {
    use std::cell::Cell;

    use super::Defect;

    thread_local! {
        static PLANTED: Cell<Option<Defect>> = const { Cell::new(None) };
    }

    /// Plants one in this thread, or none. Tests run their engine on one thread.
    pub fn plant(defect: Option<Defect>) {
        PLANTED.set(defect);
    }

    /// Whether this one is planted in this thread.
    pub fn is_planted(defect: Defect) -> bool {
        PLANTED.get() == Some(defect)
    }
}

#[cfg(planted_defects)]
pub use planting::{is_planted, plant};

/// Whether this one is planted: never, in this build.
#[cfg(not(planted_defects))]
pub const fn is_planted(_: Defect) -> bool {
    false
}

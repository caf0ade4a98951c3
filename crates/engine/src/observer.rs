//! Lets a program watch the objects in transfer, to show progress.

use migration_core::outcome::EntryOutcome;

/// Name of an object at the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ObjectName<'a> {
    /// The destination bucket.
    pub bucket: &'a str,
    /// The destination key.
    pub key: &'a str,
}

/// Receives what happens to objects in transfer. Called from many tasks at once. Must return quickly, and cannot stop a
/// transfer.
///
/// An object begins again after a failed attempt, and when its message is delivered again. The ranges of a distributed
/// object may be moved by workers to which the object never began.
pub trait TransferObserver: Send + Sync {
    /// An attempt to copy an object of this size, in bytes, begins.
    fn began(&self, object: ObjectName<'_>, size: u64);

    /// An upload is continued, with these bytes in parts that an earlier attempt wrote.
    fn found(&self, object: ObjectName<'_>, bytes: u64);

    /// These bytes were written at the destination.
    fn moved(&self, object: ObjectName<'_>, bytes: u64);

    /// The attempt ended.
    fn ended(&self, object: ObjectName<'_>, outcome: &EntryOutcome);
}

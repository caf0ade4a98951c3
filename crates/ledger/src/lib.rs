//! The records of a job's ledger, read and written over the port [`Ledger`](migration_core::ports::Ledger).
//!
//! | module | purpose |
//! |---|---|
//! | [`read`] | one record, and how requests are sent: [`LedgerRead`] |
//! | [`pager`] | the items of a partition, page by page: [`Pager`] |
//! | [`readable`] | many records, and those among them that can't be read: [`Readable`] |
//! | [`view`] | the state of a job: runs, ranges, tallies, failures, heartbeats, uploads |
//! | [`write`] | conditional writes: [`WriteOutcome`] |
//!
//! The records themselves, and the keys under which they stand, are values of [`migration_core::records`].
//!
//! A record that can't be read was written by another version, or by somebody else. It is never taken for absent in
//! silence: its error names table key and member, and either ends what asked for it, or is counted where many records are
//! shown ([`Readable`]). `docs/contracts.md`, "Records that can't be read", says which and why.

pub mod pager;
pub mod read;
pub mod readable;
pub mod view;
pub mod write;

pub use pager::Pager;
pub use read::{LedgerRead, ReadError, get};
pub use readable::{Readable, Unreadable};
pub use write::WriteOutcome;

//! Reads and writes the records of a job's ledger over the port [`Ledger`](migration_core::ports::Ledger).
//!
//! | module | purpose |
//! |---|---|
//! | [`read`] | reads one record; trait [`LedgerRead`] that sends the requests |
//! | [`pager`] | reads a partition page by page: [`Pager`] |
//! | [`readable`] | reads many records and counts those that cannot be read: [`Readable`] |
//! | [`failures`] | reads the failures of a run in pages, with a filter |
//! | [`view`] | reads the state of a job: runs, ranges, totals, failures, heartbeats, shares, uploads |
//! | [`write`] | conditional writes: [`WriteOutcome`] |
//!
//! The records and their keys are defined in [`migration_core::records`].
//!
//! A record that cannot be read was written by another version or another program. It is never silently treated as
//! absent: its error names the key and the member, and either fails the operation or is counted where many records are
//! shown ([`Readable`]). `docs/contracts.md`, "Records that can't be read", lists the behavior for each kind of record
//! and the reason.

pub mod failures;
pub mod pager;
pub mod read;
pub mod readable;
pub mod view;
pub mod write;

pub use pager::Pager;
pub use read::{LedgerRead, ReadError, get};
pub use readable::{Readable, Unreadable};
pub use write::WriteOutcome;

//! Divides the limits of a job among its processes, so that together they never exceed them.
//!
//! A limit consists of [`WHOLE`](crate::records::WHOLE) parts. Each part is in the ledger once: in the pool, or in the
//! record of one process. Parts move by transactions on condition of the revisions of both, so that their sum stays the
//! same whoever writes when. A process may use its parts for [`LEASE`](crate::pace::LEASE) from before the request that
//! wrote its record; a record that was not written again for [`DEAD`], by the clock of another process and from when
//! that one first saw it, is returned to the pool. No clock is compared with another one, so clocks need not agree; they
//! only have to run at the same speed within a tenth.

mod division;
mod fair;
mod holder;

pub use division::{Division, Shared};
pub use fair::{fair, need};
pub use holder::{Holder, Look, Outcome, Plan};

use std::time::Duration;

/// Interval between renewals: one more is possible within [`LEASE`](crate::pace::LEASE) if a request is lost.
pub const RENEW_EVERY: Duration = Duration::from_secs(6);
/// Time without a new revision after which a process's share returns to the pool: longer than a lease, as clocks may
/// differ in speed.
pub const DEAD: Duration = Duration::from_secs(11);
/// Time without any use of a limit after which a process returns its share of it.
pub const IDLE: Duration = Duration::from_secs(30);

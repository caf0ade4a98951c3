//! Notifications about jobs: to a webhook, and to a topic of Amazon SNS.
//!
//! ```text
//! reconciliation ─► decide: old and new status, outcomes ─► status.notifications, written with the transition itself
//!                                                                 │
//!        ▲ wakes it, with the outcome                             ▼ what is due
//!        └──────────── courier: bounded tasks of their own ─► deliver ─► webhook | SNS
//! ```
//!
//! What is to be delivered stands in the status before it is sent, and is taken out after its receiver has it: so an
//! operator that ends, or leads no more, loses nothing, and repeats an event with the same identifier at most. No
//! reconciliation waits for a delivery.

pub mod courier;
pub mod decide;
mod deliver;
mod failure;
mod message;
mod network;
mod secrets;
mod signature;
mod webhook;

pub use courier::Courier;
pub use deliver::{Means, Parcel};
pub use message::{About, COST_SETTLES_MS};

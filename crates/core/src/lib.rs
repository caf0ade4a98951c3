//! Rules for moving objects between S3 buckets, as pure functions of values.
//!
//! This crate does no IO, reads no clock and depends neither on Kubernetes nor on an SDK. The current time is an
//! argument; access to services goes through the traits in [`ports`]. The data flow, in the order of the modules:
//!
//! ```text
//! config ─► pair (key mapping) ─► ignore ─► compare ─► batch ─► message ─► part, resume, etag ─► outcome
//!                                                        │                                        │
//!                                                        └────────► records, progress ◄───────────┘
//! ```
//!
//! Large buckets are listed in parallel: [`range`] defines key ranges, and [`range_split`] finds where to split one.

pub mod backpressure;
pub mod batch;
pub mod compare;
pub mod concurrency;
pub mod config;
pub mod congestion;
pub mod cost;
pub mod error;
pub mod estimate;
pub mod etag;
pub mod events;
pub mod fidelity;
pub mod finding;
pub mod ignore;
pub mod initiator;
pub mod integrity;
pub mod lease;
pub mod manifest;
pub mod message;
pub mod mirror;
pub mod mutants;
pub mod object;
pub mod operation;
pub mod outcome;
pub mod pace;
pub mod pair;
pub mod part;
pub mod part_ranges;
pub mod permissions;
pub mod plan;
pub mod ports;
pub mod preflight;
pub mod printable;
pub mod progress;
pub mod range;
pub mod range_split;
pub mod reading;
pub mod records;
pub mod reopen;
pub mod report;
pub mod resume;
pub mod retry;
pub mod scaling;
pub mod shares;
pub mod size;
pub mod timetable;
pub mod verification;
pub mod verified;

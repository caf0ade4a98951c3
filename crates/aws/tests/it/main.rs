//! The adapters' tests as one program. `cargo test --test aws reach::` runs those of one file.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod conformance;
mod credentials;
mod faults;
mod guarded;
mod pool;
mod queues;
mod quirks;
mod reach;
mod roles;
mod support;

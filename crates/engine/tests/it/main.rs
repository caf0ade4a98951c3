//! The tests of the engine as one program, so that the engine is compiled once for all of them. Run those of one file
//! with `cargo test --test engine model::`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot continue fails")]

mod answers;
mod backlog;
mod choosing;
mod crash_sweep;
mod delete_events;
mod denials;
mod distributed;
mod dry_run;
mod event_rate;
mod foreign;
mod frozen;
mod histories;
mod lies;
mod limits;
mod manifest;
mod merge;
mod mirror;
mod model;
mod moves;
#[cfg(mutants)]
mod mutants;
mod notifications;
mod object_limit;
mod part_records;
mod places;
mod predecessor;
mod preflight;
mod queue_costs;
mod quirks;
mod regressions;
mod reopen;
mod report;
mod resume;
mod runs;
mod scan;
mod scans;
mod scenarios;
mod services;
mod spending;
mod stops;
mod sweep;
mod telemetry;
mod tries;
mod unreadable;
mod verdicts;
mod versions;
mod world;

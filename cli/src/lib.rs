//! The program `s3migrate`: migrates S3 buckets from one machine, without a cluster, a queue or an account for either.

// The documentation of arguments is printed in terminals, where backticks would be read as part of a value.
#![allow(clippy::doc_markdown)]
// The futures of a worker are nested types of more than 128 levels.
#![recursion_limit = "256"]

pub mod args;
#[cfg(feature = "cluster")]
mod cluster;
mod copy;
mod demo;
mod display;
mod event;
mod exit;
pub mod generate;
pub mod iam_policy;
pub mod import_config;
mod local;
pub mod manifest;
mod migration;
mod private_file;
mod retry;
mod run;
mod state_dir;
mod stores;
mod table;
mod tracker;
mod ui;

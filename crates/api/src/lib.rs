//! The `MigrationJob` resource: its fields with their bounds, and its status.
//!
//! The doc comments of fields are what `kubectl explain migrationjob.spec` shows. Invalid resources are rejected when
//! they are applied, by the schema or by a CEL rule whose message says what to write instead. Rules that need such a
//! message use CEL rather than a `pattern`, since the API server prints a pattern as it is.

#![allow(clippy::doc_markdown, reason = "kubectl shows the documentation of fields as plain text, backticks and all")]

// The code that kube's derive macros write names its types `::kube::core` and `::kube::KubeSchema`. They are found
// here: the crate kube itself brings a client, which this crate does not need, and which `s3migrate` without its
// cluster commands thus does not compile.
extern crate self as kube;
#[doc(hidden)]
pub use kube_core as core;
#[doc(hidden)]
pub use kube_derive::KubeSchema;

pub mod affinity;
pub mod buckets;
pub mod conditions;
pub mod config;
pub mod crd;
pub mod events;
pub mod filters;
mod kubernetes;
pub mod logs;
pub mod manifest;
pub mod names;
pub mod notify;
pub mod pod_security;
pub mod pods;
pub mod preflight;
pub mod prices;
pub mod scaling;
pub mod services;
mod sizes;
pub mod spec;
pub mod status;
pub mod transfer;
pub mod trigger;
pub mod verify;
pub mod volumes;

pub use conditions::{ConditionType, Reason};
pub use crd::crd;
pub use events::EventReason;
pub use spec::{MigrationJob, MigrationJobSpec};
pub use status::MigrationJobStatus;

/// API group of the resource; also the prefix of our annotations and labels.
pub const GROUP: &str = "s3migration.dev";

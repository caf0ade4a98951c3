//! Manifests from files to jobs that can run, without a cluster.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod admission;
mod documents;
mod jobs;
mod support;

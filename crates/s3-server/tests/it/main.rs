//! The server's tests, with the adapter as its client.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod conformance;
mod requests;
mod support;

//! An S3 server over HTTP in front of the S3 backend of `migration-local`.
//!
//! It answers the requests of this project's adapter, and those that tools such as the AWS command line need besides.
//! Requests are signed (Signature Version 4 or 2); bodies are checked against `Content-MD5` and every checksum that
//! comes with them, in headers or trailers. What it does not have, such as encryption and permissions, it refuses.
//!
//! The library `s3s` logs every answer that is an error, a 404 or 412 included, as an error of its own: programs set its
//! target `s3s` to `off`.

mod attributes;
mod buckets;
mod conditions;
mod copies;
mod error;
mod listings;
mod objects;
mod server;
mod service;
mod tagging;
mod time;
mod upload_body;
mod uploads;
mod xml;

pub use server::{Credentials, Requests, Server, ServerSettings, StartError};

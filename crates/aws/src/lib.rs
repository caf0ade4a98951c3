//! The ports of `migration-core` on the AWS SDK for Rust.
//!
//! Nothing here decides: each method sends one request (a listing of uploads, and a HEAD that was refused without a
//! reason, take a few), lets the SDK try it up to four times where it failed in passing, and sorts errors into classes.
//! Bodies in memory are sent with a signed Content-MD5 in place of a SHA-256 of each byte; streams are sent once, as they
//! arrive, with a CRC-64/NVME behind them where the upload has one.
//!
//! | port | adapter | from the job's config | with keys in hand |
//! |---|---|---|---|
//! | `ObjectStore` | [`S3Store`] | [`S3Store::new`]`(&S3Side, &WriteSettings, Side)` | [`S3Store::with_access`]`(&Access, path_style, &WriteSettings, Side)` |
//! | `Queue` | [`SqsQueue`] | [`SqsQueue::new`]`(&QueueConfig)` | [`SqsQueue::at`]`(&Access, url, dead_letter_url)` |
//! | `Ledger` | [`DynamoLedger`] | [`DynamoLedger::new`]`(&LedgerConfig)` | [`DynamoLedger::at`]`(&Access, table)` |
//! | `Clock` | [`SystemClock`] | [`SystemClock`] | |
//!
//! What the operator makes and removes: queues with [`QueueAdmin::new`]`(&Access)`, tables with
//! [`TableAdmin::new`]`(&Access)`. [`Access`] says where a service is and as whom it is called; it comes from a
//! `ServiceAccess` of the config, or holds [`StaticKeys`].
//!
//! Constructors are asynchronous and send nothing: they read the environment, and credentials are looked for by the
//! first request. Clients are costly to make and cheap to clone: make one per [`Access`] and keep it. Those that
//! are reached in one way ([`http`]) share one pool of connections.

pub mod access;
pub mod clock;
pub mod credentials;
pub mod dynamo;
pub mod error;
pub mod http;
pub mod queue_admin;
pub mod s3;
pub mod sqs;
pub mod table_admin;

mod sdk;

pub use access::{Access, CredentialSource};
pub use clock::SystemClock;
pub use credentials::StaticKeys;
pub use dynamo::DynamoLedger;
pub use http::Reach;
pub use queue_admin::{Depth, QueueAdmin, QueueSpec, QueueUrls};
pub use s3::S3Store;
pub use sqs::{DeadLetter, SqsQueue};
pub use table_admin::{TableAdmin, TableSpec};

//! The ports of `migration-core` on the AWS SDK for Rust.
//!
//! The adapters decide nothing. Each method sends one request (listing uploads, and a HEAD refused without a reason,
//! take a few), lets the SDK retry transient failures up to four attempts in all (S3 requests get one), and classifies
//! errors. Bodies in memory are sent with a signed Content-MD5 instead of a SHA-256 of every byte. Streams are sent
//! once, as they arrive, followed by a CRC-64/NVME if the upload has one.
//!
//! | port | adapter | from the job's config | with explicit access |
//! |---|---|---|---|
//! | `ObjectStore` | [`S3Store`] | [`S3Store::new`]`(&S3Side, &WriteSettings, Service)`, or [`S3Store::with_credentials`] | [`S3Store::with_access`]`(&Access, path_style, &WriteSettings, Service)` |
//! | `Queue` | [`SqsQueue`] | [`SqsQueue::new`]`(&QueueConfig)` | [`SqsQueue::at`]`(&Access, url, dead_letter_url)` |
//! | `DeadLetterQueue`, `MeasuredQueue` | [`SqsQueue`] | | [`SqsQueue::at`]`(&Access, url, None)` |
//! | `Ledger` | [`DynamoLedger`] | [`DynamoLedger::new`]`(&LedgerConfig)` | [`DynamoLedger::at`]`(&Access, table)` |
//! | `Clock` | [`SystemClock`] | [`SystemClock`] | |
//!
//! The operator creates and deletes queues with [`QueueAdmin::new`]`(&Access)` and tables with
//! [`TableAdmin::new`]`(&Access)`. An [`Access`] is made from a `ServiceAccess` of the config, or holds [`StaticKeys`]
//! or the name of a profile.
//!
//! Constructors are async but send nothing: they read the environment, and the first request loads credentials. Clients
//! are costly to make and cheap to clone, so make one per [`Access`] and keep it. Clients with the same network path
//! ([`http`]) share one connection pool.

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

pub use access::{Access, CredentialSource, is_amazon};
pub use clock::SystemClock;
pub use credentials::StaticKeys;
pub use dynamo::DynamoLedger;
pub use http::Reach;
pub use queue_admin::{QueueAdmin, QueueSpec, QueueUrls};
pub use s3::S3Store;
pub use sqs::SqsQueue;
pub use table_admin::{TableAdmin, TableSpec};

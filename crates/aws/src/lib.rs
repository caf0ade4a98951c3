//! S3 on the AWS SDK for Rust, and what the clients of all services have in common: access and credentials, network
//! paths, retries, time limits, classes of errors. Queue and ledger are in `migration-sqs-dynamodb`, which stands on this
//! crate, so that a program without them compiles neither SDK.
//!
//! The adapters decide nothing. Each method sends one request (listing uploads, and a HEAD refused without a reason,
//! take a few), which is not retried here, and classifies errors. Bodies in memory are sent with a signed Content-MD5 instead of a SHA-256 of every byte. Streams are sent
//! once, as they arrive, followed by a CRC-64/NVME if the upload has one.
//!
//! | port | adapter | from the job's config | with explicit access |
//! |---|---|---|---|
//! | `ObjectStore` | [`S3Store`] | [`S3Store::new`]`(&S3Side, &WriteSettings, Service, Option<Algorithm>)`, or [`S3Store::with_credentials`] | [`S3Store::with_access`]`(&Access, path_style, &WriteSettings, Service)` |
//! | `Clock` | [`SystemClock`] | [`SystemClock`] | |
//!
//! An [`Access`] is made from a `ServiceAccess` of the config, or holds [`StaticKeys`]
//! or the name of a profile.
//!
//! Constructors are async but send nothing: they read the environment, and the first request loads credentials. Clients
//! are costly to make and cheap to clone, so make one per [`Access`] and keep it. Clients with the same network path
//! ([`http`]) share one connection pool.

pub mod access;
pub mod clock;
pub mod congestion;
pub mod credentials;
pub mod error;
pub mod http;
pub mod s3;
pub mod sdk;

pub use access::{Access, CredentialSource, is_amazon};
pub use clock::SystemClock;
pub use credentials::StaticKeys;
pub use http::Reach;
pub use s3::S3Store;

//! The ports of a cluster on the AWS SDK for Rust: the queue on Amazon SQS, the ledger on Amazon `DynamoDB`. They stand
//! on what the clients of all services have in common, in `migration-aws`.
//!
//! The adapters decide nothing. Each method sends one request, lets the SDK retry transient failures up to four
//! attempts in all, and classifies errors.
//!
//! | port | adapter | from the job's config | with explicit access |
//! |---|---|---|---|
//! | `Queue` | [`SqsQueue`] | [`SqsQueue::new`]`(&QueueConfig)` | [`SqsQueue::at`]`(&Access, url, dead_letter_url)` |
//! | `DeadLetterQueue`, `MeasuredQueue` | [`SqsQueue`] | | [`SqsQueue::at`]`(&Access, url, None)` |
//! | `Ledger` | [`DynamoLedger`] | [`DynamoLedger::new`]`(&LedgerConfig)` | [`DynamoLedger::at`]`(&Access, table)` |
//!
//! The operator creates and deletes queues with [`QueueAdmin::new`]`(&Access)` and tables with
//! [`TableAdmin::new`]`(&Access)`, or with those of [`Clients`], which ask a [`Guard`] right before each
//! attempt of a request that may write, as do the queues and ledgers of those.
//!
//! Notifications go to a topic of Amazon SNS by [`SnsTopic`], which [`Clients`] makes too.
//!
//! Constructors are async but send nothing: they read the environment, and the first request loads credentials. Clients
//! are costly to make and cheap to clone, so make one per [`migration_aws::Access`] and keep it; [`Clients`] does so
//! for many jobs. They share the connection pool of [`migration_aws::http`].

pub mod clients;
pub mod dynamo;
pub mod guard;
pub mod queue_admin;
pub mod sns;
pub mod sqs;
pub mod table_admin;

mod shared;

pub use clients::Clients;
pub use dynamo::DynamoLedger;
pub use guard::Guard;
pub use queue_admin::{QueueAdmin, QueueSpec, QueueUrls};
pub use sns::{Publication, SnsTopic};
pub use sqs::SqsQueue;
pub use table_admin::{TableAdmin, TableSpec};

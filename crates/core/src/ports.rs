//! Traits for the services that the engine uses. Adapters make no decisions: they send one request per call, retry
//! connection failures if the request can be repeated, and classify errors.

mod bucket;
mod capabilities;
mod ledger;
mod queue;
mod store;

pub use crate::object::{
    Attributes, Checksum, CompletedPart, ListedObject, ListedPart, ObjectHead, ObjectLock, Retention, RetentionMode,
    Tags,
};
pub use crate::operation::Operation;
pub use bucket::BucketAdmin;
pub use capabilities::{Ability, Capabilities, Support};
pub use ledger::{Condition, Item, Ledger, LedgerKey, QueryPage, Write, WriteError};
pub use queue::{DeadLetter, DeadLetterQueue, Depth, MeasuredQueue, OutgoingMessage, Queue, ReceivedMessage};
pub use store::{
    Body, ByteStream, CompleteUpload, CopyPart, CopyRequest, CopySource, CreateUpload, DeleteRequest, GetRequest,
    GetResponse, HeadRequest, ListPage, ListRequest, ObjectStore, OpenUpload, PartsPage, PutPart, PutRequest, PutTags,
    Span, UploadRef, WriteCondition, Written,
};

/// Time and randomness. Injected, so that tests are reproducible.
pub trait Clock: Send + Sync + 'static {
    /// Returns the Unix time in milliseconds.
    fn now(&self) -> i64;

    /// Returns a random number from 0 (inclusive) to 1 (exclusive), for jitter and for numbers that must not repeat.
    fn random(&self) -> f64;
}

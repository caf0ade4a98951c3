//! What the engine needs of the world, as narrow traits. Adapters make no decisions: they do one request each, retry
//! what is broken on the way where the request can be sent again, and sort errors into classes.

mod ledger;
mod queue;
mod store;

pub use crate::object::{
    Attributes, Checksum, CompletedPart, ListedObject, ListedPart, ObjectHead, ObjectLock, Retention, RetentionMode,
    Tags,
};
pub use crate::operation::Operation;
pub use ledger::{Condition, Item, Ledger, LedgerKey, QueryPage, Write, WriteError};
pub use queue::{OutgoingMessage, Queue, ReceivedMessage};
pub use store::{
    Body, ByteStream, CompleteUpload, CopyPart, CopyRequest, CopySource, CreateUpload, DeleteRequest, GetRequest,
    GetResponse, HeadRequest, ListPage, ListRequest, ObjectStore, OpenUpload, PartsPage, PutPart, PutRequest, PutTags,
    Span, UploadRef, WriteCondition, Written,
};

/// The time, and chance: both come from outside, so that tests can repeat what happened.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since 1970.
    fn now(&self) -> i64;

    /// A random number from 0 up to 1, for jitter.
    fn random(&self) -> f64;
}

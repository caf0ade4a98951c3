//! The requests that ports make: their names, and what each is about.

use std::fmt;

/// A request of one of the ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// `ObjectStore::list`.
    ListObjects,
    /// `ObjectStore::list_versions`.
    ListVersions,
    /// `ObjectStore::get`.
    GetObject,
    /// `ObjectStore::head`.
    HeadObject,
    /// `ObjectStore::tags`.
    GetTags,
    /// `ObjectStore::put_tags`.
    PutTags,
    /// `ObjectStore::put`.
    PutObject,
    /// `ObjectStore::copy`.
    CopyObject,
    /// `ObjectStore::delete`.
    DeleteObject,
    /// `ObjectStore::create_upload`.
    CreateUpload,
    /// `ObjectStore::put_part`.
    PutPart,
    /// `ObjectStore::copy_part`.
    CopyPart,
    /// `ObjectStore::list_parts`.
    ListParts,
    /// `ObjectStore::complete_upload`.
    CompleteUpload,
    /// `ObjectStore::abort_upload`.
    AbortUpload,
    /// `ObjectStore::list_uploads`.
    ListUploads,
    /// `Queue::send`.
    SendMessages,
    /// `Queue::receive`.
    ReceiveMessages,
    /// `Queue::set_visibility`.
    SetVisibility,
    /// `Queue::delete`.
    DeleteMessage,
    /// `Queue::send_dead_letter`.
    SendDeadLetter,
    /// `Ledger::get`.
    GetItem,
    /// `Ledger::query`.
    QueryItems,
    /// `Ledger::write`.
    WriteItems,
}

impl Operation {
    /// As errors name it: verb and noun.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ListObjects => "list objects",
            Self::ListVersions => "list object versions",
            Self::GetObject => "get object",
            Self::HeadObject => "head object",
            Self::GetTags => "get object tags",
            Self::PutTags => "put object tags",
            Self::PutObject => "put object",
            Self::CopyObject => "copy object",
            Self::DeleteObject => "delete object",
            Self::CreateUpload => "create upload",
            Self::PutPart => "put part",
            Self::CopyPart => "copy part",
            Self::ListParts => "list parts",
            Self::CompleteUpload => "complete upload",
            Self::AbortUpload => "abort upload",
            Self::ListUploads => "list uploads",
            Self::SendMessages => "send messages",
            Self::ReceiveMessages => "receive messages",
            Self::SetVisibility => "set message visibility",
            Self::DeleteMessage => "delete message",
            Self::SendDeadLetter => "send dead letter",
            Self::GetItem => "get ledger item",
            Self::QueryItems => "query ledger items",
            Self::WriteItems => "write ledger items",
        }
    }

    /// Whether it ends work that holds something open at the service: it must get through while others wait.
    pub const fn ends_work(self) -> bool {
        matches!(self, Self::CompleteUpload | Self::AbortUpload)
    }

    /// Whether it changes something at the service.
    pub const fn writes(self) -> bool {
        !matches!(
            self,
            Self::ListObjects
                | Self::ListVersions
                | Self::GetObject
                | Self::HeadObject
                | Self::GetTags
                | Self::ListParts
                | Self::ListUploads
                | Self::GetItem
                | Self::QueryItems
        )
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a request asks of which resource: what gates, limits and metrics have to know of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestInfo<'a> {
    /// What is asked of a bucket. None of a queue or a table, whose errors say themselves whether they are the side's.
    pub operation: Option<Operation>,
    /// Bucket, queue or table: what a fault of the side is reported with.
    pub resource: &'a str,
    /// The object's key; none of a request about the whole resource.
    pub key: Option<&'a str>,
    /// Bytes of an object that go with the request or its answer, where they are known before.
    pub bytes: u64,
}

impl<'a> RequestInfo<'a> {
    /// A request about an object.
    pub fn object(operation: Operation, bucket: &'a str, key: &'a str) -> Self {
        Self { operation: Some(operation), resource: bucket, key: Some(key), bytes: 0 }
    }

    /// A request about a bucket itself.
    pub fn whole(operation: Operation, bucket: &'a str) -> Self {
        Self { operation: Some(operation), resource: bucket, key: None, bytes: 0 }
    }

    /// A request to a queue or a table.
    pub fn service(resource: &'a str) -> Self {
        Self { operation: None, resource, key: None, bytes: 0 }
    }

    /// The same about the whole resource.
    #[must_use]
    pub fn without_key(self) -> Self {
        Self { key: None, bytes: 0, ..self }
    }

    /// The same with so many bytes of an object.
    #[must_use]
    pub fn carrying(self, bytes: u64) -> Self {
        Self { bytes, ..self }
    }
}

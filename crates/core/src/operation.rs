//! The requests that ports make: their names and subjects.

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
    /// `BucketAdmin::notifications`.
    GetNotifications,
    /// `BucketAdmin::put_notifications`.
    PutNotifications,
    /// `BucketAdmin::keeps_versions`.
    GetVersioning,
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
    /// `DeadLetterQueue::receive_dead_letters`.
    ReceiveDeadLetters,
    /// `MeasuredQueue::depth`.
    MeasureQueue,
    /// `Ledger::get`.
    GetItem,
    /// `Ledger::query`.
    QueryItems,
    /// `Ledger::write`.
    WriteItems,
}

impl Operation {
    /// All operations, in their order.
    pub const ALL: [Self; 29] = [
        Self::ListObjects,
        Self::ListVersions,
        Self::GetObject,
        Self::HeadObject,
        Self::GetTags,
        Self::PutTags,
        Self::PutObject,
        Self::CopyObject,
        Self::DeleteObject,
        Self::CreateUpload,
        Self::PutPart,
        Self::CopyPart,
        Self::ListParts,
        Self::CompleteUpload,
        Self::AbortUpload,
        Self::ListUploads,
        Self::GetNotifications,
        Self::PutNotifications,
        Self::GetVersioning,
        Self::SendMessages,
        Self::ReceiveMessages,
        Self::SetVisibility,
        Self::DeleteMessage,
        Self::SendDeadLetter,
        Self::ReceiveDeadLetters,
        Self::MeasureQueue,
        Self::GetItem,
        Self::QueryItems,
        Self::WriteItems,
    ];

    /// Returns the name used in errors: verb and noun.
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
            Self::GetNotifications => "get bucket notifications",
            Self::PutNotifications => "put bucket notifications",
            Self::GetVersioning => "get bucket versioning",
            Self::SendMessages => "send messages",
            Self::ReceiveMessages => "receive messages",
            Self::SetVisibility => "set message visibility",
            Self::DeleteMessage => "delete message",
            Self::SendDeadLetter => "send dead letter",
            Self::ReceiveDeadLetters => "receive dead letters",
            Self::MeasureQueue => "measure queue",
            Self::GetItem => "get ledger item",
            Self::QueryItems => "query ledger items",
            Self::WriteItems => "write ledger items",
        }
    }

    /// Returns true for a request that releases something held open at the service. It must not wait behind others.
    pub const fn ends_work(self) -> bool {
        matches!(self, Self::CompleteUpload | Self::AbortUpload)
    }

    /// Returns the class by which the request is priced.
    ///
    /// Source: "Requests & data retrievals" in the price list of Amazon S3, and those of SQS and `DynamoDB`.
    pub const fn price_class(self) -> PriceClass {
        match self {
            Self::ListObjects
            | Self::ListVersions
            | Self::PutTags
            | Self::PutObject
            | Self::CopyObject
            | Self::CreateUpload
            | Self::PutPart
            | Self::CopyPart
            | Self::ListParts
            | Self::CompleteUpload
            | Self::ListUploads
            | Self::PutNotifications => PriceClass::Write,
            Self::GetObject | Self::HeadObject | Self::GetTags | Self::GetNotifications | Self::GetVersioning => {
                PriceClass::Read
            }
            Self::DeleteObject | Self::AbortUpload => PriceClass::Free,
            Self::SendMessages
            | Self::ReceiveMessages
            | Self::SetVisibility
            | Self::DeleteMessage
            | Self::SendDeadLetter
            | Self::ReceiveDeadLetters
            | Self::MeasureQueue => PriceClass::Queue,
            Self::GetItem | Self::QueryItems | Self::WriteItems => PriceClass::Units,
        }
    }

    /// Returns true for a request that changes something at the service.
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
                | Self::GetNotifications
                | Self::GetVersioning
                | Self::MeasureQueue
                | Self::GetItem
                | Self::QueryItems
        )
    }
}

/// A class of requests with one price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PriceClass {
    /// PUT, COPY, POST and LIST requests to S3.
    Write,
    /// GET, HEAD and all other requests to S3.
    Read,
    /// DELETE requests to S3, which cost nothing.
    Free,
    /// Requests to the queue.
    Queue,
    /// Requests to the ledger, which prices units of data instead.
    Units,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The operation and subject of a request, for gates, limits and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestInfo<'a> {
    /// The operation on a bucket. `None` for a queue or table, whose errors already say whether they concern the
    /// side.
    pub operation: Option<Operation>,
    /// Bucket, queue or table. A fault of the side is reported with it.
    pub resource: &'a str,
    /// Key of the object; `None` for a request about the whole resource.
    pub key: Option<&'a str>,
    /// Number of object bytes in the request or its answer, if known in advance; otherwise 0.
    pub bytes: u64,
}

impl<'a> RequestInfo<'a> {
    /// Describes a request about an object.
    pub fn object(operation: Operation, bucket: &'a str, key: &'a str) -> Self {
        Self { operation: Some(operation), resource: bucket, key: Some(key), bytes: 0 }
    }

    /// Describes a request about a bucket.
    pub fn whole(operation: Operation, bucket: &'a str) -> Self {
        Self { operation: Some(operation), resource: bucket, key: None, bytes: 0 }
    }

    /// Describes a request to a queue or table.
    pub fn service(resource: &'a str) -> Self {
        Self { operation: None, resource, key: None, bytes: 0 }
    }

    /// Returns the same request, about the whole resource.
    #[must_use]
    pub fn without_key(self) -> Self {
        Self { key: None, bytes: 0, ..self }
    }

    /// Returns the same request with a number of object bytes.
    #[must_use]
    pub fn carrying(self, bytes: u64) -> Self {
        Self { bytes, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_operations_are_listed_in_their_order() {
        for (place, operation) in Operation::ALL.into_iter().enumerate() {
            assert_eq!(operation as usize, place, "{operation}");
        }
        // The last one: another one after it has to be listed too.
        assert_eq!(Operation::ALL.len(), Operation::WriteItems as usize + 1);
    }
}

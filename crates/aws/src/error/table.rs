//! Classes of the services' error codes.

use migration_core::error::ErrorClass::{
    self, AccessDenied, Archived, Conflict, NoAnswer, NoSuchKey, NoSuchUpload, PreconditionFailed, Refused, Service,
    SignatureMismatch, Throttled, Transient,
};
use migration_core::error::ServiceFault::{
    AccessDenied as AllDenied, ClockSkewed, CredentialsExpired, CredentialsInvalid, NotFound, WrongRegion,
};

/// Service that an error code comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// Amazon S3 and S3-compatible services.
    S3,
    /// Amazon SQS.
    Sqs,
    /// Amazon DynamoDB.
    DynamoDb,
    /// AWS Security Token Service, which gives the credentials of roles.
    Sts,
    /// Amazon SNS.
    Sns,
}

/// Classifies an error response by its code, or by its status if the code is absent or unknown.
///
/// Sources: "Error responses" in the S3 API reference; "Common errors" and each operation's errors in the SQS and
/// DynamoDB API references; `AssumeRole` in the STS API reference; the sources of MinIO and Ceph for codes of their own.
///
/// All services:
///
/// | code | class |
/// |---|---|
/// | `SignatureDoesNotMatch` | S3: `SignatureMismatch`; the others, whose requests have no keys that a proxy could rewrite: side: `CredentialsInvalid` |
/// | `InvalidAccessKeyId`, `InvalidToken`, `InvalidSecurity`, `InvalidClientTokenId`, `UnrecognizedClientException`, `IncompleteSignature…`, `InvalidSignatureException`, `MissingAuthenticationToken…`, `MissingSecurityHeader` | side: `CredentialsInvalid` |
/// | `ExpiredToken…`, `TokenRefreshRequired` | side: `CredentialsExpired` |
/// | `RequestTimeTooSkewed`, `RequestExpired`, `InvalidSignatureException` with "expired" or "not yet current" in its message | side: `ClockSkewed` |
/// | `AllAccessDisabled`, `AccountProblem`, `NotSignedUp`, `OptInRequired`, `UserSuspended` | side: `AccessDenied` |
/// | `AccessDenied…`, `Forbidden` | S3: `AccessDenied`; the others, which have one resource: side: `AccessDenied` |
/// | `SlowDown…`, `ServiceUnavailable`, `Throttl…`, `TooManyRequests…`, `RequestLimitExceeded`, `RequestThrottled…`, `BandwidthLimitExceeded`, `ServerBusy` | `Throttled` |
/// | `InternalError`, `InternalFailure`, `InternalServerError`, `RequestTimeout…` | `Transient` |
/// | `NotImplemented` | `Refused` |
///
/// S3:
///
/// | code | class |
/// |---|---|
/// | `NoSuchBucket`, `InvalidBucketName` | side: `NotFound` |
/// | `PermanentRedirect`, `AuthorizationHeaderMalformed` that names a region, `IllegalLocationConstraintException`, `IncorrectEndpoint` | side: `WrongRegion` |
/// | other `AuthorizationHeaderMalformed` | side: `CredentialsInvalid` |
/// | `NoSuchKey`, `NoSuchVersion` | `NoSuchKey` |
/// | `NoSuchUpload` | `NoSuchUpload` |
/// | `PreconditionFailed` | `PreconditionFailed` |
/// | `ConditionalRequestConflict` | `Conflict` |
/// | `InvalidObjectState` | `Archived` |
/// | `BadDigest`, `InvalidDigest`, `XAmzContent…Mismatch`, `IncompleteBody` (damaged in transit); `InvalidPart` (replaced since it was listed); `OperationAborted`, `TemporaryRedirect` | `Transient` |
/// | `KMS.…` with throttling in its name | `Throttled` |
/// | other `KMS.…` | `AccessDenied` |
/// | `EntityTooLarge`, `EntityTooSmall`, `KeyTooLongError`, `MetadataTooLarge`, `MethodNotAllowed`, `InvalidArgument`, `InvalidRange`, `InvalidRequest`, `InvalidStorageClass`, `InvalidTag`, `InvalidPartOrder`, `MalformedXML`; `MalformedTrailerError`, `MissingContentLength` (no support for streamed bodies); `AccessControlListNotSupported` (ACLs disabled for the bucket), `InvalidEncryptionAlgorithmError`, `InvalidRetentionPeriod`, `ObjectLockConfigurationNotFoundError` | `Refused` |
///
/// SQS:
///
/// | code | class |
/// |---|---|
/// | `QueueDoesNotExist`, `AWS.SimpleQueueService.NonExistentQueue`, `InvalidAddress` | side: `NotFound` |
/// | `KmsThrottled`, `AWS.SimpleQueueService.OverLimit`, `OverLimit` | `Throttled` |
/// | other `Kms…` | side: `AccessDenied` |
/// | `QueueDeletedRecently` (recreation is possible after 60 s) | `Transient` |
/// | `QueueNameExists` | `Conflict` |
/// | `ReceiptHandleIsInvalid`, `MessageNotInflight`, `InvalidParameterValue`, `InvalidMessageContents`, `BatchRequestTooLong`, … | `Refused` |
///
/// DynamoDB:
///
/// | code | class |
/// |---|---|
/// | `ResourceNotFoundException`, `TableNotFoundException` | side: `NotFound` |
/// | `ProvisionedThroughputExceeded…`, `LimitExceededException` | `Throttled` |
/// | `TransactionConflict…`, `TransactionInProgressException`, `ReplicatedWriteConflictException` | `Transient` |
/// | `ConditionalCheckFailed…` | `PreconditionFailed` |
/// | `ResourceInUseException` | `Conflict` |
/// | `ValidationException`, `ItemCollectionSizeLimitExceededException`, `IdempotentParameterMismatchException`, … | `Refused` |
///
/// STS, whose errors are about a whole side, and whose limits are not those of the side's requests:
///
/// | code | class |
/// |---|---|
/// | `RegionDisabledException` | side: `WrongRegion` |
/// | what is `Throttled` above | `Transient` |
/// | `ValidationError`, and others that are `Refused` above | side: `CredentialsInvalid` |
///
/// Without a known code, or for HEAD, by status: 301 side: `WrongRegion`; 307, 408 `Transient`; 403 `AccessDenied`
/// (S3), `NoAnswer` (the others, which name each denial); 404 `Refused` (S3, where absence has a code), `NoAnswer` (the
/// others); 412 `PreconditionFailed`; 429, 503 `Throttled`; 501 `Refused`; other 5xx, and 2xx with an error in the
/// body, `Transient`; other 4xx `Refused`.
pub fn classify(service: Api, code: Option<&str>, status: u16, message: &str) -> ErrorClass {
    let by_code = code.and_then(|code| {
        common(service, code, message).or_else(|| match service {
            Api::S3 => s3(code, message),
            Api::Sqs => sqs(code),
            Api::DynamoDb => dynamodb(code),
            Api::Sns => None,
            Api::Sts => (code == "RegionDisabledException").then_some(Service(WrongRegion)),
        })
    });
    match by_code.unwrap_or_else(|| by_status(service, status)) {
        Throttled if service == Api::Sts => Transient,
        Refused if service == Api::Sts => Service(CredentialsInvalid),
        class => class,
    }
}

fn denied(service: Api) -> ErrorClass {
    if service == Api::S3 { AccessDenied } else { Service(AllDenied) }
}

fn common(service: Api, code: &str, message: &str) -> Option<ErrorClass> {
    Some(match code {
        "RequestTimeTooSkewed" | "RequestExpired" => Service(ClockSkewed),
        "InvalidSignatureException" | "SignatureDoesNotMatch"
            if message.starts_with("Signature expired") || message.starts_with("Signature not yet current") =>
        {
            Service(ClockSkewed)
        }
        "SignatureDoesNotMatch" if service == Api::S3 => SignatureMismatch,
        "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "InvalidToken"
        | "InvalidSecurity"
        | "InvalidClientTokenId"
        | "UnrecognizedClientException"
        | "InvalidSignatureException"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "MissingSecurityHeader" => Service(CredentialsInvalid),
        "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" => Service(CredentialsExpired),
        "AllAccessDisabled" | "AccountProblem" | "NotSignedUp" | "OptInRequired" | "UserSuspended" => {
            Service(AllDenied)
        }
        "AccessDenied" | "AccessDeniedException" | "Forbidden" => denied(service),
        "ServiceUnavailable"
        | "ServiceUnavailableException"
        | "RequestLimitExceeded"
        | "BandwidthLimitExceeded"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "ServerBusy" => Throttled,
        _ if ["SlowDown", "Throttl", "TooManyRequests"].iter().any(|start| code.starts_with(start)) => Throttled,
        "InternalError" | "InternalFailure" | "InternalServerError" | "RequestTimeout" | "RequestTimeoutException" => {
            Transient
        }
        "NotImplemented" => Refused,
        _ => return None,
    })
}

fn s3(code: &str, message: &str) -> Option<ErrorClass> {
    Some(match code {
        "NoSuchBucket" | "InvalidBucketName" => Service(NotFound),
        "AuthorizationHeaderMalformed" if !message.contains("region") => Service(CredentialsInvalid),
        "PermanentRedirect"
        | "AuthorizationHeaderMalformed"
        | "IllegalLocationConstraintException"
        | "IncorrectEndpoint" => Service(WrongRegion),
        "NoSuchKey" | "NoSuchVersion" => NoSuchKey,
        "NoSuchUpload" => NoSuchUpload,
        "PreconditionFailed" => PreconditionFailed,
        "ConditionalRequestConflict" => Conflict,
        "InvalidObjectState" => Archived,
        "BadDigest" | "InvalidDigest" | "IncompleteBody" | "InvalidPart" | "OperationAborted" | "TemporaryRedirect" => {
            Transient
        }
        _ if code.starts_with("XAmzContent") && code.ends_with("Mismatch") => Transient,
        _ if code.starts_with("KMS.") && code.contains("Throttl") => Throttled,
        _ if code.starts_with("KMS.") => AccessDenied,
        "EntityTooLarge"
        | "EntityTooSmall"
        | "KeyTooLongError"
        | "MetadataTooLarge"
        | "MethodNotAllowed"
        | "InvalidArgument"
        | "InvalidRange"
        | "InvalidRequest"
        | "InvalidStorageClass"
        | "InvalidTag"
        | "InvalidPartOrder"
        | "MalformedXML"
        | "MalformedTrailerError"
        | "MissingContentLength"
        | "AccessControlListNotSupported"
        | "InvalidEncryptionAlgorithmError"
        | "InvalidRetentionPeriod"
        | "ObjectLockConfigurationNotFoundError" => Refused,
        _ => return None,
    })
}

fn sqs(code: &str) -> Option<ErrorClass> {
    Some(match code {
        "QueueDoesNotExist" | "AWS.SimpleQueueService.NonExistentQueue" | "InvalidAddress" => Service(NotFound),
        "KmsThrottled" | "OverLimit" | "AWS.SimpleQueueService.OverLimit" => Throttled,
        _ if code.starts_with("Kms") => Service(AllDenied),
        "QueueDeletedRecently" | "AWS.SimpleQueueService.QueueDeletedRecently" => Transient,
        "QueueNameExists" => Conflict,
        "ReceiptHandleIsInvalid" | "MessageNotInflight" | "AWS.SimpleQueueService.MessageNotInflight" => Refused,
        _ => return None,
    })
}

fn dynamodb(code: &str) -> Option<ErrorClass> {
    Some(match code {
        "ResourceNotFoundException" | "TableNotFoundException" => Service(NotFound),
        "ProvisionedThroughputExceeded" | "ProvisionedThroughputExceededException" | "LimitExceededException" => {
            Throttled
        }
        "TransactionConflict"
        | "TransactionConflictException"
        | "TransactionInProgressException"
        | "ReplicatedWriteConflictException" => Transient,
        "ConditionalCheckFailed" | "ConditionalCheckFailedException" => PreconditionFailed,
        "ResourceInUseException" => Conflict,
        "ValidationError"
        | "ValidationException"
        | "ItemCollectionSizeLimitExceeded"
        | "ItemCollectionSizeLimitExceededException"
        | "IdempotentParameterMismatchException" => Refused,
        _ => return None,
    })
}

fn by_status(service: Api, status: u16) -> ErrorClass {
    match status {
        301 => Service(WrongRegion),
        307 | 408 => Transient,
        403 if service == Api::S3 => AccessDenied,
        403 | 404 if service != Api::S3 => NoAnswer,
        412 => PreconditionFailed,
        429 | 503 => Throttled,
        400..=499 | 501 => Refused,
        _ => Transient,
    }
}

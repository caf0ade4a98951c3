use super::*;
use ErrorClass::{
    AccessDenied, Archived, Conflict, NoAnswer, NoSuchKey, NoSuchUpload, PreconditionFailed, Refused, Service,
    SignatureMismatch, Throttled, Transient,
};
use ServiceFault::{
    AccessDenied as AllDenied, ClockSkewed, CredentialsExpired, CredentialsInvalid, CredentialsMissing, NotFound,
    WrongRegion,
};
use aws_sdk_s3::operation::get_object::GetObjectError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::error::ErrorMetadata;
use table::Api::{DynamoDb, S3, Sqs};

#[test]
fn s3_codes_have_the_class_of_the_table() {
    for (code, status, expected) in [
        ("InvalidAccessKeyId", 403, Service(CredentialsInvalid)),
        ("SignatureDoesNotMatch", 403, SignatureMismatch),
        ("InvalidToken", 400, Service(CredentialsInvalid)),
        ("InvalidSecurity", 403, Service(CredentialsInvalid)),
        ("MissingSecurityHeader", 400, Service(CredentialsInvalid)),
        ("ExpiredToken", 400, Service(CredentialsExpired)),
        ("TokenRefreshRequired", 400, Service(CredentialsExpired)),
        ("RequestTimeTooSkewed", 403, Service(ClockSkewed)),
        ("AllAccessDisabled", 403, Service(AllDenied)),
        ("AccountProblem", 403, Service(AllDenied)),
        ("NotSignedUp", 403, Service(AllDenied)),
        ("UserSuspended", 403, Service(AllDenied)),
        ("AccessDenied", 403, AccessDenied),
        ("Forbidden", 403, AccessDenied),
        ("KMS.DisabledException", 400, AccessDenied),
        ("KMS.ThrottlingException", 400, Throttled),
        ("SlowDown", 503, Throttled),
        ("SlowDownWrite", 503, Throttled),
        ("ServiceUnavailable", 503, Throttled),
        ("TooManyRequestsException", 429, Throttled),
        ("BandwidthLimitExceeded", 503, Throttled),
        ("ServerBusy", 503, Throttled),
        ("InternalError", 500, Transient),
        ("InternalError", 200, Transient),
        ("RequestTimeout", 400, Transient),
        ("BadDigest", 400, Transient),
        ("InvalidDigest", 400, Transient),
        ("XAmzContentSHA256Mismatch", 400, Transient),
        ("IncompleteBody", 400, Transient),
        ("InvalidPart", 400, Transient),
        ("OperationAborted", 409, Transient),
        ("TemporaryRedirect", 307, Transient),
        ("NoSuchBucket", 404, Service(NotFound)),
        ("InvalidBucketName", 400, Service(NotFound)),
        ("PermanentRedirect", 301, Service(WrongRegion)),
        ("IllegalLocationConstraintException", 400, Service(WrongRegion)),
        ("IncorrectEndpoint", 400, Service(WrongRegion)),
        ("NoSuchKey", 404, NoSuchKey),
        ("NoSuchVersion", 404, NoSuchKey),
        ("NotFound", 404, Refused),
        ("NoSuchThing", 404, Refused),
        ("NoSuchUpload", 404, NoSuchUpload),
        ("PreconditionFailed", 412, PreconditionFailed),
        ("ConditionalRequestConflict", 409, Conflict),
        ("InvalidObjectState", 403, Archived),
        ("EntityTooLarge", 400, Refused),
        ("EntityTooSmall", 400, Refused),
        ("KeyTooLongError", 400, Refused),
        ("MetadataTooLarge", 400, Refused),
        ("MethodNotAllowed", 405, Refused),
        ("InvalidArgument", 400, Refused),
        ("InvalidRange", 416, Refused),
        ("InvalidRequest", 400, Refused),
        ("InvalidStorageClass", 400, Refused),
        ("InvalidTag", 400, Refused),
        ("InvalidPartOrder", 400, Refused),
        ("MalformedXML", 400, Refused),
        ("MalformedTrailerError", 400, Refused),
        ("MissingContentLength", 411, Refused),
        ("AccessControlListNotSupported", 400, Refused),
        ("InvalidEncryptionAlgorithmError", 400, Refused),
        ("InvalidRetentionPeriod", 400, Refused),
        ("ObjectLockConfigurationNotFoundError", 404, Refused),
        ("NotImplemented", 501, Refused),
        ("SomethingNew", 400, Refused),
        ("SomethingNew", 500, Transient),
        ("SomethingNew", 200, Transient),
    ] {
        assert_eq!(classify(S3, Some(code), status, ""), expected, "{code} {status}");
    }
}

#[test]
fn sqs_codes_have_the_class_of_the_table() {
    for (code, status, expected) in [
        ("QueueDoesNotExist", 400, Service(NotFound)),
        ("AWS.SimpleQueueService.NonExistentQueue", 400, Service(NotFound)),
        ("InvalidAddress", 404, Service(NotFound)),
        ("AccessDenied", 403, Service(AllDenied)),
        ("AccessDeniedException", 400, Service(AllDenied)),
        ("KmsAccessDenied", 400, Service(AllDenied)),
        ("KmsDisabled", 400, Service(AllDenied)),
        ("KmsThrottled", 400, Throttled),
        ("OverLimit", 400, Throttled),
        ("RequestThrottled", 403, Throttled),
        ("Throttling", 400, Throttled),
        ("ThrottlingException", 400, Throttled),
        ("QueueDeletedRecently", 400, Transient),
        ("QueueNameExists", 400, Conflict),
        ("ReceiptHandleIsInvalid", 404, Refused),
        ("MessageNotInflight", 400, Refused),
        ("InvalidMessageContents", 400, Refused),
        ("AWS.SimpleQueueService.BatchRequestTooLong", 400, Refused),
        ("InvalidParameterValue", 400, Refused),
        ("InvalidClientTokenId", 403, Service(CredentialsInvalid)),
        ("MissingAuthenticationToken", 403, Service(CredentialsInvalid)),
        ("OptInRequired", 403, Service(AllDenied)),
        ("InternalFailure", 500, Transient),
    ] {
        assert_eq!(classify(Sqs, Some(code), status, ""), expected, "{code}");
    }
}

#[test]
fn dynamodb_codes_have_the_class_of_the_table() {
    for (code, status, expected) in [
        ("ResourceNotFoundException", 400, Service(NotFound)),
        ("TableNotFoundException", 400, Service(NotFound)),
        ("ProvisionedThroughputExceededException", 400, Throttled),
        ("ProvisionedThroughputExceeded", 400, Throttled),
        ("ThrottlingException", 400, Throttled),
        ("ThrottlingError", 400, Throttled),
        ("RequestLimitExceeded", 400, Throttled),
        ("LimitExceededException", 400, Throttled),
        ("TransactionConflict", 400, Transient),
        ("TransactionConflictException", 400, Transient),
        ("TransactionInProgressException", 400, Transient),
        ("ReplicatedWriteConflictException", 400, Transient),
        ("InternalServerError", 500, Transient),
        ("ConditionalCheckFailedException", 400, PreconditionFailed),
        ("ResourceInUseException", 400, Conflict),
        ("ValidationException", 400, Refused),
        ("ItemCollectionSizeLimitExceededException", 400, Refused),
        ("IdempotentParameterMismatchException", 400, Refused),
        ("UnrecognizedClientException", 400, Service(CredentialsInvalid)),
        ("IncompleteSignatureException", 400, Service(CredentialsInvalid)),
        ("MissingAuthenticationTokenException", 400, Service(CredentialsInvalid)),
        ("ExpiredTokenException", 400, Service(CredentialsExpired)),
        ("RequestExpired", 400, Service(ClockSkewed)),
        ("AccessDeniedException", 400, Service(AllDenied)),
    ] {
        assert_eq!(classify(DynamoDb, Some(code), status, ""), expected, "{code}");
    }
}

#[test]
fn some_codes_need_their_message() {
    for (service, code, message, expected) in [
        (DynamoDb, "InvalidSignatureException", "The request signature we calculated …", Service(CredentialsInvalid)),
        (DynamoDb, "InvalidSignatureException", "Signature expired: 2026… is now earlier than …", Service(ClockSkewed)),
        (Sqs, "SignatureDoesNotMatch", "Signature not yet current: 2026… is still later than …", Service(ClockSkewed)),
        (S3, "AuthorizationHeaderMalformed", "the region 'a' is wrong; expecting 'b'", Service(WrongRegion)),
        (S3, "AuthorizationHeaderMalformed", "a non-empty Access Key must be provided", Service(CredentialsInvalid)),
    ] {
        assert_eq!(classify(service, Some(code), 400, message), expected, "{code}: {message}");
    }
}

#[test]
fn an_unknown_code_and_a_head_are_sorted_by_their_status() {
    for (service, status, expected) in [
        (S3, 301, Service(WrongRegion)),
        (S3, 307, Transient),
        (S3, 400, Refused),
        (S3, 403, AccessDenied),
        (Sqs, 403, NoAnswer),
        (S3, 404, Refused),
        (DynamoDb, 404, NoAnswer),
        (S3, 408, Transient),
        (S3, 412, PreconditionFailed),
        (S3, 429, Throttled),
        (S3, 500, Transient),
        (S3, 501, Refused),
        (S3, 502, Transient),
        (S3, 503, Throttled),
        (S3, 504, Transient),
    ] {
        assert_eq!(classify(service, None, status, ""), expected, "{status}");
        assert_eq!(classify(service, Some("Odd"), status, ""), expected, "{status}");
    }
}

fn answer(code: &str, message: &str) -> SdkError<GetObjectError, HttpResponse> {
    let meta = ErrorMetadata::builder().code(code).message(message).build();
    let body = format!("<Error><Code>{code}</Code></Error>");
    let mut raw = HttpResponse::new(403.try_into().unwrap(), SdkBody::from(body));
    raw.headers_mut().insert("x-amz-request-id", "R1");
    SdkError::service_error(GetObjectError::generic(meta), raw)
}

#[test]
fn an_answer_keeps_its_code_message_and_request() {
    let error = service_error(S3, "get object", &answer("AccessDenied", "Access Denied"));
    assert_eq!(error.to_string(), "failed to get object: AccessDenied: Access Denied (request R1)");
    assert_eq!(error.class, AccessDenied);
}

#[test]
fn what_was_signed_is_not_repeated() {
    let message =
        "The signature does not match.\n\nThe Canonical String should have been\n'x-amz-security-token:t0k3n'";
    let error = service_error(S3, "get object", &answer("SignatureDoesNotMatch", message));
    assert_eq!(error.message, "The signature does not match.");
    let long = service_error(S3, "get object", &answer("Odd", &"é".repeat(5_000)));
    assert_eq!(long.message.chars().count(), MESSAGE_LIMIT + 1);
}

#[test]
fn what_broke_before_an_answer_is_told_apart() {
    type E = SdkError<GetObjectError, HttpResponse>;
    let refused = || std::io::Error::other("connection refused");
    for (error, class, code) in [
        (E::timeout_error("slow"), NoAnswer, "Timeout"),
        (E::dispatch_failure(ConnectorError::timeout(refused().into())), NoAnswer, "Timeout"),
        (E::dispatch_failure(ConnectorError::io(refused().into())), NoAnswer, "ConnectionFailed"),
        (E::dispatch_failure(ConnectorError::other(refused().into(), None)), NoAnswer, "ConnectionFailed"),
        (E::dispatch_failure(ConnectorError::user(refused().into())), Refused, "InvalidRequest"),
        (E::construction_failure(refused()), Refused, "InvalidRequest"),
        (
            E::response_error(refused(), HttpResponse::new(200.try_into().unwrap(), SdkBody::empty())),
            NoAnswer,
            "InvalidResponse",
        ),
    ] {
        let error = service_error(S3, "get object", &error);
        assert_eq!((error.class, error.code.as_str()), (class, code), "{error}");
    }
    let error = service_error(S3, "get object", &E::dispatch_failure(ConnectorError::io(refused().into())));
    assert!(error.message.contains("connection refused"), "{error}");
}

#[test]
fn what_is_not_the_services_own_is_no_answer() {
    for (service, status, body) in [
        (S3, 404, "404 page not found"),
        (S3, 404, ""),
        (S3, 403, "<html></html>"),
        (S3, 503, "<html></html>"),
        (S3, 200, "<html></html>"),
        (Sqs, 404, ""),
        (Sqs, 403, "{\"message\":\"no\"}"),
        (DynamoDb, 404, "{\"code\":\"ResourceNotFoundException\"}"),
    ] {
        let raw = HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body));
        // The SDK finds a code in an empty 404 of S3 and in any JSON with a `code`.
        let code = if body.contains("code") { "ResourceNotFoundException" } else { "NotFound" };
        let meta = ErrorMetadata::builder().code(code).build();
        let error: SdkError<GetObjectError, HttpResponse> = SdkError::service_error(GetObjectError::generic(meta), raw);
        let error = service_error(service, "get object", &error);
        assert_eq!((error.class, error.code), (NoAnswer, format!("Http{status}")), "{service:?} {status} {body}");
    }
}

#[test]
fn missing_credentials_name_their_file() {
    let cause = crate::credentials::DirectoryError::Empty("/secret/AWS_ACCESS_KEY_ID".into());
    let credentials = CredentialsError::not_loaded(cause);
    let error: SdkError<GetObjectError, HttpResponse> =
        SdkError::dispatch_failure(ConnectorError::other(credentials.into(), None));
    let error = service_error(S3, "get object", &error);
    assert_eq!((error.class, error.code.as_str()), (Service(CredentialsMissing), "CredentialsNotLoaded"));
    assert!(error.message.contains("/secret/AWS_ACCESS_KEY_ID"), "{error}");
}
